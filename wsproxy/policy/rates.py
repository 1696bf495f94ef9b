"""Token buckets: how many in how much time, per connection, rule and direction."""

from __future__ import annotations

__all__ = ["Bucket", "Rate", "RateState"]

Rate = tuple[float, float]
"""So many, at least one, in so many seconds."""


class Bucket:
    """Tokens that fill up again with time.

    Args:
        rate: how many tokens it holds, and the seconds in which it fills up.
    """

    __slots__ = ("_capacity", "_per_second", "_stamp", "_tokens")

    def __init__(self, rate: Rate) -> None:
        count, seconds = rate
        self._capacity = count
        self._per_second = count / seconds
        self._tokens = count
        self._stamp: float | None = None

    def take(self, now: float, *, borrow: bool = False) -> float:
        """Take a token.

        Args:
            now: seconds on any clock that does not go back.
            borrow: whether it is taken even if it is not there yet.

        Returns:
            Seconds until the token is there; 0.0 when it was.
        """
        if self._stamp is not None and now > self._stamp:
            self._tokens += (now - self._stamp) * self._per_second
            self._tokens = min(self._tokens, self._capacity)
        if self._stamp is None or now > self._stamp:
            self._stamp = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        missing = 1.0 - self._tokens
        if borrow:
            self._tokens -= 1.0
        return missing / self._per_second


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
