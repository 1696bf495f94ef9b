"""One direction of a WebSocket, read: octets in, messages out, whatever pieces they come in.

Theory of operation.  A reader looks at a copy of what passes, so it never asks
for more, never raises, and never holds more than it was told to keep: a frame
of 2 GiB goes through it slice by slice, and of a message beyond `keep_bytes`
only length and hash go on.  All rules of RFC 6455 §5 are checked; the first one
broken ends the reading of that direction with a `Trouble`, for behind it
nobody can know where the next frame begins.

Nearly all messages of nearly all WebSockets are small, whole and alone in what
one read returned.  That case comes first and costs a microsecond.
"""

from __future__ import annotations

import hashlib
from codecs import utf_8_decode
from functools import partial

from wsproxy.protocol.deflate import Inflater
from wsproxy.protocol.events import Chunk, Event, Message, Trouble
from wsproxy.protocol.frames import (
    FrameError,
    FrameHeader,
    Opcode,
    parse_close,
    parse_header,
    unmask,
)

__all__ = [
    "FIN_BINARY",
    "FIN_TEXT",
    "KEY_BITS",
    "REPEATED",
    "Chunk",
    "Message",
    "MessageReader",
    "Trouble",
]

_TEXT, _BINARY, _CLOSE = int(Opcode.TEXT), int(Opcode.BINARY), int(Opcode.CLOSE)
_KNOWN = frozenset(map(int, Opcode))
_RSV1 = 4
FIN_TEXT, FIN_BINARY = 0x80 | _TEXT, 0x80 | _BINARY
"""First octets of a frame that is a message by itself."""
_WHOLE = frozenset({FIN_TEXT, FIN_BINARY})
_MAX_CONTROL_BYTES = 125  # RFC 6455 §5.5
_SHORT_BYTES = 125  # RFC 6455 §5.2: the length is in the frame's second octet
KEY_BITS = 0xFFFFFFFF << 16
"""Where the key is in a short masked frame that is read as one little-endian number."""
REPEATED = tuple(
    sum(1 << 32 * word for word in range(1 + (size + 3) // 4)) for size in range(_SHORT_BYTES + 1)
)
"""What repeats that key, by the size of the payload: over itself, and over the payload and up to three octets more."""
_SLICE_BYTES = 64 * 1024  # inflated at a time
_from_bytes = int.from_bytes


class MessageReader:
    """Reads one direction.

    Args:
        masked: whether its frames must be masked: the client's, and only those.
        inflater: when compression was agreed on.
        max_message_bytes: decoded size up to which messages are decoded.
        keep_bytes: how much of a message's payload is kept for its `Message`.
        chunks: give messages as `Chunk` while they pass, too.
        strict: a message over `max_message_bytes` is a `Trouble` (1009).
        digest: hash messages of which not all is kept.
        unknown_extensions: names of those agreed on that are not understood.

    Attributes:
        ready: no frame and no message is half read, and short messages may be taken whole.
        short_bytes: the largest of those.
        bias: the least second octet of a frame.
        front: the octets in front of a short payload.
    """

    def __init__(
        self,
        *,
        masked: bool,
        inflater: Inflater | None = None,
        max_message_bytes: int,
        keep_bytes: int,
        chunks: bool = False,
        strict: bool = False,
        digest: bool = True,
        unknown_extensions: tuple[str, ...] = (),
    ) -> None:
        self._masked = masked
        self._inflater = inflater
        self._max_bytes = max_message_bytes
        self._keep = keep_bytes
        self._chunks = chunks
        self._strict = strict
        self._digest = digest
        self._unknown = f"unknown extension {', '.join(unknown_extensions)}" * bool(
            unknown_extensions
        )
        self._lost: str | None = None
        """Why compressed messages cannot be read any more: they share a context with one that was not."""
        self._over = False
        self._header = b""
        self._frame: FrameHeader | None = None
        self._at = 0
        self._control = bytearray()
        self._begin_none()
        self.bias, self.front = (128, 6) if masked else (0, 2)
        self._fast = not unknown_extensions and not chunks
        self._idle, self.ready = True, self._fast
        self.short_bytes = min(keep_bytes, max_message_bytes, _SHORT_BYTES)
        self._whole_bytes = keep_bytes if self._fast else -1

    def _begin_none(self) -> None:
        self._opcode = 0
        self._kept = bytearray()
        self._size = self._wire = self._fragments = 0
        self._compressed = False
        self._hash: hashlib._Hash | None = None
        self._tail = b""
        self._undecodable: str | None = None

    @property
    def at_boundary(self) -> bool:
        """Whether no frame and no message is half read."""
        return self._idle

    @property
    def may_be_closed(self) -> bool:
        """Whether a Close may stand behind what was read: no frame is half read, and none has said Close."""
        return self._frame is None and not self._header and not self._over

    @property
    def unfinished(self) -> Message | None:
        """What is there of a message whose last fragment has not come; None between messages."""
        if not self._opcode:
            return None
        head = self._opcode, bytes(self._kept), self._size, self._wire
        return Message(*head, self._fragments, self._compressed)

    def whole(self, data: bytes) -> bytes | None:
        """The payload when `data` is one short message and nothing else, as two reads in three are.

        None, and nothing has happened, when it has to be fed.
        """
        front = self.front
        size = len(data) - front
        if not (self.ready and 0 <= size <= self.short_bytes and data[1] == self.bias + size):
            return None
        first = data[0]
        if first not in _WHOLE:
            return None
        if front == 6:
            frame = _from_bytes(data, "little")
            frame ^= (frame & KEY_BITS) * REPEATED[size]
            payload = frame.to_bytes(size + 9, "little")[6:-3]
        else:
            payload = data[2:]
        if first == FIN_BINARY or payload.isascii() or _is_utf8(payload):
            return payload
        return None

    def feed(self, data: bytes) -> list[Event]:
        """Takes what came; returns what it completes, in order.  Never raises."""
        payload = self.whole(data)
        if payload is not None:
            size = len(payload)
            return [Message(data[0] & 15, payload, size, size)]
        if self._over:
            return []
        events: list[Event] = []
        try:
            self._read(self._header + data if self._header else data, events)
        except FrameError as error:
            self._over, self._idle = True, False
            self._begin_none()
            events.append(Trouble(error.code, error.detail))
        else:
            self._idle = self._frame is None and not self._opcode and not self._header
        self.ready = self._idle and self._fast
        return events

    def _read(self, data: bytes, events: list[Event]) -> None:
        self._header = b""
        at, end = 0, len(data)
        while at < end and not self._over:
            frame = self._frame
            if frame is None:
                if self._fast and not self._opcode:
                    at = self._take_short(data, at, events)
                    if at == end:
                        return
                frame = parse_header(data, at)
                if frame is None:
                    self._header = data[at:]
                    return
                at += frame.size
                self._begin_frame(frame)
                self._frame, self._at = frame, 0
            piece = data[at : at + frame.length - self._at]
            at += len(piece)
            if frame.key and piece:
                piece = unmask(piece, frame.key, self._at)
            self._at += len(piece)
            done = self._at == frame.length
            if done:
                self._frame = None
            if frame.opcode >= _CLOSE:
                self._take_control(frame, piece, events, done=done)
            else:
                self._take_data(piece, events, final=done and frame.fin)

    def _take_short(self, data: bytes, at: int, events: list[Event]) -> int:
        """Takes the whole small messages at `at`; where the first octet is that is none of theirs."""
        bias, front, short, last = self.bias, self.front, self.short_bytes, len(data) - self.front
        while at <= last:
            first, size = data[at], data[at + 1] - bias
            if first not in _WHOLE or not 0 <= size <= short or at + size > last:
                break
            begin = at + front
            payload = data[begin : begin + size]
            if front == 6:
                mask = data[at + 2 : begin] * 32
                payload = (
                    _from_bytes(payload, "little") ^ _from_bytes(mask[:size], "little")
                ).to_bytes(size, "little")
            if first != FIN_BINARY and not payload.isascii() and not _is_utf8(payload):
                break
            events.append(Message(first & 15, payload, size, size))
            at = begin + size
        return at

    def _begin_frame(self, frame: FrameHeader) -> None:
        if frame.opcode not in _KNOWN:
            raise FrameError(1002, f"opcode {frame.opcode} is reserved")
        if bool(frame.key) is not self._masked:
            raise FrameError(1002, "an unmasked frame" if self._masked else "a masked frame")
        if frame.opcode >= _CLOSE:
            if frame.length > _MAX_CONTROL_BYTES or not frame.fin:
                raise FrameError(1002, "a control frame that is long or fragmented")
            if frame.rsv and not self._unknown:
                raise FrameError(1002, "a reserved bit on a control frame")
            return
        self._begin_data(frame)
        self._fragments += 1
        self._wire += frame.length
        if self._strict and not self._compressed and self._wire > self._max_bytes:
            raise FrameError(1009, f"a message over {self._max_bytes} octets")

    def _begin_data(self, frame: FrameHeader) -> None:
        continues = frame.opcode == Opcode.CONTINUATION
        if continues is not bool(self._opcode):
            raise FrameError(
                1002,
                "a continuation of nothing" if continues else "a message inside another",
            )
        allowed = _RSV1 if self._inflater is not None and not continues else 0
        if frame.rsv & ~allowed and not self._unknown:
            raise FrameError(1002, "a reserved bit nobody agreed on")
        if continues:
            return
        self._opcode = frame.opcode
        self._compressed = bool(frame.rsv & _RSV1) and self._inflater is not None
        if self._unknown:
            self._undecodable = self._unknown
        elif self._compressed and self._inflater is not None:
            self._undecodable = self._lost
            self._inflater.start_message()

    def _take_control(
        self, frame: FrameHeader, piece: bytes, events: list[Event], *, done: bool
    ) -> None:
        self._control += piece
        if not done:
            return
        payload, self._control = bytes(self._control), bytearray()
        if frame.opcode == _CLOSE:
            parse_close(payload)
        events.append(Message(frame.opcode, payload[: self._keep], len(payload), len(payload)))
        if frame.opcode == _CLOSE:
            # RFC 6455 §5.5.1: "The application MUST NOT send any more data frames after
            # sending a Close frame."
            self._frame = None
            self._over, self._fast = True, False

    def _take_data(self, piece: bytes, events: list[Event], *, final: bool) -> None:
        size = len(piece)
        if final and size == self._wire <= self._whole_bytes and not self._compressed:
            # All of it at once: no need to gather it first.
            if self._opcode == _TEXT:
                self._check_text(piece, final=True)
            events.append(Message(self._opcode, piece, size, size, self._fragments))
            self._begin_none()
            return
        if self._undecodable is None and self._compressed:
            self._inflate(piece, events, final=final)
        elif self._undecodable is None:
            self._take_decoded(piece, events, final=final)
        if final:
            self._end_message(events)

    def _inflate(self, piece: bytes, events: list[Event], *, final: bool) -> None:
        inflater = self._inflater
        assert inflater is not None
        for last in (False, True)[: 1 + final]:
            inflate = inflater.end_message if last else partial(inflater.inflate, piece)
            while True:
                # Not an octet more than shows that it is too much: what is wrong behind
                # that must not matter, nor what is wrong before it be missed.
                limit = min(_SLICE_BYTES, self._max_bytes - self._size + 1)
                more = inflate(limit)
                if self._size + len(more) > self._max_bytes:
                    self._take_decoded(more[:-1], events, final=False)
                    self._give_up()
                    return
                self._take_decoded(more, events, final=last and len(more) < limit)
                if len(more) < limit:
                    break
                inflate = partial(inflater.inflate, b"")

    def _give_up(self) -> None:
        """Inflates no more of this message: it may be a bomb."""
        if self._strict:
            raise FrameError(1009, f"a message over {self._max_bytes} octets")
        self._undecodable = f"decoded size over {self._max_bytes}"
        if self._inflater is not None and self._inflater.takeover:
            self._lost = self._undecodable

    def _take_decoded(self, piece: bytes, events: list[Event], *, final: bool) -> None:
        if self._opcode == _TEXT:
            self._check_text(piece, final=final)
        if self._chunks and (piece or final):
            events.append(Chunk(self._opcode, self._size, piece, final))
        self._size += len(piece)
        if self._size <= self._keep:
            self._kept += piece
            return
        if self._digest:
            if self._hash is None:
                self._hash = hashlib.sha256(self._kept)
            self._hash.update(piece)
        room = self._keep - len(self._kept)
        if room > 0:
            self._kept += piece[:room]

    def _check_text(self, piece: bytes, *, final: bool) -> None:
        if not self._tail and piece.isascii():
            return
        octets = self._tail + piece
        try:
            _text, taken = utf_8_decode(octets, "strict", final)
            # Python would wait for the third octet of a surrogate.
            if octets[taken : taken + 1] == b"\xed" and octets[taken + 1 :] >= b"\xa0":
                utf_8_decode(octets[taken:], "strict", True)
        except UnicodeDecodeError:
            raise FrameError(1007, "a text message that is not UTF-8") from None
        self._tail = octets[taken:]

    def _end_message(self, events: list[Event]) -> None:
        known = self._undecodable is None
        events.append(
            Message(
                self._opcode,
                bytes(self._kept) if known else b"",
                self._size if known else self._wire,
                self._wire,
                self._fragments,
                self._compressed,
                self._hash.hexdigest() if self._hash is not None and known else None,
                self._undecodable,
            )
        )
        self._begin_none()


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
