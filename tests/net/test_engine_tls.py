"""Relays whose ends are TLS: the same promises, in every engine."""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
import trio

from tests.net.relays import FOREVER
from tests.net.test_filter import Look
from tests.net.test_tls_socket import Pair, closing, shake_hands, trusting
from wsproxy.model import CloseReason, Side
from wsproxy.net.engine import Engine, RelaySummary
from wsproxy.net.streams import TcpStream

if TYPE_CHECKING:
    from wsproxy.net.filter import Filter, Inspection
    from wsproxy.net.tls_socket import TlsSocket

__all__ = ["trusting"]  # a fixture


class Relay:
    """Two TLS connections joined in the middle: an outer end of each is the test's."""

    def __init__(self, left: Pair, right: Pair) -> None:
        self.client, self.upstream = stream(left.client), stream(right.server)
        self.inner = left.server, right.client
        self.summary: RelaySummary | None = None
        self.over = trio.Event()

    def start(self, engine: Engine, inspection: Inspection | None = None) -> None:
        for end in self.inner:
            end.lenient = True
        engine.start(*self.inner, FOREVER, self._end, inspection=inspection)

    def _end(self, summary: RelaySummary) -> None:
        self.summary = summary
        self.over.set()


def stream(tls: TlsSocket) -> TcpStream:
    return TcpStream(tls)


async def receive(end: TcpStream, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := await end.receive_some(size - len(data))):
        data += piece
    return data


class Looks:
    """Sees both directions."""

    def __init__(self) -> None:
        self.up, self.down = Look(), Look()

    def attach(self, up: Filter, down: Filter) -> None:
        up.inspector, down.inspector = self.up, self.down


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("seen", [False, True])
async def test_both_directions_pass_and_end(
    engine: Engine, trusting: ssl.SSLContext, *, small: bool, seen: bool
) -> None:
    looks = Looks() if seen else None
    up, down = os.urandom(700_000), os.urandom(900_001)
    left, right = await shake_hands(trusting, small=small), await shake_hands(trusting, small=small)
    with closing(left), closing(right), trio.fail_after(30):
        relay = Relay(left, right)
        relay.start(engine, looks)
        got: dict[str, bytes] = {}

        async def send(end: TcpStream, data: bytes) -> None:
            await end.send_all(data)
            await end.send_eof()

        async def read(name: str, end: TcpStream) -> None:
            got[name] = await receive(end, 1 << 30)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, relay.client, up)
            nursery.start_soon(send, relay.upstream, down)
            nursery.start_soon(read, "down", relay.client)
            nursery.start_soon(read, "up", relay.upstream)
        await relay.over.wait()
        assert (got["up"] == up, got["down"] == down) == (True, True)
        assert relay.summary is not None
        assert relay.summary[:2] == (len(up), len(down))
        assert relay.summary.reason is CloseReason.EOF
    if looks is not None:
        assert (looks.up.seen == up, looks.down.seen == down) == (True, True)


async def test_one_direction_ends_and_the_other_goes_on(
    engine: Engine, trusting: ssl.SSLContext
) -> None:
    left, right = await shake_hands(trusting), await shake_hands(trusting)
    with closing(left), closing(right), trio.fail_after(30):
        relay = Relay(left, right)
        relay.start(engine)
        await relay.client.send_all(b"question")
        await relay.client.send_eof()
        assert await receive(relay.upstream, 100) == b"question"
        await relay.upstream.send_all(b"answer")
        await relay.upstream.send_eof()
        assert await receive(relay.client, 100) == b"answer"
        await relay.over.wait()
        assert relay.summary == RelaySummary(8, 6, Side.CLIENT, CloseReason.EOF)


async def test_a_side_that_hangs_up_without_a_word_ends_it(
    engine: Engine, trusting: ssl.SSLContext
) -> None:
    left, right = await shake_hands(trusting), await shake_hands(trusting)
    with closing(left), closing(right), trio.fail_after(30):
        relay = Relay(left, right)
        relay.start(engine)
        await relay.client.send_all(b"last")
        left.client_sock.shutdown(socket.SHUT_WR)
        assert await receive(relay.upstream, 100) == b"last"
        await relay.upstream.send_eof()
        await relay.over.wait()
        assert relay.summary is not None
        assert relay.summary.closed_by is Side.CLIENT


async def test_what_cannot_be_decrypted_ends_it_and_is_passed_on_as_broken(
    engine: Engine, trusting: ssl.SSLContext
) -> None:
    left, right = await shake_hands(trusting), await shake_hands(trusting)
    with closing(left), closing(right), trio.fail_after(30):
        relay = Relay(left, right)
        relay.start(engine)
        left.client_sock.send(bytes((23, 3, 3, 0, 20, *range(20))))
        await relay.over.wait()
        assert relay.summary is not None
        assert (relay.summary.closed_by, relay.summary.reason) == (Side.CLIENT, CloseReason.RESET)
        with pytest.raises(trio.BrokenResourceError):
            await relay.upstream.receive_some()
