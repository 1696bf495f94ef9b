"""Hours of the week, on the clock of a place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.policy.hours import Hours

BERLIN = ZoneInfo("Europe/Berlin")
WORK = frozenset(range(5))
EVERY_DAY = frozenset(range(7))


def at(text: str) -> float:
    """Seconds since 1970 of an instant that is written with its offset."""
    return datetime.fromisoformat(text).timestamp()


def window(start: str, end: str, days: frozenset[int] = EVERY_DAY) -> Hours:
    first, last = (int(text[:2]) * 60 + int(text[3:]) for text in (start, end))
    return Hours(days, first, last, BERLIN)


OFFICE = window("07:00", "19:00", WORK)
NIGHT = window("22:00", "06:00", frozenset({4}))


@pytest.mark.parametrize(
    ("hours", "instant", "expected"),
    [
        (OFFICE, "2025-03-14T06:59:59.999+01:00", False),
        (OFFICE, "2025-03-14T07:00:00+01:00", True),
        (OFFICE, "2025-03-14T18:59:59+01:00", True),
        (OFFICE, "2025-03-14T19:00:00+01:00", False),
        (OFFICE, "2025-03-15T12:00:00+01:00", False),  # Saturday
        (OFFICE, "2025-03-14T06:30:00+00:00", True),  # half past seven in Berlin
        (OFFICE, "2025-07-14T05:00:00+00:00", True),  # seven o'clock, in summer
        (OFFICE, "2025-07-14T04:59:00+00:00", False),
        # Monday in Berlin while it is Sunday in London
        (window("00:00", "01:00", frozenset({0})), "2025-07-13T22:30:00+00:00", True),
        (window("00:00", "24:00", frozenset({5, 6})), "2025-03-16T23:59:59+01:00", True),
        (window("00:00", "24:00", frozenset({5, 6})), "2025-03-17T00:00:00+01:00", False),
        # Over midnight: Friday's night, which ends on Saturday
        (NIGHT, "2025-03-14T21:59:00+01:00", False),
        (NIGHT, "2025-03-14T22:00:00+01:00", True),
        (NIGHT, "2025-03-15T00:00:00+01:00", True),
        (NIGHT, "2025-03-15T05:59:59+01:00", True),
        (NIGHT, "2025-03-15T06:00:00+01:00", False),
        (NIGHT, "2025-03-15T22:30:00+01:00", False),
        (NIGHT, "2025-03-14T05:00:00+01:00", False),  # Thursday's
        (window("22:00", "06:00", frozenset({6})), "2025-03-17T03:00:00+01:00", True),
        (window("22:00", "00:00", frozenset({4})), "2025-03-14T23:59:00+01:00", True),
        (window("22:00", "00:00", frozenset({4})), "2025-03-15T00:00:00+01:00", False),
        # Summer time begins: 02:00 … 03:00 is skipped
        (window("01:30", "03:00"), "2025-03-30T00:59:59+00:00", True),
        (window("01:30", "03:00"), "2025-03-30T01:00:00+00:00", False),
        (window("02:15", "02:45"), "2025-03-30T01:15:00+00:00", False),
        # It ends: 02:00 … 03:00 comes twice
        (window("02:15", "02:45"), "2025-10-26T00:30:00+00:00", True),
        (window("02:15", "02:45"), "2025-10-26T01:30:00+00:00", True),
        (window("02:15", "02:45"), "2025-10-26T00:50:00+00:00", False),
        # Friday's night over the hour that comes twice, seen from the evening
        (window("22:00", "06:00", frozenset({5})), "2025-10-26T04:59:00+00:00", True),
        (window("22:00", "06:00", frozenset({5})), "2025-10-26T05:00:00+00:00", False),
    ],
)
def test_a_window(hours: Hours, instant: str, expected: bool) -> None:
    assert (at(instant) in hours) is expected


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001 - made aware below
    st.sets(st.integers(0, 6)),
    st.integers(0, 1439),
    st.integers(0, 1440),
)
def test_in_utc_a_window_is_what_arithmetic_says(
    moment: datetime, days: set[int], start: int, end: int
) -> None:
    now = moment.replace(tzinfo=UTC)
    hours = Hours(frozenset(days), start, end, UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    length = timedelta(minutes=end - start if start < end else end - start + 1440)
    opened = [midnight + timedelta(days=back, minutes=start) for back in (-1, 0)]
    expected = any(begin <= now < begin + length and begin.weekday() in days for begin in opened)
    assert (now.timestamp() in hours) is expected
