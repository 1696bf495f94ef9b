"""One client connection: its channel, its own upstream connection, and its manners.

The upstream connection belongs to this client alone for as long as it lives:
connection-bound authentication (NTLM) works, and no response can reach
anybody else's request.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate

import h11
import trio

from wsproxy.errors import WsproxyError
from wsproxy.model import Address, CloseReason, Peer, ProxyRequest, Side, Target
from wsproxy.net.allowance import Allowances
from wsproxy.net.http1 import ClientChannel, UpstreamChannel
from wsproxy.net.streams import TcpStream
from wsproxy.net.tls import start_upstream_tls
from wsproxy.net.tls_socket import Endpoint, TlsSocket
from wsproxy.observe.exchange import Exchange
from wsproxy.proxy.gate import Remembered
from wsproxy.proxy.pages import Page, reason_phrase
from wsproxy.proxy.route import Attempt, Route
from wsproxy.proxy.runtime import Live
from wsproxy.proxy.shares import Pair
from wsproxy.proxy.upstream import Inside, Upstream

__all__ = ["Begun", "Session"]

MAX_DISCARDED_BYTES = 64 * 1024 * 1024
"""How much of a refused request's body is read for the sake of clients that
send it whole before they look at the answer (.NET, OkHttp, Java)."""
MAX_DISCARD_S = 120.0
"""For how long at most."""


@dataclass(slots=True)
class Begun:
    """What the express lane did of a connection that it leaves to a session.

    Attributes:
        octets: read from the client, for the first request.
        attempt: to connect that request's upstream.
        noted: that request is counted already, see `Quotas.take`.
    """

    octets: bytes = b""
    attempt: Attempt | None = None
    noted: bool = False

    def take_attempt(self, addresses: Sequence[Address]) -> Attempt | None:
        """The attempt, if it leads to one of `addresses`; else it is given up."""
        attempt, self.attempt = self.attempt, None
        if attempt is not None and attempt.address not in addresses:
            attempt.sock.close()
            return None
        return attempt

    def give_up(self) -> None:
        """Closes what nobody took."""
        self.take_attempt(())


class Session:
    """What the requests of one client connection share.

    Args:
        client: the channel to the client.
        peer: its address.
        live: what is configured.
        begun: what was done already.
        inside: of what tunnel this is the inside; None for the connection itself.

    Attributes:
        runtime: what was configured when the latest request began.
        upstream: this client's own connection to an origin, if there is one.
        waited_s: how much of the first head's time was gone at its first octet.
        ending: who ended it and why, so far as it has ended.
        remembered: what is remembered of the client's authentication.
        allowances: what the content of the request that was admitted last may move.
    """

    __slots__ = (
        "_share",
        "allowances",
        "begun",
        "client",
        "ending",
        "inside",
        "live",
        "peer",
        "remembered",
        "runtime",
        "upstream",
        "waited_s",
    )

    def __init__(
        self,
        client: ClientChannel,
        peer: Peer,
        live: Live,
        begun: Begun | None = None,
        *,
        inside: Inside | None = None,
    ) -> None:
        self.begun = begun or Begun()
        if self.begun.octets:
            client.http.receive_data(self.begun.octets)
        self.client = client
        self.peer = peer
        self.live = live
        self.runtime = live.runtime
        self.inside = inside
        self.upstream: Upstream | None = None
        self.waited_s = 0.0
        self.ending = Side.CLIENT, CloseReason.EOF
        self.remembered = Remembered()
        self.allowances: Allowances | None = None
        self._share: Pair | None = None

    @property
    def scheme(self) -> str:
        """Of the URL by which the client knows this proxy."""
        return "https" if isinstance(self.client.stream.sock, TlsSocket) else "http"

    def new_exchange(self, began_at: float) -> Exchange:
        """The notebook of the next request; inside a tunnel it is known who asks."""
        self.runtime = self.live.runtime
        exchange = Exchange(self.peer, began_at)
        if self.inside is not None:
            exchange.enter(self.inside.exchange)
        return exchange

    async def admit(self, request: ProxyRequest, exchange: Exchange) -> Route:
        """Asks the gate; see `Gate.admit`."""
        gate, inside = self.runtime.gate, self.inside
        connected = self.paired(request.target)
        if inside is None:
            route = await gate.admit(
                request, exchange, connected=connected, remembered=self.remembered
            )
            self.confirm(exchange)
            self.runtime.quotas.enter(exchange, trio.current_time())
        else:
            gate.decide(request, exchange)
            self.catch_up(exchange)
            self.runtime.quotas.shares.check(exchange, trio.current_time())
            route = inside.route
        self._allot(exchange)
        return route

    def _allot(self, exchange: Exchange) -> None:
        """Finds out how fast an admitted request may be."""
        shares = self.runtime.quotas.shares
        if self._share is None:
            self._share = shares.connection()
        self.allowances = shares.allowances(exchange, trio.current_time(), self._share)

    def confirm(self, exchange: Exchange) -> None:
        """Has what was admitted confirmed, if another gate has come into place meanwhile.

        Raises:
            WsproxyError: see `Gate.review`.
        """
        if self.runtime is not self.live.runtime:
            self.live.runtime.gate.review(exchange)
        self.runtime.standing.note_expiry(exchange)

    def catch_up(self, exchange: Exchange) -> None:
        """Goes on with what is configured now, once it is connected: only then one address is left to vet.

        Raises:
            WsproxyError: see `confirm`.
        """
        self.confirm(exchange)
        self.runtime = self.live.runtime

    def paired(self, target: Target) -> Address | None:
        """The address of this client's connection to `target`, if it can be used again."""
        if self.upstream is not None and not self.upstream.serves(target):
            self.drop_upstream()
        # Where a parent is, the target is not.
        return self.upstream.address if self.upstream and self.upstream.way[0] is None else None

    async def connect(
        self, route: Route, exchange: Exchange, *, tunnel: bool = False
    ) -> UpstreamChannel:
        """The connection for `route`: the paired one, or a new one that becomes it.

        Args:
            route: admitted.
            exchange: gets the address.
            tunnel: see `Route.connect`.

        Raises:
            ConnectFailed: or what else `Route.connect` raises.
        """
        upstream = self.upstream
        # Again, because authentication may have taken its time since `paired`.
        leads_there = (
            upstream
            and upstream.way == route.way
            and (route.parents or upstream.address in route.addresses)
        )
        if upstream and leads_there and upstream.serves(route.target):
            if upstream.fresh:
                upstream.fresh = False
            else:
                upstream.channel.http.start_next_cycle()
                upstream.used = True
            source, parent = route.sources.get(upstream.address.version), upstream.parent
            port = route.target.port if parent is None else parent.port
            exchange.dial(upstream.address, port, source)
            if route.parents is not None:
                exchange.upstream = route.parents.name
            return upstream.channel
        self.drop_upstream()
        if self.inside is not None and self.inside.error is not None:
            raise self.inside.error
        inside = self.inside
        endpoint, address, parent = await route.connect(
            exchange, tunnel=tunnel or inside is not None
        )
        try:
            self.catch_up(exchange)
        except WsproxyError:
            endpoint.close()
            raise
        channel = UpstreamChannel(TcpStream(await self._secure(endpoint)))
        self.upstream = Upstream(
            channel, route.target, address, fresh=False, parent=parent, way=route.way
        )
        return channel

    async def _secure(self, sock: Endpoint) -> Endpoint:
        """`sock` as it is, or with TLS on it where the client has that, too."""
        inside = self.inside
        if inside is None:
            return sock
        host = inside.target.host.text
        return await start_upstream_tls(sock, inside.context, host, timeout_s=inside.handshake_s)

    def drop_upstream(self) -> None:
        """Closes this client's upstream connection."""
        if self.upstream is not None:
            self.upstream.channel.close()
            self.upstream = None

    def take_upstream(self) -> UpstreamChannel:
        """Gives the upstream connection away, to become a tunnel's."""
        upstream, self.upstream = self.upstream, None
        assert upstream is not None, "only after connect"
        return upstream.channel

    def may_go_on(self, request: ProxyRequest) -> bool:
        """Whether the connection may carry another request after this one."""
        return request.keep_alive and not self.runtime.drain.draining

    async def answer(
        self, page: Page, exchange: Exchange, *, request: ProxyRequest | None, close: bool
    ) -> None:
        """Sends a complete response of our own.

        Args:
            page: what to send.
            exchange: gets the status.
            request: what it answers; None when that was unreadable.
            close: whether the connection ends with it; said in
                Proxy-Connection too, to clients that use it.

        Raises:
            ClientGone: nobody there any more.
            ClientTimeout: the client takes nothing.
        """
        manner = b"close" if close else b"keep-alive"
        headers = [*page.headers, (b"Content-Length", b"%d" % len(page.body))]
        headers.append((b"Date", formatdate(usegmt=True).encode("ascii")))
        if close:
            headers.append((b"Connection", manner))
        if request is not None and request.field(b"proxy-connection") is not None:
            headers.append((b"Proxy-Connection", manner))
        phrase = reason_phrase(page.status)
        data = self.client.http.send_answer(page.status, phrase, headers, page.body)
        exchange.status = page.status
        await self.client.send(data, timeout_s=self.runtime.timeouts.body_s)

    async def discard_body(self) -> bool:
        """Reads the rest of a refused request's body, within bounds; True when all of it came."""
        http = self.client.http
        taken = 0
        with trio.move_on_after(MAX_DISCARD_S):
            try:
                while not http.request_complete and taken < MAX_DISCARDED_BYTES:
                    event = await self.client.next_event(timeout_s=self.runtime.timeouts.body_s)
                    taken += len(event.data) if isinstance(event, h11.Data) else 0
                    await trio.lowlevel.checkpoint()
            except WsproxyError:
                return False
        return http.request_complete

    def abort(self) -> None:
        """Ends the client's connection so that what it has does not look complete.

        A response whose end is the end of the connection needs a reset for
        that; all others show it by their framing, and keep what is on its way.
        """
        if self.client.http.ends_with_close:
            linger = struct.pack("ii", 1, 0)
            self.client.stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.client.close()

    def close(self) -> None:
        """Closes what is still open."""
        self.begun.give_up()
        self.drop_upstream()
        self.client.close()
