"""When pumps that pause are stepped again: one sleeping task for all of them.

Times are rounded up to ticks, so that many pumps cost few wake-ups and no timer each.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

import trio

from wsproxy.net.engine_tunnel import Tunnel
from wsproxy.net.pump import Pump

__all__ = ["Wheel"]

_TICK_S = 1 / 128
"""A power of two: ticks and times become each other without rounding."""


class Wheel:
    """Remembers who is to be stepped when.

    Args:
        step: has a pump stepped soon.
    """

    def __init__(self, step: Callable[[Tunnel, Pump], None]) -> None:
        self._step = step
        self._ticks: list[int] = []
        self._due: dict[int, dict[Pump, Tunnel]] = {}
        self._tick_of: dict[Pump, int] = {}
        self._alarm = trio.CancelScope()

    def __len__(self) -> int:
        """How many pumps wait."""
        return len(self._tick_of)

    def put(self, tunnel: Tunnel, pump: Pump, at: float) -> None:
        """Have `pump` stepped at a time, in monotonic seconds; a later time is not heard.

        Whoever is stepped too early says so and is put again.
        """
        tick = math.ceil(at / _TICK_S)
        known = self._tick_of.get(pump)
        if known is not None:
            if known <= tick:
                return
            del self._due[known][pump]
        self._tick_of[pump] = tick
        if tick not in self._due:
            self._due[tick] = {}
            heapq.heappush(self._ticks, tick)
            self._alarm.deadline = min(self._alarm.deadline, tick * _TICK_S)
        self._due[tick][pump] = tunnel

    def drop(self, pump: Pump) -> None:
        """Forget a pump, if it waits."""
        tick = self._tick_of.pop(pump, None)
        if tick is not None:
            del self._due[tick][pump]

    async def run(self) -> None:
        """Have pumps stepped when it is time, until cancelled."""
        while True:
            nearest = self._ticks[0] * _TICK_S if self._ticks else math.inf
            with trio.CancelScope(deadline=nearest) as self._alarm:
                await trio.sleep_forever()
            now = trio.current_time()
            while self._ticks and self._ticks[0] * _TICK_S <= now:
                for pump, tunnel in self._due.pop(heapq.heappop(self._ticks)).items():
                    del self._tick_of[pump]
                    self._step(tunnel, pump)
