"""Patterns with ``*``."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.policy.globs import compile_glob


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("", "", True),
        ("", "a", False),
        ("a", "a", True),
        ("a", "A", False),
        ("a", "ab", False),
        ("*", "", True),
        ("**", "anything\n", True),
        ("a*", "a", True),
        ("*a", "ba", True),
        ("a*a", "a", False),
        ("*.example.com", "x.example.com", True),
        ("*.example.com", "example.com", False),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c", False),
        ("a*b*c", "b-b-c", False),
        ("a?[b]", "a?[b]", True),
    ],
)
def test_a_glob(pattern: str, text: str, matches: bool) -> None:
    assert compile_glob(pattern)(text) is matches


@given(st.text("ab*", max_size=12), st.text("ab", max_size=12))
def test_a_glob_is_the_regular_expression_it_stands_for(pattern: str, text: str) -> None:
    expected = re.fullmatch(pattern.replace("*", ".*"), text) is not None
    assert compile_glob(pattern)(text) is expected
