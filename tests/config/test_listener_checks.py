"""What must hold between the settings of listeners."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wsproxy.config.listener_checks import listener_problems
from wsproxy.config.schema import Settings

ONE = {"address": "127.0.0.1:8080"}


def problems(**sections: Any) -> list[tuple[tuple[str | int, ...], str]]:
    return list(listener_problems(Settings.model_validate(sections)))


def a_file(path: Path, mode: int = 0o600) -> Path:
    path.touch(mode)
    return path


def test_two_listeners_cannot_share_an_address() -> None:
    listeners = [{"address": "localhost:80"}, {"address": "[::1]:80"}, {"address": "127.0.0.1:80"}]
    assert problems(listeners=listeners) == [
        (("listeners", 2, "address"), "listeners[0] has this address already")
    ]


def test_two_listeners_may_both_let_the_system_choose() -> None:
    assert problems(listeners=[{"address": "127.0.0.1:0"}] * 2) == []


@pytest.fixture
def tls(tmp_path: Path) -> dict[str, Path]:
    return {"certificate": a_file(tmp_path / "c.pem"), "key": a_file(tmp_path / "k.pem")}


def test_files_that_are_there_are_in_order(tmp_path: Path, tls: dict[str, Path]) -> None:
    ca = a_file(tmp_path / "ca.pem")
    listener = {**ONE, "tls": {**tls, "client_ca": [ca], "client_crl": [ca]}}
    auth = {"methods": [{"type": "certificate"}]}
    assert problems(listeners=[listener], auth=auth) == []


def test_every_file_that_cannot_be_read_is_named_at_once(tmp_path: Path) -> None:
    tls = dict.fromkeys(("certificate", "key"), tmp_path) | {"client_ca": [tmp_path / "no"]}
    place = ("listeners", 0, "tls")
    assert problems(listeners=[{**ONE, "tls": tls}]) == [
        ((*place, "certificate"), f"{tmp_path} is not a file"),
        ((*place, "key"), f"{tmp_path} is not a file"),
        ((*place, "client_ca", 0), f"cannot read {tmp_path / 'no'}: No such file or directory"),
    ]


def test_revocations_need_authorities(tmp_path: Path, tls: dict[str, Path]) -> None:
    listener = {**ONE, "tls": {**tls, "client_crl": [a_file(tmp_path / "crl.pem")]}}
    assert problems(listeners=[listener]) == [
        (
            ("listeners", 0, "tls", "client_crl"),
            "there is nobody to revoke without client_ca; add it",
        )
    ]


@pytest.mark.parametrize("with_tls", [False, True])
def test_certificates_need_a_listener_that_asks_for_them(
    tls: dict[str, Path], *, with_tls: bool
) -> None:
    listener = {**ONE, "tls": tls} if with_tls else ONE
    found = problems(listeners=[listener], auth={"methods": [{"type": "certificate"}]})
    assert found == [
        (
            ("auth", "methods", 0),
            "no listener asks for certificates; add tls with client_ca to one",
        )
    ]
