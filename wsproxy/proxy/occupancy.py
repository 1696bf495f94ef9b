"""How many client connections there are, and how many there may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from wsproxy.errors import LimitReached
from wsproxy.model import Address

__all__ = ["Occupancy"]

_MAX_TURNING_AWAY = 256
"""Refused connections that are answered and lingered for at one time."""


class Occupancy:
    """Counts open client connections against `limits`.

    Args:
        connections: most at one time for the whole proxy.
        connections_per_client: most at one time for one address; None: no such limit.
    """

    def __init__(self, *, connections: int, connections_per_client: int | None) -> None:
        self._connections = connections
        self._per_client = connections_per_client
        self._by_client: Counter[bytes] = Counter()  # packed: their hashes cost less
        self.open = 0
        self._turning_away = 0

    def adopt(self, other: Occupancy) -> None:
        """Goes on with the limits of `other`; who is inside stays."""
        self._connections, self._per_client = other._connections, other._per_client

    def enter(self, client: Address | None) -> None:
        """Takes a place; every `enter` that returns needs a `leave`.

        Args:
            client: whose it is; None while nobody knows.

        Raises:
            LimitReached: 503 when the proxy is full, 429 when this client is.
        """
        if self.open >= self._connections:
            raise LimitReached(
                f"the proxy serves {self._connections} connections already", status=503
            )
        if client is not None:
            packed = client.packed
            has = self._by_client[packed]
            if self._per_client is not None and has >= self._per_client:
                raise LimitReached(
                    f"this client has {self._per_client} connections already", status=429
                )
            # Counted without a limit, too: a reload may bring one.
            self._by_client[packed] = has + 1
        self.open += 1

    @contextmanager
    def turning_away(self) -> Iterator[bool]:
        """Around the refusal of a connection; False when too many are being refused already."""
        self._turning_away += 1
        try:
            yield self._turning_away <= _MAX_TURNING_AWAY
        finally:
            self._turning_away -= 1

    def leave(self, client: Address | None) -> None:
        """Gives the place back."""
        self.open -= 1
        if client is not None:
            packed = client.packed
            has = self._by_client[packed] - 1
            if has:
                self._by_client[packed] = has
            else:
                del self._by_client[packed]
