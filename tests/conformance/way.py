"""The ways through a proxy, for a client that knows no proxies.

A server on loopback that opens its way through the proxy for each connection and copies
octets from then on, in both directions, ends and resets included.  On the way `absolute`
the request line is rewritten from origin-form to absolute-form (RFC 9112 section 3.2.2),
and nothing else; on the way `connect` a CONNECT goes first (RFC 9110 section 9.3.6), and
nothing is rewritten.  On the way `tls` TLS goes inside the CONNECT, with a client that
trusts only the proxy's authority.

    python -m tests.conformance.way absolute PROXY_PORT TARGET_PORT
    python -m tests.conformance.way tls PROXY_PORT TARGET_PORT CA_PEM
"""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import ssl
import struct
import sys
import threading

__all__ = ["WAYS", "main"]

WAYS = ("absolute", "connect", "tls")

_READ_BYTES = 1 << 18
_MAX_HEAD_BYTES = 1 << 16
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class _Connection(socketserver.BaseRequestHandler):
    """One connection of the client; runs in its own process."""

    request: socket.socket
    server: _Server

    def handle(self) -> None:
        """Opens the way, then copies until both directions have ended."""
        with socket.create_connection(("127.0.0.1", self.server.proxy_port)) as proxy:
            for end in (self.request, proxy):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.server.way == "tls":
                self._speak_tls(proxy)
                return
            if self.server.way == "connect":
                self._connect(proxy)
            else:
                self._rewrite(proxy)
            down = threading.Thread(target=_copy, args=(proxy, self.request))
            down.start()
            _copy(self.request, proxy)
            down.join()

    def _connect(self, proxy: socket.socket) -> None:
        target = self.server.target
        proxy.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        head, rest = _read_head(proxy)
        if head.split(b" ", 2)[1] != b"200":
            raise ConnectionError(f"CONNECT was answered {head!r}")
        self.request.sendall(rest)

    def _speak_tls(self, proxy: socket.socket) -> None:
        self._connect(proxy)
        trusting = ssl.create_default_context(cafile=self.server.ca_file)
        _copy_tls(self.request, trusting.wrap_socket(proxy, server_hostname="127.0.0.1"))

    def _rewrite(self, proxy: socket.socket) -> None:
        head, rest = _read_head(self.request)
        method, path, version = head.split(b" ", 2)
        url = b"http://" + self.server.target.encode() + path
        proxy.sendall(b" ".join([method, url, version]) + rest)


def _read_head(end: socket.socket) -> tuple[bytes, bytes]:
    """A message head with its empty line, and what came behind it."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = end.recv(_READ_BYTES)
        if not more or len(data) > _MAX_HEAD_BYTES:
            raise ConnectionError(f"no head but {data!r}")
        data += more
    head, rest = data.split(b"\r\n\r\n", 1)
    return head + b"\r\n\r\n", rest


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Copies one direction to its end, and passes a FIN on as FIN and a reset as reset."""
    try:
        while data := source.recv(_READ_BYTES):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, sink):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            try:
                end.shutdown(socket.SHUT_RD)  # wakes the other direction
            except OSError:
                pass  # it is gone already


def _copy_tls(plain: socket.socket, tls: ssl.SSLSocket) -> None:
    """Copies both directions in one thread, for TLS allows no two, until one of them has ended."""
    other: dict[socket.socket, socket.socket] = {plain: tls, tls: plain}
    held: dict[socket.socket, bytes] = {plain: b"", tls: b""}  # by where it goes
    for end in other:
        end.setblocking(False)
    while True:
        moved = False
        for source, sink in other.items():
            if not held[sink]:
                data = _try_read(source)
                if data == b"":
                    return _finish(held, sink)
                held[sink] = data or b""
            if held[sink]:
                sent = _try_send(sink, held[sink])
                held[sink] = held[sink][sent:]
                moved |= bool(sent)
        if not moved:
            sources = [end for end in other if not held[other[end]]]
            select.select(sources, [end for end in other if held[end]], [])


def _try_read(source: socket.socket) -> bytes | None:
    """What is there; None when nothing is, and nothing at the end, in order or not."""
    try:
        return source.recv(_READ_BYTES)
    except (BlockingIOError, ssl.SSLWantReadError):
        return None
    except OSError:
        return b""


def _try_send(sink: socket.socket, data: bytes) -> int:
    try:
        return sink.send(data)
    except (BlockingIOError, ssl.SSLWantWriteError):
        return 0


def _finish(held: dict[socket.socket, bytes], sink: socket.socket) -> None:
    """Sends what is held for `sink`, and ends."""
    sink.settimeout(10)
    with contextlib.suppress(OSError):  # it may be gone, too
        sink.sendall(held[sink])
        if isinstance(sink, ssl.SSLSocket):
            sink.unwrap()


class _Server(socketserver.ForkingTCPServer):
    allow_reuse_address = True
    request_queue_size = 128
    max_children = 256

    def __init__(self, way: str, proxy_port: int, target: str, ca_file: str | None) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.way = way
        self.proxy_port = proxy_port
        self.target = target
        self.ca_file = ca_file


def main(arguments: list[str]) -> None:
    """Serves on a free port of loopback, written to stdout as one line, until killed."""
    way, proxy_port, target_port, *ca_files = arguments
    ca_file = ca_files[0] if ca_files else None
    server = _Server(way, int(proxy_port), f"127.0.0.1:{target_port}", ca_file)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
