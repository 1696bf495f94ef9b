"""What stands between the source and the sink of a pump that is looked into.

Theory of operation.  An `Inspector` either *sees* (the octets have gone on
already, verbatim, and nothing it does can change that) or *passes on*: then
only what it returns reaches the sink.  It may change its mind at any time, and
most do: the first octets of a tunnel are held until it is known what they are,
then nobody looks any more, and `Pump.filter` is None again.

The sink's stream can be written to from outside too (`Filter.inject`), which is
how a proxy says Close in the name of the other side.  A direction that the
proxy ends itself (`Filter.finish`) goes on reading and discards: a socket
closed with unread octets is reset, and a reset takes the Close frame back from
under the peer (RFC 9112 §9.6 has the same trouble).
"""

from __future__ import annotations

import contextlib
import math
import socket
from collections.abc import Callable
from typing import Protocol

from wsproxy.net.pump import BUFFER_BYTES, BURST_READS, Pump, Step

__all__ = ["Filter", "Inspection", "Inspector", "are_finishing", "attach"]


# An Enum's member costs a descriptor call per look-up in Python 3.11.
_SOURCE, _SINK, _TURN, _PAUSE = Step.SOURCE, Step.SINK, Step.TURN, Step.PAUSE
_SOURCE_BROKE, _SINK_BROKE = Step.SOURCE_BROKE, Step.SINK_BROKE


class Inspector(Protocol):
    """Looks into one direction of a relay; neither waits nor raises."""

    passive: bool
    """Whether octets go on before they are seen; else `pass_on` decides.

    Nobody who is not passive may follow one who is: octets may have gone on meanwhile."""

    def see(self, data: bytes, now: float) -> None:
        """Takes a copy of octets that went on, in order."""

    def pass_on(self, data: bytes, now: float) -> bytes:
        """Takes octets of the source, in order; returns what the sink gets now.

        Behind a pause it is asked with none, for what it kept back meanwhile.
        """

    def end(self, now: float) -> bytes:
        """Hears that the source has ended, or its time behind a `Filter.finish`.

        Returns what the sink gets before its own end; nothing behind a finish.
        """


class Inspection(Protocol):
    """Looks into both directions of a relay."""

    def attach(self, up: Filter, down: Filter) -> None:
        """Is told once, before the first octet, what stands in the two directions."""


class Filter:
    """One direction's octets on their way past an `Inspector`.

    Args:
        pump: what moves them; its held early octets are looked into first.
        early: octets already read from the source.
        wake: has the pump stepped soon, whoever calls it.

    Attributes:
        inspector: who looks.
        finishing: see `finish`.
        resume_at: when a paused pump goes on, or a finishing one is out of time, so
            that it has to be stepped; `math.inf` for all others.
        other: the other direction's, where there is one.
    """

    __slots__ = (
        "_early",
        "_finished",
        "_pump",
        "_wake",
        "finishing",
        "inspector",
        "other",
        "resume_at",
    )

    def __init__(self, pump: Pump, early: bytes, wake: Callable[[Pump], None]) -> None:
        self.inspector: Inspector | None = None
        self.other: Filter | None = None
        self.resume_at = math.inf
        self._pump = pump
        self._early = early
        self._wake = wake
        self.finishing = False
        self._finished = False
        # The engine steps whoever is blocked as soon as the sink can be written to.
        pump.blocked = bool(early)

    def inject(self, data: bytes) -> None:
        """Puts `data` into the sink's stream, behind all that was passed on."""
        pump = self._pump
        if not pump.ended and not self._finished and pump.take(data, pump.moved_at) is not None:
            self._wake(pump)

    def look_no_more(self) -> None:
        """From here on the octets pass unseen."""
        self.inspector = self.other = None
        self._pump.tapped = False
        if not self._early:
            self._pump.filter = None

    def pause(self, until: float) -> None:
        """Neither reads nor asks the inspector before `until`, in monotonic seconds."""
        self._pump.tapped = False
        self.resume_at = until
        self._wake(self._pump)

    def finish(self, by: float) -> None:
        """Ends the sink's stream behind what was injected; what the source still says is dropped.

        Args:
            by: when the sink must have taken it, and the source ended its own
                stream; in monotonic seconds.
        """
        self.finishing = True
        self._pump.tapped = False
        self.resume_at = by
        self._wake(self._pump)

    def step(self, now: float) -> Step:
        """See `Pump.step`."""
        pump = self._pump
        if pump.room.unseen:
            pump.room.catch_up()
        if self._early and (step := self._pass_early(now)) is not None:
            return step
        blocked = pump.flush(now) if pump.blocked else None
        if self.finishing:
            return self._step_finishing(blocked, now)
        if blocked is not None:
            return blocked
        if self.resume_at < math.inf and (step := self._resume(now)) is not None:
            return step
        inspector = self.inspector
        if inspector is not None and inspector.passive:
            pump.tapped = True  # until something else is wanted, it needs nobody in its place
            return pump.step(now)
        # One read a turn: what is done with it takes longer than a burst of others.
        data = pump.read()
        if isinstance(data, Step):
            return data
        if not data:
            return self.end(now)
        if (step := self._pass(data, now)) is not None:
            return step
        if self.resume_at < math.inf:
            # Whoever is finished while it is stepped was woken too early to notice.
            return _TURN if are_finishing(pump) else _PAUSE
        return _TURN if pump.draining or len(data) == BUFFER_BYTES else _SOURCE

    def _resume(self, now: float) -> Step | None:
        """What a paused pump waits for; None when it may read again."""
        if self.resume_at <= now:
            self.resume_at = math.inf
            if (step := self._pass(b"", now)) is not None:
                return step
        if are_finishing(self._pump):
            return _TURN
        return _PAUSE if self.resume_at < math.inf else None

    def _pass_early(self, now: float) -> Step | None:
        early, self._early, self._pump.blocked = self._early, b"", False
        step = self._pass(early, now)
        if self.inspector is None and not self.finishing:
            self._pump.filter = None
            return step or _TURN
        return step

    def _pass(self, data: bytes, now: float) -> Step | None:
        inspector, pump = self.inspector, self._pump
        if inspector is None:
            return pump.take(data, now)
        pump.room.looked = True
        if not inspector.passive:
            pump.moved_at = now
            return pump.take(inspector.pass_on(data, now), now)
        step = pump.take(data, now)
        inspector.see(data, now)
        return step

    def end(self, now: float) -> Step:
        """For the pump: the source's stream has ended."""
        pump = self._pump
        pump.tapped = False
        if pump.room.unseen:
            pump.room.catch_up()
        if pump.source_broken:
            return _SOURCE_BROKE
        rest = b"" if self.inspector is None else self.inspector.end(now)
        self.inspector = None
        if (blocked := pump.take(rest, now)) is not None:
            return blocked
        return _TURN if self.finishing else pump.end()

    def _step_finishing(self, blocked: Step | None, now: float) -> Step:
        pump = self._pump
        if blocked is _SINK:
            # A sink that takes nothing would keep the relay for ever.
            return _SINK if now < self.resume_at else _SINK_BROKE
        if not self._finished:
            self._finished = True
            # A sink that broke hears nothing, but the source is listened to all the same:
            # reset, it would lose the last word of the other direction.
            pump.release()
            pump.blocked = False
            with contextlib.suppress(OSError):
                pump.sink.shutdown(socket.SHUT_WR)
        for _ in range(BURST_READS):
            data = pump.read()
            if data is _SOURCE and now < self.resume_at:
                return _PAUSE
            if data is _SOURCE_BROKE and not (self.other is not None and self.other.finishing):
                return _SOURCE_BROKE
            if not data or isinstance(data, Step):
                if self.inspector is not None:
                    self.inspector.end(now)
                pump.ended = True
                return Step.ENDED
        return _TURN


def attach(
    inspection: Inspection,
    pumps: tuple[Pump, Pump],
    early: tuple[bytes, bytes],
    wake: Callable[[Pump], None],
) -> None:
    """Has `inspection` look into the two pumps of a relay, up and down."""
    up, down = (Filter(pump, first, wake) for pump, first in zip(pumps, early, strict=True))
    pumps[0].filter, pumps[1].filter = up, down
    up.other, down.other = down, up
    inspection.attach(up, down)


def are_finishing(*pumps: Pump) -> bool:
    """Whether the last word was said in all these directions."""
    return all(pump.filter is not None and pump.filter.finishing for pump in pumps)
