"""Token buckets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.policy.rates import Bucket, RateState


def test_a_bucket_is_full_at_first_and_fills_up_again() -> None:
    bucket = Bucket((2, 1))
    waits = [bucket.take(now) for now in (10.0, 10.0, 10.0, 10.25, 10.5, 10.5, 99.0, 99.0, 99.0)]
    assert waits == [0.0, 0.0, 0.5, 0.25, 0.0, 0.5, 0.0, 0.0, 0.5]


def test_what_is_borrowed_has_to_be_waited_for() -> None:
    bucket = Bucket((1, 2))
    assert [bucket.take(0.0, borrow=True) for _ in range(3)] == [0.0, 2.0, 4.0]
    assert bucket.take(4.0, borrow=True) == 2.0


def test_a_clock_that_went_back_gives_nothing() -> None:
    bucket = Bucket((1, 1))
    assert bucket.take(10.0) == 0.0
    assert bucket.take(9.0) == 1.0
    assert bucket.take(10.5) == 0.5


@given(st.lists(st.floats(0, 10), min_size=1), st.integers(1, 5), st.integers(1, 5))
def test_never_more_than_the_rate_and_what_it_holds(
    times: list[float], count: int, seconds: int
) -> None:
    bucket = Bucket((count, seconds))
    passed = [now for now in sorted(times) if not bucket.take(now)]
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            allowed = count + (passed[last] - passed[first]) * count / seconds
            assert last - first + 1 <= allowed + 1e-6


def test_each_rule_and_direction_has_its_own_bucket() -> None:
    state = RateState()
    up = state.bucket("a", (1, 1), from_client=True)
    assert state.bucket("a", (1, 1), from_client=True) is up
    assert state.bucket("a", (1, 1), from_client=False) is not up
    assert state.bucket("b", (1, 1), from_client=True) is not up


@pytest.mark.parametrize("borrow", [False, True])
def test_without_a_pause_there_is_nothing_to_wait_for(borrow: bool) -> None:
    bucket = Bucket((1, 1))
    assert [bucket.take(float(now), borrow=borrow) for now in range(5)] == [0.0] * 5
