"""Bodies: where they end, to the octet."""

from __future__ import annotations

import itertools
import time

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.traces import BEHIND, Refused, every_split, octet_by_octet, refusal
from wsproxy.errors import ClientProtocolError
from wsproxy.model import Body, BodyKind
from wsproxy.protocol.body import MAX_CHUNK_LINE_BYTES, BodyFramer
from wsproxy.protocol.head import MAX_FIELDS, refuse_request

CHUNKED = Body(BodyKind.CHUNKED)

EMPTY = b"0\r\n\r\n"
TWO_CHUNKS = b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"
UPPER_HEX = b"A\r\n0123456789\r\n0\r\n\r\n"
LEADING_ZEROS = b"0000000000000005\r\nhello\r\n000\r\n\r\n"
EXTENSIONS = b'5;a=b;c="d e"\r\nhello\r\n0;last\r\n\r\n'
LONGEST_LINE = b"5;" + b"a" * (MAX_CHUNK_LINE_BYTES - 4) + b"\r\nhello\r\n0\r\n\r\n"
PADDED = b"5  \t\r\nhello\r\n0 \r\n\r\n"
LINE_ENDS_INSIDE = b"6\r\n\r\n0\r\n\r\r\n0\r\n\r\n"
TRAILERS = b"0\r\nA: b\r\nC:\r\n\r\n"
MOST_TRAILERS = b"0\r\n" + b"A: b\r\n" * MAX_FIELDS + b"\r\n"

NO_SIZE = b"\r\n"
NEGATIVE = b"-5\r\nhello\r\n"
PLUS = b"+5\r\nhello\r\n"
HEX_PREFIX = b"0x5\r\nhello\r\n"
UNDERSCORE = b"1_0\r\n"
SEVENTEEN_DIGITS = b"00000000000000005\r\nhello\r\n"
OVERFLOW = b"10000000000000005\r\nhello\r\n"
LEADING_SPACE = b" 5\r\nhello\r\n"
SPACE_BEFORE_EXTENSION = b"5 ;a\r\nhello\r\n"
LF_LINE = b"5\nhello\r\n"
CR_IN_EXTENSION = b"5;a\rb\r\nhello\r\n"
LF_IN_EXTENSION = b"5;a\n0\r\n\r\n"
NUL_IN_EXTENSION = b"5;\x00\r\nhello\r\n"
LONG_LINE = b"5;" + b"a" * MAX_CHUNK_LINE_BYTES + b"\r\n"
ENDLESS_LINE = b"5;" + b"a" * MAX_CHUNK_LINE_BYTES
NO_CRLF_BEHIND = b"5\r\nhello0\r\n\r\n"
LF_BEHIND = b"5\r\nhello\n0\r\n\r\n"
CR_BEHIND = b"5\r\nhello\r0\r\n\r\n"
LONGER_THAN_SAID = b"5\r\nhello!\r\n0\r\n\r\n"
FOLDED_TRAILER = b"0\r\nA: b\r\n c\r\n\r\n"
SPACED_TRAILER = b"0\r\nA : b\r\n\r\n"
LF_TRAILER = b"0\r\nA: b\n\r\n"
LF_END = b"0\r\n\n"
NUL_TRAILER = b"0\r\nA: \x00\r\n\r\n"
LONG_TRAILER = b"0\r\nA: " + b"b" * 16 * 1024
TOO_MANY_TRAILERS = b"0\r\n" + b"A: b\r\n" * (MAX_FIELDS + 1) + b"\r\n"
TOO_LARGE_TRAILERS = b"0\r\n" + (b"A: " + b"b" * 4092 + b"\r\n") * 4 + b"A: b\r\n\r\n"


def take(body: Body, pieces: tuple[bytes, ...]) -> tuple[int, bool] | Refused:
    """Octets taken from `pieces`, and whether the body is complete; or the refusal."""
    framer = BodyFramer(body, refuse_request)
    taken = 0
    try:
        for piece in pieces:
            step = framer.take(piece)
            assert step == len(piece) or framer.complete
            taken += step
    except ClientProtocolError as error:
        return refusal(error)
    return taken, framer.complete


@pytest.mark.parametrize(
    ("body", "vector"),
    [
        (Body(BodyKind.NONE), b""),
        (Body(BodyKind.LENGTH, 0), b""),
        (Body(BodyKind.LENGTH, 5), b"hello"),
        (CHUNKED, EMPTY),
        (CHUNKED, TWO_CHUNKS),
        (CHUNKED, UPPER_HEX),
        (CHUNKED, LEADING_ZEROS),
        (CHUNKED, EXTENSIONS),
        (CHUNKED, LONGEST_LINE),
        (CHUNKED, PADDED),
        (CHUNKED, LINE_ENDS_INSIDE),
        (CHUNKED, TRAILERS),
        (CHUNKED, MOST_TRAILERS),
    ],
)
def test_a_body_is_taken_to_its_last_octet_and_not_one_more(body: Body, vector: bytes) -> None:
    for delivery in every_split(vector):
        assert take(body, delivery.pieces) == (len(vector), True)


@pytest.mark.parametrize(
    ("vector", "status"),
    [
        (NO_SIZE, 400),
        (NEGATIVE, 400),
        (PLUS, 400),
        (HEX_PREFIX, 400),
        (UNDERSCORE, 400),
        (SEVENTEEN_DIGITS, 400),
        (OVERFLOW, 400),
        (LEADING_SPACE, 400),
        (SPACE_BEFORE_EXTENSION, 400),
        (LF_LINE, 400),
        (CR_IN_EXTENSION, 400),
        (LF_IN_EXTENSION, 400),
        (NUL_IN_EXTENSION, 400),
        (LONG_LINE, 400),
        (ENDLESS_LINE, 400),
        (NO_CRLF_BEHIND, 400),
        (LF_BEHIND, 400),
        (CR_BEHIND, 400),
        (LONGER_THAN_SAID, 400),
        (FOLDED_TRAILER, 400),
        (SPACED_TRAILER, 400),
        (LF_TRAILER, 400),
        (LF_END, 400),
        (NUL_TRAILER, 400),
        (LONG_TRAILER, 400),
        (TOO_MANY_TRAILERS, 431),
        (TOO_LARGE_TRAILERS, 431),
    ],
)
def test_broken_chunk_framing_is_refused_in_any_delivery(vector: bytes, status: int) -> None:
    pieces = [(vector,), octet_by_octet(vector), (vector + b"0\r\n\r\n",)]
    assert [take(CHUNKED, p) for p in pieces] == [Refused(status, "T5")] * 3


def test_a_chunk_that_ends_in_something_else_is_refused_at_the_first_wrong_octet() -> None:
    assert take(CHUNKED, (b"5\r\nhello",)) == (8, False)
    assert take(CHUNKED, (b"5\r\nhello\r",)) == (9, False)
    assert take(CHUNKED, (b"5\r\nhello!",)) == Refused(400, "T5")


def test_a_body_without_all_its_octets_is_not_complete() -> None:
    assert take(Body(BodyKind.LENGTH, 6), (b"hello",)) == (5, False)
    for end in range(len(TRAILERS)):
        assert take(CHUNKED, (TRAILERS[:end],)) == (end, False)


def test_the_largest_chunk_is_counted_exactly() -> None:
    framer = BodyFramer(CHUNKED, refuse_request)
    assert framer.take(b"FFFFFFFFFFFFFFFF\r\n" + b"a" * 1000) == 1018
    assert not framer.complete


def test_a_body_until_close_takes_all_and_only_the_end_of_the_connection_ends_it() -> None:
    framer = BodyFramer(Body(BodyKind.UNTIL_CLOSE), refuse_request)
    assert (framer.take(b"0\r\n\r\n"), framer.complete) == (5, False)
    assert framer.ends_with_connection
    assert not BodyFramer(CHUNKED, refuse_request).ends_with_connection


def test_the_worst_chunk_line_takes_no_time() -> None:
    worst = b"5;" + b" \t" * (MAX_CHUNK_LINE_BYTES // 2 - 4) + b"\x00\r\n"
    began_at = time.process_time()
    for _ in range(100):
        assert take(CHUNKED, (worst,)) == Refused(400, "T5")
    # Two milliseconds; backtracking would multiply it.
    assert time.process_time() - began_at < 0.5


@settings(deadline=None)
@given(length=st.integers(0, 40), data=st.binary(max_size=60), cuts=st.lists(st.integers(0, 60)))
def test_a_length_is_kept_in_any_delivery(length: int, data: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = tuple(data[a:b] for a, b in itertools.pairwise(edges))
    assert take(Body(BodyKind.LENGTH, length), pieces) == (
        min(length, len(data)),
        len(data) >= length,
    )


chunk_sizes = st.builds(
    lambda size, zeros, upper: b"0" * zeros + (b"%X" if upper else b"%x") % size,
    size=st.integers(1, 30),
    zeros=st.integers(0, 3),
    upper=st.booleans(),
)
line_tails = st.sampled_from([b"", b"", b" ", b"\t ", b";", b";a=b", b'; a="b;c" '])
chunks = st.builds(
    lambda size, tail, filler: size + tail + b"\r\n" + (filler * 30)[: int(size, 16)] + b"\r\n",
    chunk_sizes,
    line_tails,
    st.sampled_from([b"a", b"\r\n", b"0\r\n\r\n", b"\x00\xff"]),
)
trailer_lines = st.sampled_from([b"A: b\r\n", b"X-T:\r\n", b"x: \xff y \r\n"])
chunked_bodies = st.builds(
    lambda pieces, zeros, tail, trailers: (
        b"".join(pieces) + zeros + tail + b"\r\n" + b"".join(trailers) + b"\r\n"
    ),
    st.lists(chunks, max_size=4),
    st.sampled_from([b"0", b"000"]),
    line_tails,
    st.lists(trailer_lines, max_size=3),
)


def read_by_h11(data: bytes) -> int | None:
    """Where h11 sees the end of the chunked body at the beginning of `data`."""
    oracle = h11.Connection(h11.SERVER)
    oracle.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    while True:
        try:
            event = oracle.next_event()
        except h11.RemoteProtocolError:
            return None
        if event is h11.NEED_DATA:
            return None
        if isinstance(event, h11.EndOfMessage):
            return len(data) - len(oracle.trailing_data[0])


@settings(deadline=None, max_examples=200)
@given(body=chunked_bodies, behind=st.binary(max_size=12), cut=st.integers(0, 100))
def test_h11_and_we_agree_where_a_good_chunked_body_ends(
    body: bytes, behind: bytes, cut: int
) -> None:
    data = body + behind
    assert read_by_h11(data) == len(body)
    assert take(CHUNKED, (data[:cut], data[cut:])) == (len(body), True)


@settings(deadline=None, max_examples=300)
@given(
    body=chunked_bodies,
    at=st.integers(0, 100),
    scrap=st.sampled_from([b"\n", b"\r", b" ", b"0", b";", b"\x00", b":", b"f", b"\r\n"]),
    length=st.integers(0, 2),
)
def test_what_we_take_for_complete_h11_does_too_and_ends_at_the_same_octet(
    body: bytes, at: int, scrap: bytes, length: int
) -> None:
    data = body[:at] + scrap + body[at + length :]
    outcome = take(CHUNKED, (data,))
    if isinstance(outcome, tuple) and outcome[1]:
        assert read_by_h11(data) == outcome[0]


SMALL_CHUNKS = b"1\r\na\r\n2;x=y\r\nbc\r\n1\r\nd\r\n0\r\nX: y\r\n\r\n"


def test_small_chunks_are_sewn_together_for_h11() -> None:
    framer = BodyFramer(CHUNKED, refuse_request)
    assert framer.feed(SMALL_CHUNKS + BEHIND) == (
        len(SMALL_CHUNKS),
        b"4\r\nabcd\r\n0\r\nX: y\r\n\r\n",
    )


def test_octets_that_complete_no_data_give_h11_nothing_yet() -> None:
    framer = BodyFramer(CHUNKED, refuse_request)
    fed = [framer.feed(bytes([octet]))[1] for octet in SMALL_CHUNKS]
    assert b"".join(fed) == (b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n1\r\nd\r\n0\r\nX: y\r\n\r\n")


def test_other_bodies_are_fed_as_they_are() -> None:
    framer = BodyFramer(Body(BodyKind.LENGTH, 5), refuse_request)
    assert framer.feed(b"hello" + BEHIND) == (5, b"hello")
