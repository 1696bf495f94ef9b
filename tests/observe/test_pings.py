"""Pings that wait for their pongs."""

from __future__ import annotations

from wsproxy.observe.pings import MAX_REMEMBERED, Pings


def test_a_pong_answers_its_ping_and_all_before_it() -> None:
    pings = Pings()
    for number in range(3):
        pings.add(b"%d" % number, float(number))
    assert pings.answer(b"1") == 1.0
    assert len(pings) == 1
    assert pings.answer(b"1") is None
    assert pings.answer(b"2") == 2.0
    assert len(pings) == 0


def test_a_peer_that_never_answers_takes_no_memory() -> None:
    pings = Pings()
    for number in range(MAX_REMEMBERED + 10):
        pings.add(b"%d" % number, float(number))
    assert len(pings) == MAX_REMEMBERED + 10
    assert pings.answer(b"0") is None
    assert pings.answer(b"%d" % (MAX_REMEMBERED + 9)) == float(MAX_REMEMBERED + 9)
    assert len(pings) == 0
