"""Response heads: how a response goes on, and which ones are not relayed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.traces import Refused, every_split, hear_response, octet_by_octet, refusal
from wsproxy.errors import UpstreamProtocolError
from wsproxy.model import Body, BodyKind
from wsproxy.protocol.head import refuse_response, split_head
from wsproxy.protocol.response import Response, announced_framing, interpret_response

NONE = Body(BodyKind.NONE)
CHUNKED = Body(BodyKind.CHUNKED)
UNTIL_CLOSE = Body(BodyKind.UNTIL_CLOSE)
FIVE = Body(BodyKind.LENGTH, 5)
LENGTH = b"Content-Length: 5\r\n"
TE = b"Transfer-Encoding: chunked\r\n"


def outcome(vector: bytes, method: str = "GET") -> Response | Refused:
    """What the head in `vector` says in answer to `method`, or its refusal."""
    try:
        return interpret_response(*split_head(vector, refuse_response), method)
    except UpstreamProtocolError as error:
        return refusal(error)


def read(vector: bytes, method: str = "GET") -> Response:
    """What the head in `vector` says; the same in every delivery."""
    response = outcome(vector, method)
    assert isinstance(response, Response)
    for delivery in every_split(vector):
        assert hear_response(delivery.pieces, method=method).trace[0] == response
    return response


def test_everything_a_response_says_is_read() -> None:
    vector = b"HTTP/1.1 200 All is \xc3\xbc\r\nContent-Length: 005\r\nX-A:\t1 2 \r\n\r\n"
    assert read(vector) == Response(
        status=200,
        reason=b"All is \xc3\xbc",
        version="1.1",
        headers=((b"Content-Length", b"005"), (b"X-A", b"1 2")),
        body=FIVE,
        keep_alive=True,
    )


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (b"HTTP/1.1 200", 200, b""),
        (b"HTTP/1.1 200 ", 200, b""),
        (b"HTTP/1.1 200 OK then", 200, b"OK then"),
        (b"HTTP/1.1 999 What", 999, b"What"),
    ],
)
def test_status_and_reason_are_read(line: bytes, status: int, reason: bytes) -> None:
    response = read(line + b"\r\n\r\n")
    assert (response.status, response.reason) == (status, reason)


@pytest.mark.parametrize(
    ("method", "vector", "body"),
    [
        ("GET", b"HTTP/1.1 200 OK\r\n\r\n", UNTIL_CLOSE),
        ("GET", b"HTTP/1.0 200 OK\r\n\r\n", UNTIL_CLOSE),
        ("GET", b"HTTP/1.1 200 OK\r\n" + LENGTH + b"\r\n", FIVE),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Body(BodyKind.LENGTH, 0)),
        ("GET", b"HTTP/1.1 200 OK\r\n" + TE + b"\r\n", CHUNKED),
        ("GET", b"HTTP/1.1 200 OK\r\nTRANSFER-encoding:\tCHUNKED\r\n\r\n", CHUNKED),
        ("POST", b"HTTP/1.1 500 No\r\n" + LENGTH + b"\r\n", FIVE),
        ("HEAD", b"HTTP/1.1 200 OK\r\n" + LENGTH + b"\r\n", NONE),
        ("HEAD", b"HTTP/1.1 200 OK\r\n" + TE + b"\r\n", NONE),
        ("HEAD", b"HTTP/1.1 200 OK\r\n\r\n", NONE),
        ("head", b"HTTP/1.1 200 OK\r\n" + LENGTH + b"\r\n", FIVE),
        ("GET", b"HTTP/1.1 204 No Content\r\n" + LENGTH + b"\r\n", NONE),
        ("GET", b"HTTP/1.1 304 Not Modified\r\n" + LENGTH + b"\r\n", NONE),
        ("GET", b"HTTP/1.1 304 Not Modified\r\n" + TE + b"\r\n", NONE),
        ("GET", b"HTTP/1.1 205 Reset Content\r\n\r\n", UNTIL_CLOSE),
        ("GET", b"HTTP/1.1 100 Continue\r\n" + LENGTH + b"\r\n", NONE),
        ("GET", b"HTTP/1.1 103 Early Hints\r\n\r\n", NONE),
        ("UPGRADE", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", NONE),
    ],
)  # fmt: skip
def test_a_body_ends_where_the_rfc_says(method: str, vector: bytes, body: Body) -> None:
    assert read(vector, method).body == body


@pytest.mark.parametrize(
    ("method", "vector"),
    [
        ("GET", b"HTTP/1.1 200 OK\r\n" + TE + LENGTH + b"\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\n" + LENGTH + TE + b"\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\n" + LENGTH + TE + b"\r\n"),
        ("GET", b"HTTP/1.0 200 OK\r\n" + TE + b"\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\n" + LENGTH + LENGTH + b"\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: x\r\n\r\n"),
    ],
)
def test_ambiguous_framing_is_not_relayed(method: str, vector: bytes) -> None:
    assert outcome(vector, method) == Refused(502)
    for pieces in ((vector,), octet_by_octet(vector), (vector + vector,)):
        assert hear_response(pieces, method=method).trace == [Refused(502)]


@pytest.mark.parametrize(
    ("status", "is_interim"), [(100, True), (102, True), (199, True), (101, False), (200, False)]
)
def test_a_1xx_other_than_101_is_interim(status: int, is_interim: bool) -> None:
    response = outcome(b"HTTP/1.1 %d x\r\n\r\n" % status)
    assert isinstance(response, Response)
    assert response.is_interim is is_interim


@pytest.mark.parametrize(
    ("vector", "keep_alive"),
    [
        (b"HTTP/1.1 200 OK\r\n" + LENGTH + b"\r\n", True),
        (b"HTTP/1.1 200 OK\r\n" + TE + b"\r\n", True),
        (b"HTTP/1.1 204 No\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\n" + LENGTH + b"Connection: x, CLOSE\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\n" + LENGTH + b"Connection: keep-alive\r\n\r\n", False),
    ],
)
def test_a_connection_goes_on_when_the_end_is_framed_and_nobody_closes(
    vector: bytes, keep_alive: bool
) -> None:
    assert read(vector).keep_alive is keep_alive


@pytest.mark.parametrize(
    ("method", "vector", "fields"),
    [
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 005\r\n\r\n", [(b"Content-Length", b"5")]),
        ("GET", b"HTTP/1.1 200 OK\r\n" + TE + b"\r\n", [(b"Transfer-Encoding", b"chunked")]),
        ("GET", b"HTTP/1.1 200 OK\r\n\r\n", []),
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 005\r\n\r\n", [(b"Content-Length", b"5")]),
        ("HEAD", b"HTTP/1.1 200 OK\r\n" + TE + b"\r\n", []),
        ("GET", b"HTTP/1.1 304 x\r\nContent-Length: 00\r\n\r\n", [(b"Content-Length", b"0")]),
        ("GET", b"HTTP/1.1 304 x\r\n\r\n", []),
        ("GET", b"HTTP/1.1 204 x\r\n" + LENGTH + b"\r\n", []),
        ("HEAD", b"HTTP/1.1 204 x\r\n" + LENGTH + b"\r\n", []),
    ],
)
def test_the_client_is_told_the_length_in_our_words(
    method: str, vector: bytes, fields: list[tuple[bytes, bytes]]
) -> None:
    response = outcome(vector, method)
    assert isinstance(response, Response)
    assert announced_framing(response, method) == fields


field_lines = st.lists(
    st.sampled_from([TE, LENGTH, b"Content-Length: 6\r\n", b"Transfer-Encoding: gzip\r\n", b"A: b\r\n"]),
    max_size=3,
)  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(
    method=st.sampled_from(["GET", "HEAD", "POST"]),
    version=st.sampled_from([b"1.0", b"1.1"]),
    status=st.integers(100, 999),
    fields=field_lines,
)
def test_what_is_accepted_ends_in_one_way_only(
    method: str, version: bytes, status: int, fields: list[bytes]
) -> None:
    vector = b"HTTP/%b %d x\r\n%b\r\n" % (version, status, b"".join(fields))
    response = outcome(vector, method)
    if isinstance(response, Refused):
        return
    framing = [line for line in fields if line != b"A: b\r\n"]
    assert len(framing) < 2
    bodiless = method == "HEAD" or status < 200 or status in (204, 304)
    expected = {TE: CHUNKED, LENGTH: FIVE, b"Content-Length: 6\r\n": Body(BodyKind.LENGTH, 6)}
    assert response.body == (NONE if bodiless else expected[framing[0]] if framing else UNTIL_CLOSE)
