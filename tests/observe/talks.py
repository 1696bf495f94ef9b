"""Conversations to record, and the records they leave."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Literal

from wsproxy.model import CloseReason, Side
from wsproxy.observe.conversation import Conversation, Opening, Redactor, Summary
from wsproxy.observe.lines import Stamps
from wsproxy.protocol.messages import Message

__all__ = ["OPENING", "Blotter", "Talk", "text"]

OPENING = Opening(
    session="5f2c",
    client="192.0.2.7:5000",
    user="alice",
    host="chat.example",
    port=80,
    url="ws://chat.example/room?token=abc",
    rule="chat",
    mode="log",
    request=[("Cookie", "secret"), ("Origin", "http://page.example")],
    response=[("Upgrade", "websocket")],
    subprotocol="chat",
)


def text(words: str) -> Message:
    """A small message."""
    payload = words.encode()
    return Message(1, payload, len(payload), len(payload))


class Blotter:
    """A redactor that knows one secret."""

    touches_text = True

    def headers(self, headers: list[tuple[str, str]], /) -> list[tuple[str, str]]:
        return [(name, "<r>" if value == "secret" else value) for name, value in headers]

    def url(self, url: str, /) -> str:
        return url.partition("?")[0]

    def text(self, words: str, /) -> str:
        return words.replace("secret", "<r>")

    def binary(self, data: bytes, /) -> bytes | None:
        return data.replace(b"secret", b"<r>") if b"secret" in data else None


class Talk:
    """A conversation whose wall clock stands still, and its records."""

    def __init__(
        self,
        mode: Literal["metadata", "log", "enforce"] = "log",
        *,
        redactor: Redactor | None = None,
        view: Literal["message", "stream"] = "message",
        silent: bool = False,
    ) -> None:
        self.lines: list[bytes] = []
        self.conversation = Conversation(
            replace(OPENING, mode=mode),
            None if silent else self.lines.append,
            stamps=Stamps(lambda: 1_700_000_000.25),
            began_at=100.0,
            redactor=redactor,
            view=view,
        )

    def says(self, side: Side, message: Message, now: float = 101.0, **more: object) -> None:
        self.conversation.message(side, message, now, **more)  # type: ignore[arg-type]

    def ends(self, by: Side = Side.CLIENT, reason: CloseReason = CloseReason.EOF) -> Summary:
        return self.conversation.end(by, reason, now=103.0, bytes_up=10, bytes_down=20)

    @property
    def records(self) -> list[dict[str, object]]:
        """All that was recorded; each line is whole and ends once."""
        assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in self.lines)
        return [json.loads(line) for line in self.lines]
