"""Heads: which bytes may become one, and how early the others are refused."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.traces import Refused, every_split, octet_by_octet, refusal
from wsproxy.errors import ClientProtocolError, UpstreamProtocolError, WsproxyError
from wsproxy.model import Headers
from wsproxy.protocol.head import (
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_TARGET_BYTES,
    HeadBuffer,
    check_request_line,
    check_status_line,
    refuse_request,
    refuse_response,
    split_head,
    tidy_response_head,
)

REQUEST = b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"
NO_FIELDS = b"GET / HTTP/1.0\r\n\r\n"
LONGEST_LINE = b"GET /" + b"a" * (MAX_TARGET_BYTES + 64 - 14) + b" HTTP/1.1"
LONGEST_TARGET = LONGEST_LINE + b"\r\nHost: a\r\n\r\n"
MOST_FIELDS = b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * MAX_FIELDS + b"\r\n"
LARGEST = b"GET / HTTP/1.1\r\nA: " + b"b" * (MAX_HEAD_BYTES - 23) + b"\r\n\r\n"
ODD_BUT_LEGAL = b"!#$%&'*+-.^_`|~ /<>\"\\^ HTTP/1.1\r\n!#$%&'*+-.^_`|~09aZ:\t \x80\xff\t\"(),/:;<=>?@[]{}\r\n\r\n"
"""Every token character, every vchar group, obs-text and white space."""

BARE_LF = b"GET / HTTP/1.1\nHost: a\n\n"
BARE_LF_IN_FIELDS = b"GET / HTTP/1.1\r\nA: b\nTransfer-Encoding: chunked\r\n\r\n"
BARE_LF_AT_END = b"GET / HTTP/1.1\r\nA: b\r\n\n"
BARE_CR = b"GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n"
TWO_CRS = b"GET / HTTP/1.1\r\nA: b\r\r\n\r\n"
NUL = b"GET / HTTP/1.1\r\nA: b\x00c\r\n\r\n"
DEL = b"GET / HTTP/1.1\r\nA: b\x7fc\r\n\r\n"
VT = b"GET / HTTP/1.1\r\nTransfer-Encoding:\x0bchunked\r\n\r\n"
NUL_IN_LINE = b"GET /\x00 HTTP/1.1\r\n\r\n"
TLS = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
SOCKS5 = b"\x05\x01\x00"
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HTTP09 = b"GET /\r\n"
VERSION_1_2 = b"GET / HTTP/1.2\r\n"
VERSION_9_9 = b"GET / HTTP/9.9\r\n"
VERSION_1 = b"GET / HTTP/1\r\n"
VERSION_LOWER = b"GET / http/1.1\r\n"
VERSION_LONG = b"GET / HTTP/1.10\r\n"
TWO_SPACES = b"GET  / HTTP/1.1\r\n"
TAB_FOR_SPACE = b"GET\t/ HTTP/1.1\r\n"
SPACE_IN_TARGET = b"GET /a b HTTP/1.1\r\n"
NON_ASCII_TARGET = b"GET /\xfc HTTP/1.1\r\n"
SPACE_AT_END = b"GET / HTTP/1.1 \r\n"
LEADING_SPACE = b" GET / HTTP/1.1\r\n"
ODD_METHOD = b"G(T / HTTP/1.1\r\n"
TWO_EMPTY_LINES = b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"
LONG_TARGET = LONGEST_LINE.replace(b"/", b"/a", 1) + b"\r\n"
LONG_METHOD = b"G" * MAX_TARGET_BYTES + b" /" + b"a" * 64 + b" HTTP/1.1\r\nA: b\r\n\r\n"
ENDLESS_LINE = b"GET /" + b"a" * (MAX_TARGET_BYTES + 64)
TOO_MANY_FIELDS = b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (MAX_FIELDS + 1) + b"\r\n"
ENDLESS_FIELDS = b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (MAX_FIELDS + 1)
TOO_LARGE = LARGEST.replace(b"A: ", b"A: c")
ENDLESS_HEAD = b"GET / HTTP/1.1\r\nA: " + b"b" * (MAX_HEAD_BYTES - 18)

FOLDED = b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n"
INDENTED = b"GET / HTTP/1.1\r\n A: b\r\n\r\n"
TAB_INDENTED = b"GET / HTTP/1.1\r\n\tA: b\r\n\r\n"
SPACE_BEFORE_COLON = b"GET / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n"
TAB_BEFORE_COLON = b"GET / HTTP/1.1\r\nA\t: b\r\n\r\n"
NO_COLON = b"GET / HTTP/1.1\r\nA b\r\n\r\n"
NO_NAME = b"GET / HTTP/1.1\r\n: b\r\n\r\n"
ODD_NAME = b"GET / HTTP/1.1\r\nA(b): c\r\n\r\n"
NON_ASCII_NAME = b"GET / HTTP/1.1\r\n\xc3\xbc: c\r\n\r\n"


def take(pieces: tuple[bytes, ...]) -> tuple[bytes | Refused | None, bytes]:
    """The head that a request's buffer finds in `pieces`, or the refusal; and what it left."""
    buffer = HeadBuffer(check_request_line, refuse_request)
    queue = list(pieces)
    try:
        while queue:
            buffer.feed(queue.pop(0))
            if head := buffer.take_head():
                split_head(head, refuse_request)
                return head, buffer.take_all() + b"".join(queue)
    except ClientProtocolError as error:
        return refusal(error), b""
    return None, buffer.take_all()


@pytest.mark.parametrize(
    "head", [REQUEST, NO_FIELDS, LONGEST_TARGET, MOST_FIELDS, LARGEST, ODD_BUT_LEGAL]
)
def test_a_good_head_is_taken_whole_and_nothing_behind_it(head: bytes) -> None:
    for delivery in every_split(head):
        assert take(delivery.pieces) == (head, delivery.behind)


@pytest.mark.parametrize(
    ("vector", "status", "row"),
    [
        (BARE_LF, 400, "T1"),
        (BARE_LF_IN_FIELDS, 400, "T1"),
        (BARE_LF_AT_END, 400, "T1"),
        (BARE_CR, 400, "T1"),
        (TWO_CRS, 400, "T1"),
        (NUL, 400, "T1"),
        (DEL, 400, "T1"),
        (VT, 400, "T1"),
        (NUL_IN_LINE, 400, "T1"),
        (TLS, 400, "T2"),
        (SOCKS5, 400, "T2"),
        (HTTP2, 505, "T2"),
        (HTTP09, 400, "T1"),
        (VERSION_1_2, 505, "T2"),
        (VERSION_9_9, 505, "T2"),
        (VERSION_1, 400, "T1"),
        (VERSION_LOWER, 400, "T1"),
        (VERSION_LONG, 400, "T1"),
        (TWO_SPACES, 400, "T1"),
        (TAB_FOR_SPACE, 400, "T1"),
        (SPACE_IN_TARGET, 400, "T1"),
        (NON_ASCII_TARGET, 400, "T1"),
        (SPACE_AT_END, 400, "T1"),
        (LEADING_SPACE, 400, "T1"),
        (ODD_METHOD, 400, "T1"),
        (TWO_EMPTY_LINES, 400, "T1"),
        (LONG_TARGET, 414, "T3"),
        (LONG_METHOD, 414, "T3"),
        (ENDLESS_LINE, 414, "T3"),
        (TOO_MANY_FIELDS, 431, "T3"),
        (ENDLESS_FIELDS, 431, "T3"),
        (TOO_LARGE, 431, "T3"),
        (ENDLESS_HEAD, 431, "T3"),
        (FOLDED, 400, "T1"),
        (INDENTED, 400, "T1"),
        (TAB_INDENTED, 400, "T1"),
        (SPACE_BEFORE_COLON, 400, "T1"),
        (TAB_BEFORE_COLON, 400, "T1"),
        (NO_COLON, 400, "T1"),
        (NO_NAME, 400, "T1"),
        (ODD_NAME, 400, "T1"),
        (NON_ASCII_NAME, 400, "T1"),
    ],
)  # fmt: skip
def test_a_bad_head_is_refused_in_any_delivery(vector: bytes, status: int, row: str) -> None:
    pieces = [(vector,), octet_by_octet(vector), (vector + b"A: b\r\n\r\n",)]
    assert [take(p)[0] for p in pieces] == [Refused(status, row)] * 3


@pytest.mark.parametrize(
    ("vector", "octets"),
    [
        (TLS, 1),
        (BARE_LF, 15),
        (BARE_CR, 22),
        (NUL, 21),
        (DEL, 21),
        (HTTP2, 16),
        (TWO_SPACES, 17),
        (ENDLESS_LINE + b"a", MAX_TARGET_BYTES + 66),
        (ENDLESS_FIELDS, len(ENDLESS_FIELDS)),
        (ENDLESS_HEAD, MAX_HEAD_BYTES + 1),
    ],
)
def test_a_refusal_comes_with_the_first_octet_that_leaves_no_other_way(
    vector: bytes, octets: int
) -> None:
    assert take(octet_by_octet(vector[: octets - 1]))[0] is None
    assert isinstance(take(octet_by_octet(vector[:octets]))[0], Refused)


def test_one_empty_line_before_a_request_is_ignored() -> None:
    for delivery in every_split(b"\r\n" + REQUEST):
        assert take(delivery.pieces) == (REQUEST, delivery.behind)


def test_one_empty_line_is_ignored_before_each_request() -> None:
    buffer = HeadBuffer(check_request_line, refuse_request)
    buffer.feed(b"\r\n" + REQUEST + b"\r\n" + NO_FIELDS)
    assert (buffer.take_head(), buffer.take_head(), len(buffer)) == (REQUEST, NO_FIELDS, 0)


def test_heads_come_out_one_by_one() -> None:
    buffer = HeadBuffer(check_request_line, refuse_request)
    buffer.feed(REQUEST + NO_FIELDS + b"GET")
    assert buffer.take_head() == REQUEST
    assert buffer.take_head() == NO_FIELDS
    assert buffer.take_head() is None
    assert (len(buffer), buffer.take_all(), len(buffer)) == (3, b"GET", 0)


def test_a_buffer_that_was_emptied_starts_anew() -> None:
    buffer = HeadBuffer(check_request_line, refuse_request)
    buffer.feed(b"GET / HTTP/1.1\r\nA: b\r\n")
    assert buffer.take_head() is None
    buffer.take_all()
    buffer.feed(b"nonsense\r\n")
    with pytest.raises(ClientProtocolError):
        buffer.take_head()


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.0 200 OK",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 ",
        b"HTTP/1.1 999 \x80\xff \t",
        b"HTTP/1.1 200 " + b"a" * (MAX_TARGET_BYTES + 64 - 13),
    ],
)
def test_a_good_status_line_passes(line: bytes) -> None:
    buffer = HeadBuffer(check_status_line, refuse_response)
    for octet in octet_by_octet(line + b"\r\n\r"):
        buffer.feed(octet)
        assert buffer.take_head() is None
    buffer.feed(b"\n")
    assert buffer.take_head() == line + b"\r\n\r\n"


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.2 200 OK",
        b"HTTP/2 200",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1\t200 OK",
        b"HTTP/1.1 200\tOK",
        b"http/1.1 200 OK",
        b"ICY 200 OK",
        b"<html>",
        b"",
        b"HTTP/1.1 200 a\x00",
        b"HTTP/1.1 200 " + b"a" * (MAX_TARGET_BYTES + 64 - 12),
    ],
)
def test_a_bad_status_line_is_refused(line: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        check_status_line(line)


def test_fields_keep_order_and_spelling_and_lose_outer_white_space() -> None:
    head = b"GET / HTTP/1.1\r\nb:\t 1 2\t\r\nA:x:y\r\nB:\r\n\r\n"
    expected: tuple[bytes, Headers] = (
        b"GET / HTTP/1.1",
        ((b"b", b"1 2"), (b"A", b"x:y"), (b"B", b"")),
    )
    assert split_head(head, refuse_request) == expected


def test_what_is_wrong_with_a_field_is_said() -> None:
    details = []
    for head in (FOLDED, SPACE_BEFORE_COLON, NO_COLON):
        with pytest.raises(ClientProtocolError) as error:
            split_head(head, refuse_request)
        details.append(error.value.detail)
    assert details == [
        "folded or indented field line",
        "white space before the colon of a field",
        "malformed field line",
    ]


@pytest.mark.parametrize(
    ("head", "tidy"),
    [
        (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nA \t: b\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nA: b : c\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b : c\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n \t c\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b c\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n\tc\r\n\td\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b c d\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n \r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b \r\n\r\n"),
        (b"HTTP/1.1 200 O : K\r\n\r\n", b"HTTP/1.1 200 O : K\r\n\r\n"),
    ],
)
def test_a_response_is_tidied_where_the_rfc_allows_it(head: bytes, tidy: bytes) -> None:
    assert tidy_response_head(head) == tidy


def test_white_space_behind_the_status_line_is_no_fold() -> None:
    head = b"HTTP/1.1 200 OK\r\n A: b\r\nC: d\r\n e\r\n\r\n"
    assert tidy_response_head(head) == head
    with pytest.raises(UpstreamProtocolError):
        split_head(head, refuse_response)


def test_tidying_the_largest_head_takes_no_time() -> None:
    spaces = b" " * (MAX_HEAD_BYTES - 100)
    head = b"HTTP/1.1 200 OK\r\nA: b\r\n c" + spaces + b"d\r\n\r\n"
    began_at = time.process_time()
    tidy_response_head(head)
    # A millisecond; quadratic time would be seconds.
    assert time.process_time() - began_at < 0.5


def test_a_refused_response_is_502_whatever_the_rule() -> None:
    error: WsproxyError = refuse_response("detail", 431, "T3")
    assert isinstance(error, UpstreamProtocolError)
    assert error.detail == "detail"


@settings(deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=80),
        st.text(alphabet="GET /H:1.\r\n\t\0\x7fü", max_size=80).map(lambda t: t.encode("latin-1")),
    ),
    cuts=st.lists(st.integers(0, 80), max_size=3),
)
def test_the_delivery_never_changes_the_outcome(data: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = tuple(data[a:b] for a, b in itertools.pairwise(edges))
    whole, rest = take((data,))
    in_pieces, rest_in_pieces = take(pieces)
    if isinstance(whole, Refused):
        # With several faults in it, the first one to arrive is the one that is named.
        assert isinstance(in_pieces, Refused)
    else:
        assert (in_pieces, rest_in_pieces) == (whole, rest)
