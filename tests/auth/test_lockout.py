"""Addresses that guess."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from wsproxy.auth import lockout as module
from wsproxy.auth.lockout import Lockout
from wsproxy.errors import LimitReached

GUESSER, OTHER = ip_address("192.0.2.1"), ip_address("192.0.2.2")


def locked(failures: int = 3) -> Lockout:
    made = Lockout(failures, 60.0, 300.0)
    for now in range(failures):
        assert not made.holds(GUESSER, float(now))
        made.failed(GUESSER, float(now))
    return made


def test_so_many_failures_lock_an_address_out_for_a_while() -> None:
    made = locked()
    assert made.holds(GUESSER, 3.0)
    assert not made.holds(OTHER, 3.0)
    assert made.refusal(GUESSER, 2.0).retry_after_s == 300
    assert made.holds(GUESSER, 301.9)
    assert not made.holds(GUESSER, 302.0)


def test_failures_that_are_far_apart_do_not() -> None:
    made = Lockout(3, 60.0, 300.0)
    for now in (0.0, 30.0, 61.0, 100.0):
        made.failed(GUESSER, now)
    assert not made.holds(GUESSER, 100.0)
    made.failed(GUESSER, 110.0)
    assert made.holds(GUESSER, 110.0)


def test_a_right_guess_is_not_served_but_who_was_known_is() -> None:
    made = Lockout(2, 60.0, 300.0)
    made.check(GUESSER, "alice", 0.0)
    made.failed(GUESSER, 1.0)
    made.failed(GUESSER, 2.0)
    made.check(GUESSER, "alice", 3.0)
    with pytest.raises(LimitReached) as caught:
        made.check(GUESSER, "bob", 3.0)
    assert caught.value.status == 429
    made.check(OTHER, "bob", 3.0)
    made.check(GUESSER, "bob", 302.0)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 2)
    made = Lockout(1, 60.0, 300.0)
    for number in range(4):
        made.failed(ip_address(number), 0.0)
        made.check(ip_address(100 + number), "a", 0.0)
    assert [made.holds(ip_address(number), 1.0) for number in range(4)] == [
        False,
        False,
        True,
        True,
    ]
