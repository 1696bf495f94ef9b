"""The Runtime: everything configured, as one immutable snapshot that every session gets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import trio

from wsproxy.config.parts import Parts
from wsproxy.net.engine import Engine, RelayLimits
from wsproxy.observe.exchange import Exchange
from wsproxy.proxy.entrance import Entrance
from wsproxy.proxy.gate import Gate
from wsproxy.proxy.looking import Looking
from wsproxy.proxy.occupancy import Occupancy
from wsproxy.proxy.plans import Plans
from wsproxy.proxy.quotas import Quotas
from wsproxy.proxy.standing import Standing

__all__ = ["Drain", "Live", "Runtime", "Timeouts"]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines in seconds; docs/operations.md says what each one bounds."""

    request_head_s: float
    body_s: float
    keep_alive_s: float
    response_head_s: float
    stalled_s: float


class Drain:
    """The proxy's way of stopping: no new requests, time for the ones that run."""

    def __init__(self) -> None:
        self.draining = False
        self._waiting: set[trio.CancelScope] = set()

    @contextmanager
    def interrupting(self, scope: trio.CancelScope) -> Iterator[None]:
        """Around a wait that loses nothing when it is cancelled because the proxy stops."""
        if self.draining:
            scope.cancel()
        self._waiting.add(scope)
        try:
            yield
        finally:
            self._waiting.discard(scope)

    def begin(self) -> None:
        """From now on connections end with their current request."""
        self.draining = True
        for scope in self._waiting:
            scope.cancel()


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a session works with.

    Attributes:
        gate: the only way to the network.
        engine: relays tunnels.
        timeouts: see `Timeouts`.
        relay_limits: deadlines of tunnels.
        occupancy: places for client connections.
        drain: whether the proxy is stopping.
        plans: how closely WebSockets are looked at.
        looking: which tunnels are looked into ahead of that, and with what.
        via: this process's pseudonym in Via fields.
        log: takes ``open`` or, exactly once, ``access``, and the exchange; never blocks.
        quotas: what users, rules and clients may have.
        entrances: what stands before HTTP, listener by listener.
        standing: what was admitted and still goes on.
        services: what runs for as long as this is what is configured.
        parts: what it was built from.
    """

    gate: Gate
    engine: Engine
    timeouts: Timeouts
    relay_limits: RelayLimits
    occupancy: Occupancy
    drain: Drain
    plans: Plans
    looking: Looking
    via: bytes
    log: Callable[[str, Exchange], None]
    standing: Standing
    quotas: Quotas = field(default_factory=Quotas)
    entrances: Sequence[Entrance] = ()
    services: Sequence[Callable[[], Awaitable[None]]] = ()
    parts: Parts = field(default_factory=Parts)

    def succeed(self, earlier: Runtime) -> Runtime:
        """This one, which was built upon `earlier`, with the counts of what goes on under its own limits."""
        earlier.occupancy.adopt(self.occupancy)
        earlier.quotas.adopt(self.quotas.allotment)
        return replace(self, occupancy=earlier.occupancy, quotas=earlier.quotas)


class Live:
    """The Runtime of now: a reload puts another in its place, and nobody keeps one for long.

    Args:
        runtime: the first.
    """

    __slots__ = ("runtime",)

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
