"""What is spoken in a WebSocket: by its handshake, by its first messages, and by both."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsproxy.protocol.labels import LABELS, MESSAGES, Labeller, label_of_handshake, sniff_label

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

TOKEN = "authorization.bearer.eyJ0eXAiOiJKV1QifQ.e30.c2ln"

HANDSHAKES = [
    ("graphql-transport-ws", "/graphql", "graphql-ws"),
    ("graphql-ws", "/", "graphql-ws"),
    ("v10.stomp", "/", "stomp"),
    ("v11.stomp", "/", "stomp"),
    ("v12.stomp", "/", "stomp"),
    ("mqtt", "/mqtt", "mqtt"),
    ("mqttv3.1", "/", "mqtt"),
    ("MQTT", "/", "mqtt"),
    ("wamp.2.json", "/ws", "wamp"),
    ("wamp.2.msgpack.batched", "/ws", "wamp"),
    ("v1.kernel.websocket.jupyter.org", "/", "jupyter"),
    ("chisel-v3", "/", "chisel"),
    ("chisel-v4", "/", "chisel"),
    (TOKEN, "/v1/events", "wstunnel"),
    (None, "/socket.io/?EIO=4&transport=websocket", "socket.io"),
    (None, "/app/socket.io/?EIO=3", "socket.io"),
    (None, "/custom/?transport=websocket&EIO=4", "socket.io"),
    (None, "/api/kernels/4f0c/channels", "jupyter"),
    (None, "/user/a/api/kernels/4f0c/channels?session_id=1", "jupyter"),
    ("chat", "/socket.io/?EIO=4", "socket.io"),
]


@pytest.mark.parametrize(("subprotocol", "target", "label"), HANDSHAKES)
def test_a_handshake_says_what_is_spoken(subprotocol: str | None, target: str, label: str) -> None:
    assert label_of_handshake(subprotocol, target) == label
    assert label_of_handshake(subprotocol, target.encode()) == label


@pytest.mark.parametrize(
    ("subprotocol", "target"),
    [
        (None, "/"),
        ("", "/chat"),
        ("chat", "/v1/events"),
        ("binary", "/websockify"),
        ("wamp", "/"),
        ("mqtts", "/"),
        (TOKEN, "/chat"),
        (TOKEN, "/eventsource"),
        (None, "/api/kernels/x/channels/y"),
        (None, "/api/kernels//channels"),
        (None, "/?EIOX=4"),
    ],
)
def test_a_handshake_that_says_nothing_has_no_label(subprotocol: str | None, target: str) -> None:
    assert label_of_handshake(subprotocol, target) is None


def test_a_token_among_those_that_were_asked_for_is_enough() -> None:
    assert label_of_handshake("v1", "/v1/events", offered=["v1", TOKEN]) == "wstunnel"
    assert label_of_handshake(None, b"/x/events?a", offered=[TOKEN]) == "wstunnel"
    assert label_of_handshake("v1", "/v1/events", offered=["v1"]) is None
    # What was only asked for is not what is spoken.
    assert label_of_handshake(None, "/", offered=["mqtt"]) is None


CLIENT_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(60)

MESSAGES_OF = [
    (TEXT, b'0{"sid":"lv_VI97HAXpY6yYWAAAB","upgrades":[],"pingInterval":25000}', "socket.io"),
    (TEXT, b'40{"token":"123"}', "socket.io"),
    (TEXT, b"40/admin,", "socket.io"),
    (TEXT, b"40/admin", "socket.io"),
    (TEXT, b'42["message","hello"]', "socket.io"),
    (TEXT, b'42/admin,12["message"]', "socket.io"),
    (TEXT, b"2probe", "socket.io"),
    (TEXT, b"3probe", "socket.io"),
    (TEXT, b'{"protocol":"json","version":1}\x1e', "signalr"),
    (TEXT, b'{ "version": 1, "protocol": "messagepack" }\x1e', "signalr"),
    (BINARY, b'{"protocol":"messagepack","version":1}\x1e', "signalr"),
    (TEXT, b"{}\x1e", "signalr"),
    (TEXT, b'{"type":6}\x1e', "signalr"),
    (TEXT, b'{"type":"connection_init","payload":{"token":"x"}}', "graphql-ws"),
    (TEXT, b'{"id":"1", "type": "connection_init"}', "graphql-ws"),
    (TEXT, b'{"type":"connection_ack"}', "graphql-ws"),
    (TEXT, b"CONNECT\naccept-version:1.2\n\n\0", "stomp"),
    (TEXT, b"STOMP\r\naccept-version:1.2\n\n\0", "stomp"),
    (TEXT, b"CONNECTED\nversion:1.2\n\n\0", "stomp"),
    (BINARY, b"CONNECT\nhost:a\n\n\0", "stomp"),
    (BINARY, b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04abcd", "mqtt"),
    (BINARY, b"\x10\x92\x03\x00\x04MQTT\x05\x02", "mqtt"),
    (BINARY, b"\x10\x0c\x00\x06MQIsdp\x03\x02", "mqtt"),
    (TEXT, b'[1,"realm1",{"roles":{"subscriber":{}}}]', "wamp"),
    (TEXT, b'[ 1, "com.example", {}]', "wamp"),
    (TEXT, b'{"jsonrpc":"2.0","id":1,"method":"eth_subscribe"}', "json-rpc"),
    (TEXT, b'{"id":1,"method":"x","params":["a"],"jsonrpc": "2.0"}', "json-rpc"),
    (TEXT, b'[{"jsonrpc":"2.0","method":"x"}]', "json-rpc"),
    (
        TEXT,
        b'{"header":{"msg_id":"1","msg_type":"kernel_info_request"},"channel":"shell"}',
        "jupyter",
    ),
    (TEXT, b'{"msg_id": "1", "msg_type": "status", "header": {"date": ""}}', "jupyter"),
    (BINARY, b"RFB 003.008\n", "vnc"),
    (BINARY, b"RFB 003.889\n", "vnc"),
    (BINARY, b"SSH-2.0-OpenSSH_9.2p1\r\n", "ssh"),
    (TEXT, b"SSH-1.99-Cisco\r\n", "ssh"),
    (BINARY, b"SSH-chisel-v3-client\r\n", "chisel"),
    (BINARY, CLIENT_HELLO, "tls"),
]


@pytest.mark.parametrize(("opcode", "payload", "label"), MESSAGES_OF)
def test_a_first_message_says_what_is_spoken(opcode: int, payload: bytes, label: str) -> None:
    assert sniff_label(opcode, payload) == label


@pytest.mark.parametrize(("opcode", "payload", "label"), MESSAGES_OF)
def test_the_beginning_of_a_message_is_enough_and_its_end_does_not_matter(
    opcode: int, payload: bytes, label: str
) -> None:
    whole = payload.endswith(b"probe")  # recognised by where it ends
    assert sniff_label(opcode, payload + b"," * 100_000) == (None if whole else label)
    heard = {sniff_label(opcode, payload[:size]) for size in range(len(payload))}
    assert heard <= {None, label}


@pytest.mark.parametrize(
    ("opcode", "payload"),
    [
        (TEXT, b""),
        (TEXT, b"hello"),
        (TEXT, b"40"),
        (TEXT, b"42 apples"),
        (TEXT, b"0"),
        (TEXT, b'{"type":"order"}'),
        (TEXT, b'{"type":1}'),
        (TEXT, b'{"protocol":"json","version":1}'),
        (TEXT, b'[2,"19223201","BootNotification",{}]'),
        (TEXT, b'{"jsonrpc":"1.0"}'),
        (TEXT, b'{"header":1}'),
        (TEXT, b"CONNECT example.com:443 HTTP/1.1\r\n"),
        (BINARY, b"\x10\x05hello"),
        (BINARY, b"\x16\x03\x01"),
        (BINARY, b"\x16\x03\x03\x00\x7a\x02"),
        (BINARY, b"SSH-"),
        (BINARY, b"RFB "),
        (BINARY, bytes(1000)),
        (BINARY, b" " * 300 + b'{"jsonrpc":"2.0"}'),
        (CLOSE, b"RFB 003.008\n"),
        (PING, b"SSH-2.0-x"),
        (PONG, b'42["a"]'),
        (0, b'42["a"]'),
    ],
)
def test_other_messages_say_nothing(opcode: int, payload: bytes) -> None:
    assert sniff_label(opcode, payload) is None


def test_every_label_can_be_given() -> None:
    told = {label for *_, label in HANDSHAKES} | {label for *_, label in MESSAGES_OF}
    assert told == LABELS


STARTS = st.sampled_from([payload for _, payload, _ in MESSAGES_OF])


@given(
    st.integers(0, 15),
    st.binary(max_size=300)
    | st.tuples(STARTS, st.integers(0, 40), st.binary(max_size=8)).map(
        lambda parts: parts[0][: parts[1]] + parts[2]
    ),
)
@example(TEXT, b'{"header":' * 100)
@example(TEXT, b'[1,"' + b"\\" * 300)
@example(TEXT, b" " * 100_000)
def test_any_message_has_a_known_label_or_none(opcode: int, payload: bytes) -> None:
    assert sniff_label(opcode, payload) in LABELS | {None}


@given(st.none() | st.text(max_size=40), st.binary(max_size=60) | st.text(max_size=60))
def test_any_handshake_has_a_known_label_or_none(
    subprotocol: str | None, target: bytes | str
) -> None:
    assert label_of_handshake(subprotocol, target) in LABELS | {None}


# ---------------------------------------------------------------- both


def test_messages_tell_what_the_handshake_does_not() -> None:
    labeller = Labeller(None, "/ws")
    assert labeller.label is None
    labeller.see(TEXT, b"hello")
    labeller.see(TEXT, b'{"jsonrpc":"2.0","method":"a"}')
    labeller.see(TEXT, b'42["a"]')
    assert labeller.label == "json-rpc"


def test_the_handshake_is_believed_unless_the_messages_are_of_a_tunnel() -> None:
    labeller = Labeller("mqtt", b"/mqtt")
    labeller.see(TEXT, b'{"jsonrpc":"2.0","method":"a"}')
    assert labeller.label == "mqtt"
    labeller.see(BINARY, CLIENT_HELLO)
    assert (labeller.label, labeller.is_done) == ("tls", True)
    labeller.see(BINARY, b"RFB 003.008\n")
    assert labeller.label == "tls"


def test_what_a_known_tunnel_carries_does_not_hide_the_tunnel() -> None:
    labeller = Labeller("v1", "/v1/events", offered=["v1", TOKEN])
    assert labeller.is_done
    labeller.see(BINARY, CLIENT_HELLO)
    assert labeller.label == "wstunnel"


def test_only_first_messages_are_looked_at_and_control_frames_are_not_among_them() -> None:
    labeller = Labeller(None, "/")
    for _ in range(MESSAGES - 1):
        labeller.see(TEXT, b"hello")
        labeller.see(PING, b"SSH-2.0-x")
    assert (labeller.label, labeller.is_done) == (None, False)
    labeller.see(TEXT, b"hello")
    assert (labeller.label, labeller.is_done) == (None, True)
    labeller.see(TEXT, b'42["a"]')
    assert labeller.label is None
