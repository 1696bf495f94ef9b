"""`TcpStream`: a socket that keeps trio's promises."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from tests.support.wire import Wire, tcp_pair
from wsproxy.net import streams
from wsproxy.net.streams import (
    RECEIVE_SIZE,
    TcpStream,
    is_exhausted,
    tune,
    wait_either_readable,
)


class Pair:
    """A stream, and the far end in the test's hand."""

    def __init__(self) -> None:
        near, far = tcp_pair()
        tune(near)
        self.stream = TcpStream(near)
        self.far = Wire(far)

    def fill(self) -> int:
        """Sends until the kernel takes no more; how much that was."""
        total = 0
        while sent := self.stream.send_nowait(bytes(65536)):
            total += sent
        return total


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = Pair()
    yield made
    made.stream.close()
    made.far.closes()


def test_tuning_makes_a_socket_prompt_and_non_blocking() -> None:
    near, far = tcp_pair()
    tune(near)
    assert not near.getblocking()
    assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    near.close()
    far.close()


@pytest.mark.parametrize(
    ("code", "exhausted"),
    [
        (errno.EMFILE, True),
        (errno.ENFILE, True),
        (errno.ENOBUFS, True),
        (errno.ENOMEM, True),
        (errno.ECONNABORTED, False),
    ],
)
def test_exhaustion_is_told_from_other_failures(code: int, exhausted: bool) -> None:
    assert is_exhausted(OSError(code, "x")) is exhausted


async def test_what_is_sent_is_received_in_pieces_of_a_bounded_size(pair: Pair) -> None:
    await pair.far.sends(b"hello")
    assert await pair.stream.receive_some(2) == b"he"
    assert await pair.stream.receive_some() == b"llo"
    await pair.far.sends(bytes(2 * RECEIVE_SIZE))
    assert 0 < len(await pair.stream.receive_some()) <= RECEIVE_SIZE


async def test_receiving_waits_and_ends_with_nothing(pair: Pair) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.far.sends, b"late")
        assert await pair.stream.receive_some() == b"late"
    pair.far.shuts()
    assert await pair.stream.receive_some() == b""


async def test_receiving_now_tells_nothing_yet_from_the_end(pair: Pair) -> None:
    assert pair.stream.receive_nowait() is None
    await pair.far.sends(b"x")
    await trio.lowlevel.wait_readable(pair.stream.sock)
    assert pair.stream.receive_nowait() == b"x"
    pair.far.shuts()
    await trio.lowlevel.wait_readable(pair.stream.sock)
    assert pair.stream.receive_nowait() == b""


async def test_sending_waits_for_a_slow_peer_and_loses_nothing(pair: Pair) -> None:
    data = bytes(range(256)) * 64 * 1024
    received = bytearray()

    async def read() -> None:
        while len(received) < len(data):
            received.extend(await pair.far.reads(1 << 20))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.stream.send_all, data)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(read)
    assert bytes(received) == data


async def test_sending_now_takes_what_fits(pair: Pair) -> None:
    assert pair.stream.send_nowait(b"abc") == 3
    pair.fill()
    assert pair.stream.send_nowait(b"abc") == 0


async def test_a_full_socket_is_waited_for(pair: Pair) -> None:
    total = pair.fill()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.far.reads, total)
        with trio.fail_after(10):
            await pair.stream.wait_send_all_might_not_block()
    assert pair.stream.send_nowait(b"x") == 1


async def test_a_reset_is_a_broken_stream_to_a_receiver(pair: Pair) -> None:
    pair.far.resets()
    with pytest.raises(trio.BrokenResourceError):
        await pair.stream.receive_some()


async def test_a_reset_is_a_broken_stream_to_who_looks(pair: Pair) -> None:
    pair.far.resets()
    await trio.lowlevel.wait_readable(pair.stream.sock)
    with pytest.raises(trio.BrokenResourceError):
        pair.stream.receive_nowait()


async def test_a_reset_is_a_broken_stream_to_a_sender(pair: Pair) -> None:
    pair.far.resets()
    await trio.lowlevel.wait_readable(pair.stream.sock)
    with pytest.raises(trio.BrokenResourceError):
        await pair.stream.send_all(b"x")
    with pytest.raises(trio.BrokenResourceError):
        pair.stream.send_nowait(b"x")


async def test_a_half_close_leaves_the_other_direction(pair: Pair) -> None:
    await pair.stream.send_eof()
    await pair.far.ends()
    await pair.far.sends(b"still")
    assert await pair.stream.receive_some() == b"still"


async def test_a_half_close_of_a_broken_stream_says_so(pair: Pair) -> None:
    pair.far.resets()
    await trio.lowlevel.wait_readable(pair.stream.sock)
    with pytest.raises(trio.BrokenResourceError):
        await pair.stream.send_eof()


async def test_readable_means_data_the_end_or_an_error(pair: Pair) -> None:
    assert not pair.stream.is_readable()
    await pair.far.sends(b"x")
    await trio.lowlevel.wait_readable(pair.stream.sock)
    assert pair.stream.is_readable()
    assert await pair.stream.receive_some() == b"x"
    pair.far.shuts()
    await trio.lowlevel.wait_readable(pair.stream.sock)
    assert pair.stream.is_readable()


async def test_a_broken_stream_is_readable(pair: Pair) -> None:
    pair.far.resets()
    await trio.lowlevel.wait_readable(pair.stream.sock)
    assert pair.stream.is_readable()


async def test_a_closed_stream_says_that_it_is_closed(pair: Pair) -> None:
    sock = pair.stream.sock
    await pair.stream.aclose()
    await pair.stream.aclose()
    assert sock.fileno() == -1
    with pytest.raises(trio.ClosedResourceError):
        await pair.stream.receive_some()
    with pytest.raises(trio.ClosedResourceError):
        await pair.stream.send_all(b"x")
    with pytest.raises(trio.ClosedResourceError):
        pair.stream.detach()


async def test_closing_wakes_whoever_waits(pair: Pair) -> None:
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await pair.stream.receive_some()

        await trio.testing.wait_all_tasks_blocked()
        pair.stream.close()


async def test_a_detached_socket_stays_open(pair: Pair) -> None:
    sock = pair.stream.detach()
    pair.stream.close()
    assert sock.send(b"mine") == 4
    await pair.far.expects(b"mine")
    sock.close()


@pytest.mark.parametrize("operation", ["receive_some", "send_all", "send_eof", "aclose"])
async def test_every_operation_can_be_cancelled(pair: Pair, operation: str) -> None:
    arguments = [b"x"] if operation == "send_all" else []
    with trio.CancelScope() as scope:
        scope.cancel()
        await getattr(pair.stream, operation)(*arguments)
    assert scope.cancelled_caught


@pytest.mark.parametrize("how", ["epoll", "no descriptor left", "elsewhere"])
@pytest.mark.parametrize("side", [0, 1])
async def test_whichever_can_be_read_first(
    monkeypatch: pytest.MonkeyPatch, how: str, side: int
) -> None:
    def refuse(_size: int) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    if how == "no descriptor left":
        monkeypatch.setattr(streams.select, "epoll", refuse)
    if how == "elsewhere":
        monkeypatch.setattr(streams.sys, "platform", "darwin")
    pairs = [tcp_pair(), tcp_pair()]
    for near, _far in pairs:
        tune(near)
    both = [TcpStream(near) for near, _far in pairs]
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            await wait_either_readable(*both)
            nursery.cancel_scope.cancel()

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        pairs[side][1].send(b"x")
        with trio.fail_after(5):
            await trio.sleep_forever()
    assert nursery.cancel_scope.cancelled_caught
    assert [stream.is_readable() for stream in both] == [side == 0, side == 1]
    for stream, (_near, far) in zip(both, pairs, strict=True):
        stream.close()
        far.close()
