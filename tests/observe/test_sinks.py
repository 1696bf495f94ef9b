"""Where records go: in order, whole, bounded, and through bad times."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import resource
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from wsproxy.observe import sinks
from wsproxy.observe.sinks import SINKS, LineSink, SinkStatistics, open_destination


def line(number: int) -> bytes:
    """One record of 100 octets."""
    return b"%099d\n" % number


class FakeDestination:
    """Keeps what it is given; fails or hangs when told."""

    def __init__(self) -> None:
        self.writes: list[list[bytes]] = []
        self.errors: list[OSError] = []
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False
        self.attempts = 0

    def write(self, lines: list[bytes]) -> None:
        self.attempts += 1
        self.gate.wait(10)
        if self.errors:
            raise self.errors.pop(0)
        self.writes.append(lines)

    def close(self) -> None:
        self.closed = True

    @property
    def lines(self) -> list[bytes]:
        return [line for lines in self.writes for line in lines]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come soon."""
    monkeypatch.setattr(sinks, "_RETRY_S", 0.01)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [entry.getMessage() for entry in caplog.records if entry.levelno == logging.ERROR]


# ---------------------------------------------------------------- LineSink


async def test_lines_arrive_in_order_and_many_in_one_write(nursery: trio.Nursery) -> None:
    destination = FakeDestination()
    sink = LineSink(destination)
    for number in range(1000):
        sink.put_nowait(line(number))
    assert sink.statistics() == SinkStatistics(written=0, dropped=0, waiting=1000)
    nursery.start_soon(sink.run)
    await trio.testing.wait_all_tasks_blocked()
    await sink.close()
    assert destination.lines == [line(number) for number in range(1000)]
    assert len(destination.writes) == 1
    assert sink.statistics() == SinkStatistics(written=1000, dropped=0, waiting=0)


async def test_closing_writes_what_waits_and_closes_the_destination(
    nursery: trio.Nursery,
) -> None:
    destination = FakeDestination()
    sink = LineSink(destination)
    nursery.start_soon(sink.run)
    sink.put_nowait(line(1))
    await trio.testing.wait_all_tasks_blocked()
    sink.put_nowait(line(2))
    await sink.close()
    assert (destination.lines, destination.closed) == ([line(1), line(2)], True)


async def test_a_line_that_is_empty_is_none(nursery: trio.Nursery) -> None:
    destination = FakeDestination()
    sink = LineSink(destination)
    nursery.start_soon(sink.run)
    sink.put_nowait(b"")
    await sink.close()
    assert destination.attempts == 0


async def test_lines_past_the_bound_are_dropped_counted_and_reported(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    destination = FakeDestination()
    sink = LineSink(destination, max_waiting_bytes=350)
    for number in range(10):
        sink.put_nowait(line(number))
    assert sink.statistics() == SinkStatistics(written=0, dropped=7, waiting=3)
    sink.put_nowait(b"short\n")
    nursery.start_soon(sink.run)
    with trio.fail_after(10):
        while sink.statistics().waiting or not sink.statistics().written:
            await trio.lowlevel.checkpoint()
    sink.put_nowait(line(10))
    await sink.close()
    assert destination.lines == [line(0), line(1), line(2), b"short\n", line(10)]
    assert errors(caplog) == ["access log: 7 records were dropped"]


async def test_a_slow_destination_delays_nobody_and_counts_against_the_bound(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    destination = FakeDestination()
    destination.gate.clear()
    sink = LineSink(destination, max_waiting_bytes=300)
    nursery.start_soon(sink.run)
    for number in range(2):
        sink.put_nowait(line(number))
    with trio.fail_after(10):
        while not destination.attempts:
            await trio.lowlevel.checkpoint()
    for number in range(2, 6):
        sink.put_nowait(line(number))
    assert sink.statistics() == SinkStatistics(written=0, dropped=3, waiting=1)
    destination.gate.set()
    await sink.close()
    assert destination.lines == [line(0), line(1), line(2)]
    assert errors(caplog) == ["access log: 3 records were dropped"]


async def test_a_destination_that_fails_is_tried_again_and_nothing_is_lost(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    destination = FakeDestination()
    destination.errors = [OSError(errno.ENOSPC, "No space left on device")] * 3
    sink = LineSink(destination)
    sink.put_nowait(line(0))
    nursery.start_soon(sink.run)
    with trio.fail_after(10):
        while not destination.attempts:
            await trio.lowlevel.checkpoint()
        sink.put_nowait(line(1))
        while not destination.writes:
            await trio.lowlevel.checkpoint()
    await sink.close()
    assert destination.lines == [line(0), line(1)]
    assert errors(caplog) == ["access log: No space left on device; records wait, then are dropped"]
    assert sink.statistics() == SinkStatistics(written=2, dropped=0, waiting=0)


async def test_a_destination_that_fails_to_the_end_does_not_hold_up_the_end(
    nursery: trio.Nursery,
) -> None:
    destination = FakeDestination()
    destination.errors = [OSError(errno.EPIPE, "Broken pipe")] * 1000
    sink = LineSink(destination)
    nursery.start_soon(sink.run)
    sink.put_nowait(line(0))
    with trio.fail_after(10):
        await sink.close()
    assert destination.closed
    assert sink.statistics().waiting == 1


async def test_a_cancelled_sink_closes_its_destination() -> None:
    destination = FakeDestination()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(LineSink(destination).run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert destination.closed


class LittleRoom(FakeDestination):
    """Takes so many octets, then is full."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def write(self, lines: list[bytes]) -> None:
        size = sum(map(len, lines))
        if size > self.room:
            self.attempts += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= size
        super().write(lines)


async def test_a_destination_with_a_little_room_takes_some_lines_each_once(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "_PART_BYTES", 250)
    destination = LittleRoom(500)
    sink = LineSink(destination)
    for number in range(10):
        sink.put_nowait(line(number))
    sink.put_nowait(b"x" * 300 + b"\n")
    nursery.start_soon(sink.run)
    with trio.fail_after(10):
        while sink.statistics() != SinkStatistics(written=4, dropped=0, waiting=7):
            await trio.lowlevel.checkpoint()
    assert destination.lines == [line(number) for number in range(4)]
    destination.room = 10_000
    await sink.close()
    assert destination.lines == [line(number) for number in range(10)] + [b"x" * 300 + b"\n"]
    assert [len(lines) for lines in destination.writes] == [2, 2, 2, 2, 2, 1]
    assert sink.statistics() == SinkStatistics(written=11, dropped=0, waiting=0)


def told(count: int) -> bytes:
    return b"%d dropped\n" % count


async def test_what_was_dropped_is_told_among_the_lines_and_counts_as_none(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    destination = LittleRoom(0)
    sink = LineSink(destination, name="capture", max_waiting_bytes=250, told=told)
    for number in range(5):
        sink.put_nowait(line(number))
    nursery.start_soon(sink.run)
    with trio.fail_after(10):
        while not destination.attempts:
            await trio.lowlevel.checkpoint()
        # Room for the lines and not for the count, which is tried again and has grown.
        destination.room = 200
        while destination.room:
            await trio.lowlevel.checkpoint()
        before = destination.attempts
        while destination.attempts == before:
            await trio.lowlevel.checkpoint()
        sink.put_nowait(b"x" * 300)
        destination.room = 1000
        await sink.close()
    assert destination.lines == [line(0), line(1), told(4)]
    assert sink.statistics() == SinkStatistics(written=2, dropped=4, waiting=0)
    assert errors(caplog)[-1] == "capture: 4 records were dropped"


async def test_what_was_dropped_and_never_told_is_lost_with_the_last_lines(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    sink = LineSink(LittleRoom(0), max_waiting_bytes=250)
    for number in range(5):
        sink.put_nowait(line(number))
    nursery.start_soon(sink.run)
    await sink.close()
    assert errors(caplog)[-1] == "access log: the last 5 records are lost"


# ---------------------------------------------------------------- files


def test_a_file_is_appended_to_and_not_for_everybody_to_read(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"before\n")
    destination = open_destination(str(path))
    destination.write([line(0), line(1)])
    destination.close()
    assert path.read_bytes() == b"before\n" + line(0) + line(1)
    fresh = open_destination(str(tmp_path / "fresh.log"))
    fresh.close()
    assert (tmp_path / "fresh.log").stat().st_mode & 0o007 == 0


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_was_moved_away_is_followed_by_a_new_one(
    tmp_path: Path, replaced: bool
) -> None:
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    destination = open_destination(str(path))
    destination.write([line(0)])
    path.rename(old)
    if replaced:
        path.touch()
    destination.write([line(1)])
    destination.write([line(2)])
    destination.close()
    assert (old.read_bytes(), path.read_bytes()) == (line(0), line(1) + line(2))


async def test_no_line_is_lost_or_split_by_rotations(tmp_path: Path, nursery: trio.Nursery) -> None:
    path = tmp_path / "access.log"
    sink = LineSink(open_destination(str(path)))
    nursery.start_soon(sink.run)
    count = 0
    for rotation in range(20):
        for _ in range(50):
            sink.put_nowait(line(count))
            count += 1
        with trio.fail_after(10):
            while sink.statistics().written < count - 25:
                await trio.lowlevel.checkpoint()
        path.rename(tmp_path / f"access.log.{rotation}")
    sink.put_nowait(line(count))
    await sink.close()
    files = [tmp_path / f"access.log.{rotation}" for rotation in range(20)] + [path]
    lines = [text for file in files for text in file.read_bytes().splitlines(keepends=True)]
    assert lines == [line(number) for number in range(count + 1)]


@pytest.fixture
def full_at() -> Iterator[int]:
    """Files of this process take 250 octets; more is an error, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (250, limits[1]))
    yield limits[0]
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, before)


def test_a_full_disk_leaves_no_part_of_a_line(tmp_path: Path, full_at: int) -> None:
    path = tmp_path / "access.log"
    destination = open_destination(str(path))
    destination.write([line(0)])
    with pytest.raises(OSError):
        destination.write([line(1), line(2)])
    assert path.read_bytes() == line(0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (full_at, resource.RLIM_INFINITY))
    destination.write([line(1), line(2)])
    destination.close()
    assert path.read_bytes() == line(0) + line(1) + line(2)


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        open_destination(str(tmp_path / "nowhere" / "access.log"))


def test_a_folder_that_vanished_is_an_error_until_it_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    destination = open_destination(str(folder / "access.log"))
    (folder / "access.log").rename(tmp_path / "old")
    folder.rmdir()
    with pytest.raises(OSError):
        destination.write([line(0)])
    folder.mkdir()
    destination.write([line(0)])
    destination.close()
    assert (folder / "access.log").read_bytes() == line(0)


# ---------------------------------------------------------------- standard streams, syslog, none


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_standard_stream_gets_whole_lines_and_stays_open(
    name: str, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    number = 1 if name == "stdout" else 2
    with os.fdopen(os.dup(number), "w") as stream:
        monkeypatch.setattr(f"sys.{name}", stream)
        destination = open_destination(name)
        destination.write([line(0), line(1)])
        destination.close()
        destination.write([line(2)])
        monkeypatch.undo()
    captured = capfdbinary.readouterr()
    assert (captured.out + captured.err) == line(0) + line(1) + line(2)


def test_a_stream_that_takes_half_a_line_gets_the_other_half_next() -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    destination = sinks._Descriptor(writer)
    lines = [line(number) for number in range(100)]
    with pytest.raises(BlockingIOError):
        destination.write(lines)
    received = os.read(reader, 65536)
    assert 0 < len(received) < 10_000
    for extra in (100, 101):
        lines.append(line(extra))
        try:
            destination.write(lines)
        except BlockingIOError:
            pass
        received += os.read(reader, 65536)
    while len(received) < 10_200:
        destination.write(lines)
        received += os.read(reader, 65536)
    assert received == b"".join(lines)
    os.close(reader)
    os.close(writer)


@pytest.fixture
def syslogd(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket that listens as /dev/log does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "log"))
        sock.setblocking(False)
        yield sock


def test_syslog_gets_one_message_a_line(tmp_path: Path, syslogd: socket.socket) -> None:
    destination = sinks._Syslog(str(tmp_path / "log"))
    destination.write([b'{"a":"100%"}\n', b"two\n"])
    # 8 * user + info (RFC 3164 §4.1.1)
    assert syslogd.recv(1000) == b'<14>wsproxy: {"a":"100%"}\0'
    assert syslogd.recv(1000) == b"<14>wsproxy: two\0"
    destination.close()


def test_a_syslog_that_went_away_is_an_error_and_no_line_is_lost(
    tmp_path: Path, syslogd: socket.socket, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log"
    destination = sinks._Syslog(str(path))
    destination.write([b"one\n"])
    syslogd.close()
    path.unlink()
    with pytest.raises(OSError):
        destination.write([b"two\n"])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(str(path))
        destination.write([b"two\n", b"three\n"])
        assert [again.recv(100) for _ in range(2)] == [
            b"<14>wsproxy: two\0",
            b"<14>wsproxy: three\0",
        ]
    destination.close()
    assert capfd.readouterr().err == ""


def test_a_machine_without_syslog_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        sinks._Syslog(str(tmp_path / "nothing"))


def test_nowhere_takes_everything() -> None:
    destination = open_destination("none")
    destination.write([line(0)])
    destination.close()


def test_every_name_of_the_configuration_is_here() -> None:
    assert list(SINKS) == ["stdout", "stderr", "syslog", "none"]


async def test_a_quarter_more_is_kept_for_the_lines_that_others_hang_on(
    nursery: trio.Nursery,
) -> None:
    destination = LittleRoom(1000)
    sink = LineSink(destination, max_waiting_bytes=400)
    for number in range(5):
        sink.put_nowait(line(number))
    sink.keep_nowait(line(5))
    sink.keep_nowait(line(6))
    sink.put_nowait(line(7))
    assert sink.statistics() == SinkStatistics(written=0, dropped=3, waiting=5)
    nursery.start_soon(sink.run)
    await sink.close()
    assert destination.lines == [line(number) for number in (0, 1, 2, 3, 5)]
