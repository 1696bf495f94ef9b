"""Whole connections: octets in, events out, and what is left behind."""

from __future__ import annotations

import h11
import pytest

from tests.protocol.traces import (
    BEHIND,
    Closed,
    Content,
    End,
    Heard,
    Refused,
    Trace,
    every_split,
    hear_requests,
    hear_response,
    octet_by_octet,
    sent_request,
)
from wsproxy.errors import ClientProtocolError, UpstreamClosed, UpstreamProtocolError
from wsproxy.model import Body, BodyKind, Host, ProxyRequest, RequestKind, Target
from wsproxy.protocol.http1 import ClientConnection, Need, ServerConnection
from wsproxy.protocol.response import Response

HOST = (b"Host", b"origin.example")
NONE = Body(BodyKind.NONE)
CHUNKED = Body(BodyKind.CHUNKED)
UNTIL_CLOSE = Body(BodyKind.UNTIL_CLOSE)
LENGTH_0 = (b"Content-Length", b"0")
TE = (b"Transfer-Encoding", b"chunked")

GET = b"GET http://origin.example/ HTTP/1.1\r\nHost: origin.example\r\n\r\n"
POST = b"POST http://origin.example/ HTTP/1.1\r\nHost: origin.example\r\nContent-Length: 5\r\n\r\nhello"
POST_CHUNKED_HEAD = b"POST http://origin.example/ HTTP/1.1\r\nHost: origin.example\r\nTransfer-Encoding: chunked\r\n\r\n"
POST_CHUNKED = POST_CHUNKED_HEAD + b"5;a=b\r\nhello\r\n6 \r\n world\r\n0\r\nX-T: v\r\n\r\n"
CONNECT = b"CONNECT origin.example:443 HTTP/1.1\r\nHost: origin.example:443\r\n\r\n"
UPGRADE = (
    b"GET ws://origin.example/ HTTP/1.1\r\nHost: origin.example\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)
OLD_GET = b"GET http://origin.example/ HTTP/1.0\r\n\r\n"
OTHER_UPGRADE = (
    b"GET http://origin.example/ HTTP/1.1\r\nHost: origin.example\r\nUpgrade: h2c\r\n"
    b"Connection: Upgrade\r\n\r\n"
)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
OK_CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: v\r\n\r\n"
)
OK_UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nhello"
OK_EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def request(method: str, *fields: tuple[bytes, bytes], body: Body = NONE) -> ProxyRequest:
    """A request to the origin's root with Host and `fields`."""
    target = Target("http", Host("origin.example"), 80, b"/")
    return ProxyRequest(RequestKind.FORWARD, method, target, "1.1", (HOST, *fields), body, True)


def response(*fields: tuple[bytes, bytes], body: Body, keep_alive: bool = True) -> Response:
    """A 200 with `fields`."""
    return Response(200, b"OK", "1.1", fields, body, keep_alive)


FIVE = (b"Content-Length", b"5")
HEARD_GET: Trace = [request("GET"), End()]
HEARD_POST: Trace = [
    request("POST", FIVE, body=Body(BodyKind.LENGTH, 5)),
    Content(b"hello"),
    End(),
]
HEARD_POST_CHUNKED: Trace = [
    request("POST", TE, body=CHUNKED),
    Content(b"hello world"),
    End(((b"X-T", b"v"),)),
]


@pytest.mark.parametrize(
    ("vector", "trace"),
    [
        (GET, HEARD_GET),
        (b"\r\n" + GET, HEARD_GET),
        (POST, HEARD_POST),
        (POST_CHUNKED, HEARD_POST_CHUNKED),
        (POST_CHUNKED_HEAD + b"0\r\n\r\n", [request("POST", TE, body=CHUNKED), End()]),
    ],
)
def test_a_request_is_heard_and_nothing_behind_it(vector: bytes, trace: Trace) -> None:
    for delivery in every_split(vector):
        assert hear_requests(delivery.pieces) == Heard(trace, delivery.behind)


@pytest.mark.parametrize("vector", [CONNECT, UPGRADE])
def test_what_follows_a_connect_or_an_upgrade_is_the_tunnel_s(vector: bytes) -> None:
    for delivery in every_split(vector):
        heard = hear_requests(delivery.pieces, count=2)
        assert [type(event) for event in heard.trace] == [ProxyRequest]
        assert heard.rest == delivery.behind


@pytest.mark.parametrize("vector", [CONNECT, UPGRADE])
def test_octets_that_come_later_join_the_tunnel_in_order(vector: bytes) -> None:
    http = ServerConnection()
    http.receive_data(vector + b"first ")
    assert isinstance(http.next_event(), ProxyRequest)
    http.receive_data(b"second ")
    assert http.next_event() is Need.DATA
    http.receive_data(b"third")
    assert (http.request_complete, http.has_data()) == (True, True)
    assert (http.take_rest(), http.take_rest(), http.has_data()) == (
        b"first second third",
        b"",
        False,
    )


def test_pipelined_requests_are_heard_in_turn() -> None:
    vector = POST + POST_CHUNKED + b"\r\n" + GET + CONNECT
    connect = hear_requests((CONNECT,)).trace
    for delivery in every_split(vector):
        heard = hear_requests(delivery.pieces, count=9)
        assert heard.trace == [*HEARD_POST, *HEARD_POST_CHUNKED, *HEARD_GET, *connect]
        assert heard.rest == delivery.behind


def test_the_next_request_waits_for_the_answer() -> None:
    http = ServerConnection()
    http.receive_data(GET + GET)
    http.next_event()
    assert isinstance(http.next_event(), h11.EndOfMessage)
    assert http.next_event() is Need.DATA
    assert not http.start_next_request()
    http.send_response(204, b"", [])
    http.end_response([])
    assert http.start_next_request()
    assert http.next_event() == request("GET")


@pytest.mark.parametrize(
    ("vector", "trace"),
    [
        (b"", [Closed()]),
        (b"\r\n", [Closed()]),
        (GET, [*HEARD_GET, Closed()]),
        (GET[:1], [Refused(400, "T1")]),
        (GET[:-1], [Refused(400, "T1")]),
        (POST[:-1], [HEARD_POST[0], Content(b"hell"), Refused(400, "T5")]),
        (POST_CHUNKED[:-1], [*HEARD_POST_CHUNKED[:2], Refused(400, "T5")]),
    ],
)
def test_an_end_between_requests_is_in_order_and_any_other_is_not(
    vector: bytes, trace: Trace
) -> None:
    for pieces in ((vector,) if vector else (), octet_by_octet(vector)):
        assert hear_requests(pieces, count=9, ended=True).trace == trace


def test_a_request_that_was_heard_is_served_though_the_client_has_ended() -> None:
    http = ServerConnection()
    http.receive_data(GET)
    http.receive_data(b"")
    assert http.next_event() == request("GET")
    assert isinstance(http.next_event(), h11.EndOfMessage)
    assert http.next_event() is Need.DATA


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (b"5\r\nhello!\r\n", [Content(b"hello")]),
        (b"5\r\nhello\r\nx\r\n", [Content(b"hello")]),
        (b"5\r\nhello\r\n0\r\nContent-Length: x\r\n\r\n", [Content(b"hello")]),
        (b"ggg\r\n", []),
    ],
)
def test_a_broken_body_is_refused_and_never_completed(body: bytes, content: Trace) -> None:
    head, refused = HEARD_POST_CHUNKED[0], Refused(400, "T5")
    in_octets = hear_requests(octet_by_octet(POST_CHUNKED_HEAD + body)).trace
    whole = hear_requests((POST_CHUNKED_HEAD + body,)).trace
    assert in_octets == [head, *content, refused]
    # Whole, the fault may be known before the octets in front of it are handed on.
    assert whole in (in_octets, [head, refused])


def test_a_refused_request_can_still_be_answered() -> None:
    http = ServerConnection()
    http.receive_data(b"nonsense\r\n\r\n")
    with pytest.raises(ClientProtocolError):
        http.next_event()
    assert http.can_respond
    sent = http.send_response(400, b"Bad Request", [LENGTH_0]) + http.end_response([])
    assert sent == b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
    assert (http.can_respond, http.start_next_request()) == (False, False)


def test_a_refused_connect_can_be_answered_and_ends_the_connection() -> None:
    http = ServerConnection()
    http.receive_data(CONNECT + GET)
    http.next_event()
    assert http.can_respond
    sent = http.send_response(403, b"Forbidden", [LENGTH_0]) + http.end_response([])
    assert sent.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert not http.start_next_request()


def answer(vector: bytes, *fields: tuple[bytes, bytes], body: bytes = b"") -> tuple[bytes, bool]:
    """The octets of a 200 with `fields` to the request in `vector`; may the connection go on."""
    http = ServerConnection()
    http.receive_data(vector)
    while http.next_event() is not Need.DATA:
        pass
    sent = http.send_response(200, b"OK", list(fields))
    sent += http.send_data(body) if body else b""
    return sent + http.end_response([]), http.start_next_request()


@pytest.mark.parametrize(
    ("vector", "fields", "body", "sent", "goes_on"),
    [
        (GET, [FIVE], b"hello", b"Content-Length: 5\r\n\r\nhello", True),
        (GET, [TE], b"hello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", True),
        (GET, [], b"hello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", True),
        (OLD_GET, [FIVE], b"hello", b"Content-Length: 5\r\nConnection: close\r\n\r\nhello", False),
        (OLD_GET, [TE], b"hello", b"Connection: close\r\n\r\nhello", False),
        (OLD_GET, [], b"hello", b"Connection: close\r\n\r\nhello", False),
        (GET.replace(b"GET", b"HEAD"), [FIVE], b"", b"Content-Length: 5\r\n\r\n", True),
        (GET.replace(b"GET", b"HEAD"), [], b"", b"Transfer-Encoding: chunked\r\n\r\n", True),
        (OTHER_UPGRADE, [LENGTH_0], b"", b"Content-Length: 0\r\n\r\n", True),
        (GET, [LENGTH_0, (b"Connection", b"close")], b"",
         b"Content-Length: 0\r\nConnection: close\r\n\r\n", False),
    ],
)  # fmt: skip
def test_an_answer_is_framed_for_the_client_it_goes_to(
    vector: bytes, fields: list[tuple[bytes, bytes]], body: bytes, sent: bytes, goes_on: bool
) -> None:
    assert answer(vector, *fields, body=body) == (b"HTTP/1.1 200 OK\r\n" + sent, goes_on)


def test_interim_responses_come_before_the_answer() -> None:
    http = ServerConnection()
    http.receive_data(POST)
    http.next_event()
    sent = http.send_interim(100, b"Continue", []) + http.send_interim(103, b"", [(b"Link", b"a")])
    assert sent == b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 \r\nLink: a\r\n\r\n"
    assert http.can_respond


def test_trailers_follow_a_chunked_answer() -> None:
    http = ServerConnection()
    http.receive_data(GET)
    http.next_event()
    http.next_event()
    http.send_response(200, b"OK", [TE])
    assert http.end_response([(b"X-T", b"v")]) == b"0\r\nX-T: v\r\n\r\n"


def test_a_switch_is_sent_for_an_upgrade() -> None:
    http = ServerConnection()
    http.receive_data(UPGRADE + BEHIND)
    http.next_event()
    fields = [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]
    assert http.send_interim(101, b"Switching Protocols", fields) == SWITCH
    assert http.take_rest() == BEHIND


def test_a_request_is_sent_with_its_body() -> None:
    http = ClientConnection()
    sent = http.send_request("POST", b"/a", [HOST, TE])
    sent += http.send_data(b"hello") + http.end_request([(b"X-T", b"v")])
    assert sent == (
        b"POST /a HTTP/1.1\r\nHost: origin.example\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n0\r\nX-T: v\r\n\r\n"
    )


HEARD_OK: Trace = [response(FIVE, body=Body(BodyKind.LENGTH, 5)), Content(b"hello"), End()]


@pytest.mark.parametrize(
    ("method", "vector", "trace"),
    [
        ("GET", OK, HEARD_OK),
        ("GET", OK_CHUNKED,
         [response(TE, body=CHUNKED), Content(b"hello"), End(((b"X-T", b"v"),))]),
        ("GET", OK_EMPTY, [response(LENGTH_0, body=Body(BodyKind.LENGTH, 0)), End()]),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", [response(FIVE, body=NONE), End()]),
        ("GET", b"HTTP/1.1 204 x\r\n\r\n", [Response(204, b"x", "1.1", (), NONE, True), End()]),
        ("GET", b"HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n",
         [Response(304, b"x", "1.1", (FIVE,), NONE, True), End()]),
        ("GET", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nA: b\r\n\r\n" + OK,
         [Response(100, b"Continue", "1.1", (), NONE, True),
          Response(103, b"x", "1.1", ((b"A", b"b"),), NONE, True), *HEARD_OK]),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length :\r\n 5\r\n\r\nhello", HEARD_OK),
        ("UPGRADE", OK, HEARD_OK),
    ],
)  # fmt: skip
def test_a_response_is_heard_and_nothing_behind_it(
    method: str, vector: bytes, trace: Trace
) -> None:
    for delivery in every_split(vector):
        assert hear_response(delivery.pieces, method=method) == Heard(trace, delivery.behind)


def test_a_body_until_close_ends_with_the_connection() -> None:
    for pieces in ((OK_UNTIL_CLOSE,), octet_by_octet(OK_UNTIL_CLOSE)):
        head = response(body=UNTIL_CLOSE, keep_alive=False)
        assert hear_response(pieces).trace == [head, Content(b"hello")]
        assert hear_response(pieces, ended=True).trace == [head, Content(b"hello"), End()]


def test_what_follows_a_switch_is_the_tunnel_s() -> None:
    for delivery in every_split(SWITCH):
        heard = hear_response(delivery.pieces, method="UPGRADE")
        fields = ((b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"))
        assert heard == Heard(
            [Response(101, b"Switching Protocols", "1.1", fields, NONE, True)], delivery.behind
        )


@pytest.mark.parametrize(
    ("vector", "trace"),
    [
        (SWITCH, [Refused(502)]),
        (b"HTTP/2 200\r\n\r\n", [Refused(502)]),
        (b"<html>hello</html>\r\n", [Refused(502)]),
        (b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", [Refused(502)]),
        (b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n", [Refused(502)]),
        (b"HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n", [Refused(502)]),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked,\r\n\r\n", [Refused(502)]),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 129 + b"\r\n", [Refused(502)]),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n" + b" c\r\n" * 128 + b"\r\n", [Refused(502)]),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ng\r\n",
         [response(TE, body=CHUNKED), Refused(502)]),
    ],
)  # fmt: skip
def test_what_is_no_response_is_refused_in_any_delivery(vector: bytes, trace: Trace) -> None:
    for pieces in ((vector,), octet_by_octet(vector), (vector + OK,)):
        assert hear_response(pieces).trace == trace


@pytest.mark.parametrize("vector", [b"", OK[:10], OK[:-1], OK_CHUNKED[:-1]])
def test_a_response_that_ends_early_is_not_completed(vector: bytes) -> None:
    for pieces in ((vector,) if vector else (), octet_by_octet(vector)):
        trace = hear_response(pieces, ended=True).trace
        assert trace[-1] == Closed(in_order=False)
        assert not any(isinstance(event, End) for event in trace)


def connection_after(vector: bytes, method: str = "GET") -> ClientConnection:
    """A connection that has read the response in `vector` to its end."""
    http = sent_request(method)
    http.receive_data(vector)
    while not isinstance(http.next_event(), h11.EndOfMessage | Need):
        pass
    return http


@pytest.mark.parametrize(
    ("vector", "reusable"),
    [
        (OK, True),
        (OK_CHUNKED, True),
        (OK[:-1], False),
        (OK + b"x", False),
        (OK + b"\r\n", False),
        (OK + OK, False),
        (OK_UNTIL_CLOSE, False),
        (OK.replace(b"1.1", b"1.0"), False),
        (OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1), False),
        (OK.replace(b"200", b"204"), False),
        (OK.replace(b"200", b"304"), False),
    ],
)
def test_a_connection_is_reusable_after_a_framed_complete_response_and_nothing_more(
    vector: bytes, reusable: bool
) -> None:
    assert connection_after(vector).reusable is reusable


def test_a_connection_whose_other_side_has_ended_is_not_reusable() -> None:
    http = connection_after(OK)
    http.receive_data(b"")
    assert not http.reusable


def test_octets_nobody_asked_for_make_a_connection_unusable() -> None:
    http = connection_after(OK)
    http.receive_data(OK)
    assert (http.reusable, http.next_event()) == (False, Need.DATA)


def test_an_answer_before_the_end_of_the_request_is_not_yet_the_end() -> None:
    http = ClientConnection()
    http.send_request("POST", b"/", [HOST, FIVE])
    http.receive_data(OK)
    assert isinstance(http.next_event(), Response)
    assert isinstance(http.next_event(), h11.Data)
    assert isinstance(http.next_event(), h11.EndOfMessage)
    assert not http.reusable
    assert http.send_data(b"hello") + http.end_request([]) == b"hello"
    assert http.reusable


def test_a_second_request_uses_the_same_connection() -> None:
    http = connection_after(OK)
    http.start_next_cycle()
    assert (
        http.send_request("HEAD", b"/2", [HOST])
        == b"HEAD /2 HTTP/1.1\r\nHost: origin.example\r\n\r\n"
    )
    http.end_request([])
    http.receive_data(OK[:-5])
    assert http.next_event() == response(FIVE, body=NONE)
    assert isinstance(http.next_event(), h11.EndOfMessage)
    assert http.reusable


def test_the_errors_of_the_two_sides_are_told_apart() -> None:
    client = ServerConnection()
    client.receive_data(b"\x00")
    with pytest.raises(ClientProtocolError):
        client.next_event()
    upstream = sent_request("GET")
    upstream.receive_data(b"\x00")
    with pytest.raises(UpstreamProtocolError):
        upstream.next_event()
    silent = sent_request("GET")
    silent.receive_data(b"")
    with pytest.raises(UpstreamClosed):
        silent.next_event()


ANSWER_FIELDS = [(b"Content-Length", b"2"), (b"Connection", b"close")]
ANSWER_HEAD = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("received", "body"),
    [
        (GET, b"no"),
        (CONNECT, b"no"),
        (GET.replace(b"GET", b"HEAD"), b""),
        (b"HEAD / HTTP/1.1\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\n\r\n", b"no"),
        (b"\x16\x03", b"no"),
    ],
    ids=["get", "connect", "head", "refused head", "refused get", "garbage"],
)
def test_our_own_answer_is_complete_whatever_was_read(received: bytes, body: bytes) -> None:
    server = ServerConnection()
    server.receive_data(received)
    try:
        server.next_event()
    except ClientProtocolError:
        pass
    assert server.can_respond
    assert server.send_answer(403, b"Forbidden", ANSWER_FIELDS, b"no") == ANSWER_HEAD + body
    assert not server.can_respond
