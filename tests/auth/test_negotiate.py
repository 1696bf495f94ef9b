"""Negotiate: tickets of a real KDC are believed, and nothing else is."""

from __future__ import annotations

import base64
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from tests.support.kdc import OTHER, REALM, Realms, start_realms
from wsproxy.auth import negotiate
from wsproxy.auth.negotiate import (
    MAX_CREDENTIALS_BYTES,
    MAX_LEGS,
    NegotiateAuthenticator,
    NegotiateBounds,
    parse_negotiate,
)
from wsproxy.auth.proof import Proof
from wsproxy.errors import AuthContinue, AuthOverloaded, AuthRequired, AuthUnavailable, ConfigError
from wsproxy.model import Identity

HOST = "proxy.corp.example"
TARGET = f"HTTP@{HOST}"
ALICE = Identity("alice")

# RFC 2743 §3.1, RFC 4178 §4.2 and Windows' own names, as DER.
SPNEGO = bytes.fromhex("06062b0601050502")
KERBEROS = bytes.fromhex("06092a864886f712010202")
MS_KERBEROS = bytes.fromhex("06092a864882f712010202")
NEGOEX = bytes.fromhex("060a2b06010401823702021e")
NTLM = bytes.fromhex("060a2b06010401823702020a")
IAKERB = bytes.fromhex("06062b0601050205")
NTLM_NEGOTIATE = b"NTLMSSP\0" + bytes.fromhex("01000000978208e2") + bytes(24)


def der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    if len(body) < 0x80:
        return bytes((tag, len(body))) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + body


def init_token(*mechanisms: bytes, guess: bytes) -> bytes:
    """NegTokenInit, as the first token."""
    types = der(0xA0, der(0x30, *mechanisms))
    inner = der(0xA0, der(0x30, types, der(0xA2, der(0x04, guess))))
    return der(0x60, SPNEGO, inner)


def response_token(*, token: bytes = b"", mic: bytes = b"") -> bytes:
    """NegTokenResp, as all later ones."""
    fields = der(0xA2, der(0x04, token)) if token else b""
    return der(0xA1, der(0x30, fields, der(0xA3, der(0x04, mic)) if mic else b""))


def proof(token: bytes, legs: dict[str, object] | None = None) -> Proof:
    return Proof(base64.b64encode(token), legs={} if legs is None else legs)


def answer_of(value: object) -> bytes:
    assert isinstance(value, bytes)
    scheme, _, token = value.partition(b" ")
    assert scheme == b"Negotiate"
    return base64.b64decode(token, validate=True)


@pytest.fixture(scope="module")
def realms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realms]:
    with start_realms(tmp_path_factory.mktemp("realms")) as realms:
        realms.kadmin("addprinc", "-pw", "secret", "alice")
        realms.kadmin("addprinc", "-pw", "secret", "mallory", realm=OTHER)
        for service in (f"HTTP/{HOST}", "HTTP/other.corp.example", f"host/{HOST}"):
            realms.kadmin("addprinc", "-randkey", service)
        yield realms


@pytest.fixture(scope="module")
def keytab(realms: Realms) -> Path:
    return realms.keytab("proxy", f"HTTP/{HOST}", "HTTP/other.corp.example", f"host/{HOST}")


@pytest.fixture(autouse=True)
def here(realms: Realms, keytab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library reads its files' names from the environment; alice is logged in."""
    for name, value in realms.env.items():
        monkeypatch.setenv(name, value)
    realms.kinit("alice", "secret")


@pytest.fixture
def authenticator(keytab: Path) -> NegotiateAuthenticator:
    return NegotiateAuthenticator(keytab=keytab)


def first_token(realms: Realms, target: str = TARGET, **options: str) -> bytes:
    with realms.client(target, **options) as client:
        return client.token


async def refusal(authenticator: NegotiateAuthenticator, token: bytes) -> str:
    with pytest.raises(AuthRequired) as refused:
        await authenticator.authenticate(proof(token))
    assert type(refused.value) is AuthRequired
    return refused.value.detail


# ---------------------------------------------------------------- who is let in


async def test_a_user_with_a_ticket_is_let_in_and_knows_the_proxy_by_its_answer(
    authenticator: NegotiateAuthenticator, realms: Realms
) -> None:
    assert authenticator.scheme == "Negotiate"
    assert authenticator.challenges(0.0) == [b"Negotiate"]
    with realms.client(TARGET) as client:
        asked = proof(client.token)
        assert authenticator.authenticate_nowait(asked) is None
        assert await authenticator.authenticate(asked) == ALICE
        assert not client.complete
        assert client.step(answer_of(asked.legs["answer"])) == b""
        assert client.complete


async def test_an_answer_without_the_key_does_not_convince_the_client(
    authenticator: NegotiateAuthenticator, realms: Realms
) -> None:
    with realms.client(TARGET) as client:
        asked = proof(client.token)
        await authenticator.authenticate(asked)
        answer = bytearray(answer_of(asked.legs["answer"]))
        answer[-1] ^= 1
        with pytest.raises(RuntimeError, match="Decrypt integrity check failed"):
            client.step(bytes(answer))


async def test_a_ticket_without_spnego_around_it_is_as_good(
    authenticator: NegotiateAuthenticator, realms: Realms
) -> None:
    with realms.client(TARGET, mechanism="kerberos") as client:
        asked = proof(client.token)
        assert await authenticator.authenticate(asked) == ALICE
        client.step(answer_of(asked.legs["answer"]))
        assert client.complete


async def test_without_mutual_authentication_there_may_be_no_answer(
    authenticator: NegotiateAuthenticator, realms: Realms
) -> None:
    asked = proof(first_token(realms, mechanism="kerberos", flag="integrity"), {"answer": b"old"})
    assert await authenticator.authenticate(asked) == ALICE
    assert asked.legs == {}


async def test_what_windows_sends_is_one_leg(
    authenticator: NegotiateAuthenticator, realms: Realms
) -> None:
    guess = first_token(realms, mechanism="kerberos", flag="integrity")
    token = init_token(MS_KERBEROS, KERBEROS, NEGOEX, NTLM, guess=guess)
    assert await authenticator.authenticate(proof(token)) == ALICE


async def test_a_ticket_as_large_as_one_with_a_thousand_groups(
    authenticator: NegotiateAuthenticator, realms: Realms
) -> None:
    addresses = [f"10.{n >> 8}.{n & 255}.1" for n in range(2500)] + ["127.0.0.1"]
    lines = [",".join(addresses[n : n + 40]) for n in range(0, len(addresses), 40)]
    more = "".join(f" extra_addresses = {line}\n" for line in lines)
    realms.configure(more=f" noaddresses = false\n{more}")
    try:
        realms.kinit("alice", "secret")
        asked = proof(first_token(realms))
    finally:
        realms.configure()
    assert 48 * 1024 < len(asked.credentials) < MAX_CREDENTIALS_BYTES
    assert await authenticator.authenticate(asked) == ALICE


async def test_a_new_keytab_is_seen_at_once(realms: Realms) -> None:
    realms.kadmin("addprinc", "-randkey", "HTTP/new.corp.example")
    keytab = realms.keytab("rotated", "HTTP/new.corp.example")
    authenticator = NegotiateAuthenticator(keytab=keytab)
    token = first_token(realms, "HTTP@new.corp.example")
    assert await authenticator.authenticate(proof(token)) == ALICE
    realms.keytab("rotated", "HTTP/new.corp.example")
    realms.kinit("alice", "secret")
    token = first_token(realms, "HTTP@new.corp.example")
    assert await authenticator.authenticate(proof(token)) == ALICE


# ---------------------------------------------------------------- whose realm


async def test_a_user_of_another_realm_is_refused_unless_listed(
    authenticator: NegotiateAuthenticator, realms: Realms, keytab: Path
) -> None:
    realms.kinit(f"mallory@{OTHER}", "secret")
    assert await refusal(authenticator, first_token(realms)) == (
        "users of this Kerberos realm are not let in"
    )
    both = NegotiateAuthenticator(keytab=keytab, realms=[REALM, OTHER])
    assert await both.authenticate(proof(first_token(realms))) == Identity(f"mallory@{OTHER}")
    bare = NegotiateAuthenticator(keytab=keytab, realms=[OTHER], strip_realms=[OTHER])
    assert await bare.authenticate(proof(first_token(realms))) == Identity("mallory")
    realms.kinit("alice", "secret")
    assert await both.authenticate(proof(first_token(realms))) == ALICE
    assert "realm" in await refusal(bare, first_token(realms))


async def test_names_can_be_kept_whole(realms: Realms, keytab: Path) -> None:
    whole = NegotiateAuthenticator(keytab=keytab, strip_realms=())
    assert await whole.authenticate(proof(first_token(realms))) == Identity(f"alice@{REALM}")


# ---------------------------------------------------------------- what a connection remembers


async def test_a_ticket_proves_its_connection_for_as_long_as_it_lasts(
    authenticator: NegotiateAuthenticator, realms: Realms
) -> None:
    realms.kinit("alice", "secret", "-l", "1h")
    asked = replace(proof(first_token(realms)), now=1000.0)
    assert await authenticator.authenticate(asked) == ALICE
    bond = asked.bond
    assert bond is not None
    assert (bond.scheme, bond.identity) == ("negotiate", ALICE)
    skew_s = 300  # which MIT's library adds
    assert 3600 < bond.ends_at - 1000.0 <= 3600 + skew_s
    later = Proof(b"", bond=bond)
    assert authenticator.authenticate_nowait(later) == ALICE
    assert await authenticator.authenticate(later) == ALICE


async def test_a_refused_ticket_proves_nothing(authenticator: NegotiateAuthenticator) -> None:
    asked = proof(init_token(KERBEROS, guess=b"nonsense"))
    with pytest.raises(AuthRequired):
        await authenticator.authenticate(asked)
    assert asked.bond is None


# ---------------------------------------------------------------- tickets that do not count


async def test_a_token_is_good_once_also_for_another_process(
    authenticator: NegotiateAuthenticator, realms: Realms, keytab: Path
) -> None:
    token = first_token(realms)
    await authenticator.authenticate(proof(token))
    assert await refusal(authenticator, token) == "the Kerberos token was used before"
    neighbour = NegotiateAuthenticator(keytab=keytab)
    assert await refusal(neighbour, token) == "the Kerberos token was used before"


async def test_the_replay_cache_can_be_put_elsewhere(
    realms: Realms, keytab: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "replay"
    authenticator = NegotiateAuthenticator(keytab=keytab, replay_cache=cache)
    token = first_token(realms)
    await authenticator.authenticate(proof(token))
    assert cache.stat().st_size
    assert await refusal(authenticator, token) == "the Kerberos token was used before"


async def test_a_ticket_made_with_another_key(realms: Realms, keytab: Path) -> None:
    forged = realms.forged_keytab("forged", f"HTTP/{HOST}", 2)
    detail = await refusal(NegotiateAuthenticator(keytab=forged), first_token(realms))
    assert detail == "the Kerberos ticket was not made with the key in this proxy's keytab"


async def test_a_ticket_made_with_a_newer_key(realms: Realms) -> None:
    realms.kadmin("addprinc", "-randkey", "HTTP/aged.corp.example")
    aged = realms.keytab("aged", "HTTP/aged.corp.example")
    realms.keytab("fresh", "HTTP/aged.corp.example")
    token = first_token(realms, "HTTP@aged.corp.example")
    detail = await refusal(NegotiateAuthenticator(keytab=aged), token)
    assert detail == (
        "this proxy's keytab holds no key of the Kerberos ticket's version; it may be out of date"
    )


async def test_a_ticket_for_another_service_in_the_same_keytab(
    authenticator: NegotiateAuthenticator, realms: Realms
) -> None:
    detail = await refusal(authenticator, first_token(realms, f"host@{HOST}"))
    assert detail == "the Kerberos ticket is for another service"


async def test_a_ticket_for_another_host_is_refused_if_one_is_named(
    realms: Realms, keytab: Path
) -> None:
    strict = NegotiateAuthenticator(keytab=keytab, hostname=HOST.upper())
    assert await strict.authenticate(proof(first_token(realms))) == ALICE
    token = first_token(realms, "HTTP@other.corp.example")
    assert await refusal(strict, token) == "the Kerberos ticket is for another host"
    lenient = NegotiateAuthenticator(keytab=keytab)
    token = first_token(realms, "HTTP@other.corp.example")
    assert await lenient.authenticate(proof(token)) == ALICE


async def test_a_ticket_that_has_expired(tmp_path: Path) -> None:
    with start_realms(tmp_path, at="-1d") as yesterday:
        yesterday.kadmin("addprinc", "-pw", "secret", "alice")
        yesterday.kadmin("addprinc", "-randkey", f"HTTP/{HOST}")
        keytab = yesterday.keytab("proxy", f"HTTP/{HOST}")
        yesterday.kinit("alice", "secret", "-l", "1h")
        token = first_token(yesterday)
    detail = await refusal(NegotiateAuthenticator(keytab=keytab), token)
    assert detail == "the Kerberos ticket has expired"


# ---------------------------------------------------------------- more legs than one


async def test_who_guesses_ntlm_first_is_led_to_kerberos_on_the_same_connection(
    authenticator: NegotiateAuthenticator, realms: Realms
) -> None:
    connection: dict[str, object] = {}
    with realms.client(TARGET, mechanism="kerberos", flag="integrity") as client:
        offer = init_token(NTLM, KERBEROS, guess=NTLM_NEGOTIATE)
        with pytest.raises(AuthContinue) as more:
            await authenticator.authenticate(proof(offer, connection))
        assert KERBEROS in answer_of(more.value.challenge)
        mic = client.mic(der(0x30, NTLM, KERBEROS))
        reply = response_token(token=client.token, mic=mic)

        elsewhere = await refusal(authenticator, reply)
        assert elsewhere == "the Negotiate token is not one of Kerberos"
        asked = proof(reply, connection)
        assert await authenticator.authenticate(asked) == ALICE
        assert set(connection) == {"answer"}


async def test_a_downgrade_of_the_offered_mechanisms_is_noticed(
    authenticator: NegotiateAuthenticator, realms: Realms
) -> None:
    connection: dict[str, object] = {}
    with realms.client(TARGET, mechanism="kerberos", flag="integrity") as client:
        offer = init_token(NTLM, KERBEROS, guess=NTLM_NEGOTIATE)
        with pytest.raises(AuthContinue):
            await authenticator.authenticate(proof(offer, connection))
        reply = response_token(token=client.token, mic=client.mic(der(0x30, NEGOEX, KERBEROS)))
        with pytest.raises(AuthRequired, match="not one of Kerberos"):
            await authenticator.authenticate(proof(reply, connection))
    assert connection == {}


async def test_three_legs_with_mutual_authentication(
    authenticator: NegotiateAuthenticator, realms: Realms
) -> None:
    connection: dict[str, object] = {}
    with realms.client(TARGET, mechanism="kerberos") as client:
        offer = init_token(NTLM, KERBEROS, guess=NTLM_NEGOTIATE)
        with pytest.raises(AuthContinue):
            await authenticator.authenticate(proof(offer, connection))
        reply = response_token(token=client.token)
        with pytest.raises(AuthContinue) as more:
            await authenticator.authenticate(proof(reply, connection))
        # The AP-REP, framed as RFC 2743 §3.1 says, with a length of two octets.
        answer = answer_of(more.value.challenge)
        client.step(
            answer[answer.rindex(KERBEROS) - 3 :][: answer[answer.rindex(KERBEROS) - 1] + 3]
        )
        assert client.complete
        reply = response_token(mic=client.mic(der(0x30, NTLM, KERBEROS)))
        assert await authenticator.authenticate(proof(reply, connection)) == ALICE


async def test_an_exchange_ends_some_time(
    authenticator: NegotiateAuthenticator, realms: Realms
) -> None:
    connection: dict[str, object] = {}
    offer = init_token(NTLM, KERBEROS, guess=NTLM_NEGOTIATE)
    with pytest.raises(AuthContinue):
        await authenticator.authenticate(proof(offer, connection))
    exchange: Any = connection["negotiate"]
    assert exchange.legs == 1
    connection["negotiate"] = replace(exchange, legs=MAX_LEGS - 1)
    # The MIC is still missing: the library would go on.
    reply = response_token(token=first_token(realms, mechanism="kerberos"))
    with pytest.raises(AuthRequired) as refused:
        await authenticator.authenticate(proof(reply, connection))
    assert refused.value.detail == "the Negotiate exchange leads nowhere"
    assert connection == {}


async def test_a_client_may_begin_anew_and_nonsense_ends_an_exchange(
    authenticator: NegotiateAuthenticator, realms: Realms
) -> None:
    connection: dict[str, object] = {}
    offer = init_token(NTLM, KERBEROS, guess=NTLM_NEGOTIATE)
    for _ in range(2 * MAX_LEGS):
        with pytest.raises(AuthContinue):
            await authenticator.authenticate(proof(offer, connection))
    with pytest.raises(AuthRequired):
        authenticator.authenticate_nowait(Proof(b"!", legs=connection))
    assert connection == {}
    with pytest.raises(AuthContinue):
        await authenticator.authenticate(proof(offer, connection))
    assert await authenticator.authenticate(proof(first_token(realms), connection)) == ALICE


# ---------------------------------------------------------------- no tickets at all


@pytest.mark.parametrize(
    "token",
    [
        NTLM_NEGOTIATE,
        init_token(NTLM, guess=NTLM_NEGOTIATE),
        init_token(NEGOEX, NTLM, guess=NTLM_NEGOTIATE),
    ],
)
async def test_ntlm_is_refused_in_plain_words(
    authenticator: NegotiateAuthenticator, token: bytes
) -> None:
    assert await refusal(authenticator, token) == (
        "NTLM is not offered, and the client has no Kerberos ticket for this proxy; "
        "it must name the proxy by its full host name"
    )


@pytest.mark.parametrize(
    "token",
    [
        der(0x60, IAKERB, b"\x05\x01", der(0x30, der(0xA1, der(0x0C, b"EVIL.EXAMPLE")))),
        init_token(IAKERB, guess=der(0x60, IAKERB, b"\x05\x01")),
        init_token(NEGOEX, guess=b"NEGOEXTS"),
        der(0x60, SPNEGO),
        b"\x60",
        b"\xa1\x00",
    ],
)
async def test_other_mechanisms_are_refused(
    authenticator: NegotiateAuthenticator, token: bytes
) -> None:
    assert await refusal(authenticator, token) == "the Negotiate token is not one of Kerberos"


async def test_a_mechanism_that_slipped_in_is_refused_at_the_end(
    authenticator: NegotiateAuthenticator, realms: Realms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authenticator, "_kerberos", None)
    detail = await refusal(authenticator, first_token(realms))
    assert detail == "Negotiate is offered for Kerberos only"


@pytest.mark.parametrize(
    ("credentials", "detail"),
    [
        (b"", "the Negotiate token is not base64"),
        (b"=", "the Negotiate token is not base64"),
        (b"YWJj=", "the Negotiate token is not base64"),
        (b"YW Jj", "the Negotiate token is not base64"),
        (b"YWJj, Basic x", "the Negotiate token is not base64"),
        (b"A" * (MAX_CREDENTIALS_BYTES + 4), "the Negotiate token is too long"),
    ],
)
def test_credentials_that_hold_no_token(credentials: bytes, detail: str) -> None:
    with pytest.raises(AuthRequired) as refused:
        parse_negotiate(credentials)
    assert refused.value.detail == detail


def test_the_longest_token() -> None:
    assert len(parse_negotiate(b"A" * MAX_CREDENTIALS_BYTES)) == 48 * 1024


@given(token=st.binary(min_size=1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_garbage_is_refused_and_raises_nothing_else(
    authenticator: NegotiateAuthenticator, token: bytes
) -> None:
    with pytest.raises(AuthRequired):
        await authenticator.authenticate(proof(token))


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_what_is_nearly_a_token_names_nobody_else_and_raises_nothing_else(
    authenticator: NegotiateAuthenticator, spent: bytes, data: st.DataObject
) -> None:
    mutated = bytearray(spent)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 600))
        mutated[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    connection: dict[str, object] = {}
    for token in (bytes(mutated), response_token(token=bytes(mutated))):
        with pytest.raises(AuthRequired):
            await authenticator.authenticate(proof(token, connection))


@pytest.fixture
def spent(authenticator: NegotiateAuthenticator, realms: Realms) -> bytes:
    """A token that was good: whatever is left of it after a change is a replay at best."""
    token = first_token(realms)
    trio.run(authenticator.authenticate, proof(token))
    return token


# ---------------------------------------------------------------- what is ours to have


def test_a_keytab_that_cannot_be_used_is_an_error_at_the_start(
    realms: Realms, keytab: Path, tmp_path: Path
) -> None:
    def problem(file: Path, **options: Any) -> str:
        with pytest.raises(ConfigError) as refused:
            NegotiateAuthenticator(keytab=file, **options)
        return str(refused.value)

    missing, nonsense = tmp_path / "missing", tmp_path / "nonsense"
    nonsense.write_text("no keytab")
    assert problem(missing) == (
        f"{missing}: cannot use the keytab for 'HTTP': Key table file '{missing}' not found"
    )
    assert problem(nonsense) == (
        f"{nonsense}: cannot use the keytab for 'HTTP': Unsupported key table format version number"
    )
    assert problem(keytab, service="ldap") == (
        f"{keytab}: cannot use the keytab for 'ldap': No key table entry found matching ldap/@"
    )
    assert problem(keytab, replay_cache=missing / "file") == (
        f"{keytab}: the Kerberos replay cache cannot be written"
    )


def test_without_the_library_there_is_no_negotiate(
    keytab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gssapi", None)
    with pytest.raises(ConfigError) as refused:
        NegotiateAuthenticator(keytab=keytab)
    assert refused.value.detail == (
        "Negotiate needs the package gssapi: pip install 'wsproxy[kerberos]'"
    )


async def test_a_keytab_or_cache_that_goes_away_is_not_the_users_fault(
    realms: Realms, keytab: Path, tmp_path: Path
) -> None:
    copy, folder = tmp_path / "copy", tmp_path / "cache"
    shutil.copy(keytab, copy)
    folder.mkdir()
    authenticator = NegotiateAuthenticator(keytab=copy, replay_cache=folder / "replay")
    copy.rename(tmp_path / "away")
    with pytest.raises(AuthUnavailable) as unavailable:
        await authenticator.authenticate(proof(first_token(realms)))
    assert unavailable.value.detail == "the keytab cannot be read"
    (tmp_path / "away").rename(copy)
    folder.rename(tmp_path / "gone")
    with pytest.raises(AuthUnavailable) as unavailable:
        await authenticator.authenticate(proof(first_token(realms)))
    assert unavailable.value.detail == "the Kerberos replay cache cannot be written"
    (tmp_path / "gone").rename(folder)
    assert await authenticator.authenticate(proof(first_token(realms))) == ALICE


async def test_a_slow_library_holds_up_nobody_but_those_who_wait_for_it(
    keytab: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds = NegotiateBounds(slots=1, max_pending=2)
    authenticator = NegotiateAuthenticator(keytab=keytab, bounds=bounds)
    threads: list[int] = []
    gate = threading.Event()

    def slow(*_: object) -> object:
        threads.append(threading.get_ident())
        assert gate.wait(30)
        raise AuthRequired("slow")

    monkeypatch.setattr(authenticator, "_accept", slow)
    details: list[str] = []

    async def ask() -> None:
        details.append(await refusal(authenticator, b"token"))

    nursery.start_soon(ask)
    nursery.start_soon(ask)
    await wait_all_tasks_blocked()
    with pytest.raises(AuthOverloaded):
        await authenticator.authenticate(proof(b"token"))
    assert details == []
    assert authenticator._slots.statistics().tasks_waiting == 1
    gate.set()
    while len(details) < 2:
        await trio.lowlevel.checkpoint()
    assert threading.get_ident() not in threads
    assert await refusal(authenticator, b"token") == "slow"


def test_where_the_library_keeps_its_replay_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    assert negotiate._replay_folder() == os.environ["KRB5RCACHEDIR"]
    monkeypatch.delenv("KRB5RCACHEDIR")
    monkeypatch.setenv("TMPDIR", "/somewhere")
    assert negotiate._replay_folder() == "/somewhere"
    monkeypatch.delenv("TMPDIR")
    assert negotiate._replay_folder() == "/var/tmp"


# ---------------------------------------------------------------- a client that people use


class Door:
    """Answers CONNECT as a proxy does, and is the origin itself behind it.

    Attributes:
        identities: who was let in.
        challenged: how many requests were answered with 407.
    """

    def __init__(self, authenticator: NegotiateAuthenticator) -> None:
        self._authenticator = authenticator
        self.identities: list[Identity] = []
        self.challenged = 0

    async def serve(self, stream: trio.abc.Stream) -> None:
        legs: dict[str, object] = {}
        while head := await self._read_head(stream):
            prefix = b"proxy-authorization: negotiate "
            lines = [line for line in head.split(b"\r\n") if line.lower().startswith(prefix)]
            try:
                if not lines:
                    raise AuthRequired("no credentials")
                asked = Proof(lines[0][len(prefix) :], legs=legs)
                self.identities.append(await self._authenticator.authenticate(asked))
            except AuthRequired as error:
                self.challenged += 1
                (challenge,) = self._authenticator.challenges(0.0)
                challenge = getattr(error, "challenge", challenge)
                await stream.send_all(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                    b"Proxy-Authenticate: %b\r\nContent-Length: 0\r\n\r\n" % challenge
                )
                continue
            await stream.send_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await self._read_head(stream)
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")

    @staticmethod
    async def _read_head(stream: trio.abc.Stream) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            data = await stream.receive_some()
            if not data:
                return b""
            head += bytes(data)
        return head


@pytest.mark.parametrize(
    ("option", "challenged"), [("--proxy-negotiate", 0), ("--proxy-anyauth", 1)]
)
async def test_curl_comes_through(
    authenticator: NegotiateAuthenticator,
    realms: Realms,
    nursery: trio.Nursery,
    option: str,
    challenged: int,
) -> None:
    door = Door(authenticator)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, door.serve, [listener])
    port = listener.socket.getsockname()[1]
    with trio.fail_after(60):
        done = await trio.run_process(
            ["curl", "--silent", "--show-error", "--noproxy", "", "--proxytunnel", option]
            + ["--proxy", f"http://{HOST}:{port}", "--proxy-user", ":"]
            + ["--resolve", f"{HOST}:{port}:127.0.0.1", "http://origin.example/"],
            env={**os.environ, **realms.env},
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    assert (done.stdout, done.stderr) == (b"hello\n", b"")
    assert door.identities == [ALICE]
    assert door.challenged == challenged
