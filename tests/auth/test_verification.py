"""Slow checks run in threads, few at a time, each once, and survive cancellation."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from wsproxy.auth.verification import Verifications, VerificationStatistics
from wsproxy.errors import AuthOverloaded

IDLE = VerificationStatistics(running=0, pending=0, pending_strangers=0)


class GatedCheck:
    """A check that begins when a slot is free and ends when the test opens the gate."""

    def __init__(self, passes: bool = True) -> None:
        self.passes = passes
        self.begun = threading.Semaphore(0)
        self.gate = threading.Event()
        self.calls = 0

    def __call__(self) -> bool:
        self.calls += 1
        self.begun.release()
        assert self.gate.wait(30), "the test never opened the gate"
        return self.passes

    async def wait_begun(self) -> None:
        """Until the check is in its thread."""
        assert await trio.to_thread.run_sync(lambda: self.begun.acquire(timeout=30))


class Outcomes:
    """Runs checks as tasks and keeps what came out of each."""

    def __init__(self, verifications: Verifications, nursery: trio.Nursery) -> None:
        self.verifications = verifications
        self.nursery = nursery
        self.by_label: dict[str, bool | str] = {}

    async def start(
        self, label: str, check: Callable[[], bool], *, key: bytes, is_stranger: bool = False
    ) -> trio.CancelScope:
        """Starts one, and returns when it waits for something."""
        scope = trio.CancelScope()

        async def task() -> None:
            with scope:
                try:
                    self.by_label[label] = await self.verifications.run(
                        key, check, is_stranger=is_stranger
                    )
                except AuthOverloaded:
                    self.by_label[label] = "overloaded"
            if scope.cancelled_caught:
                self.by_label[label] = "cancelled"

        self.nursery.start_soon(task)
        await wait_all_tasks_blocked()
        return scope


@pytest.mark.parametrize("passes", [True, False])
async def test_the_answer_is_the_checks_and_it_runs_off_the_loop(passes: bool) -> None:
    verifications = Verifications(slots=1, max_pending=2)
    threads: list[int] = []

    def check() -> bool:
        threads.append(threading.get_ident())
        return passes

    assert await verifications.run(b"k", check, is_stranger=False) is passes
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()
    assert verifications.statistics() == IDLE


async def test_equal_credentials_together_are_checked_once(nursery: trio.Nursery) -> None:
    outcomes = Outcomes(Verifications(slots=4, max_pending=2), nursery)
    check = GatedCheck()
    for number in range(20):
        await outcomes.start(f"{number}", check, key=b"same")
    await check.wait_begun()
    assert outcomes.verifications.statistics() == VerificationStatistics(1, 1, 0)

    check.gate.set()
    await outcomes.verifications.run(b"same", check, is_stranger=False)
    await wait_all_tasks_blocked()

    assert outcomes.by_label == {f"{number}": True for number in range(20)}
    assert check.calls == 1
    assert outcomes.verifications.statistics() == IDLE


async def test_later_credentials_are_checked_again() -> None:
    verifications = Verifications(slots=1, max_pending=2)
    check = GatedCheck()
    check.gate.set()
    for _ in range(3):
        assert await verifications.run(b"k", check, is_stranger=False)
    assert check.calls == 3


async def test_no_more_run_than_there_are_slots_and_all_get_their_turn(
    nursery: trio.Nursery,
) -> None:
    outcomes = Outcomes(Verifications(slots=2, max_pending=10), nursery)
    checks = [GatedCheck() for _ in range(5)]
    for number, check in enumerate(checks):
        await outcomes.start(f"{number}", check, key=b"%d" % number)
    await checks[0].wait_begun()
    await checks[1].wait_begun()
    assert outcomes.verifications.statistics() == VerificationStatistics(2, 5, 0)
    assert [check.calls for check in checks] == [1, 1, 0, 0, 0]

    for number, check in enumerate(checks):
        check.gate.set()
        await outcomes.verifications.run(b"%d" % number, check, is_stranger=False)
    await wait_all_tasks_blocked()
    assert outcomes.by_label == {f"{number}": True for number in range(5)}
    assert outcomes.verifications.statistics() == IDLE


async def test_one_more_than_may_wait_is_refused_at_once(nursery: trio.Nursery) -> None:
    outcomes = Outcomes(Verifications(slots=1, max_pending=3), nursery)
    check = GatedCheck()
    for label in "abcd":
        await outcomes.start(label, check, key=label.encode())
    await outcomes.start("follower", check, key=b"a")
    assert outcomes.by_label == {"d": "overloaded"}

    check.gate.set()
    for label in "abc":
        await outcomes.verifications.run(label.encode(), check, is_stranger=False)
    await wait_all_tasks_blocked()
    assert outcomes.by_label == {
        "d": "overloaded", "a": True, "b": True, "c": True, "follower": True
    }  # fmt: skip
    await outcomes.start("e", check, key=b"e")
    assert await outcomes.verifications.run(b"e", check, is_stranger=False)


async def test_strangers_get_half_the_places_and_users_the_rest(nursery: trio.Nursery) -> None:
    outcomes = Outcomes(Verifications(slots=1, max_pending=4), nursery)
    check = GatedCheck(passes=False)
    for label in ["s1", "s2", "s3"]:
        await outcomes.start(label, check, key=label.encode(), is_stranger=True)
    assert outcomes.by_label == {"s3": "overloaded"}
    assert outcomes.verifications.statistics() == VerificationStatistics(1, 2, 2)

    for label in ["u1", "u2", "u3"]:
        await outcomes.start(label, check, key=label.encode())
    assert outcomes.by_label == {"s3": "overloaded", "u3": "overloaded"}
    assert outcomes.verifications.statistics() == VerificationStatistics(1, 4, 2)
    check.gate.set()


async def test_a_cancelled_leader_that_waits_hands_over_to_a_follower(
    nursery: trio.Nursery,
) -> None:
    outcomes = Outcomes(Verifications(slots=1, max_pending=2), nursery)
    busy, check = GatedCheck(), GatedCheck()
    await outcomes.start("busy", busy, key=b"busy")
    await busy.wait_begun()
    leader = await outcomes.start("leader", check, key=b"k")
    for number in range(3):
        await outcomes.start(f"follower{number}", check, key=b"k")

    leader.cancel()
    await wait_all_tasks_blocked()
    assert outcomes.by_label == {"leader": "cancelled"}
    assert outcomes.verifications.statistics() == VerificationStatistics(1, 2, 0)

    busy.gate.set()
    check.gate.set()
    assert await outcomes.verifications.run(b"k", check, is_stranger=False)
    await wait_all_tasks_blocked()
    assert outcomes.by_label == {
        "leader": "cancelled", "busy": True,
        "follower0": True, "follower1": True, "follower2": True,
    }  # fmt: skip
    assert check.calls == 1


async def test_a_follower_that_takes_over_is_not_refused_when_its_place_was_filled(
    nursery: trio.Nursery,
) -> None:
    outcomes = Outcomes(Verifications(slots=1, max_pending=2), nursery)
    busy, check = GatedCheck(), GatedCheck()
    await outcomes.start("busy", busy, key=b"busy")
    leader = await outcomes.start("leader", check, key=b"k")
    await outcomes.start("follower", check, key=b"k")

    def fill_the_place_the_leader_left() -> None:
        # A caller that runs between leader and follower; trio leaves no way to time one.
        outcomes.verifications._pending += 1

    leader.cancel()
    fill_the_place_the_leader_left()
    await wait_all_tasks_blocked()
    busy.gate.set()
    check.gate.set()
    assert await outcomes.verifications.run(b"k", check, is_stranger=False)
    await wait_all_tasks_blocked()
    assert outcomes.by_label == {"leader": "cancelled", "busy": True, "follower": True}


async def test_a_leader_cancelled_in_its_thread_still_serves_the_followers(
    nursery: trio.Nursery,
) -> None:
    outcomes = Outcomes(Verifications(slots=1, max_pending=2), nursery)
    check = GatedCheck()
    leader = await outcomes.start("leader", check, key=b"k")
    await outcomes.start("follower", check, key=b"k")
    await check.wait_begun()

    leader.cancel()
    await wait_all_tasks_blocked()
    assert outcomes.by_label == {}
    check.gate.set()
    assert await outcomes.verifications.run(b"k", check, is_stranger=False)
    await wait_all_tasks_blocked()
    assert outcomes.by_label == {"leader": True, "follower": True}
    assert check.calls == 1


async def test_a_cancelled_follower_disturbs_nobody(nursery: trio.Nursery) -> None:
    outcomes = Outcomes(Verifications(slots=1, max_pending=2), nursery)
    check = GatedCheck()
    await outcomes.start("leader", check, key=b"k")
    follower = await outcomes.start("follower", check, key=b"k")
    follower.cancel()
    await wait_all_tasks_blocked()
    check.gate.set()
    assert await outcomes.verifications.run(b"k", check, is_stranger=False)
    await wait_all_tasks_blocked()
    assert outcomes.by_label == {"leader": True, "follower": "cancelled"}


async def test_a_fault_in_a_check_comes_out_and_frees_everything() -> None:
    verifications = Verifications(slots=1, max_pending=2)

    def broken() -> bool:
        raise RuntimeError("out of order")

    with pytest.raises(RuntimeError, match="out of order"):
        await verifications.run(b"k", broken, is_stranger=True)
    assert verifications.statistics() == IDLE
    assert await verifications.run(b"k", lambda: True, is_stranger=True)
