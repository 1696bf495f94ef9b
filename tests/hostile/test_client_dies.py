"""Clients that vanish at every octet of a request: nothing is completed in their name."""

from __future__ import annotations

import socket

import pytest
import trio

from tests.hostile.origins import answer_strictly
from tests.hostile.room import AT_ONCE, Room, new_client_address
from tests.hostile.strict import Incomplete, read_requests
from tests.support.rawnet import open_origin, reset

BODIES = {
    "length": b"Content-Length: 40\r\n\r\n" + b"b" * 40,
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n14\r\n" + b"c" * 20 + b"\r\n0\r\nX-A: b\r\n\r\n",
}


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "when the origin has something"])
@pytest.mark.parametrize("framing", BODIES)
async def test_a_request_cut_by_a_reset_is_never_completed(
    open_proxy: Room, framing: str, waits: bool
) -> None:
    """One origin a client, so that what each of them received can be told apart."""
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def one(offset: int) -> None:
        source = new_client_address()
        async with limiter, open_origin(answer_strictly) as origin:
            start = b"POST http://%b/ HTTP/1.1\r\nHost: x\r\n" % origin.authority
            data = start + BODIES[framing]
            head_size = data.index(b"\r\n\r\n") + 4
            size = min(offset, len(data) - 1)
            with trio.socket.socket() as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await sock.bind((source, 0))
                await sock.connect(open_proxy.proxy.address)
                stream = trio.SocketStream(sock)
                await stream.send_all(data[:size])
                if waits and size >= head_size:
                    await origin.wait_received()
                reset(stream)
            await trio.to_thread.run_sync(open_proxy.wait_for_records, source, 1)
            await origin.wait_finished()
            try:
                requests = read_requests(origin.received, origin.authority).requests
            except Incomplete:
                requests = ()
            assert [(offset, request.complete) for request in requests if request.complete] == []
        open_proxy.seen[source] += 1

    longest = 60 + max(map(len, BODIES.values()))
    async with trio.open_nursery() as nursery:
        for offset in range(1, longest):
            nursery.start_soon(one, offset)
    open_proxy.check_descriptors()


async def test_tunnels_cut_by_their_clients_end_at_the_origin(open_proxy: Room) -> None:
    """A reset is passed on as a reset: the origin must not take it for the orderly end."""
    async with open_origin(answer_strictly) as origin:
        connect = b"CONNECT %b HTTP/1.1\r\nHost: x\r\n\r\n" % origin.authority
        source = new_client_address()
        for _ in range(50):
            with trio.socket.socket() as sock:
                await sock.bind((source, 0))
                await sock.connect(open_proxy.proxy.address)
                stream = trio.SocketStream(sock)
                await stream.send_all(connect + b"G")
                await stream.receive_some(1000)
                reset(stream)
        open_proxy.seen[source] += 50
        await trio.to_thread.run_sync(open_proxy.wait_for_records, source, 50)
        await origin.wait_finished()
    assert {connection.ended for connection in origin.connections} == {"reset"}
    open_proxy.check_descriptors()
