"""CONNECT: admit, dial, say 200, hand over (RFC 9110 §9.3.6, RFC 9931)."""

from __future__ import annotations

import functools
import socket
from typing import NamedTuple, Protocol

import trio

from wsproxy.model import CloseReason, ProxyRequest, Side
from wsproxy.net.engine import RelaySummary
from wsproxy.net.filter import Filter
from wsproxy.net.streams import TcpStream
from wsproxy.observe.conversation import Summary
from wsproxy.observe.exchange import Exchange
from wsproxy.proxy.runtime import Runtime
from wsproxy.proxy.session import Session
from wsproxy.proxy.sniff import Tunnel

__all__ = [
    "ESTABLISHED",
    "Inspection",
    "OpenTunnel",
    "begin_tunnel",
    "connect",
    "inspection_of",
]

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
"""Exactly 200, no field and no body: Java and Go accept nothing else, and
RFC 9110 §9.3.6 forbids Content-Length and Transfer-Encoding."""


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
    """

    client: socket.socket
    upstream: socket.socket
    exchange: Exchange
    early_up: bytes = b""
    early_down: bytes = b""
    inspection: Inspection | None = None


async def connect(session: Session, request: ProxyRequest, exchange: Exchange) -> OpenTunnel:
    """Opens a tunnel to the target.

    Raises:
        WsproxyError: what `Gate.admit` and `Route.connect` raise; nothing was
            sent to the client then.
    """
    client = session.client
    route = await session.runtime.gate.admit(request, exchange)
    session.drop_upstream()
    begun = session.begun.take_attempt(route.addresses)
    sock, _address = await route.connect(exchange, begun=begun)
    upstream = TcpStream(sock)
    try:
        await client.send(ESTABLISHED, timeout_s=session.runtime.timeouts.body_s)
    except BaseException:
        upstream.close()
        raise
    exchange.status = 200
    early = client.http.take_rest()
    return OpenTunnel(
        client.stream.detach(),
        upstream.detach(),
        exchange,
        early_up=early,
        inspection=inspection_of(request, exchange, session.runtime),
    )


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
    exchange, inspection = tunnel.exchange, tunnel.inspection
    runtime.log("open", exchange)
    try:
        runtime.engine.start(
            tunnel.client,
            tunnel.upstream,
            runtime.relay_limits,
            functools.partial(_end_tunnel, exchange, inspection, runtime),
            early_up=tunnel.early_up,
            early_down=tunnel.early_down,
            inspection=inspection,
        )
    except BaseException:
        exchange.end(Side.PROXY, CloseReason.INTERNAL)
        _leave(exchange, runtime)
        raise


def _end_tunnel(
    exchange: Exchange, inspection: Inspection | None, runtime: Runtime, summary: RelaySummary
) -> None:
    exchange.bytes_up, exchange.bytes_down = summary.bytes_up, summary.bytes_down
    if inspection is not None:
        exchange.websocket = inspection.over(summary, trio.current_time())
        if inspection.ending is not None:
            exchange.end(*inspection.ending)
    exchange.end(summary.closed_by, summary.reason)
    _leave(exchange, runtime)


def _leave(exchange: Exchange, runtime: Runtime) -> None:
    runtime.log("access", exchange)
    runtime.occupancy.leave(exchange.peer.address)
