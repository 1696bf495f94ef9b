"""Points in time, there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.observe.timestamps import format_second, format_time, parse_time


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000000Z"),
        (1_700_000_000.125, "2023-11-14T22:13:20.125000Z"),
        (1_700_000_000.9999997, "2023-11-14T22:13:20.999999Z"),
    ],
)
def test_a_time_has_six_digits_and_is_never_rounded_up(at: float, text: str) -> None:
    assert format_time(at) == text
    assert format_second(int(at)) == text[:19]


@given(st.integers(0, 4_000_000_000_000_000))
def test_what_was_written_is_read_to_the_microsecond(micros: int) -> None:
    assert abs(parse_time(format_time(micros / 1e6)) - micros / 1e6) < 2e-6


@pytest.mark.parametrize("text", ["", "yesterday", "2023-11-14T22:13:20.125000"])
def test_what_is_no_point_in_time_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse_time(text)
