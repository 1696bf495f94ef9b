"""From settings to what looks into TLS, and where the blame goes when it cannot be."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from wsproxy.app_interception import build_looking
from wsproxy.config.load import load
from wsproxy.config.parts import Parts
from wsproxy.errors import ConfigError
from wsproxy.model import Host
from wsproxy.protocol.x509 import create_authority, load_authority, mint, new_leaf_key
from wsproxy.proxy.looking import Looking

NOW = datetime(2026, 11, 26, tzinfo=UTC)
CERTIFICATE, KEY = create_authority("test", now=NOW)
AUTHORITY = load_authority(CERTIFICATE, KEY, now=NOW)
LEAF_KEY = new_leaf_key()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ca.pem").write_bytes(CERTIFICATE)
    (tmp_path / "ca.key").touch(0o600)
    (tmp_path / "ca.key").write_bytes(KEY)
    (tmp_path / "leaf.pem").write_bytes(mint(AUTHORITY, "leaf.test", key=LEAF_KEY, now=NOW))
    return tmp_path


def build(folder: Path, interception: str, rules: str = "") -> Looking:
    file = folder / "wsproxy.yaml"
    file.write_text(f"policy: {{rules: [{rules}]}}\ninterception: {{{interception}}}\n")
    return build_looking(load(file), Parts(), peek=False, clock=NOW.timestamp)


FILES = "ca_certificate: ca.pem, ca_key: ca.key"


def test_rules_that_intercept_are_known_by_name(folder: Path) -> None:
    looking = build(
        folder,
        FILES,
        "{name: a, action: allow, tls: intercept}, {name: b, action: allow},"
        " {name: c, action: allow, tls: intercept_always}",
    )
    assert looking.always == {"a": False, "c": True}
    assert [looking.concerns(name) for name in ("a", "b", "c", None)] == [True, False, True, False]
    assert looking.interception is not None
    assert looking.interception.ca_pem == CERTIFICATE
    assert looking.interception.pins is None


def test_exceptions(folder: Path) -> None:
    looking = build(
        folder, f"{FILES}, passthrough: {{hosts: ['*.bank.test'], after_failures: 3, for: 2h}}"
    )
    interception = looking.interception
    assert interception is not None
    assert Host("www.bank.test") in interception.exempt
    assert interception.pins is not None


def test_without_the_section_nothing_is_intercepted(tmp_path: Path) -> None:
    file = tmp_path / "wsproxy.yaml"
    file.write_text("policy: {default: allow}")
    looking = build_looking(load(file), Parts(), peek=True, clock=NOW.timestamp)
    assert looking.interception is None
    assert looking.concerns("anything")


@pytest.mark.parametrize(
    ("interception", "where", "what"),
    [
        ("ca_certificate: none.pem, ca_key: ca.key", "ca_certificate", "cannot be read"),
        ("ca_certificate: ca.pem, ca_key: none.key", "ca_key", "cannot be read"),
        ("ca_certificate: ca.key, ca_key: ca.key", "ca_certificate", "no PEM certificate"),
        ("ca_certificate: leaf.pem, ca_key: ca.key", "ca_certificate", "CA"),
        (f"{FILES}, passthrough: {{hosts: ['*x']}}", "passthrough.hosts", "stands alone"),
        (f"{FILES}, upstream: {{ca: [none.pem]}}", "upstream.ca[0]", "cannot be read"),
        (f"{FILES}, upstream: {{crl: ca.key}}", "upstream", "cannot be used"),
        (
            f"{FILES}, upstream: {{client_certificates: "
            "[{hosts: a.test, certificate: leaf.pem, key: ca.key}]}",
            "upstream.client_certificates[0]",
            "cannot be used",
        ),
        (f"{FILES}, key_log: none/keys", "key_log", "cannot be written"),
    ],
)
def test_what_cannot_be_used_is_named(
    folder: Path, interception: str, where: str, what: str
) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        build(folder, interception)
    assert caught.value.key == f"interception.{where}"
    assert caught.value.line == 2


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o620, 0o602])
def test_a_key_that_others_can_read_is_refused(folder: Path, mode: int) -> None:
    (folder / "ca.key").chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        build(folder, FILES)


def test_a_key_log_is_announced_and_private(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        build(folder, f"{FILES}, key_log: keys")
    assert "For debugging only" in caplog.text
    assert (folder / "keys").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ("{name: a, action: allow, tls: intercept}", "needs the section interception"),
        ("{name: a, action: deny, tls: intercept}", "what is denied is not looked into"),
    ],
)
def test_rules_that_make_no_sense(tmp_path: Path, rule: str, what: str) -> None:
    file = tmp_path / "wsproxy.yaml"
    file.write_text(f"policy: {{rules: [{rule}]}}")
    with pytest.raises((ConfigError, ExceptionGroup)) as caught:
        load(file)
    assert what in repr(caught.value) + str(getattr(caught.value, "errors", ""))
