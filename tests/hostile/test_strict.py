"""The judge's readers themselves: what they must accept and what they must not."""

from __future__ import annotations

import pytest

from tests.hostile.strict import Unsafe, read_requests, read_responses

AUTHORITY = b"127.0.0.1:80"
START = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\nVia: 1.1 wsproxy-1\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\n"

UNSAFE_REQUESTS = {
    "bare LF": START.replace(b"\r\n", b"\n") + b"\n",
    "absolute-form": START.replace(b"GET /", b"GET http://127.0.0.1/") + b"\r\n",
    "asterisk-form": START.replace(b"GET /", b"GET *") + b"\r\n",
    "HTTP/1.0": START.replace(b"1.1\r\nHost", b"1.0\r\nHost") + b"\r\n",
    "fragment": START.replace(b"GET /", b"GET /#") + b"\r\n",
    "two spaces": START.replace(b"GET /", b"GET  /") + b"\r\n",
    "no Host": b"GET / HTTP/1.1\r\nVia: 1.1 wsproxy-1\r\n\r\n",
    "two Hosts": START + b"Host: 127.0.0.1:80\r\n\r\n",
    "another Host": START.replace(b":80", b":81") + b"\r\n",
    "no Via": b"GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n",
    "space before colon": START + b"X : y\r\n\r\n",
    "folded": START + b"X: y\r\n z\r\n\r\n",
    "NUL": START + b"X: \x00\r\n\r\n",
    "bare CR": START + b"X: a\rb\r\n\r\n",
    "no colon": START + b"X\r\n\r\n",
    "both framings": START + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": START + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "length with zeros": START + b"Content-Length: 05\r\n\r\nhello",
    "length with sign": START + b"Content-Length: +5\r\n\r\nhello",
    "coding in another case": START + b"Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
    "two codings": START + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunk extension": START + b"Transfer-Encoding: chunked\r\n\r\n1;a\r\nx\r\n0\r\n\r\n",
    "chunk without CRLF": START + b"Transfer-Encoding: chunked\r\n\r\n1\r\nxy0\r\n\r\n",
    "chunk with LF": START + b"Transfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n",
    "long chunk size": START + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 17 + b"\r\n\r\n",
    "framing trailer": START + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 1\r\n\r\n",
    "Proxy-Authorization": START + b"Proxy-Authorization: x\r\n\r\n",
    "Proxy-Connection": START + b"Proxy-Connection: x\r\n\r\n",
    "Keep-Alive": START + b"Keep-Alive: x\r\n\r\n",
    "TE not nominated": START + b"TE: trailers\r\n\r\n",
    "Connection nominates": START + b"Connection: X-A\r\n\r\n",
    "Upgrade not nominated": START + b"Upgrade: websocket\r\n\r\n",
    "Upgrade to h2c": START + b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "incomplete head": START,
    "octets behind a request": START + b"\r\nhello",
    "an empty line behind a request": START + b"\r\n\r\n" + START + b"\r\n",
}


@pytest.mark.parametrize("name", UNSAFE_REQUESTS)
def test_a_request_that_can_be_read_in_two_ways_is_unsafe(name: str) -> None:
    with pytest.raises(Unsafe):
        read_requests(UNSAFE_REQUESTS[name], AUTHORITY)


def test_two_good_requests_are_read_to_their_ends() -> None:
    first = START.replace(b"GET", b"POST") + b"Content-Length: 5\r\n\r\nhello"
    second = START + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-A: b\r\n\r\n"
    reading = read_requests(first + second, AUTHORITY)
    assert [r.line for r in reading.requests] == [b"POST /", b"GET /"]
    assert [r.body for r in reading.requests] == [b"hello", b"hi"]
    assert [r.complete for r in reading.requests] == [True, True]
    assert reading.requests[1].trailers == ((b"x-a", b"b"),)
    assert reading.tunnel == b""


def test_octets_behind_a_handshake_are_the_tunnel() -> None:
    handshake = START + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    assert read_requests(handshake + b"\x81\x00", AUTHORITY).tunnel == b"\x81\x00"


CHUNKS = b"5\r\nhello\r\n3\r\nyou\r\n0\r\nX-A: b\r\n\r\n"


@pytest.mark.parametrize("cut", range(len(CHUNKS)))
def test_every_cut_of_a_chunked_body_is_incomplete(cut: int) -> None:
    head = START + b"Transfer-Encoding: chunked\r\n\r\n"
    (request,) = read_requests(head + CHUNKS[:cut], AUTHORITY).requests
    assert not request.complete
    assert b"helloyou".startswith(request.body)


def test_a_cut_length_body_is_incomplete() -> None:
    data = START + b"Content-Length: 5\r\n\r\nhell"
    (request,) = read_requests(data, AUTHORITY).requests
    assert (request.body, request.complete) == (b"hell", False)


UNSAFE_RESPONSES = {
    "HTTP/0.9": b"hello",
    "status 99": b"HTTP/1.1 99 x\r\n\r\n",
    "both framings": RESPONSE + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\n\n",
    "NUL": RESPONSE + b"X: \x00\r\n\r\n",
    "101 with length": b"HTTP/1.1 101 x\r\nContent-Length: 0\r\n\r\n",
    "octets behind": RESPONSE + b"Content-Length: 0\r\n\r\nhello",
}


@pytest.mark.parametrize("name", UNSAFE_RESPONSES)
def test_a_response_that_can_be_read_in_two_ways_is_unsafe(name: str) -> None:
    with pytest.raises(Unsafe):
        read_responses(UNSAFE_RESPONSES[name], ("GET",))


def test_responses_are_read_by_the_methods_they_answer() -> None:
    head = RESPONSE + b"Content-Length: 2\r\n\r\n"
    early = b"HTTP/1.1 103 x\r\n\r\n"
    responses, rest = read_responses(early + head + early + head + b"ok", ("HEAD", "GET"))
    assert [r.status for r in responses] == [103, 200, 103, 200]
    assert [r.body for r in responses] == [b"", b"", b"", b"ok"]
    assert rest == b""


def test_a_close_delimited_body_needs_an_orderly_end() -> None:
    with pytest.raises(Unsafe):
        read_responses(RESPONSE + b"\r\nhello", ("GET",), ended=False)
    ((response,), _) = read_responses(RESPONSE + b"\r\nhello", ("GET",))
    assert (response.body, response.complete) == (b"hello", True)


def test_octets_behind_a_switch_are_the_tunnel() -> None:
    _, rest = read_responses(b"HTTP/1.1 200 Connection established\r\n\r\nhi", ("CONNECT",))
    assert rest == b"hi"
    _, rest = read_responses(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\nhi", ("GET",))
    assert rest == b"hi"
