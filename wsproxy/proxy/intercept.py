"""A tunnel that is looked into: what are its first octets, may they pass, and who answers them.

Order matters.  First it is known what the client says, and policy decides again.  Then
the origin proves who it is, and only then the client gets a certificate in its name, so
nobody is ever told that an origin can be trusted which cannot.  An origin that fails is
reported inside: in a page that the client can read, over TLS that it trusts.  Then the
front door of `wsproxy.proxy.http` takes over, and every request inside passes the gate.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal, NamedTuple

import trio

from wsproxy.errors import (
    ClientGone,
    ClientTlsError,
    Denied,
    UpstreamTlsError,
    WsproxyError,
)
from wsproxy.model import CloseReason, ProxyRequest, Side
from wsproxy.net.http1 import ClientChannel, UpstreamChannel
from wsproxy.net.streams import TcpStream
from wsproxy.net.tls import ACCESS_DENIED, start_client_tls, start_upstream_tls
from wsproxy.net.tls_socket import TlsSocket
from wsproxy.observe.exchange import Exchange
from wsproxy.policy.ask import HALF_TLS
from wsproxy.protocol.client_hello import ClientHello
from wsproxy.proxy.looking import Interception
from wsproxy.proxy.open_tunnel import OpenTunnel, inspection_of
from wsproxy.proxy.pages import answer_bytes, refusal
from wsproxy.proxy.peek import Seen, peek
from wsproxy.proxy.pins import Pins
from wsproxy.proxy.route import Route
from wsproxy.proxy.session import Session
from wsproxy.proxy.upstream import Inside, Upstream

__all__ = ["Intercepted", "Tunnelled", "look_into"]

log = logging.getLogger("wsproxy")

_ALPN = frozenset({"http/1.0", "http/1.1"})


class Tunnelled(NamedTuple):
    """A tunnel that stands and was not begun yet.

    Attributes:
        route: where it leads.
        upstream: connected.
        early: octets the client sent ahead.
    """

    route: Route
    upstream: TcpStream
    early: bytes


@dataclass(slots=True)
class Intercepted:
    """A conversation inside a tunnel.

    Attributes:
        session: of the conversation.
        exchange: of the CONNECT.
        tls: to the client.
    """

    session: Session
    exchange: Exchange
    tls: TlsSocket

    def close(self, closed_by: Side, reason: CloseReason) -> None:
        """Notes the end of the tunnel, and writes its record."""
        exchange = self.exchange
        exchange.bytes_up, exchange.bytes_down = self.tls.received_bytes, self.tls.sent_bytes
        exchange.end(closed_by, reason)
        runtime = self.session.live.runtime
        runtime.quotas.leave(exchange)
        runtime.log("access", exchange)


Choice = tuple[Literal["intercept", "passthrough", "refuse"], str]


async def look_into(
    session: Session, request: ProxyRequest, exchange: Exchange, way: Tunnelled
) -> OpenTunnel | Intercepted | bool:
    """Decides about a tunnel by what its client says first.

    Returns:
        What becomes of it; False when it was refused, and the connection ends.

    Raises:
        ClientGone: it left meanwhile.
    """
    timeout_s = session.runtime.looking.sniff_s
    client = session.client.stream
    try:
        seen = await peek(client, way.upstream, way.early, request.target, timeout_s=timeout_s)
        return await _Look(session, request, exchange, way, seen).decide()
    except trio.BrokenResourceError as error:
        raise ClientGone("the client's connection broke") from error
    finally:
        way.upstream.close()  # whoever goes on with it has detached it


@dataclass(slots=True)
class _Look:
    """A tunnel whose first octets are known."""

    session: Session
    request: ProxyRequest
    exchange: Exchange
    way: Tunnelled
    seen: Seen

    async def decide(self) -> OpenTunnel | Intercepted | bool:
        """What becomes of it."""
        exchange, seen = self.exchange, self.seen
        self._note()
        try:
            self.session.catch_up(exchange)
            self.session.runtime.gate.decide(self.request, exchange)
            choice, why = self._choose()
            if choice == "refuse":
                raise Denied(f"the tunnel is refused: {why}", rule=why, row="T26")
        except Denied as error:
            return await self._refuse(error)
        exchange.tls = _record(seen, choice, why)
        interception = self.session.runtime.looking.interception
        if choice == "intercept" and interception is not None:
            return await self._intercept(interception)
        return self._pass_through(self.way.upstream)

    def _note(self) -> None:
        kind, hello = self.seen.kind, self.seen.hello
        if hello is not None and not self.seen.agrees_with(self.request.target):
            kind = "other"
        self.exchange.sniffed = frozenset({kind, HALF_TLS} if self.seen.is_half_tls else {kind})
        self.exchange.alpn = () if hello is None else hello.alpn

    @property
    def _always(self) -> bool | None:
        """Whether the rule knows no exception; None when it does not intercept."""
        return self.session.runtime.looking.always.get(self.exchange.rule or "")

    def _choose(self) -> Choice:
        """What becomes of an allowed tunnel, and why; the why of a refusal stands for a rule."""
        seen, target, always = self.seen, self.request.target, self._always
        interception = self.session.runtime.looking.interception
        if seen.hello is None:
            if always and seen.kind == "other":
                return "refuse", "not-tls"
            return "passthrough", seen.why or f"it is {seen.kind}"
        agrees = seen.agrees_with(target)
        if not agrees and (always or interception is None or interception.fronting == "refuse"):
            return "refuse", "sni-mismatch"
        if always is None or interception is None:
            return "passthrough", "the rule"
        if not agrees:
            return "passthrough", "interception.fronting"
        return self._choose_by_exceptions(interception, seen.hello, always=always)

    def _choose_by_exceptions(
        self, interception: Interception, hello: ClientHello, *, always: bool
    ) -> Choice:
        target, client = self.request.target, self.session.peer.address
        if target.host in interception.exempt:
            return "passthrough", "interception.passthrough.hosts"
        if hello.alpn and _ALPN.isdisjoint(hello.alpn):
            return ("refuse", "alpn") if always else ("passthrough", "the client's alpn")
        pins = interception.pins
        if pins and not always and pins.passes(client, target.host, trio.current_time()):
            return "passthrough", "the client does not trust us"
        return "intercept", "the rule"

    async def _refuse(self, error: Denied) -> bool:
        """Says no in the client's own language, as far as we speak it."""
        exchange, seen, client = self.exchange, self.seen, self.session.client
        exchange.tls = _record(seen, "refuse", error.rule)
        exchange.fail(error)
        exchange.end(Side.PROXY, CloseReason.REFUSED)
        answer = b""
        if seen.hello is not None:
            answer = ACCESS_DENIED
        elif seen.kind != "other":
            answer = answer_bytes(refusal(error, session=exchange.id, request=None, challenges=[]))
        exchange.bytes_up, exchange.bytes_down = len(seen.octets), len(answer)
        if answer:
            await client.send(answer, timeout_s=self.session.runtime.timeouts.body_s)
        return False

    def _pass_through(self, upstream: TcpStream) -> OpenTunnel:
        """An ordinary tunnel; plain HTTP in it may yet be a WebSocket's."""
        session, exchange = self.session, self.exchange
        inspection = None
        if self.seen.kind in ("websocket", "http"):
            inspection = inspection_of(self.request, exchange, session.live)
        return OpenTunnel(
            session.client.stream.detach(),
            upstream.detach(),
            exchange,
            early_up=self.seen.octets,
            inspection=inspection,
        )

    async def _intercept(self, interception: Interception) -> OpenTunnel | Intercepted | bool:
        target, way, handshake_s = self.request.target, self.way, interception.handshake_s
        context, host = interception.context(target.host), target.host.text
        inside = Inside(target, way.route, self.exchange, context, handshake_s)
        upstream: TlsSocket | None = None
        try:
            sock = way.upstream.detach()
            upstream = await start_upstream_tls(sock, context, host, timeout_s=handshake_s)
        except UpstreamTlsError as error:
            if error.wants_other_protocol and not self._always:
                self.exchange.tls = _record(self.seen, "passthrough", "the origin's alpn")
                try:
                    endpoint, _address, _parent = await way.route.connect(self.exchange)
                except WsproxyError as gone:
                    inside.error = gone
                else:
                    return self._pass_through(TcpStream(endpoint))
            else:
                inside.error = error
        try:
            return await self._stand_between(inside, upstream, interception)
        except ClientTlsError as error:
            self._note_broken_off(error, interception.pins)
            return False
        finally:
            if upstream is not None and inside.upstream is None:
                upstream.close()

    async def _stand_between(
        self, inside: Inside, upstream: TlsSocket | None, interception: Interception
    ) -> Intercepted:
        session, exchange, host = self.session, self.exchange, inside.target.host
        client_context = await interception.minter.context(host)
        client = await start_client_tls(
            session.client.stream.detach(),
            client_context,
            self.seen.octets,
            timeout_s=interception.handshake_s,
        )
        if interception.pins is not None:
            interception.pins.succeeded(session.peer.address, host)
        channel = ClientChannel(TcpStream(client))
        inner = Session(channel, session.peer, session.live, inside=inside)
        if upstream is not None:
            assert exchange.dialled is not None
            ready = UpstreamChannel(TcpStream(upstream))
            inside.upstream = Upstream(
                ready, inside.target, exchange.dialled.address, way=inside.route.way
            )
            inner.upstream = inside.upstream
        return Intercepted(inner, exchange, client)

    def _note_broken_off(self, error: ClientTlsError, pins: Pins | None) -> None:
        exchange, client, host = self.exchange, self.session.peer.address, self.request.target.host
        exchange.fail(error)
        exchange.end(Side.CLIENT, CloseReason.PROTOCOL)
        if pins and error.distrusts and pins.failed(client, host, trio.current_time()):
            log.warning(
                "%s does not trust our certificate for %s: its TLS there is not looked into for a while (%s)",
                client,
                host,
                exchange.id,
            )


def _record(seen: Seen, choice: str, why: str) -> dict[str, object] | None:
    if seen.hello is None:
        return None
    return {
        "action": choice,
        "why": why,
        "server_name": seen.hello.server_name,
        "alpn": list(seen.hello.alpn),
        "encrypted_hello": seen.hello.encrypted,
    }
