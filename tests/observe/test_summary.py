"""How a WebSocket went, as its last record says it."""

from __future__ import annotations

from wsproxy.model import CloseReason, Side
from wsproxy.observe.summary import Summary, close_fields


def test_the_fields_of_the_last_record() -> None:
    summary = Summary(3, 4, 1000, True, Side.CLIENT, 1, "mqtt", None)
    assert close_fields(summary, CloseReason.EOF, "bye") == {
        "closed_by": "client",
        "reason": "eof",
        "code": 1000,
        "close_reason": "bye",
        "clean": True,
        "messages_up": 3,
        "messages_down": 4,
        "pings_unanswered": 1,
        "label": "mqtt",
    }
