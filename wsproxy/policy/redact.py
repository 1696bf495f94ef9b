"""Blots secrets out of what is written down.

Theory of operation.  A secret becomes ``<redacted:xxxxxxxx>``, the start of its HMAC
under a key of this process: equal secrets stay recognisable as equal, and nobody can
try out guesses without the key.

When in doubt more is blotted out, never less.  A text that has one of the named
members and is not JSON as a whole, perhaps because it was cut, is searched for the
members' last names instead (`wsproxy.policy.json_scan`); if a path has no name in it,
all from the first bracket on goes.  Where patterns overlap, the whole of it goes.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from wsproxy.policy.json_paths import JsonPath, compile_path
from wsproxy.policy.json_scan import MemberScan, compile_scan
from wsproxy.policy.json_text import TooDeep, dump_json, parse_framed
from wsproxy.policy.patterns import (
    Pattern,
    any_of,
    compile_pattern,
    merge,
    replace_spans,
    unescaped,
)

__all__ = ["Redactor", "compile_redactor"]

_MARKER_DIGITS = 8
_BRACKET = re.compile(r"[{\[]")
_PARAMETER = re.compile(r"[^&;]+")
_USERINFO = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*:)?//([^/?#]*)@")


@dataclass(frozen=True, slots=True)
class Redactor:
    """What is blotted out.  Build it with `compile_redactor`.

    Attributes:
        touches_text: whether `text` and `binary` can change anything.
    """

    touches_text: bool
    _key: bytes = field(repr=False)
    _fields: frozenset[str]
    _query: frozenset[str] | None
    _paths: tuple[JsonPath, ...]
    _scan: MemberScan | None
    _patterns: tuple[Pattern, ...]
    _any_pattern: Pattern | None

    def headers(self, fields: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """`fields` with the values of the secret ones replaced; names keep their case."""
        return [
            (name, self._marker(value) if name.lower() in self._fields else value)
            for name, value in fields
        ]

    def url(self, url: str) -> str:
        """`url`, whole or path and query only, with the secret values of its query replaced.

        A parameter that is only a value counts as secret when all values do.  So does a
        user name and password (RFC 9110 §4.2.4), always, and a fragment.
        """
        url = _USERINFO.sub(lambda m: f"{m[1] or ''}//{self._marker(m[2])}@", url)
        front, hash_sign, fragment = url.partition("#")
        path, question_mark, query = front.partition("?")
        if hash_sign:
            fragment = self._marker(fragment)
        return path + question_mark + _PARAMETER.sub(self._parameter, query) + hash_sign + fragment

    def text(self, text: str) -> str:
        """`text` with the values at the JSON paths and then what patterns match replaced.

        JSON in which one of the named members occurs comes out compact, with the last
        value of a repeated key.
        """
        if self._paths:
            text = self._without_members(text)
        if self._any_pattern is not None:
            text = self._without_matches(text)
        return text

    def binary(self, data: bytes) -> bytes | None:
        """`data` with what patterns match replaced; None if they match nothing."""
        if self._any_pattern is None or not self._any_pattern.in_binary(data):
            return None
        spans = merge(span for pattern in self._patterns for span in pattern.binary_spans(data))
        return replace_spans(data, spans, self._octets_marker) if spans else None

    def _marker(self, secret: str) -> str:
        return self._octets_marker(secret.encode("utf-8", "surrogatepass")).decode()

    def _octets_marker(self, secret: bytes) -> bytes:
        digits = hmac.digest(self._key, secret, "sha256").hex()[:_MARKER_DIGITS]
        return b"<redacted:%s>" % digits.encode()

    def _value_marker(self, value: object) -> str:
        try:
            return self._marker(value if isinstance(value, str) else dump_json(value))
        except TooDeep:
            return self._marker("")

    def _parameter(self, match: re.Match[str]) -> str:
        name, equals, value = match[0].partition("=")
        if self._query is None:
            if not equals:
                return self._marker(unquote_plus(name))
        elif unquote_plus(name) not in self._query:
            return match[0]
        return f"{name}={self._marker(unquote_plus(value))}" if value else match[0]

    def _without_members(self, text: str) -> str:
        nameless = any(path.last_name is None for path in self._paths)
        if nameless and any(path.source == "$" for path in self._paths):
            return self._marker(text)
        found = self._scan is not None and self._scan.may_find(text)
        first = _BRACKET.search(text) if nameless else None
        if not found and first is None:
            return text
        try:
            return "".join(
                self._scanned(head) + self._without_values(value) + tail
                for head, value, tail in parse_framed(text, last=True)
            )
        except ValueError:
            if first is None:
                return self._scanned(text)
        return self._scanned(text[: first.start()]) + self._marker(text[first.start() :])

    def _without_values(self, value: object) -> str:
        for path in self._paths:
            value, _ = path.replace(value, self._value_marker)
        return dump_json(value)

    def _scanned(self, text: str) -> str:
        return self._scan.blot(text, self._value_marker) if self._scan is not None else text

    def _without_matches(self, text: str) -> str:
        text = self._blotted(text)
        # What is escaped is looked at too, but the text stays as it is if that is in order.
        if "\\u" in text and (read := unescaped(text)) != (blotted := self._blotted(read)):
            return blotted
        return text

    def _blotted(self, text: str) -> str:
        data = text.encode("utf-8", "replace")
        if self._any_pattern is None or not self._any_pattern.in_text(data):
            return text
        spans = merge(span for pattern in self._patterns for span in pattern.text_spans(data))
        return replace_spans(data, spans, self._octets_marker).decode() if spans else text


def compile_redactor(
    headers: Sequence[str],
    json: Sequence[str],
    *,
    patterns: Sequence[str],
    query: Sequence[str] | None,
    key: bytes,
) -> Redactor:
    """Compile what is to be blotted out.

    Args:
        headers: field names, in any case.
        json: paths into messages of JSON, see `wsproxy.policy.json_paths`.
        patterns: RE2, for messages; none that matches the empty text.
        query: names of query parameters; None for all.
        key: for the markers; random, and the same as long as they are to be compared.

    Raises:
        ValueError: a path or pattern cannot be used; a sentence that names it.
    """
    paths = tuple(compile_path(path) for path in json)
    compiled = tuple(compile_pattern(pattern, empty=False) for pattern in patterns)
    return Redactor(
        touches_text=bool(paths or compiled),
        _key=key,
        _fields=frozenset(name.lower() for name in headers),
        _query=None if query is None else frozenset(query),
        _paths=paths,
        _scan=compile_scan([path.last_name for path in paths if path.last_name is not None]),
        _patterns=compiled,
        _any_pattern=any_of(compiled) if compiled else None,
    )
