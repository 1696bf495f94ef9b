"""One end of a connection, in a test that reads as the trace of what goes over it."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

import trio

__all__ = ["Answer", "Wire", "tcp_pair"]

GUARD_S = 10.0
"""A hang becomes a failed comparison after this time; nothing that works comes near it."""


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of one TCP connection on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _name = listener.accept()
    return near, far


@dataclass(frozen=True, slots=True)
class Answer:
    """A response with Content-Length, taken apart.

    Attributes:
        line: the status line.
        fields: names in lower case; the values of a repeated field in one list.
        body: the content.
    """

    line: str
    fields: dict[str, list[str]]
    body: bytes

    @property
    def status(self) -> int:
        """The status code."""
        return int(self.line.split()[1])

    def field(self, name: str) -> str | None:
        """The only value of field `name`, or None."""
        found = self.fields.get(name)
        if found is None:
            return None
        (value,) = found
        return value


class Wire:
    """One end, driven by the test."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = trio.socket.from_stdlib_socket(sock)
        self._buffer = b""

    async def sends(self, data: bytes) -> None:
        """Sends all of it."""
        view = memoryview(data)
        with trio.fail_after(GUARD_S):
            while view:
                view = view[await self.sock.send(view) :]

    async def sends_bytewise(self, data: bytes) -> None:
        """Sends each octet in a write of its own."""
        for octet in data:
            await self.sends(bytes([octet]))

    async def expects(self, data: bytes) -> None:
        """Exactly these octets come next."""
        came = await self.reads(len(data))
        assert came == data, f"expected {data!r}, got {came!r}"

    async def reads(self, size: int) -> bytes:
        """The next `size` octets; fewer when no more come."""
        with trio.move_on_after(GUARD_S):
            while len(self._buffer) < size and await self._more():
                pass
        return self._take(size)

    async def reads_until(self, mark: bytes) -> bytes:
        """What comes up to `mark` and the mark."""
        with trio.move_on_after(GUARD_S):
            while mark not in self._buffer and await self._more():
                pass
        end = self._buffer.find(mark)
        assert end >= 0, f"{mark!r} did not come, but {self._buffer!r}"
        return self._take(end + len(mark))

    async def reads_rest(self) -> bytes:
        """What comes until the orderly end of the stream."""
        with trio.fail_after(GUARD_S):
            while await self._more():
                pass
        return self._take(len(self._buffer))

    async def answer(self, *, head: bool = False) -> Answer:
        """The next response; it announces its length. `head`: it answers a HEAD."""
        lines = (await self.reads_until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields: dict[str, list[str]] = {}
        for line in lines[1:-2]:
            name, _colon, value = line.partition(": ")
            fields.setdefault(name.lower(), []).append(value)
        (length,) = fields["content-length"]
        body = b"" if head else await self.reads(int(length))
        assert head or len(body) == int(length)
        return Answer(lines[0], fields, body)

    async def ends(self) -> None:
        """The stream ends in order, and nothing comes before that."""
        came = await self.reads_rest()
        assert came == b"", f"expected the end, got {came!r}"

    async def breaks(self) -> bytes:
        """What comes until the connection is reset; an orderly end fails."""
        with trio.fail_after(GUARD_S):
            try:
                while await self._more():
                    pass
            except ConnectionResetError:
                return self._take(len(self._buffer))
        raise AssertionError(f"an orderly end behind {self._buffer!r}")

    def is_silent(self) -> bool:
        """Whether nothing has come."""
        return not self._buffer

    def shuts(self) -> None:
        """Ends our direction."""
        self.sock.shutdown(socket.SHUT_WR)

    def closes(self) -> None:
        """Closes."""
        self.sock.close()

    def resets(self) -> None:
        """Closes with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    async def _more(self) -> bool:
        data = await self.sock.recv(65536)
        self._buffer += data
        return bool(data)

    def _take(self, size: int) -> bytes:
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken
