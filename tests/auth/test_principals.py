"""Principals: which user each one stands for, if any."""

from __future__ import annotations

import pytest

from wsproxy.auth.principals import identity_of
from wsproxy.errors import AuthRequired
from wsproxy.model import Identity


@pytest.mark.parametrize(
    ("principal", "strip_realms", "user"),
    [
        ("alice@A", ["A"], "alice"),
        ("alice@A", ["B"], "alice@A"),
        ("alice@A", [], "alice@A"),
        ("alice/admin@A", ["A"], "alice/admin"),
        ("PC1$@A", ["A"], "PC1$"),
        ("jürgen@A", ["A"], "jürgen"),
        (r"alice\@B@A", ["A"], r"alice\@B"),  # never mistaken for alice@B
        (r"alice\\@A", ["A"], r"alice\\"),
    ],
)
def test_the_name_of_a_principal(principal: str, strip_realms: list[str], user: str) -> None:
    got = identity_of(principal.encode(), realms=["A"], strip_realms=strip_realms)
    assert got == Identity(user)


@pytest.mark.parametrize(
    "principal",
    [
        b"alice@B",
        b"alice@a",
        b"alice",
        b"@A",
        b"alice@",
        rb"alice\@A",
        b"alice@B@A",
        b"al\x00ice@A",
        b"al\nice@A",
        b"al\x7fice@A",
        b"jos\xe9@A",
        b"WELLKNOWN/ANONYMOUS@A",
        b"",
    ],
)
def test_no_name_of_a_principal(principal: bytes) -> None:
    with pytest.raises(AuthRequired):
        identity_of(principal, realms=["A"], strip_realms=["A"])
