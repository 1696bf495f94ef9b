"""WebSockets by the hundred: an origin that echoes them, and a client that says numbered messages."""

from __future__ import annotations

import trio

from tests.goals.room import Client, receive_head
from tests.support.rawnet import Connection
from wsproxy.protocol.frames import encode_frame, unmask

__all__ = ["open_chat", "say", "serve_chats"]

MASK = b"\x11\x22\x33\x44"
HANDSHAKE = (
    b"GET http://%s/ HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
MESSAGE_BYTES = 20


async def serve_chats(connection: Connection) -> None:
    """Echoes a WebSocket's messages of one size, or answers requests."""
    while await connection.receive_until(b"\r\n\r\n"):
        head = bytes(connection.received)
        connection.received.clear()
        if b"Upgrade: websocket" in head:
            await connection.send(SWITCHED)
            await _echo(connection)
            return
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


async def _echo(connection: Connection) -> None:
    whole = MESSAGE_BYTES + 6
    while await connection.receive():
        received, out = connection.received, b""
        while len(received) >= whole:
            out += encode_frame(2, unmask(bytes(received[6:whole]), MASK))
            del received[:whole]
        if out and not await connection.send(out):
            return


async def _receive(sock: Client, size: int) -> bytes:
    received = b""
    while len(received) < size:
        data = await sock.recv(size - len(received))
        assert data, "the connection ended"
        received += data
    return received


async def open_chat(address: tuple[str, int], authority: bytes) -> Client:
    """A WebSocket to `authority`, in absolute-form through the proxy at `address`."""
    sock = trio.socket.socket()
    await sock.connect(address)
    await sock.send(HANDSHAKE % authority)
    head = await receive_head(sock)
    assert head.startswith(b"HTTP/1.1 101 "), head
    return sock


async def say(sock: Client, number: int, sequence: int) -> None:
    """Says a message that is like no other, and hears it."""
    message = b"%09d %09d." % (number, sequence)
    await sock.send(encode_frame(2, message, key=MASK))
    assert await _receive(sock, MESSAGE_BYTES + 2) == b"\x82\x14" + message
