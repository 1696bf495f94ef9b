"""One direction of a conversation."""

from __future__ import annotations

from wsproxy.model import Side
from wsproxy.observe.lines import of_message
from wsproxy.observe.pings import Pings
from wsproxy.protocol.frames import Opcode

__all__ = ["Direction"]


class Direction:
    """What one peer has said so far.

    Attributes:
        side: the peer who sends.
        name: of that peer.
        text: what the lines of its text messages have in common behind their number.
        binary: the same of binary messages.
        messages: text and binary messages so far.
        said_close: a Close was among them.
        pings: that were not answered.
        asked_at: when the latest message came that the other peer has not answered.
        number: of the message whose chunks are coming.
    """

    __slots__ = (
        "asked_at",
        "binary",
        "messages",
        "name",
        "number",
        "pings",
        "said_close",
        "side",
        "text",
    )

    def __init__(self, side: Side) -> None:
        self.side = side
        self.name = side.value
        self.text = of_message(side, Opcode.TEXT)
        self.binary = of_message(side, Opcode.BINARY)
        self.messages = 0
        self.said_close = False
        self.pings = Pings()
        self.asked_at: float | None = None
        self.number: int | None = None
