"""Relays that may not be as fast as they could, on every engine, by a clock that jumps."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.net.relays import (
    FOREVER,
    Relayed,
    fill,
    receive,
    receive_all,
    receive_until_reset,
    relayed,
    reset,
    send_all,
    tcp_pair,
)
from tests.net.test_filter import Hold, Look, watched
from tests.net.test_tls_socket import closing, shake_hands, trusting
from wsproxy.model import CloseReason, Side
from wsproxy.net.allowance import Allowance, Allowances
from wsproxy.net.engine import Engine, RelaySummary
from wsproxy.net.engine_epoll import EpollEngine
from wsproxy.net.limited import LimitedPump, make_pumps
from wsproxy.net.pipes import PipePool
from wsproxy.net.pump import BULK_READS, Pump, Room, Step
from wsproxy.net.streams import TcpStream
from wsproxy.policy.rates import Bucket, Window

__all__ = ["trusting"]  # a fixture

KIB = 1024


def at(*buckets: Bucket, portion: int = 10 * KIB, quota: Window | None = None) -> Allowances:
    """Both directions draw on the same buckets."""
    return Allowance(buckets, portion, quota), Allowance(buckets, portion, quota)


@contextmanager
def limited(engine: Engine, allowances: Allowances, *, small: bool = False) -> Iterator[Relayed]:
    limits = replace(FOREVER, allowances=allowances)
    with relayed(engine, limits=limits, small=small) as relay:
        yield relay


@pytest.fixture
def autojump_clock() -> MockClock:
    """Jumps once nothing has come over the sockets for a moment: the kernel takes its time."""
    return MockClock(autojump_threshold=0.001)


async def test_a_download_takes_its_time_and_arrives_unchanged(
    engine: Engine, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    data = random.Random(1).randbytes(1000 * KIB)
    with limited(engine, at(Bucket((100 * KIB, 1)))) as relay:
        began_at = trio.current_time()

        async def download() -> None:
            await send_all(relay.upstream, data)
            relay.upstream.shutdown(socket.SHUT_WR)

        nursery.start_soon(download)
        assert await receive_all(relay.client) == data
        # A second's worth is there at the start.
        assert 9.0 <= trio.current_time() - began_at <= 9.2
        relay.client.shutdown(socket.SHUT_WR)
        summary = await relay.wait_summary()
        assert summary == RelaySummary(0, len(data), Side.UPSTREAM, CloseReason.EOF)


async def test_each_direction_has_its_own_and_several_limits_agree(
    engine: Engine, autojump_clock: MockClock
) -> None:
    up = Allowance([Bucket((50 * KIB, 1)), Bucket((1 << 30, 1))], 5 * KIB)
    down = Allowance([Bucket((1 << 30, 1)), Bucket((200 * KIB, 1))], 20 * KIB)
    took_s: list[float] = []
    with limited(engine, (up, down)) as relay:
        began_at = trio.current_time()

        async def pass_on(source: socket.socket, sink: socket.socket) -> None:
            async with trio.open_nursery() as both:
                both.start_soon(send_all, source, bytes(250 * KIB))
                assert len(await receive(sink, 250 * KIB)) == 250 * KIB
            took_s.append(trio.current_time() - began_at)

        async with trio.open_nursery() as both:
            both.start_soon(pass_on, relay.client, relay.upstream)
            both.start_soon(pass_on, relay.upstream, relay.client)
    assert took_s == pytest.approx([0.25, 4.0], abs=0.2)


async def test_those_who_share_a_bucket_get_equal_parts(
    engine: Engine, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    bucket = Bucket((100 * KIB, 1))
    relays, ended = [], []

    async def download(number: int, relay: Relayed) -> None:
        nursery.start_soon(send_all, relay.upstream, bytes(100 * KIB))
        assert len(await receive(relay.client, 100 * KIB)) == 100 * KIB
        ended.append((number, trio.current_time()))

    async with trio.open_nursery() as downloads:
        for number in range(5):
            own = limited(engine, at(bucket))
            relays.append(own)
            downloads.start_soon(download, number, own.__enter__())
            await wait_all_tasks_blocked()
    for own in relays:
        own.__exit__(None, None, None)
    first, last = ended[0][1], ended[-1][1]
    # Whoever came first had a second's worth at once; all others end within two rounds.
    assert ended[0][0] == 0
    assert last - ended[1][1] < 1.1
    assert last - first > 3


async def test_small_messages_are_not_starved_by_bulk(
    engine: Engine, autojump_clock: MockClock
) -> None:
    bucket = Bucket((100 * KIB, 1))
    with limited(engine, at(bucket)) as bulk, limited(engine, at(bucket)) as chat:

        async def flood() -> None:
            await send_all(bulk.upstream, bytes(4000 * KIB))

        async with trio.open_nursery() as flows:
            flows.start_soon(flood)
            flows.start_soon(receive_all, bulk.client)
            await trio.sleep(5)
            for _ in range(10):
                asked_at = trio.current_time()
                await send_all(chat.upstream, b"word")
                assert await receive(chat.client, 4) == b"word"
                # One portion of the other's is ahead of it, and its own.
                assert trio.current_time() - asked_at <= 0.25
            flows.cancel_scope.cancel()


async def test_a_relay_that_waits_costs_nothing_and_feels_a_reset(
    engine: Engine, autojump_clock: MockClock
) -> None:
    bucket = Bucket((KIB, 1))
    bucket.take(trio.current_time(), 1000 * KIB, borrow=True)
    with limited(engine, at(bucket)) as relay:
        await send_all(relay.client, b"too fast")
        # Returns only once the engine sleeps: it would never, if it were spinning.
        for _ in range(3):
            await wait_all_tasks_blocked(0.01)
        reset(relay.client)
        summary = await relay.wait_summary()
        assert (summary.closed_by, summary.reason) == (Side.CLIENT, CloseReason.RESET)
        # What came before a reset is delivered without a limit.
        assert await receive_until_reset(relay.upstream) == b"too fast"


async def test_what_a_relay_was_to_get_goes_back_when_it_ends(
    engine: Engine, autojump_clock: MockClock
) -> None:
    bucket = Bucket((10 * KIB, 1))
    with limited(engine, at(bucket)) as relay:
        await send_all(relay.client, bytes(10 * KIB))
        assert len(await receive(relay.upstream, 10 * KIB)) == 10 * KIB
        await send_all(relay.client, b"more")
        await wait_all_tasks_blocked()
        engine.end_all(CloseReason.DRAINED)
        await relay.wait_summary()
    if isinstance(engine, EpollEngine):
        assert not engine._wheel, "it still waits for its time"
    assert bucket.take(trio.current_time(), 0.0) == 0.0


async def test_a_spent_quota_ends_the_relay_by_its_name(
    engine: Engine, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    quota = Window((10_000, 3600))
    with limited(engine, at(quota=quota)) as relay:
        await send_all(relay.client, bytes(4_000))
        assert len(await receive(relay.upstream, 4_000)) == 4_000
        nursery.start_soon(send_all, relay.upstream, bytes(20_000))
        summary = await relay.wait_summary()
    assert summary == RelaySummary(4_000, 6_000, Side.PROXY, CloseReason.QUOTA)


async def test_a_farewell_is_asked_for_first(engine: Engine, autojump_clock: MockClock) -> None:
    quota = Window((4, 3600))
    allowances = at(quota=quota)
    limits = replace(FOREVER, allowances=allowances)
    with watched(engine, Look(), Look(), limits=limits) as relay:

        def farewell(now: float) -> None:
            for direction in (relay.up, relay.down):
                direction.inject(b"bye")
                direction.finish(now + 2)

        for allowance in allowances:
            allowance.farewell = farewell
        await send_all(relay.client, b"word, and more")
        assert await receive_all(relay.upstream) == b"wordbye"
        assert await receive_all(relay.client) == b"bye"
        relay.client.shutdown(socket.SHUT_WR)
        relay.upstream.shutdown(socket.SHUT_WR)
        assert (await relay.wait_summary()).reason is CloseReason.EOF


@pytest.mark.parametrize("kind", ["sees", "passes on"])
async def test_what_is_looked_into_is_limited_too(
    engine: Engine, nursery: trio.Nursery, autojump_clock: MockClock, kind: str
) -> None:
    data = random.Random(2).randbytes(300 * KIB)
    look = Look() if kind == "sees" else Hold(lambda octets: octets)
    limits = replace(FOREVER, allowances=at(Bucket((100 * KIB, 1))))
    with watched(engine, look, limits=limits) as relay:
        began_at = trio.current_time()
        nursery.start_soon(send_all, relay.client, data)
        assert await receive(relay.upstream, len(data)) == data
        assert 2.0 <= trio.current_time() - began_at <= 2.2
        await wait_all_tasks_blocked()
        assert look.seen == data


async def test_ends_of_tls_are_limited_too(
    engine: Engine, trusting: ssl.SSLContext, mock_clock: MockClock
) -> None:
    data = random.Random(4).randbytes(300 * KIB)
    left, right = await shake_hands(trusting), await shake_hands(trusting)
    mock_clock.autojump_threshold = 0
    with closing(left), closing(right):
        over = trio.Event()
        limits = replace(FOREVER, allowances=at(Bucket((100 * KIB, 1))))
        engine.start(left.server, right.client, limits, lambda _summary: over.set())
        client, upstream = TcpStream(left.client), TcpStream(right.server)
        began_at = trio.current_time()
        received = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upstream.send_all, data)
            while len(received) < len(data):
                received += await client.receive_some()
        assert received == data
        assert 2.0 <= trio.current_time() - began_at <= 2.2
        engine.end_all(CloseReason.DRAINED)
        await over.wait()


# ---------------------------------------------------------------- step by step


@pytest.fixture
def pairs() -> Iterator[tuple[socket.socket, ...]]:
    made = (*tcp_pair(), *tcp_pair())
    yield made
    for sock in made:
        sock.close()


def test_without_a_limit_the_pump_is_the_plain_one(pairs: tuple[socket.socket, ...]) -> None:
    _, source, sink, _ = pairs
    room = Room(PipePool(0))
    for pump in make_pumps(source, sink, None, room=room, early=(b"", b""), now=0.0):
        assert type(pump) is Pump


def test_a_pump_says_when_it_goes_on_and_takes_nothing_with_it(
    pairs: tuple[socket.socket, ...],
) -> None:
    feed, source, sink, taken = pairs
    bucket = Bucket((1000, 1))
    pump = LimitedPump(
        (source, sink), Allowance([bucket], 600), room=Room(None), early=b"", now=0.0
    )
    feed.send(bytes(2000))
    assert [pump.step(0.0), pump.step(0.0), pump.step(0.1)] == [Step.PAUSE] * 3
    assert (pump.delivered, pump.resume_at) == (600, pytest.approx(0.2))
    assert [pump.step(0.2), pump.step(0.8)] == [Step.PAUSE, Step.PAUSE]
    assert pump.step(2.0) is Step.SOURCE
    assert pump.delivered == 2000
    assert pump.resume_at == float("inf")
    assert len(taken.recv(4000)) == 2000
    # What was claimed and not needed is there for others.
    assert bucket.take(2.0, 1000.0) == pytest.approx(0.0, abs=0.3)


def test_bulk_is_spliced_and_not_an_octet_more_than_may_pass(
    pairs: tuple[socket.socket, ...], small_reads: int
) -> None:
    feed, source, sink, taken = pairs
    pool = PipePool(1)
    ends, most = (source, sink), BULK_READS * small_reads + 5000
    bucket = Bucket((most, 1))
    pump = LimitedPump(ends, Allowance([bucket], most), room=Room(pool), early=b"", now=0.0)
    sent = fill(feed)
    assert pump.step(0.0) is Step.TURN
    assert (pump.delivered, pool.in_use) == (BULK_READS * small_reads, 1)
    received = len(taken.recv(1 << 20))
    # The rest of the portion goes through the pipe, which is given back for the pause.
    steps = [pump.step(0.0), pump.step(0.0)]
    assert steps[-1] is Step.PAUSE
    assert (pump.delivered, pool.in_use) == (most, 0)
    received += len(taken.recv(1 << 20))
    now = 0.0
    while received < sent:
        if pump.step(now) is Step.PAUSE:
            now = pump.resume_at
        with contextlib.suppress(BlockingIOError):
            received += len(taken.recv(1 << 20))
        assert pump.delivered <= most * (1 + now) + 1
    assert received == sent
    pump.release()
    pool.close()


def test_what_is_held_goes_on_though_nothing_more_may(pairs: tuple[socket.socket, ...]) -> None:
    _feed, source, sink, taken = pairs
    bucket = Bucket((1000, 1))
    bucket.take(0.0, 10_000, borrow=True)
    pump = LimitedPump(
        (source, sink), Allowance([bucket], 600), room=Room(None), early=b"held", now=0.0
    )
    assert pump.step(0.0) is Step.PAUSE
    assert taken.recv(10) == b"held"


def test_a_full_sink_gives_back_what_was_not_moved(pairs: tuple[socket.socket, ...]) -> None:
    feed, source, sink, _ = pairs
    fill(sink)
    bucket = Bucket((100_000, 1))
    pump = LimitedPump(
        (source, sink), Allowance([bucket], 50_000), room=Room(None), early=b"", now=0.0
    )
    feed.send(b"some")
    assert pump.step(0.0) is Step.SINK
    assert bucket.take(0.0, 99_996) == 0.0
