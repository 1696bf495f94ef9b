"""Paths into JSON: ``$.user.name``, ``$.items[*].id``, ``$..token``, ``$['odd key']``.

A small part of RFC 9535 that costs no more than one walk over the value: names,
indexes, ``*`` and one ``..``; no slices, no filters, no lists of names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from wsproxy.policy.json_text import Repeated

__all__ = ["PATH_PATTERN", "JsonPath", "compile_path"]

_NAME = r"""[^\s.\[\]()'"*=$@?,:]+"""
_BRACKETS = r"""\[(?:'[^']*'|"[^"]*"|\*|-?[0-9]{1,9})\]"""
PATH_PATTERN = rf"\$(?:\.\.?(?:{_NAME}|\*)|(?:\.\.)?{_BRACKETS})*"
"""Regular expression (of `re`) of a path, for finding one inside of a longer text."""

_STEP = re.compile(rf"(?P<dots>\.\.?)?(?:(?P<name>{_NAME})|(?P<any>\*)|(?P<brackets>{_BRACKETS}))")
_MAX_STEPS = 32

Node = dict[str, object] | list[object]
Slot = tuple[Node, str | int]
"""Where a value stands: what it is in, and under which name or at which index."""


@dataclass(frozen=True, slots=True)
class _Step:
    """A name, an index or, for None, everything; perhaps at any depth."""

    key: str | int | None
    deep: bool


@dataclass(frozen=True, slots=True)
class JsonPath:
    """One path.  Build it with `compile_path`.

    Attributes:
        source: as it was written.
        last_name: the last name in it; None when it has only indexes and ``*``.
    """

    source: str
    last_name: str | None
    _steps: tuple[_Step, ...]

    def find(self, value: object) -> list[object]:
        """The values in `value` that it leads to; all values of a repeated key."""
        return [_get(slot) for slot in self._slots([value])]

    def replace(self, value: object, make: Callable[[object], object]) -> tuple[object, int]:
        """Put what `make` makes of them into the place of the values that it leads to.

        Returns:
            `value`, which was changed in place unless the path is ``$`` alone, and how
            many were replaced.
        """
        holder: list[object] = [value]
        slots = self._slots(holder)
        # All are made before any is put in: with `..` one may stand in another.
        made = [make(_get(slot)) for slot in slots]
        for slot, new in zip(slots, made, strict=True):
            _put(slot, new)
        return holder[0], len(slots)

    def _slots(self, holder: list[object]) -> list[Slot]:
        slots: list[Slot] = [(holder, 0)]
        for step in self._steps:
            if step.deep:
                slots = _descend(slots)
            slots = [found for slot in slots for found in _take(_inner(slot), step.key)]
        return [slot for found in slots for slot in _spread(found)]


def compile_path(source: str) -> JsonPath:
    """Compile one path.

    Raises:
        ValueError: something else than ``$``, ``.name``, ``['name']``, ``[0]``,
            ``[*]``, ``.*`` and one ``..``, or more than 32 of them; a helpful sentence.
    """
    if not source.startswith("$"):
        raise ValueError(f"{source!r} is not a path into JSON: it starts with '$'")
    steps: list[_Step] = []
    at = 1
    while at < len(source):
        match = _STEP.match(source, at)
        if match is None or (match["dots"] is None and match["brackets"] is None):
            raise ValueError(f"{source!r}: {_hint(source, at)}")
        if match["brackets"] is not None and match["dots"] == ".":
            raise ValueError(f"{source!r}: leave out the '.' before '['")
        steps.append(_Step(_key(match), match["dots"] == ".."))
        at = match.end()
    if len(steps) > _MAX_STEPS:
        raise ValueError(f"{source!r} has more than {_MAX_STEPS} steps")
    if sum(step.deep for step in steps) > 1:
        raise ValueError(f"{source!r}: '..' can be used once")
    names = [step.key for step in steps if isinstance(step.key, str)]
    return JsonPath(source, names[-1] if names else None, tuple(steps))


def _get(slot: Slot) -> object:
    node, key = slot
    return node[key]  # type: ignore[index]  # a slot's key fits its node


def _put(slot: Slot, value: object) -> None:
    node, key = slot
    node[key] = value  # type: ignore[index]  # the same


def _key(match: re.Match[str]) -> str | int | None:
    if match["name"] is not None:
        return match["name"]
    inner = (match["brackets"] or "[*]")[1:-1]
    if inner == "*":
        return None
    return inner[1:-1] if inner[0] in "'\"" else int(inner)


def _hint(source: str, at: int) -> str:
    rest = source[at:]
    if rest.startswith("[?"):
        return "filters are not supported; name the members"
    if rest.startswith("[") and ":" in rest.partition("]")[0]:
        return "slices are not supported; write [*] or one index"
    if rest.startswith("["):
        return "after '[' comes an index, '*' or a name in quotes, and then ']'"
    if rest.startswith("."):
        return "after '.' comes a name or '*'; write odd names as ['odd name']"
    return f"{rest!r} is not a step; write .name, ['name'], [0] or [*]"


def _inner(slot: Slot) -> Iterator[Node]:
    """The objects and arrays that stand in `slot`."""
    for spread in _spread(slot):
        value = _get(spread)
        if isinstance(value, dict | list):
            yield value


def _spread(slot: Slot) -> Iterator[Slot]:
    value = _get(slot)
    if isinstance(value, Repeated):
        yield from ((value, at) for at in range(len(value)))
    else:
        yield slot


def _take(nodes: Iterator[Node], key: str | int | None) -> Iterator[Slot]:
    for node in nodes:
        if key is None:
            yield from _members(node)
        elif isinstance(node, dict):
            if isinstance(key, str) and key in node:
                yield node, key
        elif isinstance(key, int) and -len(node) <= key < len(node):
            yield node, key


def _members(node: Node) -> Iterator[Slot]:
    keys: list[str] | range = list(node) if isinstance(node, dict) else range(len(node))
    for key in keys:
        yield node, key


def _descend(slots: list[Slot]) -> list[Slot]:
    """`slots` and everything below them.  No recursion: depth is the sender's choice."""
    found: list[Slot] = []
    todo = list(reversed(slots))
    while todo:
        slot = todo.pop()
        found.append(slot)
        below = [member for node in _inner(slot) for member in _members(node)]
        todo.extend(reversed(below))
    return found
