"""Path patterns, and the spellings that must not get around them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.policy.paths import compile_paths, readings


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/", "/", True),
        ("/", "/a", False),
        ("/a", "/a?x=/b", True),
        ("/a", "/a/", False),
        ("/a/*", "/a/", True),
        ("/a/*", "/a/b/c", True),
        ("/a/*", "/a", False),
        ("/a*", "/abc", True),
        ("*", "/anything", True),
        ("*", "*", True),
        ("*.exe", "/x/setup.exe", True),
        ("*.exe", "/x/setup.exe?v=1", True),
        ("*.exe", "/x/setup.exe.txt", False),
        ("*.exe", "/x?setup.exe", False),
        ("/a/*/z", "/a/b/c/z", True),
        ("/a/*/z", "/a/z", False),
        ("/a*a", "/a", False),
        ("/a*a", "/aa", True),
        ("/*b*c*d", "/abbccdd", True),
        ("/*b*c*d", "/adcb", False),
        ("/*ab*ab", "/ab", False),
        ("/*ab*ab", "/abab", True),
        ("/*ab*ab*", "/ab", False),
        ("/*ab*ab*", "/abab", True),
        ("/A", "/a", False),
        ("/my docs/*", "/my%20docs/x", True),
        ("/é/*", "/%C3%a9/x", True),
        ("/%61", "/%2561", None),
        ("/100%/x", "/100%25/x", True),
        ("/.hidden/*", "/.hidden/x", True),
        ("/v1/*", "/%76%31/x", True),
    ],
)
def test_a_path_with_one_meaning(pattern: str, path: str, matches: bool | None) -> None:
    if matches is None:
        with pytest.raises(ValueError):
            compile_paths([pattern])
        return
    patterns = compile_paths([pattern])
    assert len(readings(path)) == 1
    assert (patterns.match_any(path), patterns.match_every(path)) == (matches, matches)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/b?c", ("/a/b",)),
        ("/a%2Fb", ("/a%2fb", "/a/b")),
        ("/a%2f%2fb", ("/a%2f%2fb", "/a//b", "/a/b")),
        ("//a", ("//a", "/a")),
        ("/a;v=1/b", ("/a;v=1/b", "/a/b")),
        ("/a%3Bv=1/b", ("/a;v=1/b", "/a/b")),
        ("/%2541", ("/%41", "/A")),
        ("/a%20b", ("/a b",)),
    ],
)
def test_the_readings_of_a_path(path: str, expected: tuple[str, ...]) -> None:
    assert readings(path) == tuple(reading.encode() for reading in expected)


@pytest.mark.parametrize(
    "path",
    [
        "/a/../b", "/a/./b", "/..", "/.", "/a/..", "/a/%2e%2e/b", "/a/%2E./b", "/a/.%2e/b",
        "/a/%252e%252e/b", "/a/..%2fb", "/a/..%5cb", "/a\\..\\b", "/a%5cb", "/a/..;x=1/b",
        "/a/%2e%2e;x/b", "/a%00", "/a%0ab", "/a%0d", "/a%7f", "/%", "/%zz", "/%u002e", "/%c0%ae",
        "/%ff", "/%25252541", "/;x/admin//y", "/;x/admin", "/;%2fx/admin", "/a%252fb", "/a;x%2fb",
        "//a;x", "/%2541;x", "/%253Bx%2fy",
    ],
)  # fmt: skip
def test_an_unreadable_path_meets_every_denial_and_no_permission(path: str) -> None:
    patterns = compile_paths(["/nowhere", "*"])
    assert readings(path) == ()
    assert patterns.match_any(path) is True
    assert compile_paths(["/nowhere"]).match_any(path) is True
    assert patterns.match_every(path) is False


@pytest.mark.parametrize(
    "path",
    [
        "/admin/x", "/%61dmin/x", "/admin%2fx", "/admin%2Fx", "//admin/x", "/%2fadmin/x",
        "/admin//x", "/admin;v/x", "/admin;/x", "/admin%3b/x", "/%2561dmin/x", "/admin%252fx",
        "/./admin/x", "/x/../admin/x", "/x/%2e%2e/admin/x", "/x/..;/admin/x", "\\admin\\x",
        "/admin\\x", "/admin%5cx", "/;x/admin/x", "/admin/..%2fx", "/x%2f..%2fadmin/x",
        "/x%2f..%2fadmin/%252e%252e/%252e%252e/z", "/admin/%252e%252e/%252e%252e/x",
        "/%252fadmin/x", "/%2fadmin;x/y", "/;%2fx/admin/y", "/admin/x%00", "/admin/%ff",
    ],
)  # fmt: skip
def test_no_spelling_gets_around_a_denied_path(path: str) -> None:
    assert compile_paths(["/admin/*"]).match_any(path) is True


@pytest.mark.parametrize(
    "path",
    [
        "/public/../admin", "/public/%2e%2e/admin", "/public/..;/admin", "/public/..%2fadmin",
        "/public/%252e%252e/admin", "/public/..%5cadmin", "/public%2fx", "//public/x",
        "/public;x/y", "/public/.", "/public/\\..\\..\\admin", "/public%252fx", "/publicity",
    ],
)  # fmt: skip
def test_no_spelling_widens_an_allowed_path(path: str) -> None:
    assert compile_paths(["/public/*"]).match_every(path) is False


def test_an_encoded_slash_within_the_allowed_part_is_fine() -> None:
    patterns = compile_paths(["/@scope*"])
    assert patterns.match_every("/@scope%2fname") is True
    assert patterns.match_every("/@scope/name") is True


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("admin/*", "'admin/*' is not a path pattern: it starts with '/' or '*'"),
        ("", "'' is not a path pattern: it starts with '/' or '*'"),
        ("/a?x", "'/a?x': rules see the path only; leave out '?' and what follows"),
        ("/a;x", "'/a;x': path parameters cannot be matched; leave out ';…'"),
        ("/a%20b", "'/a%20b' is not in normal form; write it decoded: '/a b'"),
        ("//a", "'//a': '//', '\\', '.' and '..' segments never match a path"),
        ("/a\\b", "'/a\\\\b': '//', '\\', '.' and '..' segments never match a path"),
        ("/a/../b", "'/a/../b': '//', '\\', '.' and '..' segments never match a path"),
        ("/./a", "'/./a': '//', '\\', '.' and '..' segments never match a path"),
        (1, "1 is not a path pattern; write it in quotes"),
    ],
)
def test_a_pattern_that_cannot_match_is_an_error(pattern: str | int, sentence: str) -> None:
    with pytest.raises(ValueError) as error:
        compile_paths([pattern])
    assert str(error.value) == sentence


WIRE_PATHS = st.text("aA/.;%25fFeE\\c", max_size=30).map(lambda text: "/" + text)


@given(st.text("ab/*", max_size=12), st.text("ab/", max_size=12))
def test_a_glob_is_what_a_regular_expression_says(pattern: str, path: str) -> None:
    import re

    pattern, path = "/" + pattern.replace("//", "/").replace("//", "/").lstrip("/"), "/" + path
    if "//" in pattern or "//" in path:
        return
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), path) is not None
    assert compile_paths([pattern]).match_any(path) is expected


@given(WIRE_PATHS, st.sampled_from(["/a/*", "/A", "*e", "/*f", "*"]))
def test_what_is_allowed_would_also_be_denied(path: str, pattern: str) -> None:
    patterns = compile_paths([pattern])
    if patterns.match_every(path):
        assert patterns.match_any(path)


@given(st.text(st.characters(max_codepoint=255), max_size=30))
def test_any_path_is_read_without_an_exception(path: str) -> None:
    for reading in readings(path):
        reading.decode("utf-8")
