"""Who is stepped when, by a clock that jumps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from wsproxy.net.engine_tunnel import Tunnel
from wsproxy.net.engine_wheel import Wheel
from wsproxy.net.pump import Pump

if TYPE_CHECKING:
    from trio.testing import MockClock

TUNNEL = cast("Tunnel", object())


class Steps:
    """A wheel, and whom it had stepped."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float]] = []
        self.wheel = Wheel(lambda _tunnel, pump: self.note(cast("str", pump)))
        self.note: Callable[[str], None] = lambda pump: self.seen.append(
            (pump, trio.current_time())
        )

    def put(self, pump: str, at: float) -> None:
        self.wheel.put(TUNNEL, cast("Pump", pump), at)

    def drop(self, pump: str) -> None:
        self.wheel.drop(cast("Pump", pump))


@pytest.fixture
async def steps(nursery: trio.Nursery) -> Steps:
    made = Steps()
    nursery.start_soon(made.wheel.run)
    await wait_all_tasks_blocked()
    return made


async def test_each_is_stepped_once_at_its_time(steps: Steps, autojump_clock: MockClock) -> None:
    began_at = trio.current_time()
    for pump, after_s in (("late", 3.0), ("soon", 1.0), ("too", 1.0)):
        steps.put(pump, began_at + after_s)
    await trio.sleep(10)
    assert [pump for pump, _ in steps.seen] == ["soon", "too", "late"]
    times = [at - began_at for _, at in steps.seen]
    assert times == pytest.approx([1.0, 1.0, 3.0], abs=0.01)
    assert min(at - wanted for at, wanted in zip(times, [1.0, 1.0, 3.0], strict=True)) >= 0
    assert len(steps.wheel) == 0


async def test_an_earlier_time_counts_and_a_later_one_does_not(
    steps: Steps, autojump_clock: MockClock
) -> None:
    began_at = trio.current_time()
    for after_s in (5.0, 2.0, 9.0):
        steps.put("one", began_at + after_s)
    await trio.sleep(20)
    assert [(pump, round(at - began_at, 1)) for pump, at in steps.seen] == [("one", 2.0)]


async def test_who_is_dropped_is_forgotten(steps: Steps, autojump_clock: MockClock) -> None:
    steps.put("one", trio.current_time() + 1)
    steps.put("other", trio.current_time() + 1)
    steps.drop("one")
    steps.drop("one")
    assert len(steps.wheel) == 1
    await trio.sleep(5)
    assert [pump for pump, _ in steps.seen] == ["other"]


async def test_who_is_put_again_while_it_is_stepped_comes_again(
    steps: Steps, autojump_clock: MockClock
) -> None:
    note = steps.note

    def again(pump: str) -> None:
        note(pump)
        if len(steps.seen) < 3:
            steps.put(pump, trio.current_time() + 1)

    steps.note = again
    steps.put("one", trio.current_time())
    await trio.sleep(10)
    assert len(steps.seen) == 3
