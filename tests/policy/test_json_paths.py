"""Paths into JSON."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.policy.json_paths import PATH_PATTERN, compile_path
from wsproxy.policy.json_text import Repeated

VALUE: dict[str, object] = {
    "a": {"b": [{"c": 1}, {"c": 2}, 3]},
    "odd key": {"it's": 5},
    "token": "x",
    "list": [{"token": "y"}, [{"token": {"token": "z"}}]],
}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("$", [VALUE]),
        ("$.a.b[0].c", [1]),
        ("$.a.b[-1]", [3]),
        ("$.a.b[3]", []),
        ("$.a.b[-4]", []),
        ("$.a.b[*].c", [1, 2]),
        ("$.a.*", [[{"c": 1}, {"c": 2}, 3]]),
        ("$['odd key'][\"it's\"]", [5]),
        ("$['a']['b'][1]['c']", [2]),
        ("$..token", ["x", "y", {"token": "z"}, "z"]),
        ("$.list..token", ["y", {"token": "z"}, "z"]),
        ("$..['token']", ["x", "y", {"token": "z"}, "z"]),
        ("$..[0].c", [1]),
        ("$.a[0]", []),
        ("$.a.b.c", []),
        ("$.token.x", []),
        ("$.token[0]", []),
        ("$.none", []),
        ("$..none", []),
    ],
)
def test_what_a_path_finds(source: str, found: list[object]) -> None:
    path = compile_path(source)
    assert path.source == source
    assert path.find(VALUE) == found
    assert re.fullmatch(PATH_PATTERN, source)


def test_everything_below() -> None:
    assert compile_path("$..*").find({"a": [1]}) == [[1], 1]


def test_all_values_of_a_repeated_key_are_found() -> None:
    value = {"a": Repeated([{"b": 1}, {"b": 2}, 3])}
    assert compile_path("$.a").find(value) == [{"b": 1}, {"b": 2}, 3]
    assert compile_path("$.a.b").find(value) == [1, 2]
    assert compile_path("$..b").find(value) == [1, 2]
    assert compile_path("$.a[0]").find(value) == []
    assert compile_path("$.*").find(value) == [{"b": 1}, {"b": 2}, 3]


@pytest.mark.parametrize(
    ("source", "changed", "count"),
    [
        ("$", "!", 1),
        ("$.a", {"a": "!", "b": [1, 2]}, 1),
        ("$.b[*]", {"a": {"c": 0}, "b": ["!", "!"]}, 2),
        ("$..c", {"a": {"c": "!"}, "b": [1, 2]}, 1),
        ("$.x", {"a": {"c": 0}, "b": [1, 2]}, 0),
    ],
)
def test_what_a_path_replaces(source: str, changed: object, count: int) -> None:
    value: object = {"a": {"c": 0}, "b": [1, 2]}
    assert compile_path(source).replace(value, lambda _: "!") == (changed, count)


def test_a_replacement_is_made_of_what_stood_there_before() -> None:
    seen: list[object] = []
    value = {"token": {"token": 1}}
    path = compile_path("$..token")
    assert path.replace(value, lambda old: seen.append(repr(old)) or "!") == ({"token": "!"}, 2)
    assert seen == ["{'token': 1}", "1"]


@pytest.mark.parametrize(
    ("source", "name"),
    [("$", None), ("$[0]", None), ("$..*", None), ("$.a[0]", "a"), ("$.a.b[*].*", "b")],
)
def test_the_last_name(source: str, name: str | None) -> None:
    assert compile_path(source).last_name == name


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("", "'' is not a path into JSON: it starts with '$'"),
        ("a.b", "'a.b' is not a path into JSON: it starts with '$'"),
        ("$a", "'$a': 'a' is not a step; write .name, ['name'], [0] or [*]"),
        ("$*", "'$*': '*' is not a step; write .name, ['name'], [0] or [*]"),
        ("$.", "'$.': after '.' comes a name or '*'; write odd names as ['odd name']"),
        ("$.a..", "'$.a..': after '.' comes a name or '*'; write odd names as ['odd name']"),
        ("$...a", "'$...a': after '.' comes a name or '*'; write odd names as ['odd name']"),
        ("$[x]", "'$[x]': after '[' comes an index, '*' or a name in quotes, and then ']'"),
        ("$['x", "\"$['x\": after '[' comes an index, '*' or a name in quotes, and then ']'"),
        ("$[1:2]", "'$[1:2]': slices are not supported; write [*] or one index"),
        ("$[?@.a]", "'$[?@.a]': filters are not supported; name the members"),
        ("$.['a']", "\"$.['a']\": leave out the '.' before '['"),
        ("$..a..b", "'$..a..b': '..' can be used once"),
        ("$" + ".a" * 33, f"'${'.a' * 33}' has more than 32 steps"),
    ],
)
def test_another_syntax_is_an_error(source: str, sentence: str) -> None:
    with pytest.raises(ValueError) as error:
        compile_path(source)
    assert str(error.value) == sentence


@given(st.text("$.[]*'\"a0-:?", max_size=12).map("$".__add__))
def test_a_path_compiles_or_is_a_value_error(source: str) -> None:
    try:
        compile_path(source).find(VALUE)
    except ValueError:
        return
    assert re.fullmatch(PATH_PATTERN, source)


def test_depth_is_no_recursion() -> None:
    value: object = "x"
    for _ in range(10_000):
        value = [value]
    assert compile_path("$..a").find(value) == []
