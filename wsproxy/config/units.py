"""Durations, sizes and rates as people write them: ``30s``, ``16MiB``, ``100/s``, ``10MiB/s``, ``10GiB/24h``.

One number and one unit, nothing else: ``1h30m``, ``1.5s`` and a bare ``30`` are
refused, because a reader must never have to guess a unit or an order.  The
sentences of the errors name the right form and never repeat the value, which may
have come from the environment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = [
    "DURATION_PATTERN",
    "RATE_PATTERN",
    "SIZE_PATTERN",
    "VOLUME_PATTERN",
    "Rate",
    "Volume",
    "format_duration",
    "format_rate",
    "format_size",
    "format_volume",
    "parse_duration",
    "parse_rate",
    "parse_size",
    "parse_volume",
]

# Nine digits of days are 2.7 million years: longer is a slip, not a wish.
DURATION_PATTERN = r"^[0-9]{1,9}(ms|s|m|h|d)$"
"""Regular expression of a duration, as the JSON Schema shows it."""

SIZE_PATTERN = r"^[0-9]{1,9}(B|KiB|MiB|GiB)$"
"""Regular expression of a size, as the JSON Schema shows it."""

RATE_PATTERN = r"^[1-9][0-9]{0,8}/(s|m|h)$"
"""Regular expression of a rate, as the JSON Schema shows it."""

VOLUME_PATTERN = r"^[0-9]{1,9}(B|KiB|MiB|GiB)/([0-9]{1,9})?(ms|s|m|h|d)$"
"""Regular expression of a volume, as the JSON Schema shows it."""

_MILLISECONDS = {"d": 24 * 60 * 60 * 1000, "h": 60 * 60 * 1000, "m": 60 * 1000, "s": 1000, "ms": 1}
_BYTES = {"GiB": 1024**3, "MiB": 1024**2, "KiB": 1024, "B": 1}

_PERIODS_S = {"s": 1, "m": 60, "h": 60 * 60}

_FORM = re.compile(r"([0-9]{1,9})([A-Za-z]+)")
_RATE_FORM = re.compile(r"([1-9][0-9]{0,8})/([smh])")


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so much time.

    Attributes:
        count: at least 1; what may come at once after a pause.
        period_s: 1, 60 or 3600 seconds.
    """

    count: int
    period_s: int

    @property
    def per_second(self) -> float:
        """How many a second on average."""
        return self.count / self.period_s


@dataclass(frozen=True, slots=True)
class Volume:
    """So many bytes in so much time.

    Attributes:
        size_bytes: at least 1.
        period_s: more than zero.
    """

    size_bytes: int
    period_s: float

    @property
    def per_second(self) -> float:
        """Bytes a second on average."""
        return self.size_bytes / self.period_s


def parse_duration(text: str) -> float:
    """The seconds that `text` (``250ms``, ``30s``, ``15m``, ``1h``, ``7d``) stands for.

    Raises:
        ValueError: `text` is not one whole number and one of these units.
    """
    milliseconds = _parse(text, _MILLISECONDS)
    if milliseconds is None:
        raise ValueError("expected a duration such as 250ms, 30s, 15m, 1h or 7d")
    return milliseconds / 1000


def parse_size(text: str) -> int:
    """The bytes that `text` (``512B``, ``64KiB``, ``16MiB``, ``1GiB``) stands for.

    Raises:
        ValueError: `text` is not one whole number and one of these units.
    """
    size = _parse(text, _BYTES)
    if size is None:
        raise ValueError("expected a size such as 512B, 64KiB, 16MiB or 1GiB")
    return size


def parse_rate(text: str) -> Rate:
    """The rate that `text` (``100/s``, ``10/m``, ``500/h``) stands for.

    Raises:
        ValueError: `text` is not a whole number from 1, a slash and one of these units.
    """
    match = _RATE_FORM.fullmatch(text)
    if match is None:
        raise ValueError("expected a rate such as 100/s, 10/m or 500/h")
    return Rate(int(match[1]), _PERIODS_S[match[2]])


def parse_volume(text: str) -> Volume:
    """The volume that `text` (``10MiB/s``, ``10GiB/24h``) stands for.

    Raises:
        ValueError: `text` is not a size from 1B, a slash, and a duration or its unit.
    """
    size, slash, period = text.partition("/")
    try:
        size_bytes = parse_size(size)
        period_s = parse_duration(period if period[:1].isdigit() else f"1{period}")
    except ValueError:
        size_bytes = period_s = 0
    if not slash or not size_bytes or not period_s:
        raise ValueError("expected bytes in a time such as 10MiB/s or 10GiB/24h")
    return Volume(size_bytes, period_s)


def format_volume(volume: Volume) -> str:
    """The spelling `parse_volume` turns back into `volume`."""
    period = format_duration(volume.period_s)
    unit = period[1:] if period[0] == "1" and not period[1].isdigit() else period
    return f"{format_size(volume.size_bytes)}/{unit}"


def format_rate(rate: Rate) -> str:
    """The spelling `parse_rate` turns back into `rate`."""
    return next(
        f"{rate.count}/{unit}" for unit, period_s in _PERIODS_S.items() if period_s == rate.period_s
    )


def format_duration(seconds: float) -> str:
    """The shortest spelling `parse_duration` turns back into `seconds` (whole milliseconds)."""
    return _format(round(seconds * 1000), _MILLISECONDS)


def format_size(size_bytes: int) -> str:
    """The shortest spelling `parse_size` turns back into `size_bytes`."""
    return _format(size_bytes, _BYTES)


def _parse(text: str, units: dict[str, int]) -> int | None:
    match = _FORM.fullmatch(text)
    if match is None or match[2] not in units:
        return None
    return int(match[1]) * units[match[2]]


def _format(amount: int, units: dict[str, int]) -> str:
    for unit, scale in units.items():  # the largest first
        if amount and amount % scale == 0:
            return f"{amount // scale}{unit}"
    return f"0{list(units)[-1]}"
