"""``wsproxy passwd`` adds and changes users, and never leaves half a file behind."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from wsproxy.auth import load_users, passwords
from wsproxy.auth.digest_users import hash_digest_password, load_digest_users
from wsproxy.auth.users_file import MAX_FILE_BYTES
from wsproxy.cli.passwd import passwd

SHA = "{SHA}VeSJXJfcc/+Y/cqE3Gelkwpghto="


def run(*arguments: str | Path, stdin: str | bytes = "s3cret:ü\n") -> Result:
    """The command with its password from standard input."""
    return CliRunner().invoke(passwd, [*map(str, arguments), "--password-stdin"], input=stdin)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "users"


def test_a_new_file_is_made_for_its_owner_only(file: Path) -> None:
    result = run(file, "alice", "--group", "desk", "--group", "night shift")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"added alice to {file} (groups: desk, night shift)\n"
    assert mode_of(file) == 0o600
    user = load_users(file).by_name["alice"]
    assert user.identity.groups == {"desk", "night shift"}
    assert user.hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert passwords.verify(user.hashed, "s3cret:ü".encode())
    assert [path.name for path in file.parent.iterdir()] == ["users"]


def test_a_change_keeps_groups_other_lines_and_mode(file: Path) -> None:
    file.write_bytes(b"# caf\xe9 \r\n\nalice:" + SHA.encode() + b":desk\nbob:plain text\n\n# end")
    file.chmod(0o644)

    result = run(file, "alice", stdin="new")

    assert result.stdout == f"changed alice in {file} (groups: desk)\n"
    lines = file.read_bytes().split(b"\n")
    assert lines[:2] + lines[3:] == [b"# caf\xe9 \r", b"", b"bob:plain text", b"", b"# end"]
    name, hashed, groups = lines[2].decode().split(":")
    assert (name, groups) == ("alice", "desk")
    assert passwords.verify(hashed, b"new")
    assert mode_of(file) == 0o644


def test_groups_given_replace_those_there(file: Path) -> None:
    run(file, "alice", "--group", "desk")
    result = run(file, "alice", "--group", "ops")
    assert result.stdout == f"changed alice in {file} (groups: ops)\n"
    assert load_users(file).by_name["alice"].identity.groups == {"ops"}


def test_a_plain_text_user_that_stops_the_proxy_is_repaired(file: Path) -> None:
    file.write_text("alice:hunter2\n")
    assert run(file, "alice").stdout == f"changed alice in {file} (groups: none)\n"
    assert "hunter2" not in file.read_text()
    assert set(load_users(file).by_name) == {"alice"}


def test_the_prompt_asks_twice_and_shows_nothing(file: Path) -> None:
    result = CliRunner().invoke(passwd, [str(file), "alice"], input="s3cret\ns3cret\n")
    assert result.exit_code == 0
    assert result.stdout == f"added alice to {file} (groups: none)\n"
    assert result.stderr == "Password: \nOnce more: \n"
    assert passwords.verify(load_users(file).by_name["alice"].hashed, b"s3cret")


def test_two_different_passwords_are_asked_for_again(file: Path) -> None:
    result = CliRunner().invoke(passwd, [str(file), "alice"], input="first\nsecond\nthird\nthird\n")
    assert result.exit_code == 0
    assert "first" not in result.output
    assert passwords.verify(load_users(file).by_name["alice"].hashed, b"third")


def test_an_abandoned_prompt_changes_nothing(file: Path) -> None:
    result = CliRunner().invoke(passwd, [str(file), "alice"], input="one\n")
    assert result.exit_code == 1
    assert not file.exists()


@pytest.mark.parametrize(
    ("stdin", "password"), [("pw", b"pw"), ("pw\r\n", b"pw"), ("pw \n", b"pw ")]
)
def test_one_line_end_of_standard_input_is_not_part_of_the_password(
    file: Path, stdin: str, password: bytes
) -> None:
    run(file, "alice", stdin=stdin)
    assert passwords.verify(load_users(file).by_name["alice"].hashed, password)


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        ([""], "pw", "a user name must not be empty; choose another"),
        (["a:b"], "pw", "a user name must not hold ':' (RFC 7617 §2); choose another"),
        (["#a"], "pw", "a user name must not start with '#', which starts a comment; choose another"),
        (
            ["a\nb"], "pw",
            "a user name must not hold control characters or broken UTF-8; choose another",
        ),
        (
            ["a\udcff"], "pw",
            "a user name must not hold control characters or broken UTF-8; choose another",
        ),
        (["a", "--group", ""], "pw", "a group name must not be empty; choose another"),
        (["a", "--group", "x,y"], "pw", "a group name must not hold ':' or ','; choose another"),
        (["a"], "\n", "the password is empty; give one"),
        (["a"], "hunter2\n\n", "the password holds control characters, which RFC 7617 §2 forbids"),
        (["a"], b"hunter2\xff", "the password is not UTF-8; check the terminal's encoding"),
        (["a"], "x" * 3071, "user and password are longer than 3072 bytes together"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_in_one_line(
    file: Path, arguments: list[str], stdin: str | bytes, message: str
) -> None:
    result = run(file, *arguments, stdin=stdin)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: {message}\n"
    assert not file.exists()


def test_the_longest_password_the_proxy_takes_is_taken(file: Path) -> None:
    assert run(file, "a", stdin="x" * 3070).exit_code == 0


def test_a_user_who_is_there_twice_is_refused(file: Path) -> None:
    content = f"a:{SHA}\na:{SHA}\n"
    file.write_text(content)
    result = run(file, "a")
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: {file}: the user 'a' is on lines 1 and 2; remove all but one first\n"
    )
    assert file.read_text() == content


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    result = run(tmp_path / "fifo", "a")
    assert result.exit_code == 2
    assert result.stderr == f"Error: {tmp_path / 'fifo'} is not a regular file\n"
    assert run(tmp_path, "a").exit_code == 2


def test_a_file_that_cannot_be_read_is_a_failure(file: Path) -> None:
    file.symlink_to(file)
    result = run(file, "a")
    assert result.exit_code == 1
    assert result.stderr == f"Error: cannot read {file}: Too many levels of symbolic links\n"


def test_a_file_beyond_the_bound_is_refused(file: Path) -> None:
    file.touch()
    os.truncate(file, MAX_FILE_BYTES + 1)
    result = run(file, "a")
    assert result.exit_code == 2
    assert result.stderr == f"Error: {file} is larger than 64 MiB; is it a users file?\n"


def test_a_folder_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    file = tmp_path / "missing" / "users"
    result = run(file, "a")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: cannot write {file}: No such file or directory; nothing was changed\n"
    )


def test_a_failed_replacement_leaves_the_old_file_and_no_litter(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(f"a:{SHA}\n")

    def full(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    result = run(file, "a")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: cannot write {file}: No space left on device; nothing was changed\n"
    )
    assert file.read_text() == f"a:{SHA}\n"
    assert [path.name for path in file.parent.iterdir()] == ["users"]


def test_a_link_stays_a_link_and_its_target_changes(file: Path, tmp_path: Path) -> None:
    file.write_text(f"a:{SHA}\n")
    link = tmp_path / "link"
    link.symlink_to(file)
    assert run(link, "a").exit_code == 0
    assert link.is_symlink()
    assert load_users(file).by_name["a"].hashed.startswith("$argon2id$")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_the_owner_stays(file: Path) -> None:
    file.write_text(f"a:{SHA}\n")
    os.chown(file, 12345, 23456)
    assert run(file, "a").exit_code == 0
    assert (file.stat().st_uid, file.stat().st_gid) == (12345, 23456)
    assert mode_of(file) == 0o644


# ------------------------------------------------------------------ Digest


def test_digest_makes_both_hashes_of_the_default_realm(file: Path) -> None:
    result = run(file, "ålice", "--digest", "--group", "desk", "--group", "ops")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"added ålice to {file} (realm: wsproxy, groups: desk, ops)\n"
    assert mode_of(file) == 0o600
    users = load_digest_users(file)
    assert users.warnings == ()
    user = users.by_name["ålice"]
    assert user.identity.groups == {"desk", "ops"}
    expected = hash_digest_password("ålice", realm="wsproxy", password="s3cret:ü".encode())
    assert user.hashes == expected


def test_digest_changes_one_user_of_one_realm(file: Path) -> None:
    run(file, "alice", "--digest", stdin="old")
    before = file.read_text()
    assert run(file, "alice", "--digest", "--realm", "two 2", "--group", "desk").exit_code == 0

    result = run(file, "alice", "--digest", "--realm", "two 2", stdin="new")

    assert result.stdout == f"changed alice in {file} (realm: two 2, groups: desk)\n"
    assert file.read_text().startswith(before)
    hashes = load_digest_users(file, realm="two 2").by_name["alice"].hashes
    assert hashes == hash_digest_password("alice", realm="two 2", password=b"new")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--realm", "x"], "--realm goes with --digest; argon2id hashes hold no realm"),
        (
            ["--digest", "--realm", ""],
            "a realm must not be empty, nor start or end with white space; choose another",
        ),
        (
            ["--digest", "--realm", "a:b"],
            (
                "a Digest realm is of printable ASCII characters without '\"', '\\' and ':'; "
                "choose another"
            ),
        ),
    ],
)
def test_a_realm_that_cannot_work_is_refused(
    file: Path, arguments: list[str], message: str
) -> None:
    result = run(file, "alice", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: {message}\n"
    assert not file.exists()


def test_the_two_kinds_of_files_are_not_mixed(file: Path, tmp_path: Path) -> None:
    run(file, "alice", "--digest")
    result = run(file, "alice")
    assert result.exit_code == 2
    assert result.stderr == f"Error: {file} is a Digest users file; add --digest\n"
    assert set(load_digest_users(file).by_name) == {"alice"}

    other = tmp_path / "other"
    other.write_text(f"# x\nbob:{SHA}\n")
    result = run(other, "alice", "--digest")
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: {other}: line 2 is not user:realm:hash; is it a Digest users file?\n"
    )
    assert set(load_users(other).by_name) == {"bob"}


def test_help_has_an_example() -> None:
    result = CliRunner().invoke(passwd, ["--help"])
    assert result.exit_code == 0
    assert "Example: wsproxy passwd users.htpasswd alice --group desk" in result.stdout
