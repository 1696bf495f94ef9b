"""The terms of filters."""

from __future__ import annotations

import pytest

from wsproxy.policy.filter_terms import FIELDS, compile_json_term, compile_term, contains

MESSAGE: dict[str, object] = {
    "event": "message", "session": "abcdef", "host": "www.example.com", "user": "alice",
    "number": 3, "direction": "client", "opcode": "text", "size": 2048, "wire": 512,
    "fragments": 1, "text": '42["Login",{"id":1,"ok":true,"tags":["a","b"]}]', "ratio": 4.0,
    "label": "socket.io", "answer_ms": 12.5,
    "verdicts": [{"rule": "card-number", "action": "close", "mode": "report"}, "odd"],
}  # fmt: skip
OPEN: dict[str, object] = {
    "event": "open", "session": "abcdef", "client": "10.1.2.3:555", "user": None, "port": 443,
    "url": "wss://www.example.com/chat", "rule": "desk", "mode": "log", "subprotocol": None,
}  # fmt: skip
CLOSE: dict[str, object] = {
    "event": "close", "code": 1006, "closed_by": "proxy", "reason": "policy", "bytes_up": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("term", "record", "matches"),
    [
        (("direction", ":", "client"), MESSAGE, True),
        (("direction", ":", "upstream"), MESSAGE, False),
        (("direction", ":", "client"), OPEN, False),
        (("opcode", ":", "text"), MESSAGE, True),
        (("event", ":", "open"), OPEN, True),
        (("mode", ":", "log"), OPEN, True),
        (("closed_by", ":", "proxy"), CLOSE, True),
        (("host", ":", "*.example.com"), MESSAGE, True),
        (("host", ":", "example.com"), MESSAGE, False),
        (("host", ":", "*"), CLOSE, False),
        (("user", ":", "alice"), MESSAGE, True),
        (("user", ":", "ali"), MESSAGE, False),
        (("user", ":", "*"), OPEN, False),
        (("session", ":", "abc"), MESSAGE, True),
        (("session", ":", "bcd"), MESSAGE, False),
        (("client", ":", "10.1."), OPEN, True),
        (("url", ":", "*/chat"), OPEN, True),
        (("label", ":", "socket.*"), MESSAGE, True),
        (("subprotocol", ":", "*"), OPEN, False),
        (("reason", ":", "policy"), CLOSE, True),
        (("rule", ":", "card-*"), MESSAGE, True),
        (("rule", ":", "desk"), OPEN, True),
        (("rule", ":", "desk"), MESSAGE, False),
        (("action", ":", "close"), MESSAGE, True),
        (("action", ":", "drop"), MESSAGE, False),
        (("action", ":", "*"), CLOSE, False),
        (("code", ":", "1006"), CLOSE, True),
        (("code", "=", "1000"), CLOSE, False),
        (("code", ">=", "1001"), CLOSE, True),
        (("code", ">=", "1001"), MESSAGE, False),
        (("size", ">", "1000"), MESSAGE, True),
        (("size", ">", "2KiB"), MESSAGE, False),
        (("size", ">=", "2KiB"), MESSAGE, True),
        (("size", "<=", "64KiB"), MESSAGE, True),
        (("size", "<", "2048B"), MESSAGE, False),
        (("size", ":", "2KiB"), MESSAGE, True),
        (("bytes_up", ":", "0"), CLOSE, True),
        (("answer_ms", ">", "12.4"), MESSAGE, True),
        (("ratio", "<", "4"), MESSAGE, False),
        (("text", ":", "lOGIN"), MESSAGE, True),
        (("text", ":", "logout"), MESSAGE, False),
        (("text", ":", "x"), OPEN, False),
        (("text", "~", r"\[\"L\w+n"), MESSAGE, True),
        (("text", "~", "login"), MESSAGE, False),
        (("text", "~", ".*"), OPEN, False),
        (("text", "~", "x"), {"text": "\ud800x"}, True),
        (("text", ":", "x"), {"text": 5}, False),
        (("size", ">", "1"), {"size": "5"}, False),
    ],
)
def test_a_term(term: tuple[str, str, str], record: dict[str, object], matches: bool) -> None:
    assert compile_term(*term)(record) is matches


@pytest.mark.parametrize(
    ("path", "value", "record", "matches"),
    [
        ("$[0]", "Log*", MESSAGE, True),
        ("$[0]", "log*", MESSAGE, False),
        ("$[1].id", None, MESSAGE, True),
        ("$[1].id", "1", MESSAGE, True),
        ("$[1].ok", "true", MESSAGE, True),
        ("$..tags[*]", "b", MESSAGE, True),
        ("$[1].none", None, MESSAGE, False),
        ("$.a", None, OPEN, False),
        ("$.a", None, {"text": "hello"}, False),
        ("$.a", "", {"text": '{"a":""}'}, True),
        ("$.a", "2", {"text": '{"a":1,"a":2}'}, True),
        ("$.a", "2", {"text": '{"a":1}\x1e{"a":2}\x1e'}, True),
    ],
)
def test_a_path(path: str, value: str | None, record: dict[str, object], matches: bool) -> None:
    assert compile_json_term(path, value)(record) is matches


def test_text_is_looked_for_in_any_case() -> None:
    assert contains("STRASSE")({"text": "in der Straße"}) is True


@pytest.mark.parametrize(
    ("term", "sentence"),
    [
        (("opkode", ":", "x"), "'opkode' is no field; did you mean 'opcode';"
         " text with ':' in it goes in quotes"),
        (("Size", ">", "1"), "'Size' is no field; did you mean 'size';"
         " text with '>' in it goes in quotes"),
        (("http", ":", "//x"), f"'http' is no field; known are {', '.join(FIELDS)};"
         " text with ':' in it goes in quotes"),
        (("host", "=", "x"), "'host' takes ':' and a value, not '='"),
        (("host", "~", "x"), "'host' takes ':' and a value, not '~'"),
        (("host", ":", ""), "there is no value behind 'host:'"),
        (("direction", ":", "up"), "direction: 'up' is none of client, upstream"),
        (("size", "~", "1"), "'size' takes one of : = > >= < <=, not '~'"),
        (("size", ">", "1k"), "size: '1k' is not a number such as 1000 or 64KiB"),
        (("size", ">", ""), "size: '' is not a number such as 1000 or 64KiB"),
        (("text", "~", "("), "'(' is not an RE2 pattern: missing ): ("),
        (("json", ":", "a"), "'a' is not a path into JSON: it starts with '$'"),
        (("json", ":", "$.a="), "json: write a path, or a path with '=' and a value;"
         " not '$.a='"),
    ],
)  # fmt: skip
def test_a_term_that_cannot_be_used_is_an_error(term: tuple[str, str, str], sentence: str) -> None:
    with pytest.raises(ValueError) as error:
        compile_term(*term)
    assert str(error.value) == sentence


def test_a_path_that_cannot_be_used_is_an_error() -> None:
    with pytest.raises(ValueError) as error:
        compile_json_term("$..a..b", None)
    assert str(error.value) == "'$..a..b': '..' can be used once"
