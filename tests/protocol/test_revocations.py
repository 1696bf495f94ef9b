"""Which certificates are on a list."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.doorkeeper import Doorkeeper
from wsproxy.protocol.revocations import revoked_in


def test_every_list_of_a_file_is_read(tmp_path: Path) -> None:
    one, other = Doorkeeper(tmp_path, "one"), Doorkeeper(tmp_path, "other")
    alice, bob, carol = one.issue("alice"), one.issue("bob"), other.issue("carol")
    text = one.revoke(alice, bob).read_bytes() + one.ca.read_bytes()
    text += other.revoke(carol).read_bytes() + one.revoke().read_bytes()
    assert set(revoked_in(text)) == {
        (("one",), alice.serial),
        (("one",), bob.serial),
        (("other",), carol.serial),
    }
    assert list(revoked_in(b"")) == []


def test_what_cannot_be_read_is_an_error() -> None:
    broken = b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"
    with pytest.raises(ValueError, match="parsing"):
        list(revoked_in(broken))
