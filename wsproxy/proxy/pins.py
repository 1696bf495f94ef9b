"""Clients that trust one certificate only, and break off when they are shown ours."""

from __future__ import annotations

from collections import OrderedDict

from wsproxy.model import Address, Host

__all__ = ["Pins"]

_MOST = 10_000


class Pins:
    """Who broke off how often, for which host.

    Args:
        failures: so many in a row, and the client is taken for pinned.
        for_s: how long it is passed through then; also how long a failure counts.
    """

    def __init__(self, failures: int, for_s: float) -> None:
        self._failures = failures
        self._for_s = for_s
        self._counts: OrderedDict[tuple[Address, str], tuple[int, float]] = OrderedDict()

    def passes(self, client: Address, host: Host, now: float) -> bool:
        """Whether `client` is passed through to `host`, at `now` on the monotonic clock."""
        count, until = self._counts.get((client, host.text), (0, 0.0))
        return count >= self._failures and now < until

    def failed(self, client: Address, host: Host, now: float) -> bool:
        """Counts a handshake that was broken off; True when it is the one that decides."""
        key = client, host.text
        count, until = self._counts.pop(key, (0, 0.0))
        count = count + 1 if now < until else 1
        self._counts[key] = count, now + self._for_s
        if len(self._counts) > _MOST:
            self._counts.popitem(last=False)
        return count == self._failures

    def succeeded(self, client: Address, host: Host) -> None:
        """It trusts us after all: failures count in a row only."""
        self._counts.pop((client, host.text), None)
