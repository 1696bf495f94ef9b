"""Tickets for a parent: had from a real KDC, sent once, and the parent's own proof believed only if it is one."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from tests.support.kdc import Realms, start_realms
from wsproxy.auth.negotiate import NegotiateAuthenticator
from wsproxy.auth.proof import Proof
from wsproxy.errors import ConfigError, ConnectFailed, ConnectTimeout
from wsproxy.model import Identity
from wsproxy.net.tickets import Introduction, Tickets

HOST = "parent.corp.example"


@pytest.fixture(scope="module")
def realms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realms]:
    with start_realms(tmp_path_factory.mktemp("realms")) as realms:
        for principal in ("svc", f"HTTP/{HOST}"):
            realms.kadmin("addprinc", "-randkey", principal)
        realms.keytab("client", "svc")
        realms.keytab("parent", f"HTTP/{HOST}")
        yield realms


@pytest.fixture(autouse=True)
def here(realms: Realms, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in realms.env.items():
        monkeypatch.setenv(name, value)


def tickets_of(realms: Realms, *, hostname: str = HOST, principal: str = "svc") -> Tickets:
    keytab = realms.folder / "client"
    return Tickets("out", hostname=hostname, keytab=keytab, principal=principal, timeout_s=20)


async def accepted(realms: Realms, introduction: Introduction) -> tuple[Identity, bytes]:
    """Who the parent takes us for, and what it says of itself."""
    name, value = introduction.credentials
    assert name == b"Proxy-Authorization"
    proof = Proof(value.removeprefix(b"Negotiate "))
    identity = await NegotiateAuthenticator(keytab=realms.folder / "parent").authenticate(proof)
    answer = proof.legs["answer"]
    assert isinstance(answer, bytes)
    return identity, answer


async def test_a_parent_takes_our_ticket_and_we_take_its_proof(realms: Realms) -> None:
    tickets = tickets_of(realms)
    for _ in range(2):  # each connection has a new one
        introduction = await tickets.introduce()
        identity, answer = await accepted(realms, introduction)
        assert identity == Identity("svc")
        introduction.check(((b"Proxy-Authenticate", answer),))


async def test_a_parent_need_not_say_anything_of_itself(realms: Realms) -> None:
    introduction = await tickets_of(realms).introduce()
    introduction.check(())
    introduction.check(((b"Proxy-Authenticate", b"Negotiate"), (b"Proxy-Authenticate", b"Basic x")))


@pytest.mark.parametrize("spoil", ["another's", "changed", "no base64", "nonsense"])
async def test_what_is_no_proof_ends_the_connection(realms: Realms, spoil: str) -> None:
    tickets = tickets_of(realms)
    introduction = await tickets.introduce()
    _identity, answer = await accepted(realms, introduction)
    if spoil == "another's":
        introduction = await tickets.introduce()
    elif spoil == "changed":
        token = bytearray(base64.b64decode(answer.removeprefix(b"Negotiate ")))
        token[-1] ^= 1
        answer = b"Negotiate " + base64.b64encode(token)
    else:
        answer = b"Negotiate !!" if spoil == "no base64" else b"Negotiate AAAA"
    with pytest.raises(ConnectFailed, match="out does not prove who it is"):
        introduction.check(((b"proxy-authenticate", answer),))


async def test_why_there_is_no_ticket_is_told(realms: Realms) -> None:
    with pytest.raises(ConnectFailed, match=r"no Kerberos ticket for out: .*not found in Kerberos"):
        await tickets_of(realms, hostname="nobody.corp.example").introduce()
    with pytest.raises(ConnectFailed, match="no Kerberos ticket for out: "):
        await tickets_of(realms, principal="stranger").introduce()


async def test_a_kdc_that_says_nothing_has_its_deadline(
    realms: Realms, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    tickets = tickets_of(realms)

    async def never(*_: object, **__: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(trio.to_thread, "run_sync", never)
    with pytest.raises(ConnectTimeout, match="no Kerberos ticket for out in time"):
        await tickets.introduce()


async def test_no_secret_is_shown(realms: Realms) -> None:
    introduction = await tickets_of(realms).introduce()
    assert "token" not in repr(introduction)


def test_without_gssapi_it_is_said_what_to_install(
    realms: Realms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gssapi", None)
    with pytest.raises(ConfigError) as refused:
        tickets_of(realms)
    assert refused.value.file == str(realms.folder / "client")
    assert refused.value.detail == (
        "Negotiate needs the package gssapi: pip install 'wsproxy[kerberos]'"
    )
