"""Proxies under attack: one open, one that wants credentials, one without any private zone."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.corpus.auth import PASSWORD, USER
from tests.hostile.room import BYSTANDER, Room, open_room
from tests.support.proxy_process import OPEN_TO_LOOPBACK, add_user

_WANTS_CREDENTIALS = (
    OPEN_TO_LOOPBACK
    + """
auth:
  required: true
  methods:
    - {type: basic, users: users}
"""
)
_NO_PRIVATE_ZONE = f"""
listeners:
  - address: 127.0.0.1:0
policy:
  default: allow
  private_networks:
    - {{hosts: ["{BYSTANDER}"], networks: [{BYSTANDER}/32]}}
"""


@pytest.fixture(scope="session")
def open_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """A proxy that lets anybody reach loopback."""
    with open_room(OPEN_TO_LOOPBACK, tmp_path_factory.mktemp("open")) as room:
        yield room


@pytest.fixture(scope="session")
def closed_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """A proxy with the default policy for private addresses."""
    with open_room(_NO_PRIVATE_ZONE, tmp_path_factory.mktemp("closed")) as room:
        yield room


@pytest.fixture(scope="session")
def auth_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """A proxy that requires credentials; what it writes must not contain them."""
    directory: Path = tmp_path_factory.mktemp("auth")
    add_user(directory / "users", USER, PASSWORD)
    secret = base64.b64encode(f"{USER}:{PASSWORD}".encode())
    with open_room(_WANTS_CREDENTIALS, directory, credentials=secret) as room:
        yield room
    written = room.proxy.stdout + room.proxy.stderr
    assert PASSWORD not in written
    assert secret.decode() not in written
