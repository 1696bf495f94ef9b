"""The notebook of one WebSocket: its capture records, and what its access record says of it.

Theory of operation.  Every message that passes costs one call, so that call is the cost
of watching.  Nearly all messages are of interest to no rule and recorded as they are;
their line is put together from pieces (`wsproxy.observe.lines`), and those that are short,
too, have a lane of their own (`wsproxy.observe.lane`).  All other lines are built as dicts.

In mode ``metadata`` no payload is recorded, nor a hash of it, nor the reason of a Close;
else the payload as far as the reader kept it, after redaction.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import orjson

from wsproxy.model import CloseReason, Side
from wsproxy.observe import lines
from wsproxy.observe.direction import Direction
from wsproxy.observe.exchange import milliseconds
from wsproxy.observe.lane import Book, CountingLane, Lane, RecordingLane, See
from wsproxy.observe.opening import Opening, open_fields
from wsproxy.observe.payloads import Redactor, chunk_fields, close_code, payload_fields
from wsproxy.observe.summary import Summary, close_fields
from wsproxy.protocol.frames import OPCODE_NAMES, Opcode
from wsproxy.protocol.messages import Chunk, Message, MessageReader, Trouble

__all__ = ["Conversation", "Opening", "Redactor", "Summary"]

_ABNORMAL = 1006
"""Stands for the code of a Close that never came (RFC 6455 §7.4.1)."""

# Names of this module, for `Opcode.TEXT` and `orjson.dumps` cost a look-up more.
_CLIENT = Side.CLIENT
_TEXT, _BINARY = int(Opcode.TEXT), int(Opcode.BINARY)
_dumps = orjson.dumps


class Conversation:
    """What is said over one WebSocket, recorded as it passes.

    `now` is monotonic and measures; stamps date.  What was said of a peer holds of the
    direction it sends in.

    Args:
        opening: the handshake; its record is written at once.
        put: takes one line, line feed included, and never blocks; None: messages are only
            counted.
        stamps: the wall clock.
        began_at: `now` of the 101.
        redactor: None records everything as it is.
        keep: takes the lines of beginning, end and trouble, where `put` may drop one when
            there are too many; `put` by default.
        view: ``stream`` shows a message while it passes, as chunks; its own line, with
            what the reader kept of it, follows all the same.
    """

    __slots__ = (
        "_began_at",
        "_book",
        "_close_reason",
        "_closed_by",
        "_code",
        "_down",
        "_keep",
        "_label",
        "_opening",
        "_plain",
        "_put",
        "_redactor",
        "_trouble",
        "_up",
        "_view",
    )

    def __init__(
        self,
        opening: Opening,
        put: Callable[[bytes], None] | None,
        *,
        stamps: lines.Stamps,
        began_at: float,
        redactor: Redactor | None = None,
        view: Literal["message", "stream"] = "message",
        keep: Callable[[bytes], None] | None = None,
    ) -> None:
        self._opening, self._put, self._redactor, self._view = opening, put, redactor, view
        self._keep = keep or put
        self._began_at = began_at
        self._book = book = Book(stamps, with_payload=opening.mode != "metadata")
        touches = book.with_payload and redactor is not None and redactor.touches_text
        self._plain = put is not None and not touches
        self._up, self._down = Direction(Side.CLIENT), Direction(Side.UPSTREAM)
        self._code = _ABNORMAL
        self._close_reason: str | None = None
        self._closed_by: Side | None = None
        self._label: str | None = None
        self._trouble: str | None = None
        self._book.head = self._common()
        if put is not None:
            self._write("open", open_fields(opening, redactor), began_at)

    def label_as(self, label: str) -> None:
        """From here on every message is recorded with `label`, and so is the end."""
        self._label = label
        self._book.head = self._common()

    def _common(self) -> bytes:
        """What the lines of plain messages have in common, up to the number's value."""
        opening = self._opening
        common = {"session": opening.session, "host": opening.host, "user": opening.user}
        if self._label is not None:
            common["label"] = self._label
        return _dumps(common)[1:-1] + b',"number":'

    @property
    def messages_up(self) -> int:
        """Text and binary messages from the client so far."""
        return self._up.messages

    @property
    def messages_down(self) -> int:
        """Text and binary messages from the upstream so far."""
        return self._down.messages

    def message(
        self,
        side: Side,
        message: Message,
        now: float,
        verdicts: Sequence[Mapping[str, str]] = (),
        label: str | None = None,
    ) -> None:
        """Records one message or control frame.

        Args:
            side: the peer who sent it.
            message: as the reader gave it.
            now: monotonic, in seconds.
            verdicts: of the message rules that matched, each with ``rule``, ``action`` and
                ``mode``.
            label: what kind of message it is.
        """
        opcode, payload, size, wire, fragments, compressed, sha256, undecodable = message
        up, down = self._up, self._down
        way, other = (up, down) if side is _CLIENT else (down, up)
        if (
            opcode > _BINARY
            or not self._plain
            or verdicts
            or label is not None
            or undecodable is not None
            or (sha256 is not None and self._book.with_payload)
            or way.number is not None
        ):
            self._message_in_full(side, message, now, verdicts, label)
            return
        way.messages += 1
        way.asked_at = now
        asked_at, other.asked_at = other.asked_at, None
        book = self._book
        start = book.stamps.begin(now)
        extra = b"" if asked_at is None else self._book.stamps.since(asked_at)
        if compressed:
            extra += lines.COMPRESSED % (size / (wire or 1))
        self._book.number = number = self._book.number + 1
        middle = way.text if opcode == _TEXT else way.binary
        middle += lines.COUNTS % (size, wire, fragments)
        pieces = [start, book.head, b"%d" % number, middle, extra]
        if not book.with_payload:
            pieces.append(lines.END)
        elif opcode == _TEXT:
            pieces += lines.TEXT_PART, _dumps(payload.decode()), lines.END
        else:
            content = b2a_base64(payload, newline=False)
            pieces += lines.BINARY_PART, content, lines.BINARY_END
        self._put(b"".join(pieces))  # type: ignore[misc]  # `_plain` says that there is one

    def lane(self, side: Side, reader: MessageReader, otherwise: See) -> Lane | None:
        """What does for less what `message` does, with short messages that match no rule.

        Args:
            side: the peer who sends them.
            reader: of that direction.
            otherwise: takes all other octets.

        Returns:
            None where `message` is needed for every one.
        """
        ways = self._ways(side)
        if self._put is None:
            return CountingLane(reader, ways[0], otherwise)
        if not self._plain or self._view == "stream":
            return None
        return RecordingLane(self._book, self._put, reader, ways, otherwise)

    def _message_in_full(
        self,
        side: Side,
        message: Message,
        now: float,
        verdicts: Sequence[Mapping[str, str]],
        label: str | None,
    ) -> None:
        way, _other = self._ways(side)
        if message.opcode > _BINARY:
            self._book.number = number = self._book.number + 1
        else:
            number, way.number = self._number_of(way), None
        asked_at = self._note(side, message, now)
        self._label = label or self._label
        if self._put is None:
            return
        record: dict[str, object] = {
            "number": number,
            "direction": way.name,
            "opcode": OPCODE_NAMES[message.opcode],
            "size": message.size,
            "wire": message.wire,
            "fragments": message.fragments,
        }
        if message.compressed:
            record["compressed"] = True
            record["ratio"] = round(message.size / max(message.wire, 1), 2)
        if message.opcode == Opcode.CLOSE:
            record["code"] = close_code(message.payload)
        if asked_at is not None:
            record["answer_ms"] = round(milliseconds(asked_at, now), 3)
        if self._book.with_payload:
            record |= payload_fields(message, self._redactor)
        rare = {
            "label": label or self._label,
            "undecodable": message.undecodable,
            "verdicts": list(verdicts),
        }
        record |= {key: value for key, value in rare.items() if value}
        self._write("message", self._named(record), now)

    def _note(self, side: Side, message: Message, now: float) -> float | None:
        """Counts and remembers; when that was said which `message` answers."""
        way, other = self._ways(side)
        asked_at = None
        match message.opcode:
            case Opcode.TEXT | Opcode.BINARY:
                way.messages += 1
                way.asked_at = now
                asked_at, other.asked_at = other.asked_at, None
            case Opcode.PING:
                way.pings.add(message.payload, now)
            case Opcode.PONG:
                asked_at = other.pings.answer(message.payload)
            case _:
                way.said_close = True
                reason = message.payload[2:].decode("utf-8", "replace")
                self.close_sent(side, close_code(message.payload), reason)
        return asked_at

    def close_sent(self, side: Side, code: int, reason: str = "") -> None:
        """Notes a Close that `message` is not told of: one the proxy itself sends.

        The first Close of a conversation is the one its record tells of; this writes none.
        """
        if self._closed_by is None:
            self._closed_by, self._code, self._close_reason = side, code, reason

    def chunk(self, side: Side, chunk: Chunk, now: float) -> None:
        """Records part of a message that is still passing, when the view is ``stream``.

        Args:
            side: the peer who sends it.
            chunk: as the reader gave it.
            now: monotonic, in seconds.
        """
        if self._view != "stream" or self._put is None:
            return
        way, _other = self._ways(side)
        way.number = self._number_of(way)
        record: dict[str, object] = {
            "number": way.number,
            "direction": way.name,
            "opcode": OPCODE_NAMES[chunk.opcode],
            "offset": chunk.offset,
        }
        if self._book.with_payload:
            record |= chunk_fields(chunk, self._redactor)
        record["final"] = chunk.final
        self._write("chunk", self._named(record), now)

    def trouble(self, side: Side, trouble: Trouble, now: float) -> None:
        """Records that a peer broke the protocol; its direction is not read any further.

        Args:
            side: the peer who did.
            trouble: as the reader gave it.
            now: monotonic, in seconds.
        """
        if self._trouble is None:
            self._trouble = trouble.detail
        if self._put is not None:
            record = {"direction": side.value, "code": trouble.code, "detail": trouble.detail}
            self._write("trouble", record, now)

    def end(
        self,
        closed_by: Side,
        reason: CloseReason,
        *,
        now: float,
        bytes_up: int,
        bytes_down: int,
    ) -> Summary:
        """Writes the record of the end; nothing is recorded after it.

        Args:
            closed_by: who ended the connection first.
            reason: why it ended.
            now: monotonic, in seconds.
            bytes_up: octets on the wire from the client, frame headers included.
            bytes_down: the same from the upstream.
        """
        up, down = self._up, self._down
        summary = Summary(
            messages_up=up.messages,
            messages_down=down.messages,
            code=self._code,
            clean=up.said_close and down.said_close,
            closed_by=self._closed_by or closed_by,
            pings_unanswered=len(up.pings) + len(down.pings),
            label=self._label,
            trouble=self._trouble,
        )
        if self._put is not None:
            close_reason = self._close_reason if self._book.with_payload else None
            if close_reason and self._redactor is not None:
                close_reason = self._redactor.text(close_reason)
            record = {
                **close_fields(summary, reason, close_reason),
                "bytes_up": bytes_up,
                "bytes_down": bytes_down,
                "duration_ms": round(milliseconds(self._began_at, now), 3),
            }
            self._write("close", self._named(record), now)
        return summary

    def _ways(self, side: Side) -> tuple[Direction, Direction]:
        """The direction `side` sends in, and the other."""
        return (self._up, self._down) if side is _CLIENT else (self._down, self._up)

    def _number_of(self, way: Direction) -> int:
        """The number of the message whose chunks are coming, else the next."""
        if way.number is None:
            self._book.number += 1
            return self._book.number
        return way.number

    def _named(self, record: dict[str, object]) -> dict[str, object]:
        return {"host": self._opening.host, "user": self._opening.user, **record}

    def _write(self, event: str, record: Mapping[str, object], now: float) -> None:
        put = self._put if event in ("message", "chunk") else self._keep
        assert put is not None
        start = {
            "event": event,
            "time": self._book.stamps.at(now).decode(),
            "session": self._opening.session,
        }
        # A copy: what orjson returns keeps the 4 KiB it was written into for as long as it waits.
        put(_dumps({**start, **record}) + b"\n")
