"""Payloads in records: text as text, the rest in Base64, cut between characters."""

from __future__ import annotations

import pytest

from tests.observe.talks import Blotter
from wsproxy.observe.payloads import chunk_fields, close_code, payload_fields
from wsproxy.protocol.messages import Chunk, Message


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (Message(1, b"hi", 2, 2), {"text": "hi"}),
        (Message(2, b"hi", 2, 2), {"binary": "aGk="}),
        (Message(9, b"hi", 2, 2), {"text": "hi"}),
        (Message(10, b"\xff", 1, 1), {"binary": "/w=="}),
        (Message(8, b"\x03\xe8by\xff", 5, 5), {"reason": "by\ufffd"}),
        (Message(1, b"", 5, 5, undecodable="?"), {}),
        (Message(1, b"a\xf0\x9f\x98", 9, 9), {"text": "a", "truncated": True}),
        (Message(1, b"a\xc3\xa4", 9, 9), {"text": "aä", "truncated": True}),
        (Message(1, b"", 9, 9, sha256="ab"), {"text": "", "truncated": True, "sha256": "ab"}),
    ],
)
def test_what_a_record_says_of_a_payload(message: Message, fields: dict[str, object]) -> None:
    assert payload_fields(message, None) == fields


def test_redaction_comes_first() -> None:
    assert payload_fields(Message(1, b"secret", 6, 6), Blotter()) == {"text": "<r>"}
    assert payload_fields(Message(2, b"secret", 6, 6), Blotter()) == {"binary": "PHI+"}
    assert payload_fields(Message(2, b"x", 1, 1), Blotter()) == {"binary": "eA=="}


def test_chunks_are_text_where_they_can_be() -> None:
    assert chunk_fields(Chunk(1, 0, b"hi", False), None) == {"text": "hi"}
    assert chunk_fields(Chunk(1, 0, b"\xe2", False), None) == {"binary": "4g=="}
    assert chunk_fields(Chunk(2, 0, b"hi", False), None) == {"binary": "aGk="}
    # A secret may begin in one chunk and end in the next.
    assert chunk_fields(Chunk(1, 0, b"sec", False), Blotter()) == {}


def test_the_code_of_a_close() -> None:
    assert close_code(b"\x03\xe8bye") == 1000
    assert close_code(b"") == 1005
