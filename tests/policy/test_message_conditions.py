"""The conditions a message rule can have."""

from __future__ import annotations

import pytest

from wsproxy.model import Side
from wsproxy.policy.inspectors import MessageAsk
from wsproxy.policy.json_text import TooDeep
from wsproxy.policy.json_values import JsonScalar
from wsproxy.policy.message_conditions import (
    Look,
    json_condition,
    larger_than,
    occurs,
    one_of,
    pattern_condition,
)
from wsproxy.policy.patterns import compile_pattern

DEEP = b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"


def look(
    payload: bytes = b"",
    *,
    opcode: int = 1,
    size: int | None = None,
    subprotocol: str | None = None,
    label: str | None = None,
) -> Look:
    size = len(payload) if size is None else size
    return Look(MessageAsk(Side.CLIENT, opcode, size, payload, subprotocol, label, 0.0))


def test_size_is_that_of_the_whole_message() -> None:
    condition = larger_than(5)
    assert [condition(look(b"", size=size)) for size in (4, 5, 6)] == [False, False, True]


def test_names_are_alternatives() -> None:
    subprotocol, label = one_of("subprotocol", ("a", "b")), one_of("label", ("mqtt",))
    assert [subprotocol(look(subprotocol=name)) for name in ("a", "b", "c", None)] == [
        True, True, False, False,
    ]  # fmt: skip
    assert [label(look(label=name)) for name in ("mqtt", "b", None)] == [True, False, False]


@pytest.mark.parametrize(
    ("pattern", "payload", "opcode", "expected"),
    [
        ("^.$", "é".encode(), 1, True),
        ("^.$", "é".encode(), 2, False),
        ("^..$", b"\x03\xe8", 8, True),
        ("AB12", rb'{"a":"\u0041B12"}', 1, True),
        ("AB12", rb'{"a":"\u0041B12"}', 2, False),
        ("AB12", rb'{"a":"\u0041B13"}', 1, False),
        ("AB12", b"\\u\xff", 1, False),
    ],
)
def test_where_a_pattern_occurs(pattern: str, payload: bytes, opcode: int, expected: bool) -> None:
    compiled = compile_pattern(pattern)
    assert occurs(compiled, payload, opcode) is expected
    for doubtful in (True, False):
        condition = pattern_condition(compiled, doubtful=doubtful)
        assert condition(look(payload, opcode=opcode)) is expected


def test_what_was_cut_off_is_in_doubt() -> None:
    cut = look(b"abc", size=4)
    for doubtful in (True, False):
        assert pattern_condition(compile_pattern("x"), doubtful=doubtful)(cut) is doubtful
        assert pattern_condition(compile_pattern("a"), doubtful=doubtful)(cut) is True
        assert json_condition({"$.a": 1}, every=False, doubtful=doubtful)(cut) is doubtful


@pytest.mark.parametrize(
    ("expected", "payload", "some", "every"),
    [
        ({"$.a": 1}, b'{"a":1}', True, True),
        ({"$.a": 1, "$.b": "x*"}, b'{"a":1,"b":"xyz"}', True, True),
        ({"$.a": 1, "$.b": "x*"}, b'{"a":1,"b":"yz"}', False, False),
        ({"$.a": "*"}, b'{"b":1}', False, False),
        ({"$.a": None}, b'{"b":1}', False, False),
        ({"$[0]": "sub"}, b'42["sub"]', True, True),
        ({"$.a": 1}, b'{"a":1}\x1e{"a":2}\x1e', True, False),
        ({"$.a": 1}, b'{"a":1,"a":2}', True, False),
        ({"$.a": 1}, b'{"a":2,"a":1}', True, False),
        ({"$.a": 1}, b'{"a":1,"a":1}', True, True),
        ({"$..a": 1}, b'[{"a":1},{"a":2}]', True, False),
        ({"$.a": 1}, rb'{"\u0061":1}', True, True),
        ({"$.a": 1}, b'{"a":1,"b":NaN}', True, True),
        ({"$.a": 1}, b"hello", False, False),
        ({"$.a": 1}, b'{"a":1', False, False),
        ({"$.a": 1}, b"\xff\xfe", False, False),
    ],
)
def test_values_in_json(
    expected: dict[str, JsonScalar], payload: bytes, some: bool, every: bool
) -> None:
    for doubtful in (True, False):
        assert json_condition(expected, every=False, doubtful=doubtful)(look(payload)) is some
        assert json_condition(expected, every=True, doubtful=doubtful)(look(payload)) is every


def test_json_too_deep_to_read_is_in_doubt() -> None:
    for doubtful in (True, False):
        assert json_condition({"$.b": 1}, every=False, doubtful=doubtful)(look(DEEP)) is doubtful


def test_json_is_read_once() -> None:
    one = look(b'{"a":1}')
    assert one.json() is one.json()
    for _ in range(2):
        with pytest.raises(TooDeep):
            look(DEEP).json()


def test_a_path_that_cannot_be_used_is_an_error() -> None:
    with pytest.raises(ValueError) as error:
        json_condition({"a": 1}, every=False, doubtful=False)
    assert str(error.value) == "'a' is not a path into JSON: it starts with '$'"
