"""Named members in what is not quite JSON."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.policy.json_scan import MemberScan, compile_scan


def scan(*names: str) -> MemberScan:
    compiled = compile_scan(names)
    assert compiled is not None
    return compiled


def blot(text: str, *names: str) -> str:
    return scan(*names or ("pin",)).blot(text, lambda value: f"<{type(value).__name__}>")


@pytest.mark.parametrize(
    ("text", "blotted"),
    [
        ("hello", "hello"),
        ('{"pin":"12', '{"pin":"<str>'),
        ('{"pin":"12"', '{"pin":"<str>"'),
        ('{"pin":"', '{"pin":"<str>'),
        ('{"pin":"1\\', '{"pin":"<str>'),
        ('{"pin":"1\\"2","a":"b', '{"pin":"<str>","a":"b'),
        ('{"pin":"1\\\\","a":"b', '{"pin":"<str>","a":"b'),
        ('{"pin" : \n12,"a', '{"pin" : \n"<int>","a'),
        ('{"pin":12', '{"pin":"<int>"'),
        ('{"pin":tru', '{"pin":"<str>"'),
        ('{"pin":', '{"pin":'),
        ('{"pin":,', '{"pin":,'),
        ('{"pin"', '{"pin"'),
        ('{"pi', '{"pi'),
        ('{"pin":{"a":"}"},"b":[', '{"pin":"<dict>","b":['),
        ('{"pin":[1,[2],"]","a":1', '{"pin":"<str>"'),
        ('{"pin":{"a":"x\\', '{"pin":"<str>"'),
        ('{"pin":[{}],"pin":"x', '{"pin":"<list>","pin":"<str>'),
        ('["pin","x', '["pin","x'),
        ('{"pinned":"x","a":"pin', '{"pinned":"x","a":"pin'),
        ('{"p\\u0069n":"x', '{"p\\u0069n":"<str>'),
        ('{"\\u0070\\u0069\\u006E":"x', '{"\\u0070\\u0069\\u006E":"<str>'),
        ('it is 5" long {"pin":"x', 'it is 5" long {"pin":"<str>'),
        ('{"s":"{\\"pin\\":\\"x\\",\\"a\\":1}', '{"s":"{\\"pin\\":\\"<str>\\",\\"a\\":1}'),
        ('{"s":"{\\"pin\\":\\"x\\\\\\"y\\",1', '{"s":"{\\"pin\\":\\"<str>\\",1'),
        ('{"s":"{\\"pin\\":\\"x","a":1', '{"s":"{\\"pin\\":\\"<str>","a":1'),
        ('{"s":"{\\"pin\\":12}"', '{"s":"{\\"pin\\":"<int>"}"'),
        ('{"pin":1}{"pin":2}\n{"pin":"3"}', '{"pin":"<int>"}{"pin":"<int>"}\n{"pin":"<str>"}'),
    ],
)
def test_what_is_blotted_out(text: str, blotted: str) -> None:
    assert blot(text) == blotted
    assert blot(text, "other") == text


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a/b", "a\nb", "é", "😀", "a.b(", "\x01"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_every_spelling_of_a_name(name: str, ascii_only: bool) -> None:
    text = json.dumps({name: "secret"}, ensure_ascii=ascii_only)
    assert "secret" not in blot(text, name)
    assert "secret" not in blot(text.replace("/", "\\/"), name)
    assert "secret" not in blot(json.dumps({"inner": text}, ensure_ascii=ascii_only), name)


def test_it_says_whether_it_may_find_anything() -> None:
    assert scan("pin").may_find('{"pin":1}') is True
    assert scan("pin").may_find('{"p\\u0069n" :1') is True
    assert scan("pin").may_find('["pin"]') is False
    assert compile_scan([]) is None


@pytest.mark.parametrize(
    "text",
    [
        "\\" * 200_000,
        '"' + "\\" * 200_000,
        '"pin":"' + "\\" * 200_000,
        '"pin":{' + '"\\' * 100_000,
        '"pin":' * 30_000,
        '"pin"' + " " * 200_000,
        '"pin":"\\"' * 20_000,
        "[" * 200_000,
    ],
)
def test_hostile_texts_take_linear_time(text: str) -> None:
    start = time.process_time()
    blot(text)
    assert time.process_time() - start < 2.0


@given(st.text('{}[]",:\\u0pin 1', max_size=40))
def test_anything_goes_in(text: str) -> None:
    blot(text)
