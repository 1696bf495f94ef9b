"""Hours of the week, on the clock of a place.

What the clocks on the wall show is what counts.  Where summer time ends, the hour that they
show twice is in the window twice; where it begins, the hour that they skip is in none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo

__all__ = ["Hours"]


@dataclass(frozen=True, slots=True)
class Hours:
    """A daily window on some days of the week; `at in hours`.

    Attributes:
        days: on which it opens, 0 for Monday … 6 for Sunday.
        start: first minute of the day that is in it, 0 … 1439.
        end: first minute that is not, 0 … 1440; at or before `start` it is of the next day,
            whatever day that is.
        zone: whose clock is meant.
    """

    days: frozenset[int]
    start: int
    end: int
    zone: tzinfo

    def __contains__(self, at: float) -> bool:
        """Whether the window is open at `at`, in seconds since 1970."""
        now = datetime.fromtimestamp(at, self.zone)
        minute, day = now.hour * 60 + now.minute, now.weekday()
        if self.start < self.end:
            return self.start <= minute < self.end and day in self.days
        if minute >= self.start:
            return day in self.days
        return minute < self.end and (day - 1) % 7 in self.days
