r"""RE2 patterns over texts and over binary data.

Theory of operation.  Patterns are an operator's and the data is a stranger's, so the
engine must be linear: RE2.  It works on bytes.  For a text these are read as UTF-8 and
``.`` is a character; for binary data they are read as latin-1 and ``.`` is an octet.
Its Python wrapper would convert offsets for `str`; giving it bytes avoids that.

``\C``, an octet in the middle of a character, is refused: what is replaced has to
leave valid UTF-8 behind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import re2

__all__ = ["Pattern", "any_of", "compile_pattern", "merge", "replace_spans", "unescaped"]

Span = tuple[int, int]

_OCTET = re.compile(r"(?<!\\)(?:\\\\)*\\C")
_ESCAPED = re.compile(r"\\u([0-9A-Fa-f]{4})")


class _Found(Protocol):
    def span(self) -> Span: ...


class _Compiled(Protocol):
    def search(self, text: bytes, /) -> _Found | None: ...

    def finditer(self, text: bytes, /) -> Iterable[_Found]: ...


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern.  Build it with `compile_pattern`.

    Attributes:
        source: as it was written.
    """

    source: str
    _text: _Compiled
    _binary: tuple[_Compiled, ...]

    def in_text(self, data: bytes) -> bool:
        """Whether it occurs in `data`, a text in UTF-8."""
        return self._text.search(data) is not None

    def in_binary(self, data: bytes) -> bool:
        """Whether it occurs in `data`, read octet by octet."""
        return any(compiled.search(data) is not None for compiled in self._binary)

    def text_spans(self, data: bytes) -> list[Span]:
        """Where it occurs in `data`, a text in UTF-8; offsets in octets, none of them empty."""
        return _spans(self._text, data)

    def binary_spans(self, data: bytes) -> list[Span]:
        """Where it occurs in `data`, read octet by octet; none of them empty."""
        return [span for compiled in self._binary for span in _spans(compiled, data)]


def compile_pattern(source: str, *, empty: bool = True) -> Pattern:
    r"""Compile one RE2 pattern.

    Args:
        source: the pattern; flags go inside, as in ``(?i)secret``.
        empty: whether it may match the empty text.

    Raises:
        ValueError: not RE2, has ``\C``, or matches the empty text against `empty`; a
            helpful sentence.
    """
    if _OCTET.search(source):
        raise ValueError(rf"{source!r}: '\C' cuts characters in two; write '(?s:.)'")
    try:
        text = _compile(source.encode(), latin=False)
    except UnicodeEncodeError:
        raise ValueError(f"{source!r} is not a pattern: it has half a character in it") from None
    except re2.error as error:
        raise ValueError(f"{source!r} is not an RE2 pattern: {_sentence(error)}") from None
    if not empty and text.search(b""):
        raise ValueError(f"{source!r} matches the empty text, so it would match everywhere")
    return Pattern(source, text, _compile_binary(source, text))


def any_of(patterns: Sequence[Pattern]) -> Pattern:
    """One pattern that occurs where any of `patterns` does; for looking whether, not where.

    Raises:
        ValueError: no patterns at all, or together they are too large for RE2.
    """
    if len(patterns) == 1:
        return patterns[0]
    if not patterns:
        raise ValueError("there are no patterns")
    return compile_pattern("|".join(f"(?:{pattern.source})" for pattern in patterns))


def merge(spans: Iterable[Span]) -> list[Span]:
    """The same places in ascending order, overlapping ones joined."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def replace_spans(data: bytes, spans: Iterable[Span], make: Callable[[bytes], bytes]) -> bytes:
    """`data` with every place in `spans` (see `merge`) replaced by what `make` makes of it."""
    pieces: list[bytes] = []
    at = 0
    for start, end in spans:
        pieces += (data[at:start], make(data[start:end]))
        at = end
    pieces.append(data[at:])
    return b"".join(pieces)


def unescaped(text: str) -> str:
    r"""Another reading of `text`: what is written ``\u0041`` is written out."""
    read = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
    # Two halves of a character (RFC 8259 §7) find each other here; a lone one is lost.
    return read.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _compile(source: bytes, *, latin: bool) -> _Compiled:
    options = re2.Options()
    options.log_errors = False  # else RE2 writes to stderr
    if latin:
        options.encoding = re2.Options.Encoding.LATIN1
    compiled: _Compiled = re2.compile(source, options)
    return compiled


def _compile_binary(source: str, text: _Compiled) -> tuple[_Compiled, ...]:
    """Readings for binary data: octets, and UTF-8 too where the two may differ."""
    try:
        octets = _compile(source.encode("latin-1"), latin=True)
    except (UnicodeEncodeError, re2.error):
        return (text,)  # it names characters that latin-1 does not have
    return (octets,) if source.isascii() else (octets, text)


def _spans(compiled: _Compiled, data: bytes) -> list[Span]:
    found = (match.span() for match in compiled.finditer(data))
    return [(start, end) for start, end in found if end > start]


def _sentence(error: Exception) -> str:
    what = error.args[0] if error.args else ""
    return what.decode("utf-8", "replace") if isinstance(what, bytes) else str(what)
