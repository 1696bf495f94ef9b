"""``wsproxy ca`` makes a CA once, shows it, and lets nothing but the certificate out."""

from __future__ import annotations

import json
import os
import platform
import shutil
import ssl
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from wsproxy.cli import ca as module
from wsproxy.cli import main
from wsproxy.protocol.x509 import create_authority, describe, fingerprint, load_authority

Captured = pytest.CaptureFixture[str]
Octets = pytest.CaptureFixture[bytes]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def run(*arguments: str | Path) -> int:
    return main(["ca", *map(str, arguments)])


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The folder of a CA, as init leaves it."""
    folder = tmp_path / "ca"
    folder.mkdir(mode=0o700)
    certificate, key = create_authority("test CA", now=datetime.now(UTC))
    (folder / "ca.pem").write_bytes(certificate)
    (folder / "ca.key").write_bytes(key)
    return folder


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    old = os.umask(request.param)
    yield request.param
    os.umask(old)


# ------------------------------------------------------------------ init


def test_a_ca_is_made_and_what_to_do_with_it_is_said(tmp_path: Path, capfd: Captured) -> None:
    folder = tmp_path / "ca"
    assert run("init", folder, "--name", "our CA", "--days", "10") == 0

    captured = capfd.readouterr()
    certificate = (folder / "ca.pem").read_bytes()
    assert captured.err == ""
    assert captured.out == (
        f"certificate  {folder}/ca.pem\n"
        f"key          {folder}/ca.key (whoever has it can pose as any site to your clients)\n"
        f"SHA-256      {fingerprint(certificate)}\n"
        "\n"
        "Into the configuration:\n"
        "\n"
        "interception:\n"
        f"  ca_certificate: {folder}/ca.pem\n"
        f"  ca_key: {folder}/ca.key\n"
        "\n"
        "Next: install ca.pem in the clients as a trusted CA, and compare the fingerprint there.\n"
    )
    now = datetime.now(UTC)
    authority = load_authority(certificate, (folder / "ca.key").read_bytes(), now=now)
    assert authority.certificate.subject.rfc4514_string() == "CN=our CA"
    assert 9 <= (authority.certificate.not_valid_after_utc - now).days < 10
    assert describe(certificate)["permitted"] == []
    assert sorted(path.name for path in folder.iterdir()) == ["ca.key", "ca.pem"]


def test_without_options_it_has_the_name_of_the_host_and_ten_years(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "node", lambda: "proxy.corp" * 10)
    assert run("init", tmp_path) == 0
    shown = describe((tmp_path / "ca.pem").read_bytes())
    assert shown["subject"] == "CN=" + ("wsproxy CA " + "proxy.corp" * 10)[:64]
    assert isinstance(shown["not_after"], str)
    assert (datetime.fromisoformat(shown["not_after"]) - datetime.now(UTC)).days == 3649


def test_what_it_may_sign_for_is_limited(tmp_path: Path) -> None:
    assert run("init", tmp_path, "--permit", "example.com", "--permit", "10.0.0.0/8") == 0
    shown = describe((tmp_path / "ca.pem").read_bytes())
    assert shown["permitted"] == ["example.com", "10.0.0.0/8"]


def test_only_the_owner_can_read_the_key_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    folder = tmp_path / "ca"
    # A umask that takes even the owner's rights is for root, whom it does not stop.
    if umask == 0o777 and os.geteuid() != 0:
        pytest.skip("nobody but root could write into the folder")
    assert run("init", folder) == 0
    assert mode_of(folder / "ca.key") == 0o600
    assert mode_of(folder / "ca.pem") == 0o644
    assert mode_of(folder) == 0o700 & ~umask


def test_the_key_is_never_open_to_others_not_even_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    born: dict[str, tuple[int, int]] = {}
    real = os.open

    def watched(path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = real(path, flags, mode)
        born[path.name] = flags & (os.O_EXCL | os.O_CREAT), os.fstat(descriptor).st_mode & 0o777
        return descriptor

    old = os.umask(0)
    try:
        monkeypatch.setattr(os, "open", watched)
        assert run("init", tmp_path) == 0
    finally:
        os.umask(old)
    exclusive = os.O_EXCL | os.O_CREAT
    assert born == {"ca.key": (exclusive, 0o600), "ca.pem": (exclusive, 0o644)}


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert run("init", tmp_path) == 0
    assert mode_of(tmp_path) == 0o755


@pytest.mark.parametrize("name", ["ca.pem", "ca.key"])
@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
def test_nothing_is_ever_overwritten(tmp_path: Path, capfd: Captured, name: str, kind: str) -> None:
    folder, target = tmp_path / "ca", tmp_path / "elsewhere"
    folder.mkdir()
    there = folder / name
    if kind == "file":
        there.write_text("mine")
    else:
        there.symlink_to(target)
    if kind == "link":
        target.write_text("mine")

    assert run("init", folder) == 1

    captured = capfd.readouterr()
    assert (captured.out, captured.err) == (
        "",
        f"wsproxy ca init: {there} exists and stays as it is; "
        "choose another folder or move it away\n",
    )
    assert [path.name for path in folder.iterdir()] == [name]
    assert target.exists() is (kind == "link")
    assert kind == "dangling" or there.read_text() == "mine"


def test_a_second_init_leaves_the_first_ca_as_it_was(made: Path, capfd: Captured) -> None:
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    assert run("init", made) == 1
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before
    assert len(capfd.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("failing", [1, 2])
def test_a_full_disk_leaves_no_half_a_ca(
    tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    calls = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert run("init", tmp_path) == 1
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == (
        f"wsproxy ca init: cannot write {tmp_path}: No space left on device; no CA was made\n"
    )


def test_a_folder_that_cannot_be_made_is_a_failure(tmp_path: Path, capfd: Captured) -> None:
    folder = tmp_path / "missing" / "ca"
    assert run("init", folder) == 1
    assert capfd.readouterr().err == (
        f"wsproxy ca init: cannot write {folder}: No such file or directory; no CA was made\n"
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--days", "0"], "Invalid value for '--days': 0 is not in the range 1<=x<=36500"),
        (["--name", ""], "the CA's name must be 1 to 64 printable characters"),
        (["--name", "a\x1bb"], "the CA's name must be 1 to 64 printable characters"),
        (
            ["--permit", "*.example.com"],
            "cannot permit '*.example.com'; write a name like example.com, which covers all names "
            "below it, or a network like 10.0.0.0/8",
        ),
    ],
)
def test_bad_usage_is_one_line_and_makes_nothing(
    tmp_path: Path, capfd: Captured, arguments: list[str], problem: str
) -> None:
    assert run("init", tmp_path / "ca", *arguments) == 2
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == (
        "",
        f"wsproxy ca init: {problem}; see 'wsproxy ca init --help'\n",
    )
    assert not (tmp_path / "ca").exists()


def test_a_file_is_no_folder(made: Path) -> None:
    assert run("init", made / "ca.pem") == 2


@pytest.mark.parametrize("name", ["with space", "a: b", "# no", "plain-1.0_x", "{x}", "é"])
def test_what_is_to_be_pasted_is_yaml_of_these_paths(
    tmp_path: Path, capfd: Captured, name: str
) -> None:
    assert run("init", tmp_path / name) == 0
    pasted = capfd.readouterr().out.split("\n\n")[2]
    assert yaml.safe_load(pasted) == {
        "interception": {
            "ca_certificate": str(tmp_path / name / "ca.pem"),
            "ca_key": str(tmp_path / name / "ca.key"),
        }
    }


def test_paths_are_told_in_full(
    tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("init", "ca") == 0
    assert f"  ca_key: {tmp_path}/ca/ca.key\n" in capfd.readouterr().out


# ------------------------------------------------------------------ show


def test_a_ca_is_shown_by_its_folder_or_its_file(made: Path, capfd: Captured) -> None:
    shown = describe((made / "ca.pem").read_bytes())
    for source in (made, made / "ca.pem"):
        assert run("show", source) == 0
        captured = capfd.readouterr()
        assert captured.err == ""
        assert captured.out == (
            "subject             CN=test CA\n"
            f"serial              {shown['serial']}\n"
            f"not_before          {shown['not_before']}\n"
            f"not_after           {shown['not_after']}\n"
            f"fingerprint_sha256  {shown['fingerprint_sha256']}\n"
            f"spki_sha256         {shown['spki_sha256']}\n"
            "permitted           anything\n"
        )


def test_it_is_shown_as_json(made: Path, capfd: Captured) -> None:
    assert run("show", "--json", made) == 0
    assert json.loads(capfd.readouterr().out) == describe((made / "ca.pem").read_bytes())


def test_limits_are_shown(tmp_path: Path, capfd: Captured) -> None:
    run("init", tmp_path, "--permit", "example.com", "--permit", "10.0.0.0/8")
    capfd.readouterr()
    run("show", tmp_path)
    assert capfd.readouterr().out.endswith("permitted           example.com, 10.0.0.0/8\n")


def test_a_certificate_cannot_steer_the_terminal(
    made: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "describe", lambda _: {"subject": "CN=\x1b[2J", "permitted": []})
    assert run("show", made) == 0
    assert capfd.readouterr().out.startswith("subject             'CN=\\x1b[2J'\n")


# ------------------------------------------------------------------ export


def test_the_certificate_is_exported_to_standard_output(made: Path, capfdbinary: Octets) -> None:
    certificate = (made / "ca.pem").read_bytes()
    for source in (made, made / "ca.pem"):
        assert run("export", source) == 0
        assert capfdbinary.readouterr() == (certificate, b"")
        assert run("export", "--format", "der", source) == 0
        assert capfdbinary.readouterr() == (ssl.PEM_cert_to_DER_cert(certificate.decode()), b"")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command here")
def test_what_is_exported_is_what_openssl_reads(made: Path, tmp_path: Path) -> None:
    assert run("export", "--format", "der", "--output", tmp_path / "ca.crt", made) == 0
    command = ["openssl", "x509", "-inform", "der", "-noout", "-fingerprint", "-sha256"]
    done = subprocess.run(
        [*command, "-in", str(tmp_path / "ca.crt")],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert done.stdout.strip().partition("=")[2] == fingerprint((made / "ca.pem").read_bytes())


def test_a_file_that_is_made_can_be_read_by_all(
    made: Path, tmp_path: Path, capfd: Captured, umask: int
) -> None:
    out = tmp_path / "for-clients.pem"
    assert run("export", made, "--output", out) == 0
    assert out.read_bytes() == (made / "ca.pem").read_bytes()
    assert mode_of(out) == 0o644
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["ca.key", "ca.pem"])
def test_an_export_overwrites_nothing_least_of_all_the_key(
    made: Path, capfd: Captured, name: str
) -> None:
    before = (made / name).read_bytes()
    assert run("export", made, "--output", made / name) == 1
    assert (made / name).read_bytes() == before
    assert capfd.readouterr().err == (
        f"wsproxy ca export: {made / name} exists and stays as it is; "
        "choose another name or move it away\n"
    )


def test_an_export_that_cannot_be_written_is_a_failure(made: Path, capfd: Captured) -> None:
    out = made / "missing" / "ca.crt"
    assert run("export", made, "--output", out) == 1
    assert capfd.readouterr().err == (
        f"wsproxy ca export: cannot write {out}: No such file or directory\n"
    )


def test_of_a_file_with_everything_only_the_first_certificate_leaves(
    tmp_path: Path, capfdbinary: Octets
) -> None:
    certificate, key = create_authority("first", now=datetime.now(UTC))
    second, _ = create_authority("second", now=datetime.now(UTC))
    file = tmp_path / "all.pem"
    file.write_bytes(key + b"by hand\n" + certificate + second)
    assert run("export", file) == 0
    assert capfdbinary.readouterr() == (certificate, b"")


# ------------------------------------------------------------------ both, and all


@pytest.mark.parametrize("command", ["show", "export"])
def test_what_holds_no_certificate_is_a_failure_of_one_line(
    made: Path, capfd: Captured, command: str
) -> None:
    assert run(command, made / "ca.key") == 1
    assert capfd.readouterr() == (
        "",
        f"wsproxy ca {command}: {made / 'ca.key'}: "
        "no PEM certificate ('-----BEGIN CERTIFICATE-----') to read\n",
    )


@pytest.mark.parametrize("command", ["show", "export"])
def test_what_cannot_be_read_is_a_failure_of_one_line(
    tmp_path: Path, capfd: Captured, command: str
) -> None:
    assert run(command, tmp_path) == 1
    assert capfd.readouterr().err == (
        f"wsproxy ca {command}: cannot read {tmp_path}/ca.pem: No such file or directory\n"
    )
    large = tmp_path / "large"
    large.touch()
    os.truncate(large, 1024 * 1024 + 1)
    assert run(command, large) == 1
    assert capfd.readouterr().err == (
        f"wsproxy ca {command}: {large} is larger than 1 MiB; is it a certificate?\n"
    )
    assert run(command, tmp_path / "nowhere") == 2
    assert len(capfd.readouterr().err.splitlines()) == 1


def test_no_octet_of_the_key_is_in_any_output(tmp_path: Path, capfdbinary: Octets) -> None:
    folder, out = tmp_path / "ca", tmp_path / "out.pem"
    both = tmp_path / "both.pem"
    run("init", folder)
    key = (folder / "ca.key").read_bytes()
    both.write_bytes((folder / "ca.pem").read_bytes() + key)
    for source in (folder, folder / "ca.pem", folder / "ca.key", both):
        run("init", source)
        run("show", source)
        run("show", "--json", source)
        run("export", source)
        run("export", "--format", "der", source)
        run("export", "--output", out, source)
    captured = capfdbinary.readouterr()
    written = captured.out + captured.err + out.read_bytes()
    assert b"BEGIN CERTIFICATE" in written
    assert b"PRIVATE KEY" not in written
    # The first line is the same in every key on P-256 that is PKCS #8.
    lines = [line for line in key.splitlines()[2:] if not line.startswith(b"-----")]
    assert len(lines) == 2
    assert not any(line in written for line in lines)
    secret = load_pem_private_key(key, password=None)
    assert isinstance(secret, EllipticCurvePrivateKey)
    octets = secret.private_numbers().private_value.to_bytes(32, "big")
    assert octets not in written
    assert octets.hex().encode() not in written.lower()


@pytest.mark.parametrize("command", [[], ["init"], ["show"], ["export"]])
def test_every_help_has_an_example(capfd: Captured, command: list[str]) -> None:
    assert run(*command, "--help") == 0
    assert f"Example: {' '.join(['wsproxy ca', *command])} " in capfd.readouterr().out


def test_no_command_shows_the_help_and_is_bad_usage(capfd: Captured) -> None:
    assert run() == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    for name in ("init", "show", "export"):
        assert f"\n  {name}" in captured.err
    assert "..." not in captured.err.partition("Commands:")[2]


def test_a_wrong_command_is_one_line(capfd: Captured) -> None:
    assert run("inti") == 2
    assert capfd.readouterr().err.startswith("wsproxy ca: No such command 'inti'.")
