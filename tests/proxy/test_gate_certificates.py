"""Certificates among the methods: what counts when, and what is answered when nothing does."""

from __future__ import annotations

import math
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
import trio

from tests.support.door import credentials, write_users
from tests.support.doorkeeper import Doorkeeper
from wsproxy.app import build
from wsproxy.auth.proof import Bond, Remembered
from wsproxy.config.load import load
from wsproxy.errors import AuthRequired, Denied, LimitReached, WsproxyError
from wsproxy.model import Certificate, Identity, Peer, ProxyRequest
from wsproxy.observe.exchange import Exchange
from wsproxy.protocol.http1 import ServerConnection
from wsproxy.proxy.gate import Gate

ALICE = Certificate((("organizationalUnitName", "desk"), ("commonName", "alice")))
NOBODY = Certificate((("organizationName", "Corp"),))
CERTIFICATE, BASIC = "{type: certificate}", "{type: basic, users: users}"


def make_gate(
    folder: Path, *methods: str, more: str = "", policy: str = "{default: allow}"
) -> Gate:
    write_users(folder, bob="secret")
    text = (
        f"listeners: [{Doorkeeper(folder).listener()}]\n"
        f"auth: {{methods: [{', '.join(methods)}]{more}}}\npolicy: {policy}\n"
    )
    (folder / "wsproxy.yaml").write_text(text)
    return build(load(folder / "wsproxy.yaml")).gate


def a_request(fields: bytes = b"") -> ProxyRequest:
    http = ServerConnection()
    http.receive_data(b"CONNECT 192.88.98.1:443 HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n")
    request = http.next_event()
    assert isinstance(request, ProxyRequest)
    return request


async def admit(
    gate: Gate, certificate: Certificate | None, fields: bytes = b""
) -> Exchange | WsproxyError:
    """What is known of a request that passes, or why it does not."""
    peer = Peer(ip_address("192.0.2.7"), 7, certificate)
    exchange = Exchange(peer, trio.current_time())
    try:
        await gate.admit(a_request(fields), exchange)
    except WsproxyError as error:
        return error
    return exchange


async def test_a_certificate_needs_no_credentials_and_is_known_at_once(tmp_path: Path) -> None:
    gate = make_gate(tmp_path, CERTIFICATE)
    exchange = await admit(gate, ALICE)
    assert isinstance(exchange, Exchange)
    assert exchange.identity is not None
    assert (exchange.user, exchange.identity.groups) == ("alice", {"desk"})
    again = Exchange(exchange.peer, 0.0)
    assert gate.admit_nowait(a_request(), again, None, now=0.0) is not None
    assert again.user == "alice"


@pytest.mark.parametrize("order", [(CERTIFICATE, BASIC), (BASIC, CERTIFICATE)])
async def test_what_a_request_brings_counts_for_more(tmp_path: Path, order: tuple[str]) -> None:
    gate = make_gate(tmp_path, *order)
    for certificate in (ALICE, None):
        exchange = await admit(gate, certificate, credentials("bob", "secret"))
        assert isinstance(exchange, Exchange)
        assert exchange.user == "bob"
        assert isinstance(await admit(gate, certificate, credentials("bob", "no")), AuthRequired)


async def test_without_a_certificate_the_other_methods_are_offered(tmp_path: Path) -> None:
    gate = make_gate(tmp_path, CERTIFICATE, BASIC)
    for certificate in (None, NOBODY):
        assert isinstance(await admit(gate, certificate), AuthRequired)
    assert gate.challenges(0.0) == [b'Basic realm="wsproxy", charset="UTF-8"']


@pytest.mark.parametrize(
    ("certificate", "fields", "detail"),
    [
        (None, b"", "a client certificate is required"),
        (None, credentials("bob", "secret"), "a client certificate is required"),
        (None, b"Proxy-Authorization: Certificate x\r\n", "a client certificate is required"),
        (NOBODY, b"", "the client's certificate has no common name"),
    ],
)
async def test_a_407_without_a_challenge_is_none(
    tmp_path: Path, certificate: Certificate | None, fields: bytes, detail: str
) -> None:
    error = await admit(make_gate(tmp_path, CERTIFICATE), certificate, fields)
    assert isinstance(error, Denied)
    assert (error.rule, error.detail) == ("client-certificate", detail)


async def test_credentials_that_nothing_here_can_verify_do_not_spoil_a_certificate(
    tmp_path: Path,
) -> None:
    exchange = await admit(
        make_gate(tmp_path, CERTIFICATE), ALICE, credentials("anybody", "anything")
    )
    assert isinstance(exchange, Exchange)
    assert exchange.user == "alice"


async def test_nobody_may_be_anonymous_with_a_certificate_that_names_nobody(tmp_path: Path) -> None:
    gate = make_gate(tmp_path, CERTIFICATE, more=", required: false")
    exchange = await admit(gate, None)
    assert isinstance(exchange, Exchange)
    assert exchange.user is None
    assert isinstance(await admit(gate, NOBODY), Denied)


async def test_a_certificate_means_nothing_where_the_method_is_not_configured(
    tmp_path: Path,
) -> None:
    assert isinstance(await admit(make_gate(tmp_path, BASIC), ALICE), AuthRequired)


async def test_a_certificate_is_no_guess_but_who_guessed_is_out(tmp_path: Path) -> None:
    gate = make_gate(tmp_path, CERTIFICATE, BASIC, more=", lockout: {failures: 2}")
    for _ in range(5):
        assert isinstance(await admit(gate, NOBODY), AuthRequired)
    assert isinstance(await admit(gate, ALICE), Exchange)
    for _ in range(2):
        assert isinstance(await admit(gate, None, credentials("bob", "no")), AuthRequired)
    assert isinstance(await admit(gate, None, credentials("bob", "secret")), LimitReached)
    # She was known from there before.
    assert isinstance(await admit(gate, ALICE), Exchange)
    carol = replace(ALICE, subject=(("commonName", "carol"),))
    assert isinstance(await admit(gate, carol), LimitReached)


async def test_rules_see_user_and_groups(tmp_path: Path) -> None:
    rules = "{name: desk, action: allow, when: {groups: [traders]}}"
    gate = make_gate(
        tmp_path,
        "{type: certificate, groups: {traders: ['al*'], others: bob}}",
        policy=f"{{rules: [{rules}]}}",
    )
    exchange = await admit(gate, ALICE)
    assert isinstance(exchange, Exchange)
    assert exchange.rule == "desk"
    assert isinstance(await admit(gate, Certificate((("commonName", "bob"),))), Denied)


async def test_a_bond_counts_no_more_without_its_method(tmp_path: Path) -> None:
    identity = Identity("alice", frozenset(), "negotiate")
    remembered = Remembered(bond=Bond("negotiate", identity, math.inf))
    gate = make_gate(tmp_path, CERTIFICATE, BASIC, more=", required: false")
    exchange = Exchange(Peer(ip_address("192.0.2.7"), 7), trio.current_time())
    await gate.admit(a_request(), exchange, remembered=remembered)
    assert (exchange.user, remembered.bond) == (None, None)
