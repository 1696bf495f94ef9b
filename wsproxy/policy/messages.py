"""Message rules in order, and the judgement: the first enforced one that matches decides.

Theory of operation.  Rules are sorted by sender and opcode beforehand, so that a
message that no rule is for costs one look-up.  A message goes through the rest in order:

- a rule with ``log``, or one that only reports, is noted and the search goes on;
- ``throttle`` is noted, and the search goes on as well: a flood must not open the way
  past the rules below.  If none of these stops or changes the message it decides;
- any other that is enforced decides.

A rule's rate is asked last, so that it counts only what meets its other conditions.
Messages beyond the rate do not count, except throttled ones: those will be sent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from wsproxy.model import Side
from wsproxy.policy.inspectors import Inspector, MessageAsk, TimedInspector
from wsproxy.policy.json_paths import compile_path
from wsproxy.policy.json_values import JsonScalar
from wsproxy.policy.message_blot import Blot
from wsproxy.policy.message_conditions import (
    Condition,
    Look,
    json_condition,
    larger_than,
    one_of,
    pattern_condition,
)
from wsproxy.policy.patterns import Pattern, compile_pattern
from wsproxy.policy.rates import Rate, RateState

__all__ = [
    "ACTIONS",
    "HARMLESS",
    "OPCODES",
    "Inspector",
    "Judgement",
    "MessageAsk",
    "MessageRuleSpec",
    "MessageRules",
    "MessageVerdict",
    "RateState",
    "TimedInspector",
    "compile_message_rules",
]

OPCODES: Mapping[str, int] = {"text": 1, "binary": 2, "close": 8, "ping": 9, "pong": 10}
"""What a rule's ``opcode`` can name (RFC 6455 §11.8)."""

ACTIONS: Mapping[str, str] = {
    "allow": "allows",
    "log": "logs",
    "redact": "redacts",
    "drop": "drops",
    "close": "closes",
    "throttle": "throttles",
}
"""What a rule's ``action`` can name, and how its reason says it."""

Chosen = TypeVar("Chosen")

_SIDES = (Side.CLIENT, Side.UPSTREAM)
HARMLESS = frozenset({"allow", "log"})
"""Actions with which a message goes on as it is."""

Names = str | tuple[str, ...] | None
"""One name, or several that are alternatives; None or () for any."""


@dataclass(frozen=True, slots=True)
class MessageRuleSpec:
    """One rule as it is written.  All conditions that are given must hold.

    Attributes:
        name: unique within its set.
        action: a key of `ACTIONS`.
        direction: who sends the message; None for both.
        opcode: keys of `OPCODES`.
        size_over_bytes: the decoded message is larger, in octets, from 0.
        rate: messages that meet the other conditions come faster than so many, from 1,
            in so many seconds.
        matches: RE2 pattern that occurs in the payload: in the text, or the octets of
            anything else read as latin-1.
        json: path into the message, which is JSON, to the value there: text with ``*``
            for anything, a number, a truth value or null.
        subprotocol: what was agreed on in the handshake.
        label: what was recognised in the WebSocket.
        inspector: name of a third-party inspector, which says that the message matches.
        enforce: whether the action is taken, or only reported.
    """

    name: str
    action: str
    direction: Side | None = None
    opcode: Names = None
    size_over_bytes: int | None = None
    rate: Rate | None = None
    matches: str | None = None
    json: Mapping[str, JsonScalar] = field(default_factory=dict)
    subprotocol: Names = None
    label: Names = None
    inspector: str | None = None
    enforce: bool = True


class MessageVerdict(NamedTuple):
    """What one rule says about a message it matches.

    Attributes:
        rule: its name.
        action: a key of `ACTIONS`.
        enforce: whether the action is taken, or only reported.
        reason: a sentence for records.
        delay_s: seconds by which throttling holds the message back.
    """

    rule: str
    action: str
    enforce: bool
    reason: str
    delay_s: float = 0.0


class Judgement(NamedTuple):
    """What the rules say about a message.

    Attributes:
        verdicts: of all rules that matched, in order, until one decided.
        decisive: the one of them that is acted on; never ``log``.  It has the delay of
            a rule that throttles and stands before it.
    """

    verdicts: tuple[MessageVerdict, ...]
    decisive: MessageVerdict | None


_NOTHING = Judgement((), None)


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    action: str
    enforce: bool
    conditions: tuple[Condition, ...]
    inspector: Inspector | None
    rate: Rate | None
    reason: str

    def judge(self, look: Look, state: RateState) -> MessageVerdict | None:
        """Its verdict, None when it does not match."""
        for condition in self.conditions:
            if not condition(look):
                return None
        reason, delay_s = self.reason, 0.0
        if self.inspector is not None:
            said = self.inspector(look.ask)
            if said is None:
                # Closed is what keeps messages back: a rule that allows does not match.
                said = "inspector failed" if self.enforce and self.action != "allow" else False
            if not said:
                return None
            if isinstance(said, str):
                reason = f"{reason}: {said}"
        if self.rate is not None:
            from_client = look.ask.sender is Side.CLIENT
            bucket = state.bucket(self.name, self.rate, from_client=from_client)
            borrow = self.enforce and self.action == "throttle"
            delay_s = bucket.take(look.ask.now, borrow=borrow)
            if not delay_s:
                return None
        delay_s = delay_s if self.action == "throttle" else 0.0
        return MessageVerdict(self.name, self.action, self.enforce, reason, delay_s)


Table = Mapping[int, tuple[_Rule, ...]]
"""Opcode to the rules for it."""


class MessageRules:
    """One set of rules, compiled.  Build it with `compile_message_rules`.

    It keeps nothing between messages; rates are in the `RateState` of the connection.
    """

    __slots__ = ("_acting", "_blots", "_from_client", "_from_upstream", "alters")

    alters: bool
    """Whether an enforced rule drops or redacts, so that compression has to be off: what
    is left out would be missing from the context (RFC 7692 §7.2.3)."""

    def __init__(
        self, from_client: Table, from_upstream: Table, blots: Mapping[str, Blot], *, alters: bool
    ) -> None:
        self._from_client = from_client
        self._from_upstream = from_upstream
        self._acting = _acting(from_client), _acting(from_upstream)
        self._blots = blots
        self.alters = alters

    def new_state(self) -> RateState:
        """The state of a new connection."""
        return RateState()

    def may_apply(self, sender: Side, opcode: int) -> bool:
        """Whether an enforced rule may hold up, change or stop such a message."""
        return opcode in self._acting[sender is not Side.CLIENT]

    def judge(self, ask: MessageAsk, state: RateState) -> Judgement:
        """Say what is to be done with a message, by which rule and why.

        Args:
            ask: the message.
            state: of its connection; counts it.
        """
        rules = self._table(ask.sender).get(ask.opcode)
        if rules is None:
            return _NOTHING
        look = Look(ask)
        verdicts: list[MessageVerdict] = []
        held: MessageVerdict | None = None
        for rule in rules:
            verdict = rule.judge(look, state)
            if verdict is None:
                continue
            if held is not None and verdict.enforce and verdict.action not in HARMLESS:
                verdict = verdict._replace(delay_s=max(verdict.delay_s, held.delay_s))
            verdicts.append(verdict)
            if not verdict.enforce or verdict.action == "log":
                continue
            if verdict.action == "throttle":
                held = verdict
                continue
            decisive = held if held is not None and verdict.action == "allow" else verdict
            return Judgement(tuple(verdicts), decisive)
        return Judgement(tuple(verdicts), held) if verdicts else _NOTHING

    def redact(self, payload: bytes, rule: str, *, opcode: int = 1) -> bytes:
        """What goes on in the place of `payload`; its length may be another.

        Args:
            payload: a whole message that the rule has matched.
            rule: name of a rule with the action ``redact``.
            opcode: of the message.
        """
        return self._blots[rule].redact(payload, opcode)

    def _table(self, sender: Side) -> Table:
        return self._from_client if sender is Side.CLIENT else self._from_upstream


def _acting(table: Table) -> frozenset[int]:
    """The opcodes for which an enforced rule may do something."""
    return frozenset(
        opcode
        for opcode, rules in table.items()
        if any(rule.enforce and rule.action not in HARMLESS for rule in rules)
    )


def compile_message_rules(
    specs: Sequence[MessageRuleSpec], inspectors: Mapping[str, Inspector]
) -> MessageRules:
    """Compile one set of rules.

    Args:
        specs: in order of precedence.
        inspectors: by name; `TimedInspector` makes one of third-party code.

    Raises:
        ValueError: a rule cannot be used; a sentence that begins with its name.
    """
    tables: dict[Side, dict[int, list[_Rule]]] = {side: {} for side in _SIDES}
    blots: dict[str, Blot] = {}
    names: set[str] = set()
    for spec in specs:
        try:
            if spec.name in names:
                raise ValueError("there is another rule of that name")
            rule = _compile_rule(spec, inspectors)
            opcodes = [_choose("opcode", name, OPCODES) for name in _several(spec.opcode)]
            if spec.action == "redact":
                blots[spec.name] = _compile_blot(spec)
            for side in _sides(spec.direction):
                for opcode in opcodes or OPCODES.values():
                    tables[side].setdefault(opcode, []).append(rule)
        except ValueError as error:
            raise ValueError(f"rule {spec.name!r}: {error}") from None
        names.add(spec.name)
    frozen = {
        side: {opcode: tuple(rules) for opcode, rules in table.items()}
        for side, table in tables.items()
    }
    alters = any(spec.enforce and spec.action in ("drop", "redact") for spec in specs)
    return MessageRules(frozen[Side.CLIENT], frozen[Side.UPSTREAM], blots, alters=alters)


def _compile_rule(spec: MessageRuleSpec, inspectors: Mapping[str, Inspector]) -> _Rule:
    verb = _choose("action", spec.action, ACTIONS)
    if spec.rate is not None and not _is_rate(spec.rate):
        raise ValueError("rate: expected a count from 1 in a time above 0 s")
    if spec.action == "throttle" and spec.rate is None:
        raise ValueError("to throttle takes a rate; add 'rate'")
    inspector = None
    if spec.inspector is not None:
        inspector = _choose("inspector", spec.inspector, inspectors)
    return _Rule(
        name=spec.name,
        action=spec.action,
        enforce=spec.enforce,
        conditions=tuple(_compile_conditions(spec)),
        inspector=inspector,
        rate=spec.rate,
        reason=f"rule '{spec.name}' {verb if spec.enforce else 'would ' + spec.action}",
    )


def _compile_conditions(spec: MessageRuleSpec) -> list[Condition]:
    """The conditions but opcode, direction, inspector and rate, the cheap ones first."""
    doubtful = spec.enforce and spec.action not in HARMLESS
    conditions: list[Condition] = []
    if spec.size_over_bytes is not None:
        if spec.size_over_bytes < 0:
            raise ValueError("a size is at least 0")
        conditions.append(larger_than(spec.size_over_bytes))
    if subprotocols := _several(spec.subprotocol):
        conditions.append(one_of("subprotocol", subprotocols))
    if labels := _several(spec.label):
        conditions.append(one_of("label", labels))
    if (pattern := _pattern(spec)) is not None:
        conditions.append(pattern_condition(pattern, doubtful=doubtful))
    if spec.json:
        every = spec.action == "allow"
        conditions.append(json_condition(spec.json, every=every, doubtful=doubtful))
    return conditions


def _compile_blot(spec: MessageRuleSpec) -> Blot:
    if spec.matches is None and not spec.json:
        raise ValueError("to redact takes something to find; add 'matches' or 'json'")
    return Blot(_pattern(spec), tuple(compile_path(path) for path in spec.json))


def _pattern(spec: MessageRuleSpec) -> Pattern | None:
    if spec.matches is None:
        return None
    return compile_pattern(spec.matches, empty=spec.action != "redact")


def _several(names: Names) -> tuple[str, ...]:
    if names is None:
        return ()
    return (names,) if isinstance(names, str) else names


def _sides(direction: Side | None) -> tuple[Side, ...]:
    if direction is None:
        return _SIDES
    if direction not in _SIDES:
        raise ValueError("direction: messages come from the client or the upstream")
    return (direction,)


def _is_rate(rate: Rate) -> bool:
    count, seconds = rate
    return math.isfinite(count) and math.isfinite(seconds) and count >= 1 and seconds > 0


def _choose(what: str, name: str, known: Mapping[str, Chosen]) -> Chosen:
    if name not in known:
        listed = ", ".join(known) or "none"
        raise ValueError(f"{name!r} is not an {what}; known are {listed}")
    return known[name]
