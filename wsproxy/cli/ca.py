"""``wsproxy ca``: the CA that interception signs with, made, shown and exported."""

from __future__ import annotations

import json
import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from wsproxy.cli.console import complain
from wsproxy.protocol.x509 import create_authority, describe, fingerprint

__all__ = ["ca"]

CERTIFICATE: Final = "ca.pem"
KEY: Final = "ca.key"

_MAX_FILE_BYTES: Final = 1024 * 1024
"""Room for a few hundred certificates; a chain has three."""

_ENCODINGS: Final = {"pem": Encoding.PEM, "der": Encoding.DER}

_SOURCE: Final = click.argument(
    "source", metavar="FILE-or-DIR", type=click.Path(exists=True, path_type=Path)
)


@click.group(epilog="Example: wsproxy ca init /etc/wsproxy/ca")
def ca() -> None:
    """Make, show and export the CA that interception signs with."""


def _default_name() -> str:
    return f"wsproxy CA {platform.node()}".strip()[:64]


@ca.command(epilog="Example: wsproxy ca init /etc/wsproxy/ca --permit example.com")
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--name",
    metavar="TEXT",
    default=_default_name,
    show_default="wsproxy CA HOSTNAME",
    help="Common name, which clients show.",
)
@click.option(
    "--days",
    metavar="N",
    type=click.IntRange(1, 36500),
    default=3650,
    show_default=True,
    help="How long it is valid.",
)
@click.option(
    "--permit",
    "permitted",
    metavar="DOMAIN",
    multiple=True,
    help="Limit it to this domain and all below, or to this IP network; repeat.",
)
def init(directory: Path, name: str, days: int, permitted: tuple[str, ...]) -> None:
    """Make a CA in the folder DIR.

    Clients must trust its ca.pem; its ca.key stays secret.  DIR is made if it
    does not exist, for its owner only.  Nothing is ever overwritten.
    """
    try:
        certificate, key = create_authority(
            name, now=datetime.now(UTC), days=days, permitted=permitted
        )
    except ValueError as error:
        raise click.UsageError(str(error), click.get_current_context()) from None
    try:
        _store(directory, certificate, key)
    except FileExistsError as error:
        _fail(f"{error.filename} exists and stays as it is; choose another folder or move it away")
    except OSError as error:
        _fail(f"cannot write {error.filename or directory}: {error.strerror}; no CA was made")
    click.echo(_made(directory.absolute(), certificate))


@ca.command(epilog="Example: wsproxy ca show /etc/wsproxy/ca")
@_SOURCE
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def show(source: Path, as_json: bool) -> None:
    """Show the certificate in a file, or of the CA in a folder."""
    content = _read(source)
    try:
        shown = describe(content)
    except ValueError as error:
        _fail(f"{source}: {error}")
    if as_json:
        click.echo(json.dumps(shown, indent=2))
        return
    for title, value in {**shown, "permitted": shown["permitted"] or ["anything"]}.items():
        text = ", ".join(value) if isinstance(value, list) else value
        # What others wrote into a certificate must not steer the terminal.
        click.echo(f"{title:<20}{text if text.isprintable() else repr(text)}")


@ca.command(epilog="Example: wsproxy ca export --format der --output ca.crt /etc/wsproxy/ca")
@_SOURCE
@click.option(
    "--format",
    "form",
    type=click.Choice(list(_ENCODINGS)),
    default="pem",
    show_default=True,
    help="Linux and browsers take pem; Windows, Android and iOS take der.",
)
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to make; standard output by default.",
)
def export(source: Path, form: str, output: Path | None) -> None:
    """Write the certificate for clients, never the key.

    Of a file with several certificates, and perhaps a key, the first
    certificate is written.
    """
    content = _read(source)
    try:
        certificate = x509.load_pem_x509_certificates(content)[0]
    except ValueError:
        _fail(f"{source}: no PEM certificate ('-----BEGIN CERTIFICATE-----') to read")
    data = certificate.public_bytes(_ENCODINGS[form])
    if output is None:
        click.echo(data, nl=False)
        return
    try:
        _create(output, data, mode=0o644)
    except FileExistsError:
        _fail(f"{output} exists and stays as it is; choose another name or move it away")
    except OSError as error:
        _fail(f"cannot write {output}: {error.strerror}")


def _store(directory: Path, certificate: bytes, key: bytes) -> None:
    """Makes both files or none; raises OSError."""
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        pass
    _create(directory / KEY, key, mode=0o600)
    try:
        _create(directory / CERTIFICATE, certificate, mode=0o644)
    except BaseException:
        os.unlink(directory / KEY)
        raise


def _create(path: Path, content: bytes, *, mode: int) -> None:
    """Makes a file that was not there, whole or not at all; raises OSError.

    It has its mode from the first moment on: a umask can only take from it, and what it
    took is given back while the file is still empty.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "wb") as stream:
            os.fchmod(descriptor, mode)
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
    except BaseException:
        os.unlink(path)
        raise


def _read(source: Path) -> bytes:
    file = source / CERTIFICATE if source.is_dir() else source
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        _fail(f"cannot read {file}: {error.strerror}")
    if len(content) > _MAX_FILE_BYTES:
        _fail(f"{file} is larger than 1 MiB; is it a certificate?")
    return content


def _made(directory: Path, certificate: bytes) -> str:
    """What to know and what to do about the new CA."""
    where, key = directory / CERTIFICATE, directory / KEY
    return f"""\
certificate  {where}
key          {key} (whoever has it can pose as any site to your clients)
SHA-256      {fingerprint(certificate)}

Into the configuration:

interception:
  ca_certificate: {_yaml(where)}
  ca_key: {_yaml(key)}

Next: install {CERTIFICATE} in the clients as a trusted CA, and compare the fingerprint there."""


def _yaml(path: Path) -> str:
    text = str(path)
    return text if re.fullmatch(r"[\w/.+-]+", text) else json.dumps(text, ensure_ascii=False)


def _fail(problem: str) -> NoReturn:
    context = click.get_current_context()
    complain(f"{context.command_path}: {problem}")
    context.exit(1)
