"""What was admitted and still goes on: it is decided again when something has changed.

A reload, a user who is gone and a token that expires must not wait for tunnels that last a
day.  So whatever was admitted stands here, with the way to end it, until it is recorded.
To decide again takes no look-up and no password: see `wsproxy.proxy.gate.Gate.review`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol

import trio

from wsproxy.errors import WsproxyError
from wsproxy.observe.exchange import Exchange

__all__ = ["Ending", "Reviewer", "Standing"]

_AT_ONCE = 64
"""Decisions, some microseconds each, before others have their turn."""
_MINUTE_S = 60.0
"""How often a policy that knows the time of day is asked again, and the clock looked at."""
_EXPIRY_S = 0.25
"""Between two looks at what expires."""


class Reviewer(Protocol):
    """Decides again; a `wsproxy.proxy.gate.Gate`."""

    @property
    def knows_hours(self) -> bool:
        """Whether a decision depends on the time of day."""
        ...

    def clock(self) -> float:
        """Seconds since 1970."""
        ...

    def review(self, exchange: Exchange) -> None:
        """Raises what would be answered, if it were asked for now."""


class Ending(Protocol):
    """Ends one thing that goes on."""

    def revoke(self) -> None:
        """Ends it now, or never where it is over; neither waits nor raises."""

    def take_leave(self) -> None:
        """Ends a tunnel because the proxy stops; neither waits nor raises."""


class Standing:
    """All that goes on, with the way to end each."""

    def __init__(self) -> None:
        self._endings: dict[Exchange, Ending] = {}
        self._next_expiry = math.inf
        self._sooner = trio.CancelScope()

    def __len__(self) -> int:
        """How much goes on."""
        return len(self._endings)

    def enter(self, exchange: Exchange, ending: Ending) -> None:
        """Has `ending` end `exchange` when it is allowed no more; what was to do so before is forgotten."""
        self._endings[exchange] = ending
        self.note_expiry(exchange)
        if exchange.revoked is not None:
            ending.revoke()

    def note_expiry(self, exchange: Exchange) -> None:
        """Has it looked at again when the proof of who asks expires."""
        identity = exchange.identity
        if identity is not None and identity.expires_at < self._next_expiry:
            self._next_expiry = identity.expires_at
            self._sooner.cancel()

    def leave(self, exchange: Exchange) -> None:
        """It is over, or somebody else is going to end it."""
        self._endings.pop(exchange, None)

    def take_leave(self) -> None:
        """Ends all tunnels because the proxy stops; who says so in its own words takes a moment."""
        for ending in list(self._endings.values()):
            ending.take_leave()

    def interruptible(self, exchange: Exchange) -> AbstractContextManager[None]:
        """Around what is cut short when it is allowed no more.

        Raises:
            WsproxyError: it was; what would be answered now.
        """
        return _Interruptible(self, exchange)

    async def review(self, reviewer: Reviewer) -> int:
        """Decides about everything again, and ends what is allowed no more; returns how much that was."""
        ended = 0
        for number, exchange in enumerate(list(self._endings)):
            if number % _AT_ONCE == _AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
            ended += self._review(exchange, reviewer)
        return ended

    def _review(self, exchange: Exchange, reviewer: Reviewer) -> bool:
        ending = self._endings.get(exchange)
        if ending is None or exchange.revoked is not None:
            return False
        try:
            reviewer.review(exchange)
        except WsproxyError as error:
            exchange.revoked = error
            exchange.fail(error)
            ending.revoke()
            return True
        return False

    async def run(self, reviewer: Callable[[], Reviewer]) -> None:
        """Looks again at what expires, when it does, and every minute where hours count.

        Args:
            reviewer: whoever decides now.
        """
        minute = math.inf
        while True:
            if self._next_expiry <= (now := reviewer().clock()):
                self._end_expired(reviewer(), now)
                # Whatever expires soon after waits for it, so that one look serves many.
                await trio.sleep(_EXPIRY_S)
            if reviewer().knows_hours and now // _MINUTE_S != minute:
                minute = now // _MINUTE_S
                await self.review(reviewer())
            now = reviewer().clock()
            next_look = min(self._next_expiry, (now // _MINUTE_S + 1) * _MINUTE_S)
            with trio.move_on_after(max(0.0, next_look - now)) as self._sooner:
                await trio.sleep_forever()

    def _end_expired(self, reviewer: Reviewer, now: float) -> None:
        self._next_expiry = math.inf
        for exchange in list(self._endings):
            identity = exchange.identity
            if identity is None or exchange.revoked is not None:
                continue
            if identity.expires_at <= now:
                self._review(exchange, reviewer)
            else:
                self._next_expiry = min(self._next_expiry, identity.expires_at)


class _Interruptible:
    """What a task is doing; see `Standing.interruptible`."""

    __slots__ = ("_exchange", "_scope", "_standing")

    def __init__(self, standing: Standing, exchange: Exchange) -> None:
        self._standing, self._exchange = standing, exchange
        self._scope = trio.CancelScope()

    def revoke(self) -> None:
        """See `Ending`."""
        self._scope.cancel()

    def take_leave(self) -> None:
        """See `Ending`: this is none."""

    def __enter__(self) -> None:
        self._standing.enter(self._exchange, self)
        self._scope.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        self._standing.leave(self._exchange)
        handled = self._scope.__exit__(kind, error, trace)
        if self._scope.cancelled_caught:
            assert self._exchange.revoked is not None
            raise self._exchange.revoked
        return handled
