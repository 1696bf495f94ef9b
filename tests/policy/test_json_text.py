"""JSON as messages carry it."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.policy.json_text import (
    Part,
    Repeated,
    TooDeep,
    dump_json,
    parse_framed,
    parse_json,
)

DEEP = "[" * 5000 + "]" * 5000


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a":1}', {"a": 1}),
        (' {"a" : [1, 2]} ', {"a": [1, 2]}),
        ('{"a":1,"a":2}', {"a": Repeated([1, 2])}),
        ('{"a": {"b":1,"c":3,"b":[2]}}', {"a": {"b": Repeated([1, [2]]), "c": 3}}),
        (r'"\ud800"', "\ud800"),
        ('"a\tb"', "a\tb"),
        ("18446744073709551617", 18446744073709551617),
        ("[1e999]", [math.inf]),
        ("9" * 5000, math.inf),
        ("null", None),
    ],
)
def test_what_anybody_reads_is_read(text: str, value: object) -> None:
    read = parse_json(text)
    assert read == value
    assert type(read) is type(value)


def test_repeated_values_are_told_from_an_array() -> None:
    read = parse_json('{"a":1,"a":2}')
    assert isinstance(read, dict)
    assert type(read["a"]) is Repeated
    assert parse_json('{"a":1,"a":2}', last=True) == {"a": 2}


def test_not_a_number_is_read() -> None:
    assert str(parse_json("NaN")) == "nan"


@pytest.mark.parametrize("text", ["", "{", "{'a':1}", '{"a":1,}', "hello", '{"a":1}x'])
def test_what_nobody_reads_is_an_error(text: str) -> None:
    for last in (False, True):
        with pytest.raises(ValueError) as error:
            parse_json(text, last=last)
        assert not isinstance(error.value, TooDeep)


@pytest.mark.parametrize("last", [False, True])
def test_deep_nesting_is_its_own_error(last: bool) -> None:
    with pytest.raises(TooDeep):
        parse_json(DEEP, last=last)
    with pytest.raises(TooDeep):
        parse_framed("42" + DEEP, last=last)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[1]", [Part("", [1], "")]),
        ('42["a",{"b":1}]', [Part("42", ["a", {"b": 1}], "")]),
        ('42/admin,7["a"]', [Part("42/admin,7", ["a"], "")]),
        ("\ufeff{}", [Part("\ufeff", {}, "")]),
        ("SEND\nto:/a\n\n{}\n\0", [Part("SEND\nto:/a\n\n", {}, "\n\0")]),
        ('{"a":1}\x1e', [Part("", {"a": 1}, "\x1e")]),
        ("{}\x1e[1] \x1e", [Part("", {}, "\x1e"), Part("", [1], " \x1e")]),
        ("{}\x1e\x1e\n", [Part("", {}, "\x1e\x1e\n")]),
    ],
)
def test_framing_is_told_from_json(text: str, parts: list[Part]) -> None:
    assert parse_framed(text) == parts
    assert "".join(head + dump_json(value) + tail for head, value, tail in parts) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\x1e",
        "\x1e{}",
        "hello",
        "5",
        "{}{}",
        '{"a":',
        "x" * 257 + "{}",
        "{}\x1e{",
        "{}\x1eabc",
    ],
)
def test_a_message_that_is_not_json_alone_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse_framed(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, None, True]}, '{"a":[1,null,true]}'),
        ("é", '"é"'),
        ("\ud800", r'"\ud800"'),
        (2**70, "1180591620717411303424"),
        (Repeated([1, 2]), "[1,2]"),
    ],
)
def test_writing(value: object, text: str) -> None:
    assert dump_json(value) == text


def test_writing_something_too_deep_is_an_error() -> None:
    value: list[object] = []
    for _ in range(5000):
        value = [value]
    with pytest.raises(TooDeep):
        dump_json(value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(VALUES, st.booleans(), st.booleans())
def test_what_was_written_is_read(value: object, last: bool, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert parse_json(text, last=last) == value


@given(st.text('{}[]",:\\u0d8 1a\x1e'))
def test_only_value_errors_come_out(text: str) -> None:
    for parse in (parse_json, parse_framed):
        try:
            parse(text)
        except ValueError:
            pass
