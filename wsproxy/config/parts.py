"""What a configuration was built from, for the next one to go on with.

A reload builds everything anew.  But what remembers (answers about passwords, minted
certificates, connections to a directory) and what is large (lists of names) goes on
where neither its settings nor its files have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from pydantic import BaseModel

__all__ = ["Parts", "files_in", "signature"]

T = TypeVar("T")

Signature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class _Part:
    kind: str
    settings: object
    files: Signature
    made: object


class Parts:
    """The parts of one configuration.

    Args:
        earlier: those of the one before.
    """

    def __init__(self, earlier: Parts | None = None) -> None:
        self._earlier = [] if earlier is None else earlier._parts
        self._parts: list[_Part] = []

    def take(
        self, kind: str, settings: object, make: Callable[[], T], *, files: Iterable[Path] = ()
    ) -> T:
        """The earlier part of this kind, with these settings and these files; else a new one.

        Args:
            kind: what it is.
            settings: all that goes into it, comparable.
            make: makes it.
            files: whose content goes into it, too.
        """
        # Before they are read: a change in between is then seen next time.
        seen = signature(files)
        for part in self._earlier:
            if (part.kind, part.files) == (kind, seen) and part.settings == settings:
                break
        else:
            part = _Part(kind, settings, seen, make())
        self._parts.append(part)
        return cast(T, part.made)

    def seal(self) -> None:
        """No more is taken: forgets the earlier parts."""
        self._earlier = []


def files_in(settings: object) -> list[Path]:
    """Every path in a section and what it holds."""
    if isinstance(settings, Path):
        return [settings]
    values: Iterable[object] = ()
    if isinstance(settings, BaseModel):
        values = (value for _name, value in settings)
    elif isinstance(settings, tuple | list):
        values = settings
    return [path for value in values for path in files_in(value)]


def signature(files: Iterable[Path]) -> Signature:
    """What changes when one of `files` is written or replaced; a missing one has one, too."""
    found = []
    for file in files:
        try:
            status = file.stat()
        except OSError as error:
            found.append((str(file), -1, -1, error.errno or 0))
        else:
            found.append((str(file), status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)
