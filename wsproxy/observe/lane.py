"""The lane that nearly every message takes: short, whole, alone in its read, of interest to no rule.

Theory of operation.  What a WebSocket costs while it is watched is what one such message
costs, and most of that is calls, attributes and the making of small objects, not work.  So
one method goes all the way from the octets of a read to a line in the sink, and stands where
they arrive: a lane is an inspector itself (`wsproxy.net.filter`).  It looks at nothing twice,
and changes nothing before it knows that the message is one of these, so that whatever else
comes can still be read by whoever it was made for.  A method it is, and no closure: the
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

import orjson

from wsproxy.observe.direction import Direction
from wsproxy.observe.lines import BINARY_END, BINARY_PART, END, TEXT_PART, Stamps, middles
from wsproxy.protocol.messages import FIN_BINARY, FIN_TEXT, KEY_BITS, REPEATED, MessageReader

__all__ = ["Book", "CountingLane", "Lane", "RecordingLane", "See"]

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


See = Callable[[bytes, float], None]
"""Takes what one read returned, and when."""


class Lane:
    """Takes the short messages of one direction that went on already."""

    __slots__ = ()
    passive = True

    def see(self, data: bytes, now: float) -> None:
        """Takes what one read returned, whatever it is."""
        raise NotImplementedError  # pragma: no cover - each has its own

    def pass_on(self, data: bytes, _now: float) -> bytes:
        """Never asked: it is passive."""
        return data

    def end(self, _now: float) -> bytes:
        """Nothing was held."""
        return b""


class CountingLane(Lane):
    """For a direction whose messages are only counted.

    Args:
        reader: of the direction.
        way: the direction.
        otherwise: takes all that is no such message, and feeds it to the reader.
    """

    __slots__ = ("_otherwise", "_way", "_whole")

    def __init__(self, reader: MessageReader, way: Direction, otherwise: See) -> None:
        self._whole, self._way, self._otherwise = reader.whole, way, otherwise

    def see(self, data: bytes, now: float) -> None:
        """See `Lane`."""
        whole = self._whole  # looked up as a method, it would cost more
        if whole(data) is None:
            self._otherwise(data, now)
        else:
            self._way.messages += 1


class RecordingLane(Lane):
    """For a direction whose messages are recorded as they are.

    Args:
        book: of the conversation.
        put: takes a line.
        reader: of the direction.
        ways: the direction, and the one that it answers.
        otherwise: takes all that is no such message, and feeds it to the reader.
    """

    __slots__ = (
        "_bias",
        "_binaries",
        "_book",
        "_front",
        "_masked",
        "_most",
        "_other",
        "_otherwise",
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
        ways: tuple[Direction, Direction],
        otherwise: See,
    ) -> None:
        self._book, self._stamps, self._put = book, book.stamps, put
        self._way, self._other = ways
        self._otherwise = otherwise
        side = self._way.side
        self._texts = middles(side, FIN_TEXT & 15)
        self._binaries = middles(side, FIN_BINARY & 15)
        self._reader, self._masked = reader, reader.front == 6
        self._front, self._bias, self._most = reader.front, reader.bias, reader.short_bytes

    def see(self, data: bytes, now: float) -> None:
        """See `Lane`."""
        size = len(data) - self._front
        if not (self._reader.ready and 0 <= size <= self._most and data[1] == self._bias + size):
            return self._otherwise(data, now)
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
                return self._otherwise(data, now)
            middle = self._texts[size]
        elif data[0] == FIN_BINARY:
            part, content, end = BINARY_PART, b2a_base64(payload, newline=False), BINARY_END
            middle = self._binaries[size]
        else:
            return self._otherwise(data, now)
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
        return None
