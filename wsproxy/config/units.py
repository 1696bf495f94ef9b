"""Durations and sizes as people write them: ``30s``, ``16MiB``.

One number and one unit, nothing else: ``1h30m``, ``1.5s`` and a bare ``30`` are
refused, because a reader must never have to guess a unit or an order.  The
sentences of the errors name the right form and never repeat the value, which may
have come from the environment.
"""

from __future__ import annotations

import re

__all__ = [
    "DURATION_PATTERN",
    "SIZE_PATTERN",
    "format_duration",
    "format_size",
    "parse_duration",
    "parse_size",
]

# Nine digits of days are 2.7 million years: longer is a slip, not a wish.
DURATION_PATTERN = r"^[0-9]{1,9}(ms|s|m|h|d)$"
"""Regular expression of a duration, as the JSON Schema shows it."""

SIZE_PATTERN = r"^[0-9]{1,9}(B|KiB|MiB|GiB)$"
"""Regular expression of a size, as the JSON Schema shows it."""

_MILLISECONDS = {"d": 24 * 60 * 60 * 1000, "h": 60 * 60 * 1000, "m": 60 * 1000, "s": 1000, "ms": 1}
_BYTES = {"GiB": 1024**3, "MiB": 1024**2, "KiB": 1024, "B": 1}

_FORM = re.compile(r"([0-9]{1,9})([A-Za-z]+)")


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
