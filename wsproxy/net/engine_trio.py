"""The relay engine of platforms without epoll: two trio tasks a relay.

Slower and larger than `wsproxy.net.engine_epoll`, and made of the same pumps:
a step says what it waits for, and the task waits for just that.
"""

from __future__ import annotations

import socket

import trio

from wsproxy.model import CloseReason, Side
from wsproxy.net.engine import Engine, EngineStatistics, OnEnd, RelayLimits, RelaySummary
from wsproxy.net.engine_end import close_sockets, deliver_rest
from wsproxy.net.filter import Inspection, are_finishing, attach
from wsproxy.net.limited import make_pumps
from wsproxy.net.progress import LOOKS, Stalls
from wsproxy.net.pump import Pump, Room, Step
from wsproxy.net.tls_socket import Endpoint

__all__ = ["TrioEngine"]

_LOOK_S = 0.5
"""How often a relay is asked for a reset that no pump waits for."""


class _Tunnel:
    """One relay: two pumps, the scope their tasks run in, and how it ended.

    See `wsproxy.net.engine.Relay`.
    """

    __slots__ = (
        "broken",
        "down",
        "end",
        "first_end",
        "lifetime_at",
        "limits",
        "scope",
        "up",
        "waits",
    )

    def __init__(self, up: Pump, down: Pump, limits: RelayLimits, now: float) -> None:
        self.up = up
        self.down = down
        self.limits = limits
        self.lifetime_at = now + limits.lifetime_s
        self.scope = trio.CancelScope()
        self.waits: dict[Pump, trio.CancelScope] = {}
        self.first_end: Side | None = None
        self.end: tuple[Side, CloseReason] | None = None
        self.broken: Pump | None = None

    def cut(self, reason: CloseReason, side: Side = Side.PROXY) -> None:
        """End it ourselves, unless it is over; what is pending is tried once."""
        if self.end is None:
            for pump in (self.up, self.down):
                if not pump.ended:
                    pump.step(trio.current_time())
            self.finish(side, reason)

    def wake(self, pump: Pump) -> None:
        """Have a pump stepped that waits."""
        if pump in self.waits:
            self.waits[pump].cancel()

    def side(self, pump: Pump) -> Side:
        """The side that is the source of `pump`."""
        return Side.CLIENT if pump is self.up else Side.UPSTREAM

    def finish(self, side: Side, reason: CloseReason) -> None:
        """Decide how the relay ended, and stop its tasks."""
        self.end = side, reason
        self.scope.cancel()


class TrioEngine:
    """Moves each relay in two tasks of its own; see `wsproxy.net.engine.Engine`."""

    def __init__(self) -> None:
        self._room = Room(None)
        self._nursery: trio.Nursery | None = None
        self._emptied = trio.Event()
        self._tunnels: set[_Tunnel] = set()
        self._ended_up = 0
        self._ended_down = 0

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be available until cancelled; then every relay left ends as `CloseReason.DRAINED`."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None
            self.end_all(CloseReason.DRAINED)

    async def _run(self, tunnel: _Tunnel) -> RelaySummary:
        try:
            await _move(tunnel)
            if tunnel.broken is not None:
                await deliver_rest(tunnel.broken)
        finally:
            self._room.catch_up()
            self._tunnels.remove(tunnel)
            self._ended_up += tunnel.up.delivered
            self._ended_down += tunnel.down.delivered
            close_sockets(tunnel.up, tunnel.down)
            if not self._tunnels:
                self._emptied.set()
        assert tunnel.end is not None
        return RelaySummary(tunnel.up.delivered, tunnel.down.delivered, *tunnel.end)

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
    ) -> _Tunnel:
        """Join two sockets, in tasks of this engine's own; see `wsproxy.net.engine.Engine.start`."""
        if self._nursery is None:
            client.close()
            upstream.close()
            raise RuntimeError("the relay engine is not running")
        now = trio.current_time()
        early = early_up, early_down
        held = early if inspection is None else (b"", b"")
        ways = limits.allowances
        up, down = make_pumps(client, upstream, ways, room=self._room, early=held, now=now)
        tunnel = _Tunnel(up, down, limits, now)
        if inspection is not None:
            attach(inspection, (up, down), early, tunnel.wake)
        self._tunnels.add(tunnel)

        async def run_relay() -> None:
            summary = RelaySummary(0, 0, Side.PROXY, CloseReason.DRAINED)
            try:
                summary = await self._run(tunnel)
            finally:
                on_end(summary)

        self._nursery.start_soon(run_relay)
        return tunnel

    async def wait_empty(self) -> None:
        """Return when no relay is left."""
        while self._tunnels:
            if self._emptied.is_set():
                self._emptied = trio.Event()
            await self._emptied.wait()

    def end_all(self, reason: CloseReason) -> None:
        """End every relay now; see `wsproxy.net.engine.Engine.end_all`."""
        for tunnel in self._tunnels:
            tunnel.cut(reason)

    def statistics(self) -> EngineStatistics:
        """Count relays and bytes."""
        return EngineStatistics(
            active_relays=len(self._tunnels),
            bytes_up=self._ended_up + sum(tunnel.up.delivered for tunnel in self._tunnels),
            bytes_down=self._ended_down + sum(tunnel.down.delivered for tunnel in self._tunnels),
            pipes_in_use=0,
        )


async def _move(tunnel: _Tunnel) -> None:
    with tunnel.scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_drive, tunnel, tunnel.up)
            nursery.start_soon(_drive, tunnel, tunnel.down)
            nursery.start_soon(_watch, tunnel)


async def _drive(tunnel: _Tunnel, pump: Pump) -> None:
    while tunnel.end is None:
        step = pump.step(trio.current_time())
        pump.room.catch_up()
        if step in (Step.SOURCE, Step.SINK, Step.PAUSE):
            with trio.CancelScope() as tunnel.waits[pump]:
                await _wait(pump, step)
            del tunnel.waits[pump]
        elif step is Step.TURN:
            await trio.lowlevel.checkpoint()
        else:
            _settle(tunnel, pump, step)
            return


async def _wait(pump: Pump, step: Step) -> None:
    finishing = pump.filter is not None and pump.filter.finishing
    with trio.move_on_at(pump.resume_at):
        if step is Step.SOURCE or (step is Step.PAUSE and finishing):
            await trio.lowlevel.wait_readable(pump.source)
        elif step is Step.SINK:
            await trio.lowlevel.wait_writable(pump.sink)
        else:
            await trio.sleep_forever()


def _settle(tunnel: _Tunnel, pump: Pump, step: Step) -> None:
    """Draw the consequence of a pump's last step."""
    if step is Step.ENDED:
        tunnel.first_end = tunnel.first_end or tunnel.side(pump)
        if tunnel.up.ended and tunnel.down.ended:
            tunnel.finish(tunnel.first_end, CloseReason.EOF)
    elif step is Step.SPENT:
        tunnel.cut(CloseReason.QUOTA)
    else:
        other = tunnel.down if pump is tunnel.up else tunnel.up
        _break(tunnel, pump if step is Step.SOURCE_BROKE else other)


def _break(tunnel: _Tunnel, pump: Pump) -> None:
    """End a relay whose connection broke at the source of `pump`."""
    tunnel.broken = pump
    tunnel.finish(tunnel.side(pump), CloseReason.RESET)


async def _watch(tunnel: _Tunnel) -> None:
    stalls, stalled_s = Stalls(), tunnel.limits.stalled_timeout_s
    while True:
        for pump in (tunnel.up, tunnel.down):
            if are_finishing(tunnel.up, tunnel.down):
                break
            # Readiness cannot say "reset" alone: where a pump does not read, nothing would tell.
            if pump.source.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                return _break(tunnel, pump)
        moved_at = max(tunnel.up.moved_at, tunnel.down.moved_at)
        idle_at = moved_at + tunnel.limits.idle_timeout_s
        now = trio.current_time()
        if idle_at <= now:
            return tunnel.cut(CloseReason.IDLE)
        if tunnel.lifetime_at <= now:
            return tunnel.cut(CloseReason.LIFETIME)
        stalls.look_again()
        if side := stalls.side(tunnel.up, tunnel.down, timeout_s=stalled_s, now=now):
            return tunnel.cut(CloseReason.STALLED, side)
        look_at = now + min(_LOOK_S, stalled_s / LOOKS)
        await trio.sleep_until(min(idle_at, tunnel.lifetime_at, look_at))


_: type[Engine] = TrioEngine
