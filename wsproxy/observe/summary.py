"""How a WebSocket went, in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from wsproxy.model import CloseReason, Side

__all__ = ["Summary", "close_fields"]


@dataclass(frozen=True, slots=True)
class Summary:
    """What the access record says of a WebSocket.

    Attributes:
        messages_up: text and binary messages from the client.
        messages_down: text and binary messages from the upstream.
        code: of the first Close; 1005 when it had none, 1006 when there was no Close.
        clean: both peers sent a Close.
        closed_by: who sent the first Close; without any, who ended the connection.
        pings_unanswered: pings of both peers that got no pong.
        label: what kind of messages these are, as the latest label says.
        trouble: detail of the first violation.
        would_deny: message rules that only report, and how many messages each would have
            stopped, changed or held up.
    """

    messages_up: int
    messages_down: int
    code: int
    clean: bool
    closed_by: Side
    pings_unanswered: int
    label: str | None
    trouble: str | None
    would_deny: Mapping[str, int] = field(default_factory=dict)


def close_fields(
    summary: Summary, reason: CloseReason, close_reason: str | None
) -> dict[str, object]:
    """The fields of the capture record of the end, but for what the wire says.

    Args:
        summary: of the conversation.
        reason: why the connection ended.
        close_reason: text of the first Close, as it may be recorded.
    """
    return {
        "closed_by": summary.closed_by.value,
        "reason": reason.value,
        "code": summary.code,
        "close_reason": close_reason,
        "clean": summary.clean,
        "messages_up": summary.messages_up,
        "messages_down": summary.messages_down,
        "pings_unanswered": summary.pings_unanswered,
        "label": summary.label,
    }
