"""The package offers its methods by name, each behind the one Protocol."""

from __future__ import annotations

from wsproxy import auth


def test_each_method_is_found_by_its_scheme_in_lower_case() -> None:
    assert dict(auth.AUTHENTICATORS) == {"basic": auth.BasicAuthenticator}
    users = auth.Users({}, typical_hash="none")
    for name, method in auth.AUTHENTICATORS.items():
        authenticator: auth.Authenticator = method(users, realm="r")
        assert authenticator.scheme.lower() == name
        assert authenticator.challenge().startswith(authenticator.scheme.encode() + b" ")
