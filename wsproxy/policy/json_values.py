"""What a value in JSON is compared with: a pattern for its text, or an exact value."""

from __future__ import annotations

from collections.abc import Callable

from wsproxy.policy.globs import compile_glob
from wsproxy.policy.json_text import dump_json

__all__ = ["JsonScalar", "compile_value", "value_text"]

JsonScalar = str | int | bool | None


def compile_value(expected: JsonScalar) -> Callable[[object], bool]:
    """A function that says whether a value of `parse_json` is as expected.

    Args:
        expected: a pattern with ``*`` for the text of the value (`value_text`), so that
            ``*`` alone is any value; or a number, a truth value or null.
    """
    if isinstance(expected, str):
        matches = compile_glob(expected)
        return lambda value: matches(value_text(value))
    if expected is None or isinstance(expected, bool):
        return lambda value: value is expected
    # 1 and 1.0 are one number in JSON, and `true` is none.
    return lambda value: value == expected and not isinstance(value, bool)


def value_text(value: object) -> str:
    """A string as it is, anything else as compact JSON; empty when it is nested too deep."""
    if isinstance(value, str):
        return value
    try:
        return dump_json(value)
    except ValueError:
        return ""
