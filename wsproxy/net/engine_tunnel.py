"""One relay of `wsproxy.net.engine_epoll`: its pumps, its deadlines, and how it ended."""

from __future__ import annotations

from typing import Protocol

from wsproxy.model import CloseReason, Side
from wsproxy.net.engine import OnEnd, RelayLimits
from wsproxy.net.progress import LOOKS, Stalls
from wsproxy.net.pump import Pump

__all__ = ["Leftover", "Tunnel"]

_COARSE = 1 / 32
"""How late a deadline may be looked at, as a part of the time-out."""

_LATE_MIN_S, _LATE_MAX_S = 0.02, 5.0
"""Bounds of that lateness."""


class Cutter(Protocol):
    """Ends relays."""

    def cut(self, tunnel: Tunnel, reason: CloseReason) -> None:
        """End one that is live."""


class Tunnel:
    """One relay: two pumps and what ends them; see `wsproxy.net.engine.Relay`."""

    __slots__ = (
        "_cutter",
        "broken",
        "client_fd",
        "down",
        "end",
        "first_end",
        "idle_timeout_s",
        "lifetime_at",
        "live",
        "on_end",
        "stalled_timeout_s",
        "up",
        "upstream_fd",
    )

    def __init__(
        self, up: Pump, down: Pump, limits: RelayLimits, on_end: OnEnd, cutter: Cutter
    ) -> None:
        now = up.moved_at
        self._cutter = cutter
        self.up = up
        self.down = down
        self.on_end = on_end
        self.live = True
        self.idle_timeout_s = limits.idle_timeout_s
        self.lifetime_at = now + limits.lifetime_s
        self.stalled_timeout_s = limits.stalled_timeout_s
        self.client_fd = up.source.fileno()
        self.upstream_fd = down.source.fileno()
        self.first_end: Side | None = None
        self.end: tuple[Side, CloseReason] | None = None
        self.broken: Pump | None = None

    def cut(self, reason: CloseReason) -> None:
        """End it, unless it is over."""
        if self.live:
            self._cutter.cut(self, reason)

    def idle_at(self) -> float:
        """When the idle time-out is due, unless a byte moves."""
        up, down = self.up.moved_at, self.down.moved_at
        return (up if up > down else down) + self.idle_timeout_s

    def due(self, now: float, stalls: Stalls) -> tuple[Side, CloseReason] | None:
        """Which of its deadlines has passed: who is to blame, and its name."""
        if self.idle_at() <= now:
            return Side.PROXY, CloseReason.IDLE
        if self.lifetime_at <= now:
            return Side.PROXY, CloseReason.LIFETIME
        side = stalls.side(self.up, self.down, timeout_s=self.stalled_timeout_s, now=now)
        return None if side is None else (side, CloseReason.STALLED)

    def look_at(self, now: float) -> float:
        """When to look whether a deadline has passed, so that one look serves many."""
        idle = self.idle_timeout_s
        return min(
            self.idle_at() + min(max(idle * _COARSE, _LATE_MIN_S), _LATE_MAX_S),
            self.lifetime_at + _LATE_MIN_S,
            now + self.stalled_timeout_s / LOOKS,
        )


class Leftover:
    """What is left of one round of the engine; the next begins when there is nothing.

    Attributes:
        events: by descriptor; those of a relay that ends have to be taken out.
        turns: pumps whose turn it is.
    """

    __slots__ = ("events", "turns")

    def __init__(self) -> None:
        self.events: dict[int, int] = {}
        self.turns: dict[Pump, Tunnel] = {}

    def __bool__(self) -> bool:
        return bool(self.events or self.turns)

    def take(self) -> tuple[list[tuple[int, int]], dict[Pump, Tunnel]]:
        """All of it."""
        events, turns = list(self.events.items()), self.turns
        self.events, self.turns = {}, {}
        return events, turns
