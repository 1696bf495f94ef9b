"""A tunnel that stands: two connections that are one from now on, until the engine says it is over."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple, Protocol

import trio

from wsproxy.model import CloseReason, ProxyRequest, Side
from wsproxy.net.engine import RelaySummary
from wsproxy.net.filter import Filter
from wsproxy.net.tls_socket import Endpoint
from wsproxy.observe.conversation import Summary
from wsproxy.observe.exchange import Exchange
from wsproxy.proxy.runtime import Runtime
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
        over: hears who ended it and why when its own record is written.
    """

    client: Endpoint
    upstream: Endpoint
    exchange: Exchange
    early_up: bytes = b""
    early_down: bytes = b""
    inspection: Inspection | None = None
    over: Over | None = None


def inspection_of(request: ProxyRequest, exchange: Exchange, runtime: Runtime) -> Inspection | None:
    """What looks into the tunnel of an admitted CONNECT; None when its rule wants nobody to."""
    if runtime.plans.of(exchange.rule) is None:
        return None
    return Tunnel(exchange, request.target, runtime.plans, runtime.gate.decide_again)


def begin_tunnel(tunnel: OpenTunnel, runtime: Runtime) -> None:
    """Hands a tunnel to the engine, which relays it until both directions ended.

    Its two records are written when it begins and ends; its place is given
    back at the end.
    """
    exchange, inspection, over = tunnel.exchange, tunnel.inspection, tunnel.over
    runtime.log("open", exchange)
    try:
        runtime.engine.start(
            tunnel.client,
            tunnel.upstream,
            runtime.relay_limits,
            functools.partial(_end_tunnel, exchange, inspection, over, runtime),
            early_up=tunnel.early_up,
            early_down=tunnel.early_down,
            inspection=inspection,
        )
    except BaseException:
        exchange.end(Side.PROXY, CloseReason.INTERNAL)
        _leave(exchange, over, runtime)
        raise


def _end_tunnel(
    exchange: Exchange,
    inspection: Inspection | None,
    over: Over | None,
    runtime: Runtime,
    summary: RelaySummary,
) -> None:
    exchange.bytes_up, exchange.bytes_down = summary.bytes_up, summary.bytes_down
    if inspection is not None:
        exchange.websocket = inspection.over(summary, trio.current_time())
        if inspection.ending is not None:
            exchange.end(*inspection.ending)
    exchange.end(summary.closed_by, summary.reason)
    _leave(exchange, over, runtime)


def _leave(exchange: Exchange, over: Over | None, runtime: Runtime) -> None:
    runtime.quotas.leave(exchange)
    runtime.log("access", exchange)
    if over is not None:
        over(exchange.closed_by or Side.PROXY, exchange.reason or CloseReason.INTERNAL)
    runtime.occupancy.leave(exchange.peer.address)
