"""Bearer tokens (RFC 6750) that are signed JWTs (RFC 7519), as proxy credentials.

Theory of operation.  A token proves who is asking to whoever holds the issuer's public keys, so
nobody is asked per request: the keys come from a `JwkSource`, one verification takes 50 µs to 1 ms
and is done on the spot.  A good answer is remembered for 5 minutes under an HMAC of the token with
a random key of this object's own, never beyond the token's end or a change of the keys: a key that
is withdrawn takes its tokens with it.  Bad answers are not remembered, for they cost no more.

What RFC 8725 warns of is refused before joserfc sees the token, and joserfc gets one key of the
set, which fits the algorithm:

- §3.1, §3.2: algorithms are the configuration's; ``none`` and HS* cannot be configured.  A key
  verifies what its own type, curve and ``alg`` say, never what the token says.
- §3.10: ``jku``, ``jwk``, ``x5u`` and ``x5c`` are never looked at; keys are the set's.
- §3.9, §3.8: audience and issuer are compared where configured, and they should be.
- §3.11: ``typ`` is absent, ``JWT`` or ``at+jwt``; a logout token, say, is not for logging in.
- RFC 7515 §4.1.11: ``crit`` names extensions; none is understood, so it is refused.
- Encrypted and nested tokens (five parts, ``cty``) are refused: nothing here can decrypt them.
- A name that occurs twice in a JSON object is refused: readers disagree on which one counts.

No error holds any part of a token, its chain of causes included.
"""

from __future__ import annotations

import hmac
import re
import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeGuard

from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwa import JWSAlgModel
from joserfc.util import urlsafe_b64decode

from wsproxy.auth.cache import ExpiringCache
from wsproxy.auth.jwks import ALGORITHMS, Jwk, JwkSource, sniff_json_object
from wsproxy.auth.proof import Proof
from wsproxy.errors import AuthRequired
from wsproxy.model import Identity

__all__ = [
    "DEFAULT_ALGORITHMS",
    "MAX_TOKEN_BYTES",
    "BearerAuthenticator",
    "TokenRules",
    "sniff_token",
]

MAX_TOKEN_BYTES = 16 * 1024
"""Twice the whole head that most servers take; tokens with hundreds of groups have 8 KiB."""

DEFAULT_ALGORITHMS: Final = ALGORITHMS - {"Ed448"}
"""All but the one that hardly any issuer knows."""

_GOOD_FOR_S = 300.0
_GOOD_ENTRIES = 16 * 1024

_MAX_TRIED = 4
"""Keys tried for one token: sets whose keys have no ids hold the old and the new one."""

_MAX_NAME_CHARACTERS = 512
"""A ``sub`` has 255 at most (OpenID Connect Core §2); groups may be distinguished names."""

# RFC 7515 §7.1; the signature of an unsecured token (RFC 7519 §6) is empty.
_TOKEN = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]*")
_ENCRYPTED = re.compile(rb"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*){4}")  # RFC 7516 §7.1

_TYPES: Final = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})

_EXPIRED = "the token has expired"
_NO_JWT = "the token is no signed JWT"

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

Claims = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRules:
    """What a token must be and say.

    Attributes:
        issuer: the ``iss`` it must have; None for any.
        audiences: its ``aud`` must be or hold one of these; None for any.
        groups_claim: name of the claim with the groups, or a path such as ``realm_access.roles``.
        user_claim: name or path of the claim with the user's name.
        algorithms: some of `ALGORITHMS`.
        skew_s: seconds the issuer's clock may differ from ours.
    """

    issuer: str | None
    audiences: frozenset[str] | None
    groups_claim: str = "groups"
    user_claim: str = "sub"
    algorithms: frozenset[str] = DEFAULT_ALGORITHMS
    skew_s: float = 60.0


class BearerAuthenticator:
    """Proves users by signed tokens.

    Args:
        keys: whose signatures count.
        rules: what tokens must be and say.
        realm: for the challenge; without control characters.
        wall_clock: seconds since the epoch.

    Raises:
        ValueError: `realm` holds a control character, or an algorithm is none of `ALGORITHMS`.
    """

    scheme = "Bearer"

    def __init__(
        self, keys: JwkSource, rules: TokenRules, *, realm: str, wall_clock: Callable[[], float]
    ) -> None:
        if not rules.algorithms or not rules.algorithms <= ALGORITHMS:
            raise ValueError(f"algorithms are some of {', '.join(sorted(ALGORITHMS))}")
        self._challenge = _challenge(realm)
        self._keys = keys
        self._rules = rules
        self._registry = _Registry(algorithms=rules.algorithms)
        self._wall_clock = wall_clock
        self._secret = secrets.token_bytes(32)
        self._good: ExpiringCache[Identity] = ExpiringCache(
            max_entries=_GOOD_ENTRIES, lifetime_s=_GOOD_FOR_S
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for the log about what is configured unwisely."""
        named = {"issuer": self._rules.issuer, "audience": self._rules.audiences}
        return tuple(
            f"{self._keys.name}: tokens for any {what} are accepted; configure the {what}"
            for what, value in named.items()
            if value is None
        )

    def challenges(self, now: float, *, refusal: AuthRequired | None = None) -> list[bytes]:
        """The value of this method's ``Proxy-Authenticate`` field (RFC 6750 §3).

        "If the request lacks any authentication information […], the resource server SHOULD
        NOT include an error code" (§3.1); neither is one due for other credentials than tokens.
        """
        if refusal is None or refusal.scheme != self.scheme:
            return [self._challenge]
        reason = refusal.detail.encode("ascii")
        return [b'%b, error="invalid_token", error_description="%b"' % (self._challenge, reason)]

    def authenticate_nowait(self, proof: Proof) -> Identity | None:
        """Whose token `proof` brings as far as that is remembered, else None.

        Raises:
            AuthRequired: it is malformed or has expired.
        """
        _split(proof.credentials)
        return self._recall(proof.credentials, proof.now)

    async def authenticate(self, proof: Proof) -> Identity:
        """Whose token `proof` brings; without a checkpoint unless keys must be waited for.

        Cancellation leaves nothing behind.  The identity expires as the token does, skew included.

        Raises:
            AuthRequired: it is no token, or one that is not accepted; holds no part of it.
            AuthUnavailable: no keys are known and none can be had.
        """
        return await self._identify(proof.credentials, proof.now)

    def authenticate_password_nowait(
        self, password: bytes, *, user: str, now: float
    ) -> Identity | None:
        """As `authenticate_password`, as far as the token is remembered, else None.

        Raises:
            AuthRequired: it is malformed, has expired, or is another user's.
        """
        _split(password)
        identity = self._recall(password, now)
        return None if identity is None else _of_user(identity, user)

    async def authenticate_password(self, password: bytes, *, user: str, now: float) -> Identity:
        """Whose token a Basic password is, for clients that know no other scheme.

        Args:
            password: the token.
            user: the user name beside it: empty, or the one the token proves.
            now: seconds, monotonic.

        Raises:
            AuthRequired: as `authenticate`, and when the token is another user's.
            AuthUnavailable: as `authenticate`.
        """
        return _of_user(await self._identify(password, now), user)

    def review(self, identity: Identity) -> Identity | None:
        """A token that was taken by other rules proves nothing; see `wsproxy.auth.Authenticator`."""
        ours = identity.method == "bearer" and identity.mark == hash(self._rules)
        return identity if ours else None

    async def _identify(self, token: bytes, now: float) -> Identity:
        header, claims = _split(token)
        if (identity := self._recall(token, now)) is not None:
            return identity
        algorithm, kid = _read_header(header, self._rules.algorithms)
        found = await self._keys.find(kid, algorithm)
        if not found:
            raise AuthRequired("the token is signed with a key that is not known")
        if not any(self._verifies(token, jwk) for jwk in found[:_MAX_TRIED]):
            raise AuthRequired("the token's signature is wrong")
        identity = _read_claims(_sniff_object(claims), self._rules, now=self._wall_clock())
        self._good.put(self._digest(token), identity, now=now)
        return identity

    def _verifies(self, token: bytes, jwk: Jwk) -> bool:
        try:
            jws.deserialize_compact(token, jwk.key, registry=self._registry)
        except (JoseError, ValueError):
            return False
        return True

    def _digest(self, token: bytes) -> bytes:
        # With the generation in it, answers that other keys gave are never found again.
        return hmac.digest(self._secret, b"%d %b" % (self._keys.generation, token), "sha256")

    def _recall(self, token: bytes, now: float) -> Identity | None:
        identity = self._good.get(self._digest(token), now=now)
        if identity is not None and self._wall_clock() >= identity.expires_at:
            raise AuthRequired(_EXPIRED)
        return identity


class _Registry(jws.JWSRegistry):
    """What joserfc takes: the algorithms given, and headers that `_read_header` has seen."""

    default_header_registry = {}  # noqa: RUF012 - as the base class has it
    max_header_length = max_payload_length = max_signature_length = MAX_TOKEN_BYTES

    def __init__(self, *, algorithms: frozenset[str]) -> None:
        super().__init__(algorithms=algorithms, strict_check_header=False)

    def get_alg(self, name: str) -> JWSAlgModel:
        # The base class warns of "EdDSA", which RFC 9864 calls "Ed25519" now and issuers do not.
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError
        return self.algorithms[name]


def sniff_token(password: bytes) -> bool:
    """Whether a Basic password has the form of a signed token, which no sane password has."""
    match = _TOKEN.fullmatch(password) if len(password) <= MAX_TOKEN_BYTES else None
    header = _sniff_object(match[1]) if match is not None else None
    return header is not None and "alg" in header


def _split(token: bytes) -> tuple[bytes, bytes]:
    if len(token) > MAX_TOKEN_BYTES:
        raise AuthRequired("the token is too long")
    if _ENCRYPTED.fullmatch(token):
        raise AuthRequired("encrypted tokens are not accepted")
    if (match := _TOKEN.fullmatch(token)) is None:
        raise AuthRequired(_NO_JWT)
    return match[1], match[2]


def _sniff_object(segment: bytes) -> Claims | None:
    try:
        data = urlsafe_b64decode(segment)
    except ValueError:
        return None
    return sniff_json_object(data)


def _read_header(segment: bytes, algorithms: frozenset[str]) -> tuple[str, str | None]:
    """Algorithm and key id of a token; the rest of the header is checked and of no use."""
    header = _sniff_object(segment)
    if header is None or not isinstance(kid := header.get("kid"), str | None):
        raise AuthRequired(_NO_JWT)
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise AuthRequired("the token is not signed with an accepted algorithm")
    # RFC 7797 §6: "b64" must be listed in "crit"; where it is not, readers disagree on it.
    if "crit" in header or "b64" in header:
        raise AuthRequired("the token needs extensions that are not understood")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _TYPES or "cty" in header:
        raise AuthRequired("the token is of another type")
    return algorithm, kid


def _read_claims(claims: Claims | None, rules: TokenRules, *, now: float) -> Identity:
    """What `claims`, which are the issuer's own, prove at the wall-clock time `now`."""
    if claims is None:
        raise AuthRequired("the token holds no claims")
    expires_at = _check_times(claims, now=now, skew_s=rules.skew_s)
    if rules.issuer is not None and claims.get("iss") != rules.issuer:
        raise AuthRequired("the token is from another issuer")
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    audiences = {name for name in named if isinstance(name, str)}
    if rules.audiences is not None and not audiences & rules.audiences:
        raise AuthRequired("the token is for another audience")
    user = _look_up(claims, rules.user_claim)
    if not _is_name(user):
        raise AuthRequired("the token names no user")
    groups = _read_groups(claims, rules.groups_claim)
    return Identity(user, groups, method="bearer", mark=hash(rules), expires_at=expires_at)


def _check_times(claims: Claims, *, now: float, skew_s: float) -> float:
    """The moment from which the token is refused (RFC 7519 §4.1.4 to §4.1.6)."""
    expires = _read_time(claims, "exp")
    if expires is None:
        raise AuthRequired("the token never expires")
    if now >= expires + skew_s:
        raise AuthRequired(_EXPIRED)
    begins, issued = _read_time(claims, "nbf"), _read_time(claims, "iat")
    if max(begins or 0.0, issued or 0.0) > now + skew_s:
        raise AuthRequired("the token is not valid yet")
    return expires + skew_s


def _read_time(claims: Claims, name: str) -> float | None:
    """A NumericDate (RFC 7519 §2), or None where there is none."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise AuthRequired("the token holds a time that is none")
    return float(value)


def _read_groups(claims: Claims, path: str) -> frozenset[str]:
    """The groups; a claim that cannot be read is an error, for rules may deny by group."""
    # OpenID Connect Core §5.6.2: the claim is elsewhere.  Entra ID does so beyond 200 groups.
    elsewhere = claims.get("_claim_names")
    if isinstance(elsewhere, dict) and path in elsewhere:
        raise AuthRequired("the token does not hold the user's groups but says where they are")
    groups = _look_up(claims, path)
    if groups is None:
        return frozenset()
    if isinstance(groups, str):
        groups = [name for name in re.split("[ ,]", groups) if name]
    if not isinstance(groups, list) or not all(map(_is_name, groups)):
        raise AuthRequired("the token's groups are no list of names")
    return frozenset(groups)


def _look_up(claims: Claims, path: str) -> object:
    """The claim named `path`, else the one at the end of its dotted path, else None."""
    if path in claims:  # names such as https://corp.example/groups hold dots themselves
        return claims[path]
    found: object = claims
    for name in path.split("."):
        if not isinstance(found, dict):
            return None
        found = found.get(name)
    return found


def _is_name(value: object) -> TypeGuard[str]:
    """Whether `value` can stand for a user or a group in rules and records."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= _MAX_NAME_CHARACTERS
        and value == value.strip()
        and not any(unicodedata.category(character) in ("Cc", "Cs") for character in value)
    )


def _of_user(identity: Identity, user: str) -> Identity:
    if user not in ("", identity.user):
        raise AuthRequired("the token is another user's")
    return identity


def _challenge(realm: str) -> bytes:
    """``Bearer realm="…"``; `realm` as quoted-string (RFC 9110 §5.6.4)."""
    if _CONTROL.search(realm):
        raise ValueError("a realm must not hold control characters")
    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    return f'Bearer realm="{quoted}"'.encode()
