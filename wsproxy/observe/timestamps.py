"""Points in time as records spell them: RFC 3339, UTC, microseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

__all__ = ["format_second", "format_time", "parse_time"]


@lru_cache(maxsize=4)
def format_second(at: int) -> str:
    """A point in time without its fraction and zone; many records share a second.

    Args:
        at: whole seconds since 1970.
    """
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def format_time(at: float) -> str:
    """A point in time in full, ``2026-01-31T12:00:00.000001Z``.

    Args:
        at: seconds since 1970.
    """
    return f"{format_second(int(at))}.{int(at % 1 * 1e6):06d}Z"


def parse_time(text: str) -> float:
    """The seconds since 1970 that `format_time` wrote as `text`, to the microsecond.

    Raises:
        ValueError: `text` is no point in time, or says no zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"no zone in the time {text!r}")
    return moment.timestamp()
