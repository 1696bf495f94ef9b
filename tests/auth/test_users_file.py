"""The users file is read strictly, with the place of every fault, and edited byte for byte."""

from __future__ import annotations

import os
import shutil
import subprocess
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.auth import passwords, users_file
from wsproxy.auth.users_file import load_users, name_problem, parse_users, same_user, set_user
from wsproxy.errors import ConfigError
from wsproxy.model import Identity

SHA = "{SHA}VeSJXJfcc/+Y/cqE3Gelkwpghto="
BCRYPT = "$2y$05$K45vvLbSB/hHPbA2mGYlku2Rev9mJaBOw/LZs3l/tNsINVeGyyia."
OTHER_BCRYPT = "$2b$05$K45vvLbSB/hHPbA2mGYlku2Rev9mJaBOw/LZs3l/tNsINVeGyyia."
ARGON2 = (
    "$argon2id$v=19$m=19456,t=2,p=1$IEBc2b/9L+4HST5ZejtLOA"
    "$QSKCCxxRTasuZsT2QCz/PeqYTQ+kIgKm2VLoCbqrzR4"
)

NAMES = st.text(min_size=1, max_size=30).filter(lambda name: name_problem(name) is None)
GROUPS = st.text(min_size=1, max_size=9).filter(lambda g: users_file.group_problem(g) is None)


def test_a_file_of_every_form_is_read() -> None:
    text = (
        f"# people\n\n  # indented\nalice:{ARGON2}:desk,ops\r\n"
        f"DOMAIN\\bøb:{ARGON2}: desk , night shift \ncarol:{ARGON2}:\n\t\ndave:{ARGON2}  "
    )
    users = parse_users(text.encode(), "users")

    assert {name: user.identity for name, user in users.by_name.items()} == {
        "alice": Identity("alice", frozenset({"desk", "ops"})),
        "DOMAIN\\bøb": Identity("DOMAIN\\bøb", frozenset({"desk", "night shift"})),
        "carol": Identity("carol"),
        "dave": Identity("dave"),
    }
    assert {user.hashed for user in users.by_name.values()} == {ARGON2}
    assert users.warnings == ()


@pytest.mark.parametrize(
    ("text", "line", "column", "detail"),
    [
        ("alice", 1, 1, "a line is user:hash or user:hash:group,group; there is no ':'"),
        (f"# x\n:{SHA}", 2, 1, "a user name must not be empty"),
        (f" bob:{SHA}", 1, 1, "a user name must not start or end with white space"),
        (f"b\x07b:{SHA}", 1, 1, "a user name must not hold control characters or broken UTF-8"),
        (
            f"bob:{SHA}\nal:{SHA}\nbob:{BCRYPT}", 3, 1,
            "the user 'bob' is already on line 1; remove one of the two",
        ),
        ("bøb:", 1, 5, "there is no password hash; run 'wsproxy passwd users bøb'"),
        (
            "bob:hunter2", 1, 5,
            ("the password is in plain text, which is not accepted; "
            "run 'wsproxy passwd users bob' to hash it"),
        ),
        (
            "bob:$9$hunter2", 1, 5,
            ("the hash is damaged or of an unknown scheme (known: argon2id, bcrypt, sha512-crypt, "
            "sha256-crypt, apr1, SHA-1, DES crypt); run 'wsproxy passwd users bob'"),
        ),
        (f"bob:{SHA}:a,,b", 1, 41, "a group name must not be empty"),
        (f"bob:{SHA}:ab,c\x01", 1, 42, "a group name must not hold control characters or broken UTF-8"),
        (f"bob:{SHA}:ab:/home/bob", 1, 42, "a line has three fields at most"),
        (b"x:y\n\xc3\xb8\xff:z", 2, 2, "not UTF-8; save it so"),
        (
            f"\ufeffbob:{SHA}", 1, 1,
            "the file starts with a byte order mark; save it as UTF-8 without one",
        ),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_place(
    text: str | bytes, line: int, column: int, detail: str
) -> None:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(ConfigError) as caught:
        parse_users(data, "users")
    error = caught.value
    assert (error.file, error.line, error.column, error.detail) == ("users", line, column, detail)


@pytest.mark.parametrize(
    "data",
    [b"bob:hunter2", b"bob:$9$hunter2", b"bob:{SHA}hunter2", b"hunter2", b"bob:hunter2\xff"],
)
def test_no_part_of_a_password_gets_into_an_error(data: bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_users(data, "users")
    shown = "".join(traceback.format_exception(caught.value)).split("users_file.py")[-1]
    assert "hunter2" not in shown
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_hashes_are_in_no_repr() -> None:
    users = parse_users(f"bob:{SHA}\n".encode(), "users")
    assert SHA not in repr(users)
    assert SHA not in repr(users.by_name)
    assert "VeSJ" not in repr(users.by_name)
    assert "bob" in repr(users.by_name)


def test_an_empty_file_lets_nobody_in_and_warns() -> None:
    users = parse_users(b"# nobody yet\n", "users")
    assert users.by_name == {}
    assert passwords.cost_of(users.typical_hash) == ("argon2id", "v=19$m=19456,t=2,p=1")
    assert users.warnings == ("users: no users; nobody can log in until 'wsproxy passwd' adds one",)


def test_the_typical_hash_has_the_cost_most_of_the_file_has() -> None:
    users = parse_users(f"a:{ARGON2}\nb:{BCRYPT}\nc:{OTHER_BCRYPT}\n".encode(), "users")
    assert passwords.cost_of(users.typical_hash) == ("bcrypt", "05")
    assert users.warnings == (
        (
            "users: hashes of 2 different costs; how long a refusal takes tells whether a user "
            "exists, until all are of one kind"
        ),
    )


def test_weak_hashes_are_counted_in_a_warning() -> None:
    users = parse_users(f"a:{SHA}\nb:{SHA}\n".encode(), "users")
    assert users.warnings == (
        (
            "users: 2 of 2 hashes are easy to crack (DES crypt, SHA-1, apr1); "
            "'wsproxy passwd users USER' replaces one"
        ),
    )


def test_a_file_everyone_can_read_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(f"a:{ARGON2}\n")
    path.chmod(0o640)
    assert load_users(path).warnings == ()
    path.chmod(0o644)
    assert load_users(str(path)).warnings == (
        f"{path}: everyone on this machine can read the hashes; 'chmod o-r' unless meant",
    )
    assert set(load_users(path).by_name) == {"a"}


@pytest.mark.parametrize(
    ("name", "reason"), [("missing", "No such file or directory"), (".", "Is a directory")]
)
def test_a_file_that_cannot_be_read_is_a_config_error(
    tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_users(tmp_path / name)
    assert caught.value.detail == f"cannot read the users file: {reason}"
    assert caught.value.file == str(tmp_path / name)


def test_a_file_beyond_the_bound_is_a_config_error(tmp_path: Path) -> None:
    path = tmp_path / "users"
    with path.open("wb") as stream:
        os.truncate(stream.fileno(), users_file.MAX_FILE_BYTES + 1)
    with pytest.raises(ConfigError) as caught:
        load_users(path)
    assert caught.value.detail == "the users file is larger than 64 MiB"


def test_htpasswd_and_our_groups_get_along(tmp_path: Path) -> None:
    program = shutil.which("htpasswd")
    assert program is not None, "htpasswd is missing: install apache2-utils"
    path = tmp_path / "users"
    path.write_text(f"# people\nalice:{ARGON2}:desk\n")
    subprocess.run(
        [program, "-iB", str(path), "bob"], input=b"b:b", check=True, capture_output=True
    )
    users = load_users(path)
    assert users.by_name["alice"].identity.groups == {"desk"}
    assert passwords.verify(users.by_name["bob"].hashed, b"b:b")


@pytest.mark.parametrize(
    ("before", "groups", "after"),
    [
        ("", None, f"bob:{BCRYPT}\n"),
        ("", ("a", "b"), f"bob:{BCRYPT}:a,b\n"),
        ("", (), f"bob:{BCRYPT}\n"),
        ("# no end", None, f"# no end\nbob:{BCRYPT}\n"),
        (f"bobby:{SHA}\n", None, f"bobby:{SHA}\nbob:{BCRYPT}\n"),
        (f"bob:{SHA}:a, b\n#x\n", None, f"bob:{BCRYPT}:a, b\n#x\n"),
        (f"bob:{SHA}:a\n", ("c",), f"bob:{BCRYPT}:c\n"),
        (f"bob:{SHA}:a\n", (), f"bob:{BCRYPT}\n"),
        (f"x\r\nbob:{SHA}:a\r\ny\r\n", None, f"x\r\nbob:{BCRYPT}:a\r\ny\r\n"),
        (f"x\nbob:{SHA}", None, f"x\nbob:{BCRYPT}"),
        ("bob:pass:word\n", None, f"bob:{BCRYPT}\n"),
        ("bob", None, f"bob:{BCRYPT}"),
    ],
)
def test_one_line_changes_and_the_rest_stays(
    before: str, groups: tuple[str, ...] | None, after: str
) -> None:
    edit = set_user(before.encode(), "bob", hashed=BCRYPT, groups=groups)
    assert edit.content.decode() == after
    assert edit.was_there is ("bob:" in before or before == "bob")


def test_a_user_who_is_there_twice_is_not_changed() -> None:
    data = f"bob:{SHA}\n\nbob:{SHA}\n".encode()
    with pytest.raises(ValueError, match="bob") as caught:
        set_user(data, "bob", hashed=BCRYPT, groups=None)
    assert str(caught.value) == "the user 'bob' is on lines 1 and 3; remove all but one first"


def test_an_edit_does_not_show_the_file() -> None:
    assert SHA not in repr(set_user(f"a:{SHA}".encode(), "bob", hashed=BCRYPT, groups=("g",)))


@given(
    people=st.dictionaries(NAMES, st.frozensets(GROUPS, max_size=3), max_size=6),
    name=NAMES,
    groups=st.frozensets(GROUPS, max_size=3),
)
def test_any_user_set_is_read_back_and_nobody_else_changes(
    people: dict[str, frozenset[str]], name: str, groups: frozenset[str]
) -> None:
    data = b"# head\n"
    for other, theirs in people.items():
        data = set_user(data, other, hashed=SHA, groups=tuple(theirs)).content

    edit = set_user(data, name, hashed=BCRYPT, groups=tuple(groups))

    assert edit.was_there is (name in people)
    by_name = parse_users(edit.content, "users").by_name
    expected = {**people, name: groups}
    assert {who: user.identity for who, user in by_name.items()} == {
        who: Identity(who, theirs) for who, theirs in expected.items()
    }
    assert by_name[name].hashed == BCRYPT
    assert {by_name[other].hashed for other in people if other != name} <= {SHA}
    kept = [line for line in data.split(b"\n") if line.split(b":")[0] != name.encode()]
    assert [line for line in edit.content.split(b"\n") if line in kept] == kept


@given(data=st.one_of(st.binary(), st.text().map(str.encode)))
def test_any_bytes_are_read_or_refused_as_a_config_error(data: bytes) -> None:
    try:
        users = parse_users(data, "users")
    except ConfigError as error:
        place = (error.line, error.column)
        names: list[str] = []
    else:
        place = (1, 1)
        names = list(users.by_name)
    assert min(place) >= 1
    assert [name for name in names if name_problem(name) is not None] == []


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("alice", None),
        ("DOMAIN\\alice smith@corp", None),
        ("爱丽丝", None),
        ("", "a user name must not be empty"),
        ("a:b", "a user name must not hold ':' (RFC 7617 §2)"),
        ("#a", "a user name must not start with '#', which starts a comment"),
        ("a ", "a user name must not start or end with white space"),
        ("a\nb", "a user name must not hold control characters or broken UTF-8"),
        ("a\x7fb", "a user name must not hold control characters or broken UTF-8"),
        ("a\udcff", "a user name must not hold control characters or broken UTF-8"),
    ],
)
def test_names_that_the_file_or_the_rfc_cannot_hold(name: str, problem: str | None) -> None:
    assert name_problem(name) == problem


def test_who_has_another_password_or_is_gone_is_somebody_else() -> None:
    before = parse_users(f"alice:{BCRYPT}:desk\nbob:{BCRYPT}\n".encode(), "f").by_name
    after = parse_users(f"alice:{BCRYPT}:ops\nbob:{OTHER_BCRYPT}\n".encode(), "f").by_name
    alice = same_user(after, before["alice"].identity)
    assert alice is not None
    assert alice.groups == {"ops"}
    assert same_user(after, before["bob"].identity) is None
    assert same_user({}, before["alice"].identity) is None
    assert same_user(after, replace(before["alice"].identity, method="digest")) is None
