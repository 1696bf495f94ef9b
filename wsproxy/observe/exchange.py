"""One request's notebook: what is known so far, which becomes its one access record.

Nothing secret gets in: no credentials, no cookies, no query of a URL.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Sequence

from wsproxy.errors import ClientProtocolError, Denied, WsproxyError, face
from wsproxy.model import (
    Address,
    AddressVerdict,
    CloseReason,
    Identity,
    Peer,
    ProxyRequest,
    Side,
    Target,
    Verdict,
)
from wsproxy.observe.summary import Summary

__all__ = ["Exchange", "milliseconds"]


# Together an id, unique across processes and restarts; a name, not a secret.
_PROCESS = secrets.token_hex(4)
_number = itertools.count(1)


class Exchange:
    """What happened to one request or tunnel, written down as it happens.

    The session that reads the request owns it and logs it exactly once; a
    tunnel keeps it for its whole life, so it holds short strings and numbers,
    never the request.  An attribute that was not set says that it is not known.

    Args:
        peer: the client.
        began_at: `trio.current_time()` of the request's first octet.

    Attributes:
        id: shown on the error page and in Proxy-Status too.
        identity: as authenticated; a tunnel is judged again when it is known what it carries.
        user: its name.
        kind: ``connect``, ``forward``, ``upgrade`` or ``own``.
        method: request method.
        target: ``host:port`` of a tunnel, else the URL without its query.
        version: HTTP version of the request.
        user_agent: for the combined format.
        dialled: the address and port the upstream connection leads to.
        source: the address it comes from, where one is configured.
        rule: name of the rule that decided.
        verdict: ``allow`` or ``deny``.
        judged: what policy says of the name.
        addresses: what it says of each address the name leads to.
        inspection: how closely a WebSocket is looked at; None for not at all.
        would_deny: names of what only reports and would have denied.
        would_allow: the same of what would have allowed.
        status: of the response; None when there was none.
        error: RFC 9209 error token.
        detail: what went wrong, in words.
        threat: row of docs/security.md, for a rejected request.
        bytes_up: octets of tunnel or body from client to upstream.
        bytes_down: octets of tunnel or body from upstream to client.
        closed_by: who ended it first.
        reason: why it ended.
        head_ms: from the first octet to the last of the head, in milliseconds.
        authenticate_ms: verification of credentials.
        resolve_ms: look-up of the name.
        connect_ms: until the upstream connection stood.
        websocket: what was said over it, as far as it was looked into; its URL is
            `inner` where it was opened inside a tunnel.
        inner: URL of the handshake inside a tunnel, without its query.
        sniffed: what a tunnel's first octets are; see `wsproxy.policy.ask.SNIFFED`.
        alpn: what its ClientHello offers.
        tls: what was done with its TLS, and why.
        tunnel: id of the intercepted tunnel this was said in.
        upstream: name of the parent proxies it went through.
        asked: what policy was asked about it, in order; its gate's own to read.
        revoked: what would be answered now, of what was allowed and is so no more.
        counted_user: whose quota it holds a place of.
        counted_rule: the same of a rule.
        first_byte_ms: from the request's first octet to the answer's head.
    """

    # Defaults of the class cost an instance nothing until it says otherwise.
    identity: Identity | None = None
    user: str | None = None
    kind: str | None = None
    method: str | None = None
    target: Target | str | None = None
    version: str | None = None
    user_agent: str | None = None
    dialled: Peer | None = None
    source: Address | None = None
    rule: str | None = None
    verdict: str | None = None
    judged: Verdict | None = None
    addresses: Sequence[AddressVerdict] = ()
    inspection: str | None = None
    would_deny: tuple[str, ...] = ()
    would_allow: tuple[str, ...] = ()
    status: int | None = None
    error: str | None = None
    detail: str | None = None
    threat: str | None = None
    bytes_up = 0
    bytes_down = 0
    closed_by: Side | None = None
    reason: CloseReason | None = None
    websocket: Summary | None = None
    inner: str | None = None
    sniffed: frozenset[str] | None = None
    alpn: tuple[str, ...] = ()
    tls: dict[str, object] | None = None
    tunnel: str | None = None
    upstream: str | None = None
    asked: tuple[object, ...] = ()
    revoked: WsproxyError | None = None
    counted_user: str | None = None
    counted_rule: str | None = None
    head_ms: float | None = None
    authenticate_ms: float | None = None
    resolve_ms: float | None = None
    connect_ms: float | None = None
    first_byte_ms: float | None = None

    def __init__(self, peer: Peer, began_at: float) -> None:
        self.id = f"{_PROCESS}{next(_number):08x}"
        self.peer = peer
        self.began_at = began_at

    def begin(self, request: ProxyRequest, now: float) -> None:
        """Notes what was asked, without the query: that is where tokens travel."""
        self.head_ms = milliseconds(self.began_at, now)
        self.kind = request.kind.value
        self.method = request.method
        self.version = request.version
        target = request.target
        if self.kind == "connect":
            self.target = target  # written out when it is logged
        elif self.kind == "own":
            self.target = target.path.partition(b"?")[0].decode("latin-1")
        else:
            url, question, _query = str(target).partition("?")
            self.target = url + "?…" if question else url
        agent = request.field(b"user-agent")
        if agent:
            self.user_agent = agent.decode("latin-1")

    def enter(self, outer: Exchange) -> None:
        """Notes what is known from the intercepted tunnel that this is said in."""
        self.tunnel = outer.id
        self.upstream = outer.upstream
        self.sniffed, self.alpn = outer.sniffed, outer.alpn
        if outer.identity is not None:
            self.identify(outer.identity)

    def identify(self, identity: Identity) -> None:
        """Notes who asks."""
        self.identity = identity
        self.user = identity.user

    def judge(self, verdict: Verdict) -> None:
        """Notes what policy says: of a tunnel that is judged again, the last word.

        What only reports is added up, for each of it would have been the last word.
        """
        self.judged = verdict
        self.verdict = "allow" if verdict.allow else "deny"
        self.rule = verdict.rule
        if verdict.would_deny or verdict.would_allow:
            self.would_deny = tuple(dict.fromkeys(self.would_deny + verdict.would_deny))
            self.would_allow = tuple(dict.fromkeys(self.would_allow + verdict.would_allow))

    def dial(self, address: Address, port: int, source: Address | None = None) -> None:
        """Notes where the upstream connection leads, and where it was made to come from."""
        self.dialled = Peer(address, port)
        if source is not None:
            self.source = source

    def fail(self, error: BaseException) -> None:
        """Notes what went wrong; the status is noted only when it is sent."""
        self.error = face(error).token
        self.detail = error.detail if isinstance(error, WsproxyError) else "internal error"
        if isinstance(error, ClientProtocolError):
            self.threat = error.row
        if isinstance(error, Denied):
            self.threat = error.row
            self.rule = error.rule
            self.verdict = "deny"

    def end(self, closed_by: Side, reason: CloseReason) -> None:
        """Notes who ended it first and why; the first note stays."""
        if self.reason is None:
            self.closed_by, self.reason = closed_by, reason


def milliseconds(began_at: float, now: float) -> float:
    """From `began_at` to `now`, both in seconds."""
    return (now - began_at) * 1000
