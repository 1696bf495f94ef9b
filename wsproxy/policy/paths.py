r"""Path patterns that another spelling of the same path does not get around.

Theory of operation.  What a path means is up to the origin: one server decodes
``%2f``, another does not; one merges ``//``, one drops ``;jsessionid=1``, one
decodes twice.  The proxy cannot know which it is talking to, so a path is taken
as the set of its *readings*.  A denying rule matches when any reading does, an
allowing rule only when every reading does: neither is bypassed nor widened by
spelling.  Nearly all paths have one reading.

A path no honest client sends is *unreadable*: dot segments in any disguise
(clients resolve them, RFC 3986 §5.2.4), backslashes, control bytes, bytes that
are not UTF-8, broken percent-encoding, triple encoding, or two kinds of oddity at
once.  Every denying path rule matches it and no allowing one does.

Left to the rule's author: origins that ignore case need a pattern per spelling.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

__all__ = ["PathPatterns", "compile_paths", "readings"]

_ODD = re.compile(rb"[%;\\]|//|/\.|[^!-~]")
_BROKEN_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_PERCENT = re.compile(rb"%[0-9A-Fa-f]{2}")
_ENCODED_SLASH = re.compile(rb"%2f", re.IGNORECASE)
_SLASHES = re.compile(rb"//+")
_PARAMETERS = re.compile(rb";[^/]*")
_UNREADABLE_BYTE = re.compile(rb"[\x00-\x1f\x7f\\]")


@dataclass(frozen=True, slots=True)
class PathPatterns:
    """A set of path patterns.  Build it with `compile_paths`.

    Attributes:
        globs: each pattern cut at its ``*``.
    """

    globs: tuple[tuple[bytes, ...], ...]

    def match_any(self, path: str) -> bool:
        """Whether some reading of `path` matches a pattern, or it is unreadable: for denying."""
        read = readings(path)
        return not read or any(self._match(reading) for reading in read)

    def match_every(self, path: str) -> bool:
        """Whether each reading of `path` matches a pattern: for allowing."""
        read = readings(path)
        return bool(read) and all(self._match(reading) for reading in read)

    def _match(self, reading: bytes) -> bool:
        return any(_match_glob(glob, reading) for glob in self.globs)


def compile_paths(patterns: Sequence[object]) -> PathPatterns:
    """Compile path patterns.

    Args:
        patterns: paths in decoded form, without query, in which ``*`` stands for
            any run of characters, ``/`` included.

    Raises:
        ValueError: a pattern no path in normal form can match; a helpful sentence.
    """
    return PathPatterns(tuple(_compile_glob(pattern) for pattern in patterns))


# One ask meets many rules, one after the other; so the last path is enough.
@lru_cache(maxsize=1)
def readings(path: str) -> tuple[bytes, ...]:
    """Every way an origin may read `path`; empty when it is unreadable.

    Args:
        path: path and query as on the wire, latin-1; the query is cut off.

    Returns:
        Distinct decoded paths, UTF-8, the plainest first.
    """
    raw = path.partition("?")[0].encode("latin-1")
    if not _ODD.search(raw):
        return (raw,)
    if _BROKEN_PERCENT.search(raw):
        return ()
    kept = unquote_to_bytes(_ENCODED_SLASH.sub(b"%252f", raw))
    once = unquote_to_bytes(raw)
    twice = unquote_to_bytes(once)
    bare = _PARAMETERS.sub(b"", twice)
    if _is_unreadable(twice, bare):
        return ()
    found: list[tuple[bytes, ...]] = []
    if b"//" in bare or twice.count(b"/") != raw.count(b"/"):
        found.append((_merged(kept), once, _merged(once)))
    if b";" in twice:
        found.append((_PARAMETERS.sub(b"", once),))
    if twice != once:
        found.append((twice,))
    if len(found) > 1:
        return ()
    return tuple(dict.fromkeys((kept, *(found[0] if found else ()))))


def _is_unreadable(twice: bytes, bare: bytes) -> bool:
    """Whether the fully decoded path, or it without parameters, is none an honest client sends."""
    if _UNREADABLE_BYTE.search(twice) or _PERCENT.search(twice):
        return True
    try:
        twice.decode("utf-8")
    except UnicodeDecodeError:
        return True
    segments = bare.split(b"/")
    return b"." in segments or b".." in segments


def _merged(path: bytes) -> bytes:
    return _SLASHES.sub(b"/", path)


def _compile_glob(pattern: object) -> tuple[bytes, ...]:
    if not isinstance(pattern, str):
        raise ValueError(f"{pattern!r} is not a path pattern; write it in quotes")
    if not pattern.startswith(("/", "*")):
        raise ValueError(f"{pattern!r} is not a path pattern: it starts with '/' or '*'")
    if "?" in pattern:
        raise ValueError(f"{pattern!r}: rules see the path only; leave out '?' and what follows")
    if ";" in pattern:
        raise ValueError(f"{pattern!r}: path parameters cannot be matched; leave out ';…'")
    raw = pattern.encode()
    if _PERCENT.search(raw):
        decoded = unquote_to_bytes(raw).decode("utf-8", "replace")
        raise ValueError(f"{pattern!r} is not in normal form; write it decoded: {decoded!r}")
    if _UNREADABLE_BYTE.search(raw) or b"//" in raw or {b".", b".."} & set(raw.split(b"/")):
        raise ValueError(f"{pattern!r}: '//', '\\', '.' and '..' segments never match a path")
    return tuple(raw.split(b"*"))


def _match_glob(glob: tuple[bytes, ...], path: bytes) -> bool:
    """Match without backtracking: each middle part is taken where it first occurs."""
    first, *rest = glob
    if not rest:
        return path == first
    *middle, last = rest
    if not path.startswith(first) or len(path) < len(first) + len(last):
        return False
    at, end = len(first), len(path) - len(last)
    for part in middle:
        at = path.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return path.endswith(last)
