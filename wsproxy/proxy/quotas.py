"""How much one client, one user and one rule may have at a time, and how fast one client may ask."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from wsproxy.errors import LimitReached
from wsproxy.model import Address
from wsproxy.observe.exchange import Exchange
from wsproxy.policy.rates import Bucket, Kept, Rate
from wsproxy.proxy.shares import Shares, ShareSettings

__all__ = ["Allotment", "Quotas"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Allotment:
    """What clients, users and rules may have.

    Attributes:
        per_user: most at one time for one user; None: no such limit.
        per_rule: the same for what one rule allows, by its name.
        requests: how many requests one address may make in how many seconds; None: any.
            Short bursts of so many are within it: each address has a bucket that fills
            evenly.
        shares: of octets and messages.
    """

    per_user: int | None = None
    per_rule: Mapping[str, int] = field(default_factory=dict)
    requests: Rate | None = None
    shares: ShareSettings = field(default_factory=ShareSettings)


class Quotas:
    """Counts requests and tunnels that are under way, against limits.

    It lives as long as the process: a tunnel gives its place back where it took it.

    Args:
        allotment: the limits; `adopt` changes them.

    Attributes:
        shares: what goes through those requests and tunnels.
    """

    def __init__(self, allotment: Allotment | None = None) -> None:
        self._allotment = allotment or Allotment()
        self.shares = Shares(self._allotment.shares)
        self._users: Counter[str] = Counter()
        self._rules: Counter[str] = Counter()
        self._requests: Kept[Address, Bucket] = Kept()

    @property
    def allotment(self) -> Allotment:
        """The limits of now."""
        return self._allotment

    def adopt(self, allotment: Allotment) -> None:
        """Goes on with other limits; who is over a new one keeps what it has."""
        self._allotment = allotment
        if allotment.requests is not None:
            for bucket in self._requests.all():
                bucket.adopt(allotment.requests)
        self.shares.adopt(allotment.shares)

    def take(self, client: Address, now: float) -> None:
        """Notes a request.

        Raises:
            LimitReached: too many in too little time; it is not noted.
        """
        rate = self._allotment.requests
        if rate is None:
            return
        bucket = self._requests.get(client, now, lambda: Bucket(rate))
        wait_s = bucket.take(now)
        if wait_s:
            count, seconds = rate
            detail = f"this client may make {count:g} requests in {seconds:g} s"
            raise LimitReached(detail, status=429, retry_after_s=math.ceil(wait_s))

    def enter(self, exchange: Exchange, now: float) -> None:
        """Takes a place for an admitted request, once; it is given back when that is recorded.

        Raises:
            LimitReached: there is none left for its user, or its rule.
            QuotaSpent: its user may not move an octet more for now.
        """
        if not self.shares.lifted:
            self.shares.check(exchange, now)
        if exchange.counted_user is not None or exchange.counted_rule is not None:
            return  # admitted again, to be sent again
        user, rule = exchange.user, exchange.rule
        by_user = self._allotment.per_user if user is not None else None
        if by_user is not None and self._users[user or ""] >= by_user:
            raise LimitReached(f"this user has {by_user} connections already", status=429)
        most = self._allotment.per_rule.get(rule or "")
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
