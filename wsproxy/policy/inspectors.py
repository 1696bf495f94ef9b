"""Third-party code that looks at messages, and what happens when it fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from wsproxy.model import Side

__all__ = ["MAX_FAULTS", "Inspector", "MessageAsk", "TimedInspector"]

MAX_FAULTS = 3
"""Faults after which an inspector is asked no more."""


class MessageAsk(NamedTuple):
    """One message, as far as rules look at it.

    Attributes:
        sender: `Side.CLIENT` or `Side.UPSTREAM`.
        opcode: 1 text, 2 binary, 8 close, 9 ping, 10 pong (RFC 6455 §11.8).
        size: decoded octets in full.
        payload: the first of them; fewer than `size` when it was cut or not decoded.
        subprotocol: what was agreed on in the handshake.
        label: what was recognised in the WebSocket.
        now: seconds on a clock that does not go back.
    """

    sender: Side
    opcode: int
    size: int
    payload: bytes
    subprotocol: str | None
    label: str | None
    now: float


Inspector = Callable[[MessageAsk], bool | str | None]
"""Says whether a message matches, perhaps with the reason; None when it cannot say."""


class TimedInspector:
    """An inspector that is held to a time and does no harm when it raises.

    It runs on the loop and cannot be interrupted: the time is taken afterwards, and an
    answer that was late still counts.  After `MAX_FAULTS` it is asked no more.

    Args:
        inspect: third-party code; something true means that the message matches, text
            is the reason.
        clock: seconds on a clock that does not go back.
        budget_s: what one answer may take, in seconds.
    """

    __slots__ = ("_budget_s", "_clock", "_faults", "_inspect", "_last_fault")

    def __init__(
        self,
        inspect: Callable[[MessageAsk], object],
        *,
        clock: Callable[[], float],
        budget_s: float,
    ) -> None:
        self._inspect = inspect
        self._clock = clock
        self._budget_s = budget_s
        self._faults = 0
        self._last_fault: str | None = None

    @property
    def faults(self) -> int:
        """How often it raised or was late, at most `MAX_FAULTS`."""
        return self._faults

    @property
    def is_off(self) -> bool:
        """Whether it is asked no more."""
        return self._faults >= MAX_FAULTS

    @property
    def last_fault(self) -> str | None:
        """The latest fault: ``late``, or the name of an exception; never its text."""
        return self._last_fault

    def __call__(self, ask: MessageAsk) -> bool | str | None:
        """What the inspector says about `ask`; None when it raised or is asked no more."""
        if self._faults >= MAX_FAULTS:
            return None
        start = self._clock()
        try:
            answer = self._inspect(ask)
            said = answer if isinstance(answer, str) else bool(answer)
        except Exception as error:  # noqa: BLE001  # third-party code may raise anything
            self._fault(type(error).__name__)
            return None
        if self._clock() - start > self._budget_s:
            self._fault("late")
        return said

    def _fault(self, what: str) -> None:
        self._faults += 1
        self._last_fault = what


_GUARD: Inspector = TimedInspector(bool, clock=float, budget_s=0.0)
