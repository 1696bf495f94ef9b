"""Real loopback connections and what tests do with them."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from wsproxy.model import CloseReason
from wsproxy.net.engine import RelayLimits, RelaySummary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsproxy.net.engine import Engine, Relay

FOREVER = RelayLimits(idle_timeout_s=3600, lifetime_s=86400)


def ignore(_summary: RelaySummary) -> None:
    """For relays whose end nobody waits for."""


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of one TCP connection on loopback, both non-blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    for sock in (near, far):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, far


def shrink_buffers(*socks: socket.socket) -> None:
    """So little kernel buffer that backpressure is near, yet not so little that windows go silly."""
    for sock in socks:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)


def reset(sock: socket.socket) -> None:
    """Close with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def send_all(sock: socket.socket, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[sock.send(rest) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock)


async def receive(sock: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes, or what came before the end of stream."""
    data = bytearray()
    while len(data) < size:
        try:
            chunk = sock.recv(min(size - len(data), 65536))
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)
            continue
        if not chunk:
            break
        data += chunk
    return bytes(data)


async def receive_all(sock: socket.socket) -> bytes:
    """Everything until the end of stream."""
    return await receive(sock, 1 << 40)


async def receive_until_reset(sock: socket.socket) -> bytes:
    """Everything until the connection is reset; an orderly end of stream fails."""
    data = bytearray()
    while True:
        try:
            chunk = sock.recv(65536)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)
            continue
        except ConnectionResetError:
            return bytes(data)
        assert chunk, "the stream ended in order"
        data += chunk


def fill(sock: socket.socket) -> int:
    """Send until the socket takes no more right now; the number of bytes."""
    total = 0
    while True:
        try:
            total += sock.send(bytes(65536))
        except BlockingIOError:
            return total


@dataclass(eq=False)
class Relayed:
    """One relay under test: the two outer ends, and the summary when it is over."""

    client: socket.socket
    upstream: socket.socket
    inner: tuple[socket.socket, socket.socket]
    over: trio.Event
    summary: RelaySummary | None = None
    relay: Relay | None = None

    async def wait_summary(self) -> RelaySummary:
        await self.over.wait()
        assert self.summary is not None
        return self.summary

    def is_closed_inside(self) -> bool:
        return all(sock.fileno() == -1 for sock in self.inner)

    def cut(self) -> None:
        """Ends it, as a user who is let in no more would."""
        assert self.relay is not None
        self.relay.cut(CloseReason.REVOKED)

    def end(self, summary: RelaySummary) -> None:
        """Hears that it is over."""
        self.summary = summary
        self.over.set()


@contextmanager
def relayed(
    engine: Engine,
    *,
    limits: RelayLimits = FOREVER,
    early: tuple[bytes, bytes] = (b"", b""),
    small: bool = False,
) -> Iterator[Relayed]:
    """A relay between two loopback connections; the outer ends are closed on leaving."""
    client, from_client = tcp_pair()
    upstream, from_upstream = tcp_pair()
    if small:
        shrink_buffers(client, from_client, upstream, from_upstream)
    one = Relayed(client, upstream, (from_client, from_upstream), trio.Event())
    one.relay = engine.start(*one.inner, limits, one.end, early_up=early[0], early_down=early[1])
    try:
        yield one
    finally:
        client.close()
        upstream.close()
