"""Capture files: the records of WebSockets, in files of a folder of their own.

One file at a time and process, ``capture-START-PID-N.jsonl``, for the owner's eyes
only.  It is closed between two lines when it has reached its size, and deleted when
it is older than it may get; files of other names are left alone.

What is promised of a crash: a file is synchronised with the disk (fsync) when it is
closed, at rotation and at the end, not line by line.  A process that is killed loses
what waits in memory, 20 ms of records; a machine that loses power may lose what the
kernel had not written, some 30 s by default.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import orjson

from wsproxy.observe.sinks import Destination, write_whole
from wsproxy.observe.timestamps import format_second, format_time

__all__ = ["CAPTURE_NAME", "CaptureFiles", "dropped_line"]

CAPTURE_NAME = re.compile(r"capture-[0-9]{8}T[0-9]{6}Z-[0-9]+-[0-9]{6,}\.jsonl")
"""What our files are called; their names sort by age."""


class CaptureFiles:
    """The files of one process; see `wsproxy.observe.sinks.Destination`.

    Args:
        directory: where they are made; made itself, for its owner only, if it is missing.
        rotate_bytes: size from which on a file is followed by the next; 0 for no limit.
        keep_s: age, in seconds since its last line, at which a file is deleted.
        clock: wall clock, in seconds since 1970.

    Raises:
        OSError: the directory cannot be made or written to.
    """

    def __init__(
        self, directory: Path, *, rotate_bytes: int, keep_s: float, clock: Callable[[], float]
    ) -> None:
        self._directory = directory
        self._rotate_bytes = rotate_bytes
        self._keep_s = keep_s
        self._clock = clock
        self._number = 0
        self._size = 0
        self._fd = self._open_next()

    def write(self, lines: list[bytes]) -> None:
        """Writes all lines, or none of them."""
        # A file somebody has deleted would take what nobody can read.
        if 0 < self._rotate_bytes <= self._size or os.fstat(self._fd).st_nlink == 0:
            self._rotate()
        data = b"".join(lines)
        write_whole(self._fd, data)
        self._size += len(data)

    def close(self) -> None:
        """Synchronises the file and lets go of it."""
        with contextlib.suppress(OSError):
            os.fsync(self._fd)
        os.close(self._fd)

    def _rotate(self) -> None:
        # The next one first: when there is no room for it, this one stays.
        following = self._open_next()
        self.close()
        self._fd, self._size = following, 0

    def _open_next(self) -> int:
        with contextlib.suppress(FileExistsError):
            self._directory.mkdir(mode=0o700)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        while True:
            try:
                descriptor = os.open(self._next_path(), flags, 0o600)
            except FileExistsError:
                # In a container every start has the same process id.
                continue
            self._delete_old()
            return descriptor

    def _next_path(self) -> Path:
        self._number += 1
        start = re.sub(r"[-:]", "", format_second(int(self._clock())))
        return self._directory / f"capture-{start}Z-{os.getpid()}-{self._number:06d}.jsonl"

    def _delete_old(self) -> None:
        oldest = self._clock() - self._keep_s
        # What cannot be deleted now is in the way of nothing, and is tried again.
        with contextlib.suppress(OSError), os.scandir(self._directory) as entries:
            for entry in entries:
                if not CAPTURE_NAME.fullmatch(entry.name):
                    continue
                with contextlib.suppress(OSError):
                    if entry.is_file(follow_symlinks=False) and entry.stat().st_mtime < oldest:
                        os.unlink(entry.path)


def dropped_line(count: int, at: float) -> bytes:
    """The record that says in the capture itself that `count` records are missing in front of it."""
    record = {"event": "dropped", "time": format_time(at), "count": count}
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


_: type[Destination] = CaptureFiles
