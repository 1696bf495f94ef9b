"""What is written down of a WebSocket, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.observe.talks import Blotter, Talk, text
from wsproxy.model import CloseReason, Side
from wsproxy.protocol.messages import Chunk, Message, Trouble

CLIENT, UPSTREAM = Side.CLIENT, Side.UPSTREAM
TIME = "2023-11-14T22:13:20.250000Z"


def test_a_plain_message_has_one_line() -> None:
    talk = Talk()
    talk.says(CLIENT, text('say "hi" €'))
    assert talk.records[1] == {
        "event": "message",
        "time": TIME,
        "session": "5f2c",
        "host": "chat.example",
        "user": "alice",
        "number": 1,
        "direction": "client",
        "opcode": "text",
        "size": 12,
        "wire": 12,
        "fragments": 1,
        "text": 'say "hi" €',
    }


@given(st.text(), st.binary())
def test_any_content_comes_back_out_of_its_line(words: str, octets: bytes) -> None:
    import base64

    talk = Talk()
    talk.says(CLIENT, text(words))
    talk.says(UPSTREAM, Message(2, octets, len(octets), len(octets)))
    _open, said, answered = talk.records
    assert said["text"] == words
    assert base64.b64decode(str(answered["binary"])) == octets
    assert answered["opcode"] == "binary"


def test_messages_are_numbered_and_answers_timed() -> None:
    talk = Talk()
    talk.says(CLIENT, text("a"), 101.0)
    talk.says(CLIENT, text("b"), 101.5)
    talk.says(UPSTREAM, text("c"), 101.75)
    talk.says(UPSTREAM, text("d"), 102.0)
    records = talk.records[1:]
    assert [record["number"] for record in records] == [1, 2, 3, 4]
    assert [record.get("answer_ms") for record in records] == [None, None, 250.0, None]
    assert (talk.conversation.messages_up, talk.conversation.messages_down) == (2, 2)


def test_what_is_unusual_is_said() -> None:
    talk = Talk()
    verdict = {"rule": "no", "action": "drop", "mode": "report"}
    talk.says(CLIENT, Message(1, b"aaaa", 4, 2, 3, True), verdicts=[verdict], label="mqtt")
    talk.says(CLIENT, Message(2, b"", 9, 9, undecodable="unknown extension x"))
    talk.says(CLIENT, Message(1, b"ab\xe2\x82", 900, 900, 1, False, "f" * 64))
    packed, unknown, cut = talk.records[1:]
    assert packed["compressed"] is True
    assert (packed["ratio"], packed["fragments"]) == (2.0, 3)
    assert (packed["verdicts"], packed["label"]) == ([verdict], "mqtt")
    assert unknown["undecodable"] == "unknown extension x"
    assert "binary" not in unknown
    assert (cut["text"], cut["truncated"], cut["sha256"], cut["size"]) == (
        "ab",
        True,
        "f" * 64,
        900,
    )


def test_a_label_stands_in_every_later_record() -> None:
    talk = Talk()
    talk.says(CLIENT, text("a"))
    talk.conversation.label_as("json-rpc")
    talk.says(CLIENT, text("b"))
    talk.says(CLIENT, Message(9, b"", 0, 0))
    summary = talk.ends()
    assert [record.get("label") for record in talk.records[1:4]] == [None, "json-rpc", "json-rpc"]
    assert summary.label == talk.records[-1]["label"] == "json-rpc"


def test_metadata_says_nothing_of_the_content() -> None:
    talk = Talk("metadata")
    talk.says(CLIENT, text("secret"))
    talk.says(UPSTREAM, Message(2, b"secret", 99, 99, 1, False, "f" * 64))
    talk.says(UPSTREAM, Message(9, b"secret", 6, 6))
    talk.says(CLIENT, Message(8, b"\x03\xe8secret", 8, 8))
    talk.ends()
    assert not any(b"secret" in line for line in talk.lines[1:])
    assert talk.records[4]["code"] == 1000
    for record in talk.records:
        assert not record.keys() & {"text", "binary", "sha256"}


def test_secrets_are_blotted_out_before_anything_is_written() -> None:
    talk = Talk(redactor=Blotter())
    talk.says(CLIENT, text("a secret"))
    talk.says(CLIENT, Message(2, b"\xffsecret", 7, 7))
    talk.says(CLIENT, Message(1, b"x", 900, 900, 1, False, "f" * 64))
    talk.says(CLIENT, Message(8, b"\x03\xe8secret", 8, 8))
    talk.ends()
    assert not any(b"secret" in line for line in talk.lines)
    assert talk.records[0]["url"] == "ws://chat.example/room"
    assert talk.records[0]["request"] == [["Cookie", "<r>"], ["Origin", "http://page.example"]]
    # The hash of a redacted text would confirm a guess.
    assert "sha256" not in talk.records[3]


def test_who_said_close_first_is_who_closed() -> None:
    talk = Talk()
    talk.says(UPSTREAM, Message(8, b"\x03\xe9away", 6, 6))
    talk.says(CLIENT, Message(8, b"\x03\xe9", 2, 2))
    summary = talk.ends(by=CLIENT)
    assert (summary.closed_by, summary.code, summary.clean) == (UPSTREAM, 1001, True)
    record = talk.records[-1]
    assert (record["event"], record["closed_by"], record["reason"]) == ("close", "upstream", "eof")
    assert (record["code"], record["close_reason"], record["clean"]) == (1001, "away", True)
    assert (record["bytes_up"], record["bytes_down"], record["duration_ms"]) == (10, 20, 3000.0)


@pytest.mark.parametrize("reason", [CloseReason.RESET, CloseReason.IDLE, CloseReason.EOF])
def test_an_abnormal_end_stays_abnormal(reason: CloseReason) -> None:
    talk = Talk()
    summary = talk.ends(by=UPSTREAM, reason=reason)
    assert (summary.code, summary.clean, summary.closed_by) == (1006, False, UPSTREAM)
    assert talk.records[-1]["reason"] == reason.value


def test_a_close_without_a_code_and_one_of_ours() -> None:
    talk = Talk()
    talk.says(CLIENT, Message(8, b"", 0, 0))
    assert talk.ends().code == 1005
    ours = Talk()
    ours.conversation.close_sent(Side.PROXY, 1008, "rule 'x' closes")
    ours.says(CLIENT, Message(8, b"\x03\xf0", 2, 2))
    summary = ours.ends(by=Side.PROXY, reason=CloseReason.POLICY)
    assert (summary.closed_by, summary.code, summary.clean) == (Side.PROXY, 1008, False)


def test_pings_without_a_pong_are_counted() -> None:
    talk = Talk()
    talk.says(CLIENT, Message(9, b"1", 1, 1), 101.0)
    talk.says(UPSTREAM, Message(9, b"2", 1, 1))
    talk.says(UPSTREAM, Message(10, b"1", 1, 1), 101.5)
    assert talk.records[-1]["answer_ms"] == 500.0
    assert talk.ends().pings_unanswered == 1


def test_trouble_is_recorded_and_summed_up() -> None:
    talk = Talk()
    talk.conversation.trouble(CLIENT, Trouble(1002, "an unmasked frame"), 101.0)
    assert talk.records[-1] == {
        "event": "trouble",
        "time": TIME,
        "session": "5f2c",
        "direction": "client",
        "code": 1002,
        "detail": "an unmasked frame",
    }
    assert talk.ends().trouble == "an unmasked frame"


def test_the_stream_view_shows_chunks_under_their_messages_number() -> None:
    talk = Talk(view="stream")
    talk.conversation.chunk(CLIENT, Chunk(1, 0, b"he", False), 101.0)
    talk.says(UPSTREAM, text("x"))
    talk.conversation.chunk(CLIENT, Chunk(1, 2, b"y", True), 101.0)
    talk.says(CLIENT, text("hey"))
    first, _other, last, message = talk.records[1:]
    assert (first["event"], first["text"], first["offset"], first["final"]) == (
        "chunk",
        "he",
        0,
        False,
    )
    assert (last["text"], last["offset"], last["final"]) == ("y", 2, True)
    assert first["number"] == last["number"] == message["number"]
    quiet = Talk(view="message")
    quiet.conversation.chunk(CLIENT, Chunk(1, 0, b"he", False), 101.0)
    assert len(quiet.lines) == 1


def test_without_a_place_for_records_everything_is_counted_all_the_same() -> None:
    talk = Talk(silent=True)
    talk.says(CLIENT, text("a"))
    talk.says(UPSTREAM, Message(8, b"\x03\xe8", 2, 2))
    talk.conversation.trouble(CLIENT, Trouble(1002, "x"), 101.0)
    talk.conversation.chunk(CLIENT, Chunk(1, 0, b"he", False), 101.0)
    summary = talk.ends()
    assert (summary.messages_up, summary.code, summary.trouble) == (1, 1000, "x")
    assert talk.lines == []
