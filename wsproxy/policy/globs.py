"""Patterns in which ``*`` stands for any run of characters, matched in linear time."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["compile_glob"]


def compile_glob(pattern: str) -> Callable[[str], bool]:
    """A function that says whether a text matches `pattern` as a whole.

    Args:
        pattern: case-sensitive; ``*`` is the one special character.
    """
    first, *rest = pattern.split("*")
    if not rest:
        return pattern.__eq__
    if not any(rest) and not first:
        return lambda text: True
    *middle, last = rest

    def matches(text: str) -> bool:
        if len(text) < len(first) + len(last):
            return False
        if not text.startswith(first) or not text.endswith(last):
            return False
        # No backtracking: each middle part is taken where it first occurs.
        at, end = len(first), len(text) - len(last)
        for part in middle:
            at = text.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True

    return matches
