"""T17, T18, T20: those who are slow on purpose, on either side, and those who are too many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
import trio

from tests.hostile.judge import CONNECTED
from tests.hostile.origins import answer_strictly
from tests.hostile.room import Room, new_client_address, open_room
from tests.hostile.strict import Response, read_responses
from tests.support.proxy_process import OPEN_TO_LOOPBACK
from tests.support.rawnet import (
    Connection,
    Exchange,
    exchange,
    open_origin,
    record_only,
)

DEADLINE_S = 0.4
GRACE_S = 1.0  # G4: gone within the deadline and one second
_CONNECTIONS = 40
_IMPATIENT = (
    OPEN_TO_LOOPBACK
    + f"""
limits: {{connections: {_CONNECTIONS}}}
timeouts:
  request_head: 400ms
  body: 400ms
  stalled: 400ms
  keep_alive: 400ms
  response_head: 400ms
"""
)
_TUNNELS_IDLE = OPEN_TO_LOOPBACK + "timeouts: {idle: 1500ms}\n"


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """A proxy with short deadlines for everything but tunnels, and few places."""
    with open_room(_IMPATIENT, tmp_path_factory.mktemp("impatient")) as room:
        yield room


async def _timed(room: Room, pieces: list[bytes], *, every_s: float = 0.0) -> Exchange:
    """Sends `pieces`, one every `every_s`, and expects the proxy to end it in time."""
    source = new_client_address()

    async def pause() -> None:
        await trio.sleep(every_s)  # the pace is the attack

    paced = [part for piece in pieces for part in (piece, b"")] if every_s else pieces
    began_at = trio.current_time()
    seen = await exchange(room.proxy.address, paced, source=source, gate=pause)
    took_s = trio.current_time() - began_at
    room.seen[source] += 1
    assert seen.ended in ("eof", "reset"), "hang"
    assert took_s < DEADLINE_S + GRACE_S
    return seen


def _only(seen: Exchange, method: str = "GET") -> Response:
    (response,), rest = read_responses(seen.received, (method,), ended=seen.ended == "eof")
    assert rest == b""
    return response


async def test_a_client_that_says_nothing_is_dropped(impatient: Room) -> None:
    seen = await _timed(impatient, [])
    assert seen.received == b"" or _only(seen).status == 408


@pytest.mark.parametrize(
    "start",
    [
        b"G",
        b"GET http://127.0.0.1:1/ HTTP/1.1\r\n",
        b"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\n\r",
    ],
    ids=["one octet", "a line", "all but one octet"],
)
async def test_a_head_that_stops_is_answered_408(impatient: Room, start: bytes) -> None:
    assert _only(await _timed(impatient, [start])).status == 408


async def test_a_head_that_drips_does_not_buy_time(impatient: Room) -> None:
    head = b"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 100
    drops = [head[n : n + 1] for n in range(len(head))]
    assert _only(await _timed(impatient, drops, every_s=0.02)).status == 408


@pytest.mark.parametrize(
    "body",
    [b"Content-Length: 10\r\n\r\nhel", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel"],
    ids=["length", "chunked"],
)
async def test_a_body_that_stops_is_answered_408_and_never_completed(
    impatient: Room, body: bytes
) -> None:
    async with open_origin(record_only) as origin:
        head = b"POST http://%b/ HTTP/1.1\r\nHost: x\r\n" % origin.authority
        seen = await _timed(impatient, [head + body])
        await origin.wait_finished()
        received = origin.received
    assert _only(seen, "POST").status == 408
    assert received == b"" or b"hello" not in received
    assert not received.endswith(b"0\r\n\r\n")


async def test_an_idle_connection_is_closed_without_a_word(impatient: Room) -> None:
    async with open_origin(answer_strictly) as origin:
        seen = await _timed(
            impatient, [b"GET http://%b/ HTTP/1.1\r\nHost: x\r\n\r\n" % origin.authority]
        )
    assert (seen.ended, _only(seen).status) == ("eof", 200)


async def test_a_silent_origin_is_answered_504(impatient: Room) -> None:
    async with open_origin(record_only) as origin:
        seen = await _timed(
            impatient,
            [b"GET http://%b/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % origin.authority],
        )
    response = _only(seen)
    assert response.status == 504
    assert b"error=http_response_timeout" in (response.value(b"proxy-status") or b"")


async def _drip_fields(connection: Connection) -> None:
    await connection.receive_until(b"\r\n\r\n")
    await connection.send(b"HTTP/1.1 200 OK\r\n")
    while await connection.send(b"X: y\r\n"):  # noqa: ASYNC110 - the pace is the attack
        await trio.sleep(0.05)


async def _drip_interim(connection: Connection) -> None:
    await connection.receive_until(b"\r\n\r\n")
    interim = b"HTTP/1.1 102 Processing\r\n\r\n"
    while await connection.send(interim):  # noqa: ASYNC110 - the pace is the attack
        await trio.sleep(0.05)


@pytest.mark.parametrize("behaviour", [_drip_fields, _drip_interim])
async def test_an_origin_whose_head_drips_is_given_up(impatient: Room, behaviour: object) -> None:
    drip = _drip_fields if behaviour is _drip_fields else _drip_interim
    async with open_origin(drip) as origin:
        seen = await _timed(
            impatient,
            [b"GET http://%b/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % origin.authority],
        )
    responses, _ = read_responses(seen.received, ("GET",))
    assert responses[-1].status in (502, 504)
    assert {response.status for response in responses[:-1]} <= {102}


async def _stop_in_the_body(connection: Connection) -> None:
    await connection.receive_until(b"\r\n\r\n")
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhel")
    await connection.drain()


async def test_an_origin_that_stops_in_its_body_is_cut(impatient: Room) -> None:
    async with open_origin(_stop_in_the_body) as origin:
        seen = await _timed(
            impatient, [b"GET http://%b/ HTTP/1.1\r\nHost: x\r\n\r\n" % origin.authority]
        )
        await origin.wait_finished()
    response = _only(seen)
    assert (response.status, response.body, response.complete) == (200, b"hel", False)


async def test_a_tunnel_without_traffic_ends(tmp_path_factory: pytest.TempPathFactory) -> None:
    with open_room(_TUNNELS_IDLE, tmp_path_factory.mktemp("idle")) as room:
        source = new_client_address()
        async with open_origin(record_only) as origin:
            connect = [b"CONNECT %b HTTP/1.1\r\nHost: x\r\n\r\n" % origin.authority]

            async def ask_the_bystander() -> None:
                while True:  # its own traffic keeps it alive
                    await trio.to_thread.run_sync(room.check_bystander)
                    await trio.sleep(0.2)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask_the_bystander)
                seen = await exchange(room.proxy.address, connect, source=source)
                nursery.cancel_scope.cancel()
            await origin.wait_finished()
        room.seen[source] += 1
    assert seen.received == CONNECTED
    assert seen.ended in ("eof", "reset")


async def test_more_clients_than_places_are_told_so_and_the_rest_goes_on(impatient: Room) -> None:
    """503 with Retry-After beyond the limit; a place that is given back is used again."""
    async with open_origin(record_only) as origin, AsyncExitStack() as stack:
        connect = b"CONNECT %b HTTP/1.1\r\nHost: x\r\n\r\n" % origin.authority
        source = new_client_address()
        for _ in range(_CONNECTIONS - 1):  # the bystander has one
            stream = trio.SocketStream(trio.socket.socket())
            await stack.enter_async_context(stream)
            await stream.socket.bind((source, 0))
            await stream.socket.connect(impatient.proxy.address)
            await stream.send_all(connect)
            assert await stream.receive_some(1000) == CONNECTED
        refused = [await _timed(impatient, [connect]) for _ in range(20)]
        statuses = {_only(seen).status for seen in refused}
        waits = {_only(seen).value(b"retry-after") for seen in refused}
        impatient.check_bystander()
    impatient.seen[source] += _CONNECTIONS - 1
    assert statuses == {503}
    assert waits == {b"1"}
    impatient.check_descriptors()
    async with open_origin(answer_strictly) as origin:
        again = await _timed(
            impatient, [b"GET http://%b/ HTTP/1.1\r\nHost: x\r\n\r\n" % origin.authority]
        )
    assert _only(again).status == 200
