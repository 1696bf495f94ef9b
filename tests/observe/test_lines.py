"""Stamps of moments."""

from __future__ import annotations

from wsproxy.observe.lines import Stamps


def test_one_moment_has_one_stamp() -> None:
    times = iter([1_700_000_000.25, 1_700_000_000.5])
    stamps = Stamps(lambda: next(times))
    assert stamps.at(7.0) == stamps.at(7.0) == b"2023-11-14T22:13:20.250000Z"
    assert stamps.at(8.0) == b"2023-11-14T22:13:20.500000Z"


def test_a_latency_is_that_of_the_latest_moment() -> None:
    stamps = Stamps(lambda: 0.0)
    stamps.at(2.0)
    assert stamps.since(1.5) == stamps.since(1.5) == b',"answer_ms":500.000'
    stamps.at(3.0)
    assert stamps.since(1.5) == b',"answer_ms":1500.000'
