"""Basic credentials (RFC 7617) checked against a users file.

Theory of operation.  The same credentials arrive with every request (RFC 9110
§16.4.2: authentication is per request), and a password hash is slow on purpose.
So an answer is remembered: a good one 5 minutes, a bad one 10 seconds, under a
keyed BLAKE2b (RFC 7693) of the credentials as they are sent, with a random key of this
object's own.  No password is kept, and the digests are worth nothing outside this
process.  Who is remembered is not decoded again: each new connection of a busy proxy
asks, and HMAC-SHA-256 of name and password cost three times as much.

Good and bad answers live in separate caches: no number of guesses evicts a
logged-in user.  An authenticator belongs to one `Users` snapshot; a changed file
means a new authenticator, whose caches are empty.

An unknown user costs one verification against a hash of the file's usual cost,
the same text is answered, and the same caches are used, so neither clock nor
words tell who exists.  The comparison of password hashes is the libraries', in
constant time; a look-up by a digest that nobody outside can compute tells nothing.
"""

from __future__ import annotations

import binascii
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b

from wsproxy.auth import passwords
from wsproxy.auth.cache import ExpiringCache
from wsproxy.auth.proof import Proof
from wsproxy.auth.users_file import Users, same_user
from wsproxy.auth.verification import Verifications, VerificationStatistics
from wsproxy.errors import AuthRequired
from wsproxy.model import Identity

__all__ = [
    "MAX_CREDENTIALS_BYTES",
    "BasicAuthenticator",
    "BasicBounds",
    "RememberedAnswers",
    "basic_challenge",
    "parse_authorization",
    "parse_basic",
]

MAX_CREDENTIALS_BYTES = 4 * 1024
"""Longest base64 taken: 3 KiB of name and password, far beyond what people type."""

_WRONG = "wrong user name or password"

# RFC 9110 §11.4: credentials = auth-scheme [ 1*SP ( token68 / #auth-param ) ]
_CREDENTIALS = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?: +([^ ].*))?", re.DOTALL)

# What nearly all send needs no second look.
_USUAL = {b"Basic": "basic", b"Bearer": "bearer"}
_SPACE = 0x20

# RFC 7617 §2: "The user-id and password MUST NOT contain any control characters (see
# "CTL" in Appendix B.1 of [RFC5234])": octets 0-31 and 127.
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")

# RFC 4648 §4.  Spelled out, because `a2b_base64` lets "=" pass behind a whole group of
# four even in strict mode.
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")

_CONTROL_TEXT = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicBounds:
    """How much a `BasicAuthenticator` remembers and does at a time.

    Attributes:
        slots: verifications running at a time.  One core is left to the event
            loop; four argon2id ones at most, 76 MiB together.
        max_pending: verifications running or waiting; 64 at 25 ms on one slot is a
            wait of 1.6 s for the last one, less than people and clients put up with.
        good_for_s: seconds a success is remembered.
        bad_for_s: seconds a failure is remembered.
        good_entries: successes remembered, some 0.3 kB each.
        bad_entries: failures remembered.
    """

    slots: int = max(1, min(4, (os.cpu_count() or 1) - 1))
    max_pending: int = 64
    good_for_s: float = 300.0
    bad_for_s: float = 10.0
    good_entries: int = 16 * 1024
    bad_entries: int = 4 * 1024


class RememberedAnswers:
    """What every method of Basic has: the challenge, and answers that are remembered.

    Args:
        realm: for the challenge; without control characters.
        bounds: sizes and times.

    Raises:
        ValueError: `realm` holds a control character.
    """

    scheme = "Basic"

    def __init__(self, realm: str, bounds: BasicBounds) -> None:
        self._challenge = basic_challenge(realm)
        self._key = secrets.token_bytes(32)
        self._good: ExpiringCache[Identity] = ExpiringCache(
            max_entries=bounds.good_entries, lifetime_s=bounds.good_for_s
        )
        self._bad: ExpiringCache[str] = ExpiringCache(
            max_entries=bounds.bad_entries, lifetime_s=bounds.bad_for_s
        )

    def challenges(self, now: float, *, refusal: AuthRequired | None = None) -> list[bytes]:
        """The value of a ``Proxy-Authenticate`` field (RFC 7617 §2, §2.1); the same at any time."""
        return [self._challenge]

    def authenticate_nowait(self, proof: Proof) -> Identity | None:
        """Who the credentials belong to as far as that is remembered, else None.

        Raises:
            AuthRequired: they are malformed, or known to be wrong.
        """
        credentials, now = proof.credentials, proof.now
        identity = self._recall(self._digest(credentials), now)
        if identity is None:
            parse_basic(credentials)
        return identity

    def _digest(self, credentials: bytes) -> bytes:
        return blake2b(credentials, digest_size=32, key=self._key).digest()

    def _recall(self, digest: bytes, now: float) -> Identity | None:
        identity = self._good.get(digest, now=now)
        if identity is None and (detail := self._bad.get(digest, now=now)):
            raise AuthRequired(detail)
        return identity


class BasicAuthenticator(RememberedAnswers):
    """Proves users by Basic credentials and a users file.

    Args:
        users: who there is.
        realm: for the challenge; without control characters.
        bounds: sizes and times.
        verifier: (hash, password) → whether they match; blocks, runs in threads.

    Raises:
        ValueError: `realm` holds a control character.
    """

    def __init__(
        self,
        users: Users,
        *,
        realm: str = "wsproxy",
        bounds: BasicBounds | None = None,
        verifier: Callable[[str, bytes], bool] = passwords.verify,
    ) -> None:
        bounds = bounds or BasicBounds()
        super().__init__(realm, bounds)
        self._users = users
        self._verifier = verifier
        self._verifications = Verifications(slots=bounds.slots, max_pending=bounds.max_pending)

    def statistics(self) -> VerificationStatistics:
        """Verifications under way now."""
        return self._verifications.statistics()

    async def authenticate(self, proof: Proof) -> Identity:
        """Who the credentials belong to; a remembered answer comes without a checkpoint.

        Cancellation leaves nothing behind and fails no other caller.

        Raises:
            AuthRequired: they are malformed or wrong.
            AuthOverloaded: too many others wait to be verified.
        """
        digest, now = self._digest(proof.credentials), proof.now
        identity = self._recall(digest, now)
        if identity is not None:
            return identity
        name, password = parse_basic(proof.credentials)
        user = self._users.by_name.get(name)
        hashed = self._users.typical_hash if user is None else user.hashed
        matches = await self._verifications.run(
            digest, partial(self._verifier, hashed, password), is_stranger=user is None
        )
        # `typical_hash` may be somebody's, so a match means nothing for an unknown user.
        if user is None or not matches:
            self._bad.put(digest, _WRONG, now=now)
            raise AuthRequired(_WRONG)
        self._good.put(digest, user.identity, now=now)
        return user.identity

    def review(self, identity: Identity) -> Identity | None:
        """See `wsproxy.auth.Authenticator`."""
        return same_user(self._users.by_name, identity)


def parse_authorization(value: bytes) -> tuple[str, bytes]:
    """Scheme (lower-case) and the rest of an ``Authorization``-like field (RFC 9110 §11.4).

    Args:
        value: the field's value without surrounding white space.

    Returns:
        The scheme, any token; and what follows it behind the spaces, maybe nothing.

    Raises:
        AuthRequired: this is no scheme, or the two are not parted by spaces.
    """
    scheme, _, rest = value.partition(b" ")
    if scheme in _USUAL and rest and rest[0] != _SPACE:
        return _USUAL[scheme], rest
    match = _CREDENTIALS.fullmatch(value)
    if match is None:
        raise AuthRequired("malformed credentials field")
    return match[1].decode("ascii").lower(), match[2] or b""


def parse_basic(credentials: bytes, *, max_bytes: int = MAX_CREDENTIALS_BYTES) -> tuple[str, bytes]:
    """Name and password of Basic credentials (RFC 7617 §2), the password as UTF-8.

    The first colon parts the two; a password may hold more.  RFC 7617 §2.1 asks
    clients for UTF-8 and our challenge says so, but §2 lets old ones send what
    they like: what is not UTF-8 is read as ISO-8859-1, which is what older
    JDKs and clients in a Latin-1 locale send.  Base64 must be whole, padding included
    (RFC 4648 §3.2, §3.3): every client of note sends it so.

    Raises:
        AuthRequired: not base64, no colon, control characters, or longer than
            `max_bytes`.  Holds no part of the credentials.
    """
    if len(credentials) > max_bytes:
        raise AuthRequired("Basic credentials are too long")
    if not _BASE64.fullmatch(credentials):
        raise AuthRequired("Basic credentials are not base64")
    user_pass = binascii.a2b_base64(credentials)
    if _CONTROL.search(user_pass):
        raise AuthRequired("Basic credentials hold control characters")
    name, colon, password = _decode(user_pass).partition(":")
    if not colon:
        raise AuthRequired("Basic credentials hold no ':'")
    return name, password.encode("utf-8")


def _decode(user_pass: bytes) -> str:
    try:
        return user_pass.decode("utf-8")
    except UnicodeDecodeError:
        return user_pass.decode("iso-8859-1")


def basic_challenge(realm: str) -> bytes:
    """``Basic realm="…", charset="UTF-8"``; `realm` as quoted-string (RFC 9110 §5.6.4)."""
    if _CONTROL_TEXT.search(realm):
        raise ValueError("a realm must not hold control characters")
    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    return f'Basic realm="{quoted}", charset="UTF-8"'.encode()
