"""G14: no request is much cheaper to send than to refuse, in memory or in processor time.

The kernel keeps the proxy's high-water mark of memory (reset through ``clear_refs``) and its
processor time in nanoseconds.  Each attack is run a few times first: what it makes the
allocator take once, it may keep.
"""

from __future__ import annotations

import re
import socket
import statistics
import time
from pathlib import Path

import pytest

from tests.hostile.room import Room, new_client_address

_HEAD_LIMIT = 64 * 1024
MAX_GROWTH_BYTES = 2 * _HEAD_LIMIT + 256 * 1024
MAX_CPU_RATIO = 20
TINY_CHUNKS = "50000 chunks of one octet"
MAX_TINY_CHUNK_S = 2e-6
"""Every chunk has a size of its own to be read, which costs about 1 µs in Python; the client
sends all of them as one prepared block.  Twenty times nearly nothing cannot be met here, so
what is bounded is the cost of each: linear, and no more than that of a short system call."""
_WARM_UP, _ROUNDS = 3, 20

_START = b"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\n"
_CHUNKED = b"POST http://10.0.0.1/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
ATTACKS = {
    "a small refused request": _START + b"X : y\r\n\r\n",
    "a field of 1 MiB": _START + b"X: " + b"y" * 1024 * 1024 + b"\r\n\r\n",
    "a target of 1 MiB": b"GET http://127.0.0.1:1/" + b"a" * 1024 * 1024 + b" HTTP/1.1\r\n\r\n",
    "a head of 60 KiB": _START + b"X: " + b"y" * 60 * 1024 + b"\r\n\r\n",
    "20000 fields": _START + b"a:\r\n" * 20_000 + b"\r\n",
    "127 fields and a bad one": _START + b"a: b\r\n" * 126 + b"a b\r\n\r\n",
    "10000 nominations": _START + b"Connection: " + b"a," * 10_000 + b"\r\n\r\n",
    "10000 codings": _START + b"Transfer-Encoding: " + b"a," * 10_000 + b"\r\n\r\n",
    "Via of 60 KiB": _START + b"Via: " + b"1.1 a," * 10_000 + b"\r\n\r\n",
    "white space of 60 KiB": _START + b"X:" + b" \t" * 30_000 + b"y\r\n\r\n",
    "Host of 60 KiB": b"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: " + b"a." * 30_000 + b"\r\n\r\n",
    "Host of colons": b"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: " + b":" * 60_000 + b"\r\n\r\n",
    "authority of 16 KiB": b"GET http://" + b"a-" * 8000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "authority of dots": b"CONNECT " + b"1." * 8000 + b":1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "authority of brackets": b"CONNECT " + b"[" * 16_000 + b":1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a length of 18000 digits": _START + b"Content-Length: " + b"9" * 18_000 + b"\r\n\r\n",
    "credentials of 60 KiB": _START
    + b"Proxy-Authorization: Basic "
    + b"QUFB" * 15_000
    + b"\r\n\r\n",
    "a chunk extension of 1 MiB": _CHUNKED + b"1;" + b"a" * 1024 * 1024,
    TINY_CHUNKS: _CHUNKED + b"1\r\na\r\n" * 50_000 + b"0\r\n\r\n",
    "trailers of 1 MiB": _CHUNKED + b"0\r\n" + b"a: b\r\n" * 180_000 + b"\r\n",
    "a chunk size of zeros": _CHUNKED + b"0" * 1024 * 1024,
}


def _attack(room: Room, data: bytes) -> float:
    """Sends `data`, reads the answer, waits for the record; the client's own processor seconds."""
    source = new_client_address()
    began = time.thread_time()
    with socket.create_connection(room.proxy.address, timeout=20, source_address=(source, 0)) as s:
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused before all of it was sent
        try:
            while s.recv(65536):
                pass
        except ConnectionResetError:
            pass
    used = time.thread_time() - began
    room.seen[source] += 1
    mark = f"{source}:"
    room.proxy.wait_until_logged(
        lambda log: str(log[-1]["client"]).startswith(mark) if log else False
    )
    return used


def _memory(room: Room, field: str) -> int:
    status = Path(f"/proc/{room.proxy.pid}/status").read_text(encoding="ascii")
    match = re.search(rf"^{field}:\s+(\d+) kB", status, re.M)
    assert match is not None
    return int(match[1]) * 1024


def _processor_time(room: Room) -> float:
    """Of all the proxy's threads, in seconds."""
    tasks = Path(f"/proc/{room.proxy.pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_costs_the_proxy_little_more_than_the_attacker(
    open_proxy: Room, name: str
) -> None:
    data = ATTACKS[name]
    for _ in range(_WARM_UP):
        _attack(open_proxy, data)
    growths, ratios, costs = [], [], []
    for _ in range(_ROUNDS):
        open_proxy.check_descriptors()  # the one before is over and gone
        Path(f"/proc/{open_proxy.proxy.pid}/clear_refs").write_text("5", encoding="ascii")
        resident, began = _memory(open_proxy, "VmRSS"), _processor_time(open_proxy)
        client_s = _attack(open_proxy, data)
        costs.append(_processor_time(open_proxy) - began)
        ratios.append(costs[-1] / client_s)
        growths.append(_memory(open_proxy, "VmHWM") - resident)
    assert statistics.median(growths) <= MAX_GROWTH_BYTES
    if name == TINY_CHUNKS:
        assert statistics.median(costs) <= 50_000 * MAX_TINY_CHUNK_S
    else:
        assert statistics.median(ratios) <= MAX_CPU_RATIO
