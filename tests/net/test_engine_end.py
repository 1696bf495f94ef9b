"""What the side that is left gets to see."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import trio
from trio.testing import wait_all_tasks_blocked

from tests.net.relays import fill, receive, receive_all, receive_until_reset, reset, tcp_pair
from tests.net.test_filter import Look
from wsproxy.net.engine_end import DELIVERY_S, close_sockets, deliver_rest
from wsproxy.net.filter import Filter
from wsproxy.net.pump import Pump, Room

if TYPE_CHECKING:
    from trio.testing import MockClock


def pumps() -> tuple[Pump, Pump, socket.socket, socket.socket]:
    """Both pumps of a relay, its client and its upstream."""
    client, from_client = tcp_pair()
    upstream, from_upstream = tcp_pair()
    room = Room(None)
    up = Pump(from_client, from_upstream, room=room, early=b"", now=0.0)
    down = Pump(from_upstream, from_client, room=room, early=b"", now=0.0)
    return up, down, client, upstream


async def test_the_rest_of_a_broken_stream_is_delivered_before_the_reset() -> None:
    up, down, client, upstream = pumps()
    upstream.send(b"the rest")
    reset(upstream)
    await deliver_rest(down)
    assert down.truncated
    close_sockets(up, down)
    assert await receive_until_reset(client) == b"the rest"
    client.close()


async def test_a_slow_reader_gets_the_rest_as_it_reads() -> None:
    up, down, client, upstream = pumps()
    total = fill(down.sink) + fill(upstream)
    reset(upstream)
    received: list[bytes] = []
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            received.append(await receive_until_reset(client))

        nursery.start_soon(read)
        await deliver_rest(down)
        close_sockets(up, down)
    # What the reset found unsent on the upstream's own side is gone; all else arrived.
    assert total - len(received[0]) < total / 2
    assert len(received[0]) > down.delivered
    client.close()


async def test_what_is_delivered_is_seen_before_anything_is_waited_for() -> None:
    up, down, client, upstream = pumps()
    down.filter = Filter(down, b"", lambda _pump: None)
    down.filter.inspector = look = Look()
    held = fill(down.sink)
    upstream.send(b"half of a frame")
    reset(upstream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deliver_rest, down)
        await wait_all_tasks_blocked()
        # Whoever says Close now has to know what stands before it.
        assert look.seen == b"half of a frame"
        await receive(client, held)
        await receive(client, len(look.seen))
    close_sockets(up, down)
    client.close()


async def test_a_reader_that_stopped_is_not_waited_for_beyond_the_bound(
    autojump_clock: MockClock,
) -> None:
    up, down, client, upstream = pumps()
    fill(down.sink)
    upstream.send(b"never read")
    reset(upstream)
    began = trio.current_time()
    await deliver_rest(down)
    assert DELIVERY_S <= trio.current_time() - began < DELIVERY_S + 0.1
    close_sockets(up, down)
    await receive_until_reset(client)
    client.close()


async def test_closing_an_orderly_relay_is_an_orderly_end_for_both() -> None:
    up, down, client, upstream = pumps()
    close_sockets(up, down)
    assert await receive_all(client) == b""
    assert await receive_all(upstream) == b""
    client.close()
    upstream.close()


async def test_a_sink_that_is_owed_bytes_is_reset_and_the_other_is_not() -> None:
    up, down, client, upstream = pumps()
    down.blocked = True
    close_sockets(up, down)
    assert await receive_until_reset(client) == b""
    assert await receive_all(upstream) == b""
    client.close()
    upstream.close()
