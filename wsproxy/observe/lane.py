"""The lane that nearly every message takes: short, whole, alone in its read, of interest to no rule.

Theory of operation.  What a WebSocket costs while it is watched is what one such message
costs, and most of that is calls, attributes and the making of small objects, not work.  So
one function goes all the way from the octets of a read to a line in the sink.  It is made
once for each direction, with what never changes at hand; it looks at nothing twice; and it
changes nothing before it knows that the message is one of these, so that whatever else
comes can still be fed to the reader.

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

__all__ = ["Book", "Lane", "counting_lane", "recording_lane"]

Lane = Callable[[bytes, float], bool]
"""Takes what one read returned, and when; False, and nothing has happened, when it is no such message."""

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


def counting_lane(reader: MessageReader, way: Direction) -> Lane:
    """For a direction whose messages are only counted.

    Args:
        reader: of the direction; it is fed what the lane does not take.
        way: the direction.
    """
    whole = reader.whole

    def count(data: bytes, _now: float) -> bool:
        if whole(data) is None:
            return False
        way.messages += 1
        return True

    return count


def recording_lane(
    book: Book,
    put: Callable[[bytes], None],
    reader: MessageReader,
    way: Direction,
    other: Direction,
) -> Lane:
    """For a direction whose messages are recorded as they are.

    Args:
        book: of the conversation.
        put: takes a line.
        reader: of the direction; it is fed what the lane does not take.
        way: the direction.
        other: the one that `way` answers.
    """
    stamps, with_payload = book.stamps, book.with_payload
    texts, binaries = middles(way.side, FIN_TEXT & 15), middles(way.side, FIN_BINARY & 15)
    front, bias, most = reader.front, reader.bias, reader.short_bytes
    masked = front == 6

    def record(data: bytes, now: float) -> bool:
        size = len(data) - front
        if not (reader.ready and 0 <= size <= most and data[1] == bias + size):
            return False
        if masked:
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
            middle = texts[size]
        elif data[0] == FIN_BINARY:
            part, content, end = BINARY_PART, b2a_base64(payload, newline=False), BINARY_END
            middle = binaries[size]
        else:
            return False
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
        if with_payload:
            put(_join((start, book.head, b"%d" % number, middle, answer, part, content, end)))
        else:
            put(_join((start, book.head, b"%d" % number, middle, answer, END)))
        return True

    return record
