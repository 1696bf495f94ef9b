"""Takes out of a message what a rule with the action ``redact`` found in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wsproxy.policy.json_paths import JsonPath
from wsproxy.policy.json_text import dump_json, parse_framed
from wsproxy.policy.message_conditions import TEXT
from wsproxy.policy.patterns import Pattern, merge, replace_spans, unescaped

__all__ = ["MARKER", "Blot"]

MARKER = b"<redacted>"
"""What stands in the place of what was taken out."""

_CLOSE = 8
_MAX_CONTROL_BYTES = 125  # RFC 6455 §5.5
_CODE_BYTES = 2  # RFC 6455 §5.5.1


@dataclass(frozen=True, slots=True)
class Blot:
    """What one rule takes out: what `pattern` matches, or without one the values at `paths`."""

    pattern: Pattern | None
    paths: tuple[JsonPath, ...]

    def redact(self, payload: bytes, opcode: int) -> bytes:
        """`payload` without it; the marker alone when it cannot be told what to take out.

        A text stays UTF-8, a control frame short enough, and a Close keeps its code.
        """
        if opcode < _CLOSE:
            return self._redact(payload, is_text=opcode == TEXT)
        code = payload[:_CODE_BYTES] if opcode == _CLOSE else b""
        if opcode == _CLOSE and len(payload) <= _CODE_BYTES:
            return payload  # without a reason: the marker would be read as a code
        rest = self._redact(payload[len(code) :], is_text=False)
        return code + (rest if len(code) + len(rest) <= _MAX_CONTROL_BYTES else MARKER)

    def _redact(self, payload: bytes, *, is_text: bool) -> bytes:
        if self.pattern is None:
            return _without_values(payload, self.paths) or MARKER
        if is_text:
            return _without_matches(payload, self.pattern) or MARKER
        return _replaced(payload, self.pattern.binary_spans(payload)) or MARKER


def _without_matches(payload: bytes, pattern: Pattern) -> bytes | None:
    blotted = _replaced(payload, pattern.text_spans(payload))
    rest = payload if blotted is None else blotted
    if b"\\u" not in rest:
        return blotted
    if not pattern.in_text(unescaped(rest.decode("utf-8", "replace")).encode()):
        return blotted
    # It is there in disguise. Only JSON says where a disguise begins and ends.
    try:
        plain = "".join(
            head + dump_json(value) + tail
            for head, value, tail in parse_framed(rest.decode(), last=True)
        ).encode()
    except ValueError:
        return None
    return _replaced(plain, pattern.text_spans(plain))


def _without_values(payload: bytes, paths: Sequence[JsonPath]) -> bytes | None:
    """`payload` with the values at `paths` replaced, of repeated keys only the last one left."""
    pieces: list[str] = []
    replaced = 0
    try:
        for head, value, tail in parse_framed(payload.decode(), last=True):
            changed = value
            for path in paths:
                changed, count = path.replace(changed, lambda _: MARKER.decode())
                replaced += count
            pieces += (head, dump_json(changed), tail)
    except ValueError:
        return None
    return "".join(pieces).encode("utf-8", "replace") if replaced else None


def _replaced(data: bytes, spans: list[tuple[int, int]]) -> bytes | None:
    return replace_spans(data, merge(spans), lambda _: MARKER) if spans else None
