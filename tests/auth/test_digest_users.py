"""The Digest users file is read strictly, with the place of every fault, and edited byte for byte."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.auth.digest_users import (
    DEFAULT_REALM,
    hash_digest_password,
    is_digest_entry,
    load_digest_users,
    parse_digest_users,
    realm_problem,
    set_digest_user,
)
from wsproxy.auth.users_file import MAX_FILE_BYTES, group_problem, name_problem
from wsproxy.errors import ConfigError
from wsproxy.model import Identity

MD5 = "939e7578ed9e3c518a452acee763bce9"
OTHER = "0123456789abcdef0123456789abcdef"
SHA = "0123456789abcdef" * 4
HASHES = {"MD5": MD5.encode(), "SHA-256": SHA.encode()}

NAMES = st.text(min_size=1, max_size=30).filter(lambda name: name_problem(name) is None)
GROUPS = st.text(min_size=1, max_size=9).filter(lambda group: group_problem(group) is None)
REALMS = st.text(min_size=1, max_size=9).filter(lambda realm: realm_problem(realm) is None)


def test_a_file_of_every_form_is_read() -> None:
    text = (
        f"# people\n\n  # indented\nalice:wsproxy:{MD5}:{SHA}:desk,ops\r\n"
        f"DOMAIN\\bøb:wsproxy:{MD5.upper()}\ncarol:wsproxy::{SHA}\ndave:wsproxy:{MD5}:: night shift , x \n"
        f"erin:wsproxy:{MD5}::\n\t\nalice:elsewhere:{OTHER}  "
    )
    users = parse_digest_users(text.encode(), "users")

    assert {name: user.identity for name, user in users.by_name.items()} == {
        "alice": Identity("alice", frozenset({"desk", "ops"})),
        "DOMAIN\\bøb": Identity("DOMAIN\\bøb"),
        "carol": Identity("carol"),
        "dave": Identity("dave", frozenset({"night shift", "x"})),
        "erin": Identity("erin"),
    }
    assert users.by_name["alice"].hashes == HASHES
    assert users.by_name["DOMAIN\\bøb"].hashes == {"MD5": MD5.encode()}
    assert users.by_name["carol"].hashes == {"SHA-256": SHA.encode()}
    assert users.realm == DEFAULT_REALM == "wsproxy"


def test_the_realm_asked_for_is_read() -> None:
    data = f"alice:wsproxy:{MD5}\nalice:else where:{OTHER}\n".encode()
    users = parse_digest_users(data, "users", realm="else where")
    assert (users.realm, users.by_name["alice"].hashes) == ("else where", {"MD5": OTHER.encode()})


FORM = "a line is user:realm:MD5, then maybe :SHA-256 and :group,group"


@pytest.mark.parametrize(
    ("text", "line", "column", "detail"),
    [
        ("alice", 1, 1, FORM),
        (f"alice:{MD5}", 1, 1, FORM),
        (f"# x\n:wsproxy:{MD5}", 2, 1, "a user name must not be empty"),
        (f" bob:wsproxy:{MD5}", 1, 1, "a user name must not start or end with white space"),
        (
            f"bob:r:{MD5}\nal:r:{MD5}\nbob:wsproxy:{MD5}\nbob:r:{OTHER}", 4, 1,
            "the user 'bob' is already on line 1; remove one of the two",
        ),
        (
            "bøb:wsproxy:", 1, 13,
            "there is no password hash; run 'wsproxy passwd --digest users bøb'",
        ),
        (
            "bob:desk 1:hunter2", 1, 12,
            ("the MD5 hash is not 32 hexadecimal digits; "
            "run 'wsproxy passwd --digest --realm 'desk 1' users bob'"),
        ),
        (
            f"bob:wsproxy:{MD5}:{MD5}", 1, 46,
            ("the SHA-256 hash is not 64 hexadecimal digits; "
            "run 'wsproxy passwd --digest users bob'"),
        ),
        (f"bob:r:{MD5}::a,,b", 1, 43, "a group name must not be empty"),
        (f"bob:r:{MD5}::ab,c\x01", 1, 44, "a group name must not hold control characters or broken UTF-8"),
        (f"bob:r:{MD5}:{SHA}:ab:x", 1, 108, "a line has five fields at most"),
        (b"#\nx:\xc3\xb8\xff:z", 2, 4, "not UTF-8; save it so"),
        (
            f"\ufeffbob:r:{MD5}", 1, 1,
            "the file starts with a byte order mark; save it as UTF-8 without one",
        ),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_place(
    text: str | bytes, line: int, column: int, detail: str
) -> None:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(ConfigError) as caught:
        parse_digest_users(data, "users")
    error = caught.value
    assert (error.file, error.line, error.column, error.detail) == ("users", line, column, detail)


@pytest.mark.parametrize(
    "data",
    [
        b"bob:r:hunter2", b"bob:r::hunter2", b"hunter2", b"bob:hunter2", b"bob:r:hunter2\xff",
        b"bob:r:hunter2" + b"0" * 25,
    ],
)  # fmt: skip
def test_no_part_of_a_password_gets_into_an_error(data: bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_digest_users(data, "users")
    shown = "".join(traceback.format_exception(caught.value)).split("digest_users.py")[-1]
    assert "hunter2" not in shown
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_hashes_are_in_no_repr() -> None:
    users = parse_digest_users(f"bob:wsproxy:{MD5}\n".encode(), "users")
    edit = set_digest_user(b"", "bob", realm="r", hashes=HASHES, groups=None)
    for shown in [repr(users), repr(users.by_name), repr(edit)]:
        assert MD5 not in shown
    assert "bob" in repr(users.by_name)


@pytest.mark.parametrize(
    ("text", "algorithms", "warnings"),
    [
        (f"a:wsproxy:{MD5}:{SHA}\nb:wsproxy:{MD5}:{SHA}", ("SHA-256", "MD5"), []),
        (f"a:wsproxy:{MD5}:{SHA}\nb:wsproxy::{SHA}", ("SHA-256",), []),
        (
            f"a:wsproxy:{MD5}:{SHA}\nb:wsproxy:{MD5}", ("MD5",),
            [("users: 1 of 2 users have no SHA-256 hash, so only MD5 is offered; "
            "run 'wsproxy passwd --digest users USER'")],
        ),
        (
            f"a:wsproxy::{SHA}\nb:wsproxy:{MD5}", ("SHA-256", "MD5"),
            [("users: no algorithm has hashes of all 2 users, so clients may choose a wrong one; "
            "run 'wsproxy passwd --digest users USER'")],
        ),
        (
            "# nobody", ("SHA-256", "MD5"),
            [("users: no users of realm 'wsproxy'; nobody can log in until one is added; "
            "run 'wsproxy passwd --digest users USER'")],
        ),
        (
            f"a:wsproxy:{MD5}:{SHA}\na:r:{MD5}", ("SHA-256", "MD5"),
            ["users: 1 of 2 users are not of realm 'wsproxy'"],
        ),
    ],
)  # fmt: skip
def test_what_suits_everybody_is_offered(
    text: str, algorithms: tuple[str, ...], warnings: list[str]
) -> None:
    users = parse_digest_users(text.encode(), "users")
    assert users.algorithms == algorithms
    assert list(users.warnings) == warnings


def test_a_file_everyone_can_read_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(f"a:r:{MD5}:{SHA}\n")
    path.chmod(0o640)
    assert load_digest_users(path, realm="r").warnings == ()
    path.chmod(0o644)
    users = load_digest_users(str(path), realm="r")
    assert users.warnings == (
        (
            f"{path}: everyone on this machine can read the hashes, and a Digest hash is as good "
            "as its password; 'chmod o-r' unless meant"
        ),
    )
    assert (users.realm, set(users.by_name)) == ("r", {"a"})


@pytest.mark.parametrize(
    ("name", "reason"), [("missing", "No such file or directory"), (".", "Is a directory")]
)
def test_a_file_that_cannot_be_read_is_a_config_error(
    tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_digest_users(tmp_path / name)
    assert caught.value.detail == f"cannot read the Digest users file: {reason}"
    assert caught.value.file == str(tmp_path / name)


def test_a_file_beyond_the_bound_is_a_config_error(tmp_path: Path) -> None:
    path = tmp_path / "users"
    with path.open("wb") as stream:
        os.truncate(stream.fileno(), MAX_FILE_BYTES + 1)
    with pytest.raises(ConfigError) as caught:
        load_digest_users(path)
    assert caught.value.detail == "the Digest users file is larger than 64 MiB"


def test_the_hashes_are_those_of_the_rfc() -> None:
    a1 = "bøb:http-auth@example.org:pä:ss".encode()
    hashes = hash_digest_password("bøb", realm="http-auth@example.org", password="pä:ss".encode())
    assert hashes == {
        "SHA-256": hashlib.sha256(a1).hexdigest().encode(),
        "MD5": hashlib.md5(a1).hexdigest().encode(),
    }


def test_htdigest_and_our_fields_get_along(tmp_path: Path) -> None:
    program = shutil.which("htdigest")
    assert program is not None, "htdigest is missing: install apache2-utils"
    path = tmp_path / "users"
    path.write_text(f"# people\nalice:wsproxy:{MD5}:{SHA}:desk\n")
    # It asks the terminal, or standard input where there is none.
    subprocess.run(
        [program, str(path), "wsproxy", "bob"],
        input=b"b:b\nb:b\n", check=True, capture_output=True, start_new_session=True,
    )  # fmt: skip
    users = load_digest_users(path)
    assert users.by_name["alice"].identity.groups == {"desk"}
    assert users.by_name["alice"].hashes == HASHES
    ours = hash_digest_password("bob", realm="wsproxy", password=b"b:b")
    assert users.by_name["bob"].hashes == {"MD5": ours["MD5"]}


NEW = f"bob:r:{MD5}:{SHA}"


@pytest.mark.parametrize(
    ("before", "groups", "after"),
    [
        ("", None, f"{NEW}\n"),
        ("", ("a", "b"), f"{NEW}:a,b\n"),
        ("", (), f"{NEW}\n"),
        ("# no end", None, f"# no end\n{NEW}\n"),
        (f"bobby:r:{OTHER}\nbob:rr:{OTHER}\n", None, f"bobby:r:{OTHER}\nbob:rr:{OTHER}\n{NEW}\n"),
        (f"bob:r:{OTHER}\n", None, f"{NEW}\n"),
        (f"bob:r:{OTHER}::a, b\n#x\n", None, f"{NEW}:a, b\n#x\n"),
        (f"bob:r:{OTHER}:{SHA}:a\n", ("c",), f"{NEW}:c\n"),
        (f"bob:r:{OTHER}:{SHA}:a\n", (), f"{NEW}\n"),
        (f"#x\r\nbob:r:{OTHER}::a\r\n\r\n", None, f"#x\r\n{NEW}:a\r\n\r\n"),
        (f"\nbob:r:{OTHER}", None, f"\n{NEW}"),
        ("bob:r:damaged::g\nx:y:damaged\n", None, f"{NEW}:g\nx:y:damaged\n"),
    ],
)
def test_one_line_changes_and_the_rest_stays(
    before: str, groups: tuple[str, ...] | None, after: str
) -> None:
    edit = set_digest_user(before.encode(), "bob", realm="r", hashes=HASHES, groups=groups)
    assert edit.content.decode() == after
    assert edit.was_there is ("bob:r:" in before)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"bob:r:{MD5}\n\nbob:r:{MD5}\n",
            "the user 'bob' is on lines 1 and 3; remove all but one first",
        ),
        ("# x\nalice:{SHA}x\n", "line 2 is not user:realm:hash; is it a Digest users file?"),
    ],
)
def test_a_file_that_is_not_clear_is_not_changed(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^(the user|line)") as caught:
        set_digest_user(text.encode(), "bob", realm="r", hashes=HASHES, groups=None)
    assert str(caught.value) == message


@given(
    people=st.dictionaries(st.tuples(NAMES, REALMS), st.frozensets(GROUPS, max_size=2), max_size=4),
    name=NAMES,
    realm=REALMS,
    groups=st.frozensets(GROUPS, max_size=2),
)
def test_any_user_set_is_read_back_and_nobody_else_changes(
    people: dict[tuple[str, str], frozenset[str]], name: str, realm: str, groups: frozenset[str]
) -> None:
    data = b"# head\n"
    for (other, theirs), in_groups in people.items():
        old = {"MD5": OTHER.encode()}
        data = set_digest_user(
            data, other, realm=theirs, hashes=old, groups=tuple(in_groups)
        ).content

    edit = set_digest_user(data, name, realm=realm, hashes=HASHES, groups=tuple(groups))

    assert edit.was_there is ((name, realm) in people)
    expected = {**people, (name, realm): groups}
    for of_realm in {of_realm for _, of_realm in expected}:
        by_name = parse_digest_users(edit.content, "users", realm=of_realm).by_name
        assert {who: user.identity for who, user in by_name.items()} == {
            who: Identity(who, in_groups)
            for (who, theirs), in_groups in expected.items()
            if theirs == of_realm
        }
    by_name = parse_digest_users(edit.content, "users", realm=realm).by_name
    assert by_name[name].hashes == HASHES
    assert all(u.hashes == {"MD5": OTHER.encode()} for who, u in by_name.items() if who != name)


@given(data=st.one_of(st.binary(), st.text().map(str.encode), st.text("ab:,#\n0").map(str.encode)))
def test_any_bytes_are_read_or_refused_as_a_config_error(data: bytes) -> None:
    try:
        users = parse_digest_users(data, "users")
    except ConfigError as error:
        place = (error.line, error.column)
        names: list[str] = []
    else:
        place = (1, 1)
        names = list(users.by_name)
    assert min(place) >= 1
    assert [name for name in names if name_problem(name) is not None] == []


@pytest.mark.parametrize(
    ("line", "is_entry"),
    [
        (f"a:r:{MD5}", True),
        (f"a:r::{SHA}\r", True),
        (f"a:r:{MD5}:{SHA}:g", True),
        ("a:{SHA}VeSJXJfcc/+Y/cqE3Gelkwpghto=", False),
        ("a:$2y$05$x:desk,ops", False),
        ("a:r:", False),
        (f"a:r:{MD5}:x", False),
        ("", False),
        ("# x", False),
    ],
)
def test_a_line_of_this_kind_of_file_is_told_from_one_of_the_other(
    line: str, is_entry: bool
) -> None:
    assert is_digest_entry(line.encode()) is is_entry


SPACES = "a realm must not be empty, nor start or end with white space"
CHARACTERS = "a Digest realm is of printable ASCII characters without '\"', '\\' and ':'"


@pytest.mark.parametrize(
    ("realm", "problem"),
    [
        ("wsproxy", None),
        ("the [inner] one, http-auth@example.org; ~!#", None),
        ("", SPACES),
        (" a", SPACES),
        ("a\n", SPACES),
        ("a:b", CHARACTERS),
        ('a"b', CHARACTERS),
        ("a\\b", CHARACTERS),
        ("a\nb", CHARACTERS),
        ("a\x7fb", CHARACTERS),
        ("büro", CHARACTERS),
    ],
)
def test_realms_that_clients_would_not_agree_on(realm: str, problem: str | None) -> None:
    assert realm_problem(realm) == problem
