"""Goals G9 and G10: a capture on a disk that is full, and one that is rotated under load."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from wsproxy.observe.capture import CaptureFiles, dropped_line
from wsproxy.observe.sinks import LineSink

DISK_BYTES = 4 * 1024 * 1024
LINE_BYTES = 1000
AT = 1_700_000_000.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB, which only root can mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk takes root; see README")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


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
