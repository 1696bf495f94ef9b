"""Channels: events with deadlines, and broken transports in the project's own words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import h11
import pytest
import trio

from tests.support.wire import Wire, tcp_pair
from wsproxy.errors import (
    ClientGone,
    ClientProtocolError,
    ClientStalled,
    ClientTimeout,
    UpstreamClosed,
    UpstreamProtocolError,
    UpstreamStalled,
    UpstreamTimeout,
)
from wsproxy.model import ProxyRequest
from wsproxy.net import streams
from wsproxy.net.http1 import ClientChannel, UpstreamChannel, deadline
from wsproxy.net.streams import TcpStream, tune
from wsproxy.protocol.response import Response

if TYPE_CHECKING:
    from trio.testing import MockClock

GET = b"GET / HTTP/1.1\r\nHost: p\r\n\r\n"


def stream_and_wire() -> tuple[TcpStream, Wire]:
    near, far = tcp_pair()
    tune(near)
    return TcpStream(near), Wire(far)


@pytest.fixture
async def client() -> AsyncIterator[tuple[ClientChannel, Wire]]:
    stream, wire = stream_and_wire()
    channel = ClientChannel(stream)
    yield channel, wire
    channel.close()
    wire.closes()


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[UpstreamChannel, Wire]]:
    """A channel that has sent its request."""
    stream, wire = stream_and_wire()
    channel = UpstreamChannel(stream)
    channel.http.send_request("GET", b"/", [(b"Host", b"o")])
    channel.http.end_request([])
    yield channel, wire
    channel.close()
    wire.closes()


Client = tuple[ClientChannel, Wire]
Upstream = tuple[UpstreamChannel, Wire]

# ---------------------------------------------------------------- deadline


async def test_a_block_that_is_done_in_time_is_left_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with deadline(1, lambda: ClientTimeout("slow")) as scope:
        await trio.sleep(0.5)
        scope.deadline += 1
        await trio.sleep(1)
    assert trio.current_time() == 1.5


async def test_a_block_that_is_late_raises_what_it_was_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with pytest.raises(ClientTimeout, match="slow"), deadline(1, lambda: ClientTimeout("slow")):
        await trio.sleep_forever()
    assert trio.current_time() == 1


async def test_a_failure_inside_passes_through() -> None:
    with pytest.raises(KeyError), deadline(1, lambda: ClientTimeout("slow")):
        raise KeyError


async def test_a_cancellation_from_outside_is_no_timeout() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        with deadline(1, lambda: ClientTimeout("slow")):
            await trio.sleep_forever()
    assert scope.cancelled_caught


# ---------------------------------------------------------------- to a client


@pytest.mark.parametrize("bytewise", [False, True])
async def test_a_request_and_its_body_are_events(client: Client, bytewise: bool) -> None:
    channel, wire = client
    post = b"POST / HTTP/1.1\r\nHost: p\r\nContent-Length: 2\r\n\r\nhi"
    await (wire.sends_bytewise(post) if bytewise else wire.sends(post))
    wire.shuts()
    head = await channel.next_event(timeout_s=5)
    assert isinstance(head, ProxyRequest)
    body = b""
    while isinstance(event := await channel.next_event(timeout_s=5), h11.Data):
        body += event.data
    assert (head.method, body, type(event)) == ("POST", b"hi", h11.EndOfMessage)


async def test_a_client_that_says_no_more_is_none(client: Client) -> None:
    channel, wire = client
    wire.shuts()
    assert await channel.next_event(timeout_s=5) is None


async def test_a_slow_client_is_a_timeout_in_the_callers_words(client: Client) -> None:
    channel, wire = client
    await wire.sends(b"GET /")
    with pytest.raises(ClientTimeout) as caught:
        await channel.next_event(timeout_s=0.02, slow="too slow")
    assert caught.value.detail == "too slow"


async def test_a_client_that_breaks_is_gone(client: Client) -> None:
    channel, wire = client
    wire.resets()
    with pytest.raises(ClientGone):
        await channel.next_event(timeout_s=5)
    with pytest.raises(ClientGone):
        await channel.send(bytes(1 << 20), timeout_s=5)


async def test_what_is_no_request_is_the_clients_fault(client: Client) -> None:
    channel, wire = client
    await wire.sends(b"\x00")
    with pytest.raises(ClientProtocolError):
        await channel.next_event(timeout_s=5)


async def test_receiving_now_gives_what_is_there_to_the_connection(client: Client) -> None:
    channel, wire = client
    assert not channel.receive_now()
    await wire.sends(GET)
    await trio.lowlevel.wait_readable(channel.stream.sock)
    assert channel.receive_now()
    assert channel.http.has_data()
    wire.resets()
    await trio.lowlevel.wait_readable(channel.stream.sock)
    with pytest.raises(ClientGone):
        channel.receive_now()


async def test_a_large_answer_is_sent_whole(client: Client) -> None:
    channel, wire = client
    data = bytes(range(256)) * 32 * 1024
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def read() -> None:
            await trio.testing.wait_all_tasks_blocked()
            assert await wire.reads(len(data)) == data

        await channel.send(data, timeout_s=10)


async def test_a_client_that_takes_little_at_a_time_is_waited_for(
    client: Client, autojump_clock: MockClock
) -> None:
    channel, wire = client
    for sock in (channel.stream.sock, wire.sock):
        sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, 32 * 1024)
        sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 32 * 1024)
    size = 2 * 1024 * 1024
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def read() -> None:
            for _ in range(16):
                await trio.sleep(50)
                assert len(await wire.reads(size // 16)) == size // 16

        await channel.send(bytes(size), timeout_s=60)
    assert trio.current_time() >= 700


async def test_a_client_that_takes_nothing_is_a_timeout(client: Client) -> None:
    channel, _wire = client
    with pytest.raises(ClientStalled) as caught:
        await channel.send(bytes(32 << 20), timeout_s=0.02)
    assert caught.value.detail == "the client does not take the answer"


async def test_lingering_reads_what_is_on_its_way_and_closes(client: Client) -> None:
    channel, wire = client
    await channel.send(b"answer", timeout_s=5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.linger)
        await wire.sends(bytes(300_000))
        assert await wire.reads_rest() == b"answer"
        wire.shuts()
    with pytest.raises(trio.ClosedResourceError):
        _ = channel.stream.sock


async def test_lingering_has_a_bound_in_octets(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_LINGER_BYTES", 10)
    channel, wire = client
    await wire.sends(bytes(10))
    with trio.fail_after(1):
        await channel.linger()


async def test_lingering_has_a_bound_in_time(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_LINGER_S", 0.02)
    channel, wire = client
    await channel.linger()
    await wire.ends()


async def test_lingering_over_a_broken_or_closed_stream_just_closes(client: Client) -> None:
    channel, wire = client
    wire.resets()
    await trio.lowlevel.wait_readable(channel.stream.sock)
    await channel.linger()
    await channel.linger()


# ---------------------------------------------------------------- to an upstream


async def test_a_response_is_events_and_then_the_connection_is_free(upstream: Upstream) -> None:
    channel, wire = upstream
    assert not channel.reusable
    await wire.sends_bytewise(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    head = await channel.next_event(timeout_s=5)
    assert isinstance(head, Response)
    body = b""
    while isinstance(event := await channel.next_event(timeout_s=5), h11.Data):
        body += event.data
    assert (head.status, body, type(event)) == (200, b"hi", h11.EndOfMessage)
    assert channel.reusable
    await wire.sends(b"x")
    await trio.lowlevel.wait_readable(channel.stream.sock)
    assert not channel.reusable


@pytest.mark.parametrize("how", ["closes", "resets"])
async def test_an_upstream_that_leaves_is_closed(upstream: Upstream, how: str) -> None:
    channel, wire = upstream
    getattr(wire, how)()
    with pytest.raises(UpstreamClosed):
        await channel.next_event(timeout_s=5)


async def test_an_upstream_that_stays_silent_is_a_timeout(upstream: Upstream) -> None:
    channel, _wire = upstream
    with pytest.raises(UpstreamTimeout) as caught:
        await channel.next_event(timeout_s=0.02)
    assert caught.value.detail == "the origin did not answer in time"


async def test_an_upstream_that_takes_nothing_is_a_timeout(upstream: Upstream) -> None:
    channel, _wire = upstream
    with pytest.raises(UpstreamStalled) as caught:
        await channel.send(bytes(32 << 20), timeout_s=0.02)
    assert caught.value.detail == "the origin does not take the request"


async def test_what_is_no_response_is_upstreams_fault(upstream: Upstream) -> None:
    channel, wire = upstream
    await wire.sends(b"SSH-2.0-x\r\n")
    with pytest.raises(UpstreamProtocolError):
        await channel.next_event(timeout_s=5)


async def half_an_answer_and_a_reset(channel: UpstreamChannel, wire: Wire) -> None:
    """The body so far was read, the reset is still to be noticed."""
    await wire.sends(b"HTTP/1.1 200 OK\r\n\r\nhalf")
    assert isinstance(await channel.next_event(timeout_s=5), Response)
    event = await channel.next_event(timeout_s=5)
    assert isinstance(event, h11.Data)
    assert event.data == b"half"
    wire.resets()
    await trio.lowlevel.wait_readable(channel.stream.sock)


async def test_a_reset_that_a_send_was_told_of_does_not_look_like_the_end_of_the_answer(
    upstream: Upstream,
) -> None:
    channel, wire = upstream
    await half_an_answer_and_a_reset(channel, wire)
    for operation in (channel.send(b"x", timeout_s=5), channel.next_event(timeout_s=5)):
        with pytest.raises(UpstreamClosed):
            await operation


async def test_sending_nothing_leaves_a_reset_to_the_reader(upstream: Upstream) -> None:
    channel, wire = upstream
    await half_an_answer_and_a_reset(channel, wire)
    await channel.send(b"", timeout_s=5)
    with pytest.raises(UpstreamClosed):
        await channel.next_event(timeout_s=5)
