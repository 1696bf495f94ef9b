"""A bounded memory with a lifetime: the least recently used entry leaves first."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

__all__ = ["ExpiringCache"]

V = TypeVar("V")


class ExpiringCache(Generic[V]):
    """Remembers values under digests, each for a fixed time from when it was put in.

    Reading an entry keeps it from being evicted but does not lengthen its life.

    Args:
        max_entries: entries held at most; from 1.
        lifetime_s: seconds an entry is good for.
    """

    def __init__(self, *, max_entries: int, lifetime_s: float) -> None:
        self._max_entries = max_entries
        self._lifetime_s = lifetime_s
        self._entries: OrderedDict[bytes, tuple[V, float]] = OrderedDict()

    def __len__(self) -> int:
        """Entries held, the expired ones that nobody asked for included."""
        return len(self._entries)

    def get(self, key: bytes, *, now: float) -> V | None:
        """The value put under `key`, or None when there is none or it has expired."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, expires = entry
        if now >= expires:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return value

    def put(self, key: bytes, value: V, *, now: float) -> None:
        """Remembers `value` under `key`; may evict the least recently used entry."""
        self._entries[key] = (value, now + self._lifetime_s)
        self._entries.move_to_end(key)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
