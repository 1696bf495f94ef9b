"""Where records go: bounded, in order, and never in the way of traffic.

Lines are collected in memory and written by a thread, many at a time.  While
the destination is slow or full, lines wait; past the bound they are dropped,
counted, and the count is reported as soon as the destination takes lines again.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import trio

__all__ = [
    "SINKS",
    "Destination",
    "LineSink",
    "SinkStatistics",
    "open_destination",
    "write_whole",
]

log = logging.getLogger("wsproxy")

MAX_WAITING_BYTES = 8 * 1024 * 1024
"""About 12,000 records: what may wait while the destination does not take any."""
_BATCH_S = 0.02
"""One write for all lines of this long; a thread hop for every line would cost more than the line."""
_RETRY_S = 0.5
_PART_BYTES = 256 * 1024
"""At most so much goes to the destination at a time, but for a longer line."""


class Destination(Protocol):
    """Takes whole lines; called in a thread, may block, raises OSError."""

    def write(self, lines: list[bytes]) -> None:
        """Writes all `lines`; after an OSError it is called with the same lines in front."""

    def close(self) -> None:
        """Lets go of what is open."""


@dataclass(frozen=True, slots=True)
class SinkStatistics:
    """What became of the lines so far."""

    written: int
    dropped: int
    waiting: int


class LineSink:
    """A bounded queue of lines in front of a `Destination`.

    Args:
        destination: where `run` writes to.
        name: what it is called in messages.
        max_waiting_bytes: lines past this are dropped and counted.
        told: makes a line of how many were dropped, which is written behind those that
            were not; it counts as none of them.
    """

    def __init__(
        self,
        destination: Destination,
        *,
        name: str = "access log",
        max_waiting_bytes: int = MAX_WAITING_BYTES,
        told: Callable[[int], bytes] | None = None,
    ) -> None:
        self._name = name
        self._told = told
        self._destination = destination
        self._max_waiting_bytes = max_waiting_bytes
        self._lines: list[bytes] = []
        self._waiting_bytes = 0
        self._written = 0
        self._dropped = 0
        self._reported = 0
        self._failing = False
        self._wake = trio.Event()
        self._closing = trio.Event()
        self._closed = trio.Event()

    def put_nowait(self, line: bytes) -> None:
        """Adds one line; never blocks and never fails.

        Args:
            line: with its line feed; an empty one is none.
        """
        # Every message comes here: no option and no further call, for both cost time.
        if not line:
            return
        waiting = self._waiting_bytes + len(line)
        if waiting > self._max_waiting_bytes:
            self._dropped += 1
            return
        lines = self._lines
        if not lines:
            self._wake.set()
        lines.append(line)
        self._waiting_bytes = waiting

    def keep_nowait(self, line: bytes) -> None:
        """Adds one of the few lines that many others hang on: a quarter more is kept for them.

        Args:
            line: with its line feed.
        """
        waiting, bound = self._waiting_bytes + len(line), self._max_waiting_bytes
        if waiting > bound + bound // 4:
            self._dropped += 1
            return
        self._wake.set()
        self._lines.append(line)
        self._waiting_bytes = waiting

    def statistics(self) -> SinkStatistics:
        """A snapshot of the counters."""
        return SinkStatistics(self._written, self._dropped, len(self._lines))

    async def run(self) -> None:
        """Writes until `close`; a destination that fails is tried again."""
        try:
            while not self._closing.is_set():
                await self._wake.wait()
                self._wake = trio.Event()
                written = await self._write_waiting()
                with trio.move_on_after(_BATCH_S if written else _RETRY_S):
                    await self._closing.wait()
                if not written:
                    self._wake.set()
            if not await self._write_waiting():
                lost = len(self._lines) + self._dropped - self._reported
                log.error("%s: the last %d records are lost", self._name, lost)
        finally:
            self._destination.close()
            self._closed.set()

    async def close(self) -> None:
        """Writes what waits, then ends `run`; waits for both."""
        self._closing.set()
        self._wake.set()
        await self._closed.wait()

    async def _write_waiting(self) -> bool:
        lines, self._lines = self._lines, []
        done = 0
        try:
            # In parts: a disk with a little room takes a few of them, and none of all at once.
            for part in _parts(lines):
                await self._write(part)
                done += len(part)
                self._written += len(part)
                self._waiting_bytes -= sum(map(len, part))
            if self._dropped != self._reported:
                await self._tell(self._dropped)
        except OSError as error:
            self._lines = lines[done:] + self._lines
            if not self._failing:
                why = error.strerror or error
                log.error("%s: %s; records wait, then are dropped", self._name, why)
            self._failing = True
            return False
        self._failing = False
        return True

    async def _write(self, lines: list[bytes]) -> None:
        # Abandoned only when the process ends and the destination hangs.
        await trio.to_thread.run_sync(self._destination.write, lines, abandon_on_cancel=True)

    async def _tell(self, dropped: int) -> None:
        gone = dropped - self._reported
        if self._told is not None:
            await self._write([self._told(gone)])
        self._reported = dropped
        log.error("%s: %d records were dropped", self._name, gone)


def _parts(lines: list[bytes]) -> Iterator[list[bytes]]:
    ends = list(accumulate(map(len, lines)))
    start = gone = 0
    while start < len(lines):
        end = max(bisect_right(ends, gone + _PART_BYTES), start + 1)
        yield lines[start:end]
        start, gone = end, ends[end - 1]


class _Descriptor:
    """A standard stream, where what was written cannot be taken back."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._ahead = 0

    def write(self, lines: list[bytes]) -> None:
        # What a failed write left half done is done now: the lines are the same.
        data = memoryview(b"".join(lines))[self._ahead :]
        while data:
            taken = os.write(self._fd, data)
            self._ahead += taken
            data = data[taken:]
        self._ahead = 0

    def close(self) -> None:
        """The stream is not ours to close."""


class _File:
    """A file, opened again when it was moved away (logrotate without a signal)."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = self._open()

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def write(self, lines: list[bytes]) -> None:
        self._follow()
        write_whole(self._fd, b"".join(lines))

    def _follow(self) -> None:
        mine = os.fstat(self._fd)
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            pass
        else:
            if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
                return
        fresh = self._open()
        os.close(self._fd)
        self._fd = fresh

    def close(self) -> None:
        os.close(self._fd)


class _SyslogHandler(logging.handlers.SysLogHandler):
    """The standard library's, but a failure is an exception and not a traceback on stderr."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        raise  # noqa: PLE0704 - called while the exception is handled


class _Syslog:
    """The machine's syslog, one datagram a line."""

    def __init__(self, address: str = "/dev/log") -> None:
        os.stat(address)  # the handler would begin without a syslog, too
        self._handler = _SyslogHandler(address)
        self._handler.ident = "wsproxy: "
        self._ahead = 0

    def write(self, lines: list[bytes]) -> None:
        for line in lines[self._ahead :]:
            text = line.rstrip(b"\n").decode()
            self._handler.emit(logging.makeLogRecord({"msg": text, "levelname": "INFO"}))
            self._ahead += 1
        self._ahead = 0

    def close(self) -> None:
        self._handler.close()


class _Nowhere:
    """For those who want no records."""

    def write(self, lines: list[bytes]) -> None:
        """Forgets the lines."""

    def close(self) -> None:
        """Nothing is open."""


def write_whole(fd: int, data: bytes) -> None:
    """Appends all of `data` to a file, or none of it.

    Raises:
        OSError: the file is as it was.
    """
    size = os.fstat(fd).st_size
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(fd, rest) :]
    except OSError:
        # A full disk takes part of a line; that part would stand in front
        # of the whole line when it is written again.
        os.ftruncate(fd, size)
        raise


SINKS: dict[str, Callable[[], Destination]] = {
    "stdout": lambda: _Descriptor(sys.stdout.fileno()),
    "stderr": lambda: _Descriptor(sys.stderr.fileno()),
    "syslog": _Syslog,
    "none": _Nowhere,
}
"""What `logs.access.to` may name; anything else is a path."""


def open_destination(to: str) -> Destination:
    """The destination `logs.access.to` names.

    Raises:
        OSError: the file or the syslog socket cannot be opened.
    """
    return SINKS[to]() if to in SINKS else _File(to)
