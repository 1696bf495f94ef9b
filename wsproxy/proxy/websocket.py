"""A WebSocket that is looked into: two directions, one conversation, and how it is ended.

*Observing*, each direction has a `Tap`: the octets have gone on, verbatim, and a
copy is decoded.  *Enforcing*, each has a `wsproxy.proxy.guard.Guard`, which lets
nothing through that a rule may still forbid.

How it is ended.  A rule that closes says Close 1008 to both sides at once.  A
peer that breaks the protocol is answered the way an endpoint would: the other
side gets the Close in its name, and its own answer, behind whatever it still had
to say, comes back to the peer.  So a client hears of the messages before its
mistake before it hears of the mistake.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import replace
from typing import NamedTuple

from wsproxy.model import CloseReason, Side
from wsproxy.net.engine import RelaySummary
from wsproxy.net.filter import Filter
from wsproxy.observe.conversation import Conversation, Opening, Summary
from wsproxy.policy.messages import HARMLESS, MessageAsk, MessageVerdict
from wsproxy.policy.rates import Bucket
from wsproxy.protocol.deflate import Agreement, Inflater
from wsproxy.protocol.frames import encode_close
from wsproxy.protocol.labels import Labeller
from wsproxy.protocol.messages import Chunk, Message, MessageReader, Trouble
from wsproxy.proxy.guard import Guard
from wsproxy.proxy.plans import Plan, Recording

__all__ = ["Agreed", "WebSocket"]

_LINGER_S = 2.0
"""For a peer to end its side after our Close, before the connection is cut."""
_ANSWER_S = 5.0
"""For the side that got a Close in the other's name to answer it."""
_FAREWELL_S = 0.9
"""The same, where the peer is not wanted any more: access ends within a second."""
_MAX_DATA_OPCODE = 2
_POLICY_VIOLATION = 1008  # RFC 6455 §7.4.1
_SERVICE_RESTART = 1012  # of the IANA registry: come again, and not all at once


class Agreed(NamedTuple):
    """What a handshake agreed on.

    Attributes:
        opening: for the record.
        agreement: the extensions.
        labeller: knows the handshake already.
    """

    opening: Opening
    agreement: Agreement
    labeller: Labeller


class WebSocket:
    """Looks into both directions of one WebSocket; see `wsproxy.net.filter.Inspection`.

    Args:
        plan: what the policy rule wants.
        recording: where records go.
        agreed: the handshake.
        now: monotonic time of the 101.
        pace: what text and binary messages of the client draw on; None: they come as they come.

    Attributes:
        ending: how we ended it, if we did: who is to blame and why.
        only_records: no rule and no label hangs on what is said; once true, always.
    """

    def __init__(
        self,
        plan: Plan,
        recording: Recording,
        agreed: Agreed,
        now: float,
        pace: Bucket | None = None,
    ) -> None:
        self._plan = plan
        self._pace = pace
        self._recording = recording
        self._labeller = agreed.labeller
        self._subprotocol = agreed.opening.subprotocol
        self._agreement = agreed.agreement
        self._state = plan.rules.new_state() if plan.rules is not None else None
        self._would_deny: dict[str, int] = {}
        self._cut_at = recording.payload_bytes if plan.rules is not None else None
        self.conversation = Conversation(
            agreed.opening,
            recording.put,
            stamps=recording.stamps,
            began_at=now,
            redactor=recording.redactor,
            view=recording.view,
            keep=recording.keep,
        )
        self.ending: tuple[Side, CloseReason] | None = None
        self.only_records = self._state is None and self._labeller.is_done
        self._guards: dict[Side, Guard] = {}
        self._taps: dict[Side, Tap] = {}
        self._directions: tuple[Filter, ...] = ()

    def attach(self, up: Filter, down: Filter) -> None:
        """See `wsproxy.net.filter.Inspection`."""
        self._directions = up, down
        for side, direction in ((Side.CLIENT, up), (Side.UPSTREAM, down)):
            reader = self._reader(side)
            if self._plan.enforces:
                # Fragments and compression may add to what counts as a message.
                held_bytes = 2 * self._recording.max_message_bytes + 1024
                guard = Guard(self, side, reader, direction=direction, held_bytes=held_bytes)
                self._guards[side] = direction.inspector = guard
            else:
                tap = Tap(self, side, reader, direction)
                if side is Side.CLIENT and self._pace is not None:
                    tap = PacedTap(self, reader, direction, self._pace)
                self._taps[side] = direction.inspector = tap
                if self.only_records:
                    tap.change_lane()

    def _reader(self, side: Side) -> MessageReader:
        compression, client = self._agreement.compression, side is Side.CLIENT
        inflater = None
        if compression is not None:
            bits = compression.client_bits if client else compression.server_bits
            takeover = compression.client_takeover if client else compression.server_takeover
            inflater = Inflater(bits, takeover=takeover)
        return MessageReader(
            masked=client,
            inflater=inflater,
            max_message_bytes=self._recording.max_message_bytes,
            keep_bytes=self._recording.keep_bytes(self._plan),
            chunks=self._recording.view == "stream",
            strict=self._plan.enforces,
            unknown_extensions=self._agreement.unknown,
        )

    def may_apply(self, side: Side, opcode: int) -> bool:
        """Whether an enforced rule may forbid or change such a message."""
        return self._plan.rules is not None and self._plan.rules.may_apply(side, opcode)

    def note(self, side: Side, event: Message | Chunk | Trouble, now: float) -> None:
        """Records what a `Tap` has read."""
        if type(event) is Message:
            if self._state is not None:
                self.judge(side, event, now)
                return
            if not self._labeller.is_done:
                self._label(event)
            self.conversation.message(side, event, now)
        elif type(event) is Chunk:
            self.conversation.chunk(side, event, now)
        elif type(event) is Trouble:
            self.conversation.trouble(side, event, now)

    def _label(self, message: Message) -> None:
        if message.opcode <= _MAX_DATA_OPCODE:
            self._labeller.see(message.opcode, message.payload)
            if self._labeller.label is not None:
                self.conversation.label_as(self._labeller.label)
            if self._state is None and self._labeller.is_done:
                self.only_records = True
                for tap in self._taps.values():
                    tap.change_lane()

    def judge(
        self, side: Side, message: Message, now: float
    ) -> tuple[MessageVerdict | None, bytes]:
        """Records a message with what the rules say of it.

        Returns:
            The verdict to carry out, if there is one, and the payload that a
            redacting one leaves.
        """
        if not self._labeller.is_done:
            self._label(message)
        rules, state, payload = self._plan.rules, self._state, message.payload
        if rules is None or state is None:
            self.conversation.message(side, message, now)
            return None, payload
        label = self._labeller.label
        ask = MessageAsk(side, message.opcode, message.size, payload, self._subprotocol, label, now)
        judgement = rules.judge(ask, state)
        decisive = judgement.decisive if self._plan.enforces else None
        if decisive is not None and decisive.action == "redact":
            payload = rules.redact(payload, decisive.rule, opcode=message.opcode)
            message = message._replace(payload=payload, size=len(payload))
        self.conversation.message(side, self._cut(message), now, self._records(judgement.verdicts))
        for verdict in judgement.verdicts:
            if verdict.action not in HARMLESS and self._only_reports(verdict):
                count = self._would_deny.get(verdict.rule, 0)
                self._would_deny[verdict.rule] = count + 1
        return decisive, payload

    def verdict_on(self, side: Side, message: Message, now: float) -> MessageVerdict | None:
        """The verdict to carry out on a message that is not recorded, for it never was one."""
        rules, state = self._plan.rules, self._state
        if rules is None or state is None:
            return None
        return rules.judge(self._ask(side, message, now), state).decisive

    def _ask(self, side: Side, message: Message, now: float) -> MessageAsk:
        label = self._labeller.label
        payload, size = message.payload, message.size
        return MessageAsk(side, message.opcode, size, payload, self._subprotocol, label, now)

    def _records(self, verdicts: tuple[MessageVerdict, ...]) -> list[dict[str, str]]:
        """What a record says of them."""
        return [
            {
                "rule": verdict.rule,
                "action": verdict.action,
                "mode": "report" if self._only_reports(verdict) else "enforce",
            }
            for verdict in verdicts
        ]

    def _only_reports(self, verdict: MessageVerdict) -> bool:
        """Whether nothing comes of it: where nothing is enforced, every rule only reports."""
        return not (verdict.enforce and self._plan.enforces)

    def _cut(self, message: Message) -> Message:
        """`message` with as much of its payload as is recorded."""
        limit = self._cut_at
        if limit is None or len(message.payload) <= limit:
            return message
        sha256 = message.sha256 or hashlib.sha256(message.payload).hexdigest()
        return message._replace(payload=message.payload[:limit], sha256=sha256)

    def close(self, code: int, reason: str, now: float) -> None:
        """Ends both directions with a Close of our own (RFC 6455 §7.1.1)."""
        self.ending = self.ending or (Side.PROXY, CloseReason.POLICY)
        self.conversation.close_sent(Side.PROXY, code, reason)
        for side, guard in self._guards.items():
            guard.stop(self._close_for(side, code, reason), by=now + _LINGER_S)

    def wait_s(self, side: Side, opcode: int, now: float) -> float:
        """Seconds by which a message has to be held back, since its user has said too much."""
        if self._pace is None or side is not Side.CLIENT or opcode > _MAX_DATA_OPCODE:
            return 0.0
        return self._pace.take(now, borrow=True)

    def farewell(self, why: CloseReason, reason: str, now: float) -> bool:
        """Ends both directions at once, with a Close wherever no frame is in the way.

        Returns:
            Whether both directions end by themselves now; else the relay has to be cut.
        """
        if self.ending is None:
            self.ending = Side.PROXY, why
            code = _SERVICE_RESTART if why is CloseReason.DRAINED else _POLICY_VIOLATION
            by = now + _FAREWELL_S
            self.conversation.close_sent(Side.PROXY, code, reason)
            for side, guard in self._guards.items():
                guard.stop(self._close_for(side, code, reason), by=by, at_once=True)
            for side, tap in self._taps.items():
                tap.stop(self._close_for(side, code, reason), by=by)
        return all(direction.inspector is not None for direction in self._directions)

    def violated(self, side: Side, trouble: Trouble, now: float) -> None:
        """Ends a WebSocket one side of which broke the protocol."""
        self.conversation.trouble(side, trouble, now)
        self.conversation.close_sent(Side.PROXY, trouble.code, trouble.detail)
        self.ending = self.ending or (side, CloseReason.PROTOCOL)
        client = self._close_for(Side.CLIENT, trouble.code, trouble.detail)
        upstream = self._close_for(Side.UPSTREAM, trouble.code, trouble.detail)
        if side is Side.CLIENT:
            self._guards[Side.UPSTREAM].last_word = upstream
            self._guards[side].stop(client, by=now + _ANSWER_S, at_once=True)
        else:
            self._guards[side].stop(upstream, by=now + _LINGER_S, at_once=True)
            self._guards[Side.CLIENT].stop(client, by=now + _LINGER_S)

    def ended(self, side: Side, now: float) -> None:
        """A direction that was stopped is over; the other has no time left."""
        for other, guard in self._guards.items():
            if other is not side:
                guard.stop(guard.last_word, by=now + _LINGER_S, at_once=True)

    def over(self, summary: RelaySummary, now: float) -> Summary:
        """Writes the last record.

        Args:
            summary: how the relay went.
            now: monotonic, in seconds.
        """
        # They refer to each other: all of it would stay until a collection finds it.
        self._guards.clear()
        self._taps.clear()
        for direction in self._directions:
            direction.look_no_more()
        self._directions = ()
        closed_by, reason = self.ending or (summary.closed_by, summary.reason)
        said = self.conversation.end(
            closed_by,
            reason,
            now=now,
            bytes_up=summary.bytes_up,
            bytes_down=summary.bytes_down,
        )
        return replace(said, would_deny=self._would_deny) if self._would_deny else said

    @staticmethod
    def _close_for(side: Side, code: int, reason: str) -> bytes:
        """A Close for the stream that carries what `side` says: masked when that is the client's."""
        key = secrets.token_bytes(4) if side is Side.CLIENT else b""
        return encode_close(code, reason, key=key)


class Tap:
    """Decodes a copy of one direction; see `wsproxy.net.filter.Inspector`."""

    passive = True

    def __init__(
        self, websocket: WebSocket, side: Side, reader: MessageReader, direction: Filter
    ) -> None:
        self._websocket = websocket
        self._note = websocket.note
        self._side = side
        self._reader = reader
        self._feed = reader.feed
        self._direction = direction

    def change_lane(self) -> None:
        """From here on short messages go the short way, for nobody but the record wants them."""
        if self._direction.inspector is not self:
            return  # nobody looks any more, and who looked again could end nothing
        lane = self._websocket.conversation.lane(self._side, self._reader, self.see)
        if lane is not None:
            self._direction.inspector = lane

    def see(self, data: bytes, now: float) -> None:
        """Takes octets that went on."""
        for event in self._feed(data):
            self._note(self._side, event, now)
            if type(event) is Trouble:
                self._direction.look_no_more()

    def pass_on(self, data: bytes, now: float) -> bytes:
        """Never asked: a tap is passive."""
        return data

    def end(self, now: float) -> bytes:
        """Nothing was held."""
        return b""

    def stop(self, close: bytes, *, by: float) -> None:
        """Ends this direction, with `close` where its reader knows of no frame in the way."""
        if self._direction.inspector is not None and self._reader.may_be_closed:
            self._direction.inject(close)
        self._direction.finish(by)


class PacedTap(Tap):
    """A tap on a client that may say only so much: reading stops until it may say more."""

    def __init__(
        self, websocket: WebSocket, reader: MessageReader, direction: Filter, pace: Bucket
    ) -> None:
        super().__init__(websocket, Side.CLIENT, reader, direction)
        self._pace = pace

    def change_lane(self) -> None:
        """Never: here every message is paid for."""

    def see(self, data: bytes, now: float) -> None:
        """Takes octets that went on."""
        conversation = self._websocket.conversation
        before = conversation.messages_up
        super().see(data, now)
        said = conversation.messages_up - before
        if said and (wait_s := self._pace.take(now, said, borrow=True)):
            self._direction.pause(now + wait_s)
