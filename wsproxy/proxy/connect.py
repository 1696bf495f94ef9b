"""CONNECT: admit, dial, say 200, hand over (RFC 9110 §9.3.6, RFC 9931)."""

from __future__ import annotations

import functools
import socket
from typing import NamedTuple

from wsproxy.model import CloseReason, ProxyRequest, Side
from wsproxy.net.engine import RelaySummary
from wsproxy.net.streams import TcpStream
from wsproxy.observe.exchange import Exchange
from wsproxy.proxy.runtime import Runtime
from wsproxy.proxy.session import Session

__all__ = ["ESTABLISHED", "OpenTunnel", "begin_tunnel", "connect"]

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
"""Exactly 200, no field and no body: Java and Go accept nothing else, and
RFC 9110 §9.3.6 forbids Content-Length and Transfer-Encoding."""


class OpenTunnel(NamedTuple):
    """Two sockets that are one connection from now on.

    Attributes:
        client: to the client; non-blocking.
        upstream: to the target; non-blocking.
        exchange: the notebook of the request that opened it.
        early_up: octets the client sent ahead of our answer.
        early_down: octets upstream sent behind its 101.
    """

    client: socket.socket
    upstream: socket.socket
    exchange: Exchange
    early_up: bytes = b""
    early_down: bytes = b""


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
    return OpenTunnel(client.stream.detach(), upstream.detach(), exchange, early_up=early)


def begin_tunnel(tunnel: OpenTunnel, runtime: Runtime) -> None:
    """Hands a tunnel to the engine, which relays it until both directions ended.

    Its two records are written when it begins and ends; its place is given
    back at the end.
    """
    exchange = tunnel.exchange
    runtime.log("open", exchange)
    try:
        runtime.engine.start(
            tunnel.client,
            tunnel.upstream,
            runtime.relay_limits,
            functools.partial(_end_tunnel, exchange, runtime),
            early_up=tunnel.early_up,
            early_down=tunnel.early_down,
        )
    except BaseException:
        exchange.end(Side.PROXY, CloseReason.INTERNAL)
        _leave(exchange, runtime)
        raise


def _end_tunnel(exchange: Exchange, runtime: Runtime, summary: RelaySummary) -> None:
    exchange.bytes_up, exchange.bytes_down = summary.bytes_up, summary.bytes_down
    exchange.end(summary.closed_by, summary.reason)
    _leave(exchange, runtime)


def _leave(exchange: Exchange, runtime: Runtime) -> None:
    runtime.log("access", exchange)
    runtime.occupancy.leave(exchange.peer.address)
