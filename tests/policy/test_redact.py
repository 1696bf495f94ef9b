"""What is blotted out of everything that is written down."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.policy.json_text import TooDeep
from wsproxy.policy.redact import Redactor, compile_redactor

KEY = b"k" * 32


def redactor(
    *,
    headers: Sequence[str] = (),
    paths: Sequence[str] = (),
    patterns: Sequence[str] = (),
    query: Sequence[str] | None = None,
) -> Redactor:
    return compile_redactor(headers, paths, patterns=patterns, query=query, key=KEY)


def mark(secret: str) -> str:
    return f"<redacted:{hmac.new(KEY, secret.encode(), hashlib.sha256).hexdigest()[:8]}>"


def test_fields_are_found_in_any_case_and_keep_their_names() -> None:
    fields = [("AUTHORIZATION", "a"), ("Host", "h"), ("authorization", "a"), ("Cookie", "c")]
    assert redactor(headers=["Authorization", "cookie"]).headers(fields) == [
        ("AUTHORIZATION", mark("a")),
        ("Host", "h"),
        ("authorization", mark("a")),
        ("Cookie", mark("c")),
    ]


@pytest.mark.parametrize(
    ("query", "url", "redacted"),
    [
        (None, "ws://h/p", "ws://h/p"),
        (None, "/p?", "/p?"),
        (None, "/p?a=1&b=2", f"/p?a={mark('1')}&b={mark('2')}"),
        (None, "/p?a=&b", f"/p?a=&{mark('b')}"),
        (None, "/p?a=1;b=2", f"/p?a={mark('1')};b={mark('2')}"),
        (None, "/p?a=x=y?z", f"/p?a={mark('x=y?z')}"),
        (None, "/p?a=%41+b", f"/p?a={mark('A b')}"),
        (None, "/p#token=1?x", f"/p#{mark('token=1?x')}"),
        (None, "ws://u:p@h/?a=1", f"ws://{mark('u:p')}@h/?a={mark('1')}"),
        (None, "ws://h/u@p", "ws://h/u@p"),
        (["token"], "/p?token=1&b=2", f"/p?token={mark('1')}&b=2"),
        (["token"], "/p?t%6Fken=1&b=2", f"/p?t%6Fken={mark('1')}&b=2"),
        (["token"], "/p?b=2;token=1", f"/p?b=2;token={mark('1')}"),
        (["token"], "/p?token&Token=x", "/p?token&Token=x"),
        ([], "/p?token=1&b", "/p?token=1&b"),
    ],
)
def test_a_url(query: list[str] | None, url: str, redacted: str) -> None:
    assert redactor(query=query).url(url) == redacted


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("hello", "hello"),
        ('{"a": 1}', '{"a": 1}'),
        ('{"pin": "12", "a": 1}', f'{{"pin":"{mark("12")}","a":1}}'),
        ('{"pin":12}', f'{{"pin":"{mark("12")}"}}'),
        ('{"pin":{"a":[1, 2]}}', '{"pin":"' + mark('{"a":[1,2]}') + '"}'),
        ('{"p\\u0069n":"12"}', f'{{"pin":"{mark("12")}"}}'),
        ('{"pin":"\\ud800"}', None),
        ('{"pin":"12","pin":"34"}', f'{{"pin":"{mark("34")}"}}'),
        ('{"x":{"pin":"12"},"x":1}', '{"x":1}'),
        ('42["login",{"pin":"12"}]', f'42["login",{{"pin":"{mark("12")}"}}]'),
        (
            '{"pin":"1"}\x1e{"pin":"2"}\x1e',
            f'{{"pin":"{mark("1")}"}}\x1e{{"pin":"{mark("2")}"}}\x1e',
        ),
        ('{"pin":"1"}\x1e{"pin":"2', f'{{"pin":"{mark("1")}"}}\x1e{{"pin":"{mark(chr(34) + "2")}'),
        ('"pin":"1" {"a":1}', f'"pin":"{mark("1")}" {{"a":1}}'),
        ('{"a":"b","pin":"1', f'{{"a":"b","pin":"{mark(chr(34) + "1")}'),
        ('{"pin":1}{"a":2}', f'{{"pin":"{mark("1")}"}}{{"a":2}}'),
    ],
)
def test_members_at_paths(text: str, redacted: str | None) -> None:
    found = redactor(paths=["$..pin"]).text(text)
    if redacted is None:
        assert re.fullmatch(r'\{"pin":"<redacted:[0-9a-f]{8}>"\}', found)
    else:
        assert found == redacted


def test_only_what_a_path_leads_to() -> None:
    text = '{"user":{"pin":"1"},"pin":"2"}'
    assert (
        redactor(paths=["$.user.pin"]).text(text) == f'{{"user":{{"pin":"{mark("1")}"}},"pin":"2"}}'
    )


@pytest.mark.parametrize(
    ("path", "text", "redacted"),
    [
        ("$", "hello", mark("hello")),
        ("$", "5", mark("5")),
        ("$[1]", '42["a","b"]', f'42["a","{mark("b")}"]'),
        ("$[1]", "hello", "hello"),
        ("$[1]", '42["a","b', f"42{mark(chr(91) + chr(34) + 'a' + chr(34) + ',' + chr(34) + 'b')}"),
        ("$.*", '{"x":{"s":1},"x":2}', f'{{"x":"{mark("2")}"}}'),
        ("$.a[0]", '{"a":["s"', f'{{"a":"{mark(chr(91) + chr(34) + "s" + chr(34))}"'),
    ],
)
def test_paths_without_a_name_at_the_end(path: str, text: str, redacted: str) -> None:
    assert redactor(paths=[path]).text(text) == redacted


def test_a_value_too_deep_to_be_written_is_gone_all_the_same() -> None:
    for depth in (300, 600, 900, 5000):
        text = '{"pin":' + "[" * depth + '"secret"' + "]" * depth + "}"
        assert "secret" not in redactor(paths=["$.pin"]).text(text)
        assert "secret" not in redactor(paths=["$..*"]).text(text)


def test_a_value_that_cannot_be_written_is_gone_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(value: object) -> str:
        raise TooDeep("nested too deeply")

    # Whether this happens depends on how much of the stack is in use.
    monkeypatch.setattr("wsproxy.policy.redact.dump_json", fail)
    assert redactor(paths=["$.pin"]).text('{"pin":[1]}') == f'{{"pin":"{mark("")}"}}'


@pytest.mark.parametrize(
    ("patterns", "text", "redacted"),
    [
        ([r"\d{4}"], "a 1234 é 1234", f"a {mark('1234')} é {mark('1234')}"),
        ([r"\d{4}"], "a 123", "a 123"),
        (["abc", "bcd"], "xabcdx", f"x{mark('abcd')}x"),
        (["AB12"], r'{"a":"\u0041B12"}', f'{{"a":"{mark("AB12")}"}}'),
        (["AB12"], r'{"a":"\u0041"}', r'{"a":"\u0041"}'),
        (["AB12"], r'AB12 "\u0041B12"', None),
        ([r"\b"], "a b", "a b"),
        (["x"], "x\ud800", f"{mark('x')}?"),
    ],
)
def test_patterns_in_texts(patterns: list[str], text: str, redacted: str | None) -> None:
    found = redactor(patterns=patterns).text(text)
    if redacted is None:
        assert "B12" not in found
    else:
        assert found == redacted


def test_members_come_before_patterns() -> None:
    both = redactor(paths=["$.pin"], patterns=["é+"])
    assert both.text('{"pin":"1","a":"é"}') == f'{{"pin":"{mark("1")}","a":"{mark("é")}"}}'


@pytest.mark.parametrize(
    ("patterns", "data", "redacted"),
    [
        ([], b"abc", None),
        (["x"], b"abc", None),
        (["b"], b"\xffabc\xff", b"\xffa%sc\xff" % mark("b").encode()),
        (["b", "bc"], b"abc", b"a%s" % mark("bc").encode()),
        ([r"\b"], b"abc", None),
    ],
)
def test_binary(patterns: list[str], data: bytes, redacted: bytes | None) -> None:
    assert redactor(patterns=patterns).binary(data) == redacted


def test_it_knows_whether_it_touches_text() -> None:
    assert redactor(headers=["a"]).touches_text is False
    assert redactor(headers=["a"]).text('{"a":1}') == '{"a":1}'
    assert redactor(paths=["$.a"]).touches_text is True
    assert redactor(patterns=["a"]).touches_text is True


def test_its_representation_does_not_tell_the_key() -> None:
    assert KEY.decode() not in repr(redactor())


@pytest.mark.parametrize(
    ("paths", "patterns", "sentence"),
    [
        (["a"], [], "'a' is not a path into JSON: it starts with '$'"),
        ([], ["("], "'(' is not an RE2 pattern: missing ): ("),
        ([], ["a?"], "'a?' matches the empty text, so it would match everywhere"),
    ],
)
def test_what_cannot_be_used_is_an_error(
    paths: list[str], patterns: list[str], sentence: str
) -> None:
    with pytest.raises(ValueError) as error:
        redactor(paths=paths, patterns=patterns)
    assert str(error.value) == sentence


# Only secrets have a letter of these; whatever is left of them shows.
SECRETS = st.text("SECRT", min_size=1, max_size=8)
SECRET_VALUES = st.recursive(
    SECRETS,
    lambda inner: st.lists(inner, min_size=1) | st.dictionaries(SECRETS, inner, min_size=1),
    max_leaves=4,
)
HARMLESS = st.recursive(
    st.none() | st.integers() | st.text('ab "\\\n\x1eé😀{}[]:,', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab"', max_size=3), inner),
    max_leaves=6,
)
PREFIXES = st.sampled_from(["", "42", "42/admin,7", "send\nx:y\n\n", '5" '])
LAYOUTS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")])


@st.composite
def messages(draw: st.DrawFn) -> str:
    """JSON with secrets at `PATHS`, in any spelling, framed and cut anywhere."""
    value = {"a": draw(HARMLESS), "pin": draw(SECRET_VALUES), "user": {"k": draw(HARMLESS)}}
    value["user"] = {**value["user"], "word": draw(SECRET_VALUES), "z": draw(HARMLESS)}
    text = json.dumps(value, ensure_ascii=draw(st.booleans()), separators=draw(LAYOUTS))
    if draw(st.booleans()):
        text = text.replace('"pin"', '"\\u0070in"').replace('"word"', '"w\\u006Frd"')
    text = draw(PREFIXES) + text
    if draw(st.booleans()):
        text = f"{text}\x1e{text}\x1e"
    return text[: draw(st.integers(0, len(text)))]


@given(messages())
def test_no_secret_survives_whatever_the_cut(text: str) -> None:
    redacted = redactor(paths=["$..pin", "$..user.word"]).text(text)
    assert not set("SECRT") & set(redacted)


@given(messages(), st.sampled_from(["$..*", "$.*", "$"]))
def test_no_secret_survives_paths_without_names(text: str, path: str) -> None:
    if "\x1e" in text or text.startswith('5"'):
        return  # other records, and brackets in them
    redacted = redactor(paths=[path, "$..pin"]).text(text)
    assert not set("SECRT") & set(redacted)
