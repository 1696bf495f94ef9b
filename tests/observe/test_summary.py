"""The fields of the end."""

from __future__ import annotations

from wsproxy.model import CloseReason, Side
from wsproxy.observe.summary import Summary, close_fields


def test_the_end_of_a_conversation_in_a_record() -> None:
    summary = Summary(3, 4, 1000, True, Side.CLIENT, 1, "json-rpc", None)
    assert close_fields(summary, CloseReason.EOF, "bye") == {
        "closed_by": "client",
        "reason": "eof",
        "code": 1000,
        "close_reason": "bye",
        "clean": True,
        "messages_up": 3,
        "messages_down": 4,
        "pings_unanswered": 1,
        "label": "json-rpc",
    }
