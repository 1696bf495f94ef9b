"""WebSocket handshakes in absolute form, byte by byte as they reach both ends."""

from __future__ import annotations

import pytest

from .observed import ObservedProxy
from .wire import RawOrigin, Wire, fields, start_line

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # of KEY: the example of RFC 6455 §1.3
REQUEST_FIELDS = (
    b"Host: elsewhere.test\r\n"
    b"Connection: keep-alive, Upgrade\r\n"
    b"Upgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\n"
    b"Sec-WebSocket-Protocol: chat, superchat\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
    b"Origin: https://app.example\r\n\r\n"
)
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Connection: Upgrade\r\n"
    b"Upgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n"
    b"Sec-WebSocket-Protocol: chat\r\n\r\n"
)
# Odd on purpose: reserved bits and an unknown opcode are none of a relay's business.
CLIENT_FRAMES = b"\xf3\x85\x01\x02\x03\x04abcde"
SERVER_FRAMES = b"\x7b\x7e\x00\x03xyz"


@pytest.mark.parametrize("scheme", [b"ws", b"http"])
def test_the_handshake_and_every_frame_pass_unchanged(
    scheme: bytes, origin: RawOrigin, proxy: ObservedProxy
) -> None:
    authority = origin.authority.encode()
    with Wire.connect(proxy.port) as client:
        client.send(b"GET %b://%b/a?b=c HTTP/1.1\r\n" % (scheme, authority) + REQUEST_FIELDS)
        with origin.accept() as upstream:
            head = upstream.read_head()
            assert start_line(head) == b"GET /a?b=c HTTP/1.1"
            arrived = fields(head)
            assert arrived.pop(b"via").startswith(b"1.1 ")
            assert arrived.pop(b"connection").lower() == b"upgrade"
            assert arrived == {
                b"host": authority,
                b"upgrade": b"websocket",
                b"sec-websocket-version": b"13",
                b"sec-websocket-key": KEY,
                b"sec-websocket-protocol": b"chat, superchat",
                b"sec-websocket-extensions": b"permessage-deflate",
                b"origin": b"https://app.example",
            }
            # The first frames arrive with the 101, as they do from eager servers.
            upstream.send(SWITCHING + SERVER_FRAMES)
            answer = client.read_head()
            assert start_line(answer) == b"HTTP/1.1 101 Switching Protocols"
            told = fields(answer)
            assert told[b"connection"].lower() == b"upgrade"
            assert (told[b"upgrade"], told[b"sec-websocket-accept"]) == (b"websocket", ACCEPT)
            assert told[b"sec-websocket-protocol"] == b"chat"
            assert client.read_exactly(len(SERVER_FRAMES)) == SERVER_FRAMES
            assert proxy.opened(client=client.name)["status"] == 101
            client.send(CLIENT_FRAMES)
            assert upstream.read_exactly(len(CLIENT_FRAMES)) == CLIENT_FRAMES
        assert client.read_to_end() == b""
        client.half_close()
        record = proxy.access(client=client.name)
    assert record["kind"] == "upgrade"
    assert record["target"].endswith(f"://{origin.authority}/a?…")
    assert (record["status"], record["closed_by"]) == (101, "upstream")
    assert record["bytes_up"] == len(CLIENT_FRAMES)
    assert record["bytes_down"] == len(SERVER_FRAMES)


def test_a_refusal_is_an_ordinary_response_and_the_end_is_announced(
    origin: RawOrigin, proxy: ObservedProxy
) -> None:
    authority = origin.authority.encode()
    with Wire.connect(proxy.port) as client:
        client.send(b"GET ws://%b/ HTTP/1.1\r\n" % authority + REQUEST_FIELDS)
        with origin.accept() as upstream:
            upstream.read_head()
            upstream.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            head = client.read_head()
            assert start_line(head) == b"HTTP/1.1 403 Forbidden"
            assert fields(head)[b"connection"].lower() == b"close"
            assert b"upgrade" not in fields(head)
            assert client.read_to_end() == b"no"
    record = proxy.access(client=client.name)
    assert (record["kind"], record["status"], record["bytes_down"]) == ("upgrade", 403, 2)
    assert proxy.matching("open", client=client.name) == []


def test_no_byte_behind_the_request_reaches_an_origin_that_refuses(
    origin: RawOrigin, proxy: ObservedProxy
) -> None:
    with Wire.connect(proxy.port) as client:
        request = b"GET ws://%b/ HTTP/1.1\r\n" % origin.authority.encode() + REQUEST_FIELDS
        client.send(request + CLIENT_FRAMES)
        with origin.accept() as upstream:
            upstream.read_head()
            assert upstream.is_quiet()
            upstream.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
            assert start_line(client.read_head()) == b"HTTP/1.1 401 Unauthorized"
            # The proxy ends both: frames are no request, so nothing more can follow.
            assert client.read_to_end() == b""
            assert upstream.read_to_end() == b""


def test_a_wrong_accept_key_is_a_bad_gateway(origin: RawOrigin, proxy: ObservedProxy) -> None:
    with Wire.connect(proxy.port) as client:
        client.send(b"GET ws://%b/ HTTP/1.1\r\n" % origin.authority.encode() + REQUEST_FIELDS)
        with origin.accept() as upstream:
            upstream.read_head()
            upstream.send(SWITCHING.replace(ACCEPT, b"AAAAAAAAAAAAAAAAAAAAAAAAAAA="))
            assert start_line(client.read_head())[:12] == b"HTTP/1.1 502"
            assert upstream.read_to_end() == b""
        record = proxy.access(client=client.name)
    assert (record["kind"], record["status"]) == ("upgrade", 502)
    assert record["error"] == "http_protocol_error"


def test_other_upgrades_are_taken_away_and_the_request_goes_on(
    origin: RawOrigin, proxy: ObservedProxy
) -> None:
    authority = origin.authority.encode()
    with Wire.connect(proxy.port) as client:
        client.send(
            b"GET http://%b/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
            b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n" % authority
        )
        with origin.accept() as upstream:
            arrived = fields(upstream.read_head())
            assert b"upgrade" not in arrived
            assert b"http2-settings" not in arrived
            upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            assert start_line(client.read_head()) == b"HTTP/1.1 200 OK"
        assert proxy.access(client=client.name)["kind"] == "forward"
