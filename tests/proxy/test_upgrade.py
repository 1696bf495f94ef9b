"""WebSocket handshakes in absolute-form, as a trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.door import Door, open_door
from tests.support.wire import Wire

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 §1.3
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
FIELDS = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: " + KEY + b"\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
)
HANDSHAKE = b"GET ws://origin.test/chat?t=1 HTTP/1.1\r\nHost: origin.test\r\n" + FIELDS + b"\r\n"
SEEN = (
    b"GET /chat?t=1 HTTP/1.1\r\nHost: origin.test\r\nSec-WebSocket-Key: " + KEY + b"\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
    b"Via: 1.1 proxy\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\nVia: 1.1 proxy\r\n\r\n"
)


async def shake(door: Door, handshake: bytes = HANDSHAKE) -> tuple[Wire, Wire]:
    """A client that proposed to switch, and the origin that has read it."""
    client = await door.client()
    await client.sends(handshake)
    origin = await door.origin.accept()
    await origin.expects(SEEN)
    return client, origin


@pytest.mark.parametrize("scheme", [b"ws", b"http"])
async def test_a_switch_becomes_a_tunnel(door: Door, scheme: bytes) -> None:
    client, origin = await shake(door, HANDSHAKE.replace(b"ws://", scheme + b"://"))
    await origin.sends(SWITCH)
    await client.expects(SWITCHED)
    await client.sends(b"\x81\x85maskXXXXX")
    await origin.expects(b"\x81\x85maskXXXXX")
    await origin.sends(b"\x81\x02hi")
    await client.expects(b"\x81\x02hi")
    origin.closes()
    client.shuts()
    await client.ends()
    (record,) = await door.access()
    (opened,) = await door.access(event="open")
    assert opened["status"] == record["status"] == 101
    assert (record["kind"], record["target"]) == ("upgrade", "ws://origin.test:80/chat?…")
    assert (record["bytes_up"], record["bytes_down"]) == (11, 4)
    assert (record["closed_by"], record["reason"]) == ("upstream", "eof")


async def test_octets_behind_both_heads_are_the_tunnels_first(door: Door) -> None:
    client, origin = await shake(door, HANDSHAKE + b"early")
    await origin.sends(SWITCH + b"frame")
    await client.expects(SWITCHED + b"frame")
    await origin.expects(b"early")


async def test_nothing_behind_the_handshake_goes_up_before_a_switch(door: Door) -> None:
    client, origin = await shake(door, HANDSHAKE + b"GET http://origin.test/ HTTP/1.1\r\n\r\n")
    await origin.sends(b"HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 2\r\n\r\nno")
    await client.expects(
        b"HTTP/1.1 200 OK\r\nDate: D\r\nVia: 1.1 proxy\r\nContent-Length: 2\r\n"
        b"Connection: close\r\n\r\nno"
    )
    await client.ends()
    client.closes()
    await origin.ends()
    (record,) = await door.access()
    assert (record["status"], record["kind"], record["bytes_down"]) == (200, "upgrade", 2)


async def test_interim_responses_pass_before_the_switch(door: Door) -> None:
    client, origin = await shake(door)
    await origin.sends(b"HTTP/1.1 103 Early Hints\r\n\r\n" + SWITCH)
    await client.expects(b"HTTP/1.1 103 Early Hints\r\nVia: 1.1 proxy\r\n\r\n" + SWITCHED)


@pytest.mark.parametrize(
    "switch",
    [
        SWITCH.replace(ACCEPT, b"AAAALMBiTxaQ9kYGzzhZRbK+xOo="),
        SWITCH.replace(b"Sec-WebSocket-Accept", b"X-Accept"),
        SWITCH.replace(b"WebSocket\r", b"h2c\r"),
        SWITCH.replace(b"keep-alive, Upgrade", b"keep-alive"),
        b"HTTP/1.1 407 Mine\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["wrong accept", "no accept", "another protocol", "not in Connection", "407"],
)
async def test_a_switch_that_does_not_answer_the_handshake_is_a_502(
    door: Door, switch: bytes
) -> None:
    client, origin = await shake(door)
    await origin.sends(switch)
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (502, "close")
    await client.ends()
    await origin.ends()
    (record,) = await door.access()
    assert (record["error"], record["closed_by"]) == ("http_protocol_error", "upstream")


async def test_an_origin_that_leaves_without_an_answer_is_a_502(door: Door) -> None:
    client, origin = await shake(door)
    origin.closes()
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (502, "close")


async def test_an_origin_that_does_not_answer_the_handshake_is_a_504(tmp_path: Path) -> None:
    config = "policy: {default: allow}\ntimeouts: {response_head: 50ms}"
    async with open_door(tmp_path, config) as door:
        client, _origin = await shake(door)
        assert (await client.answer()).status == 504


async def test_a_handshake_never_reuses_a_connection(door: Door) -> None:
    client = await door.client()
    await client.sends(b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n")
    origin = await door.origin.accept()
    await origin.reads_until(b"\r\n\r\n")
    await origin.sends(b"HTTP/1.1 204 None\r\n\r\n")
    await client.reads_until(b"\r\n\r\n")
    await client.sends(HANDSHAKE)
    await (await door.origin.accept()).expects(SEEN)
    await origin.ends()


async def test_a_handshake_that_was_here_before_is_a_loop(door: Door) -> None:
    client = await door.client()
    await client.sends(HANDSHAKE[:-2] + b"Via: 1.1 proxy\r\n\r\n")
    assert (await client.answer()).status == 508
    assert door.network.asked == []


async def test_rules_for_ws_hold_for_handshakes_whatever_the_scheme(tmp_path: Path) -> None:
    config = (
        "policy:\n  default: allow\n  rules:\n"
        "    - {name: no-ws, action: deny, when: {protocols: [ws]}, message: 'Not here'}\n"
    )
    async with open_door(tmp_path, config) as door:
        client = await door.client()
        await client.sends(HANDSHAKE.replace(b"ws://", b"http://"))
        answer = await client.answer()
        assert (answer.status, answer.field("connection")) == (403, "close")
        await client.ends()
        client.closes()
        (record,) = await door.access()
        assert (record["rule"], record["verdict"], record["kind"]) == ("no-ws", "deny", "upgrade")


async def test_a_client_that_left_before_the_switch_leaves_no_tunnel(door: Door) -> None:
    client, origin = await shake(door)
    client.resets()
    await origin.sends(SWITCH)
    await origin.ends()
    (record,) = await door.access()
    assert (record["status"], record["reason"]) == (None, "reset")


async def test_where_nobody_looks_a_switch_is_a_tunnel_all_the_same(tmp_path: Path) -> None:
    config = "policy: {default: allow, websocket: off}"
    async with open_door(tmp_path, config) as door:
        client, origin = await shake(door)
        await origin.sends(SWITCH)
        await client.expects(SWITCHED)
        origin.closes()
        await client.ends()
        client.closes()
        (record,) = await door.access()
        assert "websocket" not in record


async def test_an_offer_goes_on_as_far_as_its_rule_lets_it(tmp_path: Path) -> None:
    config = (
        "policy:\n  rules:\n"
        "    - {name: plain, action: allow, websocket: enforce, extensions: strip}\n"
    )
    async with open_door(tmp_path, config) as door:
        client = await door.client()
        await client.sends(HANDSHAKE)
        origin = await door.origin.accept()
        offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
        await origin.expects(SEEN.replace(offer, b""))
        await origin.sends(SWITCH[:-2] + offer + b"\r\n")
        answer = await client.answer()
        assert (answer.status, answer.field("connection")) == (502, "close")
