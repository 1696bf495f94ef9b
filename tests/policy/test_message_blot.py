"""What is taken out of messages that go on."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.policy.json_paths import compile_path
from wsproxy.policy.message_blot import MARKER, Blot
from wsproxy.policy.patterns import compile_pattern

DEEP = b'{"pin":' + b"[" * 5000 + b"]" * 5000 + b"}"


def blot(*, pattern: str | None = None, paths: tuple[str, ...] = ()) -> Blot:
    compiled = None if pattern is None else compile_pattern(pattern, empty=False)
    return Blot(compiled, tuple(map(compile_path, paths)))


@pytest.mark.parametrize(
    ("pattern", "payload", "opcode", "redacted"),
    [
        (r"\d{4}", b"a 1234 b 5678", 1, b"a <redacted> b <redacted>"),
        ("é.", "aéöb".encode(), 1, b"a<redacted>b"),
        ("b", b"\xffb\xff", 2, b"\xff<redacted>\xff"),
        ("AB12", rb'{"a": "\u0041B12"}', 1, b'{"a":"<redacted>"}'),
        ("AB12", rb'AB12 {"a":"\u0041B12"}', 1, b'<redacted> {"a":"<redacted>"}'),
        ("AB12", rb'AB12 {"a":"\u0042"}', 1, rb'<redacted> {"a":"\u0042"}'),
        ("AB12", rb"AB12 \u0041B12", 1, MARKER),
        ("AB12", b"nothing", 1, MARKER),
        ("AB12", b"AB12\\u\xff", 1, b"<redacted>\\u\xff"),
        ("b", b"\xff", 2, MARKER),
        ("secret", b"\x03\xe8a secret", 8, b"\x03\xe8a <redacted>"),
        ("secret", b"\x03\xe8" + b"secret" * 20, 8, b"\x03\xe8<redacted>"),
        ("e", b"\x03e", 8, b"\x03e"),
        ("e", b"", 8, b""),
        ("secret", b"secret", 9, MARKER),
        ("a", b"a" * 125, 10, MARKER),
    ],
)
def test_what_a_pattern_matches(pattern: str, payload: bytes, opcode: int, redacted: bytes) -> None:
    assert blot(pattern=pattern).redact(payload, opcode) == redacted


@pytest.mark.parametrize(
    ("paths", "payload", "opcode", "redacted"),
    [
        (("$.pin",), b'{"pin": 12, "a": 1}', 1, b'{"pin":"<redacted>","a":1}'),
        (("$.pin",), b'{"pin":12,"pin":34}', 1, b'{"pin":"<redacted>"}'),
        (("$.pin", "$.a"), b'{"pin":1,"a":[2],"b":3}', 1, b'{"pin":"<redacted>","a":"<redacted>","b":3}'),
        (("$[1]",), b'42["a",{"b":1}]', 1, b'42["a","<redacted>"]'),
        (("$.pin",), b'{"pin":1}\x1e{"a":18446744073709551617}\x1e', 2,
         b'{"pin":"<redacted>"}\x1e{"a":18446744073709551617}\x1e'),
        (("$.pin",), b'{"a":1}', 1, MARKER),
        (("$.pin",), b'{"pin":', 1, MARKER),
        (("$.pin",), b"\xff", 2, MARKER),
        (("$.pin",), DEEP, 1, MARKER),
    ],
)  # fmt: skip
def test_values_at_paths(
    paths: tuple[str, ...], payload: bytes, opcode: int, redacted: bytes
) -> None:
    assert blot(paths=paths).redact(payload, opcode) == redacted


def test_a_pattern_goes_before_paths() -> None:
    both = blot(pattern=r"\d{4}", paths=("$.method",))
    assert both.redact(b'{"method":"pay","card":"1234"}', 1) == (
        b'{"method":"pay","card":"<redacted>"}'
    )


@given(st.text('AB12éb\\u04 "{}', max_size=20), st.booleans())
def test_a_text_stays_utf_8_and_loses_what_was_found(text: str, as_json: bool) -> None:
    if as_json:
        text = json.dumps([text])
    redacted = blot(pattern="AB?1|é").redact(text.encode(), 1).decode()
    assert not compile_pattern("AB?1|é").in_text(redacted.encode())


@given(st.binary(max_size=125), st.sampled_from([8, 9, 10]))
def test_a_control_frame_stays_short(payload: bytes, opcode: int) -> None:
    redacted = blot(pattern="[ab]").redact(payload, opcode)
    assert len(redacted) <= 125
    assert opcode != 8 or redacted[:2] == payload[:2]
    assert opcode != 8 or (len(redacted) > 2) == (len(payload) > 2)
