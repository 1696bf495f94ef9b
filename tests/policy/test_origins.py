"""Web origins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.policy.origins import compile_origins


@pytest.mark.parametrize(
    ("pattern", "origin", "matches"),
    [
        ("https://app.example.com", "https://app.example.com", True),
        ("https://app.example.com", "HTTPS://APP.example.COM", True),
        ("HTTPS://APP.example.com", "https://app.example.com", True),
        ("https://app.example.com", "https://app.example.com:443", True),
        ("https://app.example.com:443", "https://app.example.com", True),
        ("https://app.example.com", "https://app.example.com.", True),
        ("https://app.example.com", "http://app.example.com", False),
        ("https://app.example.com", "https://app.example.com:8443", False),
        ("https://app.example.com:8443", "https://app.example.com:8443", True),
        ("https://app.example.com", "https://app.example.com.evil.example", False),
        ("https://app.example.com", "null", False),
        ("https://*.example.com", "https://a.b.example.com", True),
        ("https://*.example.com", "https://example.com", False),
        ("https://*.example.com", "https://evilexample.com", False),
        ("https://*.example.com:444", "https://a.example.com:444", True),
        ("http://10.0.0.1:8080", "http://10.0.0.1:8080", True),
        ("http://[::1]", "http://[0:0::1]:80", True),
        ("http://localhost", "http://localhost", True),
        ("chrome-extension://abcdef", "chrome-extension://abcdef", True),
        ("chrome-extension://abcdef", "https://abcdef", False),
        ("null", "null", True),
        ("null", "https://null", False),
        ("*", "https://a.example", True),
        ("*", "null", True),
    ],
)
def test_an_origin(pattern: str, origin: str, matches: bool) -> None:
    patterns = compile_origins([pattern])
    assert patterns.match(origin, unreadable=True) is matches
    assert patterns.match(origin, unreadable=False) is matches


@pytest.mark.parametrize(
    "origin",
    [
        "", " ", "NULL", "a.example", "https://", "https://a.example/", "https://a.example/path",
        "https://a.example?x", "https://u@a.example", "https://a.example https://b.example",
        "https://a.example, https://b.example", "https://a.example:0", "https://a.example:65536",
        "https://a.example:", "https://a..example", "https://1.2.3", "https://é.example",
        "https://a.example\n", "//a.example", "https://%61.example", "https://[::1",
    ],
)  # fmt: skip
def test_an_unreadable_origin_meets_every_denial_and_no_permission(origin: str) -> None:
    for pattern in ("*", "null", "https://a.example"):
        assert compile_origins([pattern]).match(origin, unreadable=True) is True
        assert compile_origins([pattern]).match(origin, unreadable=False) is False


def test_several_patterns_are_alternatives() -> None:
    patterns = compile_origins(["https://a.example", "https://*.b.example", "http://c.example"])
    origins = ["https://a.example", "https://x.b.example", "http://c.example", "https://c.example"]
    assert [patterns.match(one, unreadable=False) for one in origins] == [True, True, True, False]


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        (1, "1 is not an origin; write it in quotes"),
        ("a.example", "'a.example' is not an origin: it has a scheme, as in 'https://a.example'"),
        ("https://a.example/", "'https://a.example/': an origin has no path;"
         " write 'https://a.example'"),
        ("https://a.example?x", "'https://a.example?x': an origin has no path;"
         " write 'https://a.example'"),
        ("https:///x", "'https:///x' is not an origin such as 'https://app.example.com'"),
        ("https://u@a", "'https://u@a' is not an origin such as 'https://app.example.com'"),
        ("https://a:x", "'https://a:x' is not an origin such as 'https://app.example.com'"),
        ("https://a:0", "'https://a:0': a port is from 1 to 65535"),
        ("https://*", "'https://*': '*' is for subdomains, as in 'https://*.example.com'"),
        ("https://a.*.b", "'https://a.*.b': '*' is for subdomains, as in 'https://*.example.com'"),
        ("https://*.1", "'*.1' is no pattern for addresses; write a network: '10.0.0.0/8'"),
        ("https://é", "'https://é' is not an origin:"
         " host is not ASCII; write it as A-labels (xn--…)"),
    ],
)  # fmt: skip
def test_a_pattern_no_origin_matches_is_an_error(pattern: str | int, sentence: str) -> None:
    with pytest.raises(ValueError) as error:
        compile_origins([pattern])
    assert str(error.value) == sentence


@given(st.text("htps:/.a*[]@?#019", max_size=16))
def test_a_pattern_compiles_or_is_a_value_error(text: str) -> None:
    compile_origins(["https://a"]).match(text, unreadable=False)
    try:
        compile_origins([text])
    except ValueError:
        pass
