"""Hashes written by other people's tools are verified; damaged ones are not accepted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsproxy.auth import passwords

HTPASSWD_OPTIONS = {
    "-B": "bcrypt",
    "-m": "apr1",
    "-s": "SHA-1",
    "-2": "sha256-crypt",
    "-5": "sha512-crypt",
    "-d": "DES crypt",
}
PASSWORDS = ["secret", "with:colon:s", "pässwörd", "密码😀", "€" * 30, "x" * 100, " lead", "a b"]


def htpasswd(option: str, password: str) -> str:
    """The hash that Debian's htpasswd makes of `password`."""
    program = shutil.which("htpasswd")
    assert program is not None, "htpasswd is missing: install apache2-utils"
    done = subprocess.run(
        [program, "-ni", option, "user"], input=password.encode(), capture_output=True, check=True
    )
    return done.stdout.decode().strip().removeprefix("user:")


@pytest.mark.parametrize("option", HTPASSWD_OPTIONS)
@pytest.mark.parametrize("password", PASSWORDS)
def test_what_htpasswd_writes_is_verified(option: str, password: str) -> None:
    hashed = htpasswd(option, password)

    scheme = passwords.scheme_of(hashed)
    assert scheme is not None
    assert scheme.name == HTPASSWD_OPTIONS[option]
    assert passwords.verify(hashed, password.encode())
    assert not passwords.verify(hashed, b"!" + password.encode())
    assert not passwords.verify(hashed, b"")


@pytest.mark.parametrize(
    ("extra", "cost"),
    [
        (["-B", "-C", "6"], ("bcrypt", "06")),
        (["-2", "-r", "1234"], ("sha256-crypt", "rounds=1234$")),
        (["-5", "-r", "1234"], ("sha512-crypt", "rounds=1234$")),
    ],
)
def test_costs_chosen_by_htpasswds_options_are_read(
    extra: list[str], cost: tuple[str, str]
) -> None:
    done = subprocess.run(
        ["htpasswd", "-ni", *extra, "user"], input=b"secret", capture_output=True, check=True
    )
    hashed = done.stdout.decode().strip().removeprefix("user:")

    assert passwords.cost_of(hashed) == cost
    assert passwords.verify(hashed, b"secret")
    assert not passwords.verify(hashed, b"Secret")


def test_plain_text_of_htpasswd_is_no_hash() -> None:
    assert passwords.scheme_of(htpasswd("-p", "secret")) is None


def test_a_new_hash_is_argon2id_salted_and_verified() -> None:
    first, second = passwords.hash_password(b"p:w"), passwords.hash_password(b"p:w")

    assert first != second
    assert passwords.cost_of(first) == ("argon2id", "v=19$m=19456,t=2,p=1")
    assert passwords.verify(first, b"p:w")
    assert not passwords.verify(first, b"p:W")


@pytest.mark.parametrize("mark", ["2a", "2b", "2y"])
def test_bcrypt_of_each_mark_is_cut_at_72_bytes_and_does_not_raise(mark: str) -> None:
    made = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()
    hashed = f"${mark}${made[4:]}"

    assert passwords.verify(hashed, b"x" * 72)
    assert passwords.verify(hashed, b"x" * 500)
    assert not passwords.verify(hashed, b"x" * 71)


@pytest.mark.parametrize("option", HTPASSWD_OPTIONS)
def test_a_nul_byte_never_matches(option: str) -> None:
    assert not passwords.verify(htpasswd(option, "pw"), b"pw\0")
    assert not passwords.verify(htpasswd(option, "pw"), b"pw\0more")


GOOD_ARGON2 = "$argon2id$v=19$m=16,t=1,p=2$YWFhYWFhYWE$XwEe/qBQeOOEs9ZqG+dxBw2u3ZzC8TTMv1YtgCM4Mdg"


def test_the_argon2_hash_the_next_test_damages_is_good() -> None:
    assert passwords.scheme_of(GOOD_ARGON2) is not None


@pytest.mark.parametrize(
    "hashed",
    [
        "",
        "secret",
        "hunter2 with spaces",
        GOOD_ARGON2[:-1],
        GOOD_ARGON2 + "AA",
        GOOD_ARGON2 + "\n",
        GOOD_ARGON2.replace("m=16", "m=15"),
        GOOD_ARGON2.replace("m=16", "m=2097153"),
        GOOD_ARGON2.replace("v=19", "v=16"),
        GOOD_ARGON2.replace("argon2id", "argon2i"),
        GOOD_ARGON2.replace("YWE$", "YWF$"),
        "$2y$03$K45vvLbSB/hHPbA2mGYlku2Rev9mJaBOw/LZs3l/tNsINVeGyyia.",
        "$2x$05$K45vvLbSB/hHPbA2mGYlku2Rev9mJaBOw/LZs3l/tNsINVeGyyia.",
        "$2y$05$K45vvLbSB/hHPbA2mGYlkv2Rev9mJaBOw/LZs3l/tNsINVeGyyia.",
        "$2y$05$K45vvLbSB/hHPbA2mGYlku2Rev9mJaBOw/LZs3l/tNsINVeGyyia",
        "$apr1$wQknB9Xc$DlBkr467Yl2uocQdgdDV4A",
        "$1$wQknB9Xc$DlBkr467Yl2uocQdgdDV4/",
        "{SHA}VeSJXJfcc/+Y/cqE3Gelkwpghtp=",
        "{SSHA}VeSJXJfcc/+Y/cqE3Gelkwpghto=",
        "$5$rounds=999$QsNSrX2v6/KvW6JO$h.1X6WJhjYT4nRrd6ixP2/ABFvUAQv2TovnAiBvx3dA",
        "$6$QsNSrX2v6/KvW6JO$h.1X6WJhjYT4nRrd6ixP2/ABFvUAQv2TovnAiBvx3dA",
        "$y$j9T$salt$hash",
        "ZIrlV8auIazvV",
    ],
)
def test_what_is_no_whole_known_hash_is_not_accepted(hashed: str) -> None:
    assert passwords.scheme_of(hashed) is None
    with pytest.raises(ValueError, match="not a known password hash") as caught:
        passwords.verify(hashed, b"secret")
    assert str(caught.value) == "not a known password hash"
    with pytest.raises(ValueError, match="not a known password hash"):
        passwords.cost_of(hashed)


CRYPT64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
CHEAP_SHAPES = st.one_of(
    st.builds(
        "$argon2id$v=19$m=8,t=1,p=1${}${}".format,
        st.from_regex(r"[A-Za-z0-9+/]{11,24}", fullmatch=True),
        st.from_regex(r"[A-Za-z0-9+/]{16,44}", fullmatch=True),
    ),
    st.builds("$2b$04${}".format, st.text(CRYPT64, min_size=53, max_size=53)),
    st.builds("$5$rounds=1000$salt${}".format, st.text(CRYPT64, min_size=43, max_size=43)),
    st.builds("$6$rounds=1000$salt${}".format, st.text(CRYPT64, min_size=86, max_size=86)),
    st.builds("$apr1${}".format, st.from_regex(r"[./\w]{1,8}\$[./\w]{22}", fullmatch=True)),
    st.builds("{{SHA}}{}".format, st.from_regex(r"[A-Za-z0-9+/]{27}=", fullmatch=True)),
    st.text(CRYPT64, min_size=13, max_size=13),
)


@settings(deadline=None, max_examples=200)
@given(hashed=CHEAP_SHAPES, password=st.binary(max_size=100))
def test_an_accepted_hash_never_makes_verification_raise(hashed: str, password: bytes) -> None:
    if passwords.scheme_of(hashed) is not None:
        assert passwords.verify(hashed, password) is False


def test_libraries_are_loaded_by_the_first_hash_that_needs_them() -> None:
    code = (
        "import sys; from wsproxy.auth import passwords as p; "
        "heavy = {'argon2', 'bcrypt', 'passlib'}; print(sorted(heavy & set(sys.modules))); "
        "p.verify('$apr1$wQknB9Xc$DlBkr467Yl2uocQdgdDV4/', b'x'); "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.stdout.splitlines() == ["[]", "['passlib']"]
