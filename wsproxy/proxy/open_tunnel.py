"""A tunnel that stands: two connections that are one from now on, until the engine says it is over."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, Protocol

import trio

from wsproxy.model import CloseReason, ProxyRequest, Side
from wsproxy.net.engine import Relay, RelayLimits, RelaySummary
from wsproxy.net.filter import Filter
from wsproxy.net.tls_socket import Endpoint
from wsproxy.observe.conversation import Summary
from wsproxy.observe.exchange import Exchange
from wsproxy.proxy.runtime import Live, Runtime
from wsproxy.proxy.sniff import Tunnel

__all__ = ["Inspection", "OpenTunnel", "begin_tunnel", "inspection_of"]

Over = Callable[[Side, CloseReason], None]


class Inspection(Protocol):
    """What looks into a tunnel, for as long as it lasts."""

    @property
    def ending(self) -> tuple[Side, CloseReason] | None:
        """Who is to blame and why, if the inspection ended it."""

    def attach(self, up: Filter, down: Filter) -> None:
        """See `wsproxy.net.filter.Inspection`."""

    def farewell(self, why: CloseReason, reason: str, now: float) -> bool:
        """Ends it in the words of what it carries, as far as they are understood.

        Returns:
            Whether it ends by itself now; else the relay has to be cut.
        """

    def over(self, summary: RelaySummary, now: float) -> Summary | None:
        """Takes how the relay went; returns what the access record says of a WebSocket."""


class OpenTunnel(NamedTuple):
    """Two sockets that are one connection from now on.

    Attributes:
        client: to the client; non-blocking.
        upstream: to the target; non-blocking.
        exchange: the notebook of the request that opened it.
        early_up: octets the client sent ahead of our answer.
        early_down: octets upstream sent behind its 101.
        inspection: looks into it; None for most.
        outer: the same of the tunnel it was opened in, if there is one.
        over: hears who ended it and why when its own record is written.
    """

    client: Endpoint
    upstream: Endpoint
    exchange: Exchange
    early_up: bytes = b""
    early_down: bytes = b""
    inspection: Inspection | None = None
    outer: Exchange | None = None
    over: Over | None = None


def inspection_of(request: ProxyRequest, exchange: Exchange, live: Live) -> Inspection | None:
    """What looks into the tunnel of an admitted CONNECT; None when its rule wants nobody to."""
    plan = live.runtime.plans.of(exchange.rule)
    if plan is None:
        return None
    exchange.inspection = plan.mode
    pace = live.runtime.quotas.shares.messages(exchange, trio.current_time())
    return Tunnel(exchange, request.target, live, pace=pace)


def begin_tunnel(tunnel: OpenTunnel, live: Live) -> None:
    """Hands a tunnel to the engine, which relays it until both directions ended.

    Its two records are written when it begins and ends; its place is given
    back at the end.  Until then it is among what is decided again.
    """
    exchange, runtime = tunnel.exchange, live.runtime
    runtime.log("open", exchange)
    running = _Running(tunnel, live)
    try:
        running.relay = runtime.engine.start(
            tunnel.client,
            tunnel.upstream,
            _limits(tunnel, runtime),
            running.end,
            early_up=tunnel.early_up,
            early_down=tunnel.early_down,
            inspection=tunnel.inspection,
        )
    except BaseException:
        exchange.end(Side.PROXY, CloseReason.INTERNAL)
        running.leave()
        raise
    runtime.standing.enter(exchange, running)
    if tunnel.outer is not None:
        runtime.standing.enter(tunnel.outer, running)


def _limits(tunnel: OpenTunnel, runtime: Runtime) -> RelayLimits:
    shares = runtime.quotas.shares
    if shares.lifted:
        return runtime.relay_limits
    allowances = shares.allowances(tunnel.exchange, trio.current_time(), shares.connection())
    if allowances is None:
        return runtime.relay_limits
    if tunnel.inspection is not None:
        for allowance in allowances:
            allowance.farewell = functools.partial(
                tunnel.inspection.farewell, CloseReason.QUOTA, "quota"
            )
    return replace(runtime.relay_limits, allowances=allowances)


class _Running:
    """A tunnel that the engine relays, and what is to be done when it is over."""

    __slots__ = ("_exchange", "_inspection", "_live", "_outer", "_over", "relay")

    def __init__(self, tunnel: OpenTunnel, live: Live) -> None:
        self._exchange = tunnel.exchange
        self._inspection = tunnel.inspection
        self._outer = tunnel.outer
        self._over = tunnel.over
        self._live = live
        self.relay: Relay | None = None

    def revoke(self) -> None:
        """See `wsproxy.proxy.standing.Ending`."""
        self._stop(CloseReason.REVOKED, "no longer allowed")

    def take_leave(self) -> None:
        """See `wsproxy.proxy.standing.Ending`."""
        self._stop(CloseReason.DRAINED, "the proxy stops")

    def _stop(self, why: CloseReason, reason: str) -> None:
        relay, inspection = self.relay, self._inspection
        if relay is None:
            return
        if inspection is None or not inspection.farewell(why, reason, trio.current_time()):
            relay.cut(why)

    def end(self, summary: RelaySummary) -> None:
        """Takes how the relay went."""
        self.relay = None  # it refers to this
        exchange, inspection = self._exchange, self._inspection
        exchange.bytes_up, exchange.bytes_down = summary.bytes_up, summary.bytes_down
        if inspection is not None:
            exchange.websocket = inspection.over(summary, trio.current_time())
            if inspection.ending is not None:
                exchange.end(*inspection.ending)
        exchange.end(summary.closed_by, summary.reason)
        self.leave()

    def leave(self) -> None:
        """Writes what is to be written of the end, and gives the places back."""
        exchange, runtime = self._exchange, self._live.runtime
        runtime.standing.leave(exchange)
        runtime.quotas.leave(exchange)
        runtime.log("access", exchange)
        if self._outer is not None:
            runtime.standing.leave(self._outer)
        if self._over is not None:
            self._over(exchange.closed_by or Side.PROXY, exchange.reason or CloseReason.INTERNAL)
        runtime.occupancy.leave(exchange.peer.address)
