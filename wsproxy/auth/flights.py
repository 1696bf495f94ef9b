"""Questions to a directory that are under way, each asked only once.

Equal questions that arrive together are one: the first asker is the leader, the others wait for
its answer.  If the leader is cancelled, the first follower to wake takes over its place.
`wsproxy.auth.verification` does the same for work that blocks, in threads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from wsproxy.errors import AuthOverloaded, AuthUnavailable
from wsproxy.model import Identity

__all__ = ["Flights"]


@dataclass(slots=True)
class _Flight:
    """One question under way; without `is_over` its leader gave up."""

    done: trio.Event = field(default_factory=trio.Event)
    is_over: bool = False
    identity: Identity | None = None
    unavailable: str | None = None


class Flights:
    """Asks, bounded.

    Args:
        max_pending: questions under way at most.
    """

    def __init__(self, max_pending: int) -> None:
        self._max_pending = max_pending
        self._flights: dict[bytes, _Flight] = {}

    async def ask(
        self, key: bytes, question: Callable[[], Awaitable[Identity | None]]
    ) -> Identity | None:
        """What the answer to `question` is, asked once for all who ask the same at a time.

        Cancellation leaves nothing behind and fails no other caller.

        Args:
            key: equal for equal questions; a digest where it holds a secret, for it is kept meanwhile.
            question: maybe never called.

        Raises:
            AuthOverloaded: as many questions as allowed are under way.
            AuthUnavailable: as `question` does.
        """
        has_followed = False
        while (flight := self._flights.get(key)) is not None:
            has_followed = True
            await flight.done.wait()
            if flight.unavailable is not None:
                raise AuthUnavailable(flight.unavailable)
            if flight.is_over:
                return flight.identity
        # Who takes over from a cancelled leader takes its place, too.
        if len(self._flights) >= self._max_pending and not has_followed:
            raise AuthOverloaded("too many credentials are waiting to be verified; try again")
        flight = self._flights[key] = _Flight()
        try:
            flight.identity = await question()
            flight.is_over = True
        except AuthUnavailable as error:
            flight.unavailable = error.detail
            raise
        finally:
            del self._flights[key]
            flight.done.set()
        return flight.identity
