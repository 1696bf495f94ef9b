"""``wsproxy passwd``: adds a user to a users file, or changes one's password."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import click

from wsproxy.auth import passwords
from wsproxy.auth.basic import MAX_CREDENTIALS_BYTES
from wsproxy.auth.digest_users import (
    DEFAULT_REALM,
    hash_digest_password,
    is_digest_entry,
    realm_problem,
    set_digest_user,
)
from wsproxy.auth.users_file import MAX_FILE_BYTES, Edit, group_problem, name_problem, set_user

__all__ = ["passwd"]

_MAX_USER_PASS_BYTES = MAX_CREDENTIALS_BYTES // 4 * 3
"""What fits into the credentials the proxy takes, before base64."""


class _Unusable(click.ClickException):
    """What was given cannot be used: one line, exit status 2."""

    exit_code = 2


@click.command(
    epilog="Example: wsproxy passwd users.htpasswd alice --group desk",
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("user")
@click.option("--group", "groups", metavar="G", multiple=True, help="Group of the user; repeat.")
@click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input, all of it."
)
@click.option("--digest", is_flag=True, help="FILE is for Digest: MD5 and SHA-256 hashes.")
@click.option("--realm", metavar="R", help=f"Realm of Digest hashes.  [default: {DEFAULT_REALM}]")
def passwd(
    file: Path,
    user: str,
    *,
    groups: tuple[str, ...],
    password_stdin: bool,
    digest: bool,
    realm: str | None,
) -> None:
    """Add USER to the users file FILE, or change the password of one who is in it.

    The password is asked for twice and stored as argon2id; with --digest, as the hashes
    that Digest authentication needs, which are as good as the password for who reads
    them.  Without --group the user's groups stay as they are.  FILE is made if it
    does not exist, readable by its owner only.
    """
    realm = _realm(realm, digest=digest)
    problems = [name_problem(user), *map(group_problem, groups)]
    problems.append(None if realm is None else realm_problem(realm))
    if problem := next(filter(None, problems), None):
        raise _Unusable(f"{problem}; choose another")
    data = _read(file)
    if realm is None and data is not None and any(map(is_digest_entry, data.split(b"\n"))):
        raise _Unusable(f"{file} is a Digest users file; add --digest")
    password = _password_from_stdin() if password_stdin else _ask_password()
    _check_password(password, user)
    try:
        edit = _edit(data or b"", user, password, realm=realm, groups=groups or None)
    except ValueError as error:
        raise _Unusable(f"{file}: {error}") from error
    try:
        _replace(file.resolve(), edit.content, is_new=data is None)
    except OSError as error:
        _fail(f"cannot write {file}: {error.strerror}; nothing was changed")
    done = f"changed {user} in {file}" if edit.was_there else f"added {user} to {file}"
    now_in = edit.groups.decode("utf-8", "replace").replace(",", ", ")
    of_realm = "" if realm is None else f"realm: {realm}, "
    click.echo(f"{done} ({of_realm}groups: {now_in or 'none'})")


def _realm(realm: str | None, *, digest: bool) -> str | None:
    """The realm of a Digest users file; None for the other kind."""
    if digest:
        return DEFAULT_REALM if realm is None else realm
    if realm is not None:
        raise _Unusable("--realm goes with --digest; argon2id hashes hold no realm")
    return None


def _edit(
    data: bytes,
    user: str,
    password: bytes,
    *,
    realm: str | None,
    groups: tuple[str, ...] | None,
) -> Edit:
    """The file after the change.

    Raises:
        ValueError: see `set_user` and `set_digest_user`.
    """
    if realm is None:
        return set_user(data, user, hashed=passwords.hash_password(password), groups=groups)
    hashes = hash_digest_password(user, realm=realm, password=password)
    return set_digest_user(data, user, realm=realm, hashes=hashes, groups=groups)


def _read(file: Path) -> bytes | None:
    """The file's content, None when there is no file."""
    try:
        if file.exists() and not file.is_file():
            raise _Unusable(f"{file} is not a regular file")
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        _fail(f"cannot read {file}: {error.strerror}")
    if len(data) > MAX_FILE_BYTES:
        raise _Unusable(f"{file} is larger than 64 MiB; is it a users file?")
    return data


def _ask_password() -> bytes:
    text: str = click.prompt("Password", hide_input=True, confirmation_prompt="Once more", err=True)
    return text.encode("utf-8", "surrogateescape")


def _password_from_stdin() -> bytes:
    """All of standard input but one line end, which `echo` and editors add."""
    data = sys.stdin.buffer.read(_MAX_USER_PASS_BYTES + 1)
    return data.removesuffix(b"\n").removesuffix(b"\r")


def _check_password(password: bytes, user: str) -> None:
    if not password:
        raise _Unusable("the password is empty; give one")
    if len(user.encode("utf-8")) + 1 + len(password) > _MAX_USER_PASS_BYTES:
        raise _Unusable(f"user and password are longer than {_MAX_USER_PASS_BYTES} bytes together")
    if not _is_utf8(password):
        raise _Unusable("the password is not UTF-8; check the terminal's encoding")
    if any(octet < 0x20 or octet == 0x7F for octet in password):
        raise _Unusable("the password holds control characters, which RFC 7617 §2 forbids")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _replace(file: Path, content: bytes, *, is_new: bool) -> None:
    """Puts `content` in place of `file` at once, or leaves it as it was and raises OSError.

    Mode and owner stay; a new file gets mode 0600, which `mkstemp` sets.
    """
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with open(descriptor, "wb") as stream:
            if not is_new:
                _keep_owner_and_mode(file, descriptor)
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        os.replace(temporary, file)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync_directory(file.parent)


def _keep_owner_and_mode(file: Path, descriptor: int) -> None:
    old, new = file.stat(), os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _sync_directory(directory: Path) -> None:
    """Makes the renaming outlive a power cut, where the file system can do that."""
    # The new content is in place already: not being allowed this is no failure.
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _fail(message: str) -> NoReturn:
    raise click.ClickException(message)
