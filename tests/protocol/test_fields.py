"""Fields: which of them cross the proxy, and which end here."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.traces import Refused, refusal
from wsproxy.errors import ClientProtocolError, UpstreamProtocolError
from wsproxy.model import Body, BodyKind, Headers, Host, ProxyRequest, RequestKind, Target
from wsproxy.protocol.authority import parse_host
from wsproxy.protocol.fields import (
    authenticates_connection,
    content_length,
    end_to_end,
    framing,
    has_token,
    loops,
    max_forwards,
    safe_trailers,
    to_upstream,
    transfer_codings,
    values,
)
from wsproxy.protocol.head import refuse_request, refuse_response

VIA = b"wsproxy-1f2e"
HOP_BY_HOP = (
    b"Connection Proxy-Connection Keep-Alive TE Transfer-Encoding Upgrade HTTP2-Settings "
    b"Proxy-Authorization Proxy-Authenticate Proxy-Authentication-Info "
    b"Proxy-Authentication-Control Proxy-Support"
).split()
PROTECTED = (
    b"Host Via Date Sec-WebSocket-Key Sec-WebSocket-Version Sec-WebSocket-Accept "
    b"Sec-WebSocket-Protocol Sec-WebSocket-Extensions"
).split()
NOT_IN_TRAILERS = [
    *HOP_BY_HOP,
    *(
        b"Host Content-Length Trailer Via Max-Forwards Expect Range Cache-Control Pragma "
        b"Authorization WWW-Authenticate Authentication-Info Cookie Set-Cookie Set-Cookie2 Age "
        b"Date Expires Location Retry-After Vary Warning Content-Type Content-Encoding "
        b"Content-Range Content-Location If-Match If-None-Match If-Modified-Since "
        b"If-Unmodified-Since If-Range Sec-WebSocket-Key Sec-WebSocket-Accept "
        b"Sec-WebSocket-Version Sec-WebSocket-Protocol Sec-WebSocket-Extensions"
    ).split(),
]

GET = ProxyRequest(
    kind=RequestKind.FORWARD,
    method="GET",
    target=Target("http", Host("origin.example"), 80, b"/a"),
    version="1.1",
    headers=(),
    body=Body(BodyKind.NONE),
    keep_alive=True,
)


def test_values_are_found_in_any_case_and_kept_in_order() -> None:
    headers: Headers = ((b"A", b"1"), (b"b", b"2"), (b"a", b"3"))
    assert values(headers, b"a") == [b"1", b"3"]
    assert values(headers, b"c") == []


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"close", True),
        (b"Close", True),
        (b"keep-alive, close", True),
        (b"keep-alive,\tCLOSE ,", True),
        (b"", False),
        (b"closed", False),
        (b"not close", False),
        (b"close;q=1", False),
        (b'"close"', False),
    ],
)
def test_a_token_is_a_whole_member_of_the_list(value: bytes, found: bool) -> None:
    assert has_token(((b"Connection", value),), b"connection", b"close") is found


def test_a_token_is_found_in_a_second_field_of_the_name() -> None:
    headers: Headers = ((b"Connection", b"keep-alive"), (b"connection", b"close"))
    assert has_token(headers, b"connection", b"close")


def test_transfer_codings_are_joined_over_fields() -> None:
    headers: Headers = ((b"Transfer-Encoding", b"GZIP,"), (b"transfer-encoding", b" , chunked"))
    assert transfer_codings(headers) == [b"gzip", b"chunked"]


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        ((), None),
        ((b"0",), 0),
        ((b"5",), 5),
        ((b"005",), 5),
        ((b"9" * 18,), 10**18 - 1),
    ],
)
def test_a_content_length_is_read(fields: tuple[bytes, ...], length: int | None) -> None:
    headers = tuple((b"Content-Length", value) for value in fields)
    assert content_length(headers, refuse_request, row="T4") == length


@pytest.mark.parametrize(
    "fields",
    [
        (b"",),
        (b"+5",),
        (b"-5",),
        (b"5.0",),
        (b"0x5",),
        (b"5 5",),
        (b"5, 5",),
        (b"5_0",),
        (b"\xb2",),
        (b"9" * 19,),
        (b"5", b"5"),
        (b"5", b"6"),
    ],
)
def test_any_other_content_length_is_refused(fields: tuple[bytes, ...]) -> None:
    headers = tuple((b"content-LENGTH", value) for value in fields)
    with pytest.raises(ClientProtocolError) as error:
        content_length(headers, refuse_request, row="T4")
    assert refusal(error.value) == Refused(400, "T4")
    with pytest.raises(UpstreamProtocolError):
        content_length(headers, refuse_response, row="T19")


@pytest.mark.parametrize("name", [*HOP_BY_HOP, b"Content-Length"])
def test_a_hop_by_hop_field_ends_here_in_any_case(name: bytes) -> None:
    for spelling in (name, name.lower(), name.upper()):
        assert end_to_end(((b"A", b"1"), (spelling, b"x"), (b"B", b"2"))) == [
            (b"A", b"1"),
            (b"B", b"2"),
        ]


def test_what_connection_names_ends_here_too() -> None:
    headers: Headers = (
        (b"Connection", b"close, X-A"),
        (b"x-a", b"1"),
        (b"X-B", b"2"),
        (b"X-b", b"3"),
        (b"X-C", b"4"),
        (b"connection", b"x-B,, "),
    )
    assert end_to_end(headers) == [(b"X-C", b"4")]


@pytest.mark.parametrize("name", PROTECTED)
def test_connection_cannot_remove_what_routes_or_frames(name: bytes) -> None:
    headers: Headers = ((name, b"x"), (b"Connection", name))
    assert end_to_end(headers) == [(name, b"x")]


def test_fields_that_cross_keep_order_and_spelling() -> None:
    headers: Headers = ((b"Set-COOKIE", b"a"), (b"ETag", b"b"), (b"set-cookie", b"c"))
    assert end_to_end(headers) == list(headers)


names = st.one_of(
    st.sampled_from([*HOP_BY_HOP, *PROTECTED, b"X-A", b"x-b", b"Cookie", b"Content-Length"]),
    st.from_regex(rb"[!#-'*+.^_`|~0-9A-Za-z-]{1,8}", fullmatch=True),
)
header_lists = st.lists(
    st.one_of(
        st.tuples(names, st.sampled_from([b"", b"a", b"close"])),
        st.tuples(
            st.sampled_from([b"Connection", b"connection"]),
            st.lists(names, max_size=3).map(b" ,\t".join),
        ),
    ),
    max_size=8,
).map(tuple)


@settings(deadline=None, max_examples=300)
@given(headers=header_lists)
def test_no_hop_by_hop_field_survives(headers: Headers) -> None:
    kept = end_to_end(headers)
    gone = {name.lower() for name in HOP_BY_HOP}
    nominated = {
        token.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for token in value.split(b",")
    } - {name.lower() for name in PROTECTED}
    left = [name.lower() for name, _ in kept]
    assert not gone.union(nominated).intersection(left)
    # Everything else does survive (RFC 9110 §5.1), once, and in order.
    lost = gone | nominated | {b"content-length"}
    assert kept == [field for field in headers if field[0].lower() not in lost]
    assert end_to_end(tuple(kept)) == kept


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (Body(BodyKind.NONE), []),
        (Body(BodyKind.UNTIL_CLOSE), []),
        (Body(BodyKind.LENGTH, 0), [(b"Content-Length", b"0")]),
        (Body(BodyKind.LENGTH, 10**17), [(b"Content-Length", b"1" + b"0" * 17)]),
        (Body(BodyKind.CHUNKED), [(b"Transfer-Encoding", b"chunked")]),
    ],
)
def test_framing_is_written_by_us(body: Body, fields: list[tuple[bytes, bytes]]) -> None:
    assert framing(body) == fields


@pytest.mark.parametrize(
    ("host", "port", "field"),
    [
        (b"origin.example", 80, b"origin.example"),
        (b"origin.example", 8080, b"origin.example:8080"),
        (b"origin.example", 443, b"origin.example:443"),
        (b"192.0.2.1", 81, b"192.0.2.1:81"),
        (b"[2001:DB8::1]", 80, b"[2001:db8::1]"),
        (b"[2001:db8::1]", 81, b"[2001:db8::1]:81"),
    ],
)
def test_the_origin_gets_the_host_of_the_target(host: bytes, port: int, field: bytes) -> None:
    headers: Headers = ((b"HOST", b"other.example"),)
    target = Target("http", parse_host(host), port, b"/")
    request = replace(GET, target=target, headers=headers)
    assert to_upstream(request, via=VIA) == [(b"Host", field), (b"Via", b"1.1 " + VIA)]


def test_the_origin_gets_end_to_end_fields_our_framing_and_our_via_last() -> None:
    request = replace(
        GET,
        version="1.0",
        headers=(
            (b"content-length", b"005"),
            (b"Via", b"1.1 before"),
            (b"Proxy-Authorization", b"Basic c2VjcmV0"),
            (b"Accept", b"*/*"),
        ),
        body=Body(BodyKind.LENGTH, 5),
    )
    assert to_upstream(request, via=VIA) == [
        (b"Host", b"origin.example"),
        (b"Via", b"1.1 before"),
        (b"Accept", b"*/*"),
        (b"Content-Length", b"5"),
        (b"Via", b"1.0 " + VIA),
    ]


@pytest.mark.parametrize("name", NOT_IN_TRAILERS)
def test_a_trailer_that_frames_routes_or_authenticates_is_dropped(name: bytes) -> None:
    trailers = [(b"X-T", b"1"), (name, b"x"), (name.lower(), b"y"), (b"x-t", b"2")]
    assert safe_trailers(trailers, ()) == [(b"X-T", b"1"), (b"x-t", b"2")]


def test_a_trailer_that_connection_names_is_dropped() -> None:
    headers: Headers = ((b"Connection", b"X-T, close"),)
    assert safe_trailers([(b"x-t", b"1"), (b"X-U", b"2")], headers) == [(b"X-U", b"2")]


@pytest.mark.parametrize(
    ("via", "is_loop"),
    [
        ((), False),
        ((b"1.1 " + VIA,), True),
        ((b"1.0 fred, 1.1 " + VIA + b" (comment)",), True),
        ((b"1.0 fred", b"HTTP/1.1\t" + VIA), True),
        ((b"1.1 " + VIA + b"0",), False),
        ((b"1.1 other (" + VIA + b")",), False),
        ((VIA,), False),
        ((b"", b" , "), False),
    ],
)
def test_a_loop_is_our_pseudonym_as_the_second_word(via: tuple[bytes, ...], is_loop: bool) -> None:
    assert loops(tuple((b"VIA", value) for value in via), VIA) is is_loop


@pytest.mark.parametrize(
    ("method", "value", "hops"),
    [
        ("OPTIONS", b"0", 0),
        ("TRACE", b"10", 10),
        ("OPTIONS", b"007", 7),
        ("OPTIONS", b"9" * 5000, 999_999_999),
        ("GET", b"0", None),
        ("OPTIONS", None, None),
        ("OPTIONS", b"-1", None),
        ("OPTIONS", b"1, 2", None),
        ("OPTIONS", b"", None),
    ],
)
def test_max_forwards_counts_for_trace_and_options_only(
    method: str, value: bytes | None, hops: int | None
) -> None:
    headers: Headers = () if value is None else ((b"Max-FORWARDS", value),)
    assert max_forwards(replace(GET, method=method, headers=headers)) == hops


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"NTLM", True),
        (b"negotiate", True),
        (b"Negotiate YIIKhg==", True),
        (b'Basic realm="x", NTLM', True),
        (b'Basic realm="a, NTLM", Digest realm="\\", negotiate"', False),
        (b"Negotiated x, NTLM2", False),
        (b"", False),
    ],
)
def test_schemes_that_authenticate_connections(value: bytes, found: bool) -> None:
    headers = ((b"WWW-Authenticate", value), (b"X", b"NTLM"))
    assert authenticates_connection(headers, b"www-authenticate") is found
