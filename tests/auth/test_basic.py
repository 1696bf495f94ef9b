"""Basic credentials: parsed strictly, verified once, remembered for a while, never shown."""

from __future__ import annotations

import base64
import threading
import traceback
from functools import partial

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from wsproxy.auth.basic import (
    MAX_CREDENTIALS_BYTES,
    BasicAuthenticator,
    BasicBounds,
    parse_authorization,
    parse_basic,
)
from wsproxy.auth.proof import Proof
from wsproxy.auth.users_file import User, Users, parse_users
from wsproxy.errors import AuthOverloaded, AuthRequired
from wsproxy.model import Identity

ALICE = Identity("alice", frozenset({"desk"}))
BOB = Identity("bob")
USERS = Users(
    {"alice": User(ALICE, "hash of wonder:land"), "bob": User(BOB, "hash of builder")},
    typical_hash="hash of builder",
)
WRONG = "wrong user name or password"


def basic(user_pass: str | bytes) -> bytes:
    """Credentials as a client sends them."""
    return base64.b64encode(user_pass.encode() if isinstance(user_pass, str) else user_pass)


class Verifier:
    """Knows hashes of the form "hash of PASSWORD" and counts; waits while its gate is shut."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bytes]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, hashed: str, password: bytes) -> bool:
        self.calls.append((hashed, password))
        assert self.gate.wait(30), "the test never opened the gate"
        return hashed.encode() == b"hash of " + password


@pytest.fixture
def verifier() -> Verifier:
    return Verifier()


@pytest.fixture
def authenticator(verifier: Verifier) -> BasicAuthenticator:
    bounds = BasicBounds(slots=1, max_pending=4, good_entries=3, bad_entries=3)
    return BasicAuthenticator(USERS, bounds=bounds, verifier=verifier)


async def refused(authenticator: BasicAuthenticator, user_pass: str, *, now: float) -> str:
    """The detail of the refusal that `user_pass` must meet."""
    with pytest.raises(AuthRequired) as caught:
        await authenticator.authenticate(Proof(basic(user_pass), now=now))
    return caught.value.detail


# ------------------------------------------------------------------ parsing


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        (b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", ("basic", b"QWxhZGRpbjpvcGVuIHNlc2FtZQ==")),
        (b"bAsIc   abc=", ("basic", b"abc=")),
        (b"Negotiate", ("negotiate", b"")),
        (b"Digest username=\"x\", realm=\"y z\"", ("digest", b'username="x", realm="y z"')),
        (b"x!#$%&'*+-.^_`|~9 y", ("x!#$%&'*+-.^_`|~9", b"y")),
    ],
)  # fmt: skip
def test_a_credentials_field_is_scheme_and_rest(value: bytes, parsed: tuple[str, bytes]) -> None:
    assert parse_authorization(value) == parsed


@pytest.mark.parametrize(
    "value", [b"", b" Basic x", b"Basic\tx", b"Basic:x", b"Ba\xffic x", b"Basic ", b"B,c x", b"\0"]
)
def test_a_field_without_a_scheme_is_refused(value: bytes) -> None:
    with pytest.raises(AuthRequired) as caught:
        parse_authorization(value)
    assert caught.value.detail == "malformed credentials field"


@pytest.mark.parametrize(
    ("user_pass", "parsed"),
    [
        (b"Aladdin:open sesame", ("Aladdin", b"open sesame")),
        ("test:123£".encode(), ("test", "123£".encode())),
        ("test:123£".encode("latin-1"), ("test", "123£".encode())),
        (b"b\xf8b:\xff\xfe", ("bøb", "ÿþ".encode())),
        (b"a:b:c::", ("a", b"b:c::")),
        (b"DOMAIN\\a b:", ("DOMAIN\\a b", b"")),
        (b":p", ("", b"p")),
        (b":", ("", b"")),
    ],
)
def test_basic_credentials_are_name_and_password(
    user_pass: bytes, parsed: tuple[str, bytes]
) -> None:
    assert parse_basic(basic(user_pass)) == parsed


@pytest.mark.parametrize(
    ("credentials", "detail"),
    [
        (b"", "Basic credentials hold no ':'"),
        (basic("nocolon"), "Basic credentials hold no ':'"),
        (b"YTpi=", "Basic credentials are not base64"),
        (b"YTpi====", "Basic credentials are not base64"),
        (b"====", "Basic credentials are not base64"),
        (b"YTpiYw", "Basic credentials are not base64"),
        (b"YTpiYw=", "Basic credentials are not base64"),
        (b"YTpiYw==YQ==", "Basic credentials are not base64"),
        (b"YTpi YTpi", "Basic credentials are not base64"),
        (b"YTpi\n", "Basic credentials are not base64"),
        (b"YT-_", "Basic credentials are not base64"),
        (b"\xff\xfe\xfd\xfc", "Basic credentials are not base64"),
        (b"a:b!", "Basic credentials are not base64"),
        (basic("a\0:b"), "Basic credentials hold control characters"),
        (basic("a:b\r\nX: y"), "Basic credentials hold control characters"),
        (basic("a:\x7f"), "Basic credentials hold control characters"),
        (basic("a:" + "b" * 3071), "Basic credentials are too long"),
    ],
)
def test_malformed_basic_credentials_are_refused(credentials: bytes, detail: str) -> None:
    with pytest.raises(AuthRequired) as caught:
        parse_basic(credentials)
    assert caught.value.detail == detail


def test_the_longest_credentials_are_taken() -> None:
    credentials = basic("a:" + "b" * 3070)
    assert len(credentials) == MAX_CREDENTIALS_BYTES
    assert parse_basic(credentials) == ("a", b"b" * 3070)


PRINTABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f").filter(
    lambda character: character >= " "
))  # fmt: skip


@given(name=PRINTABLE.map(lambda text: text.replace(":", "")), password=PRINTABLE)
def test_any_name_and_password_survive_the_way(name: str, password: str) -> None:
    assert parse_basic(basic(f"{name}:{password}")) == (name, password.encode())


@given(
    st.one_of(
        st.binary(),
        st.binary().map(base64.b64encode),
        st.text("ABCDab01+/=:- \n").map(str.encode),
    )
)
def test_whatever_is_sent_is_parsed_or_refused(credentials: bytes) -> None:
    try:
        name, password = parse_basic(credentials)
    except AuthRequired:
        pass
    else:
        assert ":" not in name
        assert password.decode("utf-8").isascii() or len(password) > 0


@given(value=st.binary())
def test_whatever_field_is_sent_is_parsed_or_refused(value: bytes) -> None:
    try:
        scheme, _ = parse_authorization(value)
    except AuthRequired:
        pass
    else:
        assert value.lower().startswith(scheme.encode())


# ------------------------------------------------------------------ challenge


@pytest.mark.parametrize(
    ("realm", "challenge"),
    [
        ("wsproxy", b'Basic realm="wsproxy", charset="UTF-8"'),
        ('the "inner" \\ one', b'Basic realm="the \\"inner\\" \\\\ one", charset="UTF-8"'),
        ("büro", b'Basic realm="b\xc3\xbcro", charset="UTF-8"'),
    ],
)
def test_the_challenge_names_realm_and_charset(realm: str, challenge: bytes) -> None:
    assert BasicAuthenticator(USERS, realm=realm).challenges(0.0) == [challenge]


def test_the_realm_of_the_default_is_wsproxy() -> None:
    assert BasicAuthenticator(USERS).challenges(0.0) == [b'Basic realm="wsproxy", charset="UTF-8"']


@pytest.mark.parametrize("realm", ["a\r\nSet-Cookie: x", "a\0", "\x7f"])
def test_a_realm_cannot_inject_a_field(realm: str) -> None:
    with pytest.raises(ValueError, match="control characters"):
        BasicAuthenticator(USERS, realm=realm)


# ------------------------------------------------------------------ answers


async def test_the_right_password_gives_the_identity_with_groups(
    authenticator: BasicAuthenticator,
) -> None:
    assert await authenticator.authenticate(Proof(basic("alice:wonder:land"), now=0.0)) == ALICE
    assert await authenticator.authenticate(Proof(basic("bob:builder"), now=0.0)) == BOB


@pytest.mark.parametrize(
    "user_pass", ["alice:wonder", "alice:", "Alice:wonder:land", "eve:x", ":wonder:land"]
)
async def test_all_that_is_wrong_gets_the_same_words(
    authenticator: BasicAuthenticator, user_pass: str
) -> None:
    assert await refused(authenticator, user_pass, now=0.0) == WRONG
    assert await refused(authenticator, user_pass, now=1.0) == WRONG


async def test_an_unknown_user_costs_one_verification_of_the_usual_cost(
    authenticator: BasicAuthenticator, verifier: Verifier
) -> None:
    await refused(authenticator, "eve:x", now=0.0)
    assert verifier.calls == [("hash of builder", b"x")]


async def test_an_unknown_user_with_the_typical_hashs_password_stays_out(
    authenticator: BasicAuthenticator, verifier: Verifier
) -> None:
    assert verifier("hash of builder", b"builder")
    assert await refused(authenticator, "eve:builder", now=0.0) == WRONG
    with pytest.raises(AuthRequired):
        authenticator.authenticate_nowait(Proof(basic("eve:builder"), now=0.0))


async def test_latin_1_credentials_match_the_hash_of_the_utf_8_password(
    verifier: Verifier,
) -> None:
    users = Users({"bøb": User(Identity("bøb"), "hash of pässwörd")}, typical_hash="hash of x")
    authenticator = BasicAuthenticator(users, verifier=verifier)
    for encoding in ["latin-1", "utf-8"]:
        credentials = basic("bøb:pässwörd".encode(encoding))
        for _ in range(2):
            assert await authenticator.authenticate(Proof(credentials, now=0.0)) == Identity("bøb")
    assert len(verifier.calls) == 2  # each spelling is remembered by itself


async def test_real_hashes_are_verified_by_default() -> None:
    users = parse_users(b"bob:{SHA}VeSJXJfcc/+Y/cqE3Gelkwpghto=\n", "users")
    authenticator = BasicAuthenticator(users)
    assert await authenticator.authenticate(Proof(basic("bob:pw:1"), now=0.0)) == BOB
    assert await refused(authenticator, "bob:pw:2", now=0.0) == WRONG
    assert await refused(authenticator, "eve:pw:1", now=0.0) == WRONG


# ------------------------------------------------------------------ memory


async def test_a_good_answer_is_remembered_for_five_minutes(
    authenticator: BasicAuthenticator, verifier: Verifier
) -> None:
    credentials = basic("alice:wonder:land")
    assert authenticator.authenticate_nowait(Proof(credentials, now=100.0)) is None
    await authenticator.authenticate(Proof(credentials, now=100.0))
    assert authenticator.authenticate_nowait(Proof(credentials, now=399.9)) == ALICE
    assert await authenticator.authenticate(Proof(credentials, now=399.9)) == ALICE
    assert len(verifier.calls) == 1
    assert authenticator.authenticate_nowait(Proof(credentials, now=400.0)) is None
    assert await authenticator.authenticate(Proof(credentials, now=400.0)) == ALICE
    assert len(verifier.calls) == 2


async def test_a_bad_answer_is_remembered_for_ten_seconds(
    authenticator: BasicAuthenticator, verifier: Verifier
) -> None:
    credentials = basic("alice:guess")
    await refused(authenticator, "alice:guess", now=100.0)
    with pytest.raises(AuthRequired) as caught:
        authenticator.authenticate_nowait(Proof(credentials, now=109.9))
    assert caught.value.detail == WRONG
    await refused(authenticator, "alice:guess", now=109.9)
    assert len(verifier.calls) == 1
    assert authenticator.authenticate_nowait(Proof(credentials, now=110.0)) is None
    await refused(authenticator, "alice:guess", now=110.0)
    assert len(verifier.calls) == 2


async def test_a_remembered_name_does_not_let_another_password_in(
    authenticator: BasicAuthenticator,
) -> None:
    await authenticator.authenticate(Proof(basic("alice:wonder:land"), now=0.0))
    assert await refused(authenticator, "alice:wonder", now=0.0) == WRONG
    assert await refused(authenticator, "alice:wonder:land ", now=0.0) == WRONG


def test_malformed_credentials_are_refused_without_waiting(
    authenticator: BasicAuthenticator, verifier: Verifier
) -> None:
    with pytest.raises(AuthRequired) as caught:
        authenticator.authenticate_nowait(Proof(b"?", now=0.0))
    assert caught.value.detail == "Basic credentials are not base64"
    assert verifier.calls == []


async def test_guesses_evict_no_good_answer(
    authenticator: BasicAuthenticator, verifier: Verifier
) -> None:
    await authenticator.authenticate(Proof(basic("alice:wonder:land"), now=0.0))
    for number in range(50):
        await refused(authenticator, f"eve{number}:x", now=1.0)
        await refused(authenticator, f"alice:guess{number}", now=1.0)
    assert authenticator.authenticate_nowait(Proof(basic("alice:wonder:land"), now=2.0)) == ALICE
    assert len(verifier.calls) == 101


async def test_both_memories_are_bounded(verifier: Verifier) -> None:
    people = {f"u{n}": User(Identity(f"u{n}"), "hash of pw") for n in range(4)}
    authenticator = BasicAuthenticator(
        Users(people, typical_hash="hash of pw"),
        bounds=BasicBounds(good_entries=3, bad_entries=2),
        verifier=verifier,
    )
    for number in range(4):
        await authenticator.authenticate(Proof(basic(f"u{number}:pw"), now=0.0))
        await refused(authenticator, f"u{number}:guess", now=0.0)
    good = [authenticator.authenticate_nowait(Proof(basic(f"u{n}:pw"), now=1.0)) for n in range(4)]
    assert good == [None, Identity("u1"), Identity("u2"), Identity("u3")]
    assert authenticator.authenticate_nowait(Proof(basic("u1:guess"), now=1.0)) is None
    with pytest.raises(AuthRequired):
        authenticator.authenticate_nowait(Proof(basic("u2:guess"), now=1.0))


async def test_a_new_authenticator_remembers_nothing(
    authenticator: BasicAuthenticator, verifier: Verifier
) -> None:
    await authenticator.authenticate(Proof(basic("bob:builder"), now=0.0))
    changed = Users({"bob": User(BOB, "hash of rebuilt")}, typical_hash="hash of rebuilt")
    renewed = BasicAuthenticator(changed, verifier=verifier)
    assert renewed.authenticate_nowait(Proof(basic("bob:builder"), now=1.0)) is None
    assert await refused(renewed, "bob:builder", now=1.0) == WRONG
    assert await renewed.authenticate(Proof(basic("bob:rebuilt"), now=1.0)) == BOB


# ------------------------------------------------------------------ many at once


async def test_a_page_full_of_requests_is_one_verification(
    authenticator: BasicAuthenticator, verifier: Verifier
) -> None:
    verifier.gate.clear()
    got: list[Identity] = []

    async def request() -> None:
        got.append(await authenticator.authenticate(Proof(basic("bob:builder"), now=0.0)))

    async with trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(request)
        await wait_all_tasks_blocked()
        assert authenticator.statistics().pending == 1
        verifier.gate.set()
    assert got == [BOB] * 30
    assert len(verifier.calls) == 1


async def test_a_flood_of_invented_names_leaves_room_for_a_user(
    authenticator: BasicAuthenticator, verifier: Verifier
) -> None:
    verifier.gate.clear()
    outcomes: list[str] = []

    async def stranger(number: int) -> None:
        try:
            await authenticator.authenticate(Proof(basic(f"eve{number}:x"), now=0.0))
        except (AuthRequired, AuthOverloaded) as error:
            outcomes.append(type(error).__name__)

    async def bob() -> None:
        outcomes.append(str(await authenticator.authenticate(Proof(basic("bob:builder"), now=0.0))))

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(stranger, number)
        await wait_all_tasks_blocked()
        assert outcomes == ["AuthOverloaded"] * 8
        nursery.start_soon(bob)
        await wait_all_tasks_blocked()
        assert authenticator.statistics().pending == 3
        verifier.gate.set()
    assert sorted(outcomes[8:]) == ["AuthRequired", "AuthRequired", str(BOB)]


async def test_an_overload_is_not_remembered_as_a_wrong_password(
    authenticator: BasicAuthenticator, verifier: Verifier
) -> None:
    verifier.gate.clear()
    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(partial(refused, authenticator, f"bob:x{number}", now=0.0))
        await wait_all_tasks_blocked()
        with pytest.raises(AuthOverloaded) as caught:
            await authenticator.authenticate(Proof(basic("bob:builder"), now=0.0))
        assert caught.value.detail == "too many credentials are waiting to be verified; try again"
        verifier.gate.set()
    assert await authenticator.authenticate(Proof(basic("bob:builder"), now=0.0)) == BOB


# ------------------------------------------------------------------ secrets


@pytest.mark.parametrize(
    "credentials",
    [basic("alice:hunter2"), basic("hunter2"), basic("a:hunter2\n"), b"hunter2", b"a:hunter2\xff"],
)
async def test_no_password_gets_into_an_error(
    authenticator: BasicAuthenticator, credentials: bytes
) -> None:
    with pytest.raises(AuthRequired) as caught:
        await authenticator.authenticate(Proof(credentials, now=0.0))
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert "hunter2" not in shown
    assert credentials.decode("latin-1") not in shown


async def test_no_password_and_no_hash_is_kept_or_shown(
    authenticator: BasicAuthenticator,
) -> None:
    await authenticator.authenticate(Proof(basic("bob:builder"), now=0.0))
    await refused(authenticator, "bob:hunter2", now=0.0)
    assert "builder" not in repr(authenticator)
    assert "hash of" not in repr(USERS)
    remembered = f"{authenticator._good._entries}{authenticator._bad._entries}"
    assert "builder" not in remembered
    assert "hunter2" not in remembered
    for digest in [*authenticator._good._entries, *authenticator._bad._entries]:
        assert len(digest) == 32


def test_two_authenticators_share_no_digests() -> None:
    one, other = BasicAuthenticator(USERS), BasicAuthenticator(USERS)
    assert one._digest(basic("bob:builder")) != other._digest(basic("bob:builder"))
    assert one._digest(basic("bo:bbuilder")) != one._digest(basic("bob:builder"))
