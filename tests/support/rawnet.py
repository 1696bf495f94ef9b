"""Raw sockets on trio: origins that record every octet, and a client that sends any.

Nothing here knows HTTP.  What an origin does is an async function, its *behaviour*, which
gets the connection and its recording; what came in is judged afterwards.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

__all__ = [
    "Behaviour",
    "Connection",
    "Exchange",
    "RecordingOrigin",
    "echo",
    "exchange",
    "open_origin",
    "record_only",
    "reset",
]

RECEIVE_BYTES = 64 * 1024
_BROKEN = (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN, errno.ECONNABORTED)


@dataclass(slots=True, eq=False)
class Connection:
    """One accepted connection and everything that came over it.

    Attributes:
        stream: the open connection.
        received: every octet, in order.
        ended: ``eof`` or ``reset`` once the peer ended, else None.
        finished: set when the behaviour has returned and the connection is closed.
        has_received: set when the first octets came; the origin's connections share it.
    """

    stream: trio.SocketStream
    received: bytearray = field(default_factory=bytearray)
    ended: str | None = None
    finished: trio.Event = field(default_factory=trio.Event)
    has_received: trio.Event = field(default_factory=trio.Event)

    async def receive(self) -> bytes:
        """The next octets, recorded; empty at the end, orderly or not."""
        try:
            data = await self.stream.receive_some(RECEIVE_BYTES)
        except trio.BrokenResourceError:
            self.ended = "reset"
            return b""
        self.received += data
        if data:
            self.has_received.set()
        else:
            self.ended = "eof"
        return bytes(data)

    async def receive_until(self, mark: bytes) -> bool:
        """Receives until `mark` has come; False when the peer ended first."""
        while mark not in self.received:
            if not await self.receive():
                return False
        return True

    async def drain(self) -> None:
        """Receives until the peer ends."""
        while await self.receive():
            pass

    async def send(self, data: bytes) -> bool:
        """Sends; False when the peer is gone."""
        try:
            await self.stream.send_all(data)
        except trio.BrokenResourceError:
            return False
        return True


Behaviour = Callable[[Connection], Awaitable[None]]


def reset(stream: trio.SocketStream) -> None:
    """Makes the coming close a RST instead of a FIN."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def echo(connection: Connection) -> None:
    """Sends back what comes, until the peer ends."""
    while data := await connection.receive():
        if not await connection.send(data):
            return


async def record_only(connection: Connection) -> None:
    """Never says a word."""
    await connection.drain()


@dataclass(slots=True, eq=False)
class RecordingOrigin:
    """A listening origin.

    Attributes:
        port: the same on every address it listens on.
        connections: every accepted connection, in order.
        first_octets: set when any of them has received something.
    """

    port: int
    connections: list[Connection] = field(default_factory=list)
    first_octets: trio.Event = field(default_factory=trio.Event)

    async def wait_received(self) -> None:
        """Waits until any connection has received something."""
        await self.first_octets.wait()

    @property
    def authority(self) -> bytes:
        """``127.0.0.1:port``."""
        return b"127.0.0.1:%d" % self.port

    @property
    def received(self) -> bytes:
        """The octets of all connections, in order of acceptance."""
        return b"".join(bytes(connection.received) for connection in self.connections)

    async def wait_finished(self) -> None:
        """Waits until every connection accepted so far is closed."""
        for connection in list(self.connections):
            await connection.finished.wait()


@asynccontextmanager
async def open_origin(
    behaviour: Behaviour, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[RecordingOrigin]:
    """Listens while the block runs; connections still open at its end are cut.

    Args:
        behaviour: what to do with a connection; it is closed when that returns.
        host: the address to listen on.
        port: 0 for any.
    """
    (listener,) = await trio.open_tcp_listeners(port, host=host, backlog=1024)
    origin = RecordingOrigin(listener.socket.getsockname()[1])

    async def serve(stream: trio.SocketStream) -> None:
        connection = Connection(stream, has_received=origin.first_octets)
        origin.connections.append(connection)
        try:
            await behaviour(connection)
        finally:
            await trio.aclose_forcefully(stream)
            connection.finished.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield origin
        nursery.cancel_scope.cancel()


@dataclass(slots=True, eq=False)
class Exchange:
    """What a client saw.

    Attributes:
        received: every octet from the proxy.
        ended: ``eof``, ``reset``, ``enough``, or None when the guard passed first: a hang.
        was_reset: a send of the client's met the reset.
    """

    received: bytes = b""
    ended: str | None = None
    was_reset: bool = False


async def exchange(
    address: tuple[str, int],
    pieces: Sequence[bytes],
    *,
    source: str = "127.0.0.1",
    eof: bool = False,
    guard_s: float = 8.0,
    gate: Callable[[], Awaitable[None]] | None = None,
    enough: bytes | None = None,
) -> Exchange:
    """Connects, sends all pieces each in a write of its own, and reads until the peer ends.

    Reading goes on while it sends, and a peer that hangs up early is no error.

    Args:
        address: of the peer.
        pieces: what to send; Nagle's algorithm is off.
        source: the client's own address; any of 127.0.0.0/8.
        eof: whether to shut down the write side after the last piece.
        guard_s: give up after this time.
        gate: awaited for every empty piece.
        enough: hang up once this has come, and call the end ``enough``.
    """
    result = Exchange()
    with trio.socket.socket() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await sock.bind((source, 0))
        with trio.move_on_after(guard_s):
            await sock.connect(address)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_send_pieces, sock, pieces, eof, gate, result)
                await _receive_all(sock, result, enough)
                nursery.cancel_scope.cancel()
    return result


async def _send_pieces(
    sock: trio.socket.SocketType,
    pieces: Sequence[bytes],
    eof: bool,
    gate: Callable[[], Awaitable[None]] | None,
    result: Exchange,
) -> None:
    try:
        for piece in pieces:
            if not piece and gate is not None:
                await gate()
            view = memoryview(piece)
            while view:
                view = view[await sock.send(view) :]
        if eof:
            sock.shutdown(socket.SHUT_WR)
    except OSError as error:
        if error.errno not in _BROKEN:
            raise
        result.was_reset = error.errno == errno.ECONNRESET


async def _receive_all(
    sock: trio.socket.SocketType, result: Exchange, enough: bytes | None
) -> None:
    while True:
        if enough is not None and enough in result.received:
            result.ended = "enough"
            return
        try:
            data = await sock.recv(RECEIVE_BYTES)
        except OSError as error:
            if error.errno not in _BROKEN:
                raise
            result.ended = "reset"
            return
        if not data:
            # The kernel tells of a reset once; when a send was told, a read sees a plain end.
            # trio passes a checkpoint before it raises what the send was told.
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            result.ended = "reset" if result.was_reset else "eof"
            return
        result.received += data
