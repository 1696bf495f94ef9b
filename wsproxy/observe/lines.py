"""The lines of messages that are recorded as they are, which nearly all are, in pieces made beforehand.

Theory of operation.  All that the line of a short message says of direction, opcode and
size is one of 504 pieces; the session's part is made once; messages that are moved in one
batch share the monotonic time, so they share the stamp and, mostly, the latency of an
answer.  What is left is to put the pieces together.
"""

from __future__ import annotations

from collections.abc import Callable

from wsproxy.model import Side
from wsproxy.observe.timestamps import format_second
from wsproxy.protocol.frames import OPCODE_NAMES, Opcode

__all__ = [
    "ANSWER",
    "BINARY_END",
    "BINARY_PART",
    "COMPRESSED",
    "COUNTS",
    "END",
    "TEXT_PART",
    "Stamps",
    "middles",
    "of_message",
]

# A line: start, head of the session, number, middle, what is not always there, payload, end.
_START = b'{"event":"message","time":"%b",'
TEXT_PART = b',"text":'
BINARY_PART = b',"binary":"'
END = b"}\n"
BINARY_END = b'"}\n'

COUNTS = b'%d,"wire":%d,"fragments":%d'
ANSWER = b',"answer_ms":%.3f'
COMPRESSED = b',"compressed":true,"ratio":%.2f'

_SHORT_BYTES = 125  # RFC 6455 §5.2: the length is in the frame's second octet


def of_message(side: Side, opcode: int) -> bytes:
    """What the lines of all messages of a direction and an opcode have behind their number."""
    names = side.value.encode(), OPCODE_NAMES[opcode].encode()
    return b',"direction":"%b","opcode":"%b","size":' % names


def middles(side: Side, opcode: int) -> tuple[bytes, ...]:
    """The same with size, wire and fragments, by size."""
    return _MIDDLES[side, opcode]


_MIDDLES = {
    (side, opcode): tuple(
        of_message(side, opcode) + COUNTS % (size, size, 1) for size in range(_SHORT_BYTES + 1)
    )
    for side in (Side.CLIENT, Side.UPSTREAM)
    for opcode in (int(Opcode.TEXT), int(Opcode.BINARY))
}


class Stamps:
    """The wall clock's time of moments on the monotonic clock, as records spell it.

    All that happens in one moment has one stamp; the latest moment is remembered.

    Args:
        clock: wall clock, in seconds since 1970.

    Attributes:
        moment: the latest, monotonic.
        stamp: its stamp.
        start: what the lines of its messages begin with.
        asked_at: the moment, before this one, whose latency is remembered.
        answer: that latency, as lines have it.
    """

    __slots__ = ("_clock", "_second", "_whole", "answer", "asked_at", "moment", "stamp", "start")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._second, self._whole = -1, b""
        self.moment = self.asked_at = float("nan")
        self.stamp = self.start = self.answer = b""

    def at(self, moment: float) -> bytes:
        """The stamp of `moment`."""
        if moment != self.moment:
            now = self._clock()
            second = int(now)
            if second != self._second:
                self._second, self._whole = second, format_second(second).encode()
            self.moment, self.asked_at = moment, float("nan")
            self.stamp = b"%b.%06dZ" % (self._whole, (now - second) * 1e6)
            self.start = _START % self.stamp
        return self.stamp

    def begin(self, moment: float) -> bytes:
        """What the line of a message of `moment` begins with."""
        self.at(moment)
        return self.start

    def since(self, asked_at: float) -> bytes:
        """What a line says of an answer, in the latest moment, to what was said at `asked_at`."""
        if asked_at != self.asked_at:
            self.asked_at = asked_at
            self.answer = ANSWER % ((self.moment - asked_at) * 1e3)
        return self.answer
