"""Behaviours of origins: one that is decent and strict, one that speaks WebSocket, and liars."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress

import trio

from tests.hostile.strict import Incomplete, Unsafe, read_requests
from tests.support.rawnet import Behaviour, Connection, echo, reset

__all__ = ["accept_websocket", "accepting", "answer_strictly", "replying"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Origin: decent\r\n\r\n"


async def answer_strictly(connection: Connection) -> None:
    """Answers every complete, safe request with a short 200; hangs up on anything else."""
    authority = b"127.0.0.1:%d" % connection.stream.socket.getsockname()[1]
    answered = 0
    while await connection.receive():
        try:
            requests = read_requests(bytes(connection.received), authority).requests
        except Incomplete:
            continue
        except Unsafe:
            return  # for the judge
        for request in requests[answered:]:
            if not request.complete:
                break
            is_head = request.line.startswith(b"HEAD ")
            if not await connection.send(_OK if is_head else _OK + b"ok"):
                return
            answered += 1


def accepting(received: bytes) -> bytes:
    """A valid 101 to the handshake in `received` (RFC 6455 §4.2.2)."""
    match = re.search(rb"sec-websocket-key: ?(\S+)\r\n", received, re.IGNORECASE)
    key = match[1] if match else b""
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


async def accept_websocket(connection: Connection) -> None:
    """Switches, and echoes raw octets; what came with the handshake came too early: no echo."""
    if not await connection.receive_until(b"\r\n\r\n"):
        return
    if await connection.send(accepting(bytes(connection.received))):
        await echo(connection)


def replying(pieces: Sequence[bytes], *, end: str) -> Behaviour:
    """An origin that waits for one head, sends `pieces`, and ends.

    Args:
        pieces: each in a write of its own; ``@ACCEPT@`` becomes the right accept key.
        end: ``fin``, ``rst``, or ``hold`` to wait until the proxy ends.
    """

    async def behave(connection: Connection) -> None:
        if not await connection.receive_until(b"\r\n\r\n"):
            return
        accept = accepting(bytes(connection.received)).split(b"Accept: ")[1].rstrip()
        for piece in pieces:
            if not await connection.send(piece.replace(b"@ACCEPT@", accept)):
                return
            await trio.lowlevel.checkpoint()
        if end == "rst":
            reset(connection.stream)
            return
        if end == "fin":
            with suppress(trio.BrokenResourceError):
                await connection.stream.send_eof()
        await connection.drain()

    return behave
