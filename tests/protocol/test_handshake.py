"""The WebSocket opening handshake, from both sides."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.traces import Refused, refusal
from wsproxy.errors import ClientProtocolError, UpstreamProtocolError
from wsproxy.model import Body, BodyKind, Headers, Host, ProxyRequest, RequestKind, Target
from wsproxy.protocol.handshake import (
    accept_key,
    asks_for_websocket,
    check_handshake,
    check_switch,
    upgrade_fields,
)

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 §1.3, with its answer
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

HANDSHAKE = ProxyRequest(
    kind=RequestKind.FORWARD,
    method="GET",
    target=Target("http", Host("origin.example"), 80, b"/chat"),
    version="1.1",
    headers=(
        (b"Host", b"origin.example"),
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Key", KEY),
        (b"Sec-WebSocket-Version", b"13"),
    ),
    body=Body(BodyKind.NONE),
    keep_alive=True,
)
SWITCH: Headers = (
    (b"Upgrade", b"websocket"),
    (b"Connection", b"Upgrade"),
    (b"Sec-WebSocket-Accept", ACCEPT),
)


def changed(headers: Headers, name: bytes, *new: bytes) -> Headers:
    """`headers` with the values `new` for the field `name`."""
    kept = tuple(field for field in headers if field[0] != name)
    return kept + tuple((name, value) for value in new)


def test_the_rfc_s_example_key_has_the_rfc_s_answer() -> None:
    assert accept_key(KEY) == ACCEPT


@settings(deadline=None)
@given(nonce=st.binary(min_size=16, max_size=16))
def test_an_accept_key_is_the_digest_of_key_and_guid(nonce: bytes) -> None:
    key = base64.b64encode(nonce)
    guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    assert base64.b64decode(accept_key(key)) == hashlib.sha1(key + guid).digest()
    check_handshake(
        replace(HANDSHAKE, headers=changed(HANDSHAKE.headers, b"Sec-WebSocket-Key", key))
    )


@pytest.mark.parametrize(
    ("upgrade", "connection", "asks"),
    [
        ((b"websocket",), (b"Upgrade",), True),
        ((b"WebSocket",), (b"keep-alive, UPGRADE",), True),
        ((b"h2c, websocket",), (b"keep-alive", b"upgrade"), True),
        ((b"websocket",), (), False),
        ((b"websocket",), (b"keep-alive",), False),
        ((), (b"Upgrade",), False),
        ((b"h2c",), (b"Upgrade",), False),
        ((b"websocket/13",), (b"Upgrade",), False),
    ],
)
def test_only_an_upgrade_that_connection_names_counts(
    upgrade: tuple[bytes, ...], connection: tuple[bytes, ...], asks: bool
) -> None:
    headers = changed(changed((), b"Upgrade", *upgrade), b"Connection", *connection)
    assert asks_for_websocket(headers) is asks


@pytest.mark.parametrize(
    "request_",
    [
        HANDSHAKE,
        replace(HANDSHAKE, body=Body(BodyKind.LENGTH, 0)),
        replace(HANDSHAKE, headers=(*HANDSHAKE.headers, (b"Sec-WebSocket-Protocol", b"chat"))),
    ],
)
def test_a_good_handshake_passes(request_: ProxyRequest) -> None:
    check_handshake(request_)


@pytest.mark.parametrize(
    ("request_", "detail"),
    [
        (replace(HANDSHAKE, method="POST"), "the method must be GET"),
        (replace(HANDSHAKE, method="get"), "the method must be GET"),
        (replace(HANDSHAKE, body=Body(BodyKind.LENGTH, 1)), "it must not have a body"),
        (replace(HANDSHAKE, body=Body(BodyKind.CHUNKED)), "it must not have a body"),
    ],
)
def test_a_handshake_is_a_get_without_a_body(request_: ProxyRequest, detail: str) -> None:
    with pytest.raises(ClientProtocolError) as error:
        check_handshake(request_)
    assert refusal(error.value) == Refused(400, "T9")
    assert error.value.detail == f"WebSocket handshake: {detail}"


@pytest.mark.parametrize("versions", [(), (b"12",), (b"13, 8",), (b"013",), (b"13", b"13")])
def test_the_version_is_13_once(versions: tuple[bytes, ...]) -> None:
    headers = changed(HANDSHAKE.headers, b"Sec-WebSocket-Version", *versions)
    with pytest.raises(ClientProtocolError) as error:
        check_handshake(replace(HANDSHAKE, headers=headers))
    assert error.value.detail == "WebSocket handshake: the version must be 13"


@pytest.mark.parametrize(
    "keys",
    [
        (),
        (b"",),
        (KEY, KEY),
        (KEY[:-1],),
        (KEY + b"=",),
        (base64.b64encode(b"x" * 15),),
        (base64.b64encode(b"x" * 17),),
        (KEY.replace(b"h", b"-", 1),),
        (KEY.replace(b"h", b" ", 1),),
        (b"\xff" * 24,),
    ],
)
def test_the_key_is_16_octets_in_base64_once(keys: tuple[bytes, ...]) -> None:
    headers = changed(HANDSHAKE.headers, b"Sec-WebSocket-Key", *keys)
    with pytest.raises(ClientProtocolError) as error:
        check_handshake(replace(HANDSHAKE, headers=headers))
    assert error.value.detail == (
        "WebSocket handshake: Sec-WebSocket-Key must be 16 octets in Base64, once"
    )


def test_the_fields_of_a_switch_name_exactly_one_option() -> None:
    headers: Headers = (
        (b"Connection", b"keep-alive, Upgrade, X-A"),
        (b"X-A", b"1"),
        (b"Upgrade", b"websocket, h2c"),
        (b"Sec-WebSocket-Accept", ACCEPT),
    )
    assert upgrade_fields(headers) == [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Accept", ACCEPT),
    ]


def test_a_101_that_answers_the_key_passes() -> None:
    check_switch(SWITCH, key=KEY)
    check_switch(changed(SWITCH, b"Connection", b"keep-alive, upgrade"), key=KEY)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        changed(SWITCH, b"Upgrade", b"h2c"),
        changed(SWITCH, b"Upgrade"),
        changed(SWITCH, b"Connection", b"keep-alive"),
        changed(SWITCH, b"Sec-WebSocket-Accept"),
        changed(SWITCH, b"Sec-WebSocket-Accept", b""),
        changed(SWITCH, b"Sec-WebSocket-Accept", ACCEPT.lower()),
        changed(SWITCH, b"Sec-WebSocket-Accept", ACCEPT, ACCEPT),
        changed(SWITCH, b"Sec-WebSocket-Accept", accept_key(b"another key")),
    ],
)
def test_any_other_101_is_refused(headers: Headers) -> None:
    with pytest.raises(UpstreamProtocolError):
        check_switch(headers, key=KEY)
