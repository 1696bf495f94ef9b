"""From settings to what stands before HTTP, and where the blame goes when it cannot be."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.support.doorkeeper import Doorkeeper
from wsproxy.app_listeners import build_entrances
from wsproxy.config.load import load
from wsproxy.config.problems import each_error
from wsproxy.errors import ConfigError
from wsproxy.proxy.entrance import Entrance

FILES = "certificate: server.pem, key: server.key"


@pytest.fixture
def keeper(tmp_path: Path) -> Doorkeeper:
    keeper = Doorkeeper(tmp_path)
    keeper.revoke()
    shutil.copyfile(keeper.issue("alice").key, tmp_path / "other.key")
    (tmp_path / "other.key").chmod(0o600)
    return keeper


def build(folder: Path, listeners: str, auth: str = "{}") -> tuple[Entrance, ...]:
    file = folder / "wsproxy.yaml"
    file.write_text(f"auth: {auth}\nlisteners: [{listeners}]\n")
    return build_entrances(load(file))


def of_tls(folder: Path, tls: str, auth: str = "{}") -> ssl.SSLContext:
    (entrance,) = build(folder, f"{{address: '127.0.0.1:1', tls: {{{tls}}}}}", auth)
    assert entrance.tls is not None
    return entrance.tls


def test_each_listener_has_its_own(keeper: Doorkeeper) -> None:
    plain, secure, behind = build(
        keeper.folder,
        f"{{address: '127.0.0.1:1'}}, {{address: '127.0.0.1:2', tls: {{{FILES}}}}},"
        "{address: '127.0.0.1:3', proxy_protocol: {trust: [10.0.0.0/8, '2001:db8::/32']}}",
    )
    assert (plain.tls, plain.trusted, secure.trusted, behind.tls) == (None, None, None, None)
    assert secure.tls is not None
    assert secure.handshake_s == 10.0
    trusted = ("10.1.2.3", "11.0.0.1", "2001:db8::7", "::1")
    assert [behind.expects_header(ip_address(one)) for one in trusted] == [True, False, True, False]
    assert not plain.expects_header(ip_address("10.1.2.3"))


def test_tls_is_as_strict_as_elsewhere(keeper: Doorkeeper) -> None:
    context = of_tls(keeper.folder, FILES)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.verify_mode is ssl.CERT_NONE
    assert (context.num_tickets, context.options & ssl.OP_NO_TICKET) == (1, 0)


@pytest.mark.parametrize(
    ("auth", "mode"),
    [
        ("{}", ssl.CERT_REQUIRED),
        ("{methods: [{type: certificate}]}", ssl.CERT_REQUIRED),
        ("{methods: [{type: basic, users: users}]}", ssl.CERT_REQUIRED),
        ("{required: false, methods: [{type: certificate}]}", ssl.CERT_OPTIONAL),
        ("{methods: [{type: certificate}, {type: basic, users: users}]}", ssl.CERT_OPTIONAL),
    ],
)
def test_a_certificate_is_required_where_nothing_else_will_do(
    keeper: Doorkeeper, auth: str, mode: ssl.VerifyMode
) -> None:
    (keeper.folder / "users").touch()
    context = of_tls(keeper.folder, f"{FILES}, client_ca: ca.pem, client_crl: crl.pem", auth)
    assert context.verify_mode is mode
    # A resumed session would not be verified again.
    assert (context.num_tickets, bool(context.options & ssl.OP_NO_TICKET)) == (0, True)


@pytest.mark.parametrize(
    ("tls", "where", "what"),
    [
        ("certificate: none.pem, key: server.key", "certificate", "cannot read"),
        ("certificate: server.pem, key: none.key", "key", "cannot read"),
        ("certificate: server.key, key: server.key", "certificate", "no PEM certificate"),
        ("certificate: wsproxy.yaml, key: server.key", "certificate", "no PEM certificate"),
        ("certificate: server.pem, key: garbage.key", "key", "no PEM key"),
        ("certificate: server.pem, key: other.key", "key", "not the key of the certificate"),
        ("certificate: server.pem, key: locked.key", "key", "no PEM key"),
        (f"{FILES}, client_ca: none.pem", "client_ca", "cannot read"),
        (f"{FILES}, client_ca: [ca.pem, server.key]", "client_ca[1]", "cannot be used"),
        (f"{FILES}, client_ca: crl.pem", "client_ca", "no certificate in it"),
        (f"{FILES}, client_ca: ca.pem, client_crl: none.pem", "client_crl", "cannot read"),
        (f"{FILES}, client_ca: ca.pem, client_crl: ca.pem", "client_crl", "no list of"),
        (f"{FILES}, client_ca: ca.pem, client_crl: server.key", "client_crl", "cannot be used"),
        (f"{FILES}, client_crl: crl.pem", "client_crl", "nobody to revoke"),
    ],
)
def test_what_cannot_be_used_is_named(keeper: Doorkeeper, tls: str, where: str, what: str) -> None:
    for name in ("garbage.key", "locked.key"):
        (keeper.folder / name).touch(0o600)
    (keeper.folder / "locked.key").write_text(_ENCRYPTED)
    with pytest.raises(ConfigError) as caught:
        of_tls(keeper.folder, tls)
    (error,) = each_error(caught.value)
    assert error.key == f"listeners[0].tls.{where}"
    assert what in error.detail
    assert error.line == 2
    assert "PRIVATE" not in str(error)


def test_a_key_that_is_too_small_is_found_at_start(keeper: Doorkeeper) -> None:
    command = [
        *("openssl", "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=proxy.test"),
        *("-keyout", str(keeper.server.key), "-out", str(keeper.server.certificate)),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    with pytest.raises(ConfigError, match="ee key too small"):
        of_tls(keeper.folder, FILES)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o620, 0o602])
def test_a_key_that_others_can_read_is_refused(keeper: Doorkeeper, mode: int) -> None:
    keeper.server.key.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        of_tls(keeper.folder, FILES)


_ENCRYPTED = """\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIH0MF8GCSqGSIb3DQEFDTBSMDEGCSqGSIb3DQEFDDAkBBAn0MhMOJ5Bv9ZR9nYp
-----END ENCRYPTED PRIVATE KEY-----
"""
