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
_POLICY_VIOLATION = 1008  # RFC 6455 §7.4.1


class Guard:
    """Judges one direction; see `wsproxy.net.filter.Inspector`.

    Args:
        websocket: what it belongs to.
        side: who sends in this direction.
        reader: of this direction, strict.
        direction: where it stands.

    Attributes:
        last_word: the Close that this direction ends with when it is stopped late.
    """

    passive = False

    def __init__(
        self, websocket: WebSocket, side: Side, reader: MessageReader, direction: Filter
    ) -> None:
        self._websocket = websocket
        self._side = side
        self._reader = reader
        self._direction = direction
        self._header = b""
        self._left = 0
        """Octets of the current frame yet to come; 0 between two frames."""
        self._opcode = 0
        self._final = False
        self._held: list[bytes] = []
        self._control: list[bytes] = []
        self._unread: list[bytes] = []
        """Payload of a held frame: a frame is read when it is whole, as most endpoints do."""
        self._header_due = False
        self._holding = False
        self._open = False
        """Whether the sink has part of a frame, so that nothing may be put behind it."""
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
        out: list[bytes] = []
        data = self._header + data
        self._header = b""
        at = 0
        while at < len(data) and not self._stopped and not self._close_passed:
            if not self._left:
                try:
                    header = parse_header(data, at)
                except FrameError as error:
                    self._fail(Trouble(error.code, error.detail), out, now)
                    break
                if header is None:
                    self._header = data[at:]
                    break
                self._begin(header)
                piece = data[at : at + header.size]
                self._left = header.length
            else:
                piece = data[at : at + self._left]
                self._left -= len(piece)
            at += len(piece)
            if self._left and self._holding and not self._header_due:
                self._unread.append(piece)
            else:
                self._pass_piece(piece, out, now)
        return b"".join(out)

    def _begin(self, header: FrameHeader) -> None:
        self._opcode, self._final = header.opcode, header.fin
        self._header_due = True
        opcode = header.opcode
        if opcode in (Opcode.TEXT, Opcode.BINARY):
            self._holding = self._websocket.may_apply(self._side, opcode)

    def _pass_piece(self, piece: bytes, out: list[bytes], now: float) -> None:
        message: Message | None = None
        unread, self._unread, self._header_due = b"".join(self._unread), [], False
        piece = unread + piece
        for event in self._reader.feed(piece):
            if type(event) is Trouble:
                self._fail(event, out, now)
                return
            if type(event) is Message:
                message = event
            else:
                self._websocket.note(self._side, event, now)
        control = self._opcode >= _CONTROL
        if control:
            self._control.append(piece)
        elif self._holding:
            self._held.append(piece)
        else:
            out.append(piece)
            self._open = bool(self._left)
        if self._left:
            return
        if control:
            frames, self._control = self._control, []
        elif self._final:
            frames, self._held = self._held, []
        else:
            frames = []
        if message is not None:
            self._judge(message, frames, out, now)
        self._stop_late(out)

    def _judge(self, message: Message, frames: list[bytes], out: list[bytes], now: float) -> None:
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
            out.append(encode_frame(message.opcode, payload, key=key))
        elif action != "drop":
            out += frames
        if message.opcode == Opcode.CLOSE:
            self._close_passed = True
        if verdict is not None and verdict.delay_s:
            self._direction.pause(now + verdict.delay_s)

    def _pass_unfinished(self, out: list[bytes], now: float) -> bool:
        """What is held of a message that a Close cuts short goes first, if the rules let that much pass.

        Returns:
            False when a rule has closed the WebSocket instead.
        """
        held, self._held = self._held, []
        unfinished = self._reader.unfinished
        if not held or unfinished is None:
            return True
        verdict = self._websocket.verdict_on(self._side, unfinished, now)
        if verdict is not None and verdict.action == "close":
            self._deliver(out)
            self._websocket.close(_POLICY_VIOLATION, verdict.reason, now)
            return False
        if verdict is None or verdict.action not in ("drop", "redact"):
            out += held
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
