"""What the goals share: tunnels by the hundred, and what a process has cost."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trio

__all__ = ["Client", "cpu_s", "many_descriptors", "receive_head", "receive_rest"]

Client = trio.socket.SocketType
"""A client's socket."""

_GONE = (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN)


@contextmanager
def many_descriptors(wanted: int) -> Iterator[None]:
    """Lets this process open `wanted` descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard >= wanted, f"ulimit -Hn is {hard}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, its threads included."""
    spent_ns = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # it has just ended
            spent_ns += int((thread / "schedstat").read_text().split()[0])
    return spent_ns / 1e9


async def receive_head(sock: Client) -> bytes:
    """Everything up to the end of a head, and what came with it; less when it ends before."""
    received = b""
    while b"\r\n\r\n" not in received:
        data = await _receive(sock)
        if not data:
            return received
        received += data
    return received


async def receive_rest(sock: Client) -> tuple[bytes, str]:
    """Everything until the end, and how it ended: ``eof`` or ``reset``."""
    received = b""
    try:
        while data := await sock.recv(65536):
            received += data
    except OSError as error:
        if error.errno not in _GONE:
            raise
        return received, "reset"
    return received, "eof"


async def _receive(sock: Client) -> bytes:
    try:
        return await sock.recv(65536)
    except OSError as error:
        if error.errno not in _GONE:
            raise
        return b""
