"""What stands between source and sink, on real loopback connections and in every engine."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from tests.net.relays import (
    FOREVER,
    fill,
    receive,
    receive_all,
    receive_until_reset,
    reset,
    send_all,
    shrink_buffers,
    tcp_pair,
)
from wsproxy.model import CloseReason, Side
from wsproxy.net.engine import Engine, RelayLimits, RelaySummary
from wsproxy.net.engine_epoll import EpollEngine
from wsproxy.net.engine_trio import TrioEngine
from wsproxy.net.filter import Filter, Inspector
from wsproxy.net.pump import BUFFER_BYTES, Pump, Room, Step

if TYPE_CHECKING:
    from trio.testing import MockClock


class Look:
    """Sees, and remembers."""

    passive = True

    def __init__(self) -> None:
        self.seen = b""
        self.ends = 0

    def see(self, data: bytes, now: float) -> None:
        self.seen += data

    def pass_on(self, data: bytes, now: float) -> bytes:
        raise AssertionError("a passive one was asked")

    def end(self, now: float) -> bytes:
        self.ends += 1
        return b""


class Hold(Look):
    """Passes on what `decide` says; the rest of what it holds at the end."""

    passive = False

    def __init__(self, decide: Callable[[bytes], bytes] = lambda _data: b"") -> None:
        super().__init__()
        self._decide = decide
        self.rest = b""

    def pass_on(self, data: bytes, now: float) -> bytes:
        self.seen += data
        return self._decide(data)

    def end(self, now: float) -> bytes:
        super().end(now)
        return self.rest


@dataclass(eq=False)
class Watched:
    """A relay that is looked into: its outer ends, its filters, and how it ended."""

    client: socket.socket
    upstream: socket.socket
    inspectors: tuple[Inspector | None, Inspector | None]
    attached: trio.Event = field(default_factory=trio.Event)
    over: trio.Event = field(default_factory=trio.Event)
    summaries: list[RelaySummary] = field(default_factory=list)

    def attach(self, up: Filter, down: Filter) -> None:
        self.up, self.down = up, down
        up.inspector, down.inspector = self.inspectors
        self.attached.set()

    def end(self, summary: RelaySummary) -> None:
        self.summaries.append(summary)
        self.over.set()

    async def wait_summary(self) -> RelaySummary:
        with trio.fail_after(20):
            await self.over.wait()
        (summary,) = self.summaries
        return summary


@contextmanager
def watched(
    engine: Engine,
    up: Inspector | None = None,
    down: Inspector | None = None,
    *,
    limits: RelayLimits = FOREVER,
    early: tuple[bytes, bytes] = (b"", b""),
    small: bool = False,
) -> Iterator[Watched]:
    """A relay that two inspectors look into; without one, octets pass unseen."""
    client, from_client = tcp_pair()
    upstream, from_upstream = tcp_pair()
    if small:
        shrink_buffers(client, from_client, upstream, from_upstream)
    one = Watched(client, upstream, (up, down))
    engine.start(
        from_client,
        from_upstream,
        limits,
        one.end,
        early_up=early[0],
        early_down=early[1],
        inspection=one,
    )
    try:
        yield one
    finally:
        client.close()
        upstream.close()


# ---------------------------------------------------------------- seeing


async def test_what_passes_is_seen(engine: Engine) -> None:
    up, down = Look(), Look()
    with watched(engine, up, down) as relay:
        await send_all(relay.client, b"question")
        assert await receive(relay.upstream, 8) == b"question"
        await send_all(relay.upstream, b"answer")
        assert await receive(relay.client, 6) == b"answer"
        relay.client.shutdown(socket.SHUT_WR)
        assert await receive_all(relay.upstream) == b""
        relay.upstream.close()
        assert await receive_all(relay.client) == b""
        assert await relay.wait_summary() == RelaySummary(8, 6, Side.CLIENT, CloseReason.EOF)
    assert (up.seen, up.ends, down.seen, down.ends) == (b"question", 1, b"answer", 1)


@pytest.mark.parametrize("looks", [Look, lambda: Hold(lambda data: data)], ids=["see", "pass on"])
async def test_early_octets_are_looked_into_first(
    engine: Engine, looks: Callable[[], Look]
) -> None:
    up, down = looks(), looks()
    with watched(engine, up, down, early=(b"early up, ", b"early down, ")) as relay:
        await send_all(relay.client, b"late up")
        await send_all(relay.upstream, b"late down")
        relay.client.shutdown(socket.SHUT_WR)
        relay.upstream.shutdown(socket.SHUT_WR)
        assert await receive_all(relay.upstream) == b"early up, late up"
        assert await receive_all(relay.client) == b"early down, late down"
        assert (await relay.wait_summary()).bytes_up == 17
    assert (up.seen, down.seen) == (b"early up, late up", b"early down, late down")


async def test_early_octets_that_nobody_looks_into_go_first_too(engine: Engine) -> None:
    with watched(engine, early=(b"early, ", b"")) as relay:
        await relay.attached.wait()
        relay.up.look_no_more()
        await send_all(relay.client, b"late")
        relay.client.shutdown(socket.SHUT_WR)
        assert await receive_all(relay.upstream) == b"early, late"


CHUNK = st.tuples(st.sampled_from(["up", "down"]), st.integers(1, 200_000))
CLOSE = st.permutations(["up", "down"])


@pytest.mark.parametrize("make", [EpollEngine, TrioEngine])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    chunks=st.lists(CHUNK, max_size=10),
    close_order=CLOSE,
    small=st.booleans(),
    passive=st.booleans(),
)
def test_bytes_in_are_bytes_seen_and_bytes_out(
    make: Callable[[], Engine],
    chunks: list[tuple[str, int]],
    close_order: list[str],
    small: bool,
    passive: bool,
) -> None:
    trio.run(_exchange, make(), chunks, close_order, small, passive)


async def _exchange(
    engine: Engine,
    chunks: list[tuple[str, int]],
    close_order: list[str],
    small: bool,
    passive: bool,
) -> None:
    up, down = (Look() if passive else Hold(lambda data: data) for _ in range(2))
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        with watched(engine, up, down, small=small) as relay:
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
            assert got == sent == {"up": up.seen, "down": down.seen}
            summary = await relay.wait_summary()
            assert (summary.bytes_up, summary.bytes_down) == (len(sent["up"]), len(sent["down"]))
            assert (summary.reason, up.ends, down.ends) == (CloseReason.EOF, 1, 1)
        nursery.cancel_scope.cancel()


# ---------------------------------------------------------------- passing on


async def test_what_is_not_passed_on_stays_and_goes_when_it_may(engine: Engine) -> None:
    held: list[bytes] = []

    def decide(data: bytes) -> bytes:
        held.append(data)
        return b"".join(held) if data.endswith(b"!") else b""

    with watched(engine, Hold(decide)) as relay:
        await send_all(relay.client, b"wait")
        await send_all(relay.upstream, b"meanwhile")
        assert await receive(relay.client, 9) == b"meanwhile"
        await wait_all_tasks_blocked()
        assert held == [b"wait"]
        await send_all(relay.client, b" for it!")
        assert await receive(relay.upstream, 12) == b"wait for it!"


@pytest.mark.parametrize("rest", [b"", b"the rest"])
async def test_what_is_held_at_the_end_is_the_inspectors_to_say(
    engine: Engine, rest: bytes
) -> None:
    up = Hold()
    up.rest = rest
    with watched(engine, up) as relay:
        await send_all(relay.client, b"held")
        relay.client.shutdown(socket.SHUT_WR)
        assert await receive_all(relay.upstream) == rest
        relay.upstream.close()
        assert (await relay.wait_summary()).reason is CloseReason.EOF
    assert (up.seen, up.ends) == (b"held", 1)


async def test_the_rest_waits_for_a_slow_sink(engine: Engine) -> None:
    up = Hold()
    up.rest = bytes(4 * 1024 * 1024)
    with watched(engine, up, small=True) as relay:
        relay.client.shutdown(socket.SHUT_WR)
        await wait_all_tasks_blocked()
        assert await receive_all(relay.upstream) == up.rest
        relay.upstream.close()
        assert (await relay.wait_summary()).bytes_up == len(up.rest)
    assert up.ends == 1


async def test_what_is_held_is_lost_when_the_source_breaks(engine: Engine) -> None:
    up = Hold()
    up.rest = b"never"
    with watched(engine, up) as relay:
        await send_all(relay.client, b"held")
        await wait_all_tasks_blocked()
        reset(relay.client)
        assert await receive_until_reset(relay.upstream) == b""
        summary = await relay.wait_summary()
        assert (summary.closed_by, summary.reason) == (Side.CLIENT, CloseReason.RESET)


async def test_the_rest_of_a_broken_stream_is_looked_into(engine: Engine) -> None:
    down = Look()
    with watched(engine, Look(), down) as relay:
        relay.upstream.send(b"last words")
        reset(relay.upstream)
        assert await receive_until_reset(relay.client) == b"last words"
        summary = await relay.wait_summary()
        assert (summary.closed_by, summary.reason) == (Side.UPSTREAM, CloseReason.RESET)
    assert down.seen == b"last words"


@pytest.mark.parametrize("passive", [True, False])
async def test_a_reader_that_stops_stops_the_writer(engine: Engine, *, passive: bool) -> None:
    up = Look() if passive else Hold(lambda data: data)
    with watched(engine, up, small=True) as relay:
        sent = 0
        while more := fill(relay.client):
            sent += more
            await wait_all_tasks_blocked()
        assert sent < 16 * BUFFER_BYTES
        taken = await receive(relay.upstream, len(up.seen) - BUFFER_BYTES)
        assert len(taken) == len(up.seen) - BUFFER_BYTES
        relay.client.shutdown(socket.SHUT_WR)
        await receive_all(relay.upstream)
        relay.upstream.close()
        assert (await relay.wait_summary()).bytes_up == sent == len(up.seen)


# ---------------------------------------------------------------- looking no more


async def test_bulk_is_spliced_when_nobody_looks_any_more(
    epoll_engine: EpollEngine, nursery: trio.Nursery, small_reads: int
) -> None:
    up = Look()
    with watched(epoll_engine, up) as relay:
        await send_all(relay.client, b"seen")
        assert await receive(relay.upstream, 4) == b"seen"
        relay.up.look_no_more()
        nursery.start_soon(send_all, relay.client, bytes(8 * 1024 * 1024))
        pipes = 0
        for _ in range(8 * 1024):
            await receive(relay.upstream, 1024)
            pipes = max(pipes, epoll_engine.statistics().pipes_in_use)
        assert pipes == 1
    assert up.seen == b"seen"


async def test_an_inspector_may_take_leave_while_it_is_asked(engine: Engine) -> None:
    def decide(data: bytes) -> bytes:
        relay.up.look_no_more()
        return b"all of " + data

    up = Hold(decide)
    with watched(engine, up, early=(b"early ", b"")) as relay:
        await send_all(relay.client, b"and late")
        relay.client.shutdown(socket.SHUT_WR)
        assert await receive_all(relay.upstream) == b"all of early and late"
    assert (up.seen, up.ends) == (b"early ", 0)


async def test_octets_that_nobody_looks_into_yet_pass(engine: Engine) -> None:
    with watched(engine) as relay:
        await send_all(relay.upstream, b"a greeting")
        assert await receive(relay.client, 10) == b"a greeting"
        late = Look()
        relay.down.inspector = late
        await send_all(relay.upstream, b"looked into")
        assert await receive(relay.client, 11) == b"looked into"
        assert late.seen == b"looked into"
        relay.upstream.shutdown(socket.SHUT_WR)
        assert await receive_all(relay.client) == b""


# ---------------------------------------------------------------- saying


async def test_what_is_injected_comes_behind_what_was_passed_on(engine: Engine) -> None:
    def decide(data: bytes) -> bytes:
        relay.up.inject(b"<" + data)
        relay.down.inject(b"to the client")
        return b">"

    with watched(engine, Hold(decide)) as relay:
        await send_all(relay.client, b"a")
        assert await receive(relay.upstream, 3) == b"<a>"
        assert await receive(relay.client, 13) == b"to the client"


async def test_what_is_injected_waits_for_a_slow_sink(engine: Engine) -> None:
    data = bytes(4 * 1024 * 1024)
    with watched(engine, Look(), Look(), small=True) as relay:
        await relay.attached.wait()
        relay.down.inject(data)
        await wait_all_tasks_blocked()
        assert len(await receive(relay.client, len(data))) == len(data)
        await send_all(relay.upstream, b"behind")
        assert await receive(relay.client, 6) == b"behind"


async def test_nothing_is_injected_behind_an_end(engine: Engine) -> None:
    with watched(engine, Look(), Look()) as relay:
        relay.client.shutdown(socket.SHUT_WR)
        assert await receive_all(relay.upstream) == b""
        relay.up.inject(b"too late")
        relay.down.finish(trio.current_time() + 2)
        assert await receive_all(relay.client) == b""
        relay.down.inject(b"too late")
        relay.upstream.close()
        assert (await relay.wait_summary()).bytes_up == 0


async def test_a_finished_sink_hears_the_last_word_and_the_source_is_drained(
    engine: Engine,
) -> None:
    """Closed with unread octets, the client's socket would be reset and the word be lost."""

    def decide(data: bytes) -> bytes:
        by = trio.current_time() + 2
        for direction in (relay.up, relay.down):
            direction.inject(b"the last word")
            direction.finish(by)
        return b""

    up, down = Hold(decide), Hold()
    with watched(engine, up, down) as relay:
        await send_all(relay.client, b"bad")
        assert await receive_all(relay.upstream) == b"the last word"
        for _ in range(64):
            await send_all(relay.client, bytes(64 * 1024))
            await wait_all_tasks_blocked()
        assert await receive_all(relay.client) == b"the last word"
        relay.client.shutdown(socket.SHUT_WR)
        relay.upstream.close()
        summary = await relay.wait_summary()
        assert (summary.bytes_up, summary.bytes_down) == (13, 13)
        assert summary.reason is CloseReason.EOF
    assert (up.seen, up.ends, down.ends) == (b"bad", 1, 1)


async def test_finishing_discards_what_was_not_looked_into(engine: Engine) -> None:
    up = Hold()
    with watched(engine, up, early=(b"early", b"")) as relay:
        await relay.attached.wait()
        relay.up.inject(b"bye")
        relay.up.finish(trio.current_time() + 2)
        assert await receive_all(relay.upstream) == b"bye"
        await send_all(relay.upstream, b"still here")
        assert await receive(relay.client, 10) == b"still here"
    assert up.seen == b"early"


@pytest.mark.parametrize("looked_at", [True, False])
async def test_a_source_that_goes_on_has_until_then(
    engine: Engine, autojump_clock: MockClock, *, looked_at: bool
) -> None:
    up, down = (Look(), Look()) if looked_at else (None, None)
    with watched(engine, up, down) as relay:
        await relay.attached.wait()
        began = trio.current_time()
        relay.up.finish(began + 2)
        relay.down.finish(began + 3)
        summary = await relay.wait_summary()
        assert summary.reason is CloseReason.EOF
        assert 3 <= trio.current_time() - began < 4.1
        assert await receive_all(relay.client) == b""
        assert await receive_all(relay.upstream) == b""


async def test_a_sink_that_takes_nothing_does_not_keep_the_relay(
    engine: Engine, autojump_clock: MockClock
) -> None:
    with watched(engine, Look(), Look(), small=True) as relay:
        await relay.attached.wait()
        relay.down.inject(bytes(8 * 1024 * 1024))
        began = trio.current_time()
        relay.up.finish(began + 2)
        relay.down.finish(began + 2)
        await relay.wait_summary()
        assert trio.current_time() - began < 6
        await receive_until_reset(relay.client)


@pytest.mark.parametrize("unsent", [0, 4 * 1024 * 1024])
async def test_a_side_that_breaks_does_not_take_the_last_word_from_the_other(
    engine: Engine, unsent: int
) -> None:
    with watched(engine, Look(), Look(), small=True) as relay:
        await relay.attached.wait()
        by = trio.current_time() + 60
        relay.up.inject(bytes(unsent) + b"bye")
        relay.down.inject(b"bye")
        relay.up.finish(by)
        relay.down.finish(by)
        await wait_all_tasks_blocked()
        reset(relay.upstream)
        for _ in range(20):
            await send_all(relay.client, bytes(1024))
            await wait_all_tasks_blocked()
        assert await receive_all(relay.client) == b"bye"
        relay.client.close()
        assert (await relay.wait_summary()).bytes_down == 3


async def test_a_break_in_one_finished_direction_ends_the_other(engine: Engine) -> None:
    with watched(engine, Look(), Look()) as relay:
        await relay.attached.wait()
        relay.up.finish(trio.current_time() + 60)
        assert await receive_all(relay.upstream) == b""
        reset(relay.client)
        summary = await relay.wait_summary()
        assert (summary.closed_by, summary.reason) == (Side.CLIENT, CloseReason.RESET)


async def test_an_end_may_be_the_cue_to_finish(engine: Engine) -> None:
    class LastWord(Hold):
        def end(self, now: float) -> bytes:
            relay.down.inject(b"bye")
            relay.down.finish(now + 2)
            relay.up.finish(now + 2)
            return super().end(now)

    up = LastWord()
    up.rest = b"the rest"
    with watched(engine, up, Look()) as relay:
        relay.client.shutdown(socket.SHUT_WR)
        assert await receive_all(relay.upstream) == b"the rest"
        assert await receive_all(relay.client) == b"bye"
        relay.upstream.close()
        await relay.wait_summary()
    assert up.ends == 1


# ---------------------------------------------------------------- pausing


def pausing(relay: list[Watched], pause_s: float) -> Hold:
    """Passes everything on and pauses after each read."""

    def decide(data: bytes) -> bytes:
        if data:
            relay[0].up.pause(trio.current_time() + pause_s)
        return data

    return Hold(decide)


async def test_a_paused_source_waits_and_goes_on_by_itself(
    engine: Engine, autojump_clock: MockClock
) -> None:
    relays: list[Watched] = []
    up = pausing(relays, 5)
    with watched(engine, up) as relay:
        relays.append(relay)
        began = trio.current_time()
        for number in range(4):
            await send_all(relay.client, b"%d" % number)
            await wait_all_tasks_blocked()
        assert up.seen == b"0"
        assert await receive(relay.upstream, 4) == b"0123"
        assert 5 <= trio.current_time() - began < 6.1
        await send_all(relay.client, b"4")
        relay.client.shutdown(socket.SHUT_WR)
        assert await receive_all(relay.upstream) == b"4"
        assert trio.current_time() - began >= 10


async def test_what_was_kept_back_goes_on_behind_the_pause(
    engine: Engine, autojump_clock: MockClock
) -> None:
    kept: list[bytes] = []

    def decide(data: bytes) -> bytes:
        if data:
            kept.append(data)
            relay.up.pause(trio.current_time() + 5)
            return b""
        return kept.pop()

    with watched(engine, Hold(decide)) as relay:
        began = trio.current_time()
        await send_all(relay.client, b"late")
        assert await receive(relay.upstream, 4) == b"late"
        assert 5 <= trio.current_time() - began < 6.1


async def test_a_pause_may_begin_while_nothing_comes(
    engine: Engine, autojump_clock: MockClock
) -> None:
    with watched(engine, Hold(lambda data: data or b"late")) as relay:
        await relay.attached.wait()
        await wait_all_tasks_blocked()
        began = trio.current_time()
        relay.up.pause(began + 5)
        assert await receive(relay.upstream, 4) == b"late"
        assert 5 <= trio.current_time() - began < 6.1


async def test_what_goes_on_behind_a_pause_may_be_the_last_word(
    engine: Engine, autojump_clock: MockClock
) -> None:
    def decide(data: bytes) -> bytes:
        if data:
            relay.up.pause(trio.current_time() + 5)
        else:
            relay.up.inject(b"bye")
            relay.up.finish(trio.current_time() + 2)
        return b""

    with watched(engine, Hold(decide)) as relay:
        began = trio.current_time()
        await send_all(relay.client, b"late")
        assert await receive_all(relay.upstream) == b"bye"
        assert 5 <= trio.current_time() - began < 6.1


async def test_what_goes_on_behind_a_pause_waits_for_a_slow_sink(
    engine: Engine, autojump_clock: MockClock
) -> None:
    def decide(data: bytes) -> bytes:
        if data:
            relay.up.pause(trio.current_time() + 5)
        return b"" if data else bytes(4 * 1024 * 1024)

    with watched(engine, Hold(decide), small=True) as relay:
        await send_all(relay.client, b"late")
        relay.client.shutdown(socket.SHUT_WR)
        assert len(await receive_all(relay.upstream)) == 4 * 1024 * 1024


async def test_a_pause_is_no_barrier_to_the_other_direction(
    engine: Engine, autojump_clock: MockClock
) -> None:
    relays: list[Watched] = []
    with watched(engine, pausing(relays, 30), Look()) as relay:
        relays.append(relay)
        began = trio.current_time()
        await send_all(relay.client, b"a")
        assert await receive(relay.upstream, 1) == b"a"
        await send_all(relay.upstream, b"b")
        assert await receive(relay.client, 1) == b"b"
        relay.upstream.shutdown(socket.SHUT_WR)
        assert await receive_all(relay.client) == b""
        assert trio.current_time() == began


async def test_a_paused_source_that_sends_much_is_not_read(
    engine: Engine, autojump_clock: MockClock
) -> None:
    relays: list[Watched] = []
    up = pausing(relays, 1)
    with watched(engine, up, small=True) as relay:
        relays.append(relay)
        sent = 0
        while more := fill(relay.client):
            sent += more
            await wait_all_tasks_blocked()
        assert len(up.seen) <= BUFFER_BYTES
        assert len(await receive(relay.upstream, sent)) == sent
        assert trio.current_time() >= sent // BUFFER_BYTES


async def test_a_paused_source_may_break(engine: Engine, autojump_clock: MockClock) -> None:
    relays: list[Watched] = []
    with watched(engine, pausing(relays, 600)) as relay:
        relays.append(relay)
        began = trio.current_time()
        await send_all(relay.client, b"a")
        assert await receive(relay.upstream, 1) == b"a"
        reset(relay.client)
        assert (await relay.wait_summary()).reason is CloseReason.RESET
        assert trio.current_time() - began < 5


async def test_a_finish_ends_a_pause(engine: Engine, autojump_clock: MockClock) -> None:
    relays: list[Watched] = []
    with watched(engine, pausing(relays, 600), Look()) as relay:
        relays.append(relay)
        began = trio.current_time()
        await send_all(relay.client, b"a")
        assert await receive(relay.upstream, 1) == b"a"
        relay.up.inject(b"bye")
        relay.up.finish(began + 2)
        relay.down.finish(began + 2)
        assert await receive_all(relay.upstream) == b"bye"
        await relay.wait_summary()
        assert trio.current_time() - began < 4


async def test_a_pause_counts_as_idle(engine: Engine, autojump_clock: MockClock) -> None:
    relays: list[Watched] = []
    limits = RelayLimits(idle_timeout_s=10, lifetime_s=3600)
    with watched(engine, pausing(relays, 600), limits=limits) as relay:
        relays.append(relay)
        await send_all(relay.client, b"a")
        assert (await relay.wait_summary()).reason is CloseReason.IDLE
        assert await receive_all(relay.upstream) == b"a"


async def test_what_is_held_back_counts_as_activity(
    engine: Engine, autojump_clock: MockClock
) -> None:
    limits = RelayLimits(idle_timeout_s=10, lifetime_s=3600)
    with watched(engine, Hold(), limits=limits) as relay:
        began = trio.current_time()
        for _ in range(5):
            await send_all(relay.client, b"more of a long message")
            await trio.sleep(8)
        assert not relay.summaries
        assert (await relay.wait_summary()).reason is CloseReason.IDLE
        assert trio.current_time() - began >= 42


# ---------------------------------------------------------------- what is seen later


class Noting(Look):
    """Notes who saw what, in a list that others share."""

    def __init__(self, seen: list[bytes]) -> None:
        super().__init__()
        self._all = seen

    def see(self, data: bytes, now: float) -> None:
        self._all.append(data)


def wait_readable(sock: socket.socket) -> None:
    assert select.select([sock], [], [], 20)[0]


def tapped(seen: list[bytes], room: Room) -> tuple[Pump, socket.socket, socket.socket]:
    """A pump with a passive inspector, and the outer ends of source and sink."""
    outer_source, source = tcp_pair()
    outer_sink, sink = tcp_pair()
    pump = Pump(source, sink, room=room, early=b"", now=0.0)
    pump.filter = Filter(pump, b"", lambda _pump: None)
    pump.filter.inspector = Noting(seen)
    return pump, outer_source, outer_sink


def test_what_went_on_is_seen_later_and_in_order() -> None:
    seen: list[bytes] = []
    room = Room(None)
    one, other = tapped(seen, room), tapped(seen, room)
    assert [pump.step(0.5) for pump, *_ in (one, other)] == [Step.SOURCE] * 2
    for (pump, source, sink), data in ((other, b"1"), (one, b"2"), (other, b"3")):
        source.sendall(data)
        wait_readable(pump.source)
        assert pump.step(1.0) is Step.SOURCE
        assert sink.recv(10) == data
        assert seen == []
    assert one[0].step(2.0) is Step.SOURCE
    assert seen == []
    room.catch_up()
    assert seen == [b"1", b"2", b"3"]
    # More than so many octets are not kept for later, whoever said them.
    one[1].sendall(b"4")
    wait_readable(one[0].source)
    one[0].step(3.0)
    for number in range(8):
        assert seen[3:] == []
        assert room.unseen_bytes == 1 + 4096 * number
        other[1].sendall(bytes(4096))
        wait_readable(other[0].source)
        other[0].step(3.0)
    assert seen[3:] == [b"4", *[bytes(4096)] * 8]
    assert room.unseen_bytes == 0
    assert room.unseen == []
    for pump, source, sink in (one, other):
        for sock in (pump.source, pump.sink, source, sink):
            sock.close()


def test_the_end_comes_behind_what_was_not_seen_yet() -> None:
    seen: list[bytes] = []
    pump, source, sink = tapped(seen, Room(None))
    source.sendall(b"last words")
    wait_readable(pump.source)
    pump.step(1.0)
    source.close()
    wait_readable(pump.source)
    assert pump.step(2.0) is Step.ENDED
    assert seen == [b"last words"]
    for sock in (pump.source, pump.sink, sink):
        sock.close()
