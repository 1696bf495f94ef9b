"""Bearer tokens: signed by the right key for us, or refused in words that hold nothing of them."""

from __future__ import annotations

import base64
import hmac
import json
import traceback
import unicodedata
from typing import Any

import pytest
import trio
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given, settings
from hypothesis import strategies as st
from joserfc import jwe, jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from trio.testing import MockClock

from wsproxy.auth.bearer import (
    DEFAULT_ALGORITHMS,
    MAX_TOKEN_BYTES,
    BearerAuthenticator,
    TokenRules,
    sniff_token,
)
from wsproxy.auth.jwks import JwkSet, JwkSource, parse_jwks
from wsproxy.auth.proof import Proof
from wsproxy.errors import AuthRequired, AuthUnavailable, ConfigError
from wsproxy.model import Identity

RSA, OTHER_RSA = RSAKey.generate_key(2048), RSAKey.generate_key(2048)
EC, EC384 = ECKey.generate_key("P-256"), ECKey.generate_key("P-384")
ED = OKPKey.generate_key("Ed25519")
KEYS: dict[str, Any] = {"rsa": RSA, "ec": EC, "ec384": EC384, "ed": ED}

NOW = 1_800_000_000.0
ISSUER, AUDIENCE = "https://idp.corp", "wsproxy"
ALICE = Identity("alice", frozenset({"desk", "ops"}))


def claims(**more: object) -> dict[str, object]:
    """What a good token says; None leaves a claim out."""
    said = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "groups": ["desk", "ops"],
        "iat": NOW - 10,
        "exp": NOW + 600,
        **more,
    }
    return {name: value for name, value in said.items() if value is not None}


def b64(data: bytes | str | dict[str, Any]) -> bytes:
    if isinstance(data, dict):
        data = json.dumps(data)
    raw = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


class AnyHeader(jws.JWSRegistry):
    """Signs whatever a test wants signed."""

    max_header_length = MAX_TOKEN_BYTES

    def check_header(self, header: dict[str, Any]) -> None:
        pass

    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]


def sign(
    header: dict[str, Any], payload: dict[str, Any] | bytes | None = None, *, key: Any = RSA
) -> bytes:
    """A token signed with `key`, whatever `header` says beside ``alg``."""
    body = claims() if payload is None else payload
    signed = b64(header) + b"." + b64(body)
    return signed + b"." + b64(AnyHeader().get_alg(header["alg"]).sign(signed, key))


def token(key: str = "rsa", alg: str = "RS256", **more: object) -> bytes:
    return sign({"alg": alg, "kid": key, "typ": "JWT"}, claims(**more), key=KEYS[key])


def jwk_set(**keys: Any) -> JwkSet:
    entries = [{**key.as_dict(private=False), "kid": kid} for kid, key in keys.items()]
    return JwkSet(parse_jwks(json.dumps({"keys": entries}).encode()))


class Site:
    """Where the keys come from: what it gives may change, None is that it is down."""

    def __init__(self) -> None:
        self.gives: JwkSet | None = jwk_set(**KEYS)
        self.source = JwkSource(self, name="keys", refresh_s=900, missing_s=30, retry_s=5)

    def __call__(self, last: JwkSet | None) -> JwkSet:
        if self.gives is None:
            raise ConfigError("it is down", file="keys")
        return self.gives


class WallClock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def site() -> Site:
    site = Site()
    site.source.load_now()
    return site


@pytest.fixture
def wall_clock() -> WallClock:
    return WallClock()


def authenticator_of(site: Site, wall_clock: WallClock, **rules: Any) -> BearerAuthenticator:
    said = {"issuer": ISSUER, "audiences": frozenset({AUDIENCE}), **rules}
    return BearerAuthenticator(
        site.source, TokenRules(**said), realm="wsproxy", wall_clock=wall_clock
    )


@pytest.fixture
def authenticator(site: Site, wall_clock: WallClock) -> BearerAuthenticator:
    return authenticator_of(site, wall_clock)


@pytest.fixture
async def running(site: Site, nursery: trio.Nursery, mock_clock: MockClock) -> JwkSource:
    """The source of keys, looking after them."""
    looked = site.source._looked
    nursery.start_soon(site.source.run)
    await looked.wait()
    return site.source


async def refused(authenticator: BearerAuthenticator, credentials: bytes) -> str:
    """The detail of the refusal that `credentials` must meet; they are in no part of it."""
    with pytest.raises(AuthRequired) as caught:
        await authenticator.authenticate(Proof(credentials))
    assert type(caught.value) is AuthRequired
    error: BaseException | None = caught.value
    while error is not None:
        shown = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
        for part in credentials.decode("latin-1").split("."):
            assert len(part) < 8 or part not in shown
            assert len(part) < 8 or _plain(part) not in shown
        assert error.__cause__ is None
        error = error.__context__
    return caught.value.detail


def _plain(part: str) -> str:
    return base64.urlsafe_b64decode(part.encode("ascii", "replace") + b"===").decode("latin-1")


# ------------------------------------------------------------------ good tokens


@pytest.mark.parametrize(
    ("key", "alg"),
    [
        ("rsa", "RS256"), ("rsa", "RS384"), ("rsa", "RS512"), ("rsa", "PS256"), ("rsa", "PS384"),
        ("rsa", "PS512"), ("ec", "ES256"), ("ec384", "ES384"), ("ed", "EdDSA"), ("ed", "Ed25519"),
    ],
)  # fmt: skip
async def test_a_token_of_any_usual_algorithm_proves_user_and_groups(
    authenticator: BearerAuthenticator, key: str, alg: str
) -> None:
    identity = await authenticator.authenticate(Proof(token(key, alg)))
    assert (identity.user, identity.groups) == ("alice", {"desk", "ops"})
    assert (identity.method, identity.expires_at) == ("bearer", NOW + 660)


async def test_a_token_that_was_taken_by_other_rules_proves_nothing(
    authenticator: BearerAuthenticator, site: Site, wall_clock: WallClock
) -> None:
    identity = await authenticator.authenticate(Proof(token()))
    assert authenticator.review(identity) is identity
    assert authenticator_of(site, wall_clock).review(identity) is identity
    assert authenticator_of(site, wall_clock, audiences=None).review(identity) is None
    assert authenticator.review(ALICE) is None


@pytest.mark.parametrize(
    "more",
    [
        {"typ": "JWT"},
        {"typ": "at+JWT"},
        {"typ": "application/at+jwt"},
        {},
        {"kid": None},
        {"jku": "https://evil.example/jwks"},
        {"x5u": 1, "x5c": ["?"], "x5t": None, "made-up": {}},
        {"jwk": OTHER_RSA.as_dict(private=False)},
    ],
)
async def test_what_a_header_may_hold_beside(
    authenticator: BearerAuthenticator, more: dict[str, Any]
) -> None:
    header = {"alg": "RS256", "kid": "rsa", **more}
    assert await authenticator.authenticate(Proof(sign(header)))


@pytest.mark.parametrize(
    ("said", "identity"),
    [
        ({"groups": None}, Identity("alice")),
        ({"groups": []}, Identity("alice")),
        ({"groups": ""}, Identity("alice")),
        ({"groups": " desk,ops, "}, ALICE),
        ({"groups": "desk ops"}, ALICE),
        ({"groups": ["Domain Users", "CN=a,DC=b"]}, Identity("alice", frozenset({"Domain Users", "CN=a,DC=b"}))),
        ({"sub": "system:serviceaccount:a b"}, Identity("system:serviceaccount:a b", ALICE.groups)),
        ({"aud": ["other", AUDIENCE, 1]}, ALICE),
        ({"exp": NOW - 59}, ALICE),
        ({"exp": NOW + 0.5}, ALICE),
        ({"nbf": NOW + 59}, ALICE),
        ({"nbf": 0, "iat": NOW + 59}, ALICE),
        ({"iat": None}, ALICE),
    ],
)  # fmt: skip
async def test_what_claims_may_say(
    authenticator: BearerAuthenticator, said: dict[str, object], identity: Identity
) -> None:
    got = await authenticator.authenticate(Proof(token(**said)))
    assert (got.user, got.groups) == (identity.user, identity.groups)


@pytest.mark.parametrize(
    ("path", "said", "groups"),
    [
        ("realm_access.roles", {"realm_access": {"roles": ["a", "b"]}}, {"a", "b"}),
        ("realm_access.roles", {"realm_access": {}}, set()),
        ("realm_access.roles", {"realm_access": "roles"}, set()),
        ("realm_access.roles", {"realm_access.roles": "a"}, {"a"}),
        ("https://corp.example/groups", {"https://corp.example/groups": ["a"]}, {"a"}),
        ("scope", {"scope": "a b"}, {"a", "b"}),
    ],
)
async def test_groups_may_be_in_any_claim(
    site: Site, wall_clock: WallClock, path: str, said: dict[str, object], groups: set[str]
) -> None:
    authenticator = authenticator_of(site, wall_clock, groups_claim=path)
    assert (await authenticator.authenticate(Proof(token(**said)))).groups == groups


async def test_the_user_may_be_in_any_claim(site: Site, wall_clock: WallClock) -> None:
    authenticator = authenticator_of(site, wall_clock, user_claim="act.email")
    identity = await authenticator.authenticate(Proof(token(act={"email": "a@b"})))
    assert identity.user == "a@b"
    assert await refused(authenticator, token()) == "the token names no user"


async def test_issuer_and_audience_are_compared_only_where_they_are_configured(
    site: Site, wall_clock: WallClock, authenticator: BearerAuthenticator
) -> None:
    anybodys = authenticator_of(site, wall_clock, issuer=None, audiences=None)
    assert await anybodys.authenticate(Proof(token(iss="x", aud="y")))
    assert await anybodys.authenticate(Proof(token(iss=None, aud=None)))
    assert anybodys.warnings == (
        "keys: tokens for any issuer are accepted; configure the issuer",
        "keys: tokens for any audience are accepted; configure the audience",
    )
    assert authenticator.warnings == ()


# ------------------------------------------------------------------ bad tokens


GOOD = sign({"alg": "RS256", "kid": "rsa", "typ": "JWT"})
HEADER, PAYLOAD, SIGNATURE = GOOD.split(b".")
PEM = RSA.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

NO_JWT = "the token is no signed JWT"
WRONG = "the token's signature is wrong"
ALGORITHM = "the token is not signed with an accepted algorithm"
UNKNOWN = "the token is signed with a key that is not known"
TYPE = "the token is of another type"
EXTENSIONS = "the token needs extensions that are not understood"


def hs256(secret: bytes, header: dict[str, Any]) -> bytes:
    signed = b64(header) + b"." + PAYLOAD
    return signed + b"." + b64(hmac.digest(secret, signed, "sha256"))


def flipped(segment: bytes, at: int) -> bytes:
    return segment[:at] + (b"A" if segment[at : at + 1] != b"A" else b"B") + segment[at + 1 :]


BAD = [
    # no token
    (b"", NO_JWT), (b"x", NO_JWT), (b"a.b", NO_JWT), (b"..", NO_JWT), (b"a..", NO_JWT), (b"a.b.c.d", NO_JWT),
    (b"a.b.c.d.e.f", NO_JWT), (b"\xff.\xff.\xff", NO_JWT), (GOOD + b"=", NO_JWT), (GOOD + b"\n", NO_JWT),
    (b" " + GOOD, NO_JWT), (GOOD + b" x", NO_JWT), (GOOD.replace(b".", b","), NO_JWT),
    (b"A." + PAYLOAD + b".A", NO_JWT), (b64("[]") + b"." + PAYLOAD + b".A", NO_JWT),
    (b64('"alg"') + b"." + PAYLOAD + b".A", NO_JWT), (b64("[" * 9000) + b"." + PAYLOAD + b".A", NO_JWT),
    (b64('{"alg":"RS256","alg":"RS256"}') + b"." + PAYLOAD + b".A", NO_JWT),
    (b"A" * (MAX_TOKEN_BYTES + 2), "the token is too long"),
    (GOOD + b"A" * MAX_TOKEN_BYTES, "the token is too long"),
    # encrypted
    (jwe.encrypt_compact({"alg": "dir", "enc": "A128GCM"}, GOOD, OctKey.generate_key(128)).encode(),
     "encrypted tokens are not accepted"),
    # algorithm
    (b64({"alg": "none"}) + b"." + PAYLOAD + b".", ALGORITHM),
    (b64({"alg": "None", "kid": "rsa"}) + b"." + PAYLOAD + b"." + SIGNATURE, ALGORITHM),
    (b64({"alg": "nOnE"}) + b"." + PAYLOAD + b".", ALGORITHM),
    (b64({"kid": "rsa"}) + b"." + PAYLOAD + b"." + SIGNATURE, ALGORITHM),
    (b64({"alg": ["RS256"], "kid": "rsa"}) + b"." + PAYLOAD + b"." + SIGNATURE, ALGORITHM),
    (b64({"alg": None, "kid": "rsa"}) + b"." + PAYLOAD + b"." + SIGNATURE, ALGORITHM),
    (hs256(PEM, {"alg": "HS256", "kid": "rsa"}), ALGORITHM), (hs256(b"", {"alg": "HS256"}), ALGORITHM),
    (sign({"alg": "ES256K", "kid": "k"}, key=ECKey.generate_key("secp256k1")), ALGORITHM),
    (sign({"alg": "Ed448", "kid": "ed"}, key=OKPKey.generate_key("Ed448")), ALGORITHM),
    (b64({"alg": "dir", "enc": "A128GCM"}) + b"." + PAYLOAD + b".A", ALGORITHM),
    # key
    (sign({"alg": "RS256", "kid": "other"}), UNKNOWN), (sign({"alg": "RS256", "kid": ""}), UNKNOWN),
    (sign({"alg": "RS256", "kid": "ec"}), UNKNOWN), (sign({"alg": "EdDSA", "kid": "rsa"}, key=ED), UNKNOWN),
    (sign({"alg": "ES256", "kid": "ec384"}, key=EC), UNKNOWN), (sign({"alg": "RS256", "kid": 1}), NO_JWT),
    (sign({"alg": "RS256", "kid": "../../dev/null"}), UNKNOWN),
    # signature
    (sign({"alg": "RS256", "kid": "rsa"}, key=OTHER_RSA), WRONG), (sign({"alg": "RS256"}, key=OTHER_RSA), WRONG),
    (sign({"alg": "RS256", "kid": "rsa", "jwk": OTHER_RSA.as_dict(private=False)}, key=OTHER_RSA), WRONG),
    (sign({"alg": "RS256", "kid": "rsa", "jku": "https://e/", "x5u": "https://e/"}, key=OTHER_RSA), WRONG),
    (b64({"alg": "PS256", "kid": "rsa"}) + b"." + PAYLOAD + b"." + SIGNATURE, WRONG),
    (b64({"alg": "ES256", "kid": "ec"}) + b"." + PAYLOAD + b"." + SIGNATURE, WRONG),
    (b64({"alg": "ES256", "kid": "ec"}) + b"." + PAYLOAD + b"." + b64(b"\0" * 64), WRONG),
    (b64({"alg": "EdDSA", "kid": "ed"}) + b"." + PAYLOAD + b"." + b64(b"\0" * 64), WRONG),
    (HEADER + b"." + PAYLOAD + b".", WRONG), (HEADER + b"." + PAYLOAD + b".A", WRONG),
    (HEADER + b"." + PAYLOAD + b"." + flipped(SIGNATURE, 0), WRONG),
    (HEADER + b"." + PAYLOAD + b"." + flipped(SIGNATURE, 100), WRONG),
    (HEADER + b"." + PAYLOAD + b"." + SIGNATURE[:-4], WRONG), (GOOD + b"AAAA", WRONG),
    (HEADER + b"." + flipped(PAYLOAD, 30) + b"." + SIGNATURE, WRONG), (HEADER + b".A." + SIGNATURE, WRONG),
    (HEADER + b"." + b64(claims(sub="root")) + b"." + SIGNATURE, WRONG),
    (b64({"alg": "RS256", "kid": "rsa"}) + b"." + PAYLOAD + b"." + SIGNATURE, WRONG),
    # header
    (sign({"alg": "RS256", "kid": "rsa", "crit": ["exp"]}), EXTENSIONS),
    (sign({"alg": "RS256", "kid": "rsa", "crit": []}), EXTENSIONS),
    (sign({"alg": "RS256", "kid": "rsa", "crit": 1}), EXTENSIONS),
    (sign({"alg": "RS256", "kid": "rsa", "b64": False}), EXTENSIONS),
    (sign({"alg": "RS256", "kid": "rsa", "b64": True, "crit": ["b64"]}), EXTENSIONS),
    (sign({"alg": "RS256", "kid": "rsa", "typ": "logout+jwt"}), TYPE),
    (sign({"alg": "RS256", "kid": "rsa", "typ": "dpop+jwt"}), TYPE),
    (sign({"alg": "RS256", "kid": "rsa", "typ": 1}), TYPE),
    (sign({"alg": "RS256", "kid": "rsa", "cty": "JWT"}, GOOD), TYPE),
    # claims
    (sign({"alg": "RS256", "kid": "rsa"}, b"plain text"), "the token holds no claims"),
    (sign({"alg": "RS256", "kid": "rsa"}, b"[]"), "the token holds no claims"),
    (sign({"alg": "RS256", "kid": "rsa"}, b'{"sub": "a", "sub": "b"}'), "the token holds no claims"),
    (sign({"alg": "RS256", "kid": "rsa"}, b'{"exp": Infinity}'), "the token holds no claims"),
    (token(exp=None), "the token never expires"),
    (token(exp=NOW - 60), "the token has expired"), (token(exp=0), "the token has expired"),
    (token(exp=str(NOW + 99)), "the token holds a time that is none"),
    (token(exp=True), "the token holds a time that is none"), (token(exp=-1), "the token holds a time that is none"),
    (token(exp=2**70), "the token holds a time that is none"),
    (sign({"alg": "RS256", "kid": "rsa"}, b'{"exp": 1e999}'), "the token holds a time that is none"),
    (token(nbf="soon"), "the token holds a time that is none"), (token(iat=[]), "the token holds a time that is none"),
    (token(nbf=NOW + 61), "the token is not valid yet"), (token(iat=NOW + 61), "the token is not valid yet"),
    (token(iss=None), "the token is from another issuer"), (token(iss=[ISSUER]), "the token is from another issuer"),
    (token(iss=ISSUER + "/"), "the token is from another issuer"),
    (token(aud=None), "the token is for another audience"), (token(aud="other"), "the token is for another audience"),
    (token(aud=["a", 1, None, {}]), "the token is for another audience"),
    (token(aud={AUDIENCE: 1}), "the token is for another audience"),
    (token(aud=AUDIENCE.upper()), "the token is for another audience"),
    (token(sub=None), "the token names no user"), (token(sub=""), "the token names no user"),
    (token(sub=7), "the token names no user"), (token(sub="a" * 513), "the token names no user"),
    (token(sub=" alice"), "the token names no user"), (token(sub="a\r\nb"), "the token names no user"),
    (token(sub="\ud800"), "the token names no user"),
    (token(groups=7), "the token's groups are no list of names"),
    (token(groups=["desk", 7]), "the token's groups are no list of names"),
    (token(groups=["desk", [], None]), "the token's groups are no list of names"),
    (token(groups=["a\nb"]), "the token's groups are no list of names"),
    (token(groups={"desk": 1}), "the token's groups are no list of names"),
    (token(groups=None, _claim_names={"groups": "src1"}),
     "the token does not hold the user's groups but says where they are"),
]  # fmt: skip


@pytest.mark.parametrize(("credentials", "detail"), BAD, ids=range(len(BAD)))
async def test_all_that_is_wrong_is_refused_in_plain_words(
    authenticator: BearerAuthenticator,
    running: JwkSource,
    credentials: bytes,
    detail: str,
) -> None:
    assert await refused(authenticator, credentials) == detail
    try:
        assert authenticator.authenticate_nowait(Proof(credentials)) is None
    except AuthRequired as error:
        assert error.detail == detail
    with pytest.raises(AuthRequired):
        await authenticator.authenticate_password(credentials, user="", now=0.0)


@pytest.mark.parametrize("skew_s", [0.0, 5.0])
async def test_the_skew_is_the_configurations(
    site: Site, wall_clock: WallClock, skew_s: float
) -> None:
    authenticator = authenticator_of(site, wall_clock, skew_s=skew_s)
    assert await authenticator.authenticate(Proof(token(exp=NOW - skew_s + 1)))
    assert await refused(authenticator, token(exp=NOW - skew_s)) == "the token has expired"
    assert await authenticator.authenticate(Proof(token(nbf=NOW + skew_s)))
    assert await refused(authenticator, token(nbf=NOW + skew_s + 1)) == "the token is not valid yet"


async def test_only_configured_algorithms_count(site: Site, wall_clock: WallClock) -> None:
    authenticator = authenticator_of(site, wall_clock, algorithms=frozenset({"ES256"}))
    assert await authenticator.authenticate(Proof(token("ec", "ES256")))
    assert await refused(authenticator, token()) == ALGORITHM


@pytest.mark.parametrize("algorithms", [set(), {"none"}, {"RS256", "HS256"}, {"rs256"}])
def test_no_other_algorithm_can_be_configured(
    site: Site, wall_clock: WallClock, algorithms: set[str]
) -> None:
    with pytest.raises(ValueError, match="algorithms are some of ES256, ES384"):
        authenticator_of(site, wall_clock, algorithms=frozenset(algorithms))
    assert "none" not in DEFAULT_ALGORITHMS


async def test_keys_without_ids_are_tried_a_few_at_most(site: Site, wall_clock: WallClock) -> None:
    others = [OTHER_RSA.as_dict(private=False)]
    mine = RSA.as_dict(private=False)
    for before, accepted in [(3, True), (4, False)]:
        data = json.dumps({"keys": [*others * before, mine]}).encode()
        site.gives = JwkSet(parse_jwks(data))
        site.source.load_now()
        authenticator = authenticator_of(site, wall_clock)
        unnamed = sign({"alg": "RS256"})
        if accepted:
            assert await authenticator.authenticate(Proof(unnamed))
        else:
            assert await refused(authenticator, unnamed) == WRONG


async def test_the_librarys_own_gate_is_shut_as_well(authenticator: BearerAuthenticator) -> None:
    jwk = authenticator._keys.find_nowait("rsa", "RS256")[0]
    assert authenticator._verifies(GOOD, jwk)
    for wrong in [hs256(PEM, {"alg": "HS256"}), b64({"alg": "none"}) + b".e30.", b"a.b.c"]:
        assert not authenticator._verifies(wrong, jwk)


async def test_joserfc_signs_what_we_take(authenticator: BearerAuthenticator) -> None:
    text = jws.serialize_compact({"alg": "ES256", "kid": "ec"}, json.dumps(claims()), EC)
    assert (await authenticator.authenticate(Proof(text.encode()))).user == "alice"


# ------------------------------------------------------------------ memory


async def test_a_good_answer_is_remembered_for_five_minutes(
    authenticator: BearerAuthenticator,
) -> None:
    def known(now: float) -> Identity | None:
        return authenticator.authenticate_nowait(Proof(GOOD, now=now))

    assert known(100.0) is None
    identity = await authenticator.authenticate(Proof(GOOD, now=100.0))
    assert known(100.0) is identity
    assert await authenticator.authenticate(Proof(GOOD, now=399.9)) is identity
    assert known(399.9) is identity
    assert known(400.0) is None


async def test_no_answer_outlives_its_token(
    authenticator: BearerAuthenticator, wall_clock: WallClock
) -> None:
    short = token(exp=NOW + 30)
    identity = await authenticator.authenticate(Proof(short))
    wall_clock.now = NOW + 89
    assert authenticator.authenticate_nowait(Proof(short)) is identity
    wall_clock.now = NOW + 90
    assert identity.expires_at == wall_clock.now
    with pytest.raises(AuthRequired) as caught:
        authenticator.authenticate_nowait(Proof(short))
    assert caught.value.detail == "the token has expired"
    assert await refused(authenticator, short) == "the token has expired"


async def test_a_bad_answer_is_not_remembered(
    authenticator: BearerAuthenticator, wall_clock: WallClock
) -> None:
    early = token(nbf=NOW + 61)
    assert await refused(authenticator, early) == "the token is not valid yet"
    wall_clock.now += 1
    assert await authenticator.authenticate(Proof(early))


async def test_the_memory_is_bounded(
    site: Site, wall_clock: WallClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsproxy.auth.bearer._GOOD_ENTRIES", 2)
    authenticator = authenticator_of(site, wall_clock)
    tokens = [token("ed", "EdDSA", jti=str(number)) for number in range(3)]
    for one in tokens:
        await authenticator.authenticate(Proof(one))
    known = [authenticator.authenticate_nowait(Proof(one)) is not None for one in tokens]
    assert known == [False, True, True]


async def test_no_token_is_kept_or_shown(authenticator: BearerAuthenticator) -> None:
    identity = await authenticator.authenticate(Proof(GOOD))
    kept = f"{authenticator!r}{identity!r}{vars(authenticator)}{authenticator._good._entries}"
    for part in (HEADER, PAYLOAD, SIGNATURE):
        assert part.decode() not in kept
    assert [len(digest) for digest in authenticator._good._entries] == [32]


def test_two_authenticators_share_no_digests(site: Site, wall_clock: WallClock) -> None:
    one, other = (authenticator_of(site, wall_clock) for _ in range(2))
    assert one._digest(GOOD) != other._digest(GOOD)


# ------------------------------------------------------------------ keys that change


async def test_a_new_key_is_found_and_a_withdrawn_one_takes_its_tokens_with_it(
    authenticator: BearerAuthenticator, running: JwkSource, site: Site, mock_clock: MockClock
) -> None:
    assert await authenticator.authenticate(Proof(GOOD))
    site.gives = jwk_set(next=OTHER_RSA)
    renewed = sign({"alg": "RS256", "kid": "next"}, key=OTHER_RSA)
    assert await refused(authenticator, renewed) == UNKNOWN
    mock_clock.jump(30.1)
    assert await authenticator.authenticate(Proof(renewed))
    assert authenticator.authenticate_nowait(Proof(GOOD)) is None
    assert await refused(authenticator, GOOD) == UNKNOWN


async def test_with_the_keys_away_the_old_ones_count(
    authenticator: BearerAuthenticator, running: JwkSource, site: Site, mock_clock: MockClock
) -> None:
    site.gives = None
    looked = site.source._looked
    mock_clock.jump(901)
    await looked.wait()
    assert await authenticator.authenticate(Proof(GOOD))


async def test_with_no_keys_ever_nobody_gets_in(
    wall_clock: WallClock, nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    site = Site()
    site.gives = None
    nursery.start_soon(site.source.run)
    authenticator = authenticator_of(site, wall_clock)
    with pytest.raises(AuthUnavailable):
        await authenticator.authenticate(Proof(GOOD))
    with pytest.raises(AuthUnavailable):
        await authenticator.authenticate_password(GOOD, user="", now=0.0)
    assert await refused(authenticator, b"x") == NO_JWT


# ------------------------------------------------------------------ as a password


async def test_a_token_may_come_as_a_basic_password(authenticator: BearerAuthenticator) -> None:
    assert authenticator.authenticate_password_nowait(GOOD, user="", now=0.0) is None
    for user in ["", "alice"]:
        got = await authenticator.authenticate_password(GOOD, user=user, now=0.0)
        assert (got.user, got.groups) == (ALICE.user, ALICE.groups)
        assert authenticator.authenticate_password_nowait(GOOD, user=user, now=0.0) is got
    for user in ["bob", "Alice", " alice"]:
        with pytest.raises(AuthRequired) as caught:
            await authenticator.authenticate_password(GOOD, user=user, now=0.0)
        assert caught.value.detail == "the token is another user's"
        with pytest.raises(AuthRequired):
            authenticator.authenticate_password_nowait(GOOD, user=user, now=0.0)
    with pytest.raises(AuthRequired) as caught:
        authenticator.authenticate_password_nowait(b"hunter2", user="", now=0.0)
    assert caught.value.detail == NO_JWT


@pytest.mark.parametrize(
    ("password", "is_token"),
    [
        (GOOD, True),
        (b64({"alg": "none"}) + b".e30.", True),
        (b"", False),
        (b"hunter2", False),
        (b"a.b.c", False),
        (b"e30.e30.e30", False),
        (GOOD + b"A" * MAX_TOKEN_BYTES, False),
    ],
)
def test_a_password_that_is_a_token_is_told_from_one_that_is_none(
    password: bytes, is_token: bool
) -> None:
    assert sniff_token(password) is is_token


# ------------------------------------------------------------------ challenge


def test_the_challenge_names_the_realm_and_the_error_only_of_a_token(
    authenticator: BearerAuthenticator,
) -> None:
    assert authenticator.scheme == "Bearer"
    assert authenticator.challenges(0.0) == [b'Bearer realm="wsproxy"']
    refusal = AuthRequired("the token has expired")
    assert authenticator.challenges(0.0, refusal=refusal) == [b'Bearer realm="wsproxy"']
    refusal.scheme = "Basic"
    assert authenticator.challenges(0.0, refusal=refusal) == [b'Bearer realm="wsproxy"']
    refusal.scheme = "Bearer"
    assert authenticator.challenges(0.0, refusal=refusal) == [
        b'Bearer realm="wsproxy", error="invalid_token", error_description="the token has expired"'
    ]


@pytest.mark.parametrize(
    ("realm", "challenge"),
    [('a "b" \\', b'Bearer realm="a \\"b\\" \\\\"'), ("büro", 'Bearer realm="büro"'.encode())],
)
def test_the_realm_is_quoted(site: Site, realm: str, challenge: bytes) -> None:
    rules = TokenRules(issuer=None, audiences=None)
    one = BearerAuthenticator(site.source, rules, realm=realm, wall_clock=lambda: NOW)
    assert one.challenges(0.0) == [challenge]
    with pytest.raises(ValueError, match="control characters"):
        BearerAuthenticator(site.source, rules, realm=realm + "\r\nX: y", wall_clock=lambda: NOW)


# ------------------------------------------------------------------ whatever comes


unhurried = settings(deadline=None)
"""Each example starts a loop and signs; how long that takes is the machine's affair."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
HEADERS = st.dictionaries(st.sampled_from(["kid", "typ", "crit", "b64", "cty", "jwk", "x"]), JSON)
CLAIMS = st.dictionaries(
    st.sampled_from(["exp", "nbf", "iat", "aud", "iss", "sub", "groups", "_claim_names"]), JSON
)


async def _outcome(credentials: bytes) -> Identity | None:
    site = Site()
    site.source.load_now()
    site.source._looked_at = trio.current_time()
    authenticator = authenticator_of(site, WallClock())
    try:
        return await authenticator.authenticate(Proof(credentials))
    except AuthRequired as error:
        assert error.__context__ is None
        return None


@unhurried
@given(
    st.binary()
    | st.text("eyJab.-_=", max_size=60).map(str.encode)
    | st.lists(st.binary(max_size=30).map(b64), min_size=1, max_size=6).map(b".".join)
)
@example(b"." * 20000)
def test_garbage_is_refused(credentials: bytes) -> None:
    assert trio.run(_outcome, credentials) is None


@unhurried
@given(HEADERS, JSON | CLAIMS)
def test_whatever_is_not_signed_is_refused(header: dict[str, Any], payload: Any) -> None:
    for alg in ["RS256", "ES256", "EdDSA", "none", "HS256"]:
        head, body = b64({**header, "alg": alg}), b64(json.dumps(payload))
        assert trio.run(_outcome, head + b"." + body + b"." + SIGNATURE) is None


@unhurried
@given(HEADERS, CLAIMS)
def test_whatever_is_signed_is_refused_or_proves_a_name(
    header: dict[str, Any], said: dict[str, Any]
) -> None:
    signed = sign({"kid": "ed", **header, "alg": "EdDSA"}, {**claims(), **said}, key=ED)
    identity = trio.run(_outcome, signed)
    if identity is not None:
        assert isinstance(identity, Identity)
        assert NOW < identity.expires_at < 2**54
        for name in [identity.user, *identity.groups]:
            assert name == name.strip() != ""
            assert not {unicodedata.category(character) for character in name} & {"Cc", "Cs"}


@unhurried
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_token_with_any_octet_changed_is_refused(at: int, change: int) -> None:
    changed = bytearray(GOOD)
    changed[at] ^= change
    assert trio.run(_outcome, bytes(changed)) is None
