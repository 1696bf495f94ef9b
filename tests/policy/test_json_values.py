"""What a value in JSON is compared with."""

from __future__ import annotations

import pytest

from wsproxy.policy.json_values import JsonScalar, compile_value, value_text


@pytest.mark.parametrize(
    ("expected", "value", "matches"),
    [
        ("sub*", "subscribe", True),
        ("sub*", "unsubscribe", False),
        ("5", 5, True),
        ("true", True, True),
        ("null", None, True),
        ("*", {"a": 1}, True),
        ('{"a":*}', {"a": 1}, True),
        (5, 5, True),
        (5, 5.0, True),
        (5, "5", False),
        (1, True, False),
        (True, True, True),
        (True, 1, False),
        (False, None, False),
        (None, None, True),
        (None, False, False),
        (None, 0, False),
    ],
)
def test_a_value(expected: JsonScalar, value: object, matches: bool) -> None:
    assert compile_value(expected)(value) is matches


def test_a_value_that_is_nested_too_deep_has_no_text() -> None:
    value: object = 1
    for _ in range(5000):
        value = [value]
    assert value_text(value) == ""
    assert compile_value("*")(value) is True
