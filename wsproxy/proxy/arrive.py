"""From accept to HTTP: who a balancer says it is, and TLS to the proxy (docs/adr/0014).

Order matters.  A PROXY header comes first, in clear, and only from peers that are trusted: there
it must come, and from others it is a malformed request like any other.  It names the client before
anything is counted or decided.  Then TLS, within `timeouts.tls_handshake`, holding one of the
places that `limits` counts.  Behind both stands the front door of `wsproxy.proxy.http`, which sees a
client and a socket as ever: a `TlsSocket` stands in for one.

Nothing here waits without a deadline, and a connection that ends here leaves one record, as all do.
"""

from __future__ import annotations

import functools
import socket
import ssl
from dataclasses import dataclass, replace

import trio

from wsproxy.errors import (
    ClientGone,
    ClientProtocolError,
    ClientTimeout,
    LimitReached,
    WsproxyError,
)
from wsproxy.model import CloseReason, Peer, Side
from wsproxy.net.http1 import ClientChannel, deadline
from wsproxy.net.listen import Handler
from wsproxy.net.streams import TcpStream
from wsproxy.net.tls import certificate_of, start_client_tls
from wsproxy.observe.exchange import Exchange
from wsproxy.policy.networks import unmapped
from wsproxy.protocol.proxy_header import ProxyHeader, ProxyHeaderError, parse_proxy_header
from wsproxy.proxy.entrance import Entrance
from wsproxy.proxy.express import express, receive_at_once
from wsproxy.proxy.http import blame, serve, serve_admitted, turn_away
from wsproxy.proxy.runtime import Live
from wsproxy.proxy.session import Begun, Session

__all__ = ["arrive"]

_HANDSHAKE = 0x16
"""The first octet of TLS (RFC 8446 §5.1)."""


def arrive(sock: socket.socket, peer: Peer, *, live: Live, listener: int) -> Handler | None:
    """Looks at an accepted connection of a listener; see `wsproxy.net.listen.Look`.

    Args:
        sock: accepted.
        peer: its far end.
        live: what is configured.
        listener: which of its entrances.
    """
    entrance = live.runtime.entrances[listener]
    expects_header = entrance.expects_header(peer.address)
    if entrance.tls is None and not expects_header:
        return express(sock, peer, live=live)
    octets = receive_at_once(sock)
    if expects_header and entrance.tls is None and (header := _whole(octets)) is not None:
        client = _named(peer, header)
        handler = express(sock, client, live=live, octets=octets[header.size :])
        return None if handler is None else functools.partial(_serve_for, handler, client)
    return functools.partial(_enter, live=live, entrance=entrance, octets=octets)


def _whole(octets: bytes) -> ProxyHeader | None:
    """The header, if it is there; what is wrong with it is told later."""
    try:
        return parse_proxy_header(octets)
    except ProxyHeaderError:
        return None


def _named(peer: Peer, header: ProxyHeader) -> Peer:
    """Who the client is, behind a header from `peer`."""
    source = header.source
    return peer if source is None else Peer(unmapped(source.address), source.port)


async def _serve_for(handler: Handler, client: Peer, sock: socket.socket, _balancer: Peer) -> None:
    """Serves the client that a header named, not the peer that was accepted."""
    await handler(sock, client)


async def _enter(
    sock: socket.socket, peer: Peer, *, live: Live, entrance: Entrance, octets: bytes
) -> None:
    """Serves one connection, to its end or until it has become a tunnel."""
    arrival = _Arrival(TcpStream(sock), peer, octets, entrance, live, trio.current_time())
    session = None
    try:
        with trio.CancelScope() as scope, live.runtime.drain.interrupting(scope):
            await arrival.read_header()
            if entrance.tls is not None:
                session = await arrival.secure(entrance.tls)
    except WsproxyError as error:
        return await arrival.refuse(error)
    except BaseException:
        arrival.stream.close()
        raise
    if scope.cancelled_caught:
        arrival.stream.close()
        arrival.note(Side.PROXY, CloseReason.DRAINED)
    elif session is not None:
        await serve_admitted(session)
    elif entrance.tls is None:
        begun = Begun(arrival.octets)
        await serve(arrival.stream.detach(), arrival.peer, live=live, begun=begun)
    return None


@dataclass(slots=True)
class _Arrival:
    """A connection before HTTP.

    Attributes:
        stream: to the client, in clear; given away to TLS.
        peer: who it is, as far as that is known.
        octets: received and not used yet.
        entrance: of its listener.
        live: what is configured.
        began_at: when it was accepted.
    """

    stream: TcpStream
    peer: Peer
    octets: bytes
    entrance: Entrance
    live: Live
    began_at: float

    async def read_header(self) -> None:
        """Learns who the client is, where a header must say so.

        Raises:
            ClientProtocolError: there is no header, or a malformed one.
            ClientTimeout: it did not come in time.
            ClientGone: nor will it.
            LimitReached: so many come that there is no time to ask.
        """
        if not self.entrance.expects_header(self.peer.address):
            return
        # The sender is a balancer: whose places are taken is known only behind the header.
        self.live.runtime.occupancy.enter(None)
        try:
            with deadline(self.live.runtime.timeouts.request_head_s, _slow_header):
                while (header := parse_proxy_header(self.octets)) is None:
                    await self._receive()
        except ProxyHeaderError as error:
            detail = f"{error}; connections from this address begin with a PROXY header"
            raise ClientProtocolError(detail, row="T2") from error
        finally:
            self.live.runtime.occupancy.leave(None)
        self.peer, self.octets = _named(self.peer, header), self.octets[header.size :]

    async def secure(self, context: ssl.SSLContext) -> Session:
        """TLS on the connection, which has its place then.

        Raises:
            LimitReached: there is none.
            ClientProtocolError: the client does not speak TLS.
            ClientTimeout: it says nothing.
            ClientGone: it left.
            ClientTlsError: the handshake failed.
        """
        occupancy, address = self.live.runtime.occupancy, self.peer.address
        occupancy.enter(address)
        try:
            return await self._shake_hands(context)
        except BaseException:
            occupancy.leave(address)
            raise

    async def _shake_hands(self, context: ssl.SSLContext) -> Session:
        ends_at = trio.current_time() + self.entrance.handshake_s
        with deadline(self.entrance.handshake_s, _slow_handshake):
            while not self.octets:
                await self._receive()
        if self.octets[0] != _HANDSHAKE:
            detail = "this port speaks TLS: the URL of the proxy begins with https://"
            raise ClientProtocolError(detail, row="T2")
        left_s = max(0.0, ends_at - trio.current_time())
        tls = await start_client_tls(self.stream.detach(), context, self.octets, timeout_s=left_s)
        # Requests, and most that goes through tunnels, say themselves where they end.
        tls.lenient = True
        peer = replace(self.peer, certificate=certificate_of(tls))
        return Session(ClientChannel(TcpStream(tls)), peer, self.live)

    async def refuse(self, error: WsproxyError) -> None:
        """Ends a connection that came to nothing, with an answer where one can be understood."""
        if not self.octets and isinstance(error, ClientGone):
            reset = isinstance(error.__cause__, trio.BrokenResourceError)
            self.note(Side.CLIENT, CloseReason.RESET if reset else CloseReason.EOF)
        elif not self.octets and isinstance(error, ClientTimeout):
            self.note(Side.PROXY, CloseReason.TIMEOUT)
        elif (session := await self._speaking(error)) is not None:
            await turn_away(session, error)
        else:
            self.note(*blame(error), error)
        self.stream.close()

    async def _speaking(self, error: WsproxyError) -> Session | None:
        """What an answer can be given over; None: nobody would understand it."""
        context = self.entrance.tls
        if context is None or isinstance(error, ClientProtocolError):
            return Session(ClientChannel(self.stream), self.peer, self.live)
        if not isinstance(error, LimitReached):
            return None
        # Only behind a handshake can it be said; that costs more than all the rest of it.
        with self.live.runtime.occupancy.turning_away() as polite:
            try:
                return await self._shake_hands(context) if polite else None
            except WsproxyError:
                return None

    def note(self, by: Side, reason: CloseReason, error: WsproxyError | None = None) -> None:
        """Writes the connection's only record."""
        exchange = Exchange(self.peer, self.began_at)
        if error is not None:
            exchange.fail(error)
        exchange.end(by, reason)
        self.live.runtime.log("access", exchange)

    async def _receive(self) -> None:
        try:
            data = await self.stream.receive_some()
        except trio.BrokenResourceError as error:
            raise ClientGone("the client's connection broke") from error
        if not data:
            raise ClientGone("the client left before its first request")
        self.octets += data


def _slow_header() -> ClientTimeout:
    return ClientTimeout("the PROXY header did not arrive in time")


def _slow_handshake() -> ClientTimeout:
    return ClientTimeout("the client did not begin a TLS handshake in time")
