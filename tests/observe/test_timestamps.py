"""Points in time, written and read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.observe.timestamps import format_second, format_time, parse_time


def test_a_point_in_time() -> None:
    assert format_second(1_700_000_000) == "2023-11-14T22:13:20"
    assert format_time(1_700_000_000.25) == "2023-11-14T22:13:20.250000Z"


@given(st.floats(0, 4e9))
def test_what_is_written_can_be_read(at: float) -> None:
    assert parse_time(format_time(at)) == pytest.approx(at, abs=2e-6)


@pytest.mark.parametrize("text", ["", "yesterday", "2023-11-14T22:13:20"])
def test_what_is_no_point_in_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_time(text)
