"""RE2 patterns over texts and over octets."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.policy.patterns import any_of, compile_pattern, merge, replace_spans, unescaped


@pytest.mark.parametrize(
    ("source", "data", "in_text", "in_binary"),
    [
        ("a+", b"xaay", True, True),
        ("(?i)SECRET", b"secret", True, True),
        ("b", b"a", False, False),
        ("^.$", "é".encode(), True, False),
        ("^..$", "é".encode(), False, True),
        ("é", "é".encode(), True, True),
        ("é", b"\xe9", False, True),
        ("€", "€".encode(), True, True),
        (r"\x{20ac}", "€".encode(), True, True),
        ("€", b"\x80", False, False),
        (r"\xff\xfe", b"a\xff\xfe", False, True),
    ],
)
def test_where_a_pattern_occurs(source: str, data: bytes, in_text: bool, in_binary: bool) -> None:
    pattern = compile_pattern(source)
    assert pattern.source == source
    assert (pattern.in_text(data), bool(pattern.text_spans(data))) == (in_text, in_text)
    assert (pattern.in_binary(data), bool(pattern.binary_spans(data))) == (in_binary, in_binary)


def test_spans_are_octets_and_never_empty() -> None:
    pattern = compile_pattern("é*")
    assert pattern.text_spans("aéé b é".encode()) == [(1, 5), (8, 10)]
    assert compile_pattern(r"\b").text_spans(b"a b") == []


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("(", "'(' is not an RE2 pattern: missing ): ("),
        ("(?=a)", "'(?=a)' is not an RE2 pattern: invalid perl operator: (?="),
        ("\ud800", r"'\ud800' is not a pattern: it has half a character in it"),
        (r"a\C", r"'a\\C': '\C' cuts characters in two; write '(?s:.)'"),
        ("a*", "'a*' matches the empty text, so it would match everywhere"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_an_error(source: str, sentence: str) -> None:
    with pytest.raises(ValueError) as error:
        compile_pattern(source, empty=False)
    assert str(error.value) == sentence


def test_an_escaped_backslash_before_a_c_is_fine() -> None:
    assert compile_pattern(r"\\C").in_text(b"\\C") is True


def test_any_of_several() -> None:
    patterns = [compile_pattern("(?i)a"), compile_pattern("b|c")]
    pattern = any_of(patterns)
    assert [pattern.in_text(data) for data in (b"A", b"b", b"C", b"c")] == [True, True, False, True]
    assert any_of(patterns[:1]) is patterns[0]
    with pytest.raises(ValueError):
        any_of([])


SPANS = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 5)).map(lambda pair: (pair[0], sum(pair)))
)


@given(SPANS)
def test_merging_keeps_the_places_and_parts_them(spans: list[tuple[int, int]]) -> None:
    merged = merge(spans)
    places = {at for start, end in spans for at in range(start, end)}
    assert {at for start, end in merged for at in range(start, end)} == places
    assert all(left[1] <= right[0] for left, right in pairwise(merged))


@given(SPANS, st.binary(min_size=25, max_size=30))
def test_replacing_with_the_same_changes_nothing(spans: list[tuple[int, int]], data: bytes) -> None:
    assert replace_spans(data, merge(spans), lambda part: part) == data


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("plain", "plain"),
        (r"\u0041\u00e9B", "AéB"),
        (r"\u00E9", "é"),
        (r"\ud83d\ude00!", "😀!"),
        (r"\ud83d!", "\ufffd!"),
        (r"\u004", r"\u004"),
    ],
)
def test_escapes_are_read(text: str, read: str) -> None:
    assert unescaped(text) == read
