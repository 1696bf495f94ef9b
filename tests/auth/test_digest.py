"""Digest credentials: parsed strictly, bound to their request, each count taken once, never shown."""

from __future__ import annotations

import hashlib
import itertools
import traceback
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.auth.digest import (
    COUNT_WINDOW,
    MAX_BESIDE_URI_BYTES,
    DigestAuthenticator,
    DigestStale,
    Nonces,
    parse_auth_params,
    parse_digest,
)
from wsproxy.auth.digest_users import (
    ALGORITHMS,
    DigestUser,
    DigestUsers,
    hash_digest_password,
)
from wsproxy.auth.proof import Proof
from wsproxy.errors import AuthRequired
from wsproxy.model import Identity

REALM = "wsproxy"
ALICE = Identity("alice", frozenset({"desk"}))
BOB = Identity('bøb "x\\y"')
PASSWORDS = {ALICE: "wonder:länd", BOB: "builder"}
WRONG = "wrong user name or password"
STALE = "the nonce of the Digest credentials is too old or was used before"
FUNCTIONS = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


def users_of(passwords: dict[Identity, str], *, realm: str = REALM) -> DigestUsers:
    """A file of these users."""
    return DigestUsers(
        realm,
        {
            who.user: DigestUser(
                who, hash_digest_password(who.user, realm=realm, password=password.encode())
            )
            for who, password in passwords.items()
        },
    )


def nonce_of(challenge: bytes) -> bytes:
    scheme, _, rest = challenge.partition(b" ")
    assert scheme == b"Digest"
    return parse_auth_params(rest)["nonce"]


def quoted(text: bytes) -> bytes:
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def answer(
    nonce: bytes,
    replaced: dict[str, bytes | None] | None = None,
    *,
    user: str = "alice",
    password: str = "wonder:länd",
    realm: str = REALM,
    algorithm: str = "SHA-256",
    method: str = "CONNECT",
    uri: bytes = b"origin.test:443",
    nc: str = "00000001",
    cnonce: bytes = b"0a4f113b",
) -> bytes:
    """Credentials as a client makes them, without any code of the product.

    Args:
        replaced: parameters as they are to stand there after all; None leaves one out.
    """

    def h(data: bytes) -> bytes:
        return FUNCTIONS[algorithm](data).hexdigest().encode()

    a1 = h(f"{user}:{realm}:{password}".encode())
    a2 = h(method.encode() + b":" + uri)
    response = h(b":".join([a1, nonce, nc.encode(), cnonce, b"auth", a2]))
    params: dict[str, bytes | None] = {
        "username": quoted(user.encode()),
        "realm": quoted(realm.encode()),
        "nonce": quoted(nonce),
        "uri": quoted(uri),
        "response": quoted(response),
        "algorithm": algorithm.encode(),
        "cnonce": quoted(cnonce),
        "qop": b"auth",
        "nc": nc.encode(),
    }
    params |= replaced or {}
    return b", ".join(b"%b=%b" % (n.encode(), v) for n, v in params.items() if v is not None)


def tunnel(credentials: bytes, *, now: float = 0.0) -> Proof:
    return Proof(credentials, "CONNECT", b"origin.test:443", now)


def refusal(authenticator: DigestAuthenticator, proof: Proof) -> AuthRequired:
    """The error `proof` must meet."""
    with pytest.raises(AuthRequired) as caught:
        authenticator.authenticate_nowait(proof)
    return caught.value


@pytest.fixture
def authenticator() -> DigestAuthenticator:
    return DigestAuthenticator(users_of(PASSWORDS))


@pytest.fixture
def nonce(authenticator: DigestAuthenticator) -> bytes:
    """A nonce made at 0."""
    return nonce_of(authenticator.challenges(0.0)[0])


# ------------------------------------------------------------------ RFC 7616 §3.9.1

MUFASA = DigestAuthenticator(
    users_of({Identity("Mufasa"): "Circle of Life"}, realm="http-auth@example.org")
)


def rfc(algorithm: bytes, response: bytes) -> Proof:
    credentials = (
        b'username="Mufasa",\r\n realm="http-auth@example.org", uri="/dir/index.html", '
        b'algorithm=%b, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
        b'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, response="%b", '
        b'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    ).replace(b"\r\n", b"") % (algorithm, response)
    return Proof(credentials, "GET", b"/dir/index.html")


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        (b"MD5", b"8ca523f5e9506fed4657c9700eebdbec"),
        (b"SHA-256", b"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_the_rfc_are_right_but_for_the_nonce(
    algorithm: bytes, response: bytes
) -> None:
    assert isinstance(refusal(MUFASA, rfc(algorithm, response)), DigestStale)
    off = response[:-1] + b"0"
    error = refusal(MUFASA, rfc(algorithm, off))
    assert (type(error), error.detail) == (AuthRequired, WRONG)


# ------------------------------------------------------------------ challenge


def test_a_challenge_for_each_algorithm_the_best_first(authenticator: DigestAuthenticator) -> None:
    sha, md5 = authenticator.challenges(12.5)
    nonce = nonce_of(sha)
    assert sha == (
        b'Digest realm="wsproxy", qop="auth", algorithm=SHA-256, nonce="%b", charset=UTF-8' % nonce
    )
    assert md5 == sha.replace(b"SHA-256", b"MD5")


def test_a_stale_nonce_is_told(authenticator: DigestAuthenticator) -> None:
    for challenge in authenticator.challenges(0.0, refusal=DigestStale("old")):
        assert challenge.endswith(b", charset=UTF-8, stale=true")
    for challenge in authenticator.challenges(0.0, refusal=AuthRequired("wrong")):
        assert challenge.endswith(b", charset=UTF-8")


def test_only_what_the_file_has_hashes_for_is_offered_and_taken() -> None:
    everyone = users_of(PASSWORDS)
    authenticator = DigestAuthenticator(DigestUsers(REALM, everyone.by_name, ("SHA-256",)))
    [challenge] = authenticator.challenges(0.0)
    assert b"algorithm=SHA-256," in challenge
    error = refusal(authenticator, tunnel(answer(nonce_of(challenge), algorithm="MD5")))
    assert error.detail == "Digest credentials use an algorithm that is not offered here"


def test_no_two_challenges_share_a_nonce(authenticator: DigestAuthenticator) -> None:
    nonces = [nonce_of(authenticator.challenges(0.0)[0]) for _ in range(100)]
    assert len(set(nonces)) == 100


@pytest.mark.parametrize("realm", ["", " x", 'a"b', "a\\b", "a:b", "a\r\nb", "büro"])
def test_a_realm_that_clients_would_hash_differently_is_refused(realm: str) -> None:
    with pytest.raises(ValueError, match="realm"):
        DigestAuthenticator(DigestUsers(realm, {}))


# ------------------------------------------------------------------ answers


@pytest.mark.parametrize("algorithm", ["SHA-256", "MD5"])
async def test_the_right_password_gives_the_identity_with_groups(
    authenticator: DigestAuthenticator, nonce: bytes, algorithm: str
) -> None:
    assert authenticator.authenticate_nowait(tunnel(answer(nonce, algorithm=algorithm))) == ALICE
    again = answer(nonce, user=BOB.user, password="builder", algorithm=algorithm, nc="00000002")
    assert await authenticator.authenticate(tunnel(again)) == BOB


@pytest.mark.parametrize(
    ("algorithm", "written"),
    [("SHA-256", b"sha-256"), ("MD5", b"md5"), ("MD5", b'"MD5"'), ("MD5", None)],
)
def test_the_name_of_the_algorithm_may_be_written_in_any_way(
    authenticator: DigestAuthenticator, nonce: bytes, algorithm: str, written: bytes | None
) -> None:
    credentials = answer(nonce, {"algorithm": written}, algorithm=algorithm)
    assert authenticator.authenticate_nowait(tunnel(credentials)) == ALICE


def test_what_dotnet_and_requests_send_is_taken(
    authenticator: DigestAuthenticator, nonce: bytes
) -> None:
    name = b"UTF-8''" + quote(BOB.user, safe="").encode()
    extended = {"username": None, "username*": name}
    dotnet = answer(nonce, extended, user=BOB.user, password="builder")
    assert authenticator.authenticate_nowait(tunnel(dotnet)) == BOB
    requests = answer(
        nonce, {"qop": b'"auth"', "userhash": b"false", "opaque": b'""'}, nc="00000002"
    )
    assert authenticator.authenticate_nowait(tunnel(requests)) == ALICE


@pytest.mark.parametrize(
    ("made", "replaced"),
    [
        ({"password": "wonder"}, {}),
        ({"password": ""}, {}),
        ({"user": "Alice"}, {}),
        ({"user": "eve"}, {}),
        ({"user": BOB.user}, {}),
        ({"method": "GET"}, {}),
        ({}, {"response": b"0" * 64}),
        ({}, {"response": b"0" * 32}),
        ({}, {"nc": b"00000002"}),
        ({}, {"cnonce": b"x"}),
        ({}, {"nonce": b"A" * 48}),
        ({}, {"algorithm": b"MD5"}),
        ({}, {"username": b"eve"}),
    ],
)
def test_all_that_is_wrong_gets_the_same_words(
    authenticator: DigestAuthenticator,
    nonce: bytes,
    made: dict[str, str],
    replaced: dict[str, bytes | None],
) -> None:
    arguments = {"user": "alice", "password": "wonder:länd", "method": "CONNECT", **made}
    error = refusal(authenticator, tunnel(answer(nonce, replaced, **arguments)))
    assert (type(error), error.detail) == (AuthRequired, WRONG)


def test_a_wrong_password_is_wrong_whatever_the_nonce(
    authenticator: DigestAuthenticator, nonce: bytes
) -> None:
    for at in [0.0, 1e6]:
        assert (
            type(refusal(authenticator, tunnel(answer(nonce, password="x"), now=at)))
            is AuthRequired
        )
    assert authenticator.authenticate_nowait(tunnel(answer(nonce))) == ALICE


@pytest.mark.parametrize(
    ("other", "detail"),
    [
        ({"realm": b'"elsewhere"'}, "Digest credentials are for another realm"),
        ({"algorithm": b"MD5-sess"}, "Digest credentials use an algorithm that is not offered here"),
        ({"algorithm": b"SHA-512-256"}, "Digest credentials use an algorithm that is not offered here"),
        ({"algorithm": b'"\xff"'}, "Digest credentials use an algorithm that is not offered here"),
        ({"uri": b'"other.test:443"'}, "Digest credentials are for another request-target"),
        ({"qop": b"auth-int"}, "Digest credentials are not of qop=auth"),
        ({"qop": None}, "Digest credentials are not of qop=auth"),
        ({"userhash": b"TRUE"}, "Digest credentials hash the user name, which is not offered here"),
        ({"realm": None}, "Digest credentials have no realm"),
        ({"nonce": None}, "Digest credentials have no nonce"),
        ({"uri": None}, "Digest credentials have no uri"),
        ({"cnonce": None}, "Digest credentials have no cnonce"),
        ({"nc": None}, "Digest credentials have no nc"),
        ({"response": None}, "Digest credentials have no response"),
        ({"nonce": b'""'}, "the nonce of the Digest credentials is malformed"),
        ({"cnonce": b'""'}, "the cnonce of the Digest credentials is malformed"),
        ({"nc": b"1"}, "the nc of the Digest credentials is malformed"),
        ({"nc": b"0000000A"}, "the nc of the Digest credentials is malformed"),
        ({"nc": b"00000000"}, "the nc of the Digest credentials is malformed"),
        ({"nc": b"+0000001"}, "the nc of the Digest credentials is malformed"),
        ({"response": b'"0"'}, "the response of the Digest credentials is malformed"),
        ({"response": b'"%b"' % (b"G" * 32)}, "the response of the Digest credentials is malformed"),
        ({"username": None}, "Digest credentials need one of username and username*"),
        ({"username*": b"UTF-8''alice"}, "Digest credentials need one of username and username*"),
        ({"username": b'""'}, "the user name of the Digest credentials is malformed"),
        ({"username": b'"b\xf8b"'}, "the user name of the Digest credentials is malformed"),
        (
            {"username": None, "username*": b"ISO-8859-1''b%f8b"},
            "the user name of the Digest credentials is malformed",
        ),
        (
            {"username": None, "username*": b"utf-8'en'a%0d%0ab"},
            "the user name of the Digest credentials is malformed",
        ),
        (
            {"username": None, "username*": b"utf-8'en'%ff"},
            "the user name of the Digest credentials is malformed",
        ),
    ],
)  # fmt: skip
def test_what_is_malformed_or_not_offered_is_refused(
    authenticator: DigestAuthenticator, nonce: bytes, other: dict[str, bytes | None], detail: str
) -> None:
    error = refusal(authenticator, tunnel(answer(nonce, other)))
    assert (type(error), error.detail) == (AuthRequired, detail)
    assert (error.__cause__, error.__context__) == (None, None)


@pytest.mark.parametrize(
    ("method", "target", "uri"),
    [
        ("CONNECT", b"origin.test:443", b"origin.test:443"),
        ("CONNECT", b"[::1]:80", b"[::1]:80"),
        ("CONNECT", b"origin.test:443", b"/"),
        ("GET", b"http://origin.test/a?b=c", b"http://origin.test/a?b=c"),
        ("GET", b"http://origin.test/a?b=c", b"/a?b=c"),
        ("POST", b"ws://origin.test:81/a//b/?", b"/a//b/?"),
        ("GET", b"http://origin.test", b"/"),
        ("GET", b"http://origin.test?q", b"/?q"),
        ("GET", b"http://origin.test/?u=http://x/y?z", b"/?u=http://x/y?z"),
        ("GET", b"/origin-form?q", b"/origin-form?q"),
        ("OPTIONS", b"*", b"*"),
    ],
)
def test_a_uri_is_the_request_target_or_its_path(
    authenticator: DigestAuthenticator, nonce: bytes, method: str, target: bytes, uri: bytes
) -> None:
    proof = Proof(answer(nonce, method=method, uri=uri), method, target)
    assert authenticator.authenticate_nowait(proof) == ALICE


@pytest.mark.parametrize(
    ("method", "target", "uri"),
    [
        ("CONNECT", b"origin.test:443", b"ORIGIN.test:443"),
        ("CONNECT", b"origin.test:443", b"origin.test"),
        ("CONNECT", b"origin.test:443", b"https://origin.test:443/"),
        ("CONNECT", b"origin.test:443", b""),
        ("CONNECT", b"http://origin.test/a", b"/a"),
        ("GET", b"http://origin.test/a?b", b"/a"),
        ("GET", b"http://origin.test/a?b", b"/"),
        ("GET", b"http://origin.test/a", b"http://other.test/a"),
        ("GET", b"http://origin.test/a#b", b"/a"),
        ("GET", b"/a", b"http://origin.test/a"),
        ("OPTIONS", b"*", b"/"),
    ],
)
def test_a_uri_of_another_request_is_refused(
    authenticator: DigestAuthenticator, nonce: bytes, method: str, target: bytes, uri: bytes
) -> None:
    error = refusal(authenticator, Proof(answer(nonce, method=method, uri=uri), method, target))
    assert error.detail == "Digest credentials are for another request-target"


# ------------------------------------------------------------------ equal work


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all that is hashed from here on."""
    sizes: list[int] = []

    def counting(function: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
        def count(data: bytes) -> bytes:
            sizes.append(len(data))
            return function(data)

        return count

    for name, function in list(ALGORITHMS.items()):
        monkeypatch.setitem(ALGORITHMS, name, counting(function))
    return sizes


@pytest.mark.parametrize("algorithm", ["SHA-256", "MD5"])
def test_an_unknown_user_costs_what_a_known_one_does(algorithm: str, hashed: list[int]) -> None:
    users = users_of(PASSWORDS)
    md5_only = DigestUser(Identity("carol"), {"MD5": b"0" * 32})
    authenticator = DigestAuthenticator(
        DigestUsers(REALM, {**users.by_name, "carol": md5_only}, users.algorithms)
    )
    nonce = nonce_of(authenticator.challenges(0.0)[0])
    work = []
    for user in ["alice", "eve", "carol"]:
        hashed.clear()
        credentials = answer(nonce, user=user, password="x", algorithm=algorithm)
        assert refusal(authenticator, tunnel(credentials)).detail == WRONG
        work.append(tuple(hashed))
    assert len(work[0]) == 2
    assert len(set(work)) == 1


# ------------------------------------------------------------------ stale, replayed


def test_a_nonce_is_good_for_its_life(authenticator: DigestAuthenticator) -> None:
    nonce = nonce_of(authenticator.challenges(100.0)[0])
    assert authenticator.authenticate_nowait(tunnel(answer(nonce), now=399.9)) == ALICE
    for at in [99.9, 400.0, 1e9]:
        error = refusal(authenticator, tunnel(answer(nonce, nc="00000002"), now=at))
        assert isinstance(error, DigestStale)
        assert (error.stale, error.detail) == (True, STALE)
    again = tunnel(answer(nonce, nc="00000002"), now=399.9)
    assert authenticator.authenticate_nowait(again) == ALICE


@pytest.mark.parametrize("user", ["alice", BOB.user])
def test_a_count_is_taken_once_whoever_asks(
    authenticator: DigestAuthenticator, nonce: bytes, user: str
) -> None:
    proof = tunnel(answer(nonce))
    assert authenticator.authenticate_nowait(proof) == ALICE
    password = {who.user: word for who, word in PASSWORDS.items()}[user]
    for again in [proof, tunnel(answer(nonce, user=user, password=password, cnonce=b"new"))]:
        assert isinstance(refusal(authenticator, again), DigestStale)


def test_a_refused_request_uses_up_no_count(
    authenticator: DigestAuthenticator, nonce: bytes
) -> None:
    refusal(authenticator, tunnel(answer(nonce, password="x")))
    refusal(authenticator, Proof(answer(nonce), "CONNECT", b"other.test:443"))
    assert authenticator.authenticate_nowait(tunnel(answer(nonce))) == ALICE


def test_a_nonce_of_another_authenticator_is_stale(nonce: bytes) -> None:
    renewed = DigestAuthenticator(users_of(PASSWORDS))
    assert isinstance(refusal(renewed, tunnel(answer(nonce))), DigestStale)


@pytest.mark.parametrize(
    "nonce", [b"x", b"A" * 48, b"A" * 47 + b"=", b"!" * 48, b"A" * 52, b"\xff" * 48]
)
def test_an_invented_nonce_is_stale(authenticator: DigestAuthenticator, nonce: bytes) -> None:
    assert isinstance(refusal(authenticator, tunnel(answer(nonce))), DigestStale)


@pytest.mark.parametrize("at", range(0, 48, 5))
def test_a_changed_nonce_is_not_ours(at: int) -> None:
    nonces = Nonces(life_s=300.0, max_used=4)
    nonce = nonces.make(0.0)
    other = b"B" if nonce[at : at + 1] == b"A" else b"A"
    assert not nonces.use(nonce[:at] + other + nonce[at + 1 :], 1, now=0.0)
    assert nonces.use(nonce, 1, now=0.0)


def test_counts_may_overtake_each_other_within_the_window() -> None:
    nonces = Nonces(life_s=300.0, max_used=4)
    nonce = nonces.make(0.0)

    def use(*counts: int) -> list[bool]:
        return [nonces.use(nonce, count, now=0.0) for count in counts]

    assert use(3, 1, 2, 4) == [True] * 4
    assert use(1, 2, 3, 4) == [False] * 4
    assert use(4 + COUNT_WINDOW - 1) == [True]
    assert use(4, 5, 5) == [False, True, False]
    assert use(5 + COUNT_WINDOW) == [True]
    assert use(5, 6, 6) == [False, True, False]
    assert use(0xFFFFFFFF, 0xFFFFFFFF) == [True, False]
    assert use(7, 0xFFFFFFFF - COUNT_WINDOW) == [False, False]
    assert use(0xFFFFFFFF - COUNT_WINDOW + 1) == [True]


@given(st.lists(st.one_of(st.integers(1, 40), st.integers(1, 3 * COUNT_WINDOW)), max_size=60))
def test_whatever_order_no_count_is_taken_twice_nor_refused_in_the_window(
    counts: list[int],
) -> None:
    nonces = Nonces(life_s=300.0, max_used=1)
    nonce = nonces.make(0.0)
    taken: set[int] = set()
    for count in counts:
        expected = count not in taken and count > max(taken, default=0) - COUNT_WINDOW
        assert nonces.use(nonce, count, now=0.0) is expected
        if expected:
            taken.add(count)


def test_challenges_take_no_memory_and_uses_a_bounded_one() -> None:
    nonces = Nonces(life_s=300.0, max_used=3)
    made = [nonces.make(float(n)) for n in range(10)]
    assert len(nonces) == 0
    for nonce in made:
        assert nonces.use(nonce, 1, now=10.0)
    assert len(nonces) == 3


def test_a_forgotten_nonce_is_used_up_and_one_in_use_stays() -> None:
    nonces = Nonces(life_s=300.0, max_used=2)
    busy, idle, unused, late = (nonces.make(float(n)) for n in range(4))
    assert nonces.use(busy, 1, now=9.0)
    assert nonces.use(idle, 1, now=9.0)
    assert nonces.use(busy, 2, now=9.0)
    assert nonces.use(late, 1, now=9.0)
    # `idle` of 1.0 was forgotten: neither it nor what is as old and has no record is good.
    assert not nonces.use(idle, 1, now=9.0)
    assert not nonces.use(idle, 2, now=9.0)
    assert nonces.use(busy, 3, now=9.0)
    assert nonces.use(unused, 1, now=9.0)


def test_what_was_forgotten_first_stays_used_up_when_an_older_one_follows() -> None:
    nonces = Nonces(life_s=300.0, max_used=2)
    older, newer, third, fourth = (nonces.make(float(n)) for n in range(4))
    for nonce, count in [(newer, 1), (older, 1), (third, 1), (fourth, 1)]:
        assert nonces.use(nonce, count, now=9.0)
    assert not nonces.use(newer, 1, now=9.0)


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(1, 3)), max_size=80), st.integers(1, 4))
def test_however_little_is_remembered_nothing_is_taken_twice(
    uses: list[tuple[int, int]], max_used: int
) -> None:
    nonces = Nonces(life_s=300.0, max_used=max_used)
    made = [nonces.make(float(n // 2)) for n in range(8)]
    taken = [use for use in uses if nonces.use(made[use[0]], use[1], now=5.0)]
    assert len(taken) == len(set(taken))
    assert len(nonces) <= max_used


# ------------------------------------------------------------------ parsing


@pytest.mark.parametrize(
    ("text", "params"),
    [
        (b"", {}),
        (b"a=b", {"a": b"b"}),
        (b'A = "b c" ,\tD\t=\te', {"a": b"b c", "d": b"e"}),
        (b', ,a=b,, c="d,e=f",', {"a": b"b", "c": b"d,e=f"}),
        (b'a="",b="\\"\\\\\\c"', {"a": b"", "b": b'"\\c'}),
        (b'a="\xc3\xb8\xff"', {"a": b"\xc3\xb8\xff"}),
        (b"username*=UTF-8''b%C3%B8b", {"username*": b"UTF-8''b%C3%B8b"}),
    ],
)
def test_parameters_are_names_and_values(text: bytes, params: dict[str, bytes]) -> None:
    assert parse_auth_params(text) == params


@pytest.mark.parametrize(
    "text",
    [
        b"a", b"a=", b"=b", b"a=b c=d", b'a="b', b'a="b\\"', b'a="b"c', b"a=b;c=d", b"a b=c",
        b'a="\x00"', b'a="\t"', b'a="\x7f"', b'a="\\\r"', b'a="b\r\nc"', b"a=b\r\n", b"\xff=b", b"a=\xff",
        b"YWxpY2U6cHc=", b"a='b c'",
    ],
)  # fmt: skip
def test_malformed_parameters_are_refused(text: bytes) -> None:
    with pytest.raises(AuthRequired) as caught:
        parse_auth_params(text)
    assert caught.value.detail == "malformed parameters of the credentials"


@pytest.mark.parametrize("text", [b"a=b,a=b", b'nc=1,x=y,NC="1"'])
def test_a_parameter_that_occurs_twice_is_refused(text: bytes) -> None:
    with pytest.raises(AuthRequired) as caught:
        parse_auth_params(text)
    assert caught.value.detail == "a parameter of the credentials occurs twice"


def test_the_bound_grows_with_the_request_target(
    authenticator: DigestAuthenticator, nonce: bytes
) -> None:
    path = b"/" + b"p" * 60_000
    proof = Proof(answer(nonce, method="GET", uri=path), "GET", b"http://origin.test" + path)
    assert authenticator.authenticate_nowait(proof) == ALICE
    long = tunnel(answer(nonce, {"x": b"y" * MAX_BESIDE_URI_BYTES}))
    assert refusal(authenticator, long).detail == "Digest credentials are too long"


def test_a_long_malformed_field_is_refused_quickly() -> None:
    for text in [b'a="' + b"\\a" * 30_000, b"a=b" + b"," * 60_000 + b"!", b"a" * 60_000]:
        with pytest.raises(AuthRequired):
            parse_auth_params(text)


TEXTS = st.text("ab=,\"\\ \t*'%\x00é", max_size=30).map(str.encode)


@given(st.one_of(st.binary(max_size=60), TEXTS))
def test_whatever_is_sent_is_parsed_or_refused(text: bytes) -> None:
    try:
        params = parse_auth_params(text)
    except AuthRequired:
        params = {}
    assert all(name == name.lower() for name in params)
    assert not any(octet < 32 or octet == 127 for value in params.values() for octet in value)


NAMES = st.text("abcXYZ019-_*", min_size=1, max_size=6).map(str.lower)
VALUES = st.binary(max_size=9).filter(lambda v: not any(o < 32 or o == 127 for o in v))


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_any_parameters_survive_the_way(params: dict[str, bytes]) -> None:
    text = b", ".join(n.encode() + b"=" + quoted(v) for n, v in params.items())
    assert parse_auth_params(text) == params


MUTABLE = answer(b"nonce", user="bøb")


@given(
    at=st.integers(0, len(MUTABLE)),
    cut=st.integers(0, 9),
    into=st.one_of(st.binary(max_size=6), TEXTS),
)
def test_credentials_changed_anywhere_are_parsed_or_refused(at: int, cut: int, into: bytes) -> None:
    authenticator = DigestAuthenticator(users_of(PASSWORDS))
    changed = MUTABLE[:at] + into + MUTABLE[at + cut :]
    refusal(authenticator, tunnel(changed))


# ------------------------------------------------------------------ secrets


def test_no_secret_gets_into_a_repr_or_an_error(
    authenticator: DigestAuthenticator, nonce: bytes
) -> None:
    users = users_of(PASSWORDS)
    hashes = [h.decode() for user in users.by_name.values() for h in user.hashes.values()]
    credentials = answer(nonce, password="hunter2")
    response = parse_auth_params(credentials)["response"].decode()
    parsed = repr(parse_digest(credentials, max_bytes=MAX_BESIDE_URI_BYTES))
    shown = [repr(authenticator), repr(users), *map(repr, users.by_name.values()), parsed]
    for broken in [credentials, credentials + b",x", credentials + b",nc=1", b'"' + credentials]:
        error = refusal(authenticator, tunnel(broken))
        shown += [repr(error), "".join(traceback.format_exception_only(error))]
    for text, secret in itertools.product(shown, [*hashes, response, "hunter2"]):
        assert secret not in text
