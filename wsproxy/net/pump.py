"""One direction of a relay: source, sink, and what lies between.

A pump never waits.  `Pump.step` moves what can be moved now and says what it
waits for; who calls it again, and when, is the engine's business.

Backpressure is structural: while a pump holds bytes its sink did not take, it
does not read.  So it never holds more than one buffer (64 KiB) or the content
of one pipe (256 KiB, in the kernel).

A read that does not fill the buffer has emptied the socket (epoll(7), question
9), and the next byte is a new edge: no read is spent to be told EAGAIN.  That
holds for bytes only.  An end of stream or an error that is already there
raises no further edge, and urgent data cuts a read short (tcp(7)); whoever
sees such an event sets `Pump.draining`, and the pump reads on until the kernel
says that nothing is left.

A pump whose octets somebody looks into has a `Filter` (`wsproxy.net.filter`), which steps
in its place.  Where that somebody only sees what went on, the pump moves it by itself: it
is `tapped`, and leaves a copy of every read in the `Room`.
"""

from __future__ import annotations

import enum
import math
import socket
from typing import TYPE_CHECKING

from wsproxy.net.tls_socket import Endpoint

if TYPE_CHECKING:
    from wsproxy.net.filter import Filter
    from wsproxy.net.pipes import Pipe, PipePool

__all__ = ["BUFFER_BYTES", "BURST_READS", "Pump", "Room", "Step"]

BUFFER_BYTES = 64 * 1024
"""One read, and what is held at most for a sink that takes nothing."""

BURST_READS = 4
"""Reads before others get their turn."""

_UNSEEN_BYTES = 32 * 1024
"""Octets of all pumps that may wait to be looked into: frames of two octets take a microsecond each."""

BULK_READS = 4
"""Full reads in a row after which a flow counts as bulk and is spliced."""


class Step(enum.Enum):
    """What a pump waits for after a step."""

    SOURCE = enum.auto()
    """The source has nothing now."""
    SINK = enum.auto()
    """The sink takes nothing now, and bytes are held for it."""
    TURN = enum.auto()
    """Nothing: there may be more, but it is others' turn."""
    ENDED = enum.auto()
    """Nothing: end of stream, all delivered, and the sink told."""
    PAUSE = enum.auto()
    """Its `resume_at`, or an event of its source."""
    SPENT = enum.auto()
    """Nothing: it may not move an octet more."""
    SOURCE_BROKE = enum.auto()
    """Nothing: the source's connection broke."""
    SINK_BROKE = enum.auto()
    """Nothing: the sink's connection broke."""


# An Enum's member costs a descriptor call per look-up in Python 3.11.
_SOURCE, _SINK, _TURN, _ENDED = Step.SOURCE, Step.SINK, Step.TURN, Step.ENDED
_SOURCE_BROKE, _SINK_BROKE = Step.SOURCE_BROKE, Step.SINK_BROKE


class Room:
    """What all pumps of an engine share.

    Octets that went on may be looked into later, when others' have gone on too: a peer
    gets them sooner, is awake still when the next come, and the code that moves and the
    code that looks do not drive each other out of the processor's caches.  Whoever steps
    pumps calls `catch_up` soon behind, and always ahead of a summary.

    Args:
        pipes: where bulk flows borrow; None where there is no splice.

    Attributes:
        unseen: what went on and was not looked into yet, in order: whose it is, the
            octets, and when they went.
        unseen_bytes: how many octets that is.
        looked: octets were looked into; whoever steps pumps may want to know how long that
            took, and sets it back.
    """

    __slots__ = ("buffer", "looked", "pipes", "unseen", "unseen_bytes")

    def __init__(self, pipes: PipePool | None) -> None:
        self.buffer = memoryview(bytearray(BUFFER_BYTES))
        self.pipes = pipes
        self.unseen: list[tuple[Filter, bytes, float]] = []
        self.unseen_bytes = 0
        self.looked = False

    def catch_up(self) -> None:
        """Has everything looked into that went on."""
        unseen, self.unseen = self.unseen, []
        self.unseen_bytes = 0
        self.looked = True
        for direction, data, at in unseen:
            inspector = direction.inspector
            if inspector is not None:
                inspector.see(data, at)


class Pump:
    """Moves bytes from a source to a sink, both connected non-blocking stream sockets.

    Args:
        source: read from, never closed here.
        sink: written to and shut down for writing at end of stream, never closed here.
        room: what is shared.
        early: bytes already read from the source; they go first.

    Attributes:
        blocked: bytes are held that the sink has not taken.
        delivered: bytes the sink accepted.
        moved_at: time of the last byte, as given to `step`.
        draining: read on until the kernel says that nothing is left.
        source_broken: the source's connection is known to be broken, so its
            end of stream is none.
        ended: end of stream was passed on.
        filter: looks into what passes; None for most.
        tapped: that only wants to see what went on, for now.
        room: as given.
        sink_watched: for the engine: it hears of free space in the sink.
    """

    __slots__ = (
        "_full_reads",
        "_held",
        "_pipe",
        "blocked",
        "delivered",
        "draining",
        "ended",
        "filter",
        "moved_at",
        "room",
        "sink",
        "sink_watched",
        "source",
        "source_broken",
        "tapped",
    )

    def __init__(
        self, source: Endpoint, sink: Endpoint, *, room: Room, early: bytes, now: float
    ) -> None:
        self.source = source
        self.sink = sink
        self.blocked = bool(early)
        self.delivered = 0
        self.moved_at = now
        self.draining = False
        self.source_broken = False
        self.ended = False
        self.sink_watched = False
        self.filter: Filter | None = None
        self.tapped = False
        self.room = room
        self._held: memoryview | None = memoryview(early) if early else None
        self._pipe: Pipe | None = None
        self._full_reads = 0

    @property
    def resume_at(self) -> float:
        """When it is to be stepped, event or none; `math.inf` for most."""
        return math.inf if self.filter is None else self.filter.resume_at

    @property
    def truncated(self) -> bool:
        """Whether the sink, if closed now, would be left with less than the source sent."""
        return not self.ended and (self.blocked or self.source_broken)

    def step(self, now: float) -> Step:
        """Move what can be moved now, within a burst.

        Args:
            now: monotonic seconds.
        """
        if self._pipe is not None:
            return self._splice(now)
        direction = self.filter
        if direction is not None:
            return Pump.tap(self, now) if self.tapped else direction.step(now)
        if self._held is not None and (blocked := self.flush(now)):
            return blocked
        buffer = self.room.buffer
        for _ in range(BURST_READS):
            try:
                size = self.source.recv_into(buffer)
            except BlockingIOError:
                return _SOURCE
            except OSError:
                return _SOURCE_BROKE
            if not size:
                return self.end()
            try:
                sent = self.sink.send(buffer[:size])
            except BlockingIOError:
                sent = 0
            except OSError:
                return _SINK_BROKE
            self.delivered += sent
            self.moved_at = now
            if sent < size:
                self._held = memoryview(bytes(buffer[sent:size]))
                self.blocked = True
                return _SINK
            if size == BUFFER_BYTES:
                self._full_reads += 1
                if self._full_reads >= BULK_READS and self._borrow():
                    return _TURN
            else:
                self._full_reads = 0
                if not self.draining:
                    return _SOURCE
        return _TURN

    def tap(self, now: float) -> Step:
        """What `step` does when it is `tapped`: one read goes on verbatim and is seen later."""
        direction = self.filter
        assert direction is not None
        if self._held is not None and (blocked := self.flush(now)):
            return blocked
        try:
            data = self.source.recv(BUFFER_BYTES)
        except BlockingIOError:
            return _SOURCE
        except OSError:
            return _SOURCE_BROKE
        if not data:
            return direction.end(now)
        try:
            sent = self.sink.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return _SINK_BROKE
        self.delivered += sent
        self.moved_at = now
        size = len(data)
        if sent < size:
            self._held = memoryview(data)[sent:]
            self.blocked = True
        room = self.room
        room.unseen.append((direction, data, now))
        room.unseen_bytes += size
        if room.unseen_bytes >= _UNSEEN_BYTES:
            room.catch_up()
        if sent < size:
            return _SINK
        return _TURN if size == BUFFER_BYTES or self.draining else _SOURCE

    def release(self) -> None:
        """Give the pipe back, if there is one; held bytes are lost."""
        self._held = None
        if self._pipe is not None and self.room.pipes is not None:
            self.room.pipes.give_back(self._pipe)
            self._pipe = None

    def take(self, data: bytes, now: float) -> Step | None:
        """For a filter: send `data` behind what is held; None when the sink took all of it."""
        if self._held is not None:
            self._held = memoryview(b"".join((self._held, data)))
        elif data:
            self._held = memoryview(data)
        if self._held is None:
            return None
        self.blocked = True
        return self.flush(now)

    def read(self) -> bytes | Step:
        """For a filter: what the source has, up to one buffer; ``b""`` at its end."""
        try:
            return self.source.recv(BUFFER_BYTES)
        except BlockingIOError:
            return _SOURCE
        except OSError:
            return _SOURCE_BROKE

    def flush(self, now: float) -> Step | None:
        """Send what is held; None when nothing is left of it."""
        held = self._held
        if held is None:
            return None
        try:
            sent = self.sink.send(held)
        except BlockingIOError:
            return _SINK
        except OSError:
            return _SINK_BROKE
        self.delivered += sent
        self.moved_at = now
        if sent < len(held):
            self._held = held[sent:]
            return _SINK
        self._held = None
        self.blocked = False
        return None

    def end(self) -> Step:
        """Pass the source's end of stream on."""
        if self.source_broken:
            return _SOURCE_BROKE
        self.release()
        try:
            self.sink.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            self.blocked = True  # TLS says its end in octets; the source says its own again
            return _SINK
        except OSError:
            return _SINK_BROKE
        self.blocked = False
        self.ended = True
        return _ENDED

    def _borrow(self) -> bool:
        if self.room.pipes is not None and self._is_plain():
            self._pipe = self.room.pipes.borrow()
        return self._pipe is not None

    def _is_plain(self) -> bool:
        # Octets of a TLS endpoint have to come through here.
        return isinstance(self.source, socket.socket) and isinstance(self.sink, socket.socket)

    def _fill(self, pipe: Pipe) -> int:
        return pipe.fill(self.source.fileno())

    def _splice(self, now: float) -> Step:
        pipe = self._pipe
        assert pipe is not None
        if pipe.level and (blocked := self._pour(pipe, now)):
            return blocked
        try:
            size = self._fill(pipe)
        except BlockingIOError:
            self.release()
            return _SOURCE
        except OSError:
            return _SOURCE_BROKE
        if not size:
            return self.end()
        if size < BUFFER_BYTES:
            self._full_reads = 0
        return self._pour(pipe, now) or _TURN

    def _pour(self, pipe: Pipe, now: float) -> Step | None:
        sink = self.sink.fileno()
        while pipe.level:
            try:
                self.delivered += pipe.pour(sink)
            except BlockingIOError:
                self.blocked = True
                return _SINK
            except OSError:
                return _SINK_BROKE
            self.moved_at = now
        self.blocked = False
        return None
