"""Peers that take nothing, and those who only take it slowly, on every engine."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.net.relays import (
    FOREVER,
    fill,
    receive,
    receive_until_reset,
    relayed,
    send_all,
    tcp_pair,
)
from wsproxy.model import CloseReason, Side
from wsproxy.net.engine import Engine
from wsproxy.net.progress import Progress, unsent_bytes

PIECE = 64 * 1024
IMPATIENT = replace(FOREVER, stalled_timeout_s=60)


@pytest.fixture
def autojump_clock() -> MockClock:
    """Jumps once nothing has come over the sockets for a moment: the kernel takes its time."""
    return MockClock(autojump_threshold=0.001)


def test_what_is_acknowledged_counts_though_nothing_more_is_accepted() -> None:
    sink, peer = tcp_pair()
    fill(sink)
    stuck = Progress.first(sink, 1.0)
    assert stuck.queued > 0
    assert stuck.look(sink, accepted=0, now=2.0) is stuck
    while peer.recv(1 << 20) and Progress.first(sink, 1.0).queued == stuck.queued:
        pass
    moved = stuck.look(sink, accepted=0, now=3.0)
    assert (moved.since, moved.accepted) == (3.0, 0)
    assert moved.queued < stuck.queued
    sink.close()
    peer.close()


def test_what_is_no_tcp_has_no_queue() -> None:
    with open("/dev/null", "rb") as nothing:
        assert unsent_bytes(nothing) == 0


@pytest.mark.parametrize("side", [Side.CLIENT, Side.UPSTREAM])
async def test_a_side_that_takes_nothing_is_named_and_reset(
    engine: Engine, autojump_clock: MockClock, side: Side
) -> None:
    with relayed(engine, limits=IMPATIENT, small=True) as relay:
        deaf, writer = relay.client, relay.upstream
        if side is Side.UPSTREAM:
            deaf, writer = writer, deaf
        while fill(writer):
            await wait_all_tasks_blocked()
        began_at = trio.current_time()
        summary = await relay.wait_summary()
        assert (summary.closed_by, summary.reason) == (side, CloseReason.STALLED)
        assert 60 <= trio.current_time() - began_at <= 90
        # It is still owed bytes, so it must not see an orderly end.
        await receive_until_reset(deaf)


async def test_traffic_the_other_way_does_not_save_it(
    engine: Engine, autojump_clock: MockClock
) -> None:
    with relayed(engine, limits=IMPATIENT, small=True) as relay:
        while fill(relay.upstream):
            await wait_all_tasks_blocked()
        for _ in range(5):
            await trio.sleep(10)
            await send_all(relay.client, b".")
            assert await receive(relay.upstream, 1) == b"."
        summary = await relay.wait_summary()
        assert (summary.closed_by, summary.reason) == (Side.CLIENT, CloseReason.STALLED)


async def test_a_slow_reader_and_one_with_nothing_to_read_stay(
    engine: Engine, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    with relayed(engine, limits=IMPATIENT, small=True) as relay:
        await trio.sleep(1000)
        nursery.start_soon(send_all, relay.upstream, bytes(8 * PIECE))
        for _ in range(8):
            await trio.sleep(40)
            # Enough for the peer's window to open: on loopback a segment is 64 KiB.
            assert len(await receive(relay.client, PIECE)) == PIECE
        assert not relay.over.is_set()
        relay.upstream.shutdown(socket.SHUT_WR)
        relay.client.shutdown(socket.SHUT_WR)
        assert (await relay.wait_summary()).reason is CloseReason.EOF
