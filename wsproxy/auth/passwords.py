"""Password hashes: which are understood, how one is verified, how a new one is made.

Theory of operation.  A users file holds what people's tools wrote over the
years: argon2id (ours), and everything Debian's ``htpasswd`` writes except plain
text.  Each scheme is a row of `SCHEMES`: the exact shape of its hashes, so that
a damaged one is found when the file is loaded and not when its user logs in,
and the function of the library that verifies it.  No hash is computed here.

The libraries are imported by the first verification that needs them: a file of
argon2id hashes never loads the others.  argon2-cffi and bcrypt let go of the
GIL while they work; libpass is pure Python and does not, so a scheme of its
competes with the event loop for the interpreter (0.4 ms for apr1, 2 ms for
``$5$`` and ``$6$`` at htpasswd's 5000 rounds, 200 ms at 500 000).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["SCHEMES", "Scheme", "cost_of", "hash_password", "scheme_of", "verify"]

# OWASP Password Storage Cheat Sheet, argon2id: "a minimum configuration of 19 MiB of
# memory, an iteration count of 2, and 1 degree of parallelism".  RFC 9106 §4 recommends
# 64 MiB, t=3, p=4 where memory is scarce; a proxy verifies while a request waits and
# several at a time, and measured here that costs 110 ms on every core and 64 MiB a slot
# against 25 ms on one core and 19 MiB.
_ARGON2_MEMORY_KIB = 19 * 1024
_ARGON2_PASSES = 2
_ARGON2_LANES = 1

_ARGON2_MAX_MEMORY_KIB = 2 * 1024 * 1024
"""RFC 9106 §4, the first recommended option: 2 GiB.  More is a typing error."""

_BCRYPT_MAX_BYTES = 72
"""bcrypt looks at no more; the library raises on more, htpasswd cuts as we do."""

_CRYPT64 = "[./0-9A-Za-z]"


@dataclass(frozen=True, slots=True)
class Scheme:
    """One kind of password hash.

    Attributes:
        name: what people call it.
        shape: matches a whole hash; its group ``cost``, where there is one, is
            everything that decides how long a verification takes.
        verify: (hash of this shape, password) → whether they belong together.
        is_weak: cheap enough to guess that a warning is due.
    """

    name: str
    shape: re.Pattern[str]
    verify: Callable[[str, bytes], bool]
    is_weak: bool = False


def _verify_argon2id(hashed: str, password: bytes) -> bool:
    import argon2

    try:
        return argon2.PasswordHasher().verify(hashed, password)
    except argon2.exceptions.VerifyMismatchError:
        return False


def _verify_bcrypt(hashed: str, password: bytes) -> bool:
    import bcrypt

    return bcrypt.checkpw(password[:_BCRYPT_MAX_BYTES], hashed.encode("ascii"))


def _verify_apr1(hashed: str, password: bytes) -> bool:
    from passlib.hash import apr_md5_crypt

    return bool(apr_md5_crypt.verify(password, hashed))


def _verify_sha1(hashed: str, password: bytes) -> bool:
    from passlib.hash import ldap_sha1

    return bool(ldap_sha1.verify(password, hashed))


def _verify_sha256_crypt(hashed: str, password: bytes) -> bool:
    from passlib.hash import sha256_crypt

    return bool(sha256_crypt.verify(password, hashed))


def _verify_sha512_crypt(hashed: str, password: bytes) -> bool:
    from passlib.hash import sha512_crypt

    return bool(sha512_crypt.verify(password, hashed))


def _verify_des_crypt(hashed: str, password: bytes) -> bool:
    from passlib.hash import des_crypt

    return bool(des_crypt.verify(password, hashed))


# Where a hash's last character carries fewer than six bits the unused ones must be zero:
# libraries disagree about the rest (some raise, some ignore), so it counts as damaged.
SCHEMES: tuple[Scheme, ...] = (
    Scheme(
        "argon2id",
        re.compile(
            r"\$argon2id\$(?P<cost>v=19\$m=(?P<m>[1-9]\d{0,9}),t=[1-9]\d{0,9},p=(?P<p>[1-9]\d{0,7}))"
            r"\$(?P<salt>[A-Za-z0-9+/]{11,86})\$(?P<tag>[A-Za-z0-9+/]{16,128})"
        ),
        _verify_argon2id,
    ),
    Scheme(
        "bcrypt",
        re.compile(
            rf"\$2[aby]\$(?P<cost>0[4-9]|[12]\d|3[01])\${_CRYPT64}{{21}}[.Oeu]"
            rf"{_CRYPT64}{{30}}[.CGKOSWaeimquy26]"
        ),
        _verify_bcrypt,
    ),
    Scheme(
        "sha512-crypt",
        re.compile(
            rf"\$6\$(?P<cost>rounds=[1-9]\d{{3,8}}\$)?{_CRYPT64}{{0,16}}\${_CRYPT64}{{85}}[./01]"
        ),
        _verify_sha512_crypt,
    ),
    Scheme(
        "sha256-crypt",
        re.compile(
            rf"\$5\$(?P<cost>rounds=[1-9]\d{{3,8}}\$)?{_CRYPT64}{{0,16}}\${_CRYPT64}{{42}}[./0-9A-D]"
        ),
        _verify_sha256_crypt,
    ),
    Scheme(
        "apr1",
        re.compile(rf"\$apr1\${_CRYPT64}{{1,8}}\${_CRYPT64}{{21}}[./01]"),
        _verify_apr1,
        is_weak=True,
    ),
    Scheme(
        "SHA-1",
        re.compile(r"\{SHA\}[A-Za-z0-9+/]{26}[AEIMQUYcgkosw048]="),
        _verify_sha1,
        is_weak=True,
    ),
    Scheme(
        "DES crypt",
        re.compile(rf"{_CRYPT64}{{12}}[.26AEIMQUYcgkosw]"),
        _verify_des_crypt,
        is_weak=True,
    ),
)
"""Every hash understood, first match wins.

DES crypt has no mark of its own: a plain password of thirteen letters and
digits may look like one.  It then fails closed, as a hash nobody can match.
"""


def scheme_of(hashed: str) -> Scheme | None:
    """The scheme `hashed` is a whole, undamaged hash of, or None."""
    found = _match(hashed)
    return found and found[0]


def cost_of(hashed: str) -> tuple[str, str]:
    """What decides how long verifying `hashed` takes: scheme name and its parameters.

    Raises:
        ValueError: `hashed` is of no known scheme.
    """
    scheme, match = _match_or_raise(hashed)
    return scheme.name, match.groupdict().get("cost") or ""


def verify(hashed: str, password: bytes) -> bool:
    """Whether `password` is the one `hashed` was made of; blocks for up to hundreds of ms.

    Raises:
        ValueError: `hashed` is of no known scheme.
    """
    scheme, _ = _match_or_raise(hashed)
    # No file holds the hash of a password with NUL: crypt(3) ends there, and the
    # libraries answer it in three different ways.
    return b"\0" not in password and scheme.verify(hashed, password)


def hash_password(password: bytes) -> str:
    """A new argon2id hash of `password`, with a random salt; takes some 25 ms."""
    import argon2

    hasher = argon2.PasswordHasher(
        time_cost=_ARGON2_PASSES, memory_cost=_ARGON2_MEMORY_KIB, parallelism=_ARGON2_LANES
    )
    return hasher.hash(password)


def _match(hashed: str) -> tuple[Scheme, re.Match[str]] | None:
    for scheme in SCHEMES:
        if match := scheme.shape.fullmatch(hashed):
            sound = scheme.name != "argon2id" or _is_sound_argon2(match)
            return (scheme, match) if sound else None
    return None


def _match_or_raise(hashed: str) -> tuple[Scheme, re.Match[str]]:
    found = _match(hashed)
    if found is None:
        raise ValueError("not a known password hash")
    return found


def _is_sound_argon2(match: re.Match[str]) -> bool:
    """What a pattern cannot say: RFC 9106 §3.1 (m ≥ 8p) and base64 without stray bits."""
    memory, lanes = int(match["m"]), int(match["p"])
    return 8 * lanes <= memory <= _ARGON2_MAX_MEMORY_KIB and all(
        _is_canonical_base64(match[part]) for part in ("salt", "tag")
    )


def _is_canonical_base64(text: str) -> bool:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return False
    return base64.b64encode(data).decode("ascii").rstrip("=") == text
