"""One direction of a WebSocket that is enforced: nothing passes before it was judged.

Frames are passed on as they came, octet for octet.  What an enforced rule may
apply to is held until the message is whole, at most `inspection.max_message`;
all else is checked as it passes.  Control frames do not wait for the message
they stand in (RFC 6455 §5.4).
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from wsproxy.model import Side
from wsproxy.protocol.frames import FrameError, FrameHeader, Opcode, encode_frame, parse_header
from wsproxy.protocol.messages import Message, MessageReader, Trouble

if TYPE_CHECKING:
    from wsproxy.net.filter import Filter
    from wsproxy.proxy.websocket import WebSocket

__all__ = ["Guard"]

_CONTROL = 0x8
_DATA = (int(Opcode.TEXT), int(Opcode.BINARY))
_POLICY_VIOLATION = 1008  # RFC 6455 §7.4.1
_TOO_BIG = 1009


class Guard:
    """Judges one direction; see `wsproxy.net.filter.Inspector`.

    Args:
        websocket: what it belongs to.
        side: who sends in this direction.
        reader: of this direction, strict.
        direction: where it stands.
        held_bytes: what is held of one message at most, frame headers included.

    Attributes:
        last_word: the Close that this direction ends with when it is stopped late.
    """

    passive = False

    def __init__(
        self,
        websocket: WebSocket,
        side: Side,
        reader: MessageReader,
        *,
        direction: Filter,
        held_bytes: int,
    ) -> None:
        self._websocket = websocket
        self._side = side
        self._reader = reader
        self._direction = direction
        self._held_bytes = held_bytes
        self._pending = b""
        """Read, but not looked at: part of a header, or what stands behind a pause."""
        self._pauses = False
        self._delayed = b""
        """A message that was judged and goes on when the pause is over, unless it has passed."""
        self._left = 0
        """Octets of the current frame yet to come; 0 between two frames."""
        self._opcode = 0
        self._final = False
        self._held = bytearray()
        self._control = bytearray()
        self._unread = bytearray()
        """Payload of a frame that passes only when it is whole, which is read then, too."""
        self._header_read = False
        self._holding = False
        self._gathers = False
        """Whether the current frame passes only when it is whole."""
        self._open = False
        """Whether the sink has part of a frame, so that nothing may be put behind it."""
        self._over = False
        """Whether the source has said Close; nothing behind it passes."""
        self._close_passed = False
        self._stopped = False
        self._late: tuple[bytes, float] | None = None
        self.last_word = b""

    def see(self, data: bytes, now: float) -> None:
        """Never asked: a guard is not passive."""

    def end(self, now: float) -> bytes:
        """What is held of an unfinished message is not passed on."""
        if self._stopped:
            self._websocket.ended(self._side, now)
        return b""

    def pass_on(self, data: bytes, now: float) -> bytes:
        """Takes octets of the source; returns what may go on."""
        out: list[bytes] = [self._delayed]
        self._pauses, self._delayed = False, b""
        if self._pending:
            data, self._pending = self._pending + data, b""
        at, end = 0, len(data)
        while at < end and not self._stopped and not self._over:
            if self._pauses:
                self._pending = data[at:]
                break
            if self._left:
                size = self._left
            else:
                header = self._begin(data, at, out, now)
                if header is None:
                    break
                self._left = size = header.size + header.length
                if self._gathers and end - at < size:
                    # Its header goes ahead: it may say enough to refuse the frame.
                    size = header.size
            piece = data[at : at + size]
            at += len(piece)
            self._left -= len(piece)
            if self._left and self._gathers and self._header_read:
                self._unread += piece
            else:
                self._pass_piece(piece, out, now)
        return b"".join(out)

    def _begin(self, data: bytes, at: int, out: list[bytes], now: float) -> FrameHeader | None:
        """The header of the frame at `at`; None when there is nothing more to do."""
        try:
            header = parse_header(data, at)
        except FrameError as error:
            self._fail(Trouble(error.code, error.detail), out, now)
            return None
        if header is None:
            self._pending = data[at:]
            return None
        opcode, self._final = header.opcode, header.fin
        self._opcode, self._header_read = opcode, False
        if opcode in _DATA:
            self._holding = self._websocket.may_apply(self._side, opcode)
        control = opcode >= _CONTROL
        self._gathers = control or self._holding
        held = len(self._held) + header.size + header.length
        if self._gathers and not control and held > self._held_bytes:
            # The reader counts what is decoded, which may be nothing for ever.
            self._fail(Trouble(_TOO_BIG, "a message too large to be held"), out, now)
            return None
        return header

    def _pass_piece(self, piece: bytes, out: list[bytes], now: float) -> None:
        message: Message | None = None
        self._header_read = True
        if self._unread:
            piece = bytes(self._unread) + piece
            self._unread.clear()
        for event in self._reader.feed(piece):
            if type(event) is Trouble:
                self._fail(event, out, now)
                return
            if type(event) is Message:
                message = event
            else:
                self._websocket.note(self._side, event, now)
        frames = self._gather(piece, out)
        if message is not None and not self._left:
            self._judge(message, frames, out, now)
        self._stop_late(out)

    def _gather(self, piece: bytes, out: list[bytes]) -> bytes:
        """Passes `piece` on, or keeps it; all that was kept, when it may go on now."""
        if not self._gathers:
            out.append(piece)
            self._open = bool(self._left)
            return b""
        control = self._opcode >= _CONTROL
        kept = self._control if control else self._held
        if self._left or not (control or self._final):
            kept += piece
            return b""
        if kept:
            piece = bytes(kept) + piece
            kept.clear()
        return piece

    def _judge(self, message: Message, frames: bytes, out: list[bytes], now: float) -> None:
        if message.undecodable is not None:
            self._fail(Trouble(_POLICY_VIOLATION, message.undecodable), out, now)
            return
        if message.opcode == Opcode.CLOSE and not self._pass_unfinished(out, now):
            return
        verdict, payload = self._websocket.judge(self._side, message, now)
        action = "allow" if verdict is None else verdict.action
        if action == "close" and verdict is not None:
            self._deliver(out)
            self._websocket.close(_POLICY_VIOLATION, verdict.reason, now)
            return
        if action == "redact":
            key = secrets.token_bytes(4) if self._side is Side.CLIENT else b""
            frames = encode_frame(message.opcode, payload, key=key)
        elif action == "drop":
            frames = b""
        delay_s = self._websocket.wait_s(self._side, message.opcode, now)
        if verdict is not None and frames:
            delay_s = max(delay_s, verdict.delay_s)
        if delay_s:
            self._pauses, self._delayed = True, frames
            self._direction.pause(now + delay_s)
        else:
            out.append(frames)
        if message.opcode == Opcode.CLOSE:
            self._over, self._close_passed = True, action != "drop"

    def _pass_unfinished(self, out: list[bytes], now: float) -> bool:
        """What is held of a message that a Close cuts short goes first, if the rules let that much pass.

        Returns:
            False when a rule has closed the WebSocket instead.
        """
        held = bytes(self._held)
        self._held.clear()
        unfinished = self._reader.unfinished
        if not held or unfinished is None:
            return True
        verdict = self._websocket.verdict_on(self._side, unfinished, now)
        if verdict is not None and verdict.action == "close":
            self._deliver(out)
            self._websocket.close(_POLICY_VIOLATION, verdict.reason, now)
            return False
        if verdict is None or verdict.action not in ("drop", "redact"):
            out.append(held)
        return True

    def _fail(self, trouble: Trouble, out: list[bytes], now: float) -> None:
        self._deliver(out)
        self._websocket.violated(self._side, trouble, now)

    def _deliver(self, out: list[bytes]) -> None:
        """Passes on what was found good before a Close is put behind it."""
        self._direction.inject(b"".join(out))
        out.clear()

    def stop(self, close: bytes, *, by: float, at_once: bool = False) -> None:
        """Ends this direction with `close`, at the end of the frame that is passing, if any.

        Args:
            close: a Close frame; left out when one has passed already, and where
                a frame will never be whole.
            by: when the source must have ended its side, in monotonic seconds.
            at_once: do not wait for the end of the frame.
        """
        if self._stopped:
            return
        if self._open and not at_once:
            self._late = close, by
            return
        self._stopped = True
        if not self._close_passed and not self._open:
            self._direction.inject(close)
        self._direction.finish(by)

    def _stop_late(self, out: list[bytes]) -> None:
        if self._late is not None and not self._open:
            self._deliver(out)
            self.stop(self._late[0], by=self._late[1])
