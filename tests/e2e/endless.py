"""Many messages and a long stream through a proxy that logs them, with a look at its memory.

    python -m tests.e2e.endless --messages 1000000 --bytes 4294967296

The load is as cheap as Python can make it: frames are built once, and sent and counted
by the batch, in both directions at once.  The stream is one message a direction, in
fragments that never end until the last; whoever collects a message before looking at it
shows it here.

Memory is compared with what a warm-up of the same kind left: Python takes memory from
the system in large pieces and keeps it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from websockets.frames import Frame, Opcode

from tests.support.proxy_process import ProxyProcess, Record, start_proxy

from .inspected import LOGGING, InspectingProxy
from .wire import RawOrigin, Wire

TEXT = b'{"type":"tick","symbol":"ABCD","price":101.25,"size":300}'
FRAGMENT_BYTES = 1024 * 1024
BATCH = 1000
MAX_GROWTH_BYTES = 40 * 1024 * 1024
"""Records wait for a disk that is slower, bounded by the sink: 16 MiB of lines are some 33 as objects.
That much it is for one million messages as for four; a stream of gigabytes is far beyond."""
GUARD_S = 600.0

_BLOCK = bytes(range(256)) * (FRAGMENT_BYTES // 256)
_HANDSHAKE = (
    b"GET ws://%b/endless HTTP/1.1\r\nHost: %b\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


class Script(NamedTuple):
    """What one peer sends: `first`, then `batch` that many `times`, then `last`."""

    first: bytes
    batch: bytes
    times: int
    last: bytes

    @property
    def size(self) -> int:
        """In octets, frame heads included."""
        return len(self.first) + len(self.batch) * self.times + len(self.last)

    @classmethod
    def of_messages(cls, count: int, *, masked: bool) -> Self:
        """So many small text messages."""
        one = Frame(Opcode.TEXT, TEXT).serialize(mask=masked)
        return cls(b"", one * BATCH, count // BATCH, one * (count % BATCH))

    @classmethod
    def of_stream(cls, fragments: int, *, masked: bool) -> Self:
        """One binary message of so many fragments of `FRAGMENT_BYTES`, and an empty last one."""
        return cls(
            Frame(Opcode.BINARY, _BLOCK, fin=False).serialize(mask=masked),
            Frame(Opcode.CONT, _BLOCK, fin=False).serialize(mask=masked),
            fragments - 1,
            Frame(Opcode.CONT, b"").serialize(mask=masked),
        )


@dataclass(frozen=True, slots=True)
class Load:
    """What both peers of one WebSocket send."""

    name: str
    up: Script
    down: Script
    messages: int

    @property
    def size(self) -> int:
        """In octets, frame heads included."""
        return self.up.size + self.down.size


def load_messages(count: int) -> Load:
    """`count` messages, half of them from either peer."""
    half = count // 2
    return Load(
        f"{2 * half} messages",
        Script.of_messages(half, masked=True),
        Script.of_messages(half, masked=False),
        2 * half,
    )


def load_stream(size: int) -> Load:
    """A message of `size` / 2 octets from either peer, in whole fragments."""
    half = size // 2 // FRAGMENT_BYTES
    return Load(
        f"a stream of {2 * half * FRAGMENT_BYTES} octets",
        Script.of_stream(half, masked=True),
        Script.of_stream(half, masked=False),
        2,
    )


def hash_of_stream(fragments: int) -> str:
    """The SHA-256 of a stream, as its record has it."""
    digest = hashlib.sha256()
    for _ in range(fragments):
        digest.update(_BLOCK)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Figures:
    """What a load has cost, in seconds and octets.

    Attributes:
        load: what was sent.
        session: id of the WebSocket.
        duration_s: from the first octet to the end of the connection.
        before_bytes: resident memory of the proxy before the load.
        peak_bytes: the most it was since.
        after_bytes: when the session was over.
    """

    load: Load
    session: str
    duration_s: float
    before_bytes: int
    peak_bytes: int
    after_bytes: int

    @property
    def growth_bytes(self) -> int:
        """What the load took at its worst."""
        return self.peak_bytes - self.before_bytes

    def __str__(self) -> str:
        mib = 1024 * 1024
        return (
            f"{self.load.name}: {self.duration_s:.2f} s,"
            f" {self.load.messages / self.duration_s:.0f} messages/s,"
            f" {self.load.size / mib / self.duration_s:.0f} MiB/s;"
            f" resident {self.before_bytes / mib:.1f} MiB before, {self.peak_bytes / mib:.1f} peak,"
            f" {self.after_bytes / mib:.1f} after"
        )


def _send(wire: Wire, script: Script, deadline: float) -> None:
    wire.send(script.first)
    for _ in range(script.times):
        assert time.monotonic() < deadline, "the load takes too long"
        wire.send(script.batch)
    wire.send(script.last)


def _receive(wire: Wire, size: int) -> None:
    room = memoryview(bytearray(FRAGMENT_BYTES))
    while size:
        count = wire.sock.recv_into(room, min(size, len(room)))
        assert count, f"the stream ended {size} octets early"
        size -= count


def _converse(port: int, load: Load) -> None:
    deadline = time.monotonic() + GUARD_S
    with RawOrigin() as origin, Wire.connect(port) as client:
        authority = origin.authority.encode()
        client.send(_HANDSHAKE % (authority, authority))
        with origin.accept() as upstream:
            upstream.read_head()
            upstream.send(_SWITCHING)
            client.read_head()
            with ThreadPoolExecutor(4) as pool:
                tasks = [
                    pool.submit(_receive, upstream, load.up.size),
                    pool.submit(_receive, client, load.down.size),
                    pool.submit(_send, client, load.up, deadline),
                    pool.submit(_send, upstream, load.down, deadline),
                ]
                for task in tasks:
                    task.result()
            code = (1000).to_bytes(2, "big")
            farewell = Frame(Opcode.CLOSE, code).serialize(mask=True)
            client.send(farewell)
            upstream.read_exactly(len(farewell))
            upstream.send(Frame(Opcode.CLOSE, code).serialize(mask=False))
        client.read_to_end()


def _resident(process: ProxyProcess) -> tuple[int, int]:
    """Now, and at its peak."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    now, peak = (re.search(rf"^{key}:\s+(\d+) kB", status, re.M) for key in ("VmRSS", "VmHWM"))
    assert now is not None
    assert peak is not None
    return int(now[1]) * 1024, int(peak[1]) * 1024


def measure(process: ProxyProcess, load: Load) -> Figures:
    """Puts a load through the proxy.

    Raises:
        AssertionError: not every octet came through, or not in time.
    """
    sessions = len(process.records(event="access"))
    Path(f"/proc/{process.pid}/clear_refs").write_text("5", encoding="ascii")  # the peak is now
    before, _ = _resident(process)
    began = time.monotonic()
    _converse(process.port, load)
    duration = time.monotonic() - began
    session = process.wait_records(sessions + 1)[-1]["id"]
    after, peak = _resident(process)
    return Figures(load, session, duration, before, peak, after)


def measure_all(
    inspecting: InspectingProxy, *, messages: int, size: int
) -> tuple[Figures, Figures]:
    """The messages and then the stream, each after a warm-up of its kind; prints the figures.

    Args:
        inspecting: the proxy.
        messages: how many, both directions together; an even number.
        size: of the stream, in octets, both directions together; a multiple of 2 MiB.
    """
    figures = []
    for warm_up, load in (
        (load_messages(20 * BATCH), load_messages(messages)),
        (load_stream(16 * FRAGMENT_BYTES), load_stream(size)),
    ):
        measure(inspecting.process, warm_up)
        figures.append(measure(inspecting.process, load))
        print(figures[-1], flush=True)
    return figures[0], figures[1]


def records_of(inspecting: InspectingProxy, session: str) -> dict[str, list[Record]]:
    """The text and binary messages of each peer and, by the name ``close``, the last record."""
    found: dict[str, list[Record]] = {"client": [], "upstream": [], "close": []}
    for line in inspecting.lines():
        if session not in line:  # a record of another one, or that some were dropped
            continue
        record: Record = json.loads(line)
        if record["event"] == "message" and record["opcode"] in ("text", "binary"):
            found[record["direction"]].append(record)
        elif record["event"] == "close":
            found["close"].append(record)
    return found


def main(arguments: Sequence[str]) -> int:
    """Runs the loads; 1 when memory was not flat."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.endless", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--bytes", type=int, default=4 * 1024**3)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory, start_proxy(LOGGING, Path(directory)) as proxy:
        inspecting = InspectingProxy(proxy, Path(directory))
        figures = measure_all(inspecting, messages=asked.messages, size=asked.bytes)
        inspecting.stop()
        written = sum(1 for line in inspecting.lines() if figures[0].session in line)
        print(f"records of {figures[0].load.name} in the capture: {written}")
    flat = all(one.growth_bytes < MAX_GROWTH_BYTES for one in figures)
    print(f"memory grows by less than {MAX_GROWTH_BYTES // 1024**2} MiB: {'yes' if flat else 'NO'}")
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
