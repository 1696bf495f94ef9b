"""G11: upstream dies at every octet of an exchange; the client is told, and not lied to.

Three deaths: ``fin`` closes the connection, ``half`` ends one direction and goes on reading,
``rst`` resets.  A message that upstream did not finish must not look finished to the client,
in any framing; what did arrive is passed on.
"""

from __future__ import annotations

import re

import pytest
import trio

from tests.hostile.dying import Deaths, sweep
from tests.hostile.judge import CONNECTED
from tests.hostile.room import Room, new_client_address
from tests.hostile.strict import Response, read_responses
from tests.support.rawnet import (
    Connection,
    exchange,
    open_origin,
    reset,
)

BODY = bytes(range(65, 91)) * 4
_OK = b"HTTP/1.1 200 OK\r\nX-Padding: " + b"p" * 20 + b"\r\n"
MESSAGES = {
    "length": _OK + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY,
    "chunked": _OK
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + b"".join(b"1a\r\n" + BODY[n : n + 26] + b"\r\n" for n in range(0, len(BODY), 26))
    + b"0\r\nX-A: b\r\n\r\n",
    "until close": _OK + b"\r\n" + BODY,
}
TUNNELLED = bytes(range(256))
by_death = pytest.mark.parametrize("death", ["fin", "half", "rst"])


@by_death
@pytest.mark.parametrize("framing", MESSAGES)
async def test_a_message_that_was_not_finished_is_never_completed(
    open_proxy: Room, framing: str, death: str
) -> None:
    message, deaths = MESSAGES[framing], Deaths()
    async with open_origin(deaths.dying(message, death)) as origin:
        rest = b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        requests = [
            [b"GET http://%b/%d" % (origin.authority, offset) + rest]
            for offset in range(len(message) + 1)
        ]
        seen = await sweep(open_proxy, requests, deaths)
    for offset, outcome in enumerate(seen):
        (response,), _ = read_responses(outcome.received, ("GET",), ended=outcome.ended == "eof")
        _check(response, message, offset, framing=framing, death=death)
    open_proxy.check_descriptors()


def _check(response: Response, message: bytes, offset: int, *, framing: str, death: str) -> None:
    head_size = message.index(b"\r\n\r\n") + 4
    if offset < head_size:
        assert (offset, response.status, response.complete) == (offset, 502, True)
        return
    is_whole = offset == len(message) if framing != "until close" else death != "rst"
    if death == "rst" and response.status == 502:
        return  # the reset overtook the head
    assert (offset, response.status) == (offset, 200)
    assert BODY.startswith(response.body)
    if not is_whole:
        assert (offset, response.complete) == (offset, False)
    elif death != "rst":
        assert (offset, response.complete) == (offset, True)
        expected = BODY if framing != "until close" else message[head_size:offset]
        assert response.body == expected


@by_death
async def test_an_http_1_0_client_learns_of_a_cut_body_by_a_reset(
    open_proxy: Room, death: str
) -> None:
    """Where only the end of the connection ends a body, an orderly end says that it is whole."""
    message, deaths = MESSAGES["until close"], Deaths()
    head_size = message.index(b"\r\n\r\n") + 4
    async with open_origin(deaths.dying(message, death)) as origin:
        requests = [
            [b"GET http://%b/%d HTTP/1.0\r\n\r\n" % (origin.authority, offset)]
            for offset in range(len(message) + 1)
        ]
        seen = await sweep(open_proxy, requests, deaths)
    for offset, outcome in enumerate(seen[head_size:], head_size):
        if death == "rst":
            assert (offset, outcome.ended) == (offset, "reset") or b" 502 " in outcome.received
        else:
            assert (offset, outcome.ended) == (offset, "eof")
            assert outcome.received.endswith(b"\r\n\r\n" + message[head_size:offset])
    open_proxy.check_descriptors()


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_reset_that_the_upload_meets_first_does_not_end_the_answer_in_order(
    open_proxy: Room, version: bytes
) -> None:
    """The kernel tells of a reset once: here to a send, and the next read sees an end."""

    async def answer_and_reset(connection: Connection) -> None:
        await connection.receive_until(b"\r\n\r\n")
        await connection.send(_OK + b"\r\nshort")
        reset(connection.stream)

    async def one(authority: bytes) -> None:
        source = new_client_address()
        size = 1024 * 1024
        head = b"POST http://%b/ HTTP/%b\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        send = [head % (authority, version, size)] + [bytes(1024)] * (size // 1024)
        seen = await exchange(open_proxy.proxy.address, send, source=source)
        open_proxy.seen[source] += 1
        assert seen.ended is not None
        if b" 502 " in seen.received[:20]:
            return  # the reset overtook the answer
        if version == b"1.0":
            assert seen.ended == "reset"
        else:
            assert b"\r\n0\r\n" not in seen.received

    async with open_origin(answer_and_reset) as origin:
        for _ in range(4):
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(one, origin.authority)
    open_proxy.check_descriptors()


@by_death
async def test_a_tunnel_ends_with_its_upstream_and_delivers_what_came(
    open_proxy: Room, death: str
) -> None:
    deaths = Deaths()
    async with open_origin(deaths.dying(TUNNELLED, death)) as origin:
        connect = b"CONNECT %b HTTP/1.1\r\nHost: x\r\n\r\n" % origin.authority
        requests = [
            [connect + b"GET /%d HTTP/1.1\r\n\r\n" % offset] for offset in range(len(TUNNELLED) + 1)
        ]
        seen = await sweep(open_proxy, requests, deaths)
    for offset, outcome in enumerate(seen):
        assert outcome.received.startswith(CONNECTED)
        got = outcome.received.removeprefix(CONNECTED)
        if death == "rst":
            assert TUNNELLED[:offset].startswith(got)
            assert (offset, outcome.ended) == (offset, "reset")
        else:
            assert (offset, got) == (offset, TUNNELLED[:offset])
            assert (offset, outcome.ended) == (offset, "eof")
    open_proxy.check_descriptors()


@by_death
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_an_upload_whose_origin_dies_is_answered_502(
    open_proxy: Room, framing: str, death: str
) -> None:
    """The origin has read some octets of the body when it dies without a word."""
    deaths = Deaths()

    async def behave(connection: Connection) -> None:
        await connection.receive_until(b"\r\n\r\n")
        match = re.match(rb"POST /(\d+) ", connection.received)
        assert match is not None
        offset = int(match[1])
        while len(connection.received.partition(b"\r\n\r\n")[2]) < offset:
            assert await connection.receive()
        await deaths.die(connection, death, offset)

    is_chunked = framing == "chunked"
    field_line = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: 150"
    async with open_origin(behave) as origin:
        requests = []
        for offset in range(150):
            head = b"POST http://%b/%d HTTP/1.1\r\nHost: x\r\n" % (origin.authority, offset)
            # As much of the body as the origin waits for; the rest is never sent.
            body = b"%x\r\n" % 200 + b"u" * offset if is_chunked else b"u" * offset
            requests.append([head + field_line + b"\r\n\r\n" + body])
        seen = await sweep(open_proxy, requests, deaths, enough=b"</html>\n")
    for offset, outcome in enumerate(seen):
        (response,), _ = read_responses(outcome.received, ("POST",))
        assert (offset, response.status, response.complete) == (offset, 502, True)
    open_proxy.check_descriptors()
