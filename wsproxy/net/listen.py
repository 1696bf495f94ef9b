"""Listening sockets and the accept loop that nothing stops.

Running out of descriptors is weather, not a fault: the loop waits and goes on
(trio's `serve_tcp` does the same).  Every other failure of `accept` concerns
one connection that is already gone.

This is also the place that catches `Exception`: a bug in one session is logged
with its traceback and ends that session only.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

import trio

from wsproxy.model import Address, Peer
from wsproxy.net.streams import is_exhausted, tune

__all__ = ["Handler", "Look", "accept_loop", "bind", "is_local"]

log = logging.getLogger("wsproxy")

Handler = Callable[[socket.socket, Peer], Awaitable[None]]
"""Takes an accepted, tuned socket and its far end, and owns it."""

Look = Callable[[socket.socket, Peer], Handler | None]
"""Looks at an accepted connection, without waiting; None: it is served, nothing is left to do."""

_BACKLOG = 4096
_ACCEPT_BATCH = 64
_EXHAUSTED_PAUSE_S = 0.1
_CRASHED = "a session crashed; all others go on"


def bind(address: Address, port: int) -> socket.socket:
    """A listening, non-blocking socket; port 0 lets the system choose.

    Raises:
        OSError: as bind(2) and listen(2) do.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # "::" listens for both families, as most people expect of it.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((str(address), port))
        sock.listen(_BACKLOG)
        # Linux hands these on to the connections it accepts.
        tune(sock)
        _probe_silent_clients(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _probe_silent_clients(sock: socket.socket) -> None:
    """Has the kernel find out which silent clients are gone: laptops that were closed, mostly.

    The defaults of Linux, two hours before the first probe, come after our own
    `timeouts.idle`.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def is_local(address: Address) -> bool:
    """Whether `address` belongs to this machine: only those can be bound."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


async def accept_loop(listener: socket.socket, look: Look, sessions: trio.Nursery) -> None:
    """Accepts for ever, one task of `sessions` a connection; returns only by cancellation.

    Accepted connections are never lost: a task is started for each before the
    loop can be cancelled.
    """
    spare = _Spare()
    try:
        while True:
            await trio.lowlevel.wait_readable(listener)
            arrived, exhausted = _accept_all(listener)
            # Looked at only now: by the time all are accepted, the first have sent something.
            for sock, peer in arrived:
                handler = _look(look, sock, peer)
                if handler is not None:
                    sessions.start_soon(_session, handler, sock, peer)
            if exhausted:
                spare.turn_one_away(listener)
                await trio.sleep(_EXHAUSTED_PAUSE_S)
                spare.restore()
    finally:
        spare.close()


def _accept_all(listener: socket.socket) -> tuple[list[tuple[socket.socket, Peer]], bool]:
    """The connections that wait, up to a batch, and whether the descriptors ran out over them."""
    arrived: list[tuple[socket.socket, Peer]] = []
    while len(arrived) < _ACCEPT_BATCH:
        try:
            sock, name = listener.accept()
        except BlockingIOError:
            break
        except OSError as error:
            return arrived, is_exhausted(error)
        if sys.platform == "linux":
            sock.setblocking(False)
        else:
            tune(sock)
            _probe_silent_clients(sock)
        arrived.append((sock, _peer(name)))
    return arrived, False


async def _session(handler: Handler, sock: socket.socket, peer: Peer) -> None:
    try:
        await handler(sock, peer)
    except Exception:
        log.exception(_CRASHED)
        sock.close()


def _look(look: Look, sock: socket.socket, peer: Peer) -> Handler | None:
    try:
        return look(sock, peer)
    except Exception:
        # The same barrier, before there is a task.
        log.exception(_CRASHED)
        sock.close()
        return None


def _peer(name: tuple[str, int]) -> Peer:
    return Peer(_client_address(name[0]), name[1])


@functools.lru_cache(maxsize=4096)
def _client_address(text: str) -> Address:
    """An IPv4 client of an IPv6 listener is an IPv4 client."""
    address = ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


class _Spare:
    """A descriptor kept in reserve, so that with none left a client still learns at once.

    A connection that waits in the backlog looks to its client like a proxy
    that hangs; with the spare it is accepted and closed.
    """

    def __init__(self) -> None:
        self._fd: int | None = None
        self.restore()

    def restore(self) -> None:
        with contextlib.suppress(OSError):
            self._fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def turn_one_away(self, listener: socket.socket) -> None:
        log.warning("no descriptors left: connections are turned away")
        self.close()
        with contextlib.suppress(OSError):
            listener.accept()[0].close()

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
