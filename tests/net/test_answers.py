"""What is remembered of names: for how long, and of how many."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from wsproxy.net.answers import Answer, AnswerCache

FOUND = (ip_address("192.0.2.1"),)


@pytest.mark.parametrize(
    ("addresses", "ttl_s", "kept_s"),
    [
        (FOUND, 0.0, 1),
        (FOUND, 0.5, 1),
        (FOUND, 30.0, 30),
        (FOUND, 3600.0, 3600),
        (FOUND, 2.0**31, 3600),
        ((), 0.0, 1),
        ((), 20.0, 20),
        ((), 86400.0, 60),
    ],
)
def test_an_answer_is_kept_as_long_as_it_says_within_bounds(
    addresses: tuple[object, ...], ttl_s: float, kept_s: float
) -> None:
    cache = AnswerCache()
    answer = Answer(addresses, ttl_s)  # type: ignore[arg-type]  # the table's type is wider
    cache.put("x.test", answer, 100.0)
    assert cache.get("x.test", 100.0 + kept_s - 0.001) is answer
    assert cache.get("x.test", 100.0 + kept_s) is None
    assert len(cache) == 0, "what is over takes no room"


def test_what_is_not_to_be_remembered_is_not() -> None:
    cache = AnswerCache()
    cache.put("x.test", Answer(FOUND), 0.0)
    assert cache.get("x.test", 0.0) is None


def test_a_later_answer_takes_the_place_of_an_earlier_one() -> None:
    cache = AnswerCache()
    cache.put("x.test", Answer(FOUND, 5.0), 0.0)
    cache.put("x.test", Answer((), 50.0, "NXDOMAIN"), 1.0)
    assert cache.get("x.test", 49.0) == Answer((), 50.0, "NXDOMAIN")


def test_the_name_that_was_not_asked_for_longest_makes_room() -> None:
    cache = AnswerCache(max_names=2)
    for name in ("a.test", "b.test"):
        cache.put(name, Answer(FOUND, 60.0), 0.0)
    cache.get("a.test", 1.0)
    cache.put("c.test", Answer(FOUND, 60.0), 2.0)
    known = [name for name in ("a.test", "b.test", "c.test") if cache.get(name, 3.0)]
    assert (known, len(cache)) == (["a.test", "c.test"], 2)
