"""Token buckets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.policy.rates import Bucket, Kept, RateState, Window


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


def test_many_at_once_are_taken_and_given_back() -> None:
    bucket = Bucket((10, 1))
    assert bucket.take(0.0, 8) == 0.0
    assert bucket.take(0.0, 4) == pytest.approx(0.2)
    bucket.give_back(3)
    assert bucket.take(0.0, 4) == 0.0
    bucket.give_back(100)
    assert bucket.take(0.0, 11) == pytest.approx(0.1)


def test_a_bucket_that_is_full_again_rests() -> None:
    bucket = Bucket((10, 1))
    assert bucket.rests(0.0)
    bucket.take(0.0, 5)
    assert [bucket.rests(now) for now in (0.1, 0.4, 0.5)] == [False, False, True]


def test_a_bucket_goes_on_with_another_rate() -> None:
    bucket = Bucket((10, 1))
    bucket.take(0.0, 8)
    bucket.adopt((100, 1))
    assert bucket.take(0.0, 12) == pytest.approx(0.1)
    bucket.adopt((1, 1))
    assert bucket.take(0.0, 2) == pytest.approx(1.0)


def test_a_window_begins_with_its_first_and_ends_in_time() -> None:
    window = Window((100, 60))
    assert (window.left(0.0), window.ends_in(0.0), window.rests(0.0)) == (100, 0.0, True)
    window.spend(30, 10.0)
    window.spend(90, 50.0)
    assert (window.left(69.9), window.rests(69.9)) == (-20, False)
    assert window.ends_in(60.0) == 10.0
    assert (window.left(70.0), window.rests(70.0)) == (100, True)
    window.spend(1, 80.0)
    assert (window.left(80.0), window.ends_in(80.0)) == (99, 60.0)


def test_a_window_goes_on_with_another_count() -> None:
    window = Window((100, 60))
    window.spend(90, 0.0)
    window.adopt((50, 600))
    assert (window.left(1.0), window.ends_in(1.0)) == (-40, 59.0)


def test_what_nobody_holds_and_what_rests_is_forgotten() -> None:
    kept: Kept[str, Bucket] = Kept()
    held = kept.get("held", 0.0, lambda: Bucket((1, 1)))
    kept.get("owes", 0.0, lambda: Bucket((1, 1))).take(0.0, 100, borrow=True)
    for number in range(50):
        kept.get(str(number), 0.0, lambda: Bucket((1, 1)))
    # Each that comes makes two that rest go; one that owes stays, and so does one that is held.
    assert kept.get("held", 0.0, lambda: Bucket((9, 1))) is held
    assert kept.get("owes", 0.0, lambda: Bucket((9, 1))).take(0.0) > 99
    assert len(kept) <= 53
    kept.get("later", 200.0, lambda: Bucket((1, 1)))
    for number in range(50):
        kept.get(f"later {number}", 200.0 + number, lambda: Bucket((1, 1)))
    assert len(kept) <= 5
    assert held in kept.all()


def test_there_is_a_bound_even_when_all_owe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsproxy.policy.rates._MOST_KEPT", 3)
    kept: Kept[int, Bucket] = Kept()
    for number in range(10):
        kept.get(number, 0.0, lambda: Bucket((1, 1))).take(0.0, 100, borrow=True)
    assert len(kept) == 3
