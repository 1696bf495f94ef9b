r"""JSON as messages carry it: framed, repeated keys, odd numbers.

Theory of operation.  What a rule does not see must not be what the origin sees.  So
everything a usual parser takes is read: ``NaN``, halves of characters, numbers of any
length, control characters in strings.  Where parsers differ over a key that an object
has twice, all its values are kept (`Repeated`).  Nesting too deep for us is its own
error, `TooDeep`, since an origin may well read it.

Around the JSON may be a little framing: Socket.IO and Engine.IO put digits and a
namespace before it (``42/admin,["move",1]``), STOMP a head before and NUL behind it,
SignalR ends each of several records with ``\x1e``.

orjson reads ten times as fast as the standard library but is strict and keeps the last
of repeated keys silently.  What comes out the same when it is written again had no
repeated key; anything else is read once more, slowly.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

import orjson

__all__ = ["Part", "Repeated", "TooDeep", "dump_json", "parse_framed", "parse_json"]

_RECORD_SEPARATOR = "\x1e"
_MAX_HEAD_LENGTH = 256  # a STOMP head; that of Socket.IO is some ten characters
_MAX_DIGITS = 400  # beyond the largest double, as which nearly everybody reads numbers

Pairs = list[tuple[str, object]]


class TooDeep(ValueError):
    """JSON nested deeper than we read."""


class Repeated(list[object]):
    """The values of a key that an object has more than once, in their order."""

    __slots__ = ()


class Part(NamedTuple):
    """One JSON text and the framing around it.

    Attributes:
        head: what is before it.
        value: what it says.
        tail: what is behind it, the separator included.
    """

    head: str
    value: object
    tail: str


def parse_json(text: str, *, last: bool = False) -> object:
    """Read one JSON text.

    Args:
        text: without framing.
        last: whether the last value of a repeated key is taken, numbers being exact,
            instead of a `Repeated`.

    Raises:
        TooDeep: nested more than some hundred levels deep.
        ValueError: not JSON by anybody's reading.
    """
    if last:
        return _parse_slowly(text, None)
    try:
        value: object = orjson.loads(text)
        if orjson.dumps(value) == text.encode():
            return value
    except (ValueError, TypeError):
        pass  # either we do not know better yet: the slow reading decides
    return _parse_slowly(text, _keep_all)


def parse_framed(text: str, *, last: bool = False) -> list[Part]:
    r"""Read the JSON objects and arrays of a message, with what is around them.

    Args:
        text: one of them behind a short head, or several of which ``\x1e`` ends each.
        last: as for `parse_json`.

    Returns:
        At least one part; all heads, values and tails in a row are the text.

    Raises:
        TooDeep: as `parse_json`.
        ValueError: there is none, or something else beside them.
    """
    parts: list[Part] = []
    records = text.split(_RECORD_SEPARATOR)
    for number, record in enumerate(records):
        separator = _RECORD_SEPARATOR if number < len(records) - 1 else ""
        if record.strip():
            parts.append(_parse_record(record, separator, last=last))
        elif parts:
            head, value, tail = parts[-1]
            parts[-1] = Part(head, value, tail + record + separator)
        elif separator:
            raise ValueError("there is an empty record")
    if not parts:
        raise ValueError("there is nothing")
    return parts


def dump_json(value: object) -> str:
    """Write `value`, which `parse_json` gave, as compact JSON; of a `Repeated` all as an array.

    Raises:
        TooDeep: it is nested more than some hundred levels deep.
    """
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        pass  # halves of characters, numbers beyond 64 bits, or nesting
    try:
        return json.dumps(value, separators=(",", ":"))
    except RecursionError:
        raise TooDeep("nested too deeply") from None


def _parse_record(record: str, separator: str, *, last: bool) -> Part:
    starts = [at for at in (record.find("{"), record.find("[")) if at >= 0]
    start = min(starts, default=len(record))
    if start > _MAX_HEAD_LENGTH or start == len(record):
        raise ValueError("there is no object or array")
    inner = record[start:].rstrip(" \t\r\n\0")
    tail = record[start + len(inner) :]
    return Part(record[:start], parse_json(inner, last=last), tail + separator)


def _parse_slowly(text: str, keep: Callable[[Pairs], object] | None) -> object:
    try:
        value: object = json.loads(text, object_pairs_hook=keep, parse_int=_number, strict=False)
    except RecursionError:
        raise TooDeep("nested too deeply") from None
    return value


def _number(digits: str) -> int | float:
    # int() refuses thousands of digits; other parsers read them as infinity.
    return int(digits) if len(digits) < _MAX_DIGITS else float(digits)


def _keep_all(pairs: Pairs) -> object:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    found: dict[str, Repeated] = {}
    for name, value in pairs:
        found.setdefault(name, Repeated()).append(value)
    return {name: values if len(values) > 1 else values[0] for name, values in found.items()}
