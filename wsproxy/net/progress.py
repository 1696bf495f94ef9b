"""Whether a peer takes what is sent to it.

That the kernel accepts octets says little: it may hold megabytes for a peer that reads
nothing, and takes no more for minutes from a peer that reads slowly, since it announces
space only when a third of its queue is free.  So what was acknowledged counts as well.
"""

from __future__ import annotations

import fcntl
import sys
from typing import TYPE_CHECKING, NamedTuple, Protocol

from wsproxy.model import Side

if TYPE_CHECKING:
    from wsproxy.net.pump import Pump

__all__ = ["LOOKS", "Progress", "Stalls", "unsent_bytes"]

LOOKS = 4
"""How often a peer is looked at within the time it has."""


class _HasDescriptor(Protocol):
    def fileno(self) -> int: ...


class Progress(NamedTuple):
    """How far a peer was at a time.

    Attributes:
        since: when it was seen there first, in monotonic seconds.
        accepted: octets the kernel had taken for it.
        queued: how many of them it had not acknowledged.
    """

    since: float
    accepted: int
    queued: int

    @staticmethod
    def first(sink: _HasDescriptor, now: float) -> Progress:
        """How far it is when the kernel takes no more."""
        return Progress(now, 0, _queued_bytes(sink))

    def look(self, sink: _HasDescriptor, *, accepted: int, now: float) -> Progress:
        """How far it is now; itself when it has not moved."""
        further = Progress(now, accepted, _queued_bytes(sink))
        return self if further[1:] == self[1:] else further


class Stalls:
    """Looks at pumps again and again, for sinks that take nothing of what waits for them."""

    def __init__(self) -> None:
        self._before: dict[Pump, Progress] = {}
        self._now: dict[Pump, Progress] = {}

    def look_again(self) -> None:
        """Begins a look at all of them; who is not looked at this time is forgotten."""
        self._before, self._now = self._now, {}

    def side(self, up: Pump, down: Pump, *, timeout_s: float, now: float) -> Side | None:
        """Which side of a relay has taken nothing of what waits for it for `timeout_s`."""
        if self._has_stalled(up, timeout_s, now):
            return Side.UPSTREAM
        return Side.CLIENT if self._has_stalled(down, timeout_s, now) else None

    def _has_stalled(self, pump: Pump, timeout_s: float, now: float) -> bool:
        if not pump.blocked or pump.ended:
            return False
        before = self._before.get(pump, _NOWHERE)
        self._now[pump] = progress = before.look(pump.sink, accepted=pump.delivered, now=now)
        return now - progress.since >= timeout_s


_NOWHERE = Progress(0.0, -1, -1)


def _queued_bytes(sink: _HasDescriptor) -> int:
    """Octets in the send queue that were not acknowledged; 0 where nobody knows."""
    return _ask(sink, 0x5411)  # SIOCOUTQ, linux/sockios.h


def unsent_bytes(sink: _HasDescriptor) -> int:
    """Octets in the send queue that were never transmitted; 0 where nobody knows."""
    return _ask(sink, 0x894B)  # SIOCOUTQNSD, the same


def _ask(sink: _HasDescriptor, request: int) -> int:
    """What tcp(7) calls an ioctl; Python has no names for them."""
    if sys.platform != "linux":
        return 0
    try:
        answer = fcntl.ioctl(sink.fileno(), request, bytes(4))
    except OSError:  # not TCP
        return 0
    return int.from_bytes(answer, sys.byteorder)
