"""Capture files: private, whole lines, one after the other, and gone in time."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from wsproxy.observe import sinks
from wsproxy.observe.capture import CAPTURE_NAME, CaptureFiles, dropped_line


class Clock:
    def __init__(self) -> None:
        self.at = 1_700_000_000.0

    def __call__(self) -> float:
        return self.at


def files_in(directory: Path) -> list[Path]:
    return sorted(directory.glob("capture-*.jsonl"))


def capture(
    directory: Path, *, rotate_bytes: int = 1000, clock: Clock | None = None
) -> CaptureFiles:
    return CaptureFiles(directory, rotate_bytes=rotate_bytes, keep_s=100.0, clock=clock or Clock())


def test_folder_and_files_are_the_owners_only(tmp_path: Path) -> None:
    one = capture(tmp_path / "captures")
    one.write([b"a\n", b"b\n"])
    one.close()
    (path,) = files_in(tmp_path / "captures")
    assert path.read_bytes() == b"a\nb\n"
    assert CAPTURE_NAME.fullmatch(path.name)
    assert path.name.startswith(f"capture-20231114T221320Z-{os.getpid()}-")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        capture(tmp_path / "missing" / "captures")


def test_a_file_is_followed_by_the_next_between_two_lines(tmp_path: Path) -> None:
    one = capture(tmp_path, rotate_bytes=10)
    for number in range(5):
        one.write([b"line %d\n" % number])
    one.close()
    assert [path.read_bytes() for path in files_in(tmp_path)] == [
        b"line 0\nline 1\n",
        b"line 2\nline 3\n",
        b"line 4\n",
    ]


def test_old_files_of_ours_are_deleted_and_no_others(tmp_path: Path) -> None:
    clock = Clock()
    old = tmp_path / "capture-20200101T000000Z-1-000001.jsonl"
    young = tmp_path / "capture-20200101T000000Z-1-000002.jsonl"
    other = tmp_path / "notes.jsonl"
    for path, age in ((old, 101), (young, 99), (other, 9999)):
        path.write_text("{}\n")
        os.utime(path, (clock.at - age, clock.at - age))
    one = capture(tmp_path, rotate_bytes=1, clock=clock)
    assert not old.exists()
    assert young.exists()
    one.write([b"x\n"])
    clock.at += 5
    os.utime(files_in(tmp_path)[-1], (clock.at, clock.at))
    one.write([b"y\n"])
    one.close()
    assert not young.exists()
    assert other.exists()


def test_what_a_full_disk_took_of_a_line_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = capture(tmp_path)
    one.write([b"first\n"])
    write, room = os.write, [3]

    def little_room(fd: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken, room[0] = write(fd, bytes(data)[: room[0]]), 0
        return taken

    monkeypatch.setattr(sinks.os, "write", little_room)
    with pytest.raises(OSError, match="No space left"):
        one.write([b"second\n"])
    monkeypatch.undo()
    (path,) = files_in(tmp_path)
    assert path.read_bytes() == b"first\n"
    one.write([b"second\n"])
    one.close()
    assert path.read_bytes() == b"first\nsecond\n"


def test_without_room_for_the_next_file_the_present_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = capture(tmp_path, rotate_bytes=1)
    one.write([b"a\n"])
    opened = os.open

    def no_more(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", no_more)
    with pytest.raises(OSError, match="No space left"):
        one.write([b"b\n"])
    monkeypatch.undo()
    one.write([b"b\n"])
    one.close()
    assert files_in(tmp_path)[0].read_bytes() == b"a\n"
    assert files_in(tmp_path)[-1].read_bytes() == b"b\n"


def test_a_file_that_was_deleted_is_followed_by_the_next(tmp_path: Path) -> None:
    one = capture(tmp_path / "captures")
    one.write([b"a\n"])
    files_in(tmp_path / "captures")[0].unlink()
    one.write([b"b\n"])
    assert [path.read_bytes() for path in files_in(tmp_path / "captures")] == [b"b\n"]
    files_in(tmp_path / "captures")[0].unlink()
    (tmp_path / "captures").rmdir()
    one.write([b"c\n"])
    one.close()
    assert [path.read_bytes() for path in files_in(tmp_path / "captures")] == [b"c\n"]


def test_a_process_with_the_number_of_the_last_one_starts_in_the_same_second(
    tmp_path: Path,
) -> None:
    first, second = capture(tmp_path), capture(tmp_path)
    first.write([b"a\n"])
    second.write([b"b\n"])
    first.close()
    second.close()
    assert [path.read_bytes() for path in files_in(tmp_path)] == [b"a\n", b"b\n"]


def test_an_old_file_that_cannot_be_deleted_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "capture-20200101T000000Z-1-000001.jsonl"
    old.write_text("{}\n")
    os.utime(old, (0, 0))

    def forbidden(path: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "unlink", forbidden)
    one = capture(tmp_path)
    one.write([b"a\n"])
    one.close()
    assert files_in(tmp_path)[-1].read_bytes() == b"a\n"


def test_without_a_size_to_rotate_at_one_file_takes_all(tmp_path: Path) -> None:
    one = capture(tmp_path, rotate_bytes=0)
    for _ in range(3):
        one.write([b"a\n"])
    one.close()
    assert [path.read_bytes() for path in files_in(tmp_path)] == [b"a\n" * 3]


def test_the_capture_itself_says_how_much_is_missing() -> None:
    assert json.loads(dropped_line(7, 1_700_000_000.5)) == {
        "event": "dropped",
        "time": "2023-11-14T22:13:20.500000Z",
        "count": 7,
    }
