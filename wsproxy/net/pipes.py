"""Kernel pipes for `splice`, from a small bounded pool.

A pipe costs two descriptors and, while it is full, kernel memory that counts
against the user (pipe(7), ``/proc/sys/fs/pipe-user-pages-soft``).  A pipe per
relay runs out of descriptors long before it runs out of relays, and an idle
relay has no use for one.  So a flow borrows a pipe only while it is bulk, and
when the pool or the process has none left it goes on without: splice is a
speed-up, never a need.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys

__all__ = ["PIPE_BYTES", "SPLICE_BYTES", "Pipe", "PipePool", "splice_works"]

assert sys.platform == "linux"

PIPE_BYTES = 1024 * 1024
"""Asked of F_SETPIPE_SZ: the most an unprivileged process may have (pipe(7), pipe-max-size)."""

SPLICE_BYTES = 256 * 1024
"""The most one pipe ever holds, hence what one blocked bulk flow may keep in the kernel."""


class Pipe:
    """One borrowed pipe.

    Attributes:
        head: descriptor to splice out of.
        tail: descriptor to splice into.
        level: bytes inside.
    """

    __slots__ = ("head", "level", "tail")

    def __init__(self) -> None:
        """Open it; raises OSError when the process or the machine has no descriptor left."""
        self.head, self.tail = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.level = 0
        try:
            fcntl.fcntl(self.tail, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:
            # Over the user's soft limit the kernel says EPERM; the default size works, slower.
            pass

    def fill(self, source: int, most: int = SPLICE_BYTES) -> int:
        """Splice from `source` into the empty pipe, up to `most` bytes.

        Returns:
            The number of bytes, now `level`; 0 at end of stream.

        Raises:
            BlockingIOError: nothing to read now.
            OSError: the source's connection broke.
        """
        self.level = os.splice(source, self.tail, most, flags=os.SPLICE_F_NONBLOCK)
        return self.level

    def pour(self, sink: int) -> int:
        """Splice out of the pipe into `sink`.

        Returns:
            The number of bytes taken.

        Raises:
            BlockingIOError: the sink takes nothing now.
            OSError: the sink's connection broke.
        """
        size = os.splice(self.head, sink, self.level, flags=os.SPLICE_F_NONBLOCK)
        self.level -= size
        return size

    def close(self) -> None:
        """Close both ends; what is inside is lost."""
        os.close(self.head)
        os.close(self.tail)


class PipePool:
    """Lends pipes, at most `capacity` at a time, and keeps returned ones for the next.

    Args:
        capacity: pipes that may be open; 0 where splice is not wanted.
    """

    __slots__ = ("_capacity", "_idle", "in_use")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._idle: list[Pipe] = []
        self.in_use = 0

    def borrow(self) -> Pipe | None:
        """An empty pipe, or None when there is none to have."""
        if self.in_use >= self._capacity:
            return None
        if self._idle:
            pipe = self._idle.pop()
        else:
            try:
                pipe = Pipe()
            except OSError:
                return None
        self.in_use += 1
        return pipe

    def give_back(self, pipe: Pipe) -> None:
        """Take a pipe back; one with bytes inside is closed, never lent again."""
        self.in_use -= 1
        if pipe.level or not self._capacity:
            pipe.close()
        else:
            self._idle.append(pipe)

    def close(self) -> None:
        """Close all pipes, those that are lent when they come back; lend none any more."""
        self._capacity = 0
        while self._idle:
            self._idle.pop().close()


def splice_works() -> bool:
    """Whether this kernel splices between sockets: sandboxes such as gVisor may not."""
    left, right = socket.socketpair()
    try:
        pipe = Pipe()
    except OSError:
        left.close()
        right.close()
        return False
    try:
        left.send(b"?")
        return pipe.fill(right.fileno()) == 1 and pipe.pour(right.fileno()) == 1
    except OSError:
        return False
    finally:
        pipe.close()
        left.close()
        right.close()
