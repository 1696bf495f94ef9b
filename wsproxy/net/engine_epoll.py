"""The relay engine of Linux: one loop of its own for all relays.

Theory of operation.  A trio task per direction costs a task switch and an
`epoll_ctl` per message, and kilobytes per idle tunnel.  Here every relayed
socket is registered once, edge-triggered, with an epoll of the engine's own;
one trio task waits for that epoll's descriptor, which is readable while events
are queued.  trio stays the one scheduler, and a relay has no task at all: when it
is over, a callback gets the summary.

What edge-triggered asks of us:

* Free space in a sink is watched from the first time it was missed.
* An edge comes once.  A batch that was polled is handled to its end before the
  next is, and a pump that stops early for fairness goes on a list of its own
  (`_turns`), because no event will bring it back.
* To look into octets takes up to a hundred times as long as to move them, and a peer
  chooses how long.  What is late for that is left over (`_left`) until trio's other
  tasks have had their turn.
* A relay that ends within a batch may still have events in that batch.  Its two
  entries leave the table at once, and what is left over; its numbers are in use
  again when others have had their turn, never before the batch is over.

Deadlines have no timer per relay.  One sleeping task looks at all relays when
the earliest deadline known may have come, and no more often than `engine_tunnel`
says: activity only stores a time, and twenty thousand relays with an hour each
cost one look of some milliseconds every five seconds.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import select
import sys

import trio

from wsproxy.model import CloseReason, Side
from wsproxy.net.engine import Engine, EngineStatistics, OnEnd, RelayLimits, RelaySummary
from wsproxy.net.engine_end import close_sockets, deliver_at_once, deliver_rest
from wsproxy.net.engine_tunnel import Leftover, Tunnel
from wsproxy.net.engine_wheel import Wheel
from wsproxy.net.filter import Inspection, are_finishing, attach
from wsproxy.net.limited import make_pumps
from wsproxy.net.pipes import PipePool, splice_works
from wsproxy.net.progress import Stalls
from wsproxy.net.pump import Pump, Room, Step
from wsproxy.net.tls_socket import Endpoint

__all__ = ["EpollEngine"]

assert sys.platform == "linux"

log = logging.getLogger("wsproxy")

_IN, _OUT, _ERR = select.EPOLLIN, select.EPOLLOUT, select.EPOLLERR
_EVENTS = select.EPOLLIN | select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLET
_READABLE = select.EPOLLIN | select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLHUP
_NO_MORE_EDGES = select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

_BATCH = 256
"""Events per poll."""

_ROUNDS = 8
"""Polls before trio's other tasks get their turn."""

_MAX_UNSEEN = 256
"""Reads that went on and wait to be looked into before that comes first."""

_SPELL_S = 0.005
"""The time after which they get it all the same; it may end in the middle of a batch."""

_PIPES = 32
"""Flows that may be spliced at once; 8 MiB of kernel memory at most."""

_NOTHING = (b"", b"")
_SOURCE, _SINK, _TURN, _ENDED, _PAUSE = Step.SOURCE, Step.SINK, Step.TURN, Step.ENDED, Step.PAUSE
_SOURCE_BROKE, _SINK_BROKE, _SPENT = Step.SOURCE_BROKE, Step.SINK_BROKE, Step.SPENT


class EpollEngine:
    """Moves all relays of a process in one loop; see `wsproxy.net.engine.Engine`.

    Args:
        pipes: bulk flows that may be spliced at once; 0 turns splice off.
    """

    def __init__(self, *, pipes: int = _PIPES) -> None:
        self._pipes = PipePool(pipes if pipes and splice_works() else 0)
        self._room = Room(self._pipes)
        self._epoll: select.epoll | None = None
        # Wakes the loop for a turn that no socket announces; each write is an edge of its own.
        self._kick = -1
        # Indexed by descriptor: smaller and faster than a dict, and descriptors are dense.
        self._table: list[Tunnel | None] = []
        self._turns: dict[Pump, Tunnel] = {}
        self._left = Leftover()
        self._wheel = Wheel(self._wake)
        self._stalls = Stalls()
        self._tunnels: set[Tunnel] = set()
        self._ended_up = 0
        self._ended_down = 0
        self._next_look = math.inf
        self._alarm = trio.CancelScope()
        self._emptied = trio.Event()
        self._nursery: trio.Nursery | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve relays until cancelled; then every relay left ends as `CloseReason.DRAINED`."""
        self._epoll = select.epoll()
        self._kick = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._kick, select.EPOLLIN | select.EPOLLET)
        self._table.extend([None] * (self._kick + 1 - len(self._table)))
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._watch_deadlines)
                self._nursery.start_soon(self._wheel.run)
                task_status.started()
                await self._serve(self._epoll)
        finally:
            self.end_all(CloseReason.DRAINED)
            os.close(self._kick)
            self._kick = -1
            self._epoll.close()
            self._epoll = None
            self._pipes.close()

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
    ) -> Tunnel:
        """Join two sockets without a task; see `wsproxy.net.engine.Engine.start`."""
        if self._epoll is None:
            client.close()
            upstream.close()
            raise RuntimeError("the relay engine is not running")
        now = trio.current_time()
        early = early_up, early_down
        held = early if inspection is None else _NOTHING
        ways = limits.allowances
        up, down = make_pumps(client, upstream, ways, room=self._room, early=held, now=now)
        tunnel = Tunnel(up, down, limits, on_end, self)
        if inspection is not None:
            attach(inspection, (up, down), early, functools.partial(self._wake, tunnel))
        try:
            self._register(tunnel)
        except BaseException:
            close_sockets(up, down)
            raise
        self._tunnels.add(tunnel)
        return tunnel

    async def wait_empty(self) -> None:
        """Return when no relay is left."""
        while self._tunnels:
            if self._emptied.is_set():
                self._emptied = trio.Event()
            await self._emptied.wait()

    def end_all(self, reason: CloseReason) -> None:
        """End every relay now; see `wsproxy.net.engine.Engine.end_all`."""
        for tunnel in list(self._tunnels):
            tunnel.cut(reason)

    def statistics(self) -> EngineStatistics:
        """Count relays and bytes."""
        return EngineStatistics(
            active_relays=len(self._tunnels),
            bytes_up=self._ended_up + sum(tunnel.up.delivered for tunnel in self._tunnels),
            bytes_down=self._ended_down + sum(tunnel.down.delivered for tunnel in self._tunnels),
            pipes_in_use=self._pipes.in_use,
        )

    async def _serve(self, epoll: select.epoll) -> None:
        while True:
            if self._turns or self._left:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(epoll.fileno())
            now = trio.current_time()
            for _ in range(_ROUNDS):
                if self._left:
                    batch, turns = self._left.take()
                else:
                    batch = epoll.poll(0, _BATCH)
                    turns, self._turns = self._turns, {}
                if not batch and not turns:
                    break
                self._handle_all(batch, now)
                self._give_turns(turns, now)
                # Whatever else can go on goes first, so that more is looked into at a time.
                if len(self._room.unseen) > _MAX_UNSEEN:
                    self._room.catch_up()
                if trio.current_time() - now > _SPELL_S:
                    break
            if self._room.unseen:
                self._room.catch_up()

    def _handle_all(self, batch: list[tuple[int, int]], now: float) -> None:
        table, room = self._table, self._room
        left = iter(batch)
        for fd, events in left:
            tunnel = table[fd]
            if events != _IN or tunnel is None:
                self._handle(fd, events, now)
            else:
                # Nearly all are octets to be moved, and every call costs a part of what moving them does.
                pump = tunnel.up if fd == tunnel.client_fd else tunnel.down
                if not (pump.blocked or pump.ended):
                    step = pump.tap(now) if pump.tapped else pump.step(now)
                    if step is not _SOURCE:
                        self._follow(tunnel, pump, step)
            if room.looked and self._is_late(now):
                self._left.events = dict(left)
                break

    def _give_turns(self, turns: dict[Pump, Tunnel], now: float) -> None:
        left = iter(turns.items())
        for pump, tunnel in () if self._left else left:
            if tunnel.live and not pump.ended:
                self._advance(tunnel, pump, now)
            if self._room.looked and self._is_late(now):
                break
        self._left.turns = dict(left)

    def _is_late(self, now: float) -> bool:
        """Whether to look into octets has taken so long that the rest has to wait."""
        self._room.looked = False
        return trio.current_time() - now > _SPELL_S

    def _handle(self, fd: int, events: int, now: float) -> None:
        tunnel = self._table[fd]
        if tunnel is None:
            return
        if fd == tunnel.client_fd:
            ahead, back = tunnel.up, tunnel.down
        else:
            ahead, back = tunnel.down, tunnel.up
        if events & _NO_MORE_EDGES:
            ahead.draining = True
            if events & _ERR and not are_finishing(ahead, back):
                self._break(tunnel, ahead)
                return
        if back.blocked and events & _OUT:
            self._advance(tunnel, back, now)
            if not tunnel.live:
                return
        if events & _READABLE and not ahead.blocked and not ahead.ended:
            self._advance(tunnel, ahead, now)

    def _advance(self, tunnel: Tunnel, pump: Pump, now: float) -> None:
        step = pump.step(now)
        if step is not _SOURCE:
            self._follow(tunnel, pump, step)

    def _follow(self, tunnel: Tunnel, pump: Pump, step: Step) -> None:
        """Does what has to be done behind a step, where that is more than to wait for an event."""
        if step is _TURN:
            self._turns[pump] = tunnel
        elif step is _SINK or step is _PAUSE:
            if step is _SINK:
                self._watch_sink(pump)
            if (resume_at := pump.resume_at) < math.inf:
                self._wheel.put(tunnel, pump, resume_at)
        elif step is _ENDED:
            if tunnel.first_end is None:
                tunnel.first_end = Side.CLIENT if pump is tunnel.up else Side.UPSTREAM
            if tunnel.up.ended and tunnel.down.ended:
                self._finish(tunnel, tunnel.first_end, CloseReason.EOF)
        elif step is _SOURCE_BROKE:
            self._break(tunnel, pump)
        elif step is _SINK_BROKE:
            self._break(tunnel, tunnel.down if pump is tunnel.up else tunnel.up)
        elif step is _SPENT:
            self.cut(tunnel, CloseReason.QUOTA)

    def _register(self, tunnel: Tunnel) -> None:
        assert self._epoll is not None
        missing = max(tunnel.client_fd, tunnel.upstream_fd) + 1 - len(self._table)
        if missing > 0:
            self._table.extend([None] * missing)
        for fd, writer in ((tunnel.client_fd, tunnel.down), (tunnel.upstream_fd, tunnel.up)):
            writer.sink_watched = writer.blocked
            self._epoll.register(fd, _EVENTS | _OUT if writer.blocked else _EVENTS)
            self._table[fd] = tunnel
        # To move a deadline costs more than all the rest here, and is seldom needed.
        if (look_at := tunnel.look_at(tunnel.up.moved_at)) < self._next_look:
            self._alarm.deadline = self._next_look = look_at

    def _wake(self, tunnel: Tunnel, pump: Pump) -> None:
        """Have a pump stepped soon that no event may bring back."""
        self._turns[pump] = tunnel
        if self._kick >= 0:
            os.eventfd_write(self._kick, 1)

    def _watch_sink(self, pump: Pump) -> None:
        """Have the sink's free space announced, from the first time it is missed.

        Watched from the start, every new tunnel would wake the engine twice to
        say that nothing is in its way.  A change asks the kernel for what is
        there already, so the space that came meanwhile is announced too.
        """
        if not pump.sink_watched:
            assert self._epoll is not None
            pump.sink_watched = True
            self._epoll.modify(pump.sink.fileno(), _EVENTS | _OUT)

    def _break(self, tunnel: Tunnel, pump: Pump) -> None:
        """End a relay whose connection broke at the source of `pump`."""
        tunnel.broken = pump
        side = Side.CLIENT if pump is tunnel.up else Side.UPSTREAM
        self._finish(tunnel, side, CloseReason.RESET)

    def cut(self, tunnel: Tunnel, reason: CloseReason, side: Side = Side.PROXY) -> None:
        """End a live relay ourselves; what is pending is tried once."""
        now = trio.current_time()
        for pump in (tunnel.up, tunnel.down):
            if not pump.ended:
                pump.step(now)
        self._finish(tunnel, side, reason)

    def _finish(self, tunnel: Tunnel, closed_by: Side, reason: CloseReason) -> None:
        """Let go of a relay, at once or when its rest is delivered."""
        tunnel.end = closed_by, reason
        self._forget(tunnel)
        if tunnel.broken is None or deliver_at_once(tunnel.broken):
            self._conclude(tunnel)
        else:
            assert self._nursery is not None
            self._nursery.start_soon(self._deliver, tunnel, tunnel.broken)

    async def _deliver(self, tunnel: Tunnel, pump: Pump) -> None:
        try:
            await deliver_rest(pump)
        finally:
            # Abandoned meanwhile, it is concluded already.
            if tunnel in self._tunnels:
                self._conclude(tunnel)

    def _conclude(self, tunnel: Tunnel) -> None:
        """Close the sockets and hand over the summary."""
        up, down, end = tunnel.up, tunnel.down, tunnel.end
        assert end is not None
        self._room.catch_up()
        self._tunnels.remove(tunnel)
        self._ended_up += up.delivered
        self._ended_down += down.delivered
        close_sockets(up, down)
        if not self._tunnels:
            self._emptied.set()
        try:
            tunnel.on_end(RelaySummary(up.delivered, down.delivered, *end))
        except Exception:
            # All other relays live in this loop: it outlives the faults of its callers.
            log.exception("what followed the end of a tunnel crashed; all others go on")

    def _forget(self, tunnel: Tunnel) -> None:
        """Let no event of this relay be handled any more."""
        assert self._epoll is not None
        tunnel.live = False
        for fd in (tunnel.client_fd, tunnel.upstream_fd):
            # Closing alone is not enough where a child process has a copy of the descriptor.
            self._epoll.unregister(fd)
            self._table[fd] = None
            self._left.events.pop(fd, None)
        if self._wheel:
            self._wheel.drop(tunnel.up)
            self._wheel.drop(tunnel.down)

    async def _watch_deadlines(self) -> None:
        while True:
            self._next_look = self._look()
            with trio.CancelScope(deadline=self._next_look) as self._alarm:
                await trio.sleep_forever()

    def _look(self) -> float:
        """End the relays whose deadline has passed; returns when to look again."""
        now = trio.current_time()
        next_look = math.inf
        self._stalls.look_again()
        for tunnel in list(self._tunnels):
            if not tunnel.live:
                continue
            if end := tunnel.due(now, self._stalls):
                self.cut(tunnel, end[1], end[0])
            else:
                next_look = min(next_look, tunnel.look_at(now))
        return next_look


_: type[Engine] = EpollEngine
