"""Whole connections under any octets and any delivery: properties of `wsproxy.protocol.http1`."""

from __future__ import annotations

import itertools
import random

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.differential import requests, responses
from tests.differential.mutate import mutate
from tests.protocol.traces import (
    Content,
    End,
    Refused,
    Trace,
    hear_requests,
    hear_response,
    octet_by_octet,
)
from wsproxy.model import Body, BodyKind, ProxyRequest
from wsproxy.protocol.fields import framing, safe_trailers
from wsproxy.protocol.http1 import ClientConnection, ServerConnection
from wsproxy.protocol.response import Response

HOST = (b"Host", b"origin.example")
TE = (b"Transfer-Encoding", b"chunked")
GET = b"GET http://origin.example/ HTTP/1.1\r\nHost: origin.example\r\n\r\n"
POST_HEAD = (
    b"POST http://origin.example/ HTTP/1.1\r\nHost: origin.example\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
OK_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def bodies_joined(trace: Trace) -> bytes:
    """The content of all messages in `trace`, up to a refusal."""
    return b"".join(event.data for event in trace if isinstance(event, Content))


def assert_same(whole: Trace, in_pieces: Trace) -> None:
    """Asserts that the delivery changed nothing but how early a fault is known.

    With a fault at the end, pieces may have handed on octets in front of it
    that the whole did not, and with several faults another one may be named.
    """
    if not (whole and isinstance(whole[-1], Refused)):
        assert in_pieces == whole
        return
    assert isinstance(in_pieces[-1], Refused)
    heads = [event for event in whole[:-1] if not isinstance(event, Content)]
    assert [event for event in in_pieces[:-1] if not isinstance(event, Content)] == heads
    assert bodies_joined(in_pieces).startswith(bodies_joined(whole))


def pieces_of(data: bytes, cuts: list[int]) -> tuple[bytes, ...]:
    """`data` cut at each of `cuts`, modulo its length."""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return tuple(data[a:b] for a, b in itertools.pairwise(edges))


cut_lists = st.lists(st.integers(0, 1 << 16), max_size=4)


@settings(deadline=None, max_examples=400)
@given(seed=st.integers(0, 1 << 32), cuts=cut_lists, ended=st.booleans())
def test_the_delivery_never_changes_what_a_client_said(
    seed: int, cuts: list[int], ended: bool
) -> None:
    rng = random.Random(seed)
    data = mutate(rng.choice(requests.SEEDS), requests.SEEDS, rng)
    whole = hear_requests((data,), count=5, ended=ended)
    for pieces in (pieces_of(data, cuts), octet_by_octet(data)):
        in_pieces = hear_requests(pieces, count=5, ended=ended)
        assert_same(whole.trace, in_pieces.trace)
        if not (whole.trace and isinstance(whole.trace[-1], Refused)):
            assert in_pieces.rest == whole.rest


@settings(deadline=None, max_examples=400)
@given(
    seed=st.integers(0, 1 << 32),
    cuts=cut_lists,
    ended=st.booleans(),
    method=st.sampled_from(["GET", "HEAD", "UPGRADE"]),
)
def test_the_delivery_never_changes_what_an_origin_said(
    seed: int, cuts: list[int], ended: bool, method: str
) -> None:
    rng = random.Random(seed)
    data = mutate(rng.choice(responses.SEEDS), responses.SEEDS, rng)
    whole = hear_response((data,) if data else (), method=method, ended=ended)
    for pieces in (pieces_of(data, cuts), octet_by_octet(data)):
        assert_same(whole.trace, hear_response(pieces, method=method, ended=ended).trace)


@settings(deadline=None, max_examples=300)
@given(data=st.binary(max_size=200), ended=st.booleans())
def test_any_octets_meet_documented_exceptions_only(data: bytes, ended: bool) -> None:
    for prefix in (b"", GET, POST_HEAD, b"GET http://a/ HTTP/1.1\r\n"):
        hear_requests((prefix + data,), count=5, ended=ended)
    for prefix in (b"", b"HTTP/1.1 200 OK\r\n", OK_HEAD, b"HTTP/1.1 100 x\r\n\r\n"):
        for method in ("GET", "HEAD", "UPGRADE"):
            hear_response((prefix + data,), method=method, ended=ended)


token = st.from_regex(rb"[!#-'*+.^_`|~0-9A-Za-z-]{1,10}", fullmatch=True)
field_names = token.map(lambda name: b"X-" + name)
field_values = st.from_regex(
    rb"([\x21-\x7e\x80-\xff]([\t \x21-\x7e\x80-\xff]{0,10}[\x21-\x7e\x80-\xff])?)?", fullmatch=True
)
field_lists = st.lists(st.tuples(field_names, field_values), max_size=4)
contents = st.lists(st.binary(min_size=1, max_size=20), max_size=3)
kinds = st.sampled_from([BodyKind.NONE, BodyKind.LENGTH, BodyKind.CHUNKED])


@settings(deadline=None, max_examples=300)
@given(
    method=token.filter(lambda name: name not in (b"CONNECT", b"HEAD")).map(bytes.decode),
    path=st.from_regex(rb"/[A-Za-z0-9%?&=/.~|{}]{0,10}", fullmatch=True),
    fields=field_lists,
    kind=kinds,
    content=contents,
    trailers=field_lists,
)
def test_a_request_we_send_is_read_by_h11_and_by_ourselves_as_it_was_meant(
    method: str,
    path: bytes,
    fields: list[tuple[bytes, bytes]],
    kind: BodyKind,
    content: list[bytes],
    trailers: list[tuple[bytes, bytes]],
) -> None:
    body = b"".join(content) if kind is not BodyKind.NONE else b""
    framed = framing(Body(kind, len(body) if kind is BodyKind.LENGTH else 0))
    trailers = safe_trailers(trailers, ()) if kind is BodyKind.CHUNKED else []
    http = ClientConnection()
    sent = http.send_request(method, path, [HOST, *fields, *framed])
    sent += b"".join(http.send_data(piece) for piece in content if body)
    sent += http.end_request(trailers)

    expected = [HOST, *fields, *framed]
    oracle = h11.Connection(h11.SERVER)
    oracle.receive_data(sent)
    head = oracle.next_event()
    assert isinstance(head, h11.Request)
    assert (head.method, head.target) == (method.encode(), path)
    assert head.headers.raw_items() == expected
    read = bytearray()
    while isinstance(event := oracle.next_event(), h11.Data):
        read += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert (bytes(read), event.headers.raw_items()) == (body, trailers)
    assert oracle.trailing_data == (b"", False)

    ours = hear_requests((sent,))
    assert ours.rest == b""
    ours_head, *ours_body = ours.trace
    assert isinstance(ours_head, ProxyRequest)
    assert (ours_head.method, ours_head.target.path) == (method, path)
    assert list(ours_head.headers) == expected
    expected_body: Trace = [Content(body)] if body else []
    assert ours_body == [*expected_body, End(tuple(trailers))]


@settings(deadline=None, max_examples=300)
@given(
    status=st.integers(200, 999),
    reason=field_values,
    fields=field_lists,
    kind=kinds,
    content=contents,
    trailers=field_lists,
)
def test_a_response_we_send_is_read_by_ourselves_as_it_was_meant(
    status: int,
    reason: bytes,
    fields: list[tuple[bytes, bytes]],
    kind: BodyKind,
    content: list[bytes],
    trailers: list[tuple[bytes, bytes]],
) -> None:
    bodiless = status in (204, 304)
    content = [] if kind is BodyKind.NONE or bodiless else content
    body = b"".join(content)
    framed = framing(Body(kind, len(body) if kind is BodyKind.LENGTH else 0))
    # Without a length of its own, a body to HTTP/1.1 is chunked by h11.
    announced = [] if bodiless else framed or [TE]
    trailers = safe_trailers(trailers, ()) if announced == [TE] else []
    http = ServerConnection()
    http.receive_data(GET)
    http.next_event()
    http.next_event()
    sent = http.send_response(status, reason, [*fields, *([] if bodiless else framed)])
    sent += b"".join(http.send_data(piece) for piece in content)
    sent += http.end_response(trailers)

    heard = hear_response((sent,))
    assert heard.rest == b""
    head, *rest = heard.trace
    assert isinstance(head, Response)
    assert (head.status, head.reason, list(head.headers)) == (status, reason, [*fields, *announced])
    expected_body: Trace = [Content(body)] if body else []
    assert rest == [*expected_body, End(tuple(trailers))]


@settings(deadline=None, max_examples=400)
@given(seed=st.integers(0, 1 << 32))
def test_what_we_accept_h11_reads_as_the_same_messages(seed: int) -> None:
    rng = random.Random(seed)
    data = mutate(rng.choice(requests.SEEDS), requests.SEEDS, rng)
    heard = hear_requests((data,))
    if not (heard.trace and isinstance(heard.trace[-1], End)):
        return
    head = heard.trace[0]
    assert isinstance(head, ProxyRequest)
    oracle = h11.Connection(h11.SERVER)
    oracle.receive_data(data.removeprefix(b"\r\n"))
    event = oracle.next_event()
    assert isinstance(event, h11.Request)
    assert tuple(event.headers.raw_items()) == head.headers
    read = bytearray()
    while isinstance(event := oracle.next_event(), h11.Data):
        read += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert bytes(read) == bodies_joined(heard.trace)
    assert oracle.trailing_data[0] == heard.rest
