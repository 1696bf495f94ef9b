"""The express lane: a CONNECT that needs no waiting gets its tunnel without a task.

A busy proxy finds the whole head there when it accepts, remembers who the
credentials belong to, and often has its answer from the dialled address by the
time it asks.  Then nothing is left to wait for, and a task would only cost: a
third of all processor time, measured (docs/adr/0007).  The steps are the very
ones of the story in `wsproxy.proxy.connect`; whatever is not plain sailing,
refusals included, is left to the story, together with what was begun.
"""

from __future__ import annotations

import functools
import socket

import trio

from wsproxy.errors import WsproxyError
from wsproxy.model import Peer
from wsproxy.net.listen import Handler
from wsproxy.net.streams import RECEIVE_SIZE
from wsproxy.observe.exchange import Exchange
from wsproxy.protocol.request import read_connect
from wsproxy.proxy.connect import ESTABLISHED
from wsproxy.proxy.http import serve
from wsproxy.proxy.open_tunnel import OpenTunnel, begin_tunnel, inspection_of
from wsproxy.proxy.runtime import Live
from wsproxy.proxy.session import Begun

__all__ = ["express", "receive_at_once"]


def express(
    sock: socket.socket, peer: Peer, *, live: Live, octets: bytes | None = None
) -> Handler | None:
    """Opens a tunnel for an accepted connection, if that can be done at once.

    Args:
        sock: accepted.
        peer: its far end.
        live: what is configured.
        octets: received already; None: nobody has looked yet.

    Returns:
        None when it did; else what serves the connection from here on.
    """
    if octets is None:
        octets = receive_at_once(sock)
    begun = Begun(octets)
    if octets.startswith(b"CONNECT ") and not live.runtime.drain.draining:
        tunnel = _open(sock, peer, live, begun)
        if tunnel is not None:
            begin_tunnel(tunnel, live)
            return None
    return functools.partial(serve, live=live, begun=begun)


def receive_at_once(sock: socket.socket) -> bytes:
    """What has come already; what is wrong with the connection is told to who reads next."""
    try:
        return sock.recv(RECEIVE_SIZE)
    except OSError:
        return b""


def _open(sock: socket.socket, peer: Peer, live: Live, begun: Begun) -> OpenTunnel | None:
    """The tunnel, or None with what was begun noted in `begun`."""
    runtime = live.runtime
    now = trio.current_time()
    exchange = Exchange(peer, now)
    try:
        read = read_connect(begun.octets)
        if read is None:
            return None
        request, credentials, early = read
        exchange.begin(request, now)
        route = runtime.gate.admit_nowait(request, exchange, credentials, now=now)
        if route is None or runtime.looking.concerns(exchange.rule):
            return None
        begun.attempt = attempt = route.connect_nowait(exchange)
        if attempt is None or exchange.dialled is None:
            return None
        runtime.occupancy.enter(peer.address)
    except WsproxyError:
        return None
    try:
        runtime.quotas.enter(exchange, now)
        runtime.quotas.take(peer.address, now)
        begun.noted = True
    except WsproxyError:
        runtime.quotas.leave(exchange)
        runtime.occupancy.leave(peer.address)
        return None
    try:
        sent = sock.send(ESTABLISHED)
    except OSError:
        sent = 0
    if sent < len(ESTABLISHED):
        runtime.quotas.leave(exchange)
        runtime.occupancy.leave(peer.address)
        return None
    exchange.status = 200
    inspection = inspection_of(request, exchange, live)
    return OpenTunnel(sock, attempt.sock, exchange, early_up=early, inspection=inspection)
