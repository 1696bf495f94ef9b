"""The users file: who there is, in the format ``htpasswd`` writes, with groups added.

    # comment
    alice:$argon2id$v=19$m=19456,t=2,p=1$…:desk,ops
    bob:$2y$10$…

One user a line, UTF-8, ``user:hash`` or ``user:hash:group,group``.  A hash never
holds a colon, so the third field is unambiguous; Apache and nginx ignore it, and
``htpasswd`` keeps it on every line but the one it changes.

What is wrong is an error with its place; what is unwise is a warning, because
refusing would stop good set-ups: Kubernetes and Docker mount secrets readable by
everyone in the container, and an empty file lets nobody in, which is safe.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from wsproxy.auth import passwords
from wsproxy.errors import ConfigError
from wsproxy.model import Identity

__all__ = [
    "MAX_FILE_BYTES",
    "Edit",
    "User",
    "Users",
    "group_problem",
    "load_users",
    "name_problem",
    "parse_users",
    "read_hashes",
    "set_user",
]

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Some half a million users; a bound against pointing the key at the wrong file."""

_NOBODY = (
    "$argon2id$v=19$m=19456,t=2,p=1$IEBc2b/9L+4HST5ZejtLOA"
    "$QSKCCxxRTasuZsT2QCz/PeqYTQ+kIgKm2VLoCbqrzR4"
)
"""A hash that belongs to nobody: the work an unknown user costs in an empty file."""


@dataclass(frozen=True, slots=True)
class User:
    """One line of the file.

    Attributes:
        identity: name and groups.
        hashed: the password's hash; never shown.
    """

    identity: Identity
    hashed: str = field(repr=False)


class AnyUser(Protocol):
    """One user of a file, whatever else it says of them."""

    @property
    def identity(self) -> Identity:
        """Name and groups, marked with the hash of the password."""
        ...


@dataclass(frozen=True, slots=True)
class Users:
    """Everyone in one users file, as it was when it was read.

    Attributes:
        by_name: exact name → user.
        typical_hash: a hash that costs as much to verify as most in the file.
            It may be somebody's: verify against it to spend the time, and
            ignore what it says.
        warnings: sentences for the log.
    """

    by_name: Mapping[str, User] = field(repr=False)
    typical_hash: str = field(repr=False)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Edit:
    """A users file after one user was added or changed.

    Attributes:
        content: the whole new content; never shown.
        was_there: whether the user was in the file before.
        groups: the third field of the user's line now, maybe empty.
    """

    content: bytes = field(repr=False)
    was_there: bool
    groups: bytes


def same_user(by_name: Mapping[str, AnyUser], identity: Identity) -> Identity | None:
    """Who `identity` is now; None when the user is gone, or the password another one."""
    user = by_name.get(identity.user)
    if user is None:
        return None
    now = user.identity
    return now if (now.method, now.mark) == (identity.method, identity.mark) else None


def load_users(path: str | os.PathLike[str]) -> Users:
    """Reads the users file at `path`; blocks.

    Raises:
        ConfigError: it cannot be read, is larger than `MAX_FILE_BYTES`, or holds
            a line that cannot be used; with line and column.
    """
    file = os.fspath(path)
    data, is_open = read_hashes(file, "users file")
    users = parse_users(data, file)
    if is_open:
        warning = f"{file}: everyone on this machine can read the hashes; 'chmod o-r' unless meant"
        return Users(users.by_name, users.typical_hash, (*users.warnings, warning))
    return users


def read_hashes(file: str, kind: str) -> tuple[bytes, bool]:
    """A file of hashes, and whether everyone on this machine can read it; blocks.

    Args:
        file: its path.
        kind: what it is called in an error.

    Raises:
        ConfigError: it cannot be read, or is larger than `MAX_FILE_BYTES`.
    """
    try:
        with open(file, "rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the {kind}: {error.strerror}", file=file) from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"the {kind} is larger than 64 MiB", file=file)
    return data, bool(mode & stat.S_IROTH)


def parse_users(data: bytes, file: str) -> Users:
    """The users in `data`, the content of the users file named `file`.

    Raises:
        ConfigError: a line is not ``user:hash[:group,group…]``, a user occurs
            twice, a hash is unknown, damaged or no hash at all, or the text is
            not UTF-8.  Never holds any part of the hash.
    """
    by_name: dict[str, User] = {}
    line_of: dict[str, int] = {}
    for number, text in enumerate(_decode(data, file).split("\n"), start=1):
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        user = _parse_line(text, file=file, line=number)
        name = user.identity.user
        if name in by_name:
            detail = f"the user {name!r} is already on line {line_of[name]}; remove one of the two"
            raise ConfigError(detail, file=file, line=number, column=1)
        by_name[name] = user
        line_of[name] = number
    typical_hash, warnings = _survey([user.hashed for user in by_name.values()], file)
    return Users(by_name, typical_hash, warnings)


def set_user(data: bytes, name: str, *, hashed: str, groups: tuple[str, ...] | None) -> Edit:
    """The users file `data` with one user added or changed, all else byte for byte.

    Works on files that `parse_users` refuses, so that a plain-text password can
    be replaced.

    Args:
        data: the file's content.
        name: a name without a `name_problem`.
        hashed: the new hash.
        groups: the new groups; None keeps those on the user's line.  A line
            without a known hash has none: behind a colon in a plain-text
            password would be more password, not groups.

    Raises:
        ValueError: the user is on more than one line.
    """
    wanted = name.encode("utf-8")
    lines = data.split(b"\n")
    found = [at for at, line in enumerate(lines) if line.split(b":", 1)[0] == wanted]
    if len(found) > 1:
        places = " and ".join(str(at + 1) for at in found)
        raise ValueError(f"the user {name!r} is on lines {places}; remove all but one first")
    third = ",".join(groups or ()).encode("utf-8")
    if found and groups is None:
        third = _groups_field(lines[found[0]])
    entry = b":".join(filter(None, (wanted, hashed.encode("ascii"), third)))
    if not found:
        gap = b"\n" if data and not data.endswith(b"\n") else b""
        return Edit(data + gap + entry + b"\n", was_there=False, groups=third)
    ending = b"\r" if lines[found[0]].endswith(b"\r") else b""
    lines[found[0]] = entry + ending
    return Edit(b"\n".join(lines), was_there=True, groups=third)


def _groups_field(line: bytes) -> bytes:
    """The third field of a line, as it is."""
    parts = line.rstrip(b" \t\r").split(b":", 2)
    is_entry = len(parts) > 2 and passwords.scheme_of(parts[1].decode("latin-1")) is not None
    return parts[2] if is_entry else b""


def name_problem(name: str) -> str | None:
    """Why `name` cannot be a user's, or None.

    RFC 7617 §2 forbids the colon and control characters; the rest is what the
    file could not keep apart from a comment or from white space.
    """
    if not name:
        return "a user name must not be empty"
    if ":" in name:
        return "a user name must not hold ':' (RFC 7617 §2)"
    if name.startswith("#"):
        return "a user name must not start with '#', which starts a comment"
    return _text_problem(name, "a user name")


def group_problem(group: str) -> str | None:
    """Why `group` cannot be a group's name, or None."""
    if not group:
        return "a group name must not be empty"
    if ":" in group or "," in group:
        return "a group name must not hold ':' or ','"
    return _text_problem(group, "a group name")


def _text_problem(text: str, what: str) -> str | None:
    if text != text.strip():
        return f"{what} must not start or end with white space"
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        return f"{what} must not hold control characters or broken UTF-8"
    return None


def _decode(data: bytes, file: str) -> str:
    if data.startswith(b"\xef\xbb\xbf"):
        detail = "the file starts with a byte order mark; save it as UTF-8 without one"
        raise ConfigError(detail, file=file, line=1, column=1)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].split(b"\n")
    # Raised out here, for a UnicodeDecodeError carries the whole file in its repr.
    column = len(before[-1].decode("utf-8")) + 1
    raise ConfigError("not UTF-8; save it so", file=file, line=len(before), column=column)


def _parse_line(text: str, *, file: str, line: int) -> User:
    def refuse(detail: str, column: int) -> ConfigError:
        return ConfigError(detail, file=file, line=line, column=column)

    parts = text.rstrip(" \t\r").split(":")
    name = parts[0]
    if len(parts) == 1:
        raise refuse("a line is user:hash or user:hash:group,group; there is no ':'", 1)
    if problem := name_problem(name):
        raise refuse(problem, 1)
    hash_column = len(name) + 2
    if problem := _hash_problem(parts[1], name=name, file=file):
        raise refuse(problem, hash_column)
    group_column = hash_column + len(parts[1]) + 1
    if len(parts) > 3:
        raise refuse("a line has three fields at most", group_column + len(parts[2]) + 1)
    groups: list[str] = []
    for group in parts[2].split(",") if len(parts) == 3 and parts[2] else []:
        if problem := group_problem(group.strip(" \t")):
            raise refuse(problem, group_column)
        groups.append(group.strip(" \t"))
        group_column += len(group) + 1
    identity = Identity(name, frozenset(groups), method="basic", mark=hash(parts[1]))
    return User(identity, parts[1])


def _hash_problem(hashed: str, *, name: str, file: str) -> str | None:
    """Why `hashed` cannot be used; never quotes it, for it may be a password."""
    if passwords.scheme_of(hashed) is not None:
        return None
    remedy = f"run 'wsproxy passwd {file} {name}'"
    if not hashed:
        return f"there is no password hash; {remedy}"
    if hashed.startswith(("$", "{")):
        known = ", ".join(scheme.name for scheme in passwords.SCHEMES)
        return f"the hash is damaged or of an unknown scheme (known: {known}); {remedy}"
    return f"the password is in plain text, which is not accepted; {remedy} to hash it"


def _survey(hashes: list[str], file: str) -> tuple[str, tuple[str, ...]]:
    """A hash of the commonest cost, and what the log should say about all of them."""
    if not hashes:
        return _NOBODY, (f"{file}: no users; nobody can log in until 'wsproxy passwd' adds one",)
    cost_by_hash = {hashed: passwords.cost_of(hashed) for hashed in hashes}
    counts = Counter(cost_by_hash[hashed] for hashed in hashes)
    typical, _ = counts.most_common(1)[0]
    warnings = []
    weak_schemes = {scheme.name for scheme in passwords.SCHEMES if scheme.is_weak}
    weak = sum(count for (scheme, _), count in counts.items() if scheme in weak_schemes)
    if weak:
        names = ", ".join(sorted(weak_schemes))
        warnings.append(
            f"{file}: {weak} of {len(hashes)} hashes are easy to crack ({names}); "
            f"'wsproxy passwd {file} USER' replaces one"
        )
    if len(counts) > 1:
        warnings.append(
            f"{file}: hashes of {len(counts)} different costs; how long a refusal takes "
            f"tells whether a user exists, until all are of one kind"
        )
    return next(hashed for hashed in hashes if cost_by_hash[hashed] == typical), tuple(warnings)
