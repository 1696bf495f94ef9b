"""A client's own connection to an origin, and the tunnel that has one inside."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from wsproxy.errors import ConnectFailed, UpstreamProtocolError, WsproxyError
from wsproxy.model import Address, Headers, ProxyRequest, Target
from wsproxy.net.http1 import UpstreamChannel
from wsproxy.net.parents import Parent
from wsproxy.net.tickets import Introduction
from wsproxy.observe.exchange import Exchange
from wsproxy.protocol.inside import interpret_inside
from wsproxy.proxy.route import ANY_SOURCE, Route, Way

__all__ = ["Inside", "Upstream"]


class Upstream:
    """A client's own connection to an origin.

    Args:
        channel: open and idle.
        target: what it was opened for.
        address: where it leads.
        fresh: nothing was asked over it yet.
        parent: takes requests in absolute-form over it; None: it leads to the target.
        way: how it was made.

    Attributes:
        used: for more than one request.
        authenticated: by a scheme that authenticates connections, or about to be.
        introduction: of us to the parent, which it has not answered yet.
    """

    __slots__ = (
        "address",
        "authenticated",
        "channel",
        "fresh",
        "introduction",
        "parent",
        "target",
        "used",
        "way",
    )

    def __init__(
        self,
        channel: UpstreamChannel,
        target: Target,
        address: Address,
        *,
        fresh: bool = True,
        parent: Parent | None = None,
        way: Way = (None, ANY_SOURCE),
    ) -> None:
        self.parent = parent
        self.way = way
        self.fresh = fresh
        self.channel = channel
        self.target = target
        self.address = address
        self.used = False
        self.authenticated = False
        self.introduction: Introduction | None = None

    async def introduce(self) -> list[tuple[bytes, bytes]]:
        """The field that proves to the parent who we are.

        Raises:
            ConnectFailed: no ticket can be had.
            ConnectTimeout: or not in time.
        """
        if self.parent is None:
            return []
        if self.parent.tickets is None:
            return self.parent.authorization
        self.introduction = await self.parent.tickets.introduce()
        return [self.introduction.credentials]

    def refused(self) -> WsproxyError:
        """What a 407 of upstream means."""
        if self.parent is None:
            # Only we may ask for the credentials the client has for its proxy.
            return UpstreamProtocolError("the origin asked for proxy credentials")
        return ConnectFailed(f"{self.parent.name} refuses our credentials")

    def hear(self, headers: Headers) -> None:
        """Looks at how the parent answers an introduction.

        Raises:
            ConnectFailed: it is not who it must be.
        """
        introduction, self.introduction = self.introduction, None
        if introduction is not None:
            introduction.check(headers)

    def serves(self, target: Target) -> bool:
        """Whether a request for `target` may use this connection."""
        mine = self.target
        same = (mine.host, mine.port) == (target.host, target.port)
        return same and (self.channel.untouched if self.fresh else self.channel.reusable)


@dataclass(slots=True)
class Inside:
    """A tunnel that is intercepted, as its inside knows it.

    Attributes:
        target: of the CONNECT.
        route: where it leads.
        exchange: of the CONNECT.
        context: our side of TLS towards the origin.
        handshake_s: for one handshake.
        error: why nothing can be asked of the origin.
        upstream: the connection that was made with the tunnel.
    """

    target: Target
    route: Route
    exchange: Exchange
    context: ssl.SSLContext
    handshake_s: float
    error: WsproxyError | None = None
    upstream: Upstream | None = None

    def interpret(self, request: ProxyRequest) -> ProxyRequest:
        """What a request asks for.

        Raises:
            ClientProtocolError: not what may be asked inside a tunnel.
        """
        return interpret_inside(request, self.target)
