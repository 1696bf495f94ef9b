"""What would become of a request that nobody has made, by the code that decides about real ones.

A URL with ``https``, ``wss`` or ``tcp`` is a tunnel first, whose first octets are as a client of
that scheme has them; inside intercepted TLS the request itself is decided as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from wsproxy.errors import ClientProtocolError, Denied, ResolveFailed, ResolveTimeout
from wsproxy.model import (
    Address,
    Body,
    BodyKind,
    Identity,
    Peer,
    ProxyRequest,
    RequestKind,
    Target,
)
from wsproxy.observe.exchange import Exchange
from wsproxy.protocol.authority import parse_absolute_form, parse_authority
from wsproxy.proxy.runtime import Runtime

__all__ = [
    "CREDENTIALS",
    "Explanation",
    "Question",
    "explain",
    "explain_nowait",
    "parse_question_url",
]

_TUNNELS: Final = {"https": 443, "wss": 443, "tcp": 0}
_ALPN: Final = {"https": ("h2", "http/1.1"), "wss": ("http/1.1",)}
_BEHIND_AUTHORITY: Final = re.compile(rb"[/?#]")

CREDENTIALS: Final = "auth.required"
"""What stands for the rule where a request without credentials gets a 407."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request that might be made.

    Attributes:
        target: what is asked for; its scheme is that of the URL.
        client: where it comes from.
        identity: who asks; None for an anonymous client.
        method: of the request.
        origin: of the page that opens a WebSocket, if there is one.
        subprotocols: that a WebSocket offers.
    """

    target: Target
    client: Address
    identity: Identity | None = None
    method: str = "GET"
    origin: str | None = None
    subprotocols: Sequence[str] = ()


@dataclass(slots=True, kw_only=True)
class Explanation:
    """What would become of it, and why.

    Attributes:
        exchange: the notebook of the request that decided, written by those who write it live;
            inside intercepted TLS that is the request's, else the tunnel's.
        rule: name of the rule that decided, ``default``, or a built-in one.
        reason: one sentence.
        message: what the refused person reads.
        source: addresses of ours that the connection would come from; none: the system chooses.
        tls: ``none``, ``passthrough``, ``intercept`` or ``intercept_always``.
        unresolved: a name has to be looked up before more can be said.
        failure: why that has led to nothing.
    """

    exchange: Exchange
    rule: str = CREDENTIALS
    reason: str = "proxy credentials are required"
    message: str = ""
    source: tuple[Address, ...] = ()
    tls: str = "none"
    unresolved: bool = False
    failure: str = ""

    @property
    def allow(self) -> bool:
        """Whether it is let through."""
        return self.exchange.verdict == "allow"

    @property
    def verdict(self) -> str:
        """``allow`` or ``deny``."""
        return "allow" if self.allow else "deny"

    @property
    def line(self) -> int:
        """Where the rule that decided begins in the configuration, from 1; 0 for none."""
        judged = self.exchange.judged
        return judged.line if judged is not None and judged.rule == self.rule else 0

    @property
    def route(self) -> str:
        """``direct``, or the name of the upstreams."""
        return self.exchange.upstream or "direct"

    @property
    def websocket(self) -> str | None:
        """How closely a WebSocket is looked at; None where there is none to see."""
        if not self.allow or self.exchange.kind != RequestKind.UPGRADE.value:
            return None
        return self.exchange.inspection or "off"


def parse_question_url(url: str) -> Target:
    """The target of a URL with ``http``, ``https``, ``ws``, ``wss`` or ``tcp``.

    Raises:
        ValueError: it is none; one sentence.
    """
    scheme, colon, rest = url.partition("://")
    scheme = scheme.lower()
    try:
        raw = rest.encode("ascii")
        if scheme == "tcp" and colon:
            host, port = parse_authority(raw.rstrip(b"/"))
            return Target("tcp", host, port)
        if scheme in ("http", "ws") and colon:
            return parse_absolute_form(url.encode("ascii"))
        if scheme in _TUNNELS and colon:
            authority = _BEHIND_AUTHORITY.split(raw, maxsplit=1)[0]
            host, port = parse_authority(authority, default_port=_TUNNELS[scheme])
            path = parse_absolute_form(b"http://host" + raw[len(authority) :]).path
            return Target(scheme, host, port, path)
    except ClientProtocolError as error:
        raise ValueError(error.detail) from None
    except UnicodeEncodeError:
        raise ValueError(
            "a URL is ASCII: write names as A-labels, the rest percent-encoded"
        ) from None
    raise ValueError("expected a URL with http, https, ws, wss or tcp")


def explain_nowait(
    runtime: Runtime,
    question: Question,
    *,
    known: Mapping[str, Sequence[Address]] | None = None,
    inside: bool = True,
) -> Explanation:
    """What would become of it, as far as it can be said without a look-up.

    A name that is not known is taken for one that leads to where it may.

    Args:
        runtime: what is configured.
        question: the request.
        known: addresses of names, at least one each.
        inside: whether the request inside an intercepted tunnel is asked about, too.
    """
    gate = runtime.gate
    exchange = Exchange(Peer(question.client, 1), 0.0)
    if question.identity is None and gate.authenticators and gate.auth_required:
        return Explanation(exchange=exchange)
    if question.identity is not None:
        exchange.identify(question.identity)
    scheme, known = question.target.scheme, known or {}
    if scheme not in _TUNNELS:
        said = _admit(runtime, _request(question), exchange, known)
        return _look_at_websocket(runtime, said)
    said = _admit(runtime, _connect(question), exchange, known)
    if said.allow:
        said = _look_into(runtime, question, said)
    if not said.allow or not inside or not said.tls.startswith("intercept"):
        return said
    return _ask_inside(runtime, question, said)


async def explain(
    runtime: Runtime,
    question: Question,
    *,
    known: Mapping[str, Sequence[Address]] | None = None,
) -> Explanation:
    """What would become of it, addresses included.

    Args:
        runtime: what is configured.
        question: the request.
        known: addresses of names that are not to be looked up, at least one each.
    """
    said = explain_nowait(runtime, question, known=known)
    if not said.unresolved:
        return said
    host = question.target.host
    try:
        addresses = await runtime.gate.resolver.resolve(host)
    except (ResolveFailed, ResolveTimeout) as error:
        said.failure = error.detail
        return said
    return explain_nowait(runtime, question, known={host.text: addresses})


def _admit(
    runtime: Runtime,
    request: ProxyRequest,
    exchange: Exchange,
    known: Mapping[str, Sequence[Address]],
) -> Explanation:
    """What `Gate.admit` says, in its order."""
    exchange.begin(request, 0.0)
    gate, host = runtime.gate, request.target.host
    addresses = known.get(host.text) or gate.resolver.known(host) or ()
    unresolved = False
    try:
        gate.decide(request, exchange)
        if gate.choose_parents(request.target, exchange) is None:
            unresolved = not addresses
            if addresses:
                gate.vet(request.target, addresses, exchange)
    except Denied as error:
        return _refused(exchange, error)
    source = tuple(gate.sources.get(exchange.rule or "", {}).values())
    return replace(_allowed(exchange), unresolved=unresolved, source=source)


def _look_into(runtime: Runtime, question: Question, said: Explanation) -> Explanation:
    """What becomes of an admitted tunnel when its first octets have come."""
    scheme, exchange, unresolved = question.target.scheme, said.exchange, said.unresolved
    if not runtime.looking.concerns(exchange.rule):
        _look_at_websocket(runtime, said)
    else:
        exchange.sniffed = frozenset({"tls" if scheme in _ALPN else "other"})
        exchange.alpn = _ALPN.get(scheme, ())
        try:
            runtime.gate.decide(_connect(question), exchange)
            always = runtime.looking.always.get(exchange.rule or "")
            if always and scheme not in _ALPN:
                raise Denied("the tunnel is refused: not-tls", rule="not-tls")
        except Denied as error:
            return replace(_refused(exchange, error), unresolved=unresolved)
        said = replace(_allowed(exchange), unresolved=unresolved, source=said.source)
    if scheme in _ALPN:
        said.tls = _tls(runtime, question.target, exchange)
    return said


def _tls(runtime: Runtime, target: Target, exchange: Exchange) -> str:
    """What becomes of TLS whose client offers http/1.1, and trusts us."""
    always = runtime.looking.always.get(exchange.rule or "")
    interception = runtime.looking.interception
    if always is None or interception is None or target.host in interception.exempt:
        return "passthrough"
    return "intercept_always" if always else "intercept"


def _ask_inside(runtime: Runtime, question: Question, way: Explanation) -> Explanation:
    """The request inside an intercepted tunnel: where it leads was decided with that."""
    request = _request(question)
    exchange = Exchange(way.exchange.peer, 0.0)
    exchange.begin(request, 0.0)
    exchange.enter(way.exchange)
    try:
        runtime.gate.decide(request, exchange)
    except Denied as error:
        said = _refused(exchange, error)
    else:
        said = _look_at_websocket(runtime, _allowed(exchange))
    # Live, they are in the record of the tunnel; whoever asks gets them in one.
    exchange.addresses = way.exchange.addresses
    return replace(said, tls=way.tls, unresolved=way.unresolved, source=way.source)


def _look_at_websocket(runtime: Runtime, said: Explanation) -> Explanation:
    """How closely that is done, of a handshake or of a tunnel in which there may be one."""
    plan = runtime.plans.of(said.rule)
    if said.allow and plan is not None and said.exchange.kind != RequestKind.FORWARD.value:
        said.exchange.inspection = plan.mode
    return said


def _refused(exchange: Exchange, error: Denied) -> Explanation:
    exchange.fail(error)
    return Explanation(
        exchange=exchange, rule=error.rule, reason=error.detail, message=error.message
    )


def _allowed(exchange: Exchange) -> Explanation:
    assert exchange.judged is not None
    return Explanation(exchange=exchange, rule=exchange.judged.rule, reason=exchange.judged.reason)


def _connect(question: Question) -> ProxyRequest:
    target = question.target
    return replace(
        _bare("CONNECT", replace(target, scheme="tcp", path=b"")), kind=RequestKind.CONNECT
    )


def _request(question: Question) -> ProxyRequest:
    target = question.target
    if target.scheme not in ("ws", "wss"):
        return _bare(question.method, target)
    headers = [(b"Host", target.authority.encode())]
    if question.origin is not None:
        headers.append((b"Origin", question.origin.encode("latin-1", "replace")))
    if question.subprotocols:
        offer = ", ".join(question.subprotocols).encode("latin-1", "replace")
        headers.append((b"Sec-WebSocket-Protocol", offer))
    return replace(_bare("GET", target), kind=RequestKind.UPGRADE, headers=tuple(headers))


def _bare(method: str, target: Target) -> ProxyRequest:
    return ProxyRequest(
        kind=RequestKind.FORWARD,
        method=method,
        target=target,
        version="1.1",
        headers=(),
        body=Body(BodyKind.NONE),
        keep_alive=True,
    )
