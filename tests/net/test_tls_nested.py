"""TLS inside TLS, as of a tunnel that is looked into by way of an https proxy."""

from __future__ import annotations

import os
import socket
import ssl

import pytest
import trio

from tests.net.relays import FOREVER
from tests.net.test_tls_socket import HOST, PEM, Pair, closing, shake_hands, trusting
from tests.support.wire import tcp_pair
from wsproxy.errors import ClientTlsError, UpstreamTlsError
from wsproxy.model import CloseReason
from wsproxy.net.engine import Engine, RelaySummary
from wsproxy.net.streams import TcpStream
from wsproxy.net.tls import leaf_context, start_client_tls, start_upstream_tls
from wsproxy.net.tls_socket import TlsSocket

__all__ = ["trusting"]  # a fixture


async def nest(outer: Pair, trusting: ssl.SSLContext) -> Pair:
    """Another handshake, inside."""
    ends: dict[str, TlsSocket] = {}

    async def serve() -> None:
        ends["server"] = await start_client_tls(outer.server, leaf_context(PEM), b"", timeout_s=20)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        ends["client"] = await start_upstream_tls(outer.client, trusting, HOST, timeout_s=20)
    return Pair(ends["client"], ends["server"], outer.client_sock, outer.server_sock)


async def read_all(stream: TcpStream) -> bytes:
    data = bytearray()
    while piece := await stream.receive_some():
        data += piece
    return bytes(data)


@pytest.mark.parametrize("small", [False, True])
async def test_a_relay_passes_everything_and_each_side_ends_by_itself(
    engine: Engine, trusting: ssl.SSLContext, *, small: bool
) -> None:
    up, down = os.urandom(700_000), os.urandom(900_001)
    near, far = tcp_pair()
    near.setblocking(False)
    far.setblocking(False)
    over, summaries = trio.Event(), list[RelaySummary]()
    got: dict[str, bytes] = {}

    def end(summary: RelaySummary) -> None:
        summaries.append(summary)
        over.set()

    async def send(stream: TcpStream, data: bytes) -> None:
        await stream.send_all(data)
        await stream.send_eof()

    async def read(name: str, stream: TcpStream) -> None:
        got[name] = await read_all(stream)

    outer = await shake_hands(trusting, small=small)
    with closing(outer), trio.fail_after(30):
        inner = await nest(outer, trusting)
        client, upstream = TcpStream(inner.client), TcpStream(far)
        await client.send_all(up[:5])
        await trio.lowlevel.wait_readable(inner.server)
        early = inner.server.recv(3) + inner.server.take_ready()
        engine.start(inner.server, near, FOREVER, end, early_up=early)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, client, up[5:])
            nursery.start_soon(send, upstream, down)
            nursery.start_soon(read, "down", client)
            nursery.start_soon(read, "up", upstream)
        await over.wait()
        upstream.close()
    assert (got["up"] == up, got["down"] == down) == (True, True)
    assert summaries[0].reason is CloseReason.EOF


async def test_what_no_event_will_tell_of_is_taken_from_both_layers(
    trusting: ssl.SSLContext,
) -> None:
    outer = await shake_hands(trusting)
    with closing(outer), trio.fail_after(20):
        inner = await nest(outer, trusting)
        inner.client.send(b"a word")
        await trio.lowlevel.wait_readable(outer.server_sock)
        # It waits in the outer layer, decrypted, and nothing of it in the kernel.
        assert outer.server.recv(65536, socket.MSG_PEEK)
        assert inner.server.take_ready() == b"a word"


async def test_a_handshake_that_fails_inside_ends_the_outside_in_order(
    trusting: ssl.SSLContext,
) -> None:
    outer = await shake_hands(trusting)
    failed = []

    async def serve() -> None:
        with pytest.raises(ClientTlsError) as caught:
            await start_client_tls(outer.server, leaf_context(PEM), b"", timeout_s=20)
        failed.append(caught.value)

    with closing(outer), trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            with pytest.raises(UpstreamTlsError):
                await start_upstream_tls(
                    outer.client, ssl.create_default_context(), HOST, timeout_s=20
                )
    assert failed[0].token == "tls_alert_received"
