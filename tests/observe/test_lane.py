"""The lane of short messages writes what the long way does, and leaves all others alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.observe.hiding import Hider
from tests.observe.test_conversation import BINARY, CLIENT, PING, TEXT, UPSTREAM, Talk, said
from wsproxy.model import Side
from wsproxy.protocol.deflate import Inflater
from wsproxy.protocol.frames import encode_frame
from wsproxy.protocol.messages import MessageReader

KEY = b"\x37\xfa\x21\x3d"
NOW = 101.0
KIB = 1024


def reader(side: Side, keep_bytes: int = KIB, **more: object) -> MessageReader:
    return MessageReader(
        masked=side is CLIENT,
        max_message_bytes=KIB,
        keep_bytes=keep_bytes,
        **more,  # type: ignore[arg-type]
    )


def ignore(_data: bytes, _now: float) -> None:
    """For what no test looks at."""


def frame(side: Side, payload: bytes, opcode: int = TEXT, *, key: bytes = KEY) -> bytes:
    return encode_frame(opcode, payload, key=key if side is CLIENT else b"")


def lane(
    talk: Talk, side: Side, its: MessageReader | None = None
) -> Callable[[bytes, float], bool]:
    """What tells whether the lane took what it saw."""
    left: list[bytes] = []
    its = its or reader(side)
    made = talk.conversation.lane(side, its, lambda data, _now: left.append(data))
    assert made is not None

    def takes(data: bytes, now: float) -> bool:
        before = len(left)
        made.see(data, now)
        assert left[before:] in ([], [data])
        return len(left) == before

    return takes


@given(
    st.lists(
        st.tuples(
            st.sampled_from([CLIENT, UPSTREAM]),
            st.text(max_size=30) | st.binary(max_size=125),
            st.sampled_from([0.0, 0.25]),
            st.binary(min_size=4, max_size=4),
        ),
        max_size=12,
    ),
    st.sampled_from(["metadata", "log"]),
)
def test_the_lane_writes_what_the_long_way_does(
    messages: list[tuple[Side, str | bytes, float, bytes]], mode: Literal["metadata", "log"]
) -> None:
    long, short = Talk(mode=mode), Talk(mode=mode)
    lanes = {side: lane(short, side) for side in (CLIENT, UPSTREAM)}
    now = 100.0
    for side, content, later, key in messages:
        now += later
        opcode = TEXT if isinstance(content, str) else BINARY
        payload = content.encode() if isinstance(content, str) else content
        assert lanes[side](frame(side, payload, opcode, key=key), now)
        long.message(side, said(payload, opcode), now)
    assert short.lines == long.lines
    assert short.end(now) == long.end(now)


@pytest.mark.parametrize("side", [CLIENT, UPSTREAM])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("mode", ["metadata", "log"])
@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 123, 124, 125])
def test_every_size_up_to_the_longest(
    side: Side, opcode: int, mode: Literal["metadata", "log"], size: int
) -> None:
    long, short = Talk(mode=mode), Talk(mode=mode)
    payload = bytes(range(1, size + 1))
    assert lane(short, side)(frame(side, payload, opcode), NOW)
    long.message(side, said(payload, opcode), NOW)
    assert short.lines == long.lines


@pytest.mark.parametrize("side", [CLIENT, UPSTREAM])
@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("mode", ["metadata", "log"])
def test_what_is_not_short_whole_and_alone_is_left_to_the_reader(
    side: Side, mode: Literal["metadata", "log"], *, written: bool
) -> None:
    other = UPSTREAM if side is CLIENT else CLIENT
    key = KEY if side is CLIENT else b""
    text = frame(side, b"words")
    others = [
        b"\x81",
        text[:2],
        text[:-1],
        text + text,
        text + b"\x81",
        frame(side, b"x" * 126),
        frame(side, b"x" * 126, BINARY),
        frame(other, b"words"),
        frame(side, b"caf\xe9"),
        frame(side, b"\xed\xa0\x80"),
        frame(side, b"", PING),
        encode_frame(TEXT, b"part", fin=False, key=key),
        encode_frame(0, b"part", key=key),
        encode_frame(TEXT, b"deflated", rsv=4, key=key),
    ]
    talk = Talk(mode=mode, written=written)
    record = lane(talk, side, reader(side, inflater=Inflater(15, takeover=True)))
    opened = list(talk.lines)
    assert not any(record(data, NOW) for data in others)
    assert talk.lines == opened
    assert (talk.conversation.messages_up, talk.conversation.messages_down) == (0, 0)


@pytest.mark.parametrize("written", [True, False])
def test_a_reader_in_the_middle_of_something_goes_on_alone(*, written: bool) -> None:
    its = reader(CLIENT)
    record = lane(Talk(written=written), CLIENT, its)
    words = frame(CLIENT, b"words")
    its.feed(words[:3])
    assert not record(words, NOW)
    its.feed(words[3:])
    assert record(words, NOW)
    its.feed(encode_frame(TEXT, b"part", fin=False, key=KEY))
    assert not record(words, NOW)


def test_of_what_the_reader_does_not_keep_nothing_is_written() -> None:
    record = lane(Talk(), CLIENT, reader(CLIENT, keep_bytes=4))
    assert record(frame(CLIENT, b"four"), NOW)
    assert not record(frame(CLIENT, b"fives"), NOW)


def test_what_is_not_written_is_counted() -> None:
    talk = Talk(written=False)
    assert lane(talk, UPSTREAM)(frame(UPSTREAM, b"a"), NOW)
    assert (talk.conversation.messages_up, talk.conversation.messages_down) == (0, 1)


def test_chunks_and_redaction_need_the_long_way() -> None:
    assert Talk(view="stream").conversation.lane(CLIENT, reader(CLIENT), ignore) is None
    assert Talk(redactor=Hider()).conversation.lane(CLIENT, reader(CLIENT), ignore) is None
