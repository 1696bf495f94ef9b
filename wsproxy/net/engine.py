"""The relay engine: what every engine promises, whatever moves the bytes.

A relay joins two connected sockets until both directions have ended.  Who starts
one need not wait for it: deadlines, half-close, backpressure and counting belong
to the engine, which calls back when it is over.

Two engines keep this promise and pass the same tests: `wsproxy.net.engine_epoll`
moves all relays of the process in one loop of its own and is what Linux runs;
`wsproxy.net.engine_trio` has two trio tasks a relay and runs everywhere.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import trio

from wsproxy.model import CloseReason, Side
from wsproxy.net.tls_socket import Endpoint

if TYPE_CHECKING:
    from wsproxy.net.allowance import Allowances
    from wsproxy.net.filter import Inspection

__all__ = [
    "Engine",
    "EngineStatistics",
    "OnEnd",
    "Relay",
    "RelayLimits",
    "RelaySummary",
    "best_engine",
]


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """How long one relay may last, and how fast it may be; `math.inf` means no limit.

    Attributes:
        idle_timeout_s: seconds without a byte in either direction.
        lifetime_s: seconds from the start, however busy.
        stalled_timeout_s: seconds in which a side takes nothing of what waits for it; looked
            at a little late, by a half of it at most.
        allowances: what the two directions may move; None: all there is.
    """

    idle_timeout_s: float
    lifetime_s: float
    stalled_timeout_s: float = math.inf
    allowances: Allowances | None = None


class RelaySummary(NamedTuple):
    """How one relay went.

    Attributes:
        bytes_up: bytes of the client that the upstream's socket accepted.
        bytes_down: bytes of the upstream that the client's socket accepted.
        closed_by: for `CloseReason.EOF` the side that ended its direction
            first; for `CloseReason.RESET` the side whose connection broke;
            for `CloseReason.STALLED` the side that took nothing; else `Side.PROXY`.
        reason: why the relay ended.
    """

    bytes_up: int
    bytes_down: int
    closed_by: Side
    reason: CloseReason


OnEnd = Callable[[RelaySummary], None]
"""What to do when a relay is over."""


class Relay(Protocol):
    """A relay that was started, for whoever may have to end it."""

    def cut(self, reason: CloseReason) -> None:
        """End it now, as `Engine.end_all` ends all; nothing happens when it is over."""


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """One snapshot of an engine.

    Attributes:
        active_relays: relays that have not ended.
        bytes_up: delivered to upstreams since the start, active relays included.
        bytes_down: delivered to clients since the start, active relays included.
        pipes_in_use: pipes that carry a bulk flow right now.
    """

    active_relays: int
    bytes_up: int
    bytes_down: int
    pipes_in_use: int


class Engine(Protocol):
    """Moves the bytes of any number of relays."""

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve relays until cancelled; then every relay left ends as `CloseReason.DRAINED`."""

    def start(
        self,
        client: Endpoint,
        upstream: Endpoint,
        limits: RelayLimits,
        on_end: OnEnd,
        *,
        early_up: bytes = b"",
        early_down: bytes = b"",
        inspection: Inspection | None = None,
    ) -> Relay:
        """Join two sockets until both directions ended, one broke, or a limit was reached.

        Nobody waits for it: `on_end` gets the summary when it is over; network errors are
        summaries too.  Takes ownership of both sockets, also when it raises.

        Args:
            client: connected, non-blocking stream socket.
            upstream: connected, non-blocking stream socket.
            limits: deadlines of this relay.
            on_end: called exactly once, with both sockets closed; neither waits nor raises.
            early_up: bytes already read from the client; they go first.
            early_down: bytes already read from the upstream; they go first.
            inspection: looks into what passes.

        Raises:
            RuntimeError: `run` is not running.
        """

    async def wait_empty(self) -> None:
        """Return when no relay is left."""

    def end_all(self, reason: CloseReason) -> None:
        """End every relay now: pending bytes are tried once, then both sides are closed.

        A side that is still owed bytes is reset, so that what it has never
        looks complete; all others see an orderly end of stream.
        """

    def statistics(self) -> EngineStatistics:
        """Count relays and bytes."""


def best_engine() -> Engine:
    """The fastest engine this platform offers, not yet running."""
    if sys.platform == "linux":
        from wsproxy.net.engine_epoll import EpollEngine

        return EpollEngine()
    else:
        from wsproxy.net.engine_trio import TrioEngine

        return TrioEngine()
