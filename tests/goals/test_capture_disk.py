"""Goals G9 and G10: a capture on a disk that is full, and one that is rotated under load."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from tests.goals.chats import open_chat, say, serve_chats
from tests.goals.room import Client
from tests.support.proxy_process import OPEN_TO_LOOPBACK, start_proxy
from tests.support.rawnet import open_origin
from wsproxy.observe.capture import CaptureFiles, dropped_line
from wsproxy.observe.sinks import LineSink

DISK_BYTES = 4 * 1024 * 1024
LINE_BYTES = 1000
CHATS, MESSAGES = 50, 1500
"""Some 30 MiB of records: more than wait for the disk."""
AT = 1_700_000_000.0


@contextmanager
def mounted(folder: Path, size: int) -> Iterator[Path]:
    """A disk of `size` octets, which only root can mount."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk takes root; see README")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """One of 4 MiB."""
    with mounted(tmp_path / "disk", DISK_BYTES) as folder:
        yield folder


def line(number: int) -> bytes:
    start = b'{"event":"message","number":%d,"text":"' % number
    return start + b"x" * (LINE_BYTES - len(start) - 3) + b'"}\n'


def records(folder: Path) -> list[dict[str, object]]:
    """All records; a line that is cut or split is no JSON, and fails."""
    paths = sorted(folder.glob("capture-*.jsonl"), key=lambda path: path.name.rsplit("-", 1)[1])
    data = b"".join(path.read_bytes() for path in paths)
    assert data.endswith(b"\n")
    return [json.loads(each) for each in data.splitlines()]


def files_in(folder: Path) -> int:
    return len(list(folder.glob("capture-*")))


async def settle(sink: LineSink, *, written: int) -> None:
    """Until so many lines are written."""
    with trio.fail_after(10):
        while sink.statistics().written < written:  # noqa: ASYNC110 - nothing to be woken by
            await trio.sleep(0.005)


def numbers(found: list[dict[str, object]]) -> list[object]:
    return [record["number"] for record in found if record["event"] == "message"]


async def test_g9_a_full_disk_costs_records_that_are_counted_and_nothing_else(
    disk: Path,
) -> None:
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(DISK_BYTES // 2))
    files = CaptureFiles(disk, rotate_bytes=1 << 30, keep_s=1e9, clock=lambda: AT)
    sink = LineSink(
        files,
        name="capture",
        max_waiting_bytes=1024 * 1024,
        told=lambda count: dropped_line(count, AT),
    )
    total = 5000
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        for number in range(total):
            sink.put_nowait(line(number))
            if number % 200 == 0:
                await trio.sleep(0.02)
        dropped = sink.statistics().dropped
        assert dropped
        ballast.unlink()
        began = trio.current_time()
        await settle(sink, written=total - dropped)
        assert trio.current_time() - began < 1.0
        sink.put_nowait(line(total))
        await sink.close()
        nursery.cancel_scope.cancel()
    found = records(disk)
    kept = numbers(found)
    assert kept == sorted(set(map(int, map(str, kept))))
    assert kept[-1] == total
    assert len(kept) == total + 1 - dropped
    assert [each["count"] for each in found if each["event"] == "dropped"] == [dropped]
    print(f"\nG9: {len(kept)} records kept, {dropped} dropped and counted, none cut")


@pytest.fixture
def large_disk(tmp_path: Path) -> Iterator[Path]:
    """One of 64 MiB, but for 128 KiB full: with all of it, what waits has room."""
    with mounted(tmp_path / "disk", 16 * DISK_BYTES) as folder:
        (folder / "ballast").write_bytes(bytes(16 * DISK_BYTES - 128 * 1024))
        yield folder


async def test_g9_a_full_disk_is_no_matter_to_websockets(large_disk: Path, tmp_path: Path) -> None:
    disk = large_disk
    rules = "rules: [{name: here, action: allow, websocket: log}]"
    config = OPEN_TO_LOOPBACK.replace("default: allow", rules)
    config += f"inspection: {{capture: {{directory: {disk}}}}}\n"
    said = 0

    async def talk(sock: Client, number: int) -> None:
        nonlocal said
        with sock:
            for sequence in range(MESSAGES):
                await say(sock, number, sequence)
                said += 1

    with trio.fail_after(60), start_proxy(config, tmp_path) as proxy:
        async with open_origin(serve_chats) as origin, trio.open_nursery() as nursery:
            for number in range(CHATS):
                sock = await open_chat(proxy.address, origin.authority)
                nursery.start_soon(talk, sock, number)
        await trio.to_thread.run_sync(proxy.wait_records, CHATS)
        for record in proxy.records(event="access"):
            assert (record["closed_by"], record["reason"]) == ("client", "eof")
        (disk / "ballast").unlink()
        assert await trio.to_thread.run_sync(proxy.terminate) == 0
    assert said == CHATS * MESSAGES
    found = records(disk)
    dropped = sum(int(str(each["count"])) for each in found if each["event"] == "dropped")
    kept = sum(each["event"] != "dropped" for each in found)
    assert dropped
    # Each is recorded as it goes there and as it comes back; each chat opens and closes.
    assert kept + dropped == CHATS * (2 * MESSAGES + 2)
    print(f"\nG9: {CHATS} WebSockets on a full disk: {kept} records kept, {dropped} counted")


async def test_g10_no_record_is_lost_or_split_by_a_hundred_rotations(tmp_path: Path) -> None:
    files = CaptureFiles(tmp_path, rotate_bytes=10 * LINE_BYTES, keep_s=1e9, clock=lambda: AT)
    sink = LineSink(files, name="capture")
    total = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        with trio.fail_after(30):
            while files_in(tmp_path) <= 100:
                for _ in range(20):
                    sink.put_nowait(line(total))
                    total += 1
                await trio.sleep(0.002)
        await sink.close()
        nursery.cancel_scope.cancel()
    assert numbers(records(tmp_path)) == list(range(total))
    assert sink.statistics().dropped == 0
    print(f"\nG10: {total} records over {files_in(tmp_path)} files, none lost")
