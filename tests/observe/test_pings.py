"""Which pings got a pong."""

from __future__ import annotations

from wsproxy.observe.pings import MAX_REMEMBERED, Pings


def test_a_pong_answers_its_ping() -> None:
    pings = Pings()
    pings.add(b"a", 1.0)
    assert len(pings) == 1
    assert pings.answer(b"a") == 1.0
    assert len(pings) == 0


def test_a_pong_answers_older_pings_too_and_no_later_ones() -> None:
    pings = Pings()
    for at, payload in enumerate((b"a", b"b", b"c")):
        pings.add(payload, at)
    assert pings.answer(b"b") == 1
    assert len(pings) == 1


def test_of_equal_pings_the_latest_is_answered() -> None:
    pings = Pings()
    pings.add(b"", 1.0)
    pings.add(b"", 2.0)
    assert (pings.answer(b""), len(pings)) == (2.0, 0)


def test_a_pong_nobody_asked_for_answers_nothing() -> None:
    pings = Pings()
    pings.add(b"a", 1.0)
    assert (pings.answer(b"b"), len(pings)) == (None, 1)


def test_pings_that_are_never_answered_are_counted_without_being_kept() -> None:
    pings = Pings()
    for number in range(MAX_REMEMBERED + 10):
        pings.add(b"%d" % number, number)
    assert len(pings) == MAX_REMEMBERED + 10
    assert pings.answer(b"0") is None
    assert pings.answer(b"%d" % (MAX_REMEMBERED + 9)) == MAX_REMEMBERED + 9
    assert len(pings) == 0
