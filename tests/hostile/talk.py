"""One hostile WebSocket conversation, as data: what one peer says, and what may come of it.

Nothing of the product's own is used to write or read frames here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

__all__ = [
    "CLIENT",
    "KEY",
    "SIDES",
    "UPSTREAM",
    "Frame",
    "Talk",
    "close",
    "frame",
    "frames",
    "legal",
    "offends",
    "text",
]

CLIENT, UPSTREAM = "client", "upstream"
SIDES = (CLIENT, UPSTREAM)
KEY = b"\x37\xfa\x21\x3d"
_AFTER = b"smuggled"


@dataclass(frozen=True, slots=True)
class Talk:
    """What `side` sends, and what the other one may get of it.

    Attributes:
        name: unique.
        row: of docs/security.md.
        side: who breaks the rules.
        good: whole frames that nobody has anything against.
        bad: what follows them.
        code: of the trouble with it; None when there is none.
        enforced: the same where it is enforced, when that differs.
        at: position in `bad` of the first octet that must not pass an enforcing proxy;
            None: all of it may, whatever an endpoint will think of it.
        end: what the side does behind all that: ``fin``, ``rst``, or ``hold`` (where it is
            told to end).
        extensions: that the handshake agrees on.
        said: code of the Close that is in `good`, or 1006.
    """

    name: str
    row: str
    side: str
    good: bytes
    bad: bytes
    code: int | None
    enforced: int | None
    at: int | None = 0
    end: str = "fin"
    extensions: bytes = b""
    said: int = 1006

    @property
    def sent(self) -> bytes:
        """Everything."""
        return self.good + self.bad

    def trouble(self, *, enforces: bool) -> int | None:
        """The code of the trouble there must be."""
        return self.enforced if enforces else self.code


class Frame(NamedTuple):
    """One frame as it was read.

    Attributes:
        first: its first octet.
        masked: whether it has a key.
        payload: without the mask.
        raw: all of its octets.
    """

    first: int
    masked: bool
    payload: bytes
    raw: bytes

    @property
    def opcode(self) -> int:
        """What it carries."""
        return self.first & 15

    @property
    def code(self) -> int:
        """Of a Close; 1005 without."""
        return int.from_bytes(self.payload[:2], "big") if self.payload else 1005


def _mask(payload: bytes, key: bytes = KEY) -> bytes:
    keys = (key * (len(payload) // 4 + 1))[: len(payload)]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(keys, "big")
    return mixed.to_bytes(len(payload), "big")


def frame(
    side: str, first: int, payload: bytes = b"", *, length: bytes = b"", masked: bool | None = None
) -> bytes:
    """A frame as `side` has to write it.

    Args:
        side: decides about the mask.
        first: its first octet, 0x81 for a whole text.
        payload: in clear.
        length: octets of the length field, mask bit left out, instead of the right ones.
        masked: instead of what is right for the side.
    """
    is_masked = side == CLIENT if masked is None else masked
    size = len(payload)
    if not length and size < 126:
        length = bytes([size])
    elif not length and size < 65536:
        length = b"\x7e" + size.to_bytes(2, "big")
    elif not length:
        length = b"\x7f" + size.to_bytes(8, "big")
    if is_masked:
        length = bytes([length[0] | 0x80]) + length[1:] + KEY
    return bytes([first]) + length + (_mask(payload) if is_masked else payload)


def text(side: str, words: str) -> bytes:
    """A text that is one frame."""
    return frame(side, 0x81, words.encode())


def close(side: str, code: int = 1000, reason: bytes = b"") -> bytes:
    """A Close."""
    return frame(side, 0x88, code.to_bytes(2, "big") + reason)


def frames(data: bytes) -> tuple[list[Frame], bytes]:
    """The whole frames at the beginning of `data`, and what is left."""
    found = list(_frames(data))
    return found, data[sum(len(each.raw) for each in found) :]


def _frames(data: bytes) -> Iterator[Frame]:
    at = 0
    while len(data) - at >= 2:
        size, front = data[at + 1] & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            front += width
            size = int.from_bytes(data[at + 2 : at + front], "big")
        masked = data[at + 1] >= 0x80
        key = data[at + front : at + front + 4] if masked else bytes(4)
        front += 4 * masked
        raw = data[at : at + front + size]
        if len(raw) < front + size:
            return
        yield Frame(data[at], masked, _mask(raw[front:], key), raw)
        at += len(raw)


def offends(
    side: str,
    name: str,
    code: int,
    bad: bytes,
    *,
    good: bytes | None = None,
    at: int = 0,
    row: str = "T22",
    more: bytes | None = None,
) -> Talk:
    """Breaks the protocol with `bad`, and goes on as if nothing had happened.

    Args:
        side: who does.
        name: of the case.
        code: how that is called.
        bad: from the beginning of the frame that is wrong.
        good: whole frames in front of it; a text by default.
        at: position of the first wrong octet in `bad`.
        row: of docs/security.md.
        more: what follows; a text by default.
    """
    good = text(side, "before") if good is None else good
    more = text(side, _AFTER.decode()) if more is None else more
    return Talk(f"{side}: {name}", row, side, good, bad + more, code, code, at, end="hold")


def legal(side: str, name: str, good: bytes, *, said: int = 1006, row: str = "T22") -> Talk:
    """Odd, but nothing is wrong with it: it passes in every mode."""
    talk = Talk(f"{side}: {name}", row, side, good, b"", None, None)
    return replace(talk, said=said)
