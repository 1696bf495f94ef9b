"""What one direction may move, and in what order those who share a bucket are served."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from wsproxy.errors import QuotaSpent
from wsproxy.net.allowance import Allowance, portion_bytes
from wsproxy.policy.rates import Bucket, Window

if TYPE_CHECKING:
    from trio.testing import MockClock


def test_a_portion_is_a_tenth_of_a_second_within_bounds() -> None:
    sizes = [portion_bytes(rate) for rate in (1, 100_000, 1e9, float("inf"))]
    assert sizes == [1024, 10_000, 256 * 1024, 256 * 1024]


def test_what_is_there_may_be_moved_at_once_and_then_it_takes_its_time() -> None:
    allowance = Allowance([Bucket((1000, 1))], 400)
    moved = []
    for _ in range(3):
        moved.append(allowance.claim(0.0))
        allowance.spend(moved[-1], 0.0)
    assert moved == [400, 400, 0]
    assert allowance.resume_at == pytest.approx(0.2)
    assert allowance.claim(0.1) == 0
    assert allowance.claim(allowance.resume_at) == 400


def test_what_is_not_used_goes_back() -> None:
    bucket = Bucket((1000, 1))
    first, second = Allowance([bucket], 1000), Allowance([bucket], 1000)
    assert first.claim(0.0) == 1000
    first.spend(10, 0.0)
    first.give_back()
    first.give_back()  # once
    assert second.claim(0.0) == 0
    assert second.resume_at == pytest.approx(0.01)


def test_all_buckets_have_to_agree() -> None:
    slow, fast = Bucket((100, 1)), Bucket((1000, 1))
    allowance = Allowance([fast, slow], 100)
    assert allowance.claim(0.0) == 100
    allowance.spend(100, 0.0)
    assert allowance.claim(0.0) == 0
    assert allowance.resume_at == pytest.approx(1.0)


def test_those_who_share_a_bucket_take_turns() -> None:
    bucket = Bucket((100, 1))
    crowd = {name: Allowance([bucket], 100) for name in "abc"}
    served = ""
    for tick in range(0, 1000, 10):
        for name, allowance in crowd.items():
            if size := allowance.claim(tick / 100):
                served += name
                allowance.spend(size, tick / 100)
    assert served.startswith("abc" * 3)
    assert max(map(served.count, "abc")) - min(map(served.count, "abc")) <= 1


def test_nobody_gets_around_the_limit_by_coming_anew() -> None:
    bucket = Bucket((100, 1))
    moved = 0
    for _ in range(50):
        newcomer = Allowance([bucket], 100)
        moved += newcomer.claim(0.0)
    assert moved == 100


def test_a_quota_is_spent_to_the_octet_and_then_there_is_none() -> None:
    quota = Window((150, 60))
    up, down = Allowance((), 100, quota), Allowance((), 100, quota)
    assert up.claim(0.0) == 100
    up.spend(100, 0.0)
    assert down.claim(0.0) == 50
    down.spend(50, 0.0)
    assert (up.claim(1.0), up.spent) == (0, True)
    assert (up.claim(60.0), up.spent) == (100, False)


async def test_whoever_waits_gets_it_when_it_is_there(autojump_clock: MockClock) -> None:
    allowance = Allowance([Bucket((100, 1))], 100)
    waits: list[float] = []
    for _ in range(3):
        allowance.spend(await allowance.wait_claim(waits.append), trio.current_time())
    assert trio.current_time() == pytest.approx(2.0)
    assert waits == pytest.approx([1.0, 1.0])


async def test_waiting_for_a_quota_fails_and_says_until_when(autojump_clock: MockClock) -> None:
    allowance = Allowance((), 100, Window((100, 60)))
    allowance.spend(await allowance.wait_claim(), trio.current_time())
    await trio.sleep(20.5)
    with pytest.raises(QuotaSpent) as caught:
        await allowance.wait_claim()
    assert (caught.value.status, caught.value.retry_after_s) == (429, 40)
