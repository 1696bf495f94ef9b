"""Tokens as the password of Basic credentials, from clients that know no other scheme."""

from __future__ import annotations

from wsproxy.auth.basic import basic_challenge, parse_basic
from wsproxy.auth.bearer import BearerAuthenticator, sniff_token
from wsproxy.auth.proof import Proof
from wsproxy.errors import AuthRequired
from wsproxy.model import Identity

__all__ = ["TokenPasswords"]

MAX_CREDENTIALS_BYTES = 24 * 1024
"""Base64 of a token of 16 KiB, and a name."""


class TokenPasswords:
    """Proves users by tokens in Basic credentials.

    The user name beside it is empty, or the one the token proves.

    Args:
        bearer: reads the tokens.
        realm: for the challenge; without control characters.
    """

    scheme = "Basic"

    def __init__(self, bearer: BearerAuthenticator, *, realm: str) -> None:
        self._bearer = bearer
        self._challenge = basic_challenge(realm)

    def challenges(self, now: float, *, refusal: AuthRequired | None = None) -> list[bytes]:
        """The same as of other Basic methods, at any time."""
        return [self._challenge]

    def authenticate_nowait(self, proof: Proof) -> Identity | None:
        """See `wsproxy.auth.Authenticator`."""
        user, token = _read(proof)
        return self._bearer.authenticate_password_nowait(token, user=user, now=proof.now)

    async def authenticate(self, proof: Proof) -> Identity:
        """See `wsproxy.auth.Authenticator`."""
        user, token = _read(proof)
        return await self._bearer.authenticate_password(token, user=user, now=proof.now)

    def review(self, identity: Identity) -> Identity | None:
        """See `wsproxy.auth.Authenticator`."""
        return self._bearer.review(identity)


def _read(proof: Proof) -> tuple[str, bytes]:
    user, password = parse_basic(proof.credentials, max_bytes=MAX_CREDENTIALS_BYTES)
    if not sniff_token(password):
        raise AuthRequired("wrong user name or password")
    return user, password
