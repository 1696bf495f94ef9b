"""How many octets one direction of one connection may move now.

Theory of operation.  A limit of bandwidth is a bucket of octets, and one connection may
draw on several: its own, its user's, its rule's.  It takes a portion from all of them
ahead of each read, on credit if need be, and reads when the last of them has it.  So
nothing is read that was not paid for, and a bucket that several share serves them in the
order in which they asked, a portion each: whoever has just been served stands behind all
others.  Nobody starves, and no list of those who wait is needed.

A portion is a tenth of a second's worth of the slowest bucket, within bounds.  What was
taken and not used, because there was nothing to read, goes back at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import trio

from wsproxy.errors import QuotaSpent

__all__ = ["Allowance", "Allowances", "Bucket", "Quota", "portion_bytes"]

_PORTION_S = 0.1
_PORTION_MIN_BYTES, _PORTION_MAX_BYTES = 1024, 256 * 1024


class Bucket(Protocol):
    """Octets that fill up again with time; see `wsproxy.policy.rates.Bucket`."""

    def take(self, now: float, size: float, *, borrow: bool) -> float:
        """Takes so many; returns the seconds until they are there."""

    def give_back(self, size: float) -> None:
        """Takes back what was not used."""


class Quota(Protocol):
    """Octets that are counted until there are none left; see `wsproxy.policy.rates.Window`."""

    def left(self, now: float) -> float:
        """How many may come yet."""

    def spend(self, size: float, now: float) -> None:
        """Notes so many."""

    def ends_in(self, now: float) -> float:
        """Seconds until there are some again."""


def portion_bytes(per_second: float) -> int:
    """How much is taken at once where so many octets a second may pass."""
    return int(min(max(per_second * _PORTION_S, _PORTION_MIN_BYTES), _PORTION_MAX_BYTES))


class Allowance:
    """What one direction may move.

    Args:
        buckets: all of them have to agree.
        portion: octets taken at once.
        quota: what is counted; None: nothing is.

    Attributes:
        resume_at: when what was taken is there, in monotonic seconds.
        spent: the quota is used up.
        farewell: finishes a tunnel in its own words when the quota is spent, if it knows any;
            takes the time, returns whether it did.
    """

    __slots__ = ("_buckets", "_in_hand", "_portion", "_quota", "farewell", "resume_at", "spent")

    def __init__(
        self,
        buckets: Sequence[Bucket],
        portion: int = _PORTION_MAX_BYTES,
        quota: Quota | None = None,
    ) -> None:
        self._buckets = tuple(buckets)
        self._portion = portion
        self._quota = quota
        self._in_hand = 0
        self.resume_at = -math.inf
        self.spent = False
        self.farewell: Callable[[float], bool] | None = None

    def claim(self, now: float) -> int:
        """How many octets may be moved now; 0: none before `resume_at`, or at all if `spent`."""
        if not self._in_hand:
            size = self._portion
            if self._quota is not None:
                left = self._quota.left(now)
                self.spent = left < 1
                if self.spent:
                    return 0
                size = int(min(size, left))
            wait_s = 0.0
            for bucket in self._buckets:
                wait_s = max(wait_s, bucket.take(now, size, borrow=True))
            self._in_hand = size
            self.resume_at = now + wait_s
        return self._in_hand if self.resume_at <= now else 0

    def spend(self, size: int, now: float) -> None:
        """Notes that so many of the octets that were claimed have been moved."""
        self._in_hand -= size
        if self._quota is not None:
            self._quota.spend(size, now)

    def give_back(self) -> None:
        """Gives back what was claimed and not spent."""
        if self._in_hand:
            for bucket in self._buckets:
                bucket.give_back(self._in_hand)
            self._in_hand = 0

    async def wait_claim(self, waits: Callable[[float], None] | None = None) -> int:
        """How many octets may be moved, once it is at least one.

        Args:
            waits: hears how many seconds that takes, ahead of them.

        Raises:
            QuotaSpent: none, for the rest of the quota's time.
        """
        while not (size := self.claim(now := trio.current_time())):
            if self.spent:
                assert self._quota is not None
                detail = "this user has moved all the bytes that are allowed for now"
                raise QuotaSpent(detail, retry_after_s=math.ceil(self._quota.ends_in(now)))
            if waits is not None:
                waits(self.resume_at - now)
            await trio.sleep_until(self.resume_at)
        return size


Allowances = tuple[Allowance, Allowance]
"""Of both directions, up and down."""
