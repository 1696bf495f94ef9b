"""The notebook of a WebSocket: its lines, its numbers, its end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.observe.hiding import Hider
from wsproxy.model import CloseReason, Side
from wsproxy.observe.conversation import Conversation, Opening, Redactor, Summary
from wsproxy.observe.lines import Stamps
from wsproxy.protocol.messages import Chunk, Message, Trouble

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
CLIENT, UPSTREAM, PROXY = Side.CLIENT, Side.UPSTREAM, Side.PROXY
AT = 1_700_000_000.25
TIME = "2023-11-14T22:13:20.250000Z"
Record = dict[str, Any]


def said(payload: bytes, opcode: int = TEXT) -> Message:
    """A message as most are."""
    return Message(opcode, payload, len(payload), len(payload))


class Talk:
    """A conversation with its lines, and a wall clock that is set by hand."""

    def __init__(
        self,
        *,
        mode: Literal["metadata", "log", "enforce"] = "log",
        redactor: Redactor | None = None,
        view: Literal["message", "stream"] = "message",
        user: str | None = "alice",
        written: bool = True,
    ) -> None:
        self.lines: list[bytes] = []
        self.at = AT
        opening = Opening(
            session="5f2c",
            client="192.0.2.1:5000",
            user=user,
            host="example.com",
            port=80,
            url="ws://example.com/?secret",
            rule="chat",
            mode=mode,
        )
        self.conversation = Conversation(
            opening,
            self.lines.append if written else None,
            stamps=Stamps(lambda: self.at),
            began_at=100.0,
            redactor=redactor,
            view=view,
        )
        self.message = self.conversation.message

    def end(self, now: float = 100.0) -> Summary:
        return self.conversation.end(UPSTREAM, CloseReason.EOF, now=now, bytes_up=11, bytes_down=22)

    @property
    def records(self) -> list[Record]:
        """All but the one of the opening."""
        assert all(line.endswith(b"}\n") and line.count(b"\n") == 1 for line in self.lines)
        return [json.loads(line) for line in self.lines][1:]

    @property
    def record(self) -> Record:
        (only,) = self.records
        return only


def record(number: int, direction: str, opcode: str, **rest: object) -> Record:
    """What every message has in its record."""
    return {
        "event": "message",
        "time": TIME,
        "session": "5f2c",
        "host": "example.com",
        "user": "alice",
        "number": number,
        "direction": direction,
        "opcode": opcode,
        "fragments": 1,
        **rest,
    }


# ---------------------------------------------------------------- opening


def test_the_opening_is_written_at_once() -> None:
    talk = Talk()
    (line,) = talk.lines
    opened = json.loads(line)
    assert list(opened)[:4] == ["event", "time", "session", "client"]
    assert (opened["event"], opened["time"], opened["session"]) == ("open", TIME, "5f2c")
    assert (opened["url"], opened["request"]) == ("ws://example.com/?secret", [])


# ---------------------------------------------------------------- plain messages, to the octet


def test_a_small_text_message_to_the_octet() -> None:
    talk = Talk()
    talk.message(CLIENT, said('{"a":"ü"}\n'.encode()), 100.0)
    assert talk.lines[1].decode() == (
        '{"event":"message","time":"2023-11-14T22:13:20.250000Z","session":"5f2c",'
        '"host":"example.com","user":"alice","number":1,"direction":"client","opcode":"text",'
        '"size":11,"wire":11,"fragments":1,"text":"{\\"a\\":\\"ü\\"}\\n"}\n'
    )


def test_messages_of_both_peers_are_numbered_together_and_answers_timed() -> None:
    talk = Talk(user=None)
    talk.message(CLIENT, said(b"one"), 100.0)
    talk.message(CLIENT, said(b"two"), 101.0)
    talk.message(UPSTREAM, said(b"\x00\xff", BINARY), 101.0123)
    talk.message(UPSTREAM, said(b"more"), 102.0)
    talk.message(CLIENT, said(b"thanks"), 102.5)
    common = {"user": None}
    assert talk.records == [
        record(1, "client", "text", size=3, wire=3, text="one") | common,
        record(2, "client", "text", size=3, wire=3, text="two") | common,
        record(3, "upstream", "binary", size=2, wire=2, answer_ms=12.3, binary="AP8=") | common,
        record(4, "upstream", "text", size=4, wire=4, text="more") | common,
        record(5, "client", "text", size=6, wire=6, text="thanks", answer_ms=500.0) | common,
    ]
    assert (talk.conversation.messages_up, talk.conversation.messages_down) == (3, 2)


def test_a_new_second_is_a_new_time() -> None:
    talk = Talk()
    for moment, at in enumerate((AT, AT + 0.5, AT + 1, AT - 5)):
        talk.at = at
        talk.message(CLIENT, said(b""), 100.0 + moment)
    assert [each["time"][17:] for each in talk.records] == [
        "20.250000Z",
        "20.750000Z",
        "21.250000Z",
        "15.250000Z",
    ]


def test_a_compressed_message_says_so() -> None:
    talk = Talk()
    talk.message(CLIENT, Message(TEXT, b"aaaaaaaa", 8, 3, 1, compressed=True), 100.0)
    talk.message(CLIENT, Message(TEXT, b"", 0, 0, 2, compressed=True), 100.0)
    first, second = talk.records
    assert (first["compressed"], first["ratio"], first["wire"]) == (True, 2.67, 3)
    assert (second["compressed"], second["ratio"], second["fragments"]) == (True, 0.0, 2)


def test_a_label_is_in_every_later_record() -> None:
    talk = Talk()
    talk.message(CLIENT, said(b"a"), 100.0)
    talk.conversation.label_as("mqtt")
    talk.message(CLIENT, said(b"b"), 100.0)
    talk.message(CLIENT, said(b"c", PING), 100.0)
    assert talk.end().label == "mqtt"
    assert [each.get("label") for each in talk.records] == [None, "mqtt", "mqtt", "mqtt"]


class Untouched(Hider):
    """Takes every message off the short way, and hides nothing."""

    def text(self, text: str, /) -> str:
        return text

    def binary(self, data: bytes, /) -> bytes | None:
        return None


MESSAGES = st.builds(
    lambda text, octets, is_text, packed, fragments: Message(
        TEXT if is_text else BINARY,
        payload := (text.encode("utf-8", "replace") if is_text else octets),
        len(payload),
        len(payload) + packed,
        fragments,
        compressed=packed > 0,
    ),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.booleans(),
    st.integers(0, 3),
    st.integers(1, 3),
)
TURNS = st.lists(st.tuples(st.sampled_from([CLIENT, UPSTREAM]), MESSAGES, st.floats(0, 100)))


@given(TURNS, st.sampled_from(["metadata", "log"]))
def test_the_short_way_and_the_long_one_write_the_same(
    turns: list[tuple[Side, Message, float]], mode: Literal["metadata", "log"]
) -> None:
    short, long = Talk(mode=mode), Talk(mode=mode, redactor=Untouched())
    long.conversation._plain = False  # in mode metadata no redactor makes it so
    for side, message, now in turns:
        short.message(side, message, now)
        long.message(side, message, now)
    assert short.end() == long.end()
    for one, other in zip(short.records, long.records, strict=True):
        # Two ways of rounding; half a thousandth may go either way.
        for key, close in (("answer_ms", 0.002), ("ratio", 0.02)):
            assert (key in one) is (key in other)
            assert abs(one.pop(key, 0) - other.pop(key, 0)) < close
        assert one == other


# ---------------------------------------------------------------- everything else


def test_verdicts_label_and_cut_are_told() -> None:
    talk = Talk()
    verdicts = [{"rule": "cards", "action": "close", "mode": "report"}]
    talk.message(UPSTREAM, said(b"1"), 100.0, verdicts, "json")
    talk.message(UPSTREAM, Message(TEXT, b"ab", 5, 5, sha256="f0"), 100.0)
    talk.message(UPSTREAM, Message(BINARY, b"", 5, 5, undecodable="unknown extension x"), 100.0)
    assert talk.records == [
        record(1, "upstream", "text", size=1, wire=1, text="1", label="json", verdicts=verdicts),
        record(
            2,
            "upstream",
            "text",
            size=5,
            wire=5,
            text="ab",
            truncated=True,
            sha256="f0",
            label="json",
        ),
        record(
            3, "upstream", "binary", size=5, wire=5, undecodable="unknown extension x", label="json"
        ),
    ]


def test_control_frames_are_numbered_and_no_messages() -> None:
    talk = Talk()
    talk.message(UPSTREAM, said(b"tick", PING), 100.0)
    talk.message(CLIENT, said(b"tick", PONG), 100.02)
    talk.message(CLIENT, said(b"\xff", PONG), 100.03)
    talk.message(CLIENT, said(b"\x03\xe8bye", CLOSE), 100.04)
    talk.message(UPSTREAM, said(b"", CLOSE), 100.05)
    assert talk.records == [
        record(1, "upstream", "ping", size=4, wire=4, text="tick"),
        record(2, "client", "pong", size=4, wire=4, text="tick", answer_ms=20.0),
        record(3, "client", "pong", size=1, wire=1, binary="/w=="),
        record(4, "client", "close", size=5, wire=5, code=1000, reason="bye"),
        record(5, "upstream", "close", size=0, wire=0, code=1005, reason=""),
    ]
    summary = talk.end()
    assert (summary.messages_up, summary.messages_down, summary.pings_unanswered) == (0, 0, 0)


def test_a_redactor_sees_what_is_recorded() -> None:
    talk = Talk(redactor=Hider())
    talk.message(CLIENT, said(b"the secret"), 100.0)
    talk.message(CLIENT, said(b"secret", BINARY), 100.0)
    talk.message(CLIENT, said(b"\x03\xe8secret", CLOSE), 100.0)
    talk.end()
    text, binary, close, end = talk.records
    assert (text["text"], text["size"]) == ("the ***", 10)
    assert binary["binary"] == "Kioq"
    assert close["reason"] == end["close_reason"] == "***"
    assert b"secret" not in b"".join(talk.lines[1:])


def test_in_mode_metadata_no_payload_is_recorded() -> None:
    talk = Talk(mode="metadata", redactor=Hider())
    talk.message(CLIENT, said(b"secret"), 100.0)
    talk.message(CLIENT, Message(BINARY, b"s", 9, 9, sha256="f0"), 100.0)
    talk.message(CLIENT, said(b"secret", PING), 100.0)
    talk.message(CLIENT, said(b"\x03\xe8secret", CLOSE), 100.0)
    talk.end()
    *messages, end = talk.records
    assert messages == [
        record(1, "client", "text", size=6, wire=6),
        record(2, "client", "binary", size=9, wire=9),
        record(3, "client", "ping", size=6, wire=6),
        record(4, "client", "close", size=8, wire=8, code=1000),
    ]
    assert (end["code"], end["close_reason"]) == (1000, None)


def test_without_put_messages_are_counted_all_the_same() -> None:
    talk = Talk(written=False)
    for opcode in (TEXT, BINARY, PING, CLOSE):
        talk.message(CLIENT, said(b"", opcode), 100.0)
    talk.message(UPSTREAM, said(b"x"), 100.0, (), "json")
    talk.conversation.chunk(CLIENT, Chunk(TEXT, 0, b"x", True), 100.0)
    talk.conversation.trouble(CLIENT, Trouble(1002, "no"), 100.0)
    assert talk.end() == Summary(2, 1, 1005, False, CLIENT, 1, "json", "no")
    assert talk.lines == []


# ---------------------------------------------------------------- stream view


def test_chunks_have_the_number_of_their_message() -> None:
    talk = Talk(view="stream")
    conversation = talk.conversation
    conversation.chunk(CLIENT, Chunk(TEXT, 0, b"ab", False), 100.0)
    talk.message(UPSTREAM, said(b"in between"), 100.0)
    talk.message(CLIENT, said(b"", PING), 100.0)
    conversation.chunk(CLIENT, Chunk(TEXT, 2, b"cd", True), 100.0)
    talk.message(CLIENT, Message(TEXT, b"abc", 4, 4, 2, sha256="f0"), 100.0)
    talk.message(CLIENT, said(b"next"), 100.0)
    first, _other, _ping, last, whole, following = talk.records
    chunk: Record = {
        "event": "chunk",
        "time": TIME,
        "session": "5f2c",
        "host": "example.com",
        "user": "alice",
        "number": 1,
        "direction": "client",
        "opcode": "text",
    }
    assert first == chunk | {"offset": 0, "text": "ab", "final": False}
    assert last == chunk | {"offset": 2, "text": "cd", "final": True}
    assert [each["number"] for each in talk.records] == [1, 2, 3, 1, 1, 4]
    assert (whole["text"], whole["truncated"], following["text"]) == ("abc", True, "next")


def test_a_chunk_has_no_payload_in_mode_metadata_and_none_that_may_be_half_a_secret() -> None:
    for talk in (
        Talk(view="stream", mode="metadata"),
        Talk(view="stream", redactor=Hider()),
    ):
        talk.conversation.chunk(CLIENT, Chunk(TEXT, 0, b"sec", False), 100.0)
        assert not {"text", "binary"} & set(talk.record)


def test_the_message_view_has_no_chunks() -> None:
    talk = Talk()
    talk.conversation.chunk(CLIENT, Chunk(TEXT, 0, b"ab", True), 100.0)
    assert talk.records == []


# ---------------------------------------------------------------- trouble and the end


def test_trouble_is_recorded_and_the_first_one_remembered() -> None:
    talk = Talk()
    talk.conversation.trouble(UPSTREAM, Trouble(1007, "not UTF-8"), 100.0)
    talk.conversation.trouble(CLIENT, Trouble(1002, "later"), 100.0)
    first, _later = talk.records
    assert first == {
        "event": "trouble",
        "time": TIME,
        "session": "5f2c",
        "direction": "upstream",
        "code": 1007,
        "detail": "not UTF-8",
    }
    assert talk.end().trouble == "not UTF-8"


CLOSED_BY_CLIENT = (CLIENT, said(b"\x03\xe8bye", CLOSE))
CLOSED_BY_UPSTREAM = (UPSTREAM, said(b"\x03\xf3", CLOSE))


@pytest.mark.parametrize(
    ("closes", "code", "clean", "closed_by", "why"),
    [
        ([], 1006, False, UPSTREAM, None),
        ([CLOSED_BY_CLIENT], 1000, False, CLIENT, "bye"),
        ([CLOSED_BY_CLIENT, CLOSED_BY_UPSTREAM], 1000, True, CLIENT, "bye"),
        ([CLOSED_BY_UPSTREAM, CLOSED_BY_CLIENT], 1011, True, UPSTREAM, ""),
        ([(CLIENT, said(b"", CLOSE))], 1005, False, CLIENT, ""),
    ],
)
def test_the_end_tells_of_the_first_close(
    closes: Sequence[tuple[Side, Message]],
    code: int,
    clean: bool,
    closed_by: Side,
    why: str | None,
) -> None:
    talk = Talk()
    for side, close in closes:
        talk.message(side, close, 100.0)
    summary = talk.end(now=101.5)
    assert (summary.code, summary.clean, summary.closed_by) == (code, clean, closed_by)
    assert talk.records[-1] == {
        "event": "close",
        "time": TIME,
        "session": "5f2c",
        "host": "example.com",
        "user": "alice",
        "closed_by": closed_by.value,
        "reason": "eof",
        "code": code,
        "close_reason": why,
        "clean": clean,
        "messages_up": 0,
        "messages_down": 0,
        "bytes_up": 11,
        "bytes_down": 22,
        "pings_unanswered": 0,
        "label": None,
        "duration_ms": 1500.0,
    }


def test_a_close_the_proxy_sends_first_is_the_one_to_tell_of() -> None:
    talk = Talk()
    talk.conversation.close_sent(PROXY, 1008, "a rule")
    talk.message(*CLOSED_BY_CLIENT, 100.0)
    summary = talk.end()
    assert (summary.code, summary.closed_by, summary.clean) == (1008, PROXY, False)
    assert talk.records[-1]["close_reason"] == "a rule"


def test_pings_without_a_pong_are_counted_both_ways() -> None:
    talk = Talk()
    for side in (CLIENT, CLIENT, UPSTREAM):
        talk.message(side, said(b"?", PING), 100.0)
    talk.message(CLIENT, said(b"?", PONG), 100.0)
    assert talk.end().pings_unanswered == 2


def test_what_must_not_be_lost_has_a_way_of_its_own() -> None:
    put: list[bytes] = []
    kept: list[bytes] = []
    opening = Opening("1", "c", None, "h", 80, "ws://h/", None, "log")
    conversation = Conversation(
        opening,
        put.append,
        stamps=Stamps(lambda: AT),
        began_at=0.0,
        view="stream",
        keep=kept.append,
    )
    conversation.chunk(CLIENT, Chunk(TEXT, 0, b"a", True), 0.0)
    conversation.message(CLIENT, said(b"a"), 0.0)
    conversation.message(CLIENT, said(b"a", PING), 0.0)
    conversation.trouble(CLIENT, Trouble(1002, "no"), 0.0)
    conversation.end(CLIENT, CloseReason.EOF, now=0.0, bytes_up=0, bytes_down=0)
    assert [json.loads(line)["event"] for line in put] == ["chunk", "message", "message"]
    assert [json.loads(line)["event"] for line in kept] == ["open", "trouble", "close"]
