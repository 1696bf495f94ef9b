"""How much one client, one user and one rule may have at a time, and how fast one client may ask."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Mapping

from wsproxy.errors import LimitReached
from wsproxy.model import Address
from wsproxy.observe.exchange import Exchange
from wsproxy.policy.rates import Bucket, Rate

__all__ = ["Quotas"]

_MOST_CLIENTS = 100_000
"""Buckets that are remembered; the ones used longest ago are full again anyway."""


class Quotas:
    """Counts requests and tunnels that are under way, against limits.

    Args:
        per_user: most at one time for one user; None: no such limit.
        per_rule: the same for what one rule allows, by its name.
        requests: how many requests one address may make in how many seconds; None: any.
            Short bursts of so many are within it: each address has a bucket that fills
            evenly.
    """

    def __init__(
        self,
        *,
        per_user: int | None = None,
        per_rule: Mapping[str, int] | None = None,
        requests: Rate | None = None,
    ) -> None:
        self._per_user = per_user
        self._per_rule = dict(per_rule or {})
        self._requests = requests
        self._users: Counter[str] = Counter()
        self._rules: Counter[str] = Counter()
        self._buckets: OrderedDict[Address, Bucket] = OrderedDict()

    def adopt(self, other: Quotas) -> None:
        """Goes on with the limits of `other`; what was counted so far stays."""
        self._per_user, self._per_rule = other._per_user, other._per_rule
        if self._requests != other._requests:
            self._requests, self._buckets = other._requests, OrderedDict()

    def take(self, client: Address, now: float) -> None:
        """Notes a request.

        Raises:
            LimitReached: too many in too little time; it is not noted.
        """
        if self._requests is None:
            return
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = Bucket(self._requests)
            if len(self._buckets) > _MOST_CLIENTS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(client)
        wait_s = bucket.take(now)
        if wait_s:
            count, seconds = self._requests
            detail = f"this client may make {count:g} requests in {seconds:g} s"
            raise LimitReached(detail, status=429, retry_after_s=math.ceil(wait_s))

    def enter(self, exchange: Exchange) -> None:
        """Takes a place for an admitted request, once; it is given back when that is recorded.

        Raises:
            LimitReached: there is none left for its user, or its rule.
        """
        if exchange.counted_user is not None or exchange.counted_rule is not None:
            return  # admitted again, to be sent again
        user, rule = exchange.user, exchange.rule
        by_user = self._per_user if user is not None else None
        if by_user is not None and self._users[user or ""] >= by_user:
            raise LimitReached(f"this user has {by_user} connections already", status=429)
        most = self._per_rule.get(rule or "")
        if most is not None and self._rules[rule or ""] >= most:
            detail = f"rule '{rule}' allows {most} connections at a time"
            raise LimitReached(detail, status=429)
        if by_user is not None:
            self._users[user or ""] += 1
            exchange.counted_user = user
        if most is not None:
            self._rules[rule or ""] += 1
            exchange.counted_rule = rule

    def leave(self, exchange: Exchange) -> None:
        """Gives back what `enter` took for it, if it did."""
        for counter, name in (
            (self._users, exchange.counted_user),
            (self._rules, exchange.counted_rule),
        ):
            if name is not None:
                counter[name] -= 1
                if not counter[name]:
                    del counter[name]
                exchange.counted_user = exchange.counted_rule = None
