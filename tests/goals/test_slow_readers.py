"""Goal G18: a download nobody reads holds next to nothing, a thousand of them little, and each is let go in time.

Memory is the resident set of the proxy.  What the kernel holds beside it is the system's to bound
(``net.ipv4.tcp_wmem``, ``tcp_rmem``); it is printed.  ``make goals`` plays it in full, ``make test`` with few.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.goals.room import Client, many_descriptors, receive_head
from tests.goals.test_appetite import Peak
from tests.support.proxy_process import OPEN_TO_LOOPBACK, ProxyProcess, start_proxy
from tests.support.rawnet import Connection, RecordingOrigin, open_origin

FULL = "FULL_GOALS" in os.environ
CLIENTS = 1000 if FULL else 40
DOWNLOAD_BYTES = 64 * 1024 * 1024
PIECE = bytes(64 * 1024)
MAX_HELD_BYTES = 256 * 1024
MAX_RESIDENT_BYTES = 300 * 1024 * 1024
WARM_UPS = 4
"""Python takes memory from the system by the megabyte; so many find its level."""
QUIET_S = 0.2
STALLED_S = 1
GUARD_S = 100.0

REQUEST = b"GET http://%b/ HTTP/1.1\r\nHost: x\r\n\r\n"
CONNECT = b"CONNECT %b HTTP/1.1\r\nHost: x\r\n\r\n"
INSIDE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
KINDS = pytest.mark.parametrize("kind", ["request", "tunnel"])


class Downloads:
    """An origin's side of all downloads.

    Attributes:
        sent: octets, by connection.
    """

    def __init__(self) -> None:
        self.sent: Counter[Connection] = Counter()

    async def serve(self, connection: Connection) -> None:
        """Sends as much as is taken."""
        # Nor shall ours hold more than it must, a thousand times.
        connection.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, 16 * 1024)
        if not await connection.receive_until(b"\r\n\r\n"):
            return
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % DOWNLOAD_BYTES)
        while self.sent[connection] < DOWNLOAD_BYTES and await connection.send(PIECE):
            self.sent[connection] += len(PIECE)

    async def wait_stuck(self, count: int) -> None:
        """Until `count` downloads have begun and nothing moves any more."""
        before = -1
        while len(self.sent) < count or before != self.sent.total():
            before = self.sent.total()
            await trio.sleep(QUIET_S)


@asynccontextmanager
async def _downloads() -> AsyncIterator[tuple[RecordingOrigin, Downloads]]:
    downloads = Downloads()
    async with open_origin(downloads.serve) as origin:
        yield origin, downloads


async def _begin(proxy: ProxyProcess, origin: RecordingOrigin, kind: str) -> Client:
    """A client that has asked, and reads no more."""
    sock = trio.socket.socket()
    # Its kernel shall not read in its place.
    sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 16 * 1024)
    await sock.connect(proxy.address)
    if kind == "request":
        await sock.send(REQUEST % origin.authority)
    else:
        await sock.send(CONNECT % origin.authority)
        assert (await receive_head(sock)).startswith(b"HTTP/1.1 200 ")
        await sock.send(INSIDE)
    return sock


def _kernel_bytes() -> int:
    """What all TCP sockets of the machine hold in the kernel."""
    line = Path("/proc/net/sockstat").read_text().partition("TCP: ")[2].splitlines()[0]
    return int(line.split()[-1]) * os.sysconf("SC_PAGE_SIZE")


async def _measure(proxy: ProxyProcess, kind: str, count: int) -> tuple[int, int]:
    """Octets by which the resident set grows with `count` such downloads, and its peak."""
    peak = Peak(proxy.pid)
    async with _downloads() as (origin, downloads):
        before, kernel = peak.reset(), _kernel_bytes()
        clients = [await _begin(proxy, origin, kind) for _ in range(count)]
        await downloads.wait_stuck(count)
        top, kernel = peak.read(), _kernel_bytes() - kernel
        assert max(downloads.sent.values()) < DOWNLOAD_BYTES
        for sock in clients:
            sock.close()
        await origin.wait_finished()
    print(
        f"G18 {count} {kind}s nobody reads: {(top - before) // 1024} KiB, "
        f"{top // 2**20} MiB in all; the kernel {kernel // 2**20} MiB, both ends included"
    )
    return top - before, top


@KINDS
async def test_a_download_nobody_reads_holds_next_to_nothing(tmp_path: Path, kind: str) -> None:
    with trio.fail_after(GUARD_S), start_proxy(OPEN_TO_LOOPBACK, tmp_path) as proxy:
        await _measure(proxy, kind, WARM_UPS)
        held, _ = await _measure(proxy, kind, 1)
    assert held < MAX_HELD_BYTES


@KINDS
async def test_many_of_them_hold_little(tmp_path: Path, kind: str) -> None:
    with (
        trio.fail_after(GUARD_S),
        many_descriptors(4 * CLIENTS + 200),
        start_proxy(OPEN_TO_LOOPBACK, tmp_path) as proxy,
    ):
        held, resident = await _measure(proxy, kind, CLIENTS)
    assert held < CLIENTS * MAX_HELD_BYTES
    assert resident < MAX_RESIDENT_BYTES


@KINDS
async def test_they_are_let_go_and_the_record_says_who_did_not_read(
    tmp_path: Path, kind: str
) -> None:
    config = f"{OPEN_TO_LOOPBACK}timeouts: {{stalled: {STALLED_S}s}}\n"
    with trio.fail_after(GUARD_S), start_proxy(config, tmp_path) as proxy:
        async with _downloads() as (origin, _):
            clients = [await _begin(proxy, origin, kind) for _ in range(CLIENTS // 4)]
            records = await trio.to_thread.run_sync(proxy.wait_records, len(clients))
            for sock in clients:
                sock.close()
    assert {(record["closed_by"], record["reason"]) for record in records} == {
        ("client", "stalled")
    }
