"""Request heads: what is asked, and what must not be asked so."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.traces import (
    Refused,
    every_split,
    hear_requests,
    octet_by_octet,
    refusal,
)
from wsproxy.errors import ClientProtocolError
from wsproxy.model import Body, BodyKind, Host, ProxyRequest, RequestKind, Target
from wsproxy.protocol import request as requests
from wsproxy.protocol.authority import parse_host
from wsproxy.protocol.head import refuse_request, split_head
from wsproxy.protocol.request import interpret_request, read_connect

NONE = Body(BodyKind.NONE)
CHUNKED = Body(BodyKind.CHUNKED)
ORIGIN = Host("origin.example")
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
VERSION_13 = b"Sec-WebSocket-Version: 13\r\n"
SWITCH = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
TE = b"Transfer-Encoding: chunked\r\n"


def head(line: bytes, fields: bytes = b"") -> bytes:
    """A head with a Host field and more `fields`."""
    return line + b"\r\nHost: origin.example\r\n" + fields + b"\r\n"


def get(fields: bytes) -> bytes:
    """An HTTP/1.1 request to the origin with `fields`."""
    return head(b"GET http://origin.example/ HTTP/1.1", fields)


def outcome(vector: bytes) -> ProxyRequest | Refused:
    """What the head in `vector` asks, or its refusal."""
    try:
        return interpret_request(*split_head(vector, refuse_request))
    except ClientProtocolError as error:
        return refusal(error)


def read(vector: bytes) -> ProxyRequest:
    """What the head in `vector` asks; the same in every delivery."""
    request = outcome(vector)
    assert isinstance(request, ProxyRequest)
    for delivery in every_split(vector):
        assert hear_requests(delivery.pieces).trace[0] == request
    return request


def test_everything_a_request_says_is_read() -> None:
    vector = (
        b"POST http://Origin.Example.:8080/a?b=/c HTTP/1.1\r\nhost: x\r\nContent-Length: 05\r\n"
        b"Expect: 100-Continue\r\nX-A: \xc3\xbc \r\n\r\n"
    )
    assert read(vector) == ProxyRequest(
        kind=RequestKind.FORWARD,
        method="POST",
        target=Target("http", ORIGIN, 8080, b"/a?b=/c"),
        version="1.1",
        headers=(
            (b"host", b"x"),
            (b"Content-Length", b"05"),
            (b"Expect", b"100-Continue"),
            (b"X-A", b"\xc3\xbc"),
        ),
        body=Body(BodyKind.LENGTH, 5),
        keep_alive=True,
        expects_continue=True,
    )
    assert read(vector).sent_target == b"http://Origin.Example.:8080/a?b=/c"


@pytest.mark.parametrize(
    ("line", "kind", "target"),
    [
        (b"GET http://origin.example HTTP/1.1", "forward", Target("http", ORIGIN, 80, b"/")),
        (b"GET HTTP://origin.example/ HTTP/1.0", "forward", Target("http", ORIGIN, 80, b"/")),
        (b"GET http://other.example/ HTTP/1.1", "forward",
         Target("http", Host("other.example"), 80, b"/")),
        (b"get http://origin.example/ HTTP/1.1", "forward", Target("http", ORIGIN, 80, b"/")),
        (b"GET http://[2001:db8::1]:81/ HTTP/1.1", "forward",
         Target("http", parse_host(b"[2001:db8::1]"), 81, b"/")),
        (b"GET / HTTP/1.1", "own", Target("http", Host("wsproxy"), 80, b"/")),
        (b"POST //a?b HTTP/1.1", "own", Target("http", Host("wsproxy"), 80, b"//a?b")),
        (b"OPTIONS * HTTP/1.1", "own", Target("http", Host("wsproxy"), 80, b"*")),
        (b"OPTIONS http://origin.example HTTP/1.1", "forward", Target("http", ORIGIN, 80, b"*")),
        (b"OPTIONS http://origin.example:81 HTTP/1.1", "forward",
         Target("http", ORIGIN, 81, b"*")),
        (b"OPTIONS http://origin.example/ HTTP/1.1", "forward", Target("http", ORIGIN, 80, b"/")),
        (b"OPTIONS http://origin.example? HTTP/1.1", "forward",
         Target("http", ORIGIN, 80, b"/?")),
        (b"CONNECT origin.example:443 HTTP/1.1", "connect", Target("tcp", ORIGIN, 443)),
        (b"CONNECT origin.example:443 HTTP/1.0", "connect", Target("tcp", ORIGIN, 443)),
        (b"CONNECT [::1]:1 HTTP/1.1", "connect", Target("tcp", parse_host(b"[::1]"), 1)),
    ],
)  # fmt: skip
def test_method_and_target_say_what_is_asked(line: bytes, kind: str, target: Target) -> None:
    request = read(head(line))
    assert (request.kind.value, request.target, request.body) == (kind, target, NONE)
    assert request.method == line.split(b" ")[0].decode()


@pytest.mark.parametrize(
    ("vector", "row"),
    [
        (head(b"GET * HTTP/1.1"), "T8"),
        (head(b"GET origin.example HTTP/1.1"), "T8"),
        (head(b"GET origin.example:80 HTTP/1.1"), "T8"),
        (head(b"GET https://origin.example/ HTTP/1.1"), "T8"),
        (head(b"GET ftp://origin.example/ HTTP/1.1"), "T8"),
        (head(b"GET http:///a HTTP/1.1"), "T8"),
        (head(b"GET http://user:password@origin.example/ HTTP/1.1"), "T8"),
        (head(b"GET http://origin.example/#f HTTP/1.1"), "T8"),
        (head(b"GET http://origin.example:0/ HTTP/1.1"), "T8"),
        (head(b"GET http://0177.0.0.1/ HTTP/1.1"), "T11"),
        (head(b"CONNECT origin.example HTTP/1.1"), "T8"),
        (head(b"CONNECT origin.example: HTTP/1.1"), "T8"),
        (head(b"CONNECT origin.example:65536 HTTP/1.1"), "T8"),
        (head(b"CONNECT / HTTP/1.1"), "T8"),
        (head(b"CONNECT http://origin.example:443/ HTTP/1.1"), "T8"),
        (head(b"CONNECT 2130706433:80 HTTP/1.1"), "T11"),
    ],
)
def test_a_target_that_is_none_is_refused(vector: bytes, row: str) -> None:
    refused_everywhere(vector, Refused(400, row))


def refused_everywhere(vector: bytes, refused: Refused) -> None:
    """Asserts the same refusal from the head alone and in every delivery."""
    assert outcome(vector) == refused
    for pieces in ((vector,), octet_by_octet(vector), (vector + vector,)):
        assert hear_requests(pieces).trace == [refused]


NO_HOST = b"GET http://origin.example/ HTTP/1.1\r\n\r\n"
TWO_HOSTS = (
    b"GET http://origin.example/ HTTP/1.1\r\nHost: origin.example\r\nHost: b.example\r\n\r\n"
)
SAME_HOST_TWICE = b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nhost: a.example\r\n\r\n"
TWO_HOSTS_1_0 = TWO_HOSTS.replace(b"1.1", b"1.0")
ODD_HOST = b"GET http://a.example/ HTTP/1.1\r\nHost: a/b@c, d\r\n\r\n"
HOST_LIST = b"GET http://a.example/ HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n"


@pytest.mark.parametrize(
    "vector", [NO_HOST, TWO_HOSTS, SAME_HOST_TWICE, TWO_HOSTS_1_0, ODD_HOST, HOST_LIST]
)
def test_an_http_1_1_request_has_one_good_host(vector: bytes) -> None:
    refused_everywhere(vector, Refused(400, "T8"))


@pytest.mark.parametrize(
    "vector",
    [
        b"GET http://origin.example/ HTTP/1.0\r\n\r\n",
        b"GET http://origin.example/ HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET http://origin.example/ HTTP/1.1\r\nHost: other.example:81\r\n\r\n",
    ],
)
def test_the_target_decides_whatever_host_says(vector: bytes) -> None:
    assert read(vector).target == Target("http", ORIGIN, 80, b"/")


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (b"", NONE),
        (b"Content-Length: 0\r\n", Body(BodyKind.LENGTH, 0)),
        (b"content-length:\t 7 \r\n", Body(BodyKind.LENGTH, 7)),
        (b"Content-Length: 999999999999999999\r\n", Body(BodyKind.LENGTH, 10**18 - 1)),
        (TE, CHUNKED),
        (b"TRANSFER-ENCODING:\tChunked \r\n", CHUNKED),
    ],
)
def test_framing_is_read(fields: bytes, body: Body) -> None:
    assert read(get(fields)).body == body


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (TE + b"Content-Length: 5\r\n", 400),
        (b"Content-Length: 0\r\n" + TE, 400),
        (b"Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        (b"Content-Length: 5, 5\r\n", 400),
        (b"Content-Length: +5\r\n", 400),
        (b"Content-Length:\r\n", 400),
        (b"Content-Length: 9999999999999999999\r\n", 400),
        (TE + TE, 400),
        (b"Transfer-Encoding: chunked, chunked\r\n", 400),
        (b"Transfer-Encoding: chunked, identity\r\n", 400),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n", 400),
        (b"Transfer-Encoding:\r\n", 400),
        (b"Transfer-Encoding: ,\r\n", 400),
        (b"Transfer-Encoding: chunked,\r\n", 400),
        (b"Transfer-Encoding: ,chunked\r\n", 400),
        (b"Transfer-Encoding:\r\n" + TE, 400),
        (b"Transfer-Encoding: gzip, chunked\r\n", 501),
        (b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", 501),
        (b"Transfer-Encoding: identity\r\n", 501),
        (b"Transfer-Encoding: xchunked\r\n", 501),
        (b"Transfer-Encoding: chunked;q=1\r\n", 501),
        (b'Transfer-Encoding: "chunked"\r\n', 501),
        (b"Transfer-Encoding: chunk ed\r\n", 501),
    ],
)
def test_ambiguous_framing_is_refused(fields: bytes, status: int) -> None:
    for vector in (
        get(fields),
        head(b"POST / HTTP/1.1", fields),
        head(b"CONNECT a:1 HTTP/1.1", fields),
    ):
        refused_everywhere(vector, Refused(status, "T4"))


def test_transfer_encoding_in_http_1_0_is_refused() -> None:
    refused_everywhere(head(b"GET http://origin.example/ HTTP/1.0", TE), Refused(400, "T4"))


@pytest.mark.parametrize("fields", [TE, b"Content-Length: 1\r\n"])
def test_a_connect_has_no_body(fields: bytes) -> None:
    refused_everywhere(head(b"CONNECT origin.example:443 HTTP/1.1", fields), Refused(400, "T4"))


def test_a_connect_may_say_that_it_has_no_body() -> None:
    request = read(head(b"CONNECT origin.example:443 HTTP/1.1", b"Content-Length: 0\r\n"))
    assert request.kind is RequestKind.CONNECT


def test_proxy_credentials_come_once() -> None:
    one = b"Proxy-Authorization: Basic YTpi\r\n"
    assert read(get(one)).field(b"proxy-authorization") == b"Basic YTpi"
    refused_everywhere(get(one + one), Refused(400, "T14"))


@pytest.mark.parametrize(
    ("line", "fields", "keep_alive"),
    [
        (b"GET / HTTP/1.1", b"", True),
        (b"GET / HTTP/1.1", b"Connection: keep-alive\r\n", True),
        (b"GET / HTTP/1.1", b"Connection: Close\r\n", False),
        (b"GET / HTTP/1.1", b"Connection: keep-alive\r\nconnection: x, close\r\n", False),
        (b"GET / HTTP/1.1", b"Proxy-Connection: keep-alive\r\n", True),
        (b"GET / HTTP/1.1", b"Proxy-Connection: CLOSE\r\n", False),
        (b"GET / HTTP/1.0", b"", False),
        (b"GET / HTTP/1.0", b"Connection: keep-alive\r\n", False),
        (b"GET / HTTP/1.0", b"Proxy-Connection: keep-alive\r\n", False),
    ],
)
def test_a_connection_goes_on_for_1_1_unless_closed(
    line: bytes, fields: bytes, keep_alive: bool
) -> None:
    assert read(head(line, fields)).keep_alive is keep_alive


@pytest.mark.parametrize(
    ("line", "fields", "expects"),
    [
        (b"POST / HTTP/1.1", b"Expect: 100-continue\r\n", True),
        (b"POST / HTTP/1.1", b"", False),
        (b"POST / HTTP/1.1", b"Expect: 200-ok\r\n", False),
        (b"POST / HTTP/1.0", b"Expect: 100-continue\r\n", False),
    ],
)
def test_an_expectation_counts_for_1_1_only(line: bytes, fields: bytes, expects: bool) -> None:
    assert read(head(line, fields)).expects_continue is expects


HANDSHAKE = SWITCH + KEY + VERSION_13


@pytest.mark.parametrize("scheme", [b"http", b"ws", b"WS"])
def test_a_handshake_is_an_upgrade_to_ws(scheme: bytes) -> None:
    vector = head(b"GET " + scheme + b"://origin.example/chat HTTP/1.1", HANDSHAKE)
    request = read(vector)
    assert request.kind is RequestKind.UPGRADE
    assert request.target == Target("ws", ORIGIN, 80, b"/chat")
    assert request.body == NONE


def test_an_empty_body_of_a_handshake_is_none() -> None:
    assert read(get(HANDSHAKE + b"Content-Length: 0\r\n")).body == NONE


@pytest.mark.parametrize(
    "vector",
    [
        get(SWITCH + VERSION_13),
        get(SWITCH + KEY),
        get(SWITCH + KEY + KEY + VERSION_13),
        get(SWITCH + KEY + b"Sec-WebSocket-Version: 8\r\n"),
        get(HANDSHAKE + b"Content-Length: 5\r\n"),
        get(HANDSHAKE + TE),
        head(b"POST http://origin.example/ HTTP/1.1", HANDSHAKE),
        head(b"GET ws://origin.example/ HTTP/1.1"),
        head(b"GET ws://origin.example/ HTTP/1.0", HANDSHAKE),
        head(b"GET ws://origin.example/ HTTP/1.1", b"Upgrade: websocket\r\n" + KEY + VERSION_13),
    ],
)
def test_half_a_handshake_is_refused(vector: bytes) -> None:
    refused_everywhere(vector, Refused(400, "T9"))


@pytest.mark.parametrize(
    "vector",
    [
        get(b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMA\r\n"),
        get(b"Upgrade: websocket\r\n" + KEY + VERSION_13),
        head(b"GET http://origin.example/ HTTP/1.0", HANDSHAKE),
    ],
)
def test_any_other_upgrade_is_an_ordinary_request(vector: bytes) -> None:
    assert read(vector).kind is RequestKind.FORWARD


def test_a_handshake_with_the_proxy_itself_is_an_ordinary_request() -> None:
    assert read(head(b"GET / HTTP/1.1", HANDSHAKE)).kind is RequestKind.OWN


field_lines = st.lists(
    st.sampled_from(
        [TE, KEY, VERSION_13, SWITCH, b"Content-Length: 0\r\n", b"Content-Length: 5\r\n", b"A: b\r\n",
         b"Host: b.example\r\n", b"Connection: close\r\n", b"Transfer-Encoding: gzip\r\n"]
    ),
    max_size=4,
)  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(
    method=st.sampled_from([b"GET", b"POST", b"CONNECT", b"OPTIONS"]),
    target=st.sampled_from([b"/", b"*", b"http://a.example/", b"ws://a.example", b"a.example:1"]),
    version=st.sampled_from([b"1.0", b"1.1"]),
    fields=field_lines,
)
def test_what_is_accepted_has_one_meaning(
    method: bytes, target: bytes, version: bytes, fields: list[bytes]
) -> None:
    vector = head(method + b" " + target + b" HTTP/" + version, b"".join(fields))
    request = outcome(vector)
    if isinstance(request, Refused):
        return
    assert (fields.count(TE), request.body.kind is BodyKind.CHUNKED) in ((0, False), (1, True))
    assert not (TE in fields and any(line.startswith(b"Content-Length") for line in fields))
    assert b"Host: b.example\r\n" not in fields
    assert (request.kind is RequestKind.CONNECT) == (method == b"CONNECT")
    assert (request.kind is RequestKind.UPGRADE) <= (KEY in fields and VERSION_13 in fields)
    assert (request.target.scheme == "ws") == (request.kind is RequestKind.UPGRADE)


@pytest.mark.parametrize("field", [b"Connection", b"Transfer-Encoding", b"Upgrade", b"Expect"])
def test_a_list_longer_than_anybody_needs_is_not_taken_apart(field: bytes) -> None:
    headers = ((b"Host", b"origin.example"), (field, b"a," * 64 + b"a"))
    with pytest.raises(ClientProtocolError) as caught:
        interpret_request(b"GET http://origin.example/ HTTP/1.1", headers)
    assert (caught.value.status, caught.value.row) == (431, "T3")


CONNECT = b"CONNECT origin.example:443 HTTP/1.1\r\nHost: origin.example:443\r\n"


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, ProxyRequest]:
    """What is remembered of CONNECTs; nothing yet."""
    monkeypatch.setattr(requests, "_remembered", {})
    return requests._remembered


BASIC = b"Proxy-Authorization: Basic YTpi\r\n"
ACCEPT = b"Accept: */*\r\n"


def bare(request: ProxyRequest) -> ProxyRequest:
    """`request` without its credentials."""
    fields = tuple(one for one in request.headers if one[0].lower() != b"proxy-authorization")
    return replace(request, headers=fields)


def test_a_connect_is_read_once_and_remembered(remembered: dict[bytes, ProxyRequest]) -> None:
    octets = CONNECT + b"User-Agent: curl/8.1\r\n\r\n"
    first = read_connect(octets + b"\x16\x03")
    assert first == (outcome(octets), None, b"\x16\x03")
    assert list(remembered) == [octets]
    again = read_connect(octets)
    assert again == (remembered[octets], None, b"")


@pytest.mark.parametrize("line", [BASIC, BASIC.replace(b" ", b""), BASIC.replace(b": ", b":\t ")])
def test_credentials_are_not_remembered_and_what_is_around_them_is(
    remembered: dict[bytes, ProxyRequest], line: bytes
) -> None:
    octets = CONNECT + line + b"User-Agent: curl/8.1\r\n\r\n"
    asked = outcome(octets)
    assert isinstance(asked, ProxyRequest)
    credentials = asked.field(b"proxy-authorization")
    # What is read does not depend on what is remembered.
    assert read_connect(octets) == (bare(asked), credentials, b"")
    assert list(remembered) == [octets.replace(line, b"")]
    assert read_connect(octets + b"more") == (bare(asked), credentials, b"more")
    others = read_connect(octets.replace(b"YTpi", b"Yjpj"))
    assert credentials is not None
    assert others == (bare(asked), credentials.replace(b"YTpi", b"Yjpj"), b"")
    assert read_connect(octets.replace(line, b"")) == (bare(asked), None, b"")
    assert b"YTpi" not in repr(remembered).encode()


@pytest.mark.parametrize(
    "line",
    [
        b"proxy-authorization: Basic YTpi\r\n",
        b"Authorization: Basic YTpi\r\n",
        b"AUTHORIZATION: x\r\n",
        b"cookie: a=b\r\n",
        b"X-Api-Key: a\r\n",
        b"Proxy-Authorization-Token: a\r\n",
    ],
)
def test_a_head_that_may_have_another_secret_is_not_remembered(
    remembered: dict[bytes, ProxyRequest], line: bytes
) -> None:
    octets = CONNECT + line + b"\r\n"
    asked = outcome(octets)
    assert isinstance(asked, ProxyRequest)
    credentials = asked.field(b"proxy-authorization")
    both = None if credentials else (asked, b"Basic YTpi", b"")
    for _ in range(2):
        assert read_connect(octets) == (asked, credentials, b"")
        assert read_connect(CONNECT + BASIC + line + b"\r\n") == both
    assert not remembered


@pytest.mark.parametrize(
    "line",
    [
        BASIC + BASIC,
        BASIC + b"proxy-authorization: Basic Yjpj\r\n",
        b"PROXY-AUTHORIZATION: Basic Yjpj\r\n" + BASIC,
        BASIC.replace(b"YTpi", b"YT\x00pi"),
        BASIC.replace(b"YTpi", b"YT\rpi"),
        BASIC.replace(b"YTpi", b"YT\npi"),
        BASIC.replace(b":", b" :"),
        b" " + BASIC,
        BASIC + b" folded\r\n",
        ACCEPT * 127 + BASIC,  # with Host one field too many
        BASIC.replace(b"YTpi", b"Y" * 65536),
    ],
)
def test_a_head_that_is_known_lets_no_bad_credentials_in(
    remembered: dict[bytes, ProxyRequest], line: bytes
) -> None:
    for known in (b"\r\n", ACCEPT * 127 + b"\r\n", BASIC + b"\r\n"):
        read_connect(CONNECT + known)
    octets = CONNECT + line + b"\r\n"
    try:
        assert read_connect(octets) is None
    except ClientProtocolError as error:
        assert refusal(error).status == 400
    assert remembered.keys() <= {CONNECT + b"\r\n"}


def test_what_is_remembered_is_bounded(
    remembered: dict[bytes, ProxyRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "_MAX_REMEMBERED", 3)
    for number in range(10):
        read_connect(CONNECT + b"Accept: %d\r\n\r\n" % number)
        assert 1 <= len(remembered) <= 3
    # A field takes far more room than its octets.
    for more in (b"Accept: " + b"x" * 1024 + b"\r\n", ACCEPT * 16):
        large = CONNECT + more + b"\r\n"
        assert read_connect(large) == (outcome(large), None, b"")
        assert large not in remembered


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        CONNECT,
        CONNECT[:20],
        b"\r\n" + CONNECT + b"\r\n",
        CONNECT.replace(b"\r\n", b"\n") + b"\n",
        CONNECT + b" folded\r\n\r\n",
        CONNECT + b"X : y\r\n\r\n",
        CONNECT + b"X: \x00\r\n\r\n",
        CONNECT + b"X: y\r\n" * 128 + b"\r\n",
        CONNECT + b"X: " + b"y" * 65536 + b"\r\n\r\n",
        CONNECT.replace(b"HTTP/1.1", b"HTTP/1.2") + b"\r\n",
        get(b""),
    ],
)
def test_what_is_not_plainly_a_connect_is_left_to_the_connection(
    remembered: dict[bytes, ProxyRequest], octets: bytes
) -> None:
    assert read_connect(octets) is None
    assert not remembered


def test_a_connect_that_is_refused_is_refused_again(
    remembered: dict[bytes, ProxyRequest],
) -> None:
    octets = b"CONNECT origin.example HTTP/1.1\r\nHost: origin.example\r\n\r\n"
    for _ in range(2):
        with pytest.raises(ClientProtocolError):
            read_connect(octets)
    assert not remembered


LINES = [
    *(b"A: b", b"Host: origin.example:443", b"Via : x", b"Cookie: c=d", b" x", b"X:\ty\t"),
    *(b"Content-Length: 0", b"Content-Length: 5", b"Expect: 100-continue"),
    *(b"Proxy-Authorization: Basic YTpi", b"proxy-authorization:x", b"Proxy-Authorization:\x7f"),
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=5), st.binary(max_size=8))
def test_it_reads_what_the_connection_reads_also_again(fields: list[bytes], rest: bytes) -> None:
    octets = b"\r\n".join([CONNECT[:-2], *fields, b"", b""])
    heard = hear_requests([octets + rest])
    for _ in range(2):
        try:
            read = read_connect(octets + rest)
        except ClientProtocolError as error:
            assert heard.trace == [refusal(error)]
            continue
        if read is None:
            continue
        [asked] = heard.trace
        assert isinstance(asked, ProxyRequest)
        assert read.credentials == asked.field(b"proxy-authorization")
        assert (bare(read.request), read.rest) == (bare(asked), heard.rest)
