"""Digest credentials (RFC 7616) checked against the hashes of a Digest users file.

Theory of operation.  A request is answered by a challenge with a nonce; the client
sends a hash over the user's hash, the nonce, a count of its own (nc), method and
uri.  Verifying is two fast hashes and an HMAC (some 80 µs), so nothing is remembered
of an answer and nothing waits.

*Nonces* are made without remembering them: time and random octets under an HMAC
with a key of this object's own.  Strangers who collect challenges therefore use up
no memory.  Only a nonce somebody has proved a password with gets a record of the
counts seen, as a window below the highest: a browser spreads one nonce over many
connections, and counts overtake each other.  A count that was seen, or has fallen
below the window, is refused.  Records are bounded, the least recently used leaves
first, and the time its nonce was made is kept: any nonce not younger and without a
record counts as used up.  So whatever is forgotten, nothing is taken twice.

*Stale.*  Right hashes over a nonce that is too old, used up, or not ours (from before a
restart or a changed file) are `DigestStale`: the next challenge says ``stale=true``
and the client tries again without asking its user.  That is said only to those
who know the password; a wrong hash is a wrong password whatever the nonce.

*uri.*  RFC 7616 §3.4.6 has the server check that uri and request-target designate the
same resource.  What clients send to a proxy (curl 7.88, JDK 17, urllib and requests
tried here; Chromium and .NET by their sources):

- CONNECT: curl, JDK and Chromium the request-target, ``host:port``; .NET always the
  path of the *proxy's* URL, ``/``.  Both are taken, nothing else.
- absolute-form: JDK and urllib the request-target; curl, requests, Chromium and .NET
  its path and query.  Both are taken, nothing else.

A hash over the shorter form does not cover the host: who can alter what a client sends
may use it once for another one.  Against such people the way to the proxy needs TLS,
whatever the form: they can as well replace all that follows the head.

*Not here.*  -sess algorithms: they are not offered, and need the first cnonce of
a session kept.  auth-int, userhash, RFC 2069 without qop: not offered.
Authentication-Info: no client of note checks it.  Names and passwords hashed in
anything but UTF-8: the file holds one hash.  Quote and backslash in
a name must be escaped (RFC 9110 §5.6.4): .NET does not do that.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
import struct
from collections import OrderedDict
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from wsproxy.auth.digest_users import ALGORITHMS, DigestUsers, realm_problem
from wsproxy.auth.proof import Proof
from wsproxy.auth.users_file import same_user
from wsproxy.errors import AuthRequired
from wsproxy.model import Identity

__all__ = [
    "MAX_BESIDE_URI_BYTES",
    "DigestAuthenticator",
    "DigestCredentials",
    "DigestStale",
    "Nonces",
    "digest_response",
    "parse_auth_params",
    "parse_digest",
]

MAX_BESIDE_URI_BYTES = 4 * 1024
"""Credentials are as long as the request-target, which they repeat, and this at most."""

COUNT_WINDOW = 1024
"""How far a count may be behind the highest; 32 connections of a browser with 32 requests each."""

_BY_LOWER_CASE = {name.lower(): name for name in ALGORITHMS}

_WRONG = "wrong user name or password"

# RFC 9110 §5.6.2, §5.6.4, §11.2.  Control characters, the tab too, are refused inside values.
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAM = re.compile(
    rb"(" + _TOKEN + rb")[ \t]*=[ \t]*"
    rb'(?:(' + _TOKEN + rb')|"((?:[ !#-\[\]-~\x80-\xff]|\\[ -~\x80-\xff])*)")[ \t]*'
)  # fmt: skip
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)

# RFC 9110 §5.6.1.2: "A recipient MUST parse and ignore a reasonable number of empty list elements".
_COMMAS = re.compile(rb",[ \t,]*")

# RFC 8187 §3.2.1, value-chars behind charset and language.
_EXTENDED = re.compile(
    rb"[Uu][Tt][Ff]-8'[A-Za-z0-9-]*'((?:%[0-9A-Fa-f]{2}|[!#$&+\-.^_`|~0-9A-Za-z])+)"
)

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ABSOLUTE_FORM = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*(/[^?#]*)?(\?[^#]*)?", re.DOTALL)

_FORMS = {
    "nc": re.compile(rb"[0-9a-f]{8}"),  # RFC 7616 §3.4: nc-value = 8LHEX
    "response": re.compile(rb"[0-9a-f]{32}|[0-9a-f]{64}"),
    "cnonce": re.compile(rb".+", re.DOTALL),
    "nonce": re.compile(rb".+", re.DOTALL),
}

_NONCE = re.compile(rb"[A-Za-z0-9_-]{48}")
_MADE = struct.Struct(">d8x")
_RANDOM_BYTES, _MAC_BYTES = 8, 20


class DigestStale(AuthRequired):
    """The password is right and the nonce is not good any more: challenge with ``stale=true``."""

    stale = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestCredentials:
    """Digest credentials with qop=auth, quotes and escapes taken away (RFC 7616 §3.4).

    Attributes:
        name: from ``username`` or ``username*``.
        realm: as sent.
        nonce: as sent.
        uri: as sent.
        algorithm: a key of `ALGORITHMS`, or another name as sent; MD5 when there is none.
        cnonce: as sent.
        nc: eight hexadecimal digits.
        response: the hash, in lower-case hexadecimal digits; never shown.
    """

    name: str
    realm: bytes
    nonce: bytes
    uri: bytes
    algorithm: str
    cnonce: bytes
    nc: bytes
    response: bytes = field(repr=False)


class DigestAuthenticator:
    """Proves users by Digest credentials and a Digest users file.

    Every success uses up a count: ask once for one request.

    Args:
        users: who there is, and the realm.
        nonce_life_s: seconds a nonce is good for, however often it is used.
        max_nonces: nonces in use whose counts are remembered, some 0.3 kB each.

    Raises:
        ValueError: the realm has a `realm_problem`.
    """

    scheme = "Digest"

    def __init__(
        self, users: DigestUsers, *, nonce_life_s: float = 300.0, max_nonces: int = 16 * 1024
    ) -> None:
        if problem := realm_problem(users.realm):
            raise ValueError(problem)
        self._users = users
        self._realm = users.realm.encode("ascii")
        self._nonces = Nonces(life_s=nonce_life_s, max_used=max_nonces)
        self._nobody = {
            algorithm: function(secrets.token_bytes(32))
            for algorithm, function in ALGORITHMS.items()
        }

    def challenges(self, now: float, *, refusal: AuthRequired | None = None) -> list[bytes]:
        """The values of the ``Proxy-Authenticate`` fields (RFC 7616 §3.3), best algorithm first.

        All of one call carry the same nonce, as in RFC 7616 §3.9.1.

        Args:
            now: seconds, monotonic.
            refusal: of the request that is challenged; maybe a `DigestStale`.
        """
        nonce = self._nonces.make(now)
        end = b", stale=true" if refusal is not None and refusal.stale else b""
        return [
            b'Digest realm="%b", qop="auth", algorithm=%b, nonce="%b", charset=UTF-8%b'
            % (self._realm, algorithm.encode("ascii"), nonce, end)
            for algorithm in self._users.algorithms
        ]

    def authenticate_nowait(self, proof: Proof) -> Identity:
        """Who the credentials belong to; on success their count is used up.

        Raises:
            AuthRequired: they are malformed, for something else, or wrong.
            DigestStale: they are right, but the nonce is old, used up or unknown.
        """
        sent = parse_digest(proof.credentials, max_bytes=len(proof.target) + MAX_BESIDE_URI_BYTES)
        if sent.realm != self._realm:
            raise AuthRequired("Digest credentials are for another realm")
        if sent.algorithm not in self._users.algorithms:
            raise AuthRequired("Digest credentials use an algorithm that is not offered here")
        if sent.uri not in _uris(proof.method, proof.target):
            raise AuthRequired("Digest credentials are for another request-target")
        user = self._users.by_name.get(sent.name)
        hashed = None if user is None else user.hashes.get(sent.algorithm)
        expected = digest_response(
            sent, hashed=hashed or self._nobody[sent.algorithm], method=proof.method
        )
        matches = hmac.compare_digest(expected, sent.response)
        if user is None or hashed is None or not matches:
            raise AuthRequired(_WRONG)
        if not self._nonces.use(sent.nonce, int(sent.nc, 16), now=proof.now):
            raise DigestStale("the nonce of the Digest credentials is too old or was used before")
        return user.identity

    async def authenticate(self, proof: Proof) -> Identity:
        """The same as `authenticate_nowait`; no checkpoint."""
        return self.authenticate_nowait(proof)

    def review(self, identity: Identity) -> Identity | None:
        """See `wsproxy.auth.Authenticator`."""
        return same_user(self._users.by_name, identity)


class Nonces:
    """Makes nonces and takes each count of one only once.

    Args:
        life_s: seconds from making a nonce until it is good no more.
        max_used: used nonces whose counts are remembered; from 1.
    """

    def __init__(self, *, life_s: float, max_used: int) -> None:
        self._key = secrets.token_bytes(32)
        self._life_s = life_s
        self._max_used = max_used
        self._used: OrderedDict[bytes, _Counts] = OrderedDict()
        self._forgotten_until = float("-inf")

    def __len__(self) -> int:
        """Nonces whose counts are remembered."""
        return len(self._used)

    def make(self, now: float) -> bytes:
        """A nonce never made before: 48 characters that need no escaping anywhere."""
        body = struct.pack(">d", now) + secrets.token_bytes(_RANDOM_BYTES)
        return base64.urlsafe_b64encode(body + self._mac(body))

    def use(self, nonce: bytes, count: int, *, now: float) -> bool:
        """Whether `count` of `nonce` may be used now; if so, never again."""
        made = self._made(nonce)
        if made is None or not 0 <= now - made < self._life_s:
            return False
        counts = self._used.get(nonce)
        if counts is None:
            if made <= self._forgotten_until:
                return False
            counts = self._used[nonce] = _Counts(made)
        self._used.move_to_end(nonce)
        if len(self._used) > self._max_used:
            _, forgotten = self._used.popitem(last=False)
            self._forgotten_until = max(self._forgotten_until, forgotten.made)
        return counts.take(count)

    def _made(self, nonce: bytes) -> float | None:
        """When this object made `nonce`; None if it did not."""
        if not _NONCE.fullmatch(nonce):
            return None
        octets = base64.urlsafe_b64decode(nonce)
        body, mac = octets[:-_MAC_BYTES], octets[-_MAC_BYTES:]
        if not hmac.compare_digest(self._mac(body), mac):
            return None
        made: float = _MADE.unpack(body)[0]
        return made

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")[:_MAC_BYTES]


@dataclass(slots=True)
class _Counts:
    """The counts of one nonce that were used: bit n of `seen` is the count `highest` - n."""

    made: float
    highest: int = 0
    seen: int = 0

    def take(self, count: int) -> bool:
        """Whether `count` is new; it is not any more afterwards."""
        ahead = count - self.highest
        if ahead >= COUNT_WINDOW:
            self.highest, self.seen = count, 1
            return True
        if ahead > 0:
            self.highest = count
            self.seen = (self.seen << ahead | 1) & ((1 << COUNT_WINDOW) - 1)
            return True
        bit = 1 << -ahead
        if ahead <= -COUNT_WINDOW or self.seen & bit:
            return False
        self.seen |= bit
        return True


def digest_response(sent: DigestCredentials, *, hashed: bytes, method: str) -> bytes:
    """What ``response`` has to be (RFC 7616 §3.4.1 with qop=auth).

    Args:
        sent: the credentials; their algorithm is one of `ALGORITHMS`.
        hashed: H(user:realm:password) in hexadecimal digits.
        method: of the request.
    """
    function = ALGORITHMS[sent.algorithm]
    a2 = function(method.encode("utf-8") + b":" + sent.uri)
    return function(b":".join([hashed, sent.nonce, sent.nc, sent.cnonce, b"auth", a2]))


def parse_digest(credentials: bytes, *, max_bytes: int) -> DigestCredentials:
    """Digest credentials with qop=auth (RFC 7616 §3.4).

    Raises:
        AuthRequired: malformed, too long, without qop=auth, or with a hashed user
            name.  Holds no part of the credentials.
    """
    if len(credentials) > max_bytes:
        raise AuthRequired("Digest credentials are too long")
    params = parse_auth_params(credentials)
    if params.get("qop") != b"auth":
        raise AuthRequired("Digest credentials are not of qop=auth")
    if params.get("userhash", b"false").lower() != b"false":
        raise AuthRequired("Digest credentials hash the user name, which is not offered here")
    for name in ("realm", "nonce", "uri", "cnonce", "nc", "response"):
        if name not in params:
            raise AuthRequired(f"Digest credentials have no {name}")
        if (form := _FORMS.get(name)) is not None and not form.fullmatch(params[name]):
            raise AuthRequired(f"the {name} of the Digest credentials is malformed")
    # RFC 7616 §3.4: nc counts the requests sent, "including the current request".
    if params["nc"] == b"00000000":
        raise AuthRequired("the nc of the Digest credentials is malformed")
    algorithm = params.get("algorithm", b"MD5").decode("latin-1")
    return DigestCredentials(
        name=_user_name(params),
        realm=params["realm"],
        nonce=params["nonce"],
        uri=params["uri"],
        algorithm=_BY_LOWER_CASE.get(algorithm.lower(), algorithm),
        cnonce=params["cnonce"],
        nc=params["nc"],
        response=params["response"],
    )


def parse_auth_params(text: bytes) -> dict[str, bytes]:
    """``#auth-param`` (RFC 9110 §11.2): lower-case name → value without quotes and escapes.

    Raises:
        AuthRequired: it is none, a name occurs twice, or a value holds a control character.
    """
    params: dict[str, bytes] = {}
    at = len(text) - len(text.lstrip(b" \t,"))
    while at < len(text):
        match = _PARAM.match(text, at)
        if match is None:
            raise AuthRequired("malformed parameters of the credentials")
        name = match[1].decode("ascii").lower()
        if name in params:
            raise AuthRequired("a parameter of the credentials occurs twice")
        params[name] = match[2] or _QUOTED_PAIR.sub(rb"\1", match[3] or b"")
        at = match.end()
        if at < len(text):
            commas = _COMMAS.match(text, at)
            if commas is None:
                raise AuthRequired("malformed parameters of the credentials")
            at = commas.end()
    return params


def _user_name(params: dict[str, bytes]) -> str:
    """The name from ``username``, or from ``username*`` where .NET puts one beyond ASCII."""
    if ("username" in params) is ("username*" in params):
        raise AuthRequired("Digest credentials need one of username and username*")
    octets = params.get("username", b"")
    if match := _EXTENDED.fullmatch(params.get("username*", b"")):
        octets = unquote_to_bytes(match[1])
    try:
        name = octets.decode("utf-8")
    except UnicodeDecodeError:
        name = ""
    if not name or _CONTROL.search(name):
        raise AuthRequired("the user name of the Digest credentials is malformed")
    return name


def _uris(method: str, target: bytes) -> tuple[bytes, ...]:
    """What ``uri`` may be for a request; see the module's "uri"."""
    if method == "CONNECT":
        return target, b"/"
    match = _ABSOLUTE_FORM.fullmatch(target)
    if match is None:
        return (target,)
    return target, (match[1] or b"/") + (match[2] or b"")
