"""What every engine promises, on real loopback connections."""

from __future__ import annotations

import hashlib
import random
import socket
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from tests.net.relays import (
    FOREVER,
    fill,
    ignore,
    open_descriptors,
    receive,
    receive_all,
    receive_until_reset,
    relayed,
    reset,
    send_all,
    tcp_pair,
)
from wsproxy.model import CloseReason, Side
from wsproxy.net.engine import Engine, RelayLimits, RelaySummary, best_engine
from wsproxy.net.engine_epoll import EpollEngine
from wsproxy.net.engine_trio import TrioEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock


def test_the_best_engine_of_linux_is_the_epoll_one() -> None:
    assert isinstance(best_engine(), EpollEngine)


async def test_bytes_pass_both_ways_and_the_summary_counts_them(engine: Engine) -> None:
    with relayed(engine) as relay:
        await send_all(relay.client, b"question")
        assert await receive(relay.upstream, 8) == b"question"
        await send_all(relay.upstream, b"an answer")
        assert await receive(relay.client, 9) == b"an answer"
        assert engine.statistics().active_relays == 1
        assert engine.statistics().bytes_up == 8
        assert engine.statistics().bytes_down == 9

        relay.client.shutdown(socket.SHUT_WR)
        assert await receive_all(relay.upstream) == b""
        relay.upstream.shutdown(socket.SHUT_WR)
        assert await receive_all(relay.client) == b""

        assert await relay.wait_summary() == RelaySummary(8, 9, Side.CLIENT, CloseReason.EOF)
        assert relay.is_closed_inside()
        assert engine.statistics().active_relays == 0
        assert engine.statistics().bytes_up == 8
        assert engine.statistics().bytes_down == 9


async def test_early_bytes_go_first(engine: Engine) -> None:
    with relayed(engine, early=(b"early up, ", b"early down, ")) as relay:
        await send_all(relay.client, b"late up")
        await send_all(relay.upstream, b"late down")
        relay.client.shutdown(socket.SHUT_WR)
        relay.upstream.shutdown(socket.SHUT_WR)
        assert await receive_all(relay.upstream) == b"early up, late up"
        assert await receive_all(relay.client) == b"early down, late down"
        summary = await relay.wait_summary()
        assert (summary.bytes_up, summary.bytes_down) == (17, 21)


async def test_bulk_in_both_directions_at_once_arrives_unchanged(engine: Engine) -> None:
    sent = [random.Random(seed).randbytes(24 * 1024 * 1024) for seed in (1, 2)]
    got: dict[int, bytes] = {}

    async def pass_on(source: socket.socket, data: bytes) -> None:
        await send_all(source, data)
        source.shutdown(socket.SHUT_WR)

    async def take(index: int, sink: socket.socket) -> None:
        got[index] = hashlib.sha256(await receive_all(sink)).digest()

    with relayed(engine) as relay:
        async with trio.open_nursery() as flows:
            flows.start_soon(pass_on, relay.client, sent[0])
            flows.start_soon(pass_on, relay.upstream, sent[1])
            flows.start_soon(take, 0, relay.upstream)
            flows.start_soon(take, 1, relay.client)
        assert [got[0], got[1]] == [hashlib.sha256(data).digest() for data in sent]
        summary = await relay.wait_summary()
        assert (summary.bytes_up, summary.bytes_down) == (len(sent[0]), len(sent[1]))
        assert summary.reason is CloseReason.EOF
        assert engine.statistics().pipes_in_use == 0


@pytest.mark.parametrize("first", [Side.CLIENT, Side.UPSTREAM])
async def test_half_close_ends_one_direction_and_the_other_goes_on(
    engine: Engine, first: Side
) -> None:
    with relayed(engine) as relay:
        early, late = relay.client, relay.upstream
        if first is Side.UPSTREAM:
            early, late = late, early
        await send_all(early, b"last words")
        early.shutdown(socket.SHUT_WR)
        assert await receive_all(late) == b"last words"
        for _ in range(3):
            await send_all(late, b"still here")
            assert await receive(early, 10) == b"still here"
        assert not relay.over.is_set()
        late.close()
        assert await receive_all(early) == b""
        summary = await relay.wait_summary()
        assert (summary.closed_by, summary.reason) == (first, CloseReason.EOF)


async def test_end_of_stream_waits_for_bytes_a_slow_reader_has_not_taken(engine: Engine) -> None:
    data = random.Random(3).randbytes(3 * 1024 * 1024)
    with relayed(engine, small=True) as relay:

        async def upload() -> None:
            await send_all(relay.client, data)
            relay.client.shutdown(socket.SHUT_WR)

        async with trio.open_nursery() as flows:
            flows.start_soon(upload)
            await wait_all_tasks_blocked()
            assert await receive_all(relay.upstream) == data
        relay.upstream.shutdown(socket.SHUT_WR)
        assert (await relay.wait_summary()).bytes_up == len(data)


async def test_a_reader_that_stops_stops_the_writer(engine: Engine) -> None:
    with relayed(engine, small=True) as relay:
        total = 0
        while accepted := fill(relay.client):
            total += accepted
            await wait_all_tasks_blocked()
        # Small kernel buffers, one read buffer or one pipe: far from all it would send.
        assert total < 1024 * 1024
        assert engine.statistics().bytes_up < total
        assert await receive(relay.upstream, total) == bytes(total)
        assert engine.statistics().bytes_up == total
        relay.client.close()
        relay.upstream.close()


@pytest.mark.parametrize("side", [Side.CLIENT, Side.UPSTREAM])
async def test_a_reset_is_passed_on_as_a_reset(engine: Engine, side: Side) -> None:
    with relayed(engine) as relay:
        breaking, surviving = relay.client, relay.upstream
        if side is Side.UPSTREAM:
            breaking, surviving = surviving, breaking
        await send_all(breaking, b"truncated")
        reset(breaking)
        assert await receive_until_reset(surviving) == b"truncated"
        summary = await relay.wait_summary()
        assert (summary.closed_by, summary.reason) == (side, CloseReason.RESET)
        assert summary.bytes_up + summary.bytes_down == 9
        assert relay.is_closed_inside()


async def test_what_arrived_before_a_reset_reaches_a_slow_reader(engine: Engine) -> None:
    with relayed(engine, small=True) as relay:
        total = fill(relay.upstream)
        await wait_all_tasks_blocked()
        # All of it is on the proxy's side of the connection before the reset throws it away.
        while accepted := fill(relay.upstream):
            total += accepted
            await wait_all_tasks_blocked()
        before = engine.statistics().bytes_down
        reset(relay.upstream)
        received = await receive_until_reset(relay.client)
        summary = await relay.wait_summary()
        assert len(received) == summary.bytes_down > before
        assert summary.closed_by is Side.UPSTREAM


async def test_a_reset_is_noticed_while_nobody_reads_the_other_side(
    engine: Engine, autojump_clock: MockClock
) -> None:
    with relayed(engine, small=True) as relay:
        while fill(relay.client):
            await wait_all_tasks_blocked()
        began = trio.current_time()
        reset(relay.client)
        summary = await relay.wait_summary()
        assert (summary.closed_by, summary.reason) == (Side.CLIENT, CloseReason.RESET)
        assert trio.current_time() - began < 3
        await receive_until_reset(relay.upstream)


async def test_no_deadline_and_no_end_all_disturbs_the_delivery_after_a_reset(
    engine: Engine, autojump_clock: MockClock
) -> None:
    with relayed(engine, limits=RelayLimits(1, 3600), small=True) as relay:
        while fill(relay.client):
            await wait_all_tasks_blocked()
        reset(relay.client)
        await trio.sleep(0.6)
        engine.end_all(CloseReason.DRAINED)
        await trio.sleep(0.9)
        assert not relay.over.is_set()
        summary = await relay.wait_summary()
        assert (summary.closed_by, summary.reason) == (Side.CLIENT, CloseReason.RESET)


async def test_writing_to_a_side_that_is_gone_says_who_broke(engine: Engine) -> None:
    with relayed(engine) as relay:
        relay.upstream.close()
        assert await receive_all(relay.client) == b""
        await send_all(relay.client, b"anybody there?")
        summary = await relay.wait_summary()
        assert (summary.closed_by, summary.reason) == (Side.UPSTREAM, CloseReason.RESET)


async def test_urgent_data_does_not_stall_the_stream(engine: Engine) -> None:
    with relayed(engine) as relay:
        await send_all(relay.client, b"before")
        relay.client.send(b"!", socket.MSG_OOB)
        await send_all(relay.client, b"after")
        assert await receive(relay.upstream, 11) == b"beforeafter"


async def test_an_idle_relay_ends_and_a_busy_one_does_not(
    engine: Engine, autojump_clock: MockClock
) -> None:
    limits = RelayLimits(idle_timeout_s=10, lifetime_s=3600)
    with relayed(engine, limits=limits) as relay:
        for _ in range(5):
            await trio.sleep(9)
            await send_all(relay.client, b".")
            assert await receive(relay.upstream, 1) == b"."
        busy_until = trio.current_time()
        summary = await relay.wait_summary()
        assert summary == RelaySummary(5, 0, Side.PROXY, CloseReason.IDLE)
        assert 10 <= trio.current_time() - busy_until <= 10.5
        assert await receive_all(relay.client) == b""
        assert await receive_all(relay.upstream) == b""


async def test_a_short_idle_timeout_is_met_within_a_tenth_of_a_second(
    engine: Engine, autojump_clock: MockClock
) -> None:
    with relayed(engine, limits=RelayLimits(0.2, 3600)) as relay:
        began = trio.current_time()
        assert (await relay.wait_summary()).reason is CloseReason.IDLE
        assert 0.2 <= trio.current_time() - began <= 0.3


async def test_a_later_relay_with_an_earlier_deadline_is_not_late(
    engine: Engine, autojump_clock: MockClock
) -> None:
    with relayed(engine) as patient:
        await wait_all_tasks_blocked()
        with relayed(engine, limits=RelayLimits(3600, 2)) as brief:
            began = trio.current_time()
            assert await brief.wait_summary() == RelaySummary(
                0, 0, Side.PROXY, CloseReason.LIFETIME
            )
            assert 2 <= trio.current_time() - began <= 2.1
        assert not patient.over.is_set()


async def test_lifetime_ends_a_busy_relay(engine: Engine, autojump_clock: MockClock) -> None:
    with relayed(engine, limits=RelayLimits(5, 12)) as relay:
        for _ in range(3):
            await trio.sleep(3.9)
            await send_all(relay.upstream, b".")
            assert await receive(relay.client, 1) == b"."
        assert await relay.wait_summary() == RelaySummary(0, 3, Side.PROXY, CloseReason.LIFETIME)


async def test_a_reader_that_is_stuck_counts_as_idle_and_is_reset(
    engine: Engine, autojump_clock: MockClock
) -> None:
    with relayed(engine, limits=RelayLimits(10, 3600), small=True) as relay:
        while fill(relay.client):
            await wait_all_tasks_blocked()
        assert (await relay.wait_summary()).reason is CloseReason.IDLE
        # It is still owed bytes, so it must not see an orderly end.
        await receive_until_reset(relay.upstream)


async def test_cutting_a_relay_closes_both_sockets(engine: Engine) -> None:
    with relayed(engine) as relay:
        await send_all(relay.client, b"x")
        assert await receive(relay.upstream, 1) == b"x"
        relay.cut()
        assert await relay.wait_summary() == RelaySummary(1, 0, Side.PROXY, CloseReason.REVOKED)
        assert relay.is_closed_inside()
        assert await receive_all(relay.client) == b""
        assert engine.statistics().active_relays == 0
        assert engine.statistics().bytes_up == 1


async def test_end_all_ends_every_relay_in_order(engine: Engine) -> None:
    with relayed(engine) as one, relayed(engine) as two:
        await wait_all_tasks_blocked()
        one.client.send(b"pending")
        engine.end_all(CloseReason.DRAINED)
        engine.end_all(CloseReason.TIMEOUT)
        assert await one.wait_summary() == RelaySummary(7, 0, Side.PROXY, CloseReason.DRAINED)
        assert await two.wait_summary() == RelaySummary(0, 0, Side.PROXY, CloseReason.DRAINED)
        assert await receive_all(one.upstream) == b"pending"
        for sock in (one.client, two.client, two.upstream):
            assert await receive_all(sock) == b""


@pytest.mark.parametrize("make", [EpollEngine, TrioEngine])
async def test_stopping_the_engine_ends_its_relays(
    make: Callable[[], Engine], nursery: trio.Nursery
) -> None:
    engine = make()
    running = trio.CancelScope()

    async def run(task_status: trio.TaskStatus[None]) -> None:
        with running:
            await engine.run(task_status)

    await nursery.start(run)
    with relayed(engine) as relay:
        await wait_all_tasks_blocked()
        running.cancel()
        assert await relay.wait_summary() == RelaySummary(0, 0, Side.PROXY, CloseReason.DRAINED)


@pytest.mark.parametrize("make", [EpollEngine, TrioEngine])
async def test_an_engine_that_does_not_run_takes_no_relay(make: Callable[[], Engine]) -> None:
    client, from_client = tcp_pair()
    upstream, from_upstream = tcp_pair()
    with pytest.raises(RuntimeError):
        make().start(from_client, from_upstream, FOREVER, ignore)
    assert from_client.fileno() == from_upstream.fileno() == -1
    client.close()
    upstream.close()


async def test_a_thousand_relays_leave_no_descriptor_behind(engine: Engine) -> None:
    before = open_descriptors()

    async def one(number: int) -> None:
        with relayed(engine) as relay:
            await send_all(relay.client, b"%d" % number)
            assert await receive(relay.upstream, len(b"%d" % number)) == b"%d" % number
            (reset if number % 3 == 0 else socket.socket.close)(relay.client)
            if number % 3 == 1:
                relay.cut()
            else:
                relay.upstream.close()
            await relay.over.wait()

    for start in range(0, 1000, 50):
        async with trio.open_nursery() as batch:
            for number in range(start, start + 50):
                batch.start_soon(one, number)
    assert open_descriptors() == before
    assert engine.statistics().active_relays == 0


CHUNK = st.tuples(st.sampled_from(["up", "down"]), st.integers(1, 200_000))
CLOSE = st.permutations(["up", "down"])


@pytest.mark.parametrize("make", [EpollEngine, TrioEngine])
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(chunks=st.lists(CHUNK, max_size=12), close_order=CLOSE, small=st.booleans())
def test_bytes_in_are_bytes_out_for_any_chunks_and_close_order(
    make: Callable[[], Engine],
    chunks: list[tuple[str, int]],
    close_order: list[str],
    small: bool,
) -> None:
    trio.run(_exchange, make(), chunks, close_order, small)


async def _exchange(
    engine: Engine, chunks: list[tuple[str, int]], close_order: list[str], small: bool
) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        with relayed(engine, small=small) as relay:
            ends = {
                "up": (relay.client, relay.upstream),
                "down": (relay.upstream, relay.client),
            }
            sent = {"up": b"", "down": b""}
            got: dict[str, bytes] = {}

            async def take(way: str) -> None:
                got[way] = await receive_all(ends[way][1])

            async with trio.open_nursery() as flows:
                flows.start_soon(take, "up")
                flows.start_soon(take, "down")
                for number, (way, size) in enumerate(chunks):
                    data = bytes([number + 1]) * size
                    sent[way] += data
                    await send_all(ends[way][0], data)
                for way in close_order:
                    ends[way][0].shutdown(socket.SHUT_WR)
            assert got == sent
            summary = await relay.wait_summary()
            assert (summary.bytes_up, summary.bytes_down) == (len(sent["up"]), len(sent["down"]))
            assert summary.reason is CloseReason.EOF
        nursery.cancel_scope.cancel()


async def test_a_relay_without_a_task_tells_its_end_once(engine: Engine) -> None:
    near, client = tcp_pair()
    far, upstream = tcp_pair()
    ends: list[RelaySummary] = []
    engine.start(near, far, FOREVER, ends.append, early_up=b"early ", early_down=b"hello ")
    await send_all(client, b"up")
    assert await receive(upstream, 8) == b"early up"
    client.shutdown(socket.SHUT_WR)
    await send_all(upstream, b"down")
    upstream.close()
    assert await receive_all(client) == b"hello down"
    with trio.fail_after(5):
        await engine.wait_empty()
    client.close()
    assert ends == [RelaySummary(8, 10, Side.CLIENT, CloseReason.EOF)]
    assert (near.fileno(), far.fileno()) == (-1, -1)


async def test_waiting_for_no_relay_at_all_takes_no_time(engine: Engine) -> None:
    with trio.fail_after(1):
        await engine.wait_empty()


async def test_a_fault_in_what_follows_an_end_touches_no_other_relay(
    epoll_engine: EpollEngine, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(_summary: RelaySummary) -> None:
        raise RuntimeError("a bug")

    near, client = tcp_pair()
    far, upstream = tcp_pair()
    epoll_engine.start(near, far, FOREVER, crash)
    client.close()
    upstream.close()
    with trio.fail_after(5):
        await epoll_engine.wait_empty()
    assert "a bug" in caplog.text
    near, client = tcp_pair()
    far, upstream = tcp_pair()
    epoll_engine.start(near, far, FOREVER, lambda _summary: None)
    await send_all(client, b"still here")
    assert await receive(upstream, 10) == b"still here"
    client.close()
    upstream.close()
    with trio.fail_after(5):
        await epoll_engine.wait_empty()


async def test_an_engine_that_does_not_run_starts_no_relay() -> None:
    for engine in (EpollEngine(), TrioEngine()):
        near, client = tcp_pair()
        far, upstream = tcp_pair()
        with pytest.raises(RuntimeError):
            engine.start(near, far, FOREVER, lambda _summary: None)
        assert (near.fileno(), far.fileno()) == (-1, -1)
        client.close()
        upstream.close()


async def test_a_relay_that_was_started_can_be_ended_once(engine: Engine) -> None:
    near, client = tcp_pair()
    far, upstream = tcp_pair()
    ends: list[RelaySummary] = []
    relay = engine.start(near, far, FOREVER, ends.append, early_up=b"early")
    assert await receive(upstream, 5) == b"early"
    relay.cut(CloseReason.REVOKED)
    assert await receive_all(client) == b""
    assert await receive_all(upstream) == b""
    with trio.fail_after(5):
        await engine.wait_empty()
    relay.cut(CloseReason.DRAINED)
    assert ends == [RelaySummary(5, 0, Side.PROXY, CloseReason.REVOKED)]
    client.close()
    upstream.close()
