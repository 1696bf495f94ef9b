"""One direction, step by step, on real sockets."""

from __future__ import annotations

import contextlib
import random
import socket
from typing import TYPE_CHECKING

import pytest

from tests.net.relays import reset, tcp_pair
from wsproxy.net.pipes import SPLICE_BYTES, PipePool
from wsproxy.net.pump import BULK_READS, BURST_READS, Pump, Room, Step

if TYPE_CHECKING:
    from collections.abc import Iterator


class Bench:
    """A pump with both outer ends in hand."""

    def __init__(self, pipes: int, early: bytes = b"") -> None:
        self.pool = PipePool(pipes)
        self.feed, self.source = tcp_pair()
        self.sink, self.taken = tcp_pair()
        self.pump = Pump(self.source, self.sink, room=Room(self.pool), early=early, now=0.0)

    def take(self) -> int:
        """Empty the far end of the sink."""
        size = 0
        while True:
            try:
                chunk = self.taken.recv(1 << 20)
            except BlockingIOError:
                return size
            if not chunk:
                return size
            size += len(chunk)

    def close(self) -> None:
        for sock in (self.feed, self.source, self.sink, self.taken):
            sock.close()
        self.pump.release()
        self.pool.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(pipes=0)
    yield made
    made.close()


@pytest.fixture
def bulk(small_reads: int) -> Iterator[Bench]:
    """A pump that has just turned to splicing, and whose source has more."""
    made = Bench(pipes=1)
    feed(made.feed)
    made.pump.step(1.0)
    made.take()
    feed(made.feed)
    yield made
    made.close()


def test_full_reads_in_a_row_borrow_a_pipe(bulk: Bench, small_reads: int) -> None:
    assert bulk.pool.in_use == 1
    assert bulk.pump.delivered == BULK_READS * small_reads


def feed(sock: socket.socket) -> None:
    """As much as the socket takes now."""
    try:
        while True:
            sock.send(bytes(65536))
    except BlockingIOError:
        pass


def test_a_step_moves_what_is_there_and_waits_for_the_source(bench: Bench) -> None:
    bench.feed.send(b"hello")
    assert bench.pump.step(7.0) is Step.SOURCE
    assert bench.taken.recv(100) == b"hello"
    assert (bench.pump.delivered, bench.pump.moved_at) == (5, 7.0)
    assert bench.pump.step(8.0) is Step.SOURCE
    assert bench.pump.moved_at == 7.0


def test_a_read_that_fills_less_than_the_buffer_is_the_last_unless_draining(bench: Bench) -> None:
    bench.feed.send(b"last")
    bench.feed.shutdown(socket.SHUT_WR)
    assert bench.pump.step(1.0) is Step.SOURCE
    bench.pump.draining = True
    assert bench.pump.step(1.0) is Step.ENDED


def test_draining_reads_on_to_the_end_in_one_step(bench: Bench) -> None:
    bench.feed.send(b"last")
    bench.feed.shutdown(socket.SHUT_WR)
    bench.pump.draining = True
    assert bench.pump.step(1.0) is Step.ENDED
    assert bench.taken.recv(100) == b"last"
    assert bench.taken.recv(100) == b""
    assert bench.pump.ended
    assert not bench.pump.truncated


def test_early_bytes_count_as_held_until_the_first_step() -> None:
    bench = Bench(pipes=0, early=b"early")
    assert bench.pump.blocked
    assert bench.pump.step(1.0) is Step.SOURCE
    assert not bench.pump.blocked
    assert bench.taken.recv(100) == b"early"
    assert bench.pump.delivered == 5
    bench.close()


def test_a_step_is_bounded_so_that_others_get_their_turn(small_reads: int) -> None:
    bench = Bench(pipes=0)
    feed(bench.feed)
    assert bench.pump.step(1.0) is Step.TURN
    assert bench.pump.delivered == BURST_READS * small_reads
    bench.close()


def test_a_blocked_sink_stops_the_reading(bench: Bench) -> None:
    while bench.pump.step(1.0) is not Step.SINK:
        feed(bench.feed)
    assert bench.pump.blocked
    assert bench.pump.truncated
    read = bench.pump.delivered
    assert bench.pump.step(2.0) is Step.SINK
    assert bench.pump.delivered == read
    taken = bench.take()
    while bench.pump.blocked:
        bench.pump.step(3.0)
        taken += bench.take()
    assert not bench.pump.truncated


def test_a_reset_source_and_a_reset_sink_are_told_apart(bench: Bench) -> None:
    reset(bench.feed)
    assert bench.pump.step(1.0) is Step.SOURCE_BROKE
    other = Bench(pipes=0)
    other.feed.send(b"x")
    reset(other.taken)
    assert other.pump.step(1.0) is Step.SINK_BROKE
    other.close()


def test_the_end_of_a_broken_stream_is_no_end(bench: Bench) -> None:
    bench.feed.shutdown(socket.SHUT_WR)
    bench.pump.source_broken = True
    assert bench.pump.step(1.0) is Step.SOURCE_BROKE
    assert bench.pump.truncated
    with pytest.raises(BlockingIOError):
        bench.taken.recv(1)


def test_an_end_that_cannot_be_passed_on_means_the_sink_broke(bench: Bench) -> None:
    bench.feed.shutdown(socket.SHUT_WR)
    reset(bench.taken)
    bench.sink.recv  # noqa: B018 (the reset is there; nothing has consumed it)
    assert bench.pump.step(1.0) is Step.SINK_BROKE
    assert not bench.pump.ended


def test_a_spliced_step_is_bounded_too(bulk: Bench) -> None:
    feed(bulk.feed)
    before = bulk.pump.delivered
    bulk.pump.step(2.0)
    assert 0 < bulk.pump.delivered - before <= SPLICE_BYTES


def test_a_flow_that_pauses_gives_its_pipe_back(bulk: Bench) -> None:
    while bulk.pump.step(2.0) is not Step.SOURCE:
        bulk.take()
    assert bulk.pool.in_use == 0
    bulk.take()
    bulk.feed.send(b"small")
    assert bulk.pump.step(3.0) is Step.SOURCE
    assert bulk.taken.recv(100) == b"small"
    assert bulk.pool.in_use == 0


def test_a_flow_that_became_small_has_to_earn_its_next_pipe(small_reads: int) -> None:
    bench = Bench(pipes=1)
    bench.feed.send(bytes(BULK_READS * small_reads))
    assert bench.pump.step(1.0) is Step.TURN
    assert bench.pool.in_use == 1
    bench.feed.send(b"small")
    assert bench.pump.step(1.0) is Step.TURN
    assert bench.pump.step(1.0) is Step.SOURCE
    assert bench.pool.in_use == 0
    bench.feed.send(bytes(small_reads))
    assert bench.pump.step(1.0) is Step.SOURCE
    assert bench.pool.in_use == 0
    assert bench.take() == (BULK_READS + 1) * small_reads + 5
    bench.close()


def test_a_spliced_flow_ends_in_order_after_its_last_byte(bulk: Bench) -> None:
    bulk.feed.shutdown(socket.SHUT_WR)
    bulk.pump.draining = True
    while bulk.pump.step(2.0) is not Step.ENDED:
        bulk.take()
    assert bulk.pool.in_use == 0
    bulk.take()
    assert bulk.taken.recv(1) == b""


def test_a_spliced_flow_sees_its_source_break(bulk: Bench) -> None:
    reset(bulk.feed)
    while (step := bulk.pump.step(2.0)) in (Step.TURN, Step.SINK):
        bulk.take()
    assert step is Step.SOURCE_BROKE


def test_a_spliced_flow_sees_its_sink_break(bulk: Bench) -> None:
    feed(bulk.feed)
    reset(bulk.taken)
    assert bulk.pump.step(2.0) is Step.SINK_BROKE


def test_a_blocked_pipe_stops_the_reading_and_is_closed_on_release(bulk: Bench) -> None:
    while bulk.pump.step(2.0) is not Step.SINK:
        feed(bulk.feed)
    assert bulk.pump.blocked
    read = bulk.pump.delivered
    assert bulk.pump.step(2.0) is Step.SINK
    assert bulk.pump.delivered == read
    bulk.take()
    bulk.pump.step(3.0)
    assert bulk.pump.delivered > read
    bulk.pump.release()
    assert bulk.pool.in_use == 0


def test_bytes_held_over_many_partial_sends_arrive_once_and_in_order() -> None:
    data = random.Random(4).randbytes(16 * 1024 * 1024)
    bench = Bench(pipes=0, early=data)
    got = bytearray()
    while len(got) < len(data):
        bench.pump.step(1.0)
        with contextlib.suppress(BlockingIOError):
            got += bench.taken.recv(300_000)
    assert bytes(got) == data
    assert bench.pump.delivered == len(data)
    bench.close()
