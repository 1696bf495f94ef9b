r"""Filters over capture records: ``direction:client (size>64KiB or text~"pass\w+")``.

Grammar, case not mattering in the three words::

    any   = all *( "or" all )
    all   = one *( ["and"] one )
    one   = "not" one / "(" any ")" / term
    term  = field ( ":" / "=" / "<" / "<=" / ">" / ">=" / "~" ) value
          / "json:" path [ "=" value ]
          / value                                ; occurs in the text

A value is a word, or anything in quotes with ``\"`` and ``\\`` for these two (in a
pattern other backslashes stay).  A term about a field that a record does not have does
not match it; so its ``not`` does.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from wsproxy.policy.filter_terms import (
    Record,
    RecordFilter,
    compile_json_term,
    compile_term,
    contains,
)
from wsproxy.policy.json_paths import PATH_PATTERN

__all__ = ["Record", "RecordFilter", "compile_filter"]

_MAX_LENGTH = 4096
_MAX_DEPTH = 32

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_WORD = r'[^\s()"]+'
_TOKEN = re.compile(
    rf"""
    \s*(?:
        (?P<paren>[()])
      | json:(?P<path>{PATH_PATTERN})(?:=(?P<json>{_QUOTED}|{_WORD}))?(?=[\s()]|\Z)
      | (?P<field>[A-Za-z_]+)(?P<op>:|~|=|<=?|>=?)(?P<value>{_QUOTED}|{_WORD})?
      | (?P<quoted>{_QUOTED})
      | (?P<word>{_WORD})
    )
    """,
    re.VERBOSE | re.DOTALL,
)
_CLOSED = re.compile(_QUOTED, re.DOTALL)
_ESCAPE = re.compile(r'\\(["\\])')


class _Token(NamedTuple):
    """A parenthesis or an operator in lower case, or a term with its filter."""

    at: int
    word: str
    term: RecordFilter | None


def compile_filter(text: str) -> RecordFilter:
    """Compile a filter.

    Args:
        text: see the module; empty for everything.

    Returns:
        A function that says whether a record, a line of a capture file, matches.

    Raises:
        ValueError: `text` cannot be read, is longer than 4096 characters or nested more
            than 32 deep; a sentence with the position, from 1, and a hint.
    """
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"the filter is longer than {_MAX_LENGTH} characters")
    tokens = _tokens(text)
    if not tokens:
        return lambda record: True
    parser = _Parser(tokens, len(text))
    found = parser.parse_any(0)
    if (token := parser.peek()) is not None:
        raise _fault(token.at, "this ')' closes nothing")
    return found


class _Parser:
    """Reads tokens once, from left to right."""

    def __init__(self, tokens: list[_Token], length: int) -> None:
        self._tokens = tokens
        self._length = length
        self._next = 0

    def peek(self) -> _Token | None:
        """The next token, None at the end."""
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def parse_any(self, depth: int) -> RecordFilter:
        """Alternatives."""
        found = [self._parse_all(depth)]
        while self._take("or"):
            found.append(self._parse_all(depth))
        if len(found) == 1:
            return found[0]
        return lambda record: any(one(record) for one in found)

    def _parse_all(self, depth: int) -> RecordFilter:
        found = [self._parse_one(depth)]
        while (token := self.peek()) is not None and token.word not in ("or", ")"):
            self._take("and")
            found.append(self._parse_one(depth))
        if len(found) == 1:
            return found[0]
        return lambda record: all(one(record) for one in found)

    def _parse_one(self, depth: int) -> RecordFilter:
        negative = False
        while self._take("not"):
            negative = not negative
        found = self._parse_plain(depth)
        return (lambda record: not found(record)) if negative else found

    def _parse_plain(self, depth: int) -> RecordFilter:
        token = self.peek()
        if token is None:
            raise _fault(self._length, "something is missing at the end, such as opcode:text")
        self._next += 1
        if token.term is not None:
            return token.term
        if token.word != "(":
            raise _fault(token.at, f"a term is missing before {token.word!r}; text goes in quotes")
        if depth >= _MAX_DEPTH:
            raise _fault(token.at, f"nested more than {_MAX_DEPTH} deep")
        found = self.parse_any(depth + 1)
        if not self._take(")"):
            raise _fault(token.at, "this '(' is not closed; add ')'")
        return found

    def _take(self, word: str) -> bool:
        token = self.peek()
        if token is None or token.word != word:
            return False
        self._next += 1
        return True


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise _fault(text.index('"', at), "this quote is not closed; add '\"'")
        start = match.start() + len(match[0]) - len(match[0].lstrip())
        if not match["paren"] and text.startswith('"', match.end(), end):
            if not _CLOSED.match(text, match.end()):
                raise _unclosed(match.end())
            raise _fault(match.end(), "a quote in the middle of a word; add a space or quote all")
        try:
            tokens.append(_token(match, start))
        except ValueError as error:
            raise _fault(start, str(error)) from None
        at = match.end()
    return tokens


def _token(match: re.Match[str], at: int) -> _Token:
    word = match["paren"] or match["word"] or ""
    if match["paren"] or word.lower() in ("and", "or", "not"):
        return _Token(at, word.lower(), None)
    if match["path"] is not None:
        value = match["json"]
        return _Token(at, "", compile_json_term(match["path"], value and _plain(value)))
    if match["field"] is not None:
        value = match["value"] or ""
        is_pattern = match["op"] == "~"
        return _Token(
            at, "", compile_term(match["field"], match["op"], _plain(value, pattern=is_pattern))
        )
    return _Token(at, "", contains(_plain(match["quoted"] or word)))


def _plain(value: str, *, pattern: bool = False) -> str:
    if not value.startswith('"'):
        return value
    if pattern:
        return value[1:-1].replace('\\"', '"')
    return _ESCAPE.sub(r"\1", value[1:-1])


def _unclosed(at: int) -> ValueError:
    return _fault(at, "this quote is not closed; add '\"'")


def _fault(at: int, what: str) -> ValueError:
    return ValueError(f"at {at + 1}: {what}")
