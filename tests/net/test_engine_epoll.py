"""What only the epoll engine can get wrong: edges, batches, descriptors, fairness, pipes."""

from __future__ import annotations

import os
import random
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.net.relays import (
    FOREVER,
    fill,
    ignore,
    open_descriptors,
    receive,
    receive_all,
    relayed,
    reset,
    send_all,
    tcp_pair,
)
from tests.net.test_filter import watched
from tests.net.test_pipes import no_descriptor_left
from wsproxy.model import CloseReason, Side
from wsproxy.net.engine_epoll import EpollEngine

if TYPE_CHECKING:
    from trio.testing import MockClock

    from tests.net.relays import Relayed


async def fill_up(relay: Relayed) -> int:
    """Send from the client until nothing moves any more; the number of bytes."""
    total = 0
    while accepted := fill(relay.client):
        total += accepted
        await wait_all_tasks_blocked()
    return total


async def block_spliced(engine: EpollEngine, relay: Relayed) -> None:
    """Leave the relay with a full pipe and a reader that has stopped."""
    for _ in range(100):
        await fill_up(relay)
        if engine.statistics().pipes_in_use:
            return
        # It stopped with an ordinary buffer in hand: let it go on a little.
        await receive(relay.upstream, 1 << 20)
    raise AssertionError("never spliced")


async def test_a_stream_that_ended_in_order_is_not_reset_afterwards(
    epoll_engine: EpollEngine,
) -> None:
    with relayed(epoll_engine) as relay:
        await send_all(relay.upstream, b"whole answer")
        relay.upstream.shutdown(socket.SHUT_WR)
        assert await receive_all(relay.client) == b"whole answer"
        reset(relay.upstream)
        summary = await relay.wait_summary()
        assert (summary.closed_by, summary.reason) == (Side.UPSTREAM, CloseReason.RESET)
        assert relay.client.recv(1) == b""
        assert relay.client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


async def test_a_side_that_closed_while_nobody_reads_does_not_spin(
    epoll_engine: EpollEngine,
) -> None:
    with relayed(epoll_engine, small=True) as relay:
        total = await fill_up(relay)
        relay.client.shutdown(socket.SHUT_WR)
        # Returns only once the engine's task sleeps: it would never, if it were spinning.
        for _ in range(5):
            await wait_all_tasks_blocked(0.01)
        assert not relay.over.is_set()
        relay.upstream.shutdown(socket.SHUT_WR)
        await wait_all_tasks_blocked(0.01)
        assert not relay.over.is_set()
        assert len(await receive_all(relay.upstream)) == total
        assert (await relay.wait_summary()).reason is CloseReason.EOF


def renumbered(sock: socket.socket, number: int) -> socket.socket:
    """The same connection under a descriptor number of our choice."""
    os.dup2(sock.fileno(), number)
    sock.close()
    return socket.socket(fileno=number)


async def test_a_descriptor_number_in_use_again_gets_only_its_own_bytes(
    epoll_engine: EpollEngine,
) -> None:
    with relayed(epoll_engine) as first:
        await wait_all_tasks_blocked()
        numbers = [sock.fileno() for sock in first.inner]
        copies = [sock.dup() for sock in first.inner]
        client, from_client = tcp_pair()
        upstream, from_upstream = tcp_pair()
        first.client.send(b"for the first relay")
        first.cut()
        await first.over.wait()
        # Crosswise: the number of the first relay's client is the second's upstream.
        from_upstream = renumbered(from_upstream, numbers[0])
        from_client = renumbered(from_client, numbers[1])
        epoll_engine.start(from_client, from_upstream, FOREVER, ignore)
        first.upstream.send(b"still the first")
        client.send(b"second")
        client.shutdown(socket.SHUT_WR)
        assert await receive_all(upstream) == b"second"
        upstream.close()
        assert await receive_all(client) == b""
        for sock in (client, *copies):
            sock.close()


async def test_copies_of_a_closed_descriptor_raise_no_events(epoll_engine: EpollEngine) -> None:
    with relayed(epoll_engine) as relay:
        await wait_all_tasks_blocked()
        copy = relay.inner[0].dup()  # as a child process would have
        relay.cut()
        await relay.over.wait()
        relay.client.send(b"nobody reads this")
        assert epoll_engine._epoll is not None
        assert epoll_engine._epoll.poll(0) == []
        copy.close()


async def test_sockets_that_cannot_be_registered_are_closed(epoll_engine: EpollEngine) -> None:
    client, from_client = tcp_pair()
    upstream, from_upstream = tcp_pair()
    from_upstream.close()
    with pytest.raises(ValueError, match="negative"):
        epoll_engine.start(from_client, from_upstream, FOREVER, ignore)
    assert from_client.fileno() == -1
    assert epoll_engine.statistics().active_relays == 0
    client.close()
    upstream.close()


async def test_a_bulk_flow_leaves_turns_to_fifty_small_ones(epoll_engine: EpollEngine) -> None:
    rounds = 20
    done = 0

    async def pour(sock: socket.socket) -> None:
        while True:
            await send_all(sock, bytes(1 << 20))

    async def small() -> None:
        nonlocal done
        with relayed(epoll_engine) as relay:
            for _ in range(rounds):
                await send_all(relay.client, b"ping")
                assert await receive(relay.upstream, 4) == b"ping"
                await send_all(relay.upstream, b"pong")
                assert await receive(relay.client, 4) == b"pong"
            done += 1

    with relayed(epoll_engine) as bulk:
        async with trio.open_nursery() as flows:
            flows.start_soon(pour, bulk.client)
            flows.start_soon(receive, bulk.upstream, 1 << 40)
            async with trio.open_nursery() as others:
                for _ in range(50):
                    others.start_soon(small)
            moved = epoll_engine.statistics().bytes_up
            flows.cancel_scope.cancel()
    assert done == 50
    # 40 one-way trips of at most some cycles each, at most 8 bursts of 256 KiB a cycle.
    assert 1 << 20 < moved < rounds * 2 * 4 * 8 * 256 * 1024


async def test_more_bulk_flows_than_pipes_all_arrive_unchanged(nursery: trio.Nursery) -> None:
    engine = EpollEngine(pipes=1)
    await nursery.start(engine.run)
    data = random.Random(5).randbytes(8 * 1024 * 1024)

    async def exchange() -> None:
        with relayed(engine) as relay:
            async with trio.open_nursery() as flows:
                flows.start_soon(send_all, relay.client, data)
                assert await receive(relay.upstream, len(data)) == data

    async with trio.open_nursery() as flows:
        for _ in range(4):
            flows.start_soon(exchange)
    assert engine.statistics().pipes_in_use == 0


async def test_a_blocked_bulk_flow_keeps_its_pipe_and_loses_it_at_the_end(
    small_reads: int, epoll_engine: EpollEngine
) -> None:
    with relayed(epoll_engine) as relay:
        await block_spliced(epoll_engine, relay)
        relay.cut()
        await relay.over.wait()
        assert epoll_engine.statistics().pipes_in_use == 0


async def test_bulk_goes_on_without_pipes_when_descriptors_are_used_up(
    epoll_engine: EpollEngine,
) -> None:
    data = random.Random(6).randbytes(8 * 1024 * 1024)
    with relayed(epoll_engine) as relay:
        await wait_all_tasks_blocked()
        with no_descriptor_left():
            async with trio.open_nursery() as flows:
                flows.start_soon(send_all, relay.client, data)
                assert await receive(relay.upstream, len(data)) == data
            assert epoll_engine.statistics().pipes_in_use == 0


async def test_a_stopped_engine_leaves_no_descriptor_behind(
    small_reads: int, nursery: trio.Nursery
) -> None:
    before = open_descriptors()
    engine = EpollEngine()
    running = trio.CancelScope()

    async def run(task_status: trio.TaskStatus[None]) -> None:
        with running:
            await engine.run(task_status)

    await nursery.start(run)
    with relayed(engine) as relay:
        await block_spliced(engine, relay)
        running.cancel()
        summary = await relay.wait_summary()
        assert (summary.closed_by, summary.reason) == (Side.PROXY, CloseReason.DRAINED)
    await wait_all_tasks_blocked()
    assert open_descriptors() == before


# ---------------------------------------------------------------- to look takes its time


class Slow:
    """Takes a second to look at anything, and puts down how much others were left to do since."""

    def __init__(self, clock: MockClock, looks: list[int], *, passive: bool) -> None:
        self.passive, self._clock, self._looks = passive, clock, looks

    def see(self, data: bytes, _now: float) -> None:
        self._clock.jump(1.0)
        self._looks.append(len(data))

    def pass_on(self, data: bytes, now: float) -> bytes:
        self.see(data, now)
        return data

    def end(self, _now: float) -> bytes:
        return b""


async def longest_spell(looks: list[int], count: int) -> int:
    """How many looks there are between two turns of this task, until there were so many."""
    longest = 0
    for _ in range(100):
        if len(looks) == count:
            return longest
        before = len(looks)
        await trio.lowlevel.checkpoint()
        longest = max(longest, len(looks) - before)
    raise AssertionError(f"{len(looks)} looks and no more")


@pytest.mark.parametrize("passive", [True, False])
async def test_others_get_their_turn_though_a_batch_is_long_to_look_into(
    epoll_engine: EpollEngine,
    mock_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    *,
    passive: bool,
) -> None:
    monkeypatch.setattr("wsproxy.net.pump._UNSEEN_BYTES", 1)
    looks: list[int] = []
    slow = [Slow(mock_clock, looks, passive=passive) for _ in range(10)]
    with ExitStack() as stack:
        relays = [stack.enter_context(watched(epoll_engine, one, one)) for one in slow]
        await wait_all_tasks_blocked()
        for relay in relays:
            relay.client.send(b"up")
            relay.upstream.send(b"down")
        assert await longest_spell(looks, 20) <= 2  # trio calls tasks in any order
        for relay in relays:
            assert await receive(relay.upstream, 2) == b"up"
            assert await receive(relay.client, 4) == b"down"
        # Turns that no event announces are no different.
        looks.clear()
        for relay in relays:
            relay.up.pause(trio.current_time())
        assert await longest_spell(looks, 10) <= 2


async def test_of_a_relay_that_ends_nothing_is_left_over(
    epoll_engine: EpollEngine, mock_clock: MockClock
) -> None:
    looks: list[int] = []
    with ExitStack() as stack:
        relays = [
            stack.enter_context(watched(epoll_engine, Slow(mock_clock, looks, passive=False)))
            for _ in range(3)
        ]
        await wait_all_tasks_blocked()
        for relay in relays:
            relay.client.send(b"up")
        while not looks:
            await trio.lowlevel.checkpoint()
        assert epoll_engine._left.events
        epoll_engine.end_all(CloseReason.DRAINED)
        # Their numbers may be others' by now.
        assert not epoll_engine._left.events
        assert looks == [2, 2, 2]
        for relay in relays:
            assert await receive_all(relay.upstream) == b"up"
