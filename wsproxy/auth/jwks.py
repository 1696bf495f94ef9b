"""The public keys that tokens are checked with: a JWK Set (RFC 7517), from a file or a URL, kept fresh.

Theory of operation.  One task, `JwkSource.run`, does all the reading, in a thread, 5 seconds at
most.  Requests never read: they take what is known, and only a token signed with a key that is
not known makes its request ask `run` for another look and wait for it.  Whoever invents key ids
costs one look every `missing_s`, and nobody else waits.  The look is no request's own.

A look that fails (no answer, not a JWK Set, nothing usable in it) changes nothing: the old keys
stay, and the log has one line when it begins and one when it is over.

Of a set only public members of keys that can verify are taken: symmetric keys, private members,
keys for encryption, unknown curves and RSA keys shorter than RFC 7518 allows are left out.
`Jwk.algorithms` says what a key may verify, by its ``alg`` (RFC 8725 §3.1: "Each key MUST be used
with exactly one algorithm") or by type and curve, so a key always fits the algorithm of a token.

The URL is the configuration's and is fetched directly: no proxy from the environment (it may be
this one), no scheme but http and https, no redirect to another host, no encoding.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException, HTTPMessage
from typing import IO, TYPE_CHECKING, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

import trio
from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import Key, import_key
from joserfc.util import base64_to_int

from wsproxy.errors import AuthUnavailable, ConfigError

if TYPE_CHECKING:
    import ssl

__all__ = [
    "ALGORITHMS",
    "MAX_KEYS",
    "MAX_SET_BYTES",
    "Jwk",
    "JwkSet",
    "JwkSource",
    "parse_jwks",
    "sniff_json_object",
]

log = logging.getLogger("wsproxy")

MAX_SET_BYTES = 1024 * 1024
"""Sets of the large identity providers have 2 to 20 keys, 2 KiB each with certificates."""

_TIMEOUT_S = 5.0

MAX_KEYS = 256
"""Usable keys taken from one set; importing one takes up to a millisecond."""

_FORMS: Final[dict[tuple[str, str], tuple[tuple[str, ...], frozenset[str]]]] = {
    ("RSA", ""): (
        ("kty", "n", "e"),
        frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    ),
    ("EC", "P-256"): (("kty", "crv", "x", "y"), frozenset({"ES256"})),
    ("EC", "P-384"): (("kty", "crv", "x", "y"), frozenset({"ES384"})),
    ("EC", "P-521"): (("kty", "crv", "x", "y"), frozenset({"ES512"})),
    ("OKP", "Ed25519"): (("kty", "crv", "x"), frozenset({"EdDSA", "Ed25519"})),
    ("OKP", "Ed448"): (("kty", "crv", "x"), frozenset({"EdDSA", "Ed448"})),
}
"""Type and curve → public members, all of them required, and algorithms (RFC 7518 §3, §6; RFC 9864)."""

ALGORITHMS: Final = frozenset[str]().union(*(fitting for _, fitting in _FORMS.values()))
"""Every algorithm a token may be signed with here: asymmetric ones only."""

_RSA_BITS: Final = range(2048, 8192 + 1)
"""RFC 7518 §3.3: "A key of size 2048 bits or larger MUST be used"; longer ones verify slowly."""


@dataclass(frozen=True, slots=True)
class Jwk:
    """One public key.

    Attributes:
        kid: its id in the set, which tokens name; None when it has none.
        algorithms: what it may verify, a subset of `ALGORITHMS`.
        key: the key itself, without private members.
    """

    kid: str | None
    algorithms: frozenset[str]
    key: Key = field(repr=False)


@dataclass(frozen=True, slots=True)
class JwkSet:
    """The usable keys of one set.

    Attributes:
        keys: in the set's order.
        stamp: what tells a changed file from the same one; empty for a URL.
    """

    keys: tuple[Jwk, ...]
    stamp: tuple[int, ...] = field(default=(), compare=False)

    def fitting(self, kid: str | None, algorithm: str) -> tuple[Jwk, ...]:
        """The keys that may have signed a token naming `kid`, or any where it names none."""
        return tuple(
            jwk
            for jwk in self.keys
            if algorithm in jwk.algorithms and (kid is None or jwk.kid == kid)
        )


Loader = Callable[[JwkSet | None], JwkSet]
"""(what was read last) → that again if nothing changed, else what there is now; blocks.

Raises ConfigError.  Keeps no state, for a look that took too long is left alone in its thread.
"""


class JwkSource:
    """The keys of one file or URL; `run` must be running for them to be read and kept fresh.

    Args:
        load: reads them; in a thread.
        name: of the file or URL, for people; without secrets.
        refresh_s: seconds from one look to the next.
        missing_s: seconds between looks at least when a key is missing, or the last look failed.
        retry_s: the same while no keys are known at all.

    Attributes:
        name: as given.
        generation: grows whenever the keys change, so that what others verified can be forgotten.
    """

    def __init__(
        self, load: Loader, *, name: str, refresh_s: float, missing_s: float, retry_s: float
    ) -> None:
        self.name = name
        self.generation = 0
        self._load = load
        self._refresh_s = refresh_s
        self._missing_s = missing_s
        self._retry_s = retry_s
        self._set: JwkSet | None = None
        self._failure = ""
        self._looked_at = -math.inf
        self._is_looking = False
        self._wanted = trio.Event()
        self._looked = trio.Event()
        self._thread = trio.CapacityLimiter(1)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> JwkSource:
        """Keys from the file at `path`, read again when it has changed."""
        file = os.fspath(path)
        load = partial(_read_file, file)
        return cls(load, name=file, refresh_s=60.0, missing_s=1.0, retry_s=1.0)

    @classmethod
    def from_url(cls, url: str, *, tls: ssl.SSLContext | None = None) -> JwkSource:
        """Keys from `url`.

        Args:
            url: ``https``, or ``http`` where the way there is trusted.
            tls: whom to trust; the system's authorities when None.

        Raises:
            ValueError: `url` is no such URL, or holds a user name.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError("a URL of keys starts with https:// or http:// and names a host")
        if "@" in parts.netloc or not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError("a URL of keys is ASCII, without spaces and without a user name")
        name = f"{parts.scheme}://{parts.netloc}{parts.path}"
        load = partial(_read_url, url, name, tls)
        return cls(load, name=name, refresh_s=15 * 60.0, missing_s=30.0, retry_s=5.0)

    def load_now(self) -> None:
        """Reads the keys here and now; blocks, for ``check`` and before the loop runs.

        Raises:
            ConfigError: they cannot be had; those known stay.
        """
        self._take(self._load(self._set))

    def find_nowait(self, kid: str | None, algorithm: str) -> tuple[Jwk, ...]:
        """The known keys for `kid` and `algorithm`, maybe none."""
        return () if self._set is None else self._set.fitting(kid, algorithm)

    async def find(self, kid: str | None, algorithm: str) -> tuple[Jwk, ...]:
        """The keys for `kid` and `algorithm`, maybe none, after another look if one is due.

        Without a checkpoint when they are known.  Cancellation leaves nothing behind.

        Args:
            kid: the id the token names; None for any key that fits.
            algorithm: one of `ALGORITHMS`.

        Raises:
            AuthUnavailable: no keys are known and none can be had now.
        """
        if found := self.find_nowait(kid, algorithm):
            return found
        if self._is_looking or trio.current_time() >= self._looked_at + self._gap_s:
            looked = self._looked
            self._wanted.set()
            with trio.move_on_after(_TIMEOUT_S + 1.0):  # `run` may not be running
                await looked.wait()
        if self._set is None:
            raise AuthUnavailable("the keys to check tokens with cannot be had; try again later")
        return self.find_nowait(kid, algorithm)

    async def run(self) -> None:
        """Reads the keys, and again whenever they may have changed; ends by cancellation only."""
        while True:
            await self._look()
            with trio.move_on_after(self._gap_s if self._failure else self._refresh_s):
                await self._wanted.wait()

    @property
    def _gap_s(self) -> float:
        return self._retry_s if self._set is None else self._missing_s

    async def _look(self) -> None:
        self._is_looking = True
        try:
            with trio.fail_after(_TIMEOUT_S):
                loaded = await trio.to_thread.run_sync(
                    self._load, self._set, abandon_on_cancel=True, limiter=self._thread
                )
            self._take(loaded)
        except trio.TooSlowError:
            self._fail(f"no answer within {_TIMEOUT_S:g} s")
        except ConfigError as error:
            self._fail(error.detail)
        finally:
            self._is_looking = False
            self._looked_at = trio.current_time()
            self._looked.set()
            self._looked, self._wanted = trio.Event(), trio.Event()

    def _take(self, loaded: JwkSet) -> None:
        if self._failure:
            log.info("%s: the keys are back", self.name)
        self._failure = ""
        if loaded != self._set:
            self.generation += 1
        self._set = loaded

    def _fail(self, failure: str) -> None:
        if not self._failure:
            kept = "no token can be checked" if self._set is None else "the old keys stay in use"
            log.warning("%s: %s; %s", self.name, failure, kept)
        self._failure = failure


def sniff_json_object(data: bytes) -> dict[str, object] | None:
    """The JSON object `data` is, or None; unlike `json`, takes no name twice and no Infinity.

    RFC 7515 §4: "The Header Parameter names within the JOSE Header MUST be unique".
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise ValueError("a name occurs twice")
    return unique


def _refuse(_name: str) -> object:
    raise ValueError("not JSON")


def parse_jwks(data: bytes) -> tuple[Jwk, ...]:
    """The usable keys of the JWK Set `data`; others "SHOULD" be ignored (RFC 7517 §5).

    Raises:
        ValueError: it is no JWK Set, or holds no usable key; the words hold no part of it.
    """
    jwks = sniff_json_object(data)
    entries = jwks.get("keys") if jwks is not None else None
    if not isinstance(entries, list):
        raise ValueError('not a JWK Set: JSON of the form {"keys": [...]}')
    usable = [jwk for entry in entries if (jwk := _sniff_jwk(entry)) is not None]
    if not usable:
        raise ValueError("the JWK Set holds no public key that can verify signatures")
    if len(usable) > MAX_KEYS:
        raise ValueError(f"the JWK Set holds more than {MAX_KEYS} keys")
    return tuple(usable)


def _sniff_jwk(entry: object) -> Jwk | None:
    """The public key `entry` describes, or None when it cannot verify signatures here."""
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    kid, operations = entry.get("kid"), entry.get("key_ops", ["verify"])
    if not isinstance(kid, str | None):
        return None
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    form = str(entry.get("kty")), str(entry.get("crv", ""))
    names, algorithms = _FORMS.get(form, ((), frozenset()))
    if "alg" in entry:
        algorithms = frozenset(name for name in algorithms if name == entry["alg"])
    public = {name: value for name in names if isinstance(value := entry.get(name), str)}
    if not algorithms or len(public) < len(names):
        return None
    try:
        # Looked at first, for the library takes short keys and warns.
        if "n" in public and base64_to_int(public["n"]).bit_length() not in _RSA_BITS:
            return None
        return Jwk(kid, algorithms, import_key({**public}))
    except (JoseError, ValueError, UnsupportedAlgorithm):
        return None


def _read_file(path: str, last: JwkSet | None) -> JwkSet:
    try:
        with open(path, "rb") as stream:
            status = os.fstat(stream.fileno())
            stamp = (status.st_mtime_ns, status.st_size, status.st_dev, status.st_ino)
            if last is not None and last.stamp == stamp:
                return last
            data = stream.read(MAX_SET_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the keys: {error.strerror}", file=path) from error
    return _parse(data, path, stamp)


def _read_url(url: str, name: str, tls: ssl.SSLContext | None, _last: JwkSet | None) -> JwkSet:
    try:
        data = _fetch(url, tls)
    except HTTPError as error:
        error.close()
        detail = f"the answer has status {error.code}"
    except URLError as error:
        detail = f"cannot fetch the keys: {error.reason}"
    except (OSError, HTTPException, ValueError) as error:
        detail = f"cannot fetch the keys: {type(error).__name__}"
    else:
        return _parse(data, name, ())
    raise ConfigError(detail, file=name)


def _fetch(url: str, tls: ssl.SSLContext | None) -> bytes:
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=tls), _SameHost())
    fields = {"Accept": "application/jwk-set+json, application/json", "User-Agent": "wsproxy"}
    request = Request(url, headers=fields)  # noqa: S310 - from_url looked
    deadline = time.monotonic() + _TIMEOUT_S
    data = b""
    with opener.open(request, timeout=_TIMEOUT_S) as response:
        if response.status != 200:
            raise URLError(f"the answer has status {response.status}")
        while len(data) <= MAX_SET_BYTES and (more := response.read1(64 * 1024)):
            data += more
            if time.monotonic() > deadline:  # the socket's timeout starts anew with every octet
                raise URLError("the answer takes too long")
    return data


class _SameHost(HTTPRedirectHandler):
    """Follows redirects within the host that the configuration names, and never out of TLS."""

    def redirect_request(  # noqa: PLR0917 - as the base class has it
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.hostname != old.hostname or new.scheme not in ("https", old.scheme):
            fp.close()
            raise URLError("redirected to another host, or out of TLS")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _parse(data: bytes, file: str, stamp: tuple[int, ...]) -> JwkSet:
    if len(data) > MAX_SET_BYTES:
        raise ConfigError("the JWK Set is larger than 1 MiB", file=file)
    try:
        return JwkSet(parse_jwks(data), stamp)
    except ValueError as error:
        raise ConfigError(str(error), file=file) from error
