"""The question that policy answers."""

from __future__ import annotations

from typing import NamedTuple

from wsproxy.model import Address, Host, Identity

__all__ = ["HALF_TLS", "PROTOCOLS", "SNIFFED", "Ask", "tunnel_protocols"]

PROTOCOLS = frozenset({"http", "https", "ws", "wss", "tcp"})
"""What a rule's ``protocols`` can name."""

SNIFFED = frozenset({"tls", "websocket", "http", "other"})
"""What a rule's ``sniff`` can name.

``tls`` is a ClientHello whose server name agrees with the target, ``websocket`` a handshake
whose Host does; what is said inside intercepted TLS is ``tls`` as well.
"""

HALF_TLS = "tls?"
"""Of first octets that began like TLS and were not understood: rules that deny ``tls`` mean it."""

_TLS_PORT_TUNNEL = frozenset({"tcp", "https", "wss"})
_HTTP_PORT_TUNNEL = frozenset({"tcp", "ws"})
_OTHER_TUNNEL = frozenset({"tcp", "https", "wss", "ws"})


class Ask(NamedTuple):
    """One request, as far as rules look at it.

    Attributes:
        client: address the client connects from.
        identity: who asks; None when nobody proved to be anybody.
        host: target host.
        port: target port, 1 … 65535.
        protocols: what this may be, a subset of `PROTOCOLS`; more than one for a
            tunnel that is not looked into.
        method: request method, case-sensitive.
        at: when it is asked, in seconds since 1970.
        path: path and query of the target as on the wire (latin-1); None for a tunnel.
        origin: what the ``Origin`` of a WebSocket handshake says; None when it has none,
            or there is no handshake to look at.
        subprotocols: what a WebSocket handshake offers, in its order.
        sniffed: what its first octets are, a subset of `SNIFFED`; None for a tunnel whose
            first octets have not come yet.
        alpn: what its ClientHello offers, in its order; () without one.
        handshake: whether this is a WebSocket handshake that was looked at; a tunnel is
            asked about twice, and before there is one these conditions do not match.
    """

    client: Address
    identity: Identity | None
    host: Host
    port: int
    protocols: frozenset[str]
    method: str
    at: float
    path: str | None = None
    origin: str | None = None
    subprotocols: tuple[str, ...] = ()
    handshake: bool = False
    sniffed: frozenset[str] | None = None
    alpn: tuple[str, ...] = ()


def tunnel_protocols(port: int) -> frozenset[str]:
    """What a CONNECT tunnel to `port` may carry, as long as nobody looks into it.

    Browsers open tunnels to port 80 for ws:// only; any other port may be anything
    but plain http, for which clients do not ask a tunnel.
    """
    if port == 443:
        return _TLS_PORT_TUNNEL
    return _HTTP_PORT_TUNNEL if port == 80 else _OTHER_TUNNEL
