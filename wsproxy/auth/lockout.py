"""Addresses that guess, and for how long they are not listened to.

An address that failed too often is refused, whatever it offers: even a right guess is
not served.  Who is known from there is: a colleague behind the same address goes on
working while somebody's script tries an old password.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from wsproxy.errors import LimitReached
from wsproxy.model import Address

__all__ = ["Lockout"]

_MOST = 100_000


class Lockout:
    """Counts failures by address.

    Args:
        failures: so many within `within_s` lock an address out.
        within_s: seconds.
        for_s: seconds it is locked out for.
    """

    def __init__(self, failures: int, within_s: float, for_s: float) -> None:
        self._failures, self._within_s, self._for_s = failures, within_s, for_s
        self._failed: OrderedDict[Address, deque[float]] = OrderedDict()
        self._until: OrderedDict[Address, float] = OrderedDict()
        self._known: OrderedDict[tuple[Address, str], None] = OrderedDict()

    def holds(self, client: Address, now: float) -> bool:
        """Whether `client` is locked out, at `now` on the monotonic clock."""
        until = self._until.get(client)
        if until is None:
            return False
        if now >= until:
            del self._until[client]
            return False
        return True

    def refusal(self, client: Address, now: float) -> LimitReached:
        """What a client that is locked out is told."""
        wait_s = max(1, round(self._until.get(client, now) - now))
        detail = "too many wrong credentials from this address"
        return LimitReached(detail, status=429, retry_after_s=wait_s)

    def failed(self, client: Address, now: float) -> None:
        """Notes wrong credentials."""
        times = self._failed.pop(client, None) or deque(maxlen=self._failures)
        times.append(now)
        self._failed[client] = times
        if len(times) == self._failures and now - times[0] <= self._within_s:
            self._until[client] = now + self._for_s
            del self._failed[client]
        for memory in (self._failed, self._until):
            if len(memory) > _MOST:
                memory.popitem(last=False)

    def check(self, client: Address, user: str, now: float) -> None:
        """Notes right credentials.

        Raises:
            LimitReached: the client is locked out, and this user was not known from there.
        """
        key = client, user
        if self.holds(client, now) and key not in self._known:
            raise self.refusal(client, now)
        self._known[key] = None
        self._known.move_to_end(key)
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
