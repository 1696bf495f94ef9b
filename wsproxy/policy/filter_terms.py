"""The terms of filters over capture records: from a name, an operator and a value."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Mapping

from wsproxy.policy.globs import compile_glob
from wsproxy.policy.json_paths import compile_path
from wsproxy.policy.json_text import Part, parse_framed
from wsproxy.policy.json_values import compile_value
from wsproxy.policy.patterns import compile_pattern

__all__ = ["FIELDS", "Record", "RecordFilter", "compile_json_term", "compile_term", "contains"]

Record = Mapping[str, object]
RecordFilter = Callable[[Record], bool]

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "closed_by": ("client", "upstream", "proxy"),
    "direction": ("client", "upstream"),
    "event": ("open", "message", "chunk", "trouble", "close"),
    "mode": ("metadata", "log", "enforce"),
    "opcode": ("text", "binary", "ping", "pong", "close"),
}
_GLOBS = frozenset({"extensions", "host", "label", "reason", "rule", "subprotocol", "url", "user"})
_PREFIXES = frozenset({"client", "session"})
_NUMBERS = frozenset(
    {
        "answer_ms", "bytes_down", "bytes_up", "code", "duration_ms", "fragments",
        "messages_down", "messages_up", "number", "port", "ratio", "size", "wire",
    }
)  # fmt: skip
FIELDS: tuple[str, ...] = tuple(
    sorted({*_CHOICES, *_GLOBS, *_PREFIXES, *_NUMBERS, "action", "json", "text"})
)
"""What a term can begin with."""

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ":": operator.eq,
    "=": operator.eq,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_NUMBER = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)(B|KiB|MiB|GiB)?")
_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def compile_term(name: str, comparison: str, value: str) -> RecordFilter:
    """Compile one term.

    Args:
        name: what it begins with.
        comparison: ``:``, ``~``, ``=``, ``<``, ``<=``, ``>`` or ``>=``.
        value: what stands behind it, without quotes.

    Raises:
        ValueError: an unknown name, an operator or value it does not take; a helpful
            sentence.
    """
    if name in _NUMBERS:
        return _number_term(name, comparison, value)
    if name == "text" and comparison == "~":
        return _pattern_term(value)
    if name not in FIELDS:
        near = difflib.get_close_matches(name.lower(), FIELDS, n=1)
        hint = f"did you mean {near[0]!r}" if near else f"known are {', '.join(FIELDS)}"
        raise ValueError(
            f"{name!r} is no field; {hint}; text with {comparison!r} in it goes in quotes"
        )
    if comparison != ":":
        raise ValueError(f"{name!r} takes ':' and a value, not {comparison!r}")
    if not value:
        raise ValueError(f"there is no value behind '{name}:'")
    if name == "json":
        compile_path(value.partition("=")[0])  # says what is wrong with most
        raise ValueError(f"json: write a path, or a path with '=' and a value; not {value!r}")
    if name == "text":
        return contains(value)
    if name in _CHOICES and value not in _CHOICES[name]:
        raise ValueError(f"{name}: {value!r} is none of {', '.join(_CHOICES[name])}")
    if name in _PREFIXES:
        return _text_term(name, lambda text: text.startswith(value))
    matches = compile_glob(value)
    if name in ("action", "rule"):
        return _verdict_term(name, matches)
    return _text_term(name, matches)


def compile_json_term(path: str, value: str | None) -> RecordFilter:
    """A path leads to a value in the record's text, or to one that `value` matches.

    Raises:
        ValueError: the path cannot be used; a helpful sentence.
    """
    compiled = compile_path(path)
    matches = compile_value("*" if value is None else value)

    def holds(record: Record) -> bool:
        return any(matches(found) for part in _parts(record) for found in compiled.find(part.value))

    return holds


def contains(wanted: str) -> RecordFilter:
    """`wanted` occurs in the record's text, in any case."""
    folded = wanted.casefold()
    return _text_term("text", lambda text: folded in text.casefold())


def _text_term(name: str, matches: Callable[[str], bool]) -> RecordFilter:
    def holds(record: Record) -> bool:
        value = record.get(name)
        return isinstance(value, str) and matches(value)

    return holds


def _verdict_term(name: str, matches: Callable[[str], bool]) -> RecordFilter:
    def holds(record: Record) -> bool:
        verdicts = record.get("verdicts")
        # The record of an opening names the rule that let the WebSocket through.
        found = [record, *verdicts] if isinstance(verdicts, list | tuple) else [record]
        values = [one.get(name) for one in found if isinstance(one, Mapping)]
        return any(isinstance(value, str) and matches(value) for value in values)

    return holds


def _pattern_term(source: str) -> RecordFilter:
    pattern = compile_pattern(source)
    return _text_term("text", lambda text: pattern.in_text(text.encode("utf-8", "replace")))


def _number_term(name: str, comparison: str, value: str) -> RecordFilter:
    compare = _COMPARISONS.get(comparison)
    if compare is None:
        raise ValueError(f"{name!r} takes one of {' '.join(_COMPARISONS)}, not {comparison!r}")
    match = _NUMBER.fullmatch(value)
    if match is None:
        raise ValueError(f"{name}: {value!r} is not a number such as 1000 or 64KiB")
    wanted = float(match[1]) * _UNITS[match[2] or "B"]

    def holds(record: Record) -> bool:
        found = record.get(name)
        return isinstance(found, int | float) and compare(found, wanted)

    return holds


def _parts(record: Record) -> list[Part]:
    text = record.get("text")
    if not isinstance(text, str):
        return []
    try:
        return parse_framed(text)
    except ValueError:
        return []
