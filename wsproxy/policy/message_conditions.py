r"""The conditions a message rule can have: functions of the message.

Theory of operation.  What a rule cannot read it is in doubt about: a payload that was
cut or could not be decoded, JSON nested too deep.  A condition is built for one side of
the doubt: `doubtful` is its answer then, True for rules that stop or change messages.
In the same way a rule that lets messages pass asks for `every` value where a path into
JSON leads to several, as it does when a key is repeated.

A text is searched as it is and, when it has ``\u0041`` in it, also as it reads
unescaped: JSON can write everything both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wsproxy.policy.inspectors import MessageAsk
from wsproxy.policy.json_paths import compile_path
from wsproxy.policy.json_text import Part, TooDeep, parse_framed
from wsproxy.policy.json_values import JsonScalar, compile_value
from wsproxy.policy.patterns import Pattern, unescaped

__all__ = [
    "TEXT",
    "Condition",
    "Look",
    "json_condition",
    "larger_than",
    "occurs",
    "one_of",
    "pattern_condition",
]

TEXT = 1
"""The opcode of a text (RFC 6455 §11.8)."""


class Look:
    """One message while it is judged; its JSON is read once, when it is first needed.

    Attributes:
        ask: the message.
    """

    __slots__ = ("_parts", "ask")

    def __init__(self, ask: MessageAsk) -> None:
        self.ask = ask
        self._parts: list[Part] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the payload is all of the message."""
        return len(self.ask.payload) >= self.ask.size

    def json(self) -> list[Part]:
        """Its JSON; empty when it is none.

        Raises:
            TooDeep: nested too deep to read.
        """
        if self._parts is None:
            self._parts = []
            try:
                self._parts = parse_framed(self.ask.payload.decode())
            except TooDeep:
                self._parts = None
                raise
            except ValueError:
                pass  # not JSON, or not text
        return self._parts


Condition = Callable[[Look], bool]


def larger_than(size_bytes: int) -> Condition:
    """The decoded message has more octets than `size_bytes`."""
    return lambda look: look.ask.size > size_bytes


def one_of(field: str, values: tuple[str, ...]) -> Condition:
    """The ``subprotocol`` or ``label`` of the message is one of `values`."""
    at = MessageAsk._fields.index(field)
    wanted = frozenset(values)
    return lambda look: look.ask[at] in wanted


def pattern_condition(pattern: Pattern, *, doubtful: bool) -> Condition:
    """`pattern` occurs in the payload."""

    def holds(look: Look) -> bool:
        ask = look.ask
        if occurs(pattern, ask.payload, ask.opcode):
            return True
        return doubtful and not look.is_whole

    return holds


def json_condition(expected: Mapping[str, JsonScalar], *, every: bool, doubtful: bool) -> Condition:
    """Each path leads to a value that is as expected.

    Args:
        expected: path to value, see `compile_value`.
        every: where a path leads to several values, whether all of them have to be as
            expected, or one is enough.
        doubtful: the answer for JSON that cannot be read.

    Raises:
        ValueError: a path cannot be used; a sentence that names it.
    """
    wanted = [(compile_path(path), compile_value(value)) for path, value in expected.items()]
    enough = all if every else any

    def holds(look: Look) -> bool:
        if not look.is_whole:
            return doubtful
        try:
            parts = look.json()
        except TooDeep:
            return doubtful
        for path, matches in wanted:
            found = [value for part in parts for value in path.find(part.value)]
            if not found or not enough(map(matches, found)):
                return False
        return True

    return holds


def occurs(pattern: Pattern, payload: bytes, opcode: int) -> bool:
    """Whether `pattern` occurs in `payload`, read as its opcode says."""
    if opcode != TEXT:
        return pattern.in_binary(payload)
    if pattern.in_text(payload):
        return True
    if b"\\u" not in payload:
        return False
    return pattern.in_text(unescaped(payload.decode("utf-8", "replace")).encode())
