"""A pump that does not move more than it may.

It is a kind of its own, so that all others cost what they cost without it.  Its source
lets it read what its `wsproxy.net.allowance.Allowance` has in hand, and then "has
nothing": backpressure does the rest.  The pump knows better than to wait for an event
of its source then, and pauses until its next portion is there.

What is left when the connection broke, and what is only read to be thrown away, passes
without a limit: it is bounded, and late is worse.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, cast

from wsproxy.net.pump import Pump, Room, Step
from wsproxy.net.tls_socket import Endpoint

if TYPE_CHECKING:
    from wsproxy.net.allowance import Allowance, Allowances
    from wsproxy.net.pipes import Pipe

__all__ = ["LimitedPump", "make_pumps"]

_SOURCE, _TURN, _PAUSE = Step.SOURCE, Step.TURN, Step.PAUSE


class _LimitedSource:
    """What a limited pump reads from: an endpoint that has no more than it may give.

    Attributes:
        endpoint: the real one.
        now: of the step that is being made.
        free: there is no limit any more.
        cut: in this step, there might have been more.
    """

    __slots__ = ("_allowance", "cut", "endpoint", "free", "now")

    def __init__(self, endpoint: Endpoint, allowance: Allowance) -> None:
        self._allowance = allowance
        self.endpoint = endpoint
        self.now = 0.0
        self.free = self.cut = False

    def recv_into(self, buffer: memoryview) -> int:
        if self.free:
            return self.endpoint.recv_into(buffer)
        most = min(self.may_read(), len(buffer))
        size = self.endpoint.recv_into(buffer[:most])
        self.spend(size, most)
        return size

    def recv(self, most: int) -> bytes:
        if self.free:
            return self.endpoint.recv(most)
        most = min(self.may_read(), most)
        data = self.endpoint.recv(most)
        self.spend(len(data), most)
        return data

    def may_read(self) -> int:
        """How much, at least one octet; as an empty socket when there is none."""
        most = self._allowance.claim(self.now)
        if not most:
            self.cut = True
            raise BlockingIOError
        return most

    def spend(self, size: int, most: int) -> None:
        self._allowance.spend(size, self.now)
        self.cut = size == most

    def fileno(self) -> int:
        return self.endpoint.fileno()

    def getsockopt(self, level: int, option: int) -> int:
        return self.endpoint.getsockopt(level, option)

    def close(self) -> None:
        self.endpoint.close()


class LimitedPump(Pump):
    """A `Pump` that pauses when its allowance is used up."""

    __slots__ = ("_allowance", "_limited", "_paused")

    def __init__(
        self,
        ends: tuple[Endpoint, Endpoint],
        allowance: Allowance,
        *,
        room: Room,
        early: bytes,
        now: float,
    ) -> None:
        self._limited = _LimitedSource(ends[0], allowance)
        super().__init__(cast("Endpoint", self._limited), ends[1], room=room, early=early, now=now)
        self._allowance = allowance
        self._paused = False

    @property
    def resume_at(self) -> float:
        """When it goes on by itself, if it pauses."""
        return self._allowance.resume_at if self._paused else super().resume_at

    def step(self, now: float) -> Step:
        """See `Pump.step`."""
        source, allowance = self._limited, self._allowance
        source.now, source.cut = now, False
        discards = self.filter is not None and self.filter.finishing
        source.free = self.source_broken or discards
        step = super().step(now)
        self._paused = False
        if step is _SOURCE and source.cut:
            if allowance.claim(now):
                return _TURN
            if not allowance.spent:
                self._paused = True
                return _PAUSE
            return self._say_farewell(now)
        if step is not _TURN:
            allowance.give_back()
        return step

    def tap(self, now: float) -> Step:
        """See `Pump.tap`."""
        return self.step(now)

    def _say_farewell(self, now: float) -> Step:
        self.room.catch_up()  # whoever says it has to know where it stands
        if self._allowance.farewell is not None:
            self._allowance.farewell(now)
        finishing = self.filter is not None and self.filter.finishing
        return _TURN if finishing else Step.SPENT

    def release(self) -> None:
        """See `Pump.release`."""
        super().release()
        self._allowance.give_back()

    def _is_plain(self) -> bool:
        return isinstance(self._limited.endpoint, socket.socket) and isinstance(
            self.sink, socket.socket
        )

    def _fill(self, pipe: Pipe) -> int:
        source = self._limited
        if source.free:
            return super()._fill(pipe)
        most = source.may_read()
        size = pipe.fill(source.fileno(), most)
        source.spend(size, most)
        return size


def make_pumps(
    client: Endpoint,
    upstream: Endpoint,
    allowances: Allowances | None,
    *,
    room: Room,
    early: tuple[bytes, bytes],
    now: float,
) -> tuple[Pump, Pump]:
    """The two directions of a relay, up and down."""
    if allowances is None:
        up = Pump(client, upstream, room=room, early=early[0], now=now)
        return up, Pump(upstream, client, room=room, early=early[1], now=now)
    limited = LimitedPump((client, upstream), allowances[0], room=room, early=early[0], now=now)
    back = LimitedPump((upstream, client), allowances[1], room=room, early=early[1], now=now)
    return limited, back
