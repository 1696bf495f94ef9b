"""Absolute-form HTTP, as a trace of what the client and the origin see."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.support.door import ORIGIN, VIA, Door, open_door
from tests.support.wire import Wire
from wsproxy.proxy.forward import _MAX_INTERIM

GET = b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n"
GET_10 = b"GET http://origin.test/ HTTP/1.0\r\n\r\n"
SEEN = b"GET / HTTP/1.1\r\nHost: origin.test\r\nVia: 1.1 proxy\r\n\r\n"
SEEN_10 = b"GET / HTTP/1.1\r\nHost: origin.test\r\nVia: 1.0 proxy\r\n\r\n"
HI = b"HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 2\r\n\r\nhi"
RELAYED = b"HTTP/1.1 200 OK\r\nDate: D\r\nVia: 1.1 proxy\r\nContent-Length: 2\r\n\r\nhi"
POST = b"POST http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n%s\r\n\r\n"
POSTED = b"POST / HTTP/1.1\r\nHost: origin.test\r\n%s\r\nVia: 1.1 proxy\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"


def relayed(fields: bytes, body: bytes = b"", *, status: bytes = b"200 OK") -> bytes:
    """A response as the client gets it; `fields` follow Date and Via."""
    return b"HTTP/1.1 " + status + b"\r\nDate: D\r\nVia: 1.1 proxy\r\n" + fields + b"\r\n" + body


async def ask(door: Door, request: bytes = GET, seen: bytes = SEEN) -> tuple[Wire, Wire]:
    """A client that has asked, and the origin that has read the request."""
    client = await door.client()
    await client.sends(request)
    origin = await door.origin.accept()
    await origin.expects(seen)
    return client, origin


# ---------------------------------------------------------------- one request


async def test_a_request_goes_to_its_origin_and_the_answer_comes_back(door: Door) -> None:
    client, origin = await ask(door)
    await origin.sends(HI)
    await client.expects(RELAYED)
    (record,) = await door.access()
    durations = record.pop("durations_ms")
    assert {name for name, value in durations.items() if value is None} == {"authenticate"}
    assert record.pop("client").startswith("127.0.0.1:")
    assert len(record.pop("id")) == 16
    assert record == {
        "event": "access",
        "time": "1970-01-01T00:00:00.000Z",
        "user": None,
        "kind": "forward",
        "method": "GET",
        "target": "http://origin.test:80/",
        "address": f"{ORIGIN}:80",
        "rule": "default",
        "verdict": "allow",
        "status": 200,
        "error": None,
        "detail": None,
        "class": None,
        "bytes_up": 0,
        "bytes_down": 2,
        "closed_by": None,
        "reason": None,
        "decision": {
            "name": {"verdict": "allow", "rule": "default", "file": None, "line": None},
            "addresses": [{"address": ORIGIN, "verdict": "allow", "class": "public", "zone": None}],
            "route": "direct",
            "websocket": None,
        },
    }
    assert (door.network.asked, door.network.dialled) == (["origin.test"], [f"{ORIGIN}:80"])


async def test_a_trace_is_the_same_when_every_octet_comes_alone(door: Door) -> None:
    client = await door.client()
    await client.sends_bytewise(GET)
    origin = await door.origin.accept()
    await origin.expects(SEEN)
    await origin.sends_bytewise(HI)
    await client.expects(RELAYED)


async def test_fields_between_neighbours_stay_with_them(door: Door) -> None:
    client, origin = await ask(
        door,
        b"GET http://origin.test/p?q HTTP/1.1\r\nHost: elsewhere.test\r\nX: 1\r\nA: 2\r\n"
        b"Connection: a, keep-alive\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\n"
        b"TE: trailers\r\nUpgrade: h2c\r\nProxy-Authorization: Basic eDp5\r\n\r\n",
        b"GET /p?q HTTP/1.1\r\nHost: origin.test\r\nX: 1\r\nVia: 1.1 proxy\r\n\r\n",
    )
    await origin.sends(
        b"HTTP/1.1 200 OK\r\nX: 1\r\nConnection: y\r\nY: 2\r\nKeep-Alive: 5\r\nDate: D\r\n"
        b"Proxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"
    )
    await client.expects(
        b"HTTP/1.1 200 OK\r\nX: 1\r\nDate: D\r\nVia: 1.1 proxy\r\nContent-Length: 0\r\n\r\n"
    )


async def test_a_date_is_added_to_an_answer_without_one(door: Door) -> None:
    client, origin = await ask(door)
    await origin.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    answer = await client.answer()
    assert (answer.field("date") or "").endswith(" GMT")


async def test_a_client_that_ended_its_side_still_gets_its_answer(door: Door) -> None:
    client = await door.client()
    await client.sends(GET)
    client.shuts()
    origin = await door.origin.accept()
    await origin.expects(SEEN)
    await origin.sends(HI)
    await client.expects(RELAYED)
    await client.ends()


# ---------------------------------------------------------------- bodies up


@pytest.mark.parametrize(
    ("framing", "body", "seen"),
    [
        (b"Content-Length: 5", b"hello", b"hello"),
        (b"Content-Length: 0", b"", b""),
        (CHUNKED, b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        (
            CHUNKED,
            b"5;x=y\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\nHost: h\r\n\r\n",
            b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
        ),
    ],
    ids=["length", "empty", "chunked", "trailers"],
)
async def test_a_body_goes_up_in_its_framing(
    door: Door, framing: bytes, body: bytes, seen: bytes
) -> None:
    client, origin = await ask(door, POST % framing + body, POSTED % framing)
    await origin.expects(seen)
    await origin.sends(HI)
    await client.expects(RELAYED)
    (record,) = await door.access()
    assert (record["bytes_up"], record["status"]) == (len(body and b"hello"), 200)


async def test_a_body_goes_up_while_it_comes(door: Door) -> None:
    client, origin = await ask(door, POST % b"Content-Length: 6", POSTED % b"Content-Length: 6")
    for piece in (b"ab", b"cd", b"ef"):
        await client.sends(piece)
        await origin.expects(piece)
    await origin.sends(HI)
    await client.expects(RELAYED)


async def test_an_answer_that_comes_early_passes_the_body_that_still_goes_up(door: Door) -> None:
    client, origin = await ask(door, POST % b"Content-Length: 4", POSTED % b"Content-Length: 4")
    await origin.sends(HI)
    await client.expects(RELAYED)
    await client.sends(b"late")
    await origin.expects(b"late")
    (record,) = await door.access()
    assert (record["bytes_up"], record["bytes_down"], record["error"]) == (4, 2, None)
    await client.sends(GET)
    await origin.expects(SEEN)


async def test_an_origin_that_refuses_a_large_body_and_leaves_is_heard(door: Door) -> None:
    size = 4 * 1024 * 1024
    framing = b"Content-Length: %d" % size
    client, origin = await ask(door, POST % framing, POSTED % framing)
    await origin.sends(b"HTTP/1.1 413 Too Large\r\nDate: D\r\nContent-Length: 0\r\n\r\n")
    await client.expects(relayed(b"Content-Length: 0\r\n", status=b"413 Too Large"))
    origin.closes()
    await client.sends(bytes(size))
    (record,) = await door.access()
    assert (record["status"], record["error"]) == (413, None)
    await client.sends(GET)
    again = await door.origin.accept()
    await again.expects(SEEN)


async def test_a_client_that_leaves_in_its_body_leaves_the_origin_an_unfinished_request(
    door: Door,
) -> None:
    client, origin = await ask(door, POST % CHUNKED + b"2\r\nab\r\n", POSTED % CHUNKED)
    client.shuts()
    assert (await origin.reads_rest()) == b"2\r\nab\r\n"
    assert (await client.answer()).status == 400
    (record,) = await door.access()
    assert (record["class"], record["closed_by"]) == ("T5", "client")


async def test_a_body_with_broken_framing_ends_both_sides(door: Door) -> None:
    client, origin = await ask(door, POST % CHUNKED, POSTED % CHUNKED)
    await client.sends(b"2\r\nabXX0\r\n\r\n")
    assert b"0\r\n" not in await origin.reads_rest()
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (400, "close")
    await client.ends()


async def test_a_client_that_resets_in_its_body_is_recorded_as_gone(door: Door) -> None:
    client, origin = await ask(door, POST % CHUNKED, POSTED % CHUNKED)
    client.resets()
    await origin.ends()
    (record,) = await door.access()
    assert (record["status"], record["closed_by"], record["reason"]) == (None, "client", "reset")


# ---------------------------------------------------------------- Expect and interim responses

EXPECT = b"Expect: 100-continue\r\nContent-Length: 4"


async def test_the_origins_100_reaches_the_client_and_then_the_body_goes_up(door: Door) -> None:
    client, origin = await ask(door, POST % EXPECT, POSTED % EXPECT)
    await origin.sends(b"HTTP/1.1 100 Continue\r\n\r\n")
    await client.expects(b"HTTP/1.1 100 Continue\r\nVia: 1.1 proxy\r\n\r\n")
    await client.sends(b"body")
    await origin.expects(b"body")
    await origin.sends(HI)
    await client.expects(RELAYED)
    await client.sends(GET)
    await origin.expects(SEEN)


async def test_a_client_that_does_not_wait_for_the_100_loses_nothing(door: Door) -> None:
    client, origin = await ask(door, POST % EXPECT + b"body", POSTED % EXPECT)
    await origin.expects(b"body")
    await origin.sends(HI)
    await client.expects(RELAYED)


async def test_a_refused_expectation_ends_the_connection_without_the_body(door: Door) -> None:
    client, origin = await ask(door, POST % EXPECT, POSTED % EXPECT)
    await origin.sends(b"HTTP/1.1 417 No\r\nDate: D\r\nContent-Length: 0\r\n\r\n")
    await client.expects(relayed(b"Content-Length: 0\r\nConnection: close\r\n", status=b"417 No"))
    await client.ends()
    await origin.ends()
    (record,) = await door.access()
    assert (record["status"], record["bytes_up"], record["error"]) == (417, 0, None)


async def test_interim_responses_reach_a_client_that_knows_them(door: Door) -> None:
    client, origin = await ask(door)
    await origin.sends(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + HI)
    await client.expects(
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nVia: 1.1 proxy\r\n\r\n" + RELAYED
    )


async def test_no_interim_response_reaches_an_old_client(door: Door) -> None:
    client, origin = await ask(door, GET_10, SEEN_10)
    await origin.sends(b"HTTP/1.1 103 Early Hints\r\n\r\n" + HI)
    await client.expects(relayed(b"Content-Length: 2\r\nConnection: close\r\n", b"hi"))
    await client.ends()


async def test_as_many_interim_responses_as_allowed_pass(door: Door) -> None:
    client, origin = await ask(door)
    await origin.sends(b"HTTP/1.1 102 P\r\n\r\n" * _MAX_INTERIM + HI)
    await client.expects(b"HTTP/1.1 102 P\r\nVia: 1.1 proxy\r\n\r\n" * _MAX_INTERIM + RELAYED)


async def test_a_flood_of_interim_responses_is_cut_off(door: Door) -> None:
    client, origin = await ask(door, GET_10, SEEN_10)
    await origin.sends(b"HTTP/1.1 102 P\r\n\r\n" * (_MAX_INTERIM + 1) + HI)
    answer = await client.answer()
    assert answer.status == 502
    assert (await door.access())[0]["error"] == "http_protocol_error"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 407 Mine\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x00\x05",
    ],
    ids=["101", "407", "two lengths", "bare LF", "HTTP/0.9", "TLS"],
)
async def test_what_an_origin_must_not_answer_is_a_502(door: Door, head: bytes) -> None:
    client, origin = await ask(door)
    await origin.sends(head)
    answer = await client.answer()
    assert answer.status == 502
    assert "error=http_protocol_error" in (answer.field("proxy-status") or "")
    await origin.ends()
    (record,) = await door.access()
    assert (record["status"], record["closed_by"], record["reason"]) == (
        502,
        "upstream",
        "protocol",
    )


# ---------------------------------------------------------------- bodies down


@pytest.mark.parametrize(
    ("method", "head", "fields"),
    [
        (b"HEAD", b"200 OK\r\nContent-Length: 99", b"Content-Length: 99\r\n"),
        (b"HEAD", b"200 OK\r\n" + CHUNKED, CHUNKED + b"\r\n"),
        (b"GET", b"304 Same\r\nContent-Length: 99", b"Content-Length: 99\r\n"),
        (b"GET", b"204 None", b""),
    ],
    ids=["HEAD", "HEAD chunked", "304", "204"],
)
async def test_an_answer_without_body_keeps_both_connections(
    door: Door, method: bytes, head: bytes, fields: bytes
) -> None:
    client, origin = await ask(
        door,
        method + b" http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n",
        method + b" / HTTP/1.1\r\nHost: origin.test\r\nVia: 1.1 proxy\r\n\r\n",
    )
    await origin.sends(b"HTTP/1.1 " + head + b"\r\nDate: D\r\n\r\n")
    await client.expects(relayed(fields, status=head.split(b"\r\n")[0]))
    await client.sends(GET)
    await origin.expects(SEEN)


async def test_a_body_behind_an_answer_that_has_none_is_garbage(door: Door) -> None:
    client, origin = await ask(door)
    await origin.sends(b"HTTP/1.1 204 None\r\nDate: D\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
    await client.expects(relayed(b"", status=b"204 None"))
    await client.sends(GET)
    again = await door.origin.accept()
    await again.expects(SEEN)
    await origin.ends()


async def test_octets_behind_an_answer_never_reach_the_next_request(door: Door) -> None:
    client, origin = await ask(door)
    await origin.sends(HI + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    await client.expects(RELAYED)
    await client.sends(GET)
    again = await door.origin.accept()
    await again.expects(SEEN)
    await again.sends(HI)
    await client.expects(RELAYED)


async def test_a_chunked_answer_keeps_its_framing_and_its_harmless_trailers(door: Door) -> None:
    client, origin = await ask(door)
    await origin.sends(
        b"HTTP/1.1 200 OK\r\nDate: D\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nhi\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\nContent-Length: 9\r\n\r\n"
    )
    await client.expects(relayed(CHUNKED + b"\r\n", b"2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n"))


async def test_a_chunked_answer_to_an_old_client_ends_with_the_connection(door: Door) -> None:
    client, origin = await ask(door, GET_10, SEEN_10)
    await origin.sends(
        b"HTTP/1.1 200 OK\r\nDate: D\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n"
    )
    assert await client.reads_rest() == relayed(b"Connection: close\r\n", b"hi")


async def test_an_answer_that_ends_with_the_connection_becomes_chunked(door: Door) -> None:
    client, origin = await ask(door)
    await origin.sends(b"HTTP/1.0 200 OK\r\nDate: D\r\n\r\nhi")
    await client.expects(
        b"HTTP/1.1 200 OK\r\nDate: D\r\nVia: 1.0 proxy\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nhi\r\n"
    )
    origin.closes()
    await client.expects(b"0\r\n\r\n")
    await client.sends(GET)
    again = await door.origin.accept()
    await again.expects(SEEN)


async def test_an_answer_that_ends_with_the_connection_does_so_for_an_old_client(
    door: Door,
) -> None:
    client, origin = await ask(door, GET_10, SEEN_10)
    await origin.sends(b"HTTP/1.1 200 OK\r\nDate: D\r\n\r\nhi")
    origin.closes()
    assert await client.reads_rest() == relayed(b"Connection: close\r\n", b"hi")


@pytest.mark.parametrize(
    ("framing", "sent", "seen"),
    [
        (b"Content-Length: 9", b"half", b"half"),
        (CHUNKED, b"4\r\nhalf\r\n", b"4\r\nhalf\r\n"),
        (CHUNKED, b"9\r\nhalf", b"4\r\nhalf\r\n"),
        (CHUNKED, b"4\r\nhalf\r\n0\r\nX: ", b"4\r\nhalf\r\n"),
    ],
    ids=["length", "chunked", "in a chunk", "in the trailers"],
)
@pytest.mark.parametrize("how", ["closes", "resets"])
async def test_a_truncated_answer_is_never_completed(
    door: Door, framing: bytes, sent: bytes, seen: bytes, how: str
) -> None:
    client, origin = await ask(door)
    await origin.sends(b"HTTP/1.1 200 OK\r\nDate: D\r\n" + framing + b"\r\n\r\n" + sent)
    await client.expects(relayed(framing + b"\r\n", seen))
    getattr(origin, how)()
    await client.ends()
    (record,) = await door.access()
    assert (record["status"], record["error"], record["closed_by"], record["bytes_down"]) == (
        200,
        "connection_terminated",
        "upstream",
        4,
    )


async def test_a_reset_is_no_end_of_an_answer_that_ends_with_the_connection(door: Door) -> None:
    client, origin = await ask(door)
    await origin.sends(b"HTTP/1.1 200 OK\r\nDate: D\r\n\r\nhalf")
    await client.expects(relayed(CHUNKED + b"\r\n", b"4\r\nhalf\r\n"))
    origin.resets()
    await client.ends()


@pytest.mark.parametrize("fields", [b"", CHUNKED + b"\r\n"])
async def test_an_old_client_learns_of_a_truncated_answer_by_a_reset(
    door: Door, fields: bytes
) -> None:
    client, origin = await ask(door, GET_10, SEEN_10)
    body = b"4\r\nhalf\r\n" if fields else b"half"
    await origin.sends(b"HTTP/1.1 200 OK\r\nDate: D\r\n" + fields + b"\r\n" + body)
    await client.expects(relayed(b"Connection: close\r\n", b"half"))
    origin.resets()
    assert await client.breaks() == b""


async def test_broken_framing_in_an_answer_is_a_truncated_answer(door: Door) -> None:
    client, origin = await ask(door)
    await origin.sends(b"HTTP/1.1 200 OK\r\nDate: D\r\nTransfer-Encoding: chunked\r\n\r\n")
    await client.expects(relayed(CHUNKED + b"\r\n"))
    await origin.sends(b"ZZ\r\n")
    await client.ends()
    assert (await door.access())[0]["error"] == "http_protocol_error"


# ---------------------------------------------------------------- the paired connection


async def test_requests_to_one_target_share_one_upstream_connection(door: Door) -> None:
    client, origin = await ask(door)
    for _ in range(3):
        await origin.sends(HI)
        await client.expects(RELAYED)
        await client.sends(GET)
        await origin.expects(SEEN)
    await origin.sends(HI)
    await client.expects(RELAYED)
    records = await door.access(4)
    assert {record["address"] for record in records} == {f"{ORIGIN}:80"}
    assert (door.network.asked, len(door.network.dialled)) == (["origin.test"], 1)


async def test_another_target_gets_a_connection_of_its_own(door: Door) -> None:
    other = door.network.origin("other.test", "93.184.216.35", 8080)
    client, origin = await ask(door)
    await origin.sends(HI)
    await client.expects(RELAYED)
    await client.sends(b"GET http://other.test:8080/ HTTP/1.1\r\nHost: x\r\n\r\n")
    wire = await other.accept()
    await wire.expects(b"GET / HTTP/1.1\r\nHost: other.test:8080\r\nVia: 1.1 proxy\r\n\r\n")
    await origin.ends()
    await wire.sends(HI)
    await client.expects(RELAYED)


@pytest.mark.parametrize("how", ["closes", "resets", "speaks"])
async def test_a_paired_connection_that_is_not_silent_is_not_used_again(
    door: Door, how: str
) -> None:
    client, origin = await ask(door)
    await origin.sends(HI)
    await client.expects(RELAYED)
    await door.access()
    if how == "speaks":
        await origin.sends(b"HTTP/1.1 408 Bye\r\n\r\n")
    else:
        getattr(origin, how)()
    await client.sends(GET)
    again = await door.origin.accept()
    await again.expects(SEEN)
    await again.sends(HI)
    await client.expects(RELAYED)
    assert len(door.network.asked) == 2


@pytest.mark.parametrize("close", [b"Connection: close\r\n", b""])
async def test_an_answer_that_ends_the_connection_ends_the_pair(door: Door, close: bytes) -> None:
    version = b"HTTP/1.1" if close else b"HTTP/1.0"
    client, origin = await ask(door)
    await origin.sends(version + b" 200 OK\r\nDate: D\r\nContent-Length: 0\r\n" + close + b"\r\n")
    await client.answer()
    await origin.ends()
    await client.sends(GET)
    await (await door.origin.accept()).expects(SEEN)


async def used_pair(door: Door, request: bytes, seen: bytes) -> tuple[Wire, Wire]:
    """A client and an origin that are in their second request over the same connections."""
    client, origin = await ask(door)
    await origin.sends(HI)
    await client.expects(RELAYED)
    await client.sends(request)
    await origin.expects(seen)
    return client, origin


@pytest.mark.parametrize("how", ["closes", "resets"])
async def test_a_harmless_request_into_a_dying_connection_is_repeated(door: Door, how: str) -> None:
    client, origin = await used_pair(door, GET, SEEN)
    getattr(origin, how)()
    again = await door.origin.accept()
    await again.expects(SEEN)
    await again.sends(HI)
    await client.expects(RELAYED)
    _first, record = await door.access(2)
    assert (record["status"], record["error"]) == (200, None)


async def test_a_request_is_repeated_only_once(door: Door) -> None:
    client, origin = await used_pair(door, GET, SEEN)
    origin.closes()
    again = await door.origin.accept()
    await again.expects(SEEN)
    again.closes()
    assert (await client.answer()).status == 502
    assert len(door.network.dialled) == 2


@pytest.mark.parametrize("framing", [b"Content-Length: 0", b"X: y", CHUNKED])
async def test_a_request_with_effect_is_not_repeated(door: Door, framing: bytes) -> None:
    body = b"0\r\n\r\n" if framing is CHUNKED else b""
    client, origin = await used_pair(door, POST % framing + body, POSTED % framing + body)
    origin.closes()
    answer = await client.answer()
    assert answer.status == 502
    assert "error=connection_terminated" in (answer.field("proxy-status") or "")
    assert len(door.network.dialled) == 1


async def test_a_request_that_was_being_answered_is_not_repeated(door: Door) -> None:
    client, origin = await used_pair(door, GET, SEEN)
    await origin.sends(b"HTTP/1.1 200")
    origin.closes()
    assert (await client.answer()).status == 502
    assert len(door.network.dialled) == 1


async def test_the_first_request_of_a_connection_is_not_repeated(door: Door) -> None:
    client, origin = await ask(door)
    origin.closes()
    assert (await client.answer()).status == 502
    (record,) = await door.access()
    assert (record["closed_by"], record["reason"], len(door.network.dialled)) == (
        "upstream",
        "eof",
        1,
    )


# ---------------------------------------------------------------- patience

SHORT = "policy: {default: allow}\ntimeouts: {%s}\n"


async def test_an_origin_that_stays_silent_is_a_504(tmp_path: Path) -> None:
    async with open_door(tmp_path, SHORT % "response_head: 50ms") as door:
        client, origin = await ask(door)
        answer = await client.answer()
        assert answer.status == 504
        assert "error=http_response_timeout" in (answer.field("proxy-status") or "")
        await origin.ends()
        (record,) = await door.access()
        assert (record["closed_by"], record["reason"]) == ("proxy", "timeout")


async def test_a_client_that_stops_in_its_body_is_to_blame_and_not_the_origin(
    tmp_path: Path,
) -> None:
    config = SHORT % "response_head: 30ms, body: 150ms"
    async with open_door(tmp_path, config) as door:
        framing = b"Content-Length: 9"
        client, origin = await ask(door, POST % framing + b"half", POSTED % framing)
        answer = await client.answer()
        assert (answer.status, answer.field("connection")) == (408, "close")
        await client.ends()
        assert await origin.reads_rest() == b"half"
        (record,) = await door.access()
        assert (record["closed_by"], record["reason"], record["bytes_up"]) == (
            "proxy",
            "timeout",
            4,
        )


async def test_an_origin_has_its_time_from_the_end_of_the_body(tmp_path: Path) -> None:
    config = SHORT % "response_head: 50ms, body: 5s"
    async with open_door(tmp_path, config) as door:
        framing = b"Content-Length: 4"
        client, origin = await ask(door, POST % framing + b"body", POSTED % framing)
        await origin.expects(b"body")
        assert (await client.answer()).status == 504


async def test_an_origin_that_never_says_continue_is_a_504(tmp_path: Path) -> None:
    async with open_door(tmp_path, SHORT % "response_head: 50ms") as door:
        client, origin = await ask(door, POST % EXPECT, POSTED % EXPECT)
        answer = await client.answer()
        assert (answer.status, answer.field("connection")) == (504, "close")
        await client.ends()
        await origin.ends()


async def test_an_origin_that_stops_in_its_answer_leaves_it_unfinished(tmp_path: Path) -> None:
    async with open_door(tmp_path, SHORT % "body: 50ms") as door:
        client, origin = await ask(door)
        await origin.sends(b"HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 9\r\n\r\nhalf")
        await client.expects(relayed(b"Content-Length: 9\r\n", b"half"))
        await client.ends()
        (record,) = await door.access()
        assert (record["status"], record["error"]) == (200, "http_response_timeout")


async def test_a_client_that_does_not_read_its_answer_is_left(tmp_path: Path) -> None:
    async with open_door(tmp_path, SHORT % "stalled: 50ms") as door:
        client, origin = await ask(door)
        size = 64 * 1024 * 1024
        await origin.sends(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await origin.sends(bytes(size))
        (record,) = await door.access()
        assert (record["closed_by"], record["reason"]) == ("client", "stalled")
        assert (record["error"], record["status"]) == ("http_request_error", 200)
        assert record["bytes_down"] < size
        assert len(await client.reads_rest()) < size


async def test_an_origin_that_takes_no_body_and_does_not_answer_is_to_blame(tmp_path: Path) -> None:
    async with open_door(tmp_path, SHORT % "body: 50ms, response_head: 100ms") as door:
        size = 64 * 1024 * 1024
        framing = b"Content-Length: %d" % size
        client, _origin = await ask(door, POST % framing, POSTED % framing)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.sends, bytes(size))
            answer = await client.answer()
            assert answer.status == 504
            assert "connection_write_timeout" in (answer.field("proxy-status") or "")
        (record,) = await door.access()
        assert (record["closed_by"], record["reason"]) == ("upstream", "stalled")


async def test_an_origin_that_takes_no_body_may_still_answer(tmp_path: Path) -> None:
    async with open_door(tmp_path, SHORT % "body: 500ms, response_head: 5s") as door:
        size = 16 * 1024 * 1024
        framing = b"Content-Length: %d" % size
        client, origin = await ask(door, POST % framing, POSTED % framing)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.sends, bytes(size) + GET)
            await origin.sends(HI)
            await client.expects(RELAYED)
            again = await door.origin.accept()
            await again.expects(SEEN)


# ---------------------------------------------------------------- hops


async def test_a_request_that_comes_back_is_a_loop(door: Door) -> None:
    client = await door.client()
    await client.sends(GET[:-2] + b"Via: 1.1 other, 1.1 " + VIA + b"\r\n\r\n")
    assert (await client.answer()).status == 508
    (record,) = await door.access()
    assert (record["error"], door.network.asked) == ("proxy_loop_detected", [])


@pytest.mark.parametrize("method", [b"TRACE", b"OPTIONS"])
async def test_hops_are_counted_down(door: Door, method: bytes) -> None:
    target = b" http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n"
    _client, _origin = await ask(
        door,
        method + target + b"Max-Forwards: 2\r\nX: y\r\n\r\n",
        method
        + b" / HTTP/1.1\r\nHost: origin.test\r\nMax-Forwards: 1\r\nX: y\r\nVia: 1.1 proxy\r\n\r\n",
    )


async def test_a_request_with_no_hops_left_is_answered_here_if_it_is_allowed(
    door: Door,
) -> None:
    client = await door.client()
    await client.sends(
        b"OPTIONS http://origin.test/ HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n\r\n"
        b"OPTIONS http://127.0.0.1/ HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n\r\n"
    )
    assert [(await client.answer()).status for _ in range(2)] == [200, 403]
    assert door.network.dialled == []


# ---------------------------------------------------------------- stopping


async def test_the_answer_to_a_running_request_ends_the_connection_while_stopping(
    door: Door,
) -> None:
    client, origin = await ask(door)
    door.runtime.drain.begin()
    await origin.sends(HI)
    await client.expects(relayed(b"Content-Length: 2\r\nConnection: close\r\n", b"hi"))
    await client.ends()
    await origin.ends()
