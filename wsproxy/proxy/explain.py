"""What would become of a request that nobody has made, by the code that decides about real ones.

A URL with ``https``, ``wss`` or ``tcp`` is a tunnel first, whose first octets are as a client of
that scheme has them; inside intercepted TLS the request itself is decided as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    "ask_about",
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
        allow: the decision.
        rule: name of the rule that decided, ``default``, or a built-in one.
        line: where that rule begins in the configuration, from 1; 0 for none.
        reason: one sentence.
        message: what the refused person reads.
        would_deny: names of rules that only report and would have denied.
        would_allow: the same of those that would have allowed.
        addresses: each address the name leads to, and why it may not be dialled.
        route: ``direct``, or the name of the upstreams.
        source: addresses of ours that the connection would come from; none: the system chooses.
        tls: ``none``, ``passthrough``, ``intercept`` or ``intercept_always``.
        websocket: how closely a WebSocket is looked at; None where there is none to see.
    """

    allow: bool
    rule: str
    line: int
    reason: str
    message: str = ""
    would_deny: Sequence[str] = ()
    would_allow: Sequence[str] = ()
    addresses: dict[str, str | None] = field(default_factory=dict)
    route: str = "direct"
    source: Sequence[Address] = ()
    tls: str = "none"
    websocket: str | None = None

    @property
    def verdict(self) -> str:
        """``allow`` or ``deny``."""
        return "allow" if self.allow else "deny"


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


def ask_about(runtime: Runtime, question: Question, *, inside: bool = True) -> Explanation:
    """What policy says of the name; addresses are not looked at.

    Args:
        runtime: what is configured.
        question: the request.
        inside: whether the request inside an intercepted tunnel is asked about, too.
    """
    gate = runtime.gate
    if question.identity is None and gate.authenticators and gate.auth_required:
        reason = "proxy credentials are required"
        return Explanation(allow=False, rule=CREDENTIALS, line=0, reason=reason)
    exchange = Exchange(Peer(question.client, 1), 0.0)
    if question.identity is not None:
        exchange.identify(question.identity)
    scheme = question.target.scheme
    way: Explanation | None = None
    if scheme in _TUNNELS:
        way = _ask_about_tunnel(runtime, question, exchange)
        if not way.allow or not inside or not way.tls.startswith("intercept"):
            return way
    said = _decide(runtime, _request(question), exchange)
    # Inside a tunnel the way out is that of the tunnel, whichever rule decides.
    if way is None:
        _find_way(runtime, said)
    else:
        said.route, said.source, said.tls = way.route, way.source, way.tls
    if said.allow and scheme in ("ws", "wss"):
        plan = runtime.plans.of(said.rule)
        said.websocket = "off" if plan is None else plan.mode
    return said


def _ask_about_tunnel(runtime: Runtime, question: Question, exchange: Exchange) -> Explanation:
    """The CONNECT: before its first octets have come, and then."""
    scheme, connect = question.target.scheme, _connect(question)
    said = _decide(runtime, connect, exchange)
    if said.allow:
        exchange.sniffed = frozenset({"tls" if scheme in _ALPN else "other"})
        exchange.alpn = _ALPN.get(scheme, ())
        said = _decide(runtime, connect, exchange)
    _find_way(runtime, said)
    if not said.allow:
        return said
    always = runtime.looking.always.get(said.rule)
    if scheme in _ALPN:
        said.tls = _tls(runtime, question.target, always=always)
    elif always:
        said.allow, said.rule, said.line = False, "not-tls", 0
        said.reason = "the tunnel is refused: not-tls"
    return said


def _tls(runtime: Runtime, target: Target, *, always: bool | None) -> str:
    """What becomes of TLS whose client offers http/1.1, and trusts us."""
    interception = runtime.looking.interception
    if always is None or interception is None or target.host in interception.exempt:
        return "passthrough"
    return "intercept_always" if always else "intercept"


def explain_nowait(
    runtime: Runtime,
    question: Question,
    *,
    known: Mapping[str, Address] | None = None,
    inside: bool = True,
) -> Explanation:
    """What would become of it, as far as it can be said without a look-up.

    Args:
        runtime: what is configured.
        question: the request.
        known: addresses of names.
        inside: see `ask_about`.
    """
    said = ask_about(runtime, question, inside=inside)
    host = question.target.host
    addresses: Sequence[Address] | None = None
    if host.address is not None:
        addresses = (host.address,)
    elif said.route == "direct":  # else the parent looks it up
        given = (known or {}).get(host.text)
        addresses = runtime.gate.resolver.known(host) if given is None else (given,)
    if not said.allow or addresses is None:
        return said
    return _vetted(runtime, question.target, said, addresses)


async def explain(
    runtime: Runtime, question: Question, *, known: Mapping[str, Address] | None = None
) -> Explanation:
    """What would become of it, addresses included.

    Args:
        runtime: what is configured.
        question: the request.
        known: addresses of names that are not to be looked up.
    """
    said = explain_nowait(runtime, question, known=known)
    if not said.allow or said.addresses or said.route != "direct":
        return said
    host = question.target.host
    try:
        addresses = await runtime.gate.resolver.resolve(host)
    except (ResolveFailed, ResolveTimeout) as error:
        said.addresses[host.text] = error.detail
        return said
    return _vetted(runtime, question.target, said, addresses)


def _vetted(
    runtime: Runtime, target: Target, said: Explanation, addresses: Sequence[Address]
) -> Explanation:
    for address in addresses:
        try:
            runtime.gate.vet(target, (address,))
        except Denied as error:
            said.addresses[str(address)] = error.detail
        else:
            said.addresses[str(address)] = None
    if all(said.addresses.values()):
        said.allow, said.rule, said.line = False, "private-networks", 0
        said.reason = next(iter(said.addresses.values())) or ""
        return said
    families = {address.version for address in said.source}
    for address in addresses:
        if families and address.version not in families and said.addresses[str(address)] is None:
            said.addresses[str(address)] = f"there is no IPv{address.version} source address"
    return said


def _decide(runtime: Runtime, request: ProxyRequest, exchange: Exchange) -> Explanation:
    gate = runtime.gate
    try:
        gate.decide_again(request, exchange)
    except Denied as error:
        allow, reason, message = False, error.detail, error.message
    else:
        allow, reason, message = True, f"rule '{exchange.rule}' allows", ""
    rule = exchange.rule or "default"
    line = next((one.line for one in gate.rules.rules if one.name == rule), 0)
    if allow and rule == "default":
        reason = "no rule matched; default allow"
    return Explanation(
        allow=allow,
        rule=rule,
        line=line,
        reason=reason,
        message=message,
        would_deny=exchange.would_deny,
        would_allow=exchange.would_allow,
    )


def _find_way(runtime: Runtime, said: Explanation) -> None:
    parents = runtime.gate.parents.get(said.rule)
    if parents is not None:
        said.route = parents.name
    said.source = tuple(runtime.gate.sources.get(said.rule, {}).values())


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
