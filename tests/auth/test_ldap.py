"""Basic credentials against a real slapd; and against servers that hang, lie or break the protocol."""

from __future__ import annotations

import base64
import logging
import socket
import ssl
import struct
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from hypothesis import given
from hypothesis import strategies as st
from sansldap import (
    BindRequest,
    ExtendedRequest,
    FilterEquality,
    LDAPFilter,
    LDAPMessage,
    LDAPResultCode,
    LDAPServer,
    PartialAttribute,
    SearchRequest,
    SimpleCredential,
)
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.support.slapd import (
    BASE,
    ODD_NAME,
    SERVICE,
    SERVICE_PASSWORD,
    Slapd,
    run_slapd,
)
from wsproxy.auth import Authenticator, Proof
from wsproxy.auth.basic import BasicBounds
from wsproxy.auth.ldap import MAX_IDLE_S, SHUN_S, LdapAuthenticator, LdapBackend, LdapSettings
from wsproxy.auth.ldap_link import (
    MAX_ANSWER_BYTES,
    Connect,
    LdapFault,
    Link,
    escape_dn,
    escape_filter,
    rdn_value,
)
from wsproxy.auth.ldap_settings import parse_place
from wsproxy.errors import AuthOverloaded, AuthRequired, AuthUnavailable
from wsproxy.model import Identity

PEOPLE = "ou=people,dc=corp"
ALICE = Identity("alice", frozenset({"desk", "Risk, EU"}))
SEARCH: dict[str, Any] = {"base": BASE, "bind_dn": SERVICE, "bind_password": SERVICE_PASSWORD}
TEMPLATE: dict[str, Any] = {"user_dn": f"uid={{user}},{PEOPLE}"}
GROUP_SEARCH: dict[str, Any] = {"group_base": "ou=groups,dc=corp"}
BOTH = pytest.mark.parametrize("mode", [SEARCH, TEMPLATE], ids=["search", "template"])


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(file)
    return str(file)


@pytest.fixture(scope="module")
def slapd(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    certificate = authority.issue_cert("ldap.corp", "127.0.0.1")
    with run_slapd(tmp_path_factory.mktemp("slapd"), certificate) as running:
        yield running


@pytest.fixture
def url(slapd: Slapd) -> str:
    return f"ldap://127.0.0.1:{slapd.port}"


@asynccontextmanager
async def backend(
    *urls: str, connect: Connect | None = None, **changes: Any
) -> AsyncIterator[LdapBackend]:
    """A backend for the length of a block."""
    opened = LdapBackend(LdapSettings(urls=urls, **changes), connect=connect)
    try:
        yield opened
    finally:
        await opened.aclose()


class Dials:
    """Connects to loopback whatever the host, and remembers the ports asked for."""

    def __init__(self, port: int | None = None) -> None:
        self.port = port
        self.asked: list[int] = []

    async def __call__(self, host: str, port: int) -> trio.abc.Stream:
        self.asked.append(port)
        return await trio.open_tcp_stream("127.0.0.1", self.port or port)


async def unavailable(directory: LdapBackend, name: str = "alice") -> AuthUnavailable:
    with pytest.raises(AuthUnavailable) as caught:
        await directory.verify(name, b"wonder:land")
    return caught.value


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


# ------------------------------------------------------------------ who it is


@BOTH
async def test_the_right_password_tells_who_it_is_and_the_groups(
    url: str, mode: dict[str, Any]
) -> None:
    async with backend(url, **mode) as directory:
        assert await directory.verify("alice", b"wonder:land") == ALICE


@BOTH
async def test_groups_are_searched_for_where_there_is_a_base(
    url: str, mode: dict[str, Any]
) -> None:
    async with backend(url, **mode, **GROUP_SEARCH) as directory:
        assert await directory.verify("alice", b"wonder:land") == ALICE
        assert await directory.verify("alice", b"wonder:land") == ALICE
        bob = await directory.verify("bob", b"builder")
        assert bob is not None
        assert bob.groups == frozenset()


async def test_groups_may_be_found_by_the_users_name_and_called_otherwise(url: str) -> None:
    changes: dict[str, Any] = {
        "group_filter": "(&(objectClass=groupOfNames)(member=uid={user},ou=people,dc=corp))"
    }
    async with backend(url, **SEARCH, **GROUP_SEARCH, **changes) as directory:
        assert await directory.verify("ALICE", b"wonder:land") == ALICE
    async with backend(url, **SEARCH, group_attribute="ou") as directory:
        assert await directory.verify("alice", b"wonder:land") == Identity("alice")


@BOTH
@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("alice", b"wonder"),
        ("alice", b"wonder:land "),
        ("alice", b"builder"),
        ("alice", b"\xff\xfe"),
        ("alice", b"wonder:land\0"),
        ("nobody", b"wonder:land"),
        ("proxy", SERVICE_PASSWORD.encode()),
        ("x" * 3000, b"x"),
    ],
)
async def test_wrong_ones_are_nobody(
    url: str, mode: dict[str, Any], name: str, password: bytes
) -> None:
    async with backend(url, **mode) as directory:
        assert await directory.verify(name, password) is None
        assert await directory.verify("alice", b"wonder:land") == ALICE


@BOTH
@pytest.mark.parametrize("typed", ["ALICE", " Alice", "alice  "])
async def test_a_name_is_what_the_directory_writes_not_what_was_typed(
    url: str, mode: dict[str, Any], typed: str
) -> None:
    async with backend(url, **mode) as directory:
        assert await directory.verify(typed, b"wonder:land") == ALICE


@pytest.mark.parametrize("typed", ["bob", "bert", "BERT"])
async def test_of_several_names_the_one_in_the_dn_counts(url: str, typed: str) -> None:
    async with backend(url, **SEARCH) as directory:
        assert await directory.verify(typed, b"builder") == Identity("bob")


async def test_of_several_names_none_of_which_is_in_the_dn_the_first_by_letters_counts(
    url: str,
) -> None:
    async with backend(url, **SEARCH) as directory:
        assert await directory.verify("zwilling", b"castor") == Identity("twin")


async def test_a_name_that_two_have_is_nobodys(url: str) -> None:
    async with backend(url, **SEARCH) as directory:
        assert await directory.verify("twin", b"castor") is None
        assert await directory.verify("twin", b"pollux") is None


async def test_users_may_be_searched_for_anonymously(url: str) -> None:
    async with backend(url, base=BASE) as directory:
        # slapd lets the nameless search but not read: it finds nobody.
        assert await directory.verify("alice", b"wonder:land") is None
        assert await directory.verify("alice", b"wonder:land") is None


async def test_users_who_may_not_read_their_entry_are_not_let_in_under_the_name_they_typed(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with backend(url, **TEMPLATE) as directory:
        with pytest.raises(AuthUnavailable):
            await directory.verify("blind", b"mouse")
    assert "give it bind_dn" in warnings(caplog)[0]
    service: dict[str, Any] = {"bind_dn": SERVICE, "bind_password": SERVICE_PASSWORD}
    async with backend(url, **TEMPLATE, **service) as directory:
        assert await directory.verify("blind", b"mouse") == Identity("blind")
        assert await directory.verify("blind", b"rat") is None


async def test_a_part_of_the_groups_is_not_taken_for_all(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    narrow = {**SEARCH, "bind_dn": "cn=narrow,dc=corp"}
    async with backend(url, **narrow, **GROUP_SEARCH) as directory:
        await unavailable(directory)
    assert "SIZE_LIMIT_EXCEEDED" in warnings(caplog)[0]


# ------------------------------------------------------------------ names that want to be more


@BOTH
@pytest.mark.parametrize(
    "name",
    [
        "*",
        "a*",
        "alice*",
        ")(uid=*",
        "*)(uid=*",
        "alice)(uid=alice",
        "alice)(|(uid=*",
        "\\",
        "alice\\",
        "\\61lice",
        "\\2a",
        "\0",
        "alice\0",
        ",",
        "alice,ou=people",
        f"alice,{PEOPLE}",
        "alice+cn=somebody",
        "alice\r\n",
        "{user}",
        "{dn}",
        "#616c696365",
        "alice;",
        '"alice"',
        "\u2a61",
    ],
)
async def test_a_name_means_itself_in_filters_and_dns(
    url: str, mode: dict[str, Any], name: str
) -> None:
    async with backend(url, **mode, **GROUP_SEARCH) as directory:
        assert await directory.verify(name, b"wonder:land") is None
        assert await directory.verify("alice", b"wonder:land") == ALICE


@BOTH
@pytest.mark.parametrize("groups", [{}, GROUP_SEARCH], ids=["memberOf", "group search"])
async def test_an_odd_name_works_like_any_other(
    url: str, mode: dict[str, Any], groups: dict[str, Any]
) -> None:
    async with backend(url, **mode, **groups) as directory:
        assert await directory.verify(ODD_NAME, b"odd") == Identity(ODD_NAME, frozenset({"desk"}))


@given(st.text())
def test_an_escaped_name_is_one_value_of_a_filter(name: str) -> None:
    parsed = LDAPFilter.from_string(f"(uid={escape_filter(name)})")
    assert parsed == FilterEquality("uid", name.encode())


@given(st.text(), st.text())
def test_an_escaped_name_is_one_value_of_a_dn(name: str, other: str) -> None:
    dn = f"ou={escape_dn(other)} + uid={escape_dn(name)},dc=corp"
    assert rdn_value(dn, "UID") == name
    assert rdn_value(dn, "ou") == other
    assert rdn_value(dn, "dc") is None


@pytest.mark.parametrize(
    ("dn", "value"),
    [
        ("cn=desk,dc=corp", "desk"),
        ("CN=Desk Traders,DC=corp", "Desk Traders"),
        ("cn=Risk\\, EU,dc=corp", "Risk, EU"),
        ("cn=Risk\\2C EU", "Risk, EU"),
        ("cn=a\\\\,dc=corp", "a\\"),
        ("cn=L\\c3\\bc,dc=corp", "Lü"),
        ("cn=\\ff,dc=corp", "\ufffd"),
        ("ou=x+cn=y,dc=corp", "y"),
        ("ou=x,cn=y", None),
        ("", None),
        ("cn", None),
    ],
)
def test_the_first_rdn_names_a_group(dn: str, value: str | None) -> None:
    assert rdn_value(dn, "cn") == value


# ------------------------------------------------------------------ users whom others prove


@pytest.mark.parametrize("mode", [SEARCH, SEARCH | TEMPLATE], ids=["search", "template"])
@pytest.mark.parametrize("groups", [{}, GROUP_SEARCH], ids=["memberOf", "groups"])
async def test_a_user_is_described_without_a_password(
    url: str, mode: dict[str, Any], groups: dict[str, Any]
) -> None:
    async with backend(url, **mode, **groups) as ldap:
        assert await ldap.look_up("ALICE") == ALICE
        assert await ldap.look_up(ODD_NAME) == Identity(ODD_NAME, frozenset({"desk"}))
        for nobody in ("nobody", "*", ""):
            assert await ldap.look_up(nobody) is None


async def test_a_name_that_two_have_describes_nobody(url: str) -> None:
    async with backend(url, **SEARCH) as ldap:
        assert await ldap.look_up("twin") is None


async def test_nobody_is_described_without_a_server(slapd: Slapd, url: str) -> None:
    async with backend(url, **SEARCH) as ldap:
        slapd.stop()
        try:
            with pytest.raises(AuthUnavailable):
                await ldap.look_up("alice")
        finally:
            slapd.start()
        assert await ldap.look_up("alice") == ALICE


# ------------------------------------------------------------------ the empty password


@BOTH
async def test_an_empty_password_or_name_is_refused_before_anything_is_asked(
    mode: dict[str, Any],
) -> None:
    dials = Dials()
    async with backend("ldap://127.0.0.1:1", connect=dials, **mode) as directory:
        assert await directory.verify("alice", b"") is None
        assert await directory.verify("", b"wonder:land") is None
        assert await directory.verify("", b"") is None
    assert dials.asked == []


async def test_a_link_binds_nobody_without_a_password(url: str, slapd: Slapd) -> None:
    link = Link(await trio.open_tcp_stream("127.0.0.1", slapd.port))
    for dn, password in ((f"uid=alice,{PEOPLE}", ""), ("", "wonder:land")):
        with pytest.raises(ValueError):
            await link.bind(dn, password)
    await link.aclose()


# ------------------------------------------------------------------ TLS


@pytest.mark.parametrize("start_tls", [False, True], ids=["ldaps", "StartTLS"])
async def test_tls_comes_first_with_chain_and_name_checked(
    slapd: Slapd, ca: str, start_tls: bool
) -> None:
    port = slapd.port if start_tls else slapd.tls_port
    scheme = "ldap" if start_tls else "ldaps"
    changes = {**SEARCH, "ca": ca, "start_tls": start_tls}
    for host in ("ldap.corp", "127.0.0.1"):
        async with backend(f"{scheme}://{host}", connect=Dials(port), **changes) as directory:
            assert await directory.verify("alice", b"wonder:land") == ALICE


@pytest.mark.parametrize("start_tls", [False, True], ids=["ldaps", "StartTLS"])
@pytest.mark.parametrize("host", ["other.corp", "127.0.0.2", "ldap.corp"])
async def test_a_server_that_is_not_who_it_must_be_gets_no_password(
    slapd: Slapd,
    ca: str,
    start_tls: bool,
    host: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    scheme, port = ("ldap", slapd.port) if start_tls else ("ldaps", slapd.tls_port)
    changes: dict[str, Any] = {**SEARCH, "ca": ca, "start_tls": start_tls}
    if host == "ldap.corp":  # the right name, signed by somebody else
        trustme.CA().cert_pem.write_to_path(str(tmp_path / "wrong.pem"))
        changes["ca"] = str(tmp_path / "wrong.pem")
    async with backend(f"{scheme}://{host}", connect=Dials(port), **changes) as directory:
        await unavailable(directory)
    assert "certificate verify failed" in warnings(caplog)[0]


async def test_a_certificate_of_the_system_is_needed_without_a_ca(slapd: Slapd) -> None:
    async with backend(f"ldaps://127.0.0.1:{slapd.tls_port}", **SEARCH) as directory:
        await unavailable(directory)


def test_a_ca_that_is_none_is_told_at_once(tmp_path: Path) -> None:
    for name, text in (("absent.pem", None), ("empty.pem", "")):
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(OSError):
            LdapBackend(LdapSettings(urls=("ldaps://x",), ca=str(tmp_path / name), **SEARCH))


# ------------------------------------------------------------------ servers that are not there


async def test_without_a_server_nobody_is_let_in_until_it_is_back(
    authority: trustme.CA, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with run_slapd(tmp_path, authority.issue_cert("127.0.0.1")) as slapd:
        async with backend(f"ldap://127.0.0.1:{slapd.port}", **SEARCH) as directory:
            assert await directory.verify("alice", b"wonder:land") == ALICE
            slapd.stop()
            error = await unavailable(directory)
            await unavailable(directory)
            assert "127.0.0.1" not in error.detail
            slapd.start()
            assert await directory.verify("alice", b"wonder:land") == ALICE
            slapd.stop()
            slapd.start()  # the connection that was kept is gone, and that goes unnoticed
            assert await directory.verify("alice", b"wonder:land") == ALICE
    assert len(warnings(caplog)) == 1
    assert warnings(caplog)[0].startswith(f"LDAP server ldap://127.0.0.1:{slapd.port}: ")


@asynccontextmanager
async def silence() -> AsyncIterator[trio.SocketListener]:
    """A port whose connections nobody answers on."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        yield listener


def port_of(listener: trio.SocketListener) -> int:
    port: int = listener.socket.getsockname()[1]
    return port


async def test_a_server_that_says_nothing_has_its_deadline(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        silence() as listener,
        backend(f"ldap://127.0.0.1:{port_of(listener)}", **SEARCH) as directory,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(unavailable, directory)
        async with await listener.accept() as stream:
            assert await stream.receive_some()
            mock_clock.jump(5)
            assert await stream.receive_some() == b""
    assert "does not answer in time" in warnings(caplog)[0]


@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
async def test_a_silent_server_is_left_for_the_next_and_skipped_for_a_while(
    mock_clock: MockClock, slapd: Slapd, ca: str, scheme: str
) -> None:
    dials = Dials()
    port = slapd.port if scheme == "ldap" else slapd.tls_port
    found: list[Identity | None] = []

    async def ask(directory: LdapBackend) -> None:
        found.append(await directory.verify("alice", b"wonder:land"))

    async with silence() as listener:
        silent = port_of(listener)
        urls = [f"{scheme}://127.0.0.1:{each}" for each in (silent, port)]
        async with backend(*urls, connect=dials, ca=ca, **SEARCH) as directory:
            for _ in range(2):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(ask, directory)
                    async with await listener.accept() as stream:
                        assert await stream.receive_some()
                        mock_clock.jump(2.5)
                assert await directory.verify("alice", b"wonder:land") == ALICE
                mock_clock.jump(SHUN_S)
    assert found == [ALICE, ALICE]
    assert dials.asked == [silent, port, silent]  # the second one's connection was kept


async def test_one_who_waits_for_a_silent_servers_connection_goes_to_the_next_server(
    mock_clock: MockClock, slapd: Slapd
) -> None:
    found: dict[str, Identity | None] = {}

    async def ask(directory: LdapBackend, name: str, password: bytes) -> None:
        found[name] = await directory.verify(name, password)

    async with silence() as listener:
        urls = [f"ldap://127.0.0.1:{each}" for each in (port_of(listener), slapd.port)]
        async with (
            backend(*urls, pool=1, **SEARCH) as directory,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(ask, directory, "alice", b"wonder:land")
            nursery.start_soon(ask, directory, "bob", b"builder")
            async with await listener.accept() as stream:
                assert await stream.receive_some()
                mock_clock.jump(2.5)
    assert found == {"alice": ALICE, "bob": Identity("bob")}


async def test_a_dead_server_is_followed_by_the_next(url: str, slapd: Slapd) -> None:
    dials = Dials()
    async with backend("ldap://127.0.0.1:1", url, connect=dials, **SEARCH) as directory:
        for _ in range(3):
            assert await directory.verify("alice", b"wonder:land") == ALICE
    assert dials.asked == [1, slapd.port]


# ------------------------------------------------------------------ connections


class Relay:
    """Stands before a server and counts; passes nothing on before `hold` connections are open."""

    def __init__(self, port: int, hold: int) -> None:
        self.port = port
        self.hold = hold
        self.counts = [0]
        self.held = trio.Event()
        self.left = trio.Event()

    async def serve(self, client: trio.SocketStream) -> None:
        self.counts.append(self.counts[-1] + 1)
        if self.counts[-1] == self.hold:
            self.held.set()
        await self.held.wait()
        async with (
            client,
            await trio.open_tcp_stream("127.0.0.1", self.port) as server,
            trio.open_nursery() as pumps,
        ):
            pumps.start_soon(self._pump, client, server)
            pumps.start_soon(self._pump, server, client)
        self.counts.append(self.counts[-1] - 1)
        if not self.counts[-1]:
            self.left.set()

    async def _pump(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            async for data in source:
                await sink.send_all(data)
            await sink.send_eof()


@asynccontextmanager
async def relay(port: int, *, hold: int) -> AsyncIterator[tuple[int, Relay]]:
    """The port of a relay to `port`, and the relay."""
    relayed = Relay(port, hold)
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(
            partial(trio.serve_tcp, relayed.serve, 0, host="127.0.0.1")
        )
        yield port_of(listener), relayed
        nursery.cancel_scope.cancel()


async def test_connections_are_bounded_and_used_again(slapd: Slapd) -> None:
    async with (
        relay(slapd.port, hold=3) as (port, relayed),
        backend(f"ldap://127.0.0.1:{port}", pool=3, **SEARCH) as directory,
    ):

        async def ask() -> None:
            assert await directory.verify("alice", b"wonder:land") == ALICE

        for _ in range(2):
            async with trio.open_nursery() as nursery:
                for _ in range(12):
                    nursery.start_soon(ask)
    assert relayed.counts[:4] == [0, 1, 2, 3]
    assert max(relayed.counts) == 3
    assert relayed.counts.count(3) == 1


async def test_a_connection_that_waited_for_long_is_not_used(
    mock_clock: MockClock, url: str, slapd: Slapd
) -> None:
    dials = Dials()
    async with backend(url, connect=dials, **SEARCH) as directory:
        for wait_s, connections in ((0, 1), (MAX_IDLE_S - 1, 1), (MAX_IDLE_S, 2)):
            mock_clock.jump(wait_s)
            assert await directory.verify("alice", b"wonder:land") == ALICE
            assert len(dials.asked) == connections


async def test_a_cancelled_question_leaves_no_connection(mock_clock: MockClock, url: str) -> None:
    async with (
        silence() as listener,
        backend(f"ldap://127.0.0.1:{port_of(listener)}", pool=1, **SEARCH) as directory,
    ):
        for _ in range(2):  # the second one would wait for the only place
            async with trio.open_nursery() as nursery:
                nursery.start_soon(directory.verify, "alice", b"wonder:land")
                async with await listener.accept() as stream:
                    assert await stream.receive_some()
                    nursery.cancel_scope.cancel()
                    with trio.CancelScope(shield=True):
                        assert await stream.receive_some() == b""


async def test_a_connection_in_use_is_closed_when_its_backend_was(slapd: Slapd) -> None:
    async with (
        relay(slapd.port, hold=2) as (port, relayed),
        backend(f"ldap://127.0.0.1:{port}", **SEARCH) as directory,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(directory.verify, "alice", b"wonder:land")
            await wait_all_tasks_blocked()
            await directory.aclose()
            async with await trio.open_tcp_stream("127.0.0.1", port) as other:
                await other.send_eof()
                assert await other.receive_some() == b""
        await relayed.left.wait()


# ------------------------------------------------------------------ servers that misbehave

Answer = Callable[[LDAPServer, LDAPMessage], bytes | None]


class Stage:
    """An LDAP server whose part the test writes; remembers what it was told."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.told: list[LDAPMessage] = []
        self.octets = bytearray()

    async def serve(self, stream: trio.SocketStream) -> None:
        session = LDAPServer()
        async with stream:
            async for data in stream:
                self.octets += data
                try:
                    messages = session.receive(data)
                except Exception:
                    return
                for message in messages:
                    self.told.append(message)
                    extra = self.answer(session, message) or b""
                    await stream.send_all(session.data_to_send() + extra)


@asynccontextmanager
async def stage(answer: Answer) -> AsyncIterator[tuple[Stage, str]]:
    """The server and its URL."""
    played = Stage(answer)
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(
            partial(trio.serve_tcp, played.serve, 0, host="127.0.0.1")
        )
        yield played, f"ldap://127.0.0.1:{port_of(listener)}"
        nursery.cancel_scope.cancel()


def tells(
    *,
    user_bind: LDAPResultCode = LDAPResultCode.SUCCESS,
    attributes: dict[str, list[bytes]] | None = None,
    entries: int = 1,
) -> Answer:
    """A server with `entries` users, whatever the name, who bind with `user_bind`."""

    def answer(session: LDAPServer, message: LDAPMessage) -> None:
        if isinstance(message, BindRequest):
            code = LDAPResultCode.SUCCESS if message.name == SERVICE else user_bind
            session.bind_response(message.message_id, result_code=code)
        elif isinstance(message, SearchRequest):
            values = {"UID": [b"alice"]} if attributes is None else attributes
            for _ in range(entries):
                parts = [PartialAttribute(*each) for each in values.items()]
                session.search_result_entry(message.message_id, f"uid=alice,{PEOPLE}", parts)
            session._search_requests.add(message.message_id)
            session.search_result_done(message.message_id)

    return answer


@pytest.mark.parametrize(
    ("code", "is_refusal"),
    [
        (LDAPResultCode.INVALID_CREDENTIALS, True),
        (LDAPResultCode.UNWILLING_TO_PERFORM, True),
        (LDAPResultCode.CONSTRAINT_VIOLATION, True),
        (LDAPResultCode.BUSY, False),
        (LDAPResultCode.UNAVAILABLE, False),
        (LDAPResultCode.REFERRAL, False),
        (LDAPResultCode.CONFIDENTIALITY_REQUIRED, False),
        (LDAPResultCode.SASL_BIND_IN_PROGRESS, False),
        (LDAPResultCode.OTHER, False),
        (LDAPResultCode(4242), False),  # sansldap says that it equals SUCCESS
    ],
)
async def test_only_success_lets_in_and_only_refusals_are_the_users(
    code: LDAPResultCode, is_refusal: bool
) -> None:
    async with stage(tells(user_bind=code)) as (_, url), backend(url, **SEARCH) as directory:
        if is_refusal:
            assert await directory.verify("alice", b"x") is None
        else:
            await unavailable(directory)


async def test_a_code_that_nobody_knows_is_no_success() -> None:
    ours, theirs = memory_stream_pair()
    link = Link(ours)
    # BindResponse with resultCode 4242
    await theirs.send_all(b"\x30\x0d\x02\x01\x01\x61\x08\x0a\x02\x10\x92\x04\x00\x04\x00")
    with pytest.raises(LdapFault, match="unknown code 4242"):
        await link.bind("cn=x", "secret")
    assert link.bound_as == ""


async def test_a_name_that_does_not_exist_costs_a_bind_too_and_its_success_means_nothing() -> None:
    async with stage(tells(entries=0)) as (server, url), backend(url, **SEARCH) as directory:
        assert await directory.verify("alice", b"wonder:land") is None
    kinds = [type(message) for message in server.told]
    assert kinds == [BindRequest, SearchRequest, BindRequest]
    assert isinstance(server.told[2], BindRequest)
    assert "alice" not in server.told[2].name


async def test_the_service_account_reads_and_the_user_only_proves_himself() -> None:
    async with (
        stage(tells()) as (server, url),
        backend(url, **SEARCH, **GROUP_SEARCH) as directory,
    ):
        assert await directory.verify("alice", b"wonder:land")
        assert await directory.verify("alice", b"wonder:land")
    told = [
        (message.name, message.authentication.password)
        if isinstance(message, BindRequest) and isinstance(message.authentication, SimpleCredential)
        else type(message).__name__
        for message in server.told
    ]
    user, service = (f"uid=alice,{PEOPLE}", "wonder:land"), (SERVICE, SERVICE_PASSWORD)
    once = ["SearchRequest", user, service, "SearchRequest"]
    assert told == [service, *once, *once]


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"uid": []},
        {"cn": [b"alice"]},
        {"uid": [b"alice"], "memberOf;range=0-1499": [b"cn=x"]},
    ],
)
async def test_an_entry_that_does_not_tell_all_lets_nobody_in(
    attributes: dict[str, list[bytes]],
) -> None:
    async with (
        stage(tells(attributes=attributes)) as (_, url),
        backend(url, **SEARCH) as directory,
    ):
        await unavailable(directory)


async def test_a_wrong_service_password_lets_nobody_in(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with backend(url, base=BASE, bind_dn=SERVICE, bind_password="s3cr3t") as directory:
        await unavailable(directory)
    assert warnings(caplog)[0].endswith(f"refuses {SERVICE!r} (INVALID_CREDENTIALS)")
    assert "s3cr3t" not in caplog.text


@pytest.mark.parametrize(
    "octets",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x30\x80",
        b"\x30\x0c\x02\x01\x09\x61\x07\x0a\x01\x00\x04\x00\x04\x00",  # a success nobody asked for
        b"\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\x00\x04\x00\x04\x00",  # the end of a search
        b"\x30\x24\x02\x01\x00\x78\x1f\x0a\x01\x34\x04\x00\x04\x00\x8a\x16"
        b"1.3.6.1.4.1.1466.20036",  # notice of disconnection
        b"\x30\x84\x7f\xff\xff\xff" + bytes(MAX_ANSWER_BYTES),
    ],
)
async def test_what_is_no_answer_is_no_success(octets: bytes) -> None:
    async with stage(lambda _, __: octets) as (_, url), backend(url, **TEMPLATE) as directory:
        await unavailable(directory)


async def test_an_answer_that_never_gets_whole_has_its_deadline(
    autojump_clock: MockClock,
) -> None:
    async with stage(lambda _, __: b"\x30\x00") as (_, url), backend(url, **TEMPLATE) as directory:
        await unavailable(directory)


async def test_a_connection_that_is_reset_is_no_success(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        silence() as listener,
        backend(f"ldap://127.0.0.1:{port_of(listener)}", **TEMPLATE) as directory,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(unavailable, directory)
        async with await listener.accept() as stream:
            assert await stream.receive_some()
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert warnings(caplog)[0].endswith("the connection broke")


async def test_a_search_is_not_answered_by_a_bind() -> None:
    def answer(session: LDAPServer, message: LDAPMessage) -> None:
        if isinstance(message, SearchRequest):
            session._search_requests.add(message.message_id)
        session.bind_response(message.message_id)

    async with stage(answer) as (_, url), backend(url, **SEARCH) as directory:
        await unavailable(directory)


def _start_tls(code: LDAPResultCode | None, extra: bytes) -> Answer:
    def answer(session: LDAPServer, message: LDAPMessage) -> bytes:
        if isinstance(message, ExtendedRequest) and code is not None:
            session.extended_response(message.message_id, result_code=code)
        elif isinstance(message, BindRequest):
            session.bind_response(message.message_id)
        return extra

    return answer


_BIND_SUCCESS = b"\x30\x0c\x02\x01%c\x61\x07\x0a\x01\x00\x04\x00\x04\x00"


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        (LDAPResultCode.PROTOCOL_ERROR, b""),
        (LDAPResultCode.SUCCESS, b"\x30"),
        (LDAPResultCode.SUCCESS, _BIND_SUCCESS % 1),
        (LDAPResultCode.SUCCESS, _BIND_SUCCESS % 2),
        (LDAPResultCode.SUCCESS, b"no TLS at all"),
        (None, b"\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\x00\x04\x00\x04\x00"),  # the end of a search
    ],
)
async def test_without_tls_after_start_tls_no_password_is_sent(
    ca: str, code: LDAPResultCode | None, extra: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        stage(_start_tls(code, extra)) as (server, url),
        backend(url, start_tls=True, ca=ca, **TEMPLATE) as directory,
    ):
        await unavailable(directory)
    assert b"wonder:land" not in server.octets
    assert [type(message) for message in server.told] == [ExtendedRequest]
    assert ("refuses StartTLS" in caplog.text) == (code is LDAPResultCode.PROTOCOL_ERROR)


async def test_what_came_in_plain_text_is_forgotten_when_tls_begins(
    authority: trustme.CA, ca: str
) -> None:
    ours, theirs = memory_stream_pair()
    link, session = Link(ours), LDAPServer()
    # The StartTLS response, and the beginning of what would swallow the answer to the bind.
    await theirs.send_all(
        b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00\x30\x10\x02\x01\x02\x61"
    )
    await link.start_tls()
    await theirs.receive_some()
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("ldap.corp").configure_cert(server_side)
    tls = trio.SSLStream(theirs, server_side, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tls.do_handshake)
        await link.secure(ssl.create_default_context(cafile=ca), "ldap.corp")

    async def answer() -> None:
        (request,) = session.receive(await tls.receive_some())
        session.bind_response(request.message_id)
        await tls.send_all(session.data_to_send())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        assert await link.bind("cn=x", "secret") is LDAPResultCode.SUCCESS
    assert link.bound_as == "cn=x"
    await link.aclose()


# ------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"urls": ()}, "url: no server"),
        ({"urls": ("ldap://ldap.corp",)}, "plain text to ldap.corp"),
        ({"urls": ("ldap://127.0.0.1.evil.test",)}, "plain text to 127.0.0.1.evil.test"),
        ({"urls": ("ldap://localhost.evil.test",)}, "plain text to"),
        ({"urls": ("ldaps://a", "ldap://10.0.0.1")}, "plain text to 10.0.0.1"),
        ({"start_tls": True}, "start_tls: ldaps:// is TLS"),
        ({"urls": ("http://a",)}, "written ldaps://HOST"),
        ({"urls": ("ldaps://",)}, "written ldaps://HOST"),
        ({"urls": ("ldaps://u:p@a",)}, "written ldaps://HOST"),
        ({"urls": ("ldaps://a/dc=corp",)}, "nothing may follow"),
        ({"urls": ("ldaps://a?x",)}, "nothing may follow"),
        ({"urls": ("ldaps://a:99999",)}, "ort"),
        ({"bind_dn": SERVICE}, "bind_dn"),
        ({"bind_password": "x"}, "bind_dn"),
        ({"base": ""}, "base"),
        ({"user_filter": "(uid=x)"}, "user_filter"),
        ({"user_filter": "uid={user}"}, ""),
        ({"user_filter": "(uid={user}"}, "user_filter"),
        ({"group_filter": "(member={dn}))"}, "group_filter"),
        ({"user_dn": "{user}@corp"}, "user_dn"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict[str, Any], told: str) -> None:
    settings = {"urls": ("ldaps://a",), "base": BASE, **changes}
    if changes == {"user_filter": "uid={user}"}:  # parentheses may be left out, as everywhere
        assert LdapSettings(**settings).user_attribute == "uid"
        return
    with pytest.raises(ValueError) as caught:
        LdapSettings(**settings)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"urls": ("ldap://127.0.0.1", "ldap://[::1]:3890", "ldap://localhost/")},
        {"urls": ("ldap://ldap.corp",), "allow_plain": True},
        {"urls": ("ldap://ldap.corp",), "start_tls": True},
        {"user_filter": "(&(objectClass=user)(sAMAccountName={user})(!(disabled=TRUE)))"},
        {"base": "", "user_dn": "cn={user},ou=people"},
    ],
)
def test_settings_that_do_are_taken(changes: dict[str, Any]) -> None:
    assert LdapSettings(**{"urls": ("ldaps://a",), "base": BASE, **changes}).user_attribute


def test_ports_are_the_usual_ones() -> None:
    places = [parse_place(url) for url in ("ldap://a", "ldaps://a", "ldaps://[::1]:1636")]
    assert [(place.host, place.port) for place in places] == [("a", 389), ("a", 636), ("::1", 1636)]


async def test_no_password_is_shown_anywhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    settings = LdapSettings(urls=("ldap://127.0.0.1:1",), **SEARCH)
    directory = LdapBackend(settings)
    authenticator = LdapAuthenticator(directory)
    with pytest.raises(AuthUnavailable) as caught:
        await authenticator.authenticate(proof("alice:wonder:land"))
    told = "".join(traceback.format_exception(caught.value)) + caplog.text
    for text in (told, repr(settings), repr(directory), repr(authenticator)):
        assert SERVICE_PASSWORD not in text
        assert "wonder:land" not in text.replace('proof("alice:wonder:land")', "")


# ------------------------------------------------------------------ what is remembered


def proof(user_pass: str, *, now: float = 0.0) -> Proof:
    return Proof(base64.b64encode(user_pass.encode()), now=now)


class Counted:
    """A directory that counts, answers when its gate is open, and may be out of order."""

    def __init__(self, directory: LdapBackend | None = None) -> None:
        self.directory = directory
        self.asked: list[str] = []
        self.gate = trio.Event()
        self.is_down = False

    async def verify(self, name: str, password: bytes) -> Identity | None:
        self.asked.append(name)
        if self.directory is not None:
            return await self.directory.verify(name, password)
        await self.gate.wait()
        if self.is_down:
            raise AuthUnavailable("down")
        return Identity(name) if password == b"good" else None


_guard: type[Authenticator] = LdapAuthenticator


def test_the_challenge_is_that_of_basic() -> None:
    authenticator = LdapAuthenticator(Counted(), realm='a "b"')
    assert authenticator.scheme == "Basic"
    assert authenticator.challenges(0) == [b'Basic realm="a \\"b\\"", charset="UTF-8"']
    with pytest.raises(ValueError):
        LdapAuthenticator(Counted(), realm="a\r\nb")


async def test_answers_of_a_real_directory_are_remembered_and_forgotten(url: str) -> None:
    async with backend(url, **SEARCH) as directory:
        counted = Counted(directory)
        authenticator = LdapAuthenticator(counted, bounds=BasicBounds(good_for_s=300))
        good, bad = "alice:wonder:land", "alice:wonderland"
        for now, asked in ((0, 1), (299, 1), (300, 2)):
            assert await authenticator.authenticate(proof(good, now=now)) == ALICE
            assert authenticator.authenticate_nowait(proof(good, now=now)) == ALICE
            assert len(counted.asked) == asked
        for now, asked in ((0, 3), (9, 3), (10, 4)):
            with pytest.raises(AuthRequired) as caught:
                await authenticator.authenticate(proof(bad, now=now))
            assert caught.value.detail == "wrong user name or password"
            with pytest.raises(AuthRequired):
                authenticator.authenticate_nowait(proof(bad, now=now))
            assert len(counted.asked) == asked
        assert authenticator.authenticate_nowait(proof("bob:builder")) is None


async def test_an_outage_is_not_remembered() -> None:
    counted = Counted()
    counted.gate.set()
    authenticator = LdapAuthenticator(counted)
    counted.is_down = True
    with pytest.raises(AuthUnavailable):
        await authenticator.authenticate(proof("ann:good"))
    counted.is_down = False
    assert await authenticator.authenticate(proof("ann:good")) == Identity("ann")


async def outcome(
    authenticator: LdapAuthenticator, user_pass: str, outcomes: list[str], scope: trio.CancelScope
) -> None:
    with scope:
        try:
            identity = await authenticator.authenticate(proof(user_pass))
        except (AuthRequired, AuthUnavailable, AuthOverloaded) as error:
            outcomes.append(type(error).__name__)
        else:
            outcomes.append(identity.user)


@pytest.mark.parametrize(
    ("user_pass", "is_down", "expected"),
    [
        ("ann:good", False, "ann"),
        ("ann:bad", False, "AuthRequired"),
        ("ann:good", True, "AuthUnavailable"),
    ],
)
@pytest.mark.parametrize("cancelled", [False, True])
async def test_equal_credentials_arriving_together_are_asked_about_once(
    user_pass: str, is_down: bool, expected: str, cancelled: bool
) -> None:
    counted = Counted()
    counted.is_down = is_down
    authenticator = LdapAuthenticator(counted, bounds=BasicBounds(max_pending=1))
    outcomes: list[str] = []
    leader = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        for scope in (leader, trio.CancelScope(), trio.CancelScope()):
            nursery.start_soon(outcome, authenticator, user_pass, outcomes, scope)
            await wait_all_tasks_blocked()
        if cancelled:
            leader.cancel()
            await wait_all_tasks_blocked()
        counted.gate.set()
    assert outcomes == [expected] * (2 if cancelled else 3)
    assert counted.asked == ["ann"] * (2 if cancelled else 1)


async def test_more_questions_than_the_bound_are_refused_at_once() -> None:
    counted = Counted()
    authenticator = LdapAuthenticator(counted, bounds=BasicBounds(max_pending=2))
    outcomes: list[str] = []
    async with trio.open_nursery() as nursery:
        for name in ("ann", "ben", "cid"):
            nursery.start_soon(outcome, authenticator, f"{name}:good", outcomes, trio.CancelScope())
            await wait_all_tasks_blocked()
        assert outcomes == ["AuthOverloaded"]
        counted.gate.set()
    assert sorted(outcomes) == ["AuthOverloaded", "ann", "ben"]


async def test_malformed_credentials_are_not_asked_about() -> None:
    counted = Counted()
    authenticator = LdapAuthenticator(counted)
    for credentials in (b"!", base64.b64encode(b"nocolon"), base64.b64encode(b"a\0:b")):
        with pytest.raises(AuthRequired):
            await authenticator.authenticate(Proof(credentials))
        with pytest.raises(AuthRequired):
            authenticator.authenticate_nowait(Proof(credentials))
    assert counted.asked == []
