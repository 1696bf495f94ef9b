"""Slow checks of credentials: off the event loop, few at a time, each only once.

Theory of operation.  A password hash is slow on purpose (25 ms for ours), so a
check runs in a thread; argon2 and bcrypt release the GIL there and the loop goes
on.  Three bounds keep strangers from turning that cost against us:

- `slots` checks run at a time, the others wait their turn, first come first served.
  One check takes bounded time, so nobody holds a slot for long.
- `max_pending` checks may be under way or waiting; the next one is refused with
  `AuthOverloaded` at once instead of waiting for seconds.
- Of these places strangers (user names that do not exist) may take half.  A flood
  of invented names therefore never takes the last place from a real user's first
  login.  Chosen instead of a slot of their own: with that, two parallel guesses
  would be enough to tell by the clock whether a name exists.  With this, it takes a
  flood that fills half the places.  Known names and strangers are treated alike
  until then.  Telling one source of a flood from another is the caller's part;
  addresses are not known here.

Equal credentials arriving together are checked once: the first is the leader,
the others wait for its answer.  If the leader is cancelled while it waits for a
slot, the first follower to wake takes over its place.  A check that has begun
in its thread is always finished, for followers and cache alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from wsproxy.errors import AuthOverloaded

__all__ = ["VerificationStatistics", "Verifications"]


@dataclass(frozen=True, slots=True)
class VerificationStatistics:
    """A snapshot of `Verifications`.

    Attributes:
        running: checks in a thread now.
        pending: checks running or waiting for a slot.
        pending_strangers: those of `pending` for user names that do not exist.
    """

    running: int
    pending: int
    pending_strangers: int


@dataclass(slots=True)
class _Flight:
    """One check under way; `passed` stays None when its leader gave up."""

    done: trio.Event = field(default_factory=trio.Event)
    passed: bool | None = None


class Verifications:
    """Runs slow checks in threads, bounded.

    Args:
        slots: checks that run at a time; from 1.
        max_pending: checks running or waiting at most; from 2.
    """

    def __init__(self, *, slots: int, max_pending: int) -> None:
        self._slots = trio.CapacityLimiter(slots)
        self._max_pending = max_pending
        self._flights: dict[bytes, _Flight] = {}
        self._pending = 0
        self._pending_strangers = 0

    def statistics(self) -> VerificationStatistics:
        """What is going on now."""
        return VerificationStatistics(
            running=self._slots.borrowed_tokens,
            pending=self._pending,
            pending_strangers=self._pending_strangers,
        )

    async def run(self, key: bytes, check: Callable[[], bool], *, is_stranger: bool) -> bool:
        """Whether `check` passes, run in a thread unless one for `key` is under way.

        Cancelled while it waits for a slot, it leaves no trace; once `check` has
        begun it is waited for, and the answer returned.

        Args:
            key: equal for equal credentials; a digest, for it is kept meanwhile.
            check: blocks; whatever it raises comes out of here.
            is_stranger: the credentials name a user who does not exist.

        Raises:
            AuthOverloaded: as many checks as allowed are pending already.
        """
        has_followed = False
        while (flight := self._flights.get(key)) is not None:
            has_followed = True
            await flight.done.wait()
            if flight.passed is not None:
                return flight.passed
        # Who takes over from a cancelled leader takes its place too, though
        # another may have filled it between the two of them running.
        if not has_followed:
            self._refuse_beyond_bounds(is_stranger=is_stranger)
        return await self._lead(key, check, is_stranger=is_stranger)

    def _refuse_beyond_bounds(self, *, is_stranger: bool) -> None:
        strangers_full = self._pending_strangers >= self._max_pending // 2
        if self._pending >= self._max_pending or (is_stranger and strangers_full):
            raise AuthOverloaded("too many credentials are waiting to be verified; try again")

    async def _lead(self, key: bytes, check: Callable[[], bool], *, is_stranger: bool) -> bool:
        flight = self._flights[key] = _Flight()
        self._pending += 1
        self._pending_strangers += is_stranger
        try:
            flight.passed = passed = await trio.to_thread.run_sync(check, limiter=self._slots)
        finally:
            self._pending -= 1
            self._pending_strangers -= is_stranger
            del self._flights[key]
            flight.done.set()
        return passed
