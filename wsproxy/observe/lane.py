"""The lane that nearly every message takes: short, whole, alone in its read, of interest to no rule.

Theory of operation.  What a WebSocket costs while it is watched is what one such message
costs, and most of that is calls, attributes and the making of small objects, not work.  So
one method goes all the way from the octets of a read to a line in the sink.  It looks at
nothing twice, and changes nothing before it knows that the message is one of these, so that
whatever else comes can still be fed to the reader.  A method it is, and no closure: the
interpreter makes calls cheap where it meets the same function again, and every closure is
another one.

The mask goes off the frame as a whole: multiplied with `REPEATED`, the key, taken from where
it stands, covers itself and all the payload.  That is half the conversions of a mask that
is made of octets.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import orjson

from wsproxy.observe.direction import Direction
from wsproxy.observe.lines import BINARY_END, BINARY_PART, END, TEXT_PART, Stamps, middles
from wsproxy.protocol.messages import FIN_BINARY, FIN_TEXT, KEY_BITS, REPEATED, MessageReader

__all__ = ["Book", "CountingLane", "Lane", "RecordingLane"]

_dumps, _from_bytes, _join = orjson.dumps, int.from_bytes, b"".join


@dataclass(slots=True)
class Book:
    """What the lines of one conversation are written with.

    Attributes:
        stamps: the wall clock.
        with_payload: lines have one.
        head: what lines have in common, up to the number's value.
        number: of the latest message.
    """

    stamps: Stamps
    with_payload: bool
    head: bytes = b""
    number: int = 0


class Lane(Protocol):
    """Takes the short messages of one direction."""

    def takes(self, data: bytes, now: float) -> bool:
        """Takes what one read returned; False, and nothing has happened, when it is no such message."""


class CountingLane:
    """For a direction whose messages are only counted.

    Args:
        reader: of the direction; it is fed what the lane does not take.
        way: the direction.
    """

    __slots__ = ("_way", "_whole")

    def __init__(self, reader: MessageReader, way: Direction) -> None:
        self._whole, self._way = reader.whole, way

    def takes(self, data: bytes, _now: float) -> bool:
        """See `Lane`."""
        whole = self._whole  # looked up as a method, it would cost more
        if whole(data) is None:
            return False
        self._way.messages += 1
        return True


class RecordingLane:
    """For a direction whose messages are recorded as they are.

    Args:
        book: of the conversation.
        put: takes a line.
        reader: of the direction; it is fed what the lane does not take.
        way: the direction.
        other: the one that `way` answers.
    """

    __slots__ = (
        "_bias",
        "_binaries",
        "_book",
        "_front",
        "_masked",
        "_most",
        "_other",
        "_put",
        "_reader",
        "_stamps",
        "_texts",
        "_way",
    )

    def __init__(
        self,
        book: Book,
        put: Callable[[bytes], None],
        reader: MessageReader,
        way: Direction,
        other: Direction,
    ) -> None:
        self._book, self._stamps, self._put = book, book.stamps, put
        self._way, self._other = way, other
        self._texts = middles(way.side, FIN_TEXT & 15)
        self._binaries = middles(way.side, FIN_BINARY & 15)
        self._reader, self._masked = reader, reader.front == 6
        self._front, self._bias, self._most = reader.front, reader.bias, reader.short_bytes

    def takes(self, data: bytes, now: float) -> bool:
        """See `Lane`."""
        size = len(data) - self._front
        if not (self._reader.ready and 0 <= size <= self._most and data[1] == self._bias + size):
            return False
        if self._masked:
            frame = _from_bytes(data, "little")
            frame ^= (frame & KEY_BITS) * REPEATED[size]
            payload = frame.to_bytes(size + 9, "little")[6:-3]
        else:
            payload = data[2:]
        if data[0] == FIN_TEXT:
            try:
                part, content, end = TEXT_PART, _dumps(payload.decode()), END
            except UnicodeDecodeError:
                return False
            middle = self._texts[size]
        elif data[0] == FIN_BINARY:
            part, content, end = BINARY_PART, b2a_base64(payload, newline=False), BINARY_END
            middle = self._binaries[size]
        else:
            return False
        stamps, book, way, other = self._stamps, self._book, self._way, self._other
        put = self._put  # looked up as a method, it would cost more
        start = stamps.start if now == stamps.moment else stamps.begin(now)
        way.messages += 1
        way.asked_at = now
        asked_at = other.asked_at
        if asked_at is None:
            answer = b""
        else:
            other.asked_at = None
            answer = stamps.answer if asked_at == stamps.asked_at else stamps.since(asked_at)
        book.number = number = book.number + 1
        if book.with_payload:
            put(_join((start, book.head, b"%d" % number, middle, answer, part, content, end)))
        else:
            put(_join((start, book.head, b"%d" % number, middle, answer, END)))
        return True


_: tuple[type[Lane], type[Lane]] = CountingLane, RecordingLane
