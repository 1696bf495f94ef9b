"""Token buckets and windows: how many in how much time, for connections, users, rules and directions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar
from weakref import WeakValueDictionary

__all__ = ["Bucket", "Kept", "Rate", "RateState", "Window"]

Rate = tuple[float, float]
"""So many, at least one, in so many seconds."""

_MOST_KEPT = 100_000
"""What is remembered; those used longest ago are as good as new anyway."""


class Bucket:
    """Tokens that fill up again with time.

    Args:
        rate: how many tokens it holds, and the seconds in which it fills up.
    """

    __slots__ = ("__weakref__", "_capacity", "_per_second", "_stamp", "_tokens")

    def __init__(self, rate: Rate) -> None:
        count, seconds = rate
        self._capacity = count
        self._per_second = count / seconds
        self._tokens = count
        self._stamp: float | None = None

    def adopt(self, rate: Rate) -> None:
        """From here on it holds so many, and fills up so fast; what was taken stays taken."""
        count, seconds = rate
        self._capacity, self._per_second = count, count / seconds
        self._tokens = min(self._tokens, count)

    def take(self, now: float, size: float = 1.0, *, borrow: bool = False) -> float:
        """Take tokens.

        Args:
            now: seconds on any clock that does not go back.
            size: how many; more than it holds have to be borrowed.
            borrow: whether they are taken even if they are not there yet.  Who borrows
                waits in line: the next one waits for these as well.

        Returns:
            Seconds until the tokens are there; 0.0 when they were.
        """
        self._fill(now)
        if self._tokens >= size:
            self._tokens -= size
            return 0.0
        missing = size - self._tokens
        if borrow:
            self._tokens -= size
        return missing / self._per_second

    def give_back(self, size: float) -> None:
        """Take back tokens that were taken and not used."""
        self._tokens = min(self._tokens + size, self._capacity)

    def rests(self, now: float) -> bool:
        """Whether it is as good as new."""
        self._fill(now)
        return self._tokens >= self._capacity

    def _fill(self, now: float) -> None:
        if self._stamp is not None and now > self._stamp:
            self._tokens += (now - self._stamp) * self._per_second
            self._tokens = min(self._tokens, self._capacity)
        if self._stamp is None or now > self._stamp:
            self._stamp = now


class Window:
    """So many in a time that begins with the first of them; then all are there again.

    Args:
        rate: how many, and the seconds a window lasts.
    """

    __slots__ = ("__weakref__", "_count", "_ends_at", "_period_s", "_spent")

    def __init__(self, rate: Rate) -> None:
        self._count, self._period_s = rate
        self._spent = 0.0
        self._ends_at: float | None = None

    def adopt(self, rate: Rate) -> None:
        """From here on there are so many; a window that runs ends when it would have."""
        self._count, self._period_s = rate

    def left(self, now: float) -> float:
        """How many may come yet; none or less when all are spent."""
        return self._count if self.rests(now) else self._count - self._spent

    def spend(self, size: float, now: float) -> None:
        """Note so many, whether they are left or not."""
        if self.rests(now):
            self._ends_at, self._spent = now + self._period_s, 0.0
        self._spent += size

    def ends_in(self, now: float) -> float:
        """Seconds until all are there again."""
        return 0.0 if self._ends_at is None else max(0.0, self._ends_at - now)

    def rests(self, now: float) -> bool:
        """Whether it is as good as new."""
        return self._ends_at is None or self._ends_at <= now


class _Resting(Protocol):
    def rests(self, now: float) -> bool: ...


_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value", bound=_Resting)


class Kept(Generic[_Key, _Value]):
    """One thing for each key, for as long as somebody holds it or it is not as good as new.

    Of those that nobody holds, the `_MOST_KEPT` used last are remembered.
    """

    def __init__(self) -> None:
        self._last: OrderedDict[_Key, _Value] = OrderedDict()
        self._held: WeakValueDictionary[_Key, _Value] = WeakValueDictionary()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._held)

    def get(self, key: _Key, now: float, make: Callable[[], _Value]) -> _Value:
        """The one of `key`, made when there is none."""
        found = self._held.get(key)
        if found is None:
            self._forget_resting(now)
            found = self._held[key] = make()
        self._last[key] = found
        self._last.move_to_end(key)
        return found

    def all(self) -> list[_Value]:
        """Every one there is."""
        return list(self._held.values())

    def items(self) -> list[tuple[_Key, _Value]]:
        """The same with their keys."""
        return list(self._held.items())

    def _forget_resting(self, now: float) -> None:
        """Make room: two looks for each that comes, so that what rests never adds up."""
        for _ in range(2):
            if not self._last:
                return
            key, oldest = next(iter(self._last.items()))
            if not oldest.rests(now) and len(self._last) < _MOST_KEPT:
                return
            del self._last[key]


class RateState:
    """The buckets of one connection; they come into being when they are first needed."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, bool], Bucket] = {}

    def bucket(self, rule: str, rate: Rate, *, from_client: bool) -> Bucket:
        """The bucket of the rule named `rule` for one direction."""
        key = (rule, from_client)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(rate)
        return bucket
