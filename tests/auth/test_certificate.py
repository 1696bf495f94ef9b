"""Whose a certificate is, when TLS has verified it already."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from wsproxy.auth import Authenticator
from wsproxy.auth.certificate import CertificateAuthenticator, UserFrom
from wsproxy.auth.proof import Proof
from wsproxy.errors import AuthRequired
from wsproxy.model import Certificate, Identity

_guard: type[Authenticator] = CertificateAuthenticator

NOW = 1_000.0
ALICE = Certificate(
    subject=(
        ("organizationName", "Corp"),
        ("organizationalUnitName", "desk"),
        ("organizationalUnitName", "night"),
        ("commonName", "alice"),
    ),
    alternatives=(
        ("email", "alice@corp.example"),
        ("DNS", "laptop7.corp.example"),
        ("URI", "spiffe://corp.example/desk/alice"),
        ("IP Address", "192.0.2.7"),
    ),
    issuer=("Corp", "the CA"),
    serial=7,
    expires_at=NOW + 60,
)


def method_of(**settings: Any) -> CertificateAuthenticator:
    return CertificateAuthenticator(**settings, clock=lambda: NOW)


def proof(certificate: Certificate | None) -> Proof:
    return Proof(b"", certificate=certificate)


@pytest.mark.parametrize(
    ("user_from", "user"),
    [
        ("cn", "alice"),
        ("email", "alice@corp.example"),
        ("dns", "laptop7.corp.example"),
        ("uri", "spiffe://corp.example/desk/alice"),
    ],
)
async def test_the_configured_name_is_the_user_and_the_units_are_groups(
    user_from: UserFrom, user: str
) -> None:
    method = method_of(user_from=user_from)
    expected = Identity(user, frozenset({"desk", "night"}))
    assert method.authenticate_nowait(proof(ALICE)) == expected
    assert await method.authenticate(proof(ALICE)) == expected


def test_groups_may_be_told_by_the_configuration_instead() -> None:
    groups = {"desk": [str.islower], "others": ["bob".__eq__], "all": [lambda _user: True]}
    method = method_of(groups=groups)
    assert method.authenticate_nowait(proof(ALICE)).groups == {"desk", "all"}
    assert method_of(groups={}).authenticate_nowait(proof(ALICE)).groups == set()


@pytest.mark.parametrize(
    ("user_from", "certificate", "detail"),
    [
        ("cn", None, "a client certificate is required"),
        ("cn", Certificate(), "the client's certificate has no common name"),
        ("uri", Certificate((("commonName", "a"),)), "the client's certificate has no URI"),
        (
            "cn",
            Certificate((("commonName", "alice"), ("commonName", "root"))),
            "the client's certificate has more than one common name",
        ),
        (
            "email",
            Certificate((), (("email", "a@b"), ("email", "c@d"))),
            "the client's certificate has more than one e-mail address",
        ),
        ("cn", Certificate((("commonName", ""),)), "names nobody"),
        ("cn", Certificate((("commonName", "alice\0.evil"),)), "names nobody"),
        ("cn", Certificate((("commonName", "alice\nroot"),)), "names nobody"),
        ("dns", Certificate((), (("DNS", "x" * 256),)), "names nobody"),
    ],
)
async def test_a_certificate_that_does_not_name_one_user_is_nobodys(
    user_from: UserFrom, certificate: Certificate | None, detail: str
) -> None:
    method = method_of(user_from=user_from)
    with pytest.raises(AuthRequired, match=detail):
        await method.authenticate(proof(certificate))


def test_units_that_cannot_be_groups_are_left_out() -> None:
    odd = [("organizationalUnitName", unit) for unit in ("", "a\tb", "desk")]
    certificate = Certificate((*odd, ("commonName", "alice")))
    identity = method_of().authenticate_nowait(proof(certificate))
    assert identity.groups == {"desk"}


def test_there_is_no_challenge() -> None:
    assert method_of().challenges(0.0, refusal=AuthRequired("wrong")) == []


@pytest.mark.parametrize("late_s", [0.0, 0.1])
def test_a_certificate_ends_for_whoever_is_connected_too(late_s: float) -> None:
    certificate = replace(ALICE, expires_at=NOW - late_s)
    with pytest.raises(AuthRequired, match="the client's certificate has expired"):
        method_of().authenticate_nowait(proof(certificate))
    assert method_of().authenticate_nowait(proof(ALICE)).expires_at == NOW + 60


def test_a_revoked_certificate_is_worth_nothing_any_more() -> None:
    before = method_of().authenticate_nowait(proof(ALICE))
    method = method_of(revoked=[(("Corp", "the CA"), 7)])
    with pytest.raises(AuthRequired, match="the client's certificate is revoked"):
        method.authenticate_nowait(proof(ALICE))
    assert method.review(before) is None
    # Another's, with a number that is the same.
    others = method_of(revoked=[(("Corp", "another CA"), 7), (("Corp", "the CA"), 8)])
    assert others.review(before) == before
    assert others.authenticate_nowait(proof(ALICE)) == before


def test_whoever_is_connected_is_in_the_groups_of_now() -> None:
    before = method_of(groups={"desk": [str.islower]}).authenticate_nowait(proof(ALICE))
    after = method_of(groups={"night": [str.islower]}).review(before)
    assert after == Identity("alice", frozenset({"night"}))
    by_unit = method_of().authenticate_nowait(proof(ALICE))
    assert method_of().review(by_unit) == by_unit


def test_a_proof_that_is_read_in_another_way_now_is_none() -> None:
    identity = method_of().authenticate_nowait(proof(ALICE))
    assert method_of(user_from="uri").review(identity) is None
    assert method_of(groups={}).review(identity) is None
    assert method_of().review(Identity("alice", method="basic")) is None
