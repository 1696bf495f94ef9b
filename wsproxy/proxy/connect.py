"""CONNECT: admit, dial, say 200, hand over (RFC 9110 §9.3.6, RFC 9931)."""

from __future__ import annotations

import trio

from wsproxy.model import ProxyRequest
from wsproxy.net.streams import TcpStream
from wsproxy.observe.exchange import Exchange
from wsproxy.protocol.http1 import Fields
from wsproxy.proxy.intercept import Intercepted, Tunnelled, look_into
from wsproxy.proxy.open_tunnel import OpenTunnel, inspection_of
from wsproxy.proxy.session import Session

__all__ = ["ESTABLISHED", "connect", "established_with"]

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
"""Exactly 200, no field and no body: Java and Go accept nothing else, and
RFC 9110 §9.3.6 forbids Content-Length and Transfer-Encoding."""


def established_with(fields: Fields) -> bytes:
    """The same with `fields`, which is for clients alone that have sent a ticket."""
    lines = b"".join(b"%b: %b\r\n" % field for field in fields)
    return ESTABLISHED[:-2] + lines + b"\r\n"


async def connect(
    session: Session, request: ProxyRequest, exchange: Exchange
) -> OpenTunnel | Intercepted | bool:
    """Opens a tunnel to the target; what is to be looked into may become a conversation instead.

    Raises:
        WsproxyError: what `Gate.admit` and `Route.connect` raise; nothing was
            sent to the client then.
    """
    client = session.client
    route = await session.runtime.gate.admit(request, exchange, remembered=session.remembered)
    session.confirm(exchange)
    session.runtime.quotas.enter(exchange, trio.current_time())
    session.drop_upstream()
    begun = session.begun.take_attempt(route.addresses)
    sock, _address, _parent = await route.connect(exchange, begun=begun)
    upstream = TcpStream(sock)
    try:
        session.catch_up(exchange)
        established = established_with(session.remembered.answer())
        await client.send(established, timeout_s=session.runtime.timeouts.body_s)
        client.http.note_tunnel()
        exchange.status = 200
        early = client.take_rest()
        session.catch_up(exchange)
        if session.runtime.looking.concerns(exchange.rule):
            return await look_into(session, request, exchange, Tunnelled(route, upstream, early))
        inspection = inspection_of(request, exchange, session.live)
    except BaseException:
        upstream.close()
        raise
    return OpenTunnel(
        client.stream.detach(), upstream.detach(), exchange, early_up=early, inspection=inspection
    )
