"""What records say of payloads: a table, with and without a redactor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.observe.hiding import Hider
from wsproxy.observe.payloads import chunk_fields, close_code, payload_fields
from wsproxy.protocol.messages import Chunk, Message

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def whole(opcode: int, payload: bytes) -> Message:
    return Message(opcode, payload, len(payload), len(payload))


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (whole(TEXT, "grüße".encode()), {"text": "grüße"}),
        (whole(TEXT, b""), {"text": ""}),
        (whole(BINARY, b"\x00\xff"), {"binary": "AP8="}),
        (whole(BINARY, b"plain"), {"binary": "cGxhaW4="}),
        (whole(PING, b"ping"), {"text": "ping"}),
        (whole(PONG, b"\xff"), {"binary": "/w=="}),
        (whole(CLOSE, b""), {"reason": ""}),
        (whole(CLOSE, b"\x03\xe8bye"), {"reason": "bye"}),
        (Message(TEXT, b"", 9, 9, undecodable="unknown extension x"), {}),
        (
            Message(TEXT, b"ab", 5, 5, sha256="f0"),
            {"text": "ab", "truncated": True, "sha256": "f0"},
        ),
        (
            Message(TEXT, "aü".encode()[:2], 5, 5, sha256="f0"),
            {"text": "a", "truncated": True, "sha256": "f0"},
        ),
        (Message(BINARY, b"", 5, 5), {"binary": "", "truncated": True}),
    ],
)
def test_what_a_record_says_of_a_payload(message: Message, fields: dict[str, object]) -> None:
    assert payload_fields(message, None) == fields


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (whole(TEXT, b"a secret"), {"text": "a ***"}),
        (whole(BINARY, b"secret"), {"binary": "Kioq"}),
        (whole(BINARY, b"plain"), {"binary": "cGxhaW4="}),
        (whole(PING, b"secret"), {"text": "***"}),
        (whole(CLOSE, b"\x03\xe8secret"), {"reason": "***"}),
    ],
)
def test_what_is_hidden_is_not_recorded(message: Message, fields: dict[str, object]) -> None:
    assert payload_fields(message, Hider()) == fields


@pytest.mark.parametrize("touches_text", [True, False])
def test_the_hash_of_what_was_redacted_is_not_recorded(touches_text: bool) -> None:
    message = Message(TEXT, b"secret", 9, 9, sha256="f0")
    fields = payload_fields(message, Hider(touches_text))
    assert ("sha256" in fields) is not touches_text
    assert fields["truncated"] is True


@given(st.text(min_size=1), st.data())
def test_a_cut_text_ends_with_its_last_whole_character(text: str, data: st.DataObject) -> None:
    octets = text.encode("utf-8", "replace")
    at = data.draw(st.integers(0, len(octets) - 1))
    fields = payload_fields(Message(TEXT, octets[:at], len(octets), len(octets)), None)
    expected = octets[:at].decode("utf-8", "ignore")
    assert fields == {"text": expected, "truncated": True}


@pytest.mark.parametrize(
    ("chunk", "fields"),
    [
        (Chunk(TEXT, 0, "grüße".encode(), False), {"text": "grüße"}),
        (Chunk(TEXT, 0, "ü".encode()[:1], False), {"binary": "ww=="}),
        (Chunk(BINARY, 3, b"abc", True), {"binary": "YWJj"}),
    ],
)
def test_what_a_record_says_of_a_chunk(chunk: Chunk, fields: dict[str, object]) -> None:
    assert chunk_fields(chunk, None) == fields
    assert chunk_fields(chunk, Hider(touches_text=False)) == fields
    assert chunk_fields(chunk, Hider()) == {}


@pytest.mark.parametrize(
    ("payload", "code"), [(b"", 1005), (b"\x03\xe8", 1000), (b"\x0f\xa0why", 4000)]
)
def test_the_code_of_a_close(payload: bytes, code: int) -> None:
    assert close_code(payload) == code
