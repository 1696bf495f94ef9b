"""The way out of an admitted request.

Only `wsproxy.proxy.gate.Gate` makes a `Route`, and only a `Route` connects: to the
addresses that were vetted and to nothing else, or through a parent proxy that the
configuration names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from wsproxy.errors import (
    ConnectFailed,
    ResolveFailed,
    ResolveTimeout,
    UpstreamClosed,
    UpstreamProtocolError,
    UpstreamTlsError,
)
from wsproxy.model import Address, Target
from wsproxy.net.dial import ANY_SOURCE, Attempt, Sources, begin, dial, fitting
from wsproxy.net.parents import Parent, enter, open_way
from wsproxy.net.resolve import Resolver
from wsproxy.net.tls_socket import Endpoint
from wsproxy.observe.exchange import Exchange, milliseconds

__all__ = ["ANY_SOURCE", "Attempt", "Parents", "Route", "Sources", "Way"]

Way = tuple["Parents | None", Sources]
"""How a connection is made, wherever it leads: a later request may want another one."""

_DOWN_S = 10.0
"""A parent that could not be reached is asked last for so long."""
_TRY_THE_NEXT = (
    ConnectFailed,
    ResolveFailed,
    ResolveTimeout,
    UpstreamClosed,
    UpstreamProtocolError,
    UpstreamTlsError,
)


class Parents:
    """Proxies that lead to the same places, in order of preference.

    Args:
        name: in the configuration.
        parents: at least one.
        resolver: finds them.
        timeout_s: for one handshake with one of them.
    """

    def __init__(
        self, name: str, parents: Sequence[Parent], resolver: Resolver, timeout_s: float
    ) -> None:
        self.name = name
        self._parents = tuple(parents)
        self._resolver = resolver
        self._timeout_s = timeout_s
        self._down_until: dict[Parent, float] = {}

    async def connect(
        self, route: Route, exchange: Exchange, *, tunnel: bool
    ) -> tuple[Endpoint, Address, Parent]:
        """A connection that leads to a target, or to a parent that takes requests for it.

        Args:
            route: says which target, and how a parent is dialled.
            exchange: gets the address.
            tunnel: the target's own octets go over it.

        Raises:
            WsproxyError: what the last parent that was tried failed with.
        """
        now = trio.current_time()
        order = sorted(self._parents, key=lambda one: self._down_until.get(one, 0.0) > now)
        for left, parent in enumerate(order, 1 - len(order)):
            try:
                return await self._connect(parent, route, exchange, tunnel=tunnel)
            except _TRY_THE_NEXT:
                if not left:
                    raise
        raise AssertionError("there is a parent")  # pragma: no cover

    async def _connect(
        self, parent: Parent, route: Route, exchange: Exchange, *, tunnel: bool
    ) -> tuple[Endpoint, Address, Parent]:
        try:
            own = parent.host.address
            addresses = [own] if own else await self._resolver.resolve(parent.host)
            sock, address = await dial(
                addresses, parent.port, timeout_s=route.connect_timeout_s, sources=route.sources
            )
            endpoint = await enter(sock, parent, timeout_s=self._timeout_s)
        except _TRY_THE_NEXT:
            self._down_until[parent] = trio.current_time() + _DOWN_S
            raise
        self._down_until.pop(parent, None)
        exchange.dial(address, parent.port, route.sources.get(address.version))
        if tunnel or not parent.takes_requests:
            try:
                await open_way(endpoint, parent, route.target, timeout_s=self._timeout_s)
            except BaseException:
                endpoint.close()
                raise
        return endpoint, address, parent


@dataclass(frozen=True, slots=True)
class Route:
    """An admitted way out.

    Attributes:
        target: what was asked for.
        addresses: where it leads, every one vetted; none when a parent knows.
        connect_timeout_s: for all attempts of `connect` together.
        parents: in place of the addresses.
        sources: addresses of ours to connect from.
    """

    target: Target
    addresses: Sequence[Address]
    connect_timeout_s: float
    parents: Parents | None = field(default=None)
    sources: Sources = field(default_factory=dict)

    @property
    def way(self) -> Way:
        """What a connection must share to be used for a request that was admitted to this route."""
        return self.parents, self.sources

    def connect_nowait(self, exchange: Exchange) -> Attempt | None:
        """Begins to connect; `exchange` has the address if that was all.

        Returns:
            None when there are several addresses, which takes some racing, or a parent.

        Raises:
            ConnectFailed: or one of its kinds.
            DescriptorsExhausted: no socket left.
            SourceUnavailable: the address to connect from is gone.
        """
        addresses = fitting(self.addresses, self.sources)
        if len(addresses) != 1:
            return None
        began_at = trio.current_time()
        attempt = begin(addresses[0], self.target.port, self.sources)
        if attempt.stands():
            exchange.connect_ms = milliseconds(began_at, trio.current_time())
            self._note(attempt.address, exchange)
        return attempt

    async def connect(
        self, exchange: Exchange, *, begun: Attempt | None = None, tunnel: bool = True
    ) -> tuple[Endpoint, Address, Parent | None]:
        """A connection, the address it leads to, and the parent that takes requests over it.

        Args:
            exchange: gets the address and how long it took.
            begun: what `connect_nowait` began for the same request.
            tunnel: the target's own octets go over it; else a parent that can gets requests
                in absolute-form, and is returned.

        Raises:
            ConnectFailed: or one of its kinds.
            DescriptorsExhausted: no socket left.
            SourceUnavailable: the address to connect from is gone.
            WsproxyError: a parent failed.
        """
        began_at = trio.current_time()
        try:
            if self.parents is not None:
                endpoint, address, parent = await self.parents.connect(
                    self, exchange, tunnel=tunnel
                )
                return endpoint, address, None if tunnel or not parent.takes_requests else parent
            sock, address = await dial(
                self.addresses,
                self.target.port,
                timeout_s=self.connect_timeout_s,
                begun=begun,
                sources=self.sources,
            )
        finally:
            exchange.connect_ms = milliseconds(began_at, trio.current_time())
        self._note(address, exchange)
        return sock, address, None

    def _note(self, address: Address, exchange: Exchange) -> None:
        exchange.dial(address, self.target.port, self.sources.get(address.version))
