"""Plain sockets for both ends of an exchange, so that a test reads as a trace.

Every wait is bounded by `PATIENCE_S`: a proxy that swallows bytes fails the
test with what had arrived until then, it never hangs the suite.
"""

from __future__ import annotations

import socket
import struct
import threading
from types import TracebackType
from typing import Self

PATIENCE_S = 15.0
"""How long a byte may take on loopback of a busy machine before the test gives up on it."""


class Wire:
    """One TCP connection, driven by hand."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.name = "{}:{}".format(*sock.getsockname()[:2])
        self._pending = b""

    @classmethod
    def connect(cls, port: int) -> Self:
        """A connection to `port` on loopback."""
        return cls(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        """All of `data`, in as many segments as the kernel likes."""
        self.sock.sendall(data)

    def send_aside(self, data: bytes) -> threading.Thread:
        """Send from a thread, for more bytes than the buffers on the way hold.

        A peer that stops reading early is no failure here: what arrived is
        asserted at the receiving end.
        """

        def run() -> None:
            try:
                self.sock.sendall(data)
            except OSError:
                return

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def read_until(self, mark: bytes) -> bytes:
        """Everything up to and including `mark`; what follows stays for the next read."""
        while mark not in self._pending:
            self._receive_more(f"waiting for {mark!r}")
        end = self._pending.index(mark) + len(mark)
        data, self._pending = self._pending[:end], self._pending[end:]
        return data

    def read_head(self) -> bytes:
        """One message head, with its empty line."""
        return self.read_until(b"\r\n\r\n")

    def read_exactly(self, count: int) -> bytes:
        """The next `count` bytes."""
        while len(self._pending) < count:
            self._receive_more(f"waiting for {count} bytes")
        data, self._pending = self._pending[:count], self._pending[count:]
        return data

    def read_to_end(self) -> bytes:
        """Everything until the peer shuts down its sending direction."""
        parts = [self._pending]
        self._pending = b""
        while part := self.sock.recv(256 * 1024):
            parts.append(part)
        return b"".join(parts)

    def half_close(self) -> None:
        """Shut down the sending direction, and go on reading."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def is_quiet(self) -> bool:
        """Whether nothing, neither bytes nor an end, has arrived yet."""
        if self._pending:
            return False
        self.sock.settimeout(0)
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        finally:
            self.sock.settimeout(PATIENCE_S)
        return False

    def _receive_more(self, purpose: str) -> None:
        try:
            data = self.sock.recv(64 * 1024)
        except OSError as error:
            raise AssertionError(f"{error!r} while {purpose}; so far {self._seen()}") from error
        assert data, f"end of stream while {purpose}; so far {self._seen()}"
        self._pending += data

    def _seen(self) -> str:
        return repr(self._pending[:2000])


class RawOrigin:
    """A listening socket whose connections a test answers by hand."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE_S)
        self.port: int = self._listener.getsockname()[1]
        self.authority = f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()

    def accept(self) -> Wire:
        """The next connection that arrives."""
        return Wire(self._listener.accept()[0])

    def has_waiting(self) -> bool:
        """Whether another connection waits to be accepted; it is taken and closed."""
        self._listener.settimeout(0)
        try:
            self._listener.accept()[0].close()
        except BlockingIOError:
            return False
        finally:
            self._listener.settimeout(PATIENCE_S)
        return True


def fields(head: bytes) -> dict[bytes, bytes]:
    """The fields of a message head by lower-case name; a repeated name is an error."""
    found: dict[bytes, bytes] = {}
    for line in head.split(b"\r\n")[1:-2]:
        name, _, value = line.partition(b":")
        assert name.lower() not in found, f"{name!r} twice in {head!r}"
        found[name.lower()] = value.strip()
    return found


def start_line(head: bytes) -> bytes:
    """The first line of a message head."""
    return head.split(b"\r\n", 1)[0]


def read_chunked(wire: Wire, *, until: int) -> bytes:
    """The content of chunks, up to `until` bytes of it."""
    body = b""
    while len(body) < until:
        size = int(wire.read_until(b"\r\n"), 16)
        body += wire.read_exactly(size)
        assert wire.read_exactly(2) == b"\r\n"
    return body
