"""Filters over capture records."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.policy.filters import compile_filter

RECORD: dict[str, object] = {
    "event": "message", "host": "www.example.com", "user": "alice", "session": "abcdef",
    "direction": "client", "opcode": "text", "size": 2000, "label": "json-rpc",
    "text": '{"method": "subscribe", "id": 1, "odd key": [1], "say": "a \\"b\\" c:d (e)"}',
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        (" \t", True),
        ("direction:client", True),
        ("direction:upstream", False),
        ("direction:client opcode:text", True),
        ("direction:client opcode:binary", False),
        ("direction:client and opcode:text", True),
        ("direction:upstream or opcode:text", True),
        ("direction:upstream OR opcode:binary", False),
        ("not direction:upstream", True),
        ("not not direction:upstream", False),
        ("NOT direction:client or size>1", True),
        ("not (direction:client or size>1)", False),
        ("direction:upstream opcode:binary or size>1", True),
        ("direction:upstream (opcode:binary or size>1)", False),
        ("opcode:text or direction:upstream size<1", True),
        ("(opcode:text)(size>1)", True),
        ("((size>1))", True),
        ("size>1000 size<=64KiB", True),
        ("host:*.example.com user:alice session:abc label:json-rpc", True),
        ("code:1008", False),
        ("not code:1008", True),
        ("subscribe", True),
        ("SUBSCRIBE", True),
        ("unsubscribe", False),
        ('"odd key"', True),
        ('"c:d (e)"', True),
        (r'"\"b\\"', True),
        ('"and"', False),
        ("text:subscribe", True),
        ('text:"odd key"', True),
        (r'text~"meth\w+\": "', True),
        (r"text~^.{3}ethod", True),
        ("text~^ethod", False),
        ("json:$.method=subscribe", True),
        ('json:$.method="sub*"', True),
        ('json:$.method=""', False),
        ("json:$.method=publish", False),
        ("json:$.id", True),
        ("json:$.id=1 size>1", True),
        ("(json:$.id)", True),
        ("json:$.none or json:$..id", True),
        ("json:$['odd key'][0]=1", True),
        ('json:$.say="a \\"b\\" c:d (e)"', True),
        ("json:$.id and not json:$.none", True),
    ],
)
def test_a_filter(text: str, matches: bool) -> None:
    assert compile_filter(text)(RECORD) is matches
    assert compile_filter(f"  {text}\n")(RECORD) is matches
    if text.strip():
        assert compile_filter(f"not ({text})")(RECORD) is not matches


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("opkode:text", "at 1: 'opkode' is no field; did you mean 'opcode';"
         " text with ':' in it goes in quotes"),
        ("size>1  size>x", "at 9: size: 'x' is not a number such as 1000 or 64KiB"),
        ("direction:", "at 1: there is no value behind 'direction:'"),
        ("(size>1", "at 1: this '(' is not closed; add ')'"),
        ("size>1 (size>2 (size>3)", "at 8: this '(' is not closed; add ')'"),
        ("size>1)", "at 7: this ')' closes nothing"),
        ("()", "at 2: a term is missing before ')'; text goes in quotes"),
        ("and size>1", "at 1: a term is missing before 'and'; text goes in quotes"),
        ("size>1 or or size>2", "at 11: a term is missing before 'or'; text goes in quotes"),
        ("size>1 or", "at 10: something is missing at the end, such as opcode:text"),
        ("not", "at 4: something is missing at the end, such as opcode:text"),
        ('size>1 "abc', "at 8: this quote is not closed; add '\"'"),
        ('text:"abc', "at 6: this quote is not closed; add '\"'"),
        ('a"b"', "at 2: a quote in the middle of a word; add a space or quote all"),
        ('size>1 text~"("', "at 8: '(' is not an RE2 pattern: missing ): ("),
        ("json:x", "at 1: 'x' is not a path into JSON: it starts with '$'"),
        ("json:$.a=", "at 1: json: write a path, or a path with '=' and a value;"
         " not '$.a='"),
        ("(" * 33 + "a" + ")" * 33, "at 33: nested more than 32 deep"),
        ("a" * 4097, "the filter is longer than 4096 characters"),
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_read_says_where_and_why(text: str, sentence: str) -> None:
    with pytest.raises(ValueError) as error:
        compile_filter(text)
    assert str(error.value) == sentence


WORDS = st.sampled_from(
    [
        "and", "or", "not", "(", ")", "size>1", "size<1KiB", "opcode:text", 'text~"a+"', "hello",
        '"x y"', "json:$.a=1", "json:$['a b']", '"', "json:$", ":", "text:", "host:*", "\\",
    ]
)  # fmt: skip


@given(st.one_of(st.text(max_size=30), st.lists(WORDS, max_size=12).map(" ".join),
                 st.lists(WORDS, max_size=12).map("".join)))  # fmt: skip
def test_nothing_but_a_value_error_comes_out(text: str) -> None:
    try:
        found = compile_filter(text)
    except ValueError:
        return
    assert found(RECORD) in (True, False)
    assert found({}) in (True, False)


@pytest.mark.parametrize(
    "text",
    ["not " * 1000 + "a", "a or " * 800 + "a", "json:$" + ".a" * 2000, "json:$" + "['" * 2000,
     '"' + "\\" * 4000, "json:$." + "a" * 4000 + "\\", "(" * 4000],
)  # fmt: skip
def test_long_filters_are_read_or_refused_quickly(text: str) -> None:
    start = time.process_time()
    try:
        compile_filter(text)({})
    except ValueError:
        pass
    assert time.process_time() - start < 1.0
