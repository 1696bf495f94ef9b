"""The Digest users file: what ``htdigest`` writes, with a second hash and groups added.

    # comment
    alice:wsproxy:MD5:SHA-256:desk,ops
    bob:wsproxy:MD5
    carol:wsproxy::SHA-256

One user of one realm a line, UTF-8.  A hash is that of ``user:realm:password``, in
hexadecimal digits; an empty field is an algorithm the user cannot log in with.
Apache and nginx modules read the first three fields, and ``htdigest`` keeps the
others on every line but the one it changes.

Theory of operation.  Such a hash is as good as the password to whoever reads it: it is
all that logging in to this realm needs (RFC 7616 §5.2).  A client takes the first
challenge it understands and does not try the next one when it is refused, so an
algorithm is offered only if every user of the realm has a hash for it.  Only where
no algorithm suits everybody are all offered, and a warning says so.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from wsproxy.auth.users_file import Edit, group_problem, name_problem, read_hashes
from wsproxy.errors import ConfigError
from wsproxy.model import Identity

__all__ = [
    "ALGORITHMS",
    "DEFAULT_REALM",
    "DigestUser",
    "DigestUsers",
    "hash_digest_password",
    "is_digest_entry",
    "load_digest_users",
    "parse_digest_users",
    "realm_problem",
    "set_digest_user",
]

DEFAULT_REALM = "wsproxy"


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode("ascii")


def _md5(data: bytes) -> bytes:
    # RFC 7616 keeps MD5 for old clients; it is no choice of ours.
    return hashlib.md5(data, usedforsecurity=False).hexdigest().encode("ascii")


ALGORITHMS: dict[str, Callable[[bytes], bytes]] = {"SHA-256": _sha256, "MD5": _md5}
"""Name as RFC 7616 §6.1 registers it → hash in lower-case hexadecimal; best first."""

_FIELDS = {2: "MD5", 3: "SHA-256"}
_DIGITS = {"MD5": 32, "SHA-256": 64}
_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]+")

# RFC 7616 §3.4.2 hashes the realm, and clients differ in whether that is done before or
# after unescaping and in which encoding; the file ends it with a colon.
_REALM = re.compile(r"[ !#-9;-\[\]-~]+")


@dataclass(frozen=True, slots=True)
class DigestUser:
    """One line of the file.

    Attributes:
        identity: name and groups.
        hashes: algorithm → hash of ``user:realm:password``; never shown.
    """

    identity: Identity
    hashes: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class DigestUsers:
    """Everyone of one realm in one Digest users file, as it was when it was read.

    Attributes:
        realm: the realm.
        by_name: exact name → user.
        algorithms: what to offer, best first; never empty.
        warnings: sentences for the log.
    """

    realm: str
    by_name: Mapping[str, DigestUser] = field(repr=False)
    algorithms: tuple[str, ...] = tuple(ALGORITHMS)
    warnings: tuple[str, ...] = ()


def load_digest_users(path: str | os.PathLike[str], *, realm: str = DEFAULT_REALM) -> DigestUsers:
    """Reads those of `realm` from the Digest users file at `path`; blocks.

    Raises:
        ConfigError: it cannot be read, is larger than 64 MiB, or holds
            a line that cannot be used; with line and column.
    """
    file = os.fspath(path)
    data, is_open = read_hashes(file, "Digest users file")
    users = parse_digest_users(data, file, realm=realm)
    if is_open:
        warning = (
            f"{file}: everyone on this machine can read the hashes, and a Digest hash is as good "
            f"as its password; 'chmod o-r' unless meant"
        )
        return DigestUsers(realm, users.by_name, users.algorithms, (*users.warnings, warning))
    return users


def parse_digest_users(data: bytes, file: str, *, realm: str = DEFAULT_REALM) -> DigestUsers:
    """Those of `realm` in `data`, the content of the Digest users file named `file`.

    Raises:
        ConfigError: a line, of whichever realm, is not of the form, a user occurs
            twice in a realm, a hash is damaged, or the text is not UTF-8.  Never
            holds any part of a hash.
    """
    by_name: dict[str, DigestUser] = {}
    line_of: dict[tuple[str, str], int] = {}
    for number, raw in enumerate(data.split(b"\n"), start=1):
        text = _decode(raw, file=file, line=number)
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        of_realm, user = _parse_line(text, file=file, line=number)
        name = user.identity.user
        if first := line_of.get((name, of_realm)):
            detail = f"the user {name!r} is already on line {first}; remove one of the two"
            raise ConfigError(detail, file=file, line=number, column=1)
        line_of[name, of_realm] = number
        if of_realm == realm:
            by_name[name] = user
    algorithms, warnings = _survey(by_name, file, realm)
    if strangers := len(line_of) - len(by_name):
        warnings.append(f"{file}: {strangers} of {len(line_of)} users are not of realm {realm!r}")
    return DigestUsers(realm, by_name, algorithms, tuple(warnings))


def hash_digest_password(name: str, *, realm: str, password: bytes) -> dict[str, bytes]:
    """Algorithm → hash, for every algorithm (RFC 7616 §3.4.2, unq(username) … passwd).

    Args:
        name: a name without a `name_problem`.
        realm: a realm without a `realm_problem`.
        password: in UTF-8, as the challenge asks clients to hash it.
    """
    a1 = f"{name}:{realm}:".encode() + password
    return {algorithm: function(a1) for algorithm, function in ALGORITHMS.items()}


def set_digest_user(
    data: bytes,
    name: str,
    *,
    realm: str,
    hashes: Mapping[str, bytes],
    groups: tuple[str, ...] | None,
) -> Edit:
    """The Digest users file `data` with one user added or changed, all else byte for byte.

    Works on files whose hashes `parse_digest_users` refuses, so that they can be replaced.

    Args:
        data: the file's content.
        name: a name without a `name_problem`.
        realm: a realm without a `realm_problem`; the user's lines of others stay.
        hashes: algorithm → the new hash.
        groups: the new groups; None keeps those on the user's line.

    Raises:
        ValueError: the user is on more than one line of this realm, or a line has
            too few fields: another kind of file.
    """
    key = [name.encode("utf-8"), realm.encode("utf-8")]
    lines = data.split(b"\n")
    found = []
    for at, line in enumerate(lines):
        parts = line.split(b":")
        if len(parts) < 3 and line.strip() and not line.lstrip().startswith(b"#"):
            raise ValueError(f"line {at + 1} is not user:realm:hash; is it a Digest users file?")
        if parts[:2] == key:
            found.append(at)
    if len(found) > 1:
        places = " and ".join(str(at + 1) for at in found)
        raise ValueError(f"the user {name!r} is on lines {places}; remove all but one first")
    fifth = ",".join(groups or ()).encode("utf-8")
    if found and groups is None:
        fifth = b":".join(lines[found[0]].rstrip(b" \t\r").split(b":")[4:5])
    entry = b":".join([*key, *(hashes.get(name, b"") for name in _FIELDS.values())])
    entry += b":" + fifth if fifth else b""
    if not found:
        gap = b"\n" if data and not data.endswith(b"\n") else b""
        return Edit(data + gap + entry + b"\n", was_there=False, groups=fifth)
    ending = b"\r" if lines[found[0]].endswith(b"\r") else b""
    lines[found[0]] = entry + ending
    return Edit(b"\n".join(lines), was_there=True, groups=fifth)


def is_digest_entry(line: bytes) -> bool:
    """Whether `line` is of a Digest users file: no line ``htpasswd`` wrote looks like one."""
    parts = line.rstrip(b" \t\r").decode("latin-1").split(":")
    hashes = [(at, parts[at]) for at in _FIELDS if at < len(parts) and parts[at]]
    return bool(hashes) and all(_is_hash(text, _FIELDS[at]) for at, text in hashes)


def realm_problem(realm: str) -> str | None:
    """Why `realm` cannot be a realm of Digest credentials, or None."""
    if not realm or realm != realm.strip():
        return "a realm must not be empty, nor start or end with white space"
    if not _REALM.fullmatch(realm):
        return "a Digest realm is of printable ASCII characters without '\"', '\\' and ':'"
    return None


def _decode(raw: bytes, *, file: str, line: int) -> str:
    if line == 1 and raw.startswith(b"\xef\xbb\xbf"):
        detail = "the file starts with a byte order mark; save it as UTF-8 without one"
        raise ConfigError(detail, file=file, line=1, column=1)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
    # Raised out here, for a UnicodeDecodeError carries the whole line in its repr.
    column = len(before.decode("utf-8")) + 1
    raise ConfigError("not UTF-8; save it so", file=file, line=line, column=column)


def _parse_line(text: str, *, file: str, line: int) -> tuple[str, DigestUser]:
    """The realm and the user."""

    def refuse(detail: str, column: int) -> ConfigError:
        return ConfigError(detail, file=file, line=line, column=column)

    parts = text.rstrip(" \t\r").split(":")
    columns = list(itertools.accumulate((len(part) + 1 for part in parts), initial=1))
    if len(parts) < 3:
        raise refuse("a line is user:realm:MD5, then maybe :SHA-256 and :group,group", 1)
    name, realm = parts[:2]
    if problem := name_problem(name):
        raise refuse(problem, 1)
    if len(parts) > 5:
        raise refuse("a line has five fields at most", columns[5])
    hashes: dict[str, bytes] = {}
    for at, algorithm in _FIELDS.items():
        if not (hashed := "".join(parts[at : at + 1])):
            continue
        if not _is_hash(hashed, algorithm):
            detail = f"the {algorithm} hash is not {_DIGITS[algorithm]} hexadecimal digits"
            raise refuse(f"{detail}; {_remedy(file, name, realm)}", columns[at])
        hashes[algorithm] = hashed.lower().encode("ascii")
    if not hashes:
        raise refuse(f"there is no password hash; {_remedy(file, name, realm)}", columns[2])
    groups: list[str] = []
    group_column = columns[4] if len(parts) > 4 else 0
    for group in parts[4].split(",") if len(parts) > 4 and parts[4] else []:
        if problem := group_problem(group.strip(" \t")):
            raise refuse(problem, group_column)
        groups.append(group.strip(" \t"))
        group_column += len(group) + 1
    mark = hash(frozenset(hashes.items()))
    identity = Identity(name, frozenset(groups), method="digest", mark=mark)
    return realm, DigestUser(identity, hashes)


def _is_hash(text: str, algorithm: str) -> bool:
    return len(text) == _DIGITS[algorithm] and _HEXADECIMAL.fullmatch(text) is not None


def _remedy(file: str, name: str, realm: str) -> str:
    of_realm = "" if realm == DEFAULT_REALM else f"--realm {shlex.quote(realm)} "
    return f"run 'wsproxy passwd --digest {of_realm}{file} {name}'"


def _survey(
    by_name: Mapping[str, DigestUser], file: str, realm: str
) -> tuple[tuple[str, ...], list[str]]:
    """The algorithms to offer, and what the log should say about them."""
    total, remedy = len(by_name), _remedy(file, "USER", realm)
    counts = {a: sum(a in user.hashes for user in by_name.values()) for a in ALGORITHMS}
    common = tuple(a for a in ALGORITHMS if counts[a] == total)
    if not total:
        problem = f"no users of realm {realm!r}; nobody can log in until one is added"
    elif not common:
        problem = f"no algorithm has hashes of all {total} users, so clients may choose a wrong one"
    elif "SHA-256" not in common:
        lacking = total - counts["SHA-256"]
        problem = f"{lacking} of {total} users have no SHA-256 hash, so only MD5 is offered"
    else:
        return common, []
    return common or tuple(ALGORITHMS), [f"{file}: {problem}; {remedy}"]
