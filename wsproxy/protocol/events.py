"""What a `wsproxy.protocol.messages.MessageReader` makes of one direction's octets."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Chunk", "Event", "Message", "Trouble"]


class Message(NamedTuple):
    """A message, or a control frame.

    Attributes:
        opcode: 1 text, 2 binary, 8 close, 9 ping, 10 pong.
        payload: decoded, as much of it as was kept.
        size: octets of all of it, decoded.
        wire: octets of payload on the wire, all fragments together.
        fragments: frames it came in.
        compressed: whether it was (RFC 7692).
        sha256: of all of it, in hexadecimal, when `payload` was cut.
        undecodable: why its content is not known; `payload` is empty then and
            `size` is `wire`.
    """

    opcode: int
    payload: bytes
    size: int
    wire: int
    fragments: int = 1
    compressed: bool = False
    sha256: str | None = None
    undecodable: str | None = None


class Chunk(NamedTuple):
    """Part of a message that is passing.

    Attributes:
        opcode: of the message.
        offset: of `data` within the decoded message.
        data: decoded.
        final: the message ends with it.
    """

    opcode: int
    offset: int
    data: bytes
    final: bool


class Trouble(NamedTuple):
    """The end of what can be read of this direction.

    Attributes:
        code: of the Close that would say so: 1002, 1007 or 1009.
        detail: which rule was broken.
    """

    code: int
    detail: str


Event = Message | Chunk | Trouble
