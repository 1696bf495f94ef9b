"""Stamps of moments, and that the short way writes what the long one does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.observe.test_conversation import BINARY, CLIENT, TEXT, UPSTREAM, Talk, said
from wsproxy.observe.lines import Stamps


def test_one_moment_has_one_stamp() -> None:
    times = iter([1_700_000_000.25, 1_700_000_000.5])
    stamps = Stamps(lambda: next(times))
    assert stamps.at(7.0) == stamps.at(7.0) == b"2023-11-14T22:13:20.250000Z"
    assert stamps.at(8.0) == b"2023-11-14T22:13:20.500000Z"


def test_a_latency_is_that_of_the_latest_moment() -> None:
    stamps = Stamps(lambda: 0.0)
    stamps.at(2.0)
    assert stamps.since(1.5) == stamps.since(1.5) == b',"answer_ms":500.000'
    stamps.at(3.0)
    assert stamps.since(1.5) == b',"answer_ms":1500.000'


@given(
    st.lists(
        st.tuples(
            st.sampled_from([CLIENT, UPSTREAM]),
            st.text(max_size=30) | st.binary(max_size=125),
            st.sampled_from([0.0, 0.25]),
        ),
        max_size=12,
    ),
    st.sampled_from(["metadata", "log"]),
)
def test_the_short_way_writes_what_the_long_one_does(
    messages: list[tuple[object, str | bytes, float]], mode: object
) -> None:
    long, short = Talk(mode=mode), Talk(mode=mode)  # type: ignore[arg-type]
    now = 100.0
    for side, content, later in messages:
        now += later
        opcode = TEXT if isinstance(content, str) else BINARY
        payload = content.encode() if isinstance(content, str) else content
        record = short.conversation.short(side)  # type: ignore[arg-type]
        assert record is not None
        record(opcode, payload, now)
        long.message(side, said(payload, opcode), now)  # type: ignore[arg-type]
    assert short.lines == long.lines
    assert short.end(now) == long.end(now)


def test_what_is_not_written_is_counted() -> None:
    talk = Talk(written=False)
    count = talk.conversation.short(UPSTREAM)
    assert count is not None
    count(TEXT, b"a", 1.0)
    assert (talk.conversation.messages_up, talk.conversation.messages_down) == (0, 1)


def test_chunks_and_redaction_need_the_long_way() -> None:
    assert Talk(view="stream").conversation.short(CLIENT) is None
