"""TLS at both ends of a conversation under attack, with every octet of the wire in one's hands."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import cast

import trio
import trustme

from tests.support.rawnet import Behaviour, Connection, Exchange, RecordingOrigin, open_origin

__all__ = [
    "AUTHORITY",
    "TlsStream",
    "client_context",
    "exchange_inside",
    "open_secure_origin",
    "open_tunnel",
    "origin_context",
    "secured",
]

AUTHORITY = trustme.CA()
"""Who vouches for decent origins."""
CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"
NAMES = ("localhost", "127.0.0.1", *(f"127.0.0.{n}" for n in range(111, 128)))
_RECEIVE_BYTES = 64 * 1024


@cache
def origin_context(*, tls_1_2: bool = False) -> ssl.SSLContext:
    """Of a decent origin."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert(*NAMES).configure_cert(context)
    context.set_alpn_protocols(["http/1.1"])
    if tls_1_2:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


@cache
def client_context(ca_file: Path, *, tls_1_2: bool = False) -> ssl.SSLContext:
    """Of a client that trusts the proxy's CA and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca_file)
    context.set_alpn_protocols(["http/1.1"])
    if tls_1_2:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


class TlsStream:
    """What of `trio.SocketStream` these tests use, with TLS between.

    An end without close_notify breaks it (`trio.BrokenResourceError`), as does a reset; `cut`
    tells the first.

    Args:
        transport: connected.
        context: of our side.
        host: who the other side must be; None when we are the server.
    """

    def __init__(
        self, transport: trio.SocketStream, context: ssl.SSLContext, host: str | None = None
    ) -> None:
        self.transport = transport
        self.socket = transport.socket
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=host is None, server_hostname=host
        )
        self._ready = b""
        self.cut = False

    async def shake_hands(self) -> None:
        """Raises `ssl.SSLError`, or `trio.BrokenResourceError` when the peer hangs up."""
        while True:
            try:
                self.object.do_handshake()
            except ssl.SSLWantReadError:
                await self.transport.send_all(self._outgoing.read())
                self.give(await self.transport.receive_some(_RECEIVE_BYTES))
            except ssl.SSLError:
                with suppress(trio.BrokenResourceError):
                    await self.transport.send_all(self._outgoing.read())
                raise
            else:
                await self.transport.send_all(self._outgoing.read())
                return

    def hello(self) -> bytes:
        """Our first flight, not sent."""
        with suppress(ssl.SSLWantReadError):
            self.object.do_handshake()
        return self._outgoing.read()

    def give(self, octets: bytes) -> None:
        """Takes octets that were read from the transport."""
        if not octets:
            raise trio.BrokenResourceError("end in the handshake")
        self._incoming.write(octets)

    def encrypt(self, data: bytes) -> bytes:
        """`data` as it goes over the wire."""
        if data:
            self.object.write(data)
        return self._outgoing.read()

    def farewell(self) -> bytes:
        """The close_notify as it goes over the wire."""
        self._ready += self._decrypt()
        with suppress(ssl.SSLError):
            self.object.unwrap()
        return self._outgoing.read()

    def _decrypt(self) -> bytes:
        found = bytearray()
        with suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while data := self.object.read(_RECEIVE_BYTES):
                found += data
        return bytes(found)

    async def receive_some(self, _size: int = 0) -> bytes:
        """The next octets; empty behind a close_notify."""
        if self._ready:
            taken, self._ready = self._ready, b""
            return taken
        while True:
            try:
                return self.object.read(_RECEIVE_BYTES)
            except ssl.SSLWantReadError:
                data = await self.transport.receive_some(_RECEIVE_BYTES)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLEOFError as error:
                self.cut = True
                raise trio.BrokenResourceError("cut") from error
            except ssl.SSLError as error:
                raise trio.BrokenResourceError(str(error)) from error

    async def send_all(self, data: bytes) -> None:
        """Sends all of it."""
        try:
            await self.transport.send_all(self.encrypt(data))
        except ssl.SSLError as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def send_eof(self) -> None:
        """A close_notify and a FIN behind it."""
        await self.transport.send_all(self.farewell())
        await self.transport.send_eof()

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """See `trio.SocketStream.setsockopt`."""
        self.transport.setsockopt(level, option, value)

    async def aclose(self) -> None:
        """Closes the socket, without a word."""
        await self.transport.aclose()


def over_tls(tls: TlsStream, connection: Connection | None = None) -> Connection:
    """A connection whose octets are those inside TLS."""
    has_received = trio.Event() if connection is None else connection.has_received
    return Connection(cast(trio.SocketStream, tls), has_received=has_received)


def secured(
    behaviour: Behaviour, inner: list[Connection], context: ssl.SSLContext | None = None
) -> Behaviour:
    """Does inside TLS what `behaviour` does; who does not shake hands is let go.

    Args:
        behaviour: gets a connection whose stream is a `TlsStream`.
        inner: gets the connection.
        context: of the origin.
    """

    async def behave(connection: Connection) -> None:
        tls = TlsStream(connection.stream, context or origin_context())
        try:
            await tls.shake_hands()
        except (ssl.SSLError, trio.BrokenResourceError):
            return
        inside = over_tls(tls, connection)
        inner.append(inside)
        try:
            await behaviour(inside)
        finally:
            connection.ended = inside.ended or "left"
            inside.finished.set()

    return behave


@dataclass(slots=True, eq=False)
class SecureOrigin:
    """An origin that speaks TLS.

    Attributes:
        outer: what it saw of the wire.
        inner: what it saw inside TLS.
    """

    outer: RecordingOrigin
    inner: RecordingOrigin = field(init=False)

    def __post_init__(self) -> None:
        self.inner = RecordingOrigin(self.outer.port)


@asynccontextmanager
async def open_secure_origin(
    behaviour: Behaviour, *, host: str, context: ssl.SSLContext | None = None
) -> AsyncIterator[SecureOrigin]:
    """An origin that does inside TLS what `behaviour` says, and ends with a close_notify."""
    connections: list[Connection] = []

    async def polite(connection: Connection) -> None:
        await behaviour(connection)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError):
            stream = cast(TlsStream, connection.stream)
            await stream.transport.send_all(stream.farewell())

    async with open_origin(secured(polite, connections, context), host=host) as outer:
        origin = SecureOrigin(outer)
        origin.inner.connections = connections
        origin.inner.first_octets = outer.first_octets
        yield origin


async def connect_from(address: tuple[str, int], source: str) -> trio.SocketStream:
    """A connection to the proxy from an address of its own."""
    sock = trio.socket.socket()
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await sock.bind((source, 0))
        await sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


async def open_tunnel(
    address: tuple[str, int], authority: bytes, source: str, *, early: bytes = b""
) -> trio.SocketStream:
    """A tunnel that stands, nothing said in it but `early`, glued behind the head."""
    stream = await connect_from(address, source)
    try:
        await stream.send_all(
            b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (authority, authority) + early
        )
        received = b""
        while len(received) < len(CONNECTED):
            data = await stream.receive_some(len(CONNECTED) - len(received))
            assert data, f"no tunnel: {received!r}"
            received += data
        assert received == CONNECTED, received
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


def reset_stream(stream: trio.SocketStream) -> None:
    """Closes with a RST."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


async def exchange_inside(
    tls: TlsStream,
    pieces: Sequence[bytes],
    *,
    eof: bool = False,
    guard_s: float = 8.0,
    gate: Callable[[], Awaitable[None]] | None = None,
    enough: bytes | None = None,
) -> Exchange:
    """As `tests.support.rawnet.exchange`, over TLS that stands; closes it.

    The end is ``cut`` when the proxy ends without a close_notify.
    """
    result = Exchange()

    async def send() -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            for piece in pieces:
                if not piece and gate is not None:
                    await gate()
                await tls.send_all(piece)
            if eof:
                await tls.send_eof()

    async with AsyncClosing(tls):
        with trio.move_on_after(guard_s):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                await _receive_all(tls, result, enough)
                nursery.cancel_scope.cancel()
    return result


async def _receive_all(tls: TlsStream, result: Exchange, enough: bytes | None) -> None:
    try:
        while data := await tls.receive_some():
            result.received += data
            if enough is not None and enough in result.received:
                result.ended = "enough"
                return
        result.ended = "eof"
    except trio.BrokenResourceError:
        result.ended = "cut" if tls.cut else "reset"


class AsyncClosing:
    """Closes a stream at once at the end of a block."""

    def __init__(self, stream: TlsStream | trio.SocketStream) -> None:
        self._stream = stream

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_error: object) -> None:
        transport = self._stream.transport if isinstance(self._stream, TlsStream) else self._stream
        await trio.aclose_forcefully(transport)
