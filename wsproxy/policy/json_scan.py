r"""Finds named members in what is not quite JSON: cut off, concatenated, broken.

Theory of operation.  A text that was cut does not parse, and where it is cut is up to
its sender.  So nothing here depends on where strings begin: the names are looked for
as they are, in every spelling JSON has for them (``"pin"``, ``"\u0070in"``, and
``\"pin\"`` inside of another string), and what follows the colon is their value, up to
its end or the end of the text.  That covers too much rather than too little: a path is
taken for its last name alone.

Everything is linear in the text: no search begins anew inside of what another has
passed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["MemberScan", "compile_scan"]

_SHORT_ESCAPES = {
    '"': '"', "\\": r"\\", "/": "/", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t",
}  # fmt: skip
_BRACKET_OR_STRING = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_LITERAL = re.compile(r"[^\s,}\]]*")
_OPENING_QUOTE = re.compile(r'(\\*)"')

Make = Callable[[object], str]


@dataclass(frozen=True, slots=True)
class MemberScan:
    """A set of names.  Build it with `compile_scan`."""

    _names: re.Pattern[str]

    def may_find(self, text: str) -> bool:
        """Whether one of the names may be that of a member; False is certain."""
        return self._names.search(text) is not None

    def blot(self, text: str, make: Make) -> str:
        """`text` with the values of all such members replaced.

        Args:
            text: anything.
            make: from a value (what it says if it can be read, else how it is written)
                to what stands there instead, without quotes.
        """
        pieces: list[str] = []
        at = 0
        while match := self._names.search(text, at):
            start = match.end()
            end, quote = _value(text, start)
            pieces.append(text[at:start])
            if end > start:
                value = text[start:end]
                closing = quote if value.endswith(quote, len(quote)) else ""
                made = make(_read(value))
                pieces.append(f"{quote}{made}{closing}" if quote else f'"{made}"')
            at = end
        pieces.append(text[at:])
        return "".join(pieces)


def compile_scan(names: Sequence[str]) -> MemberScan | None:
    """Compile a search for members with these names; None without names."""
    if not names:
        return None
    spelled = "|".join("".join(map(_spellings, name)) for name in dict.fromkeys(names))
    return MemberScan(re.compile(rf'"(?:{spelled})\\*"\s*:\s*'))


def _spellings(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    hexes = (units[at : at + 2].hex() for at in range(0, len(units), 2))
    forms = ["".join(rf"\\+u(?i:{digits})" for digits in hexes)]
    if character not in '"\\':
        forms.insert(0, re.escape(character))
    if character in _SHORT_ESCAPES:
        forms.append(rf"\\+{_SHORT_ESCAPES[character]}")
    return f"(?:{'|'.join(forms)})"


def _value(text: str, start: int) -> tuple[int, str]:
    """Where the value that begins at `start` ends, and the quote if it is a string."""
    if opening := _OPENING_QUOTE.match(text, start):
        return _string_end(text, opening.end(), len(opening[1])), opening[0]
    if text.startswith(("{", "["), start):
        return _container_end(text, start), ""
    literal = _LITERAL.match(text, start)
    return (literal.end() if literal else start), ""


def _string_end(text: str, at: int, level: int) -> int:
    r"""Behind the closing quote; `level` backslashes stand before it, as before the opening one.

    Inside of such a string a backslash is written with ``2 * (level + 1)`` of them and
    a quote has ``2 * level + 1`` more than that before it.
    """
    start = at
    while (quote := text.find('"', at)) >= 0:
        run = quote - len(text[start:quote].rstrip("\\")) - start
        if run < level:
            return quote - run  # of the string around this one
        if run % (2 * (level + 1)) == level:
            return quote + 1
        at = start = quote + 1
    return len(text)


def _container_end(text: str, at: int) -> int:
    depth = 0
    for token in _BRACKET_OR_STRING.finditer(text, at):
        if token[0] in ("{", "["):
            depth += 1
        elif token[0] in ("}", "]"):
            depth -= 1
            if depth == 0:
                return token.end()
    return len(text)


def _read(written: str) -> object:
    try:
        value: object = json.loads(written)
    except (ValueError, RecursionError):
        return written
    return value
