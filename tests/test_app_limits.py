"""From settings to what clients, users and rules may have."""

from __future__ import annotations

from pathlib import Path

from wsproxy.app_limits import allotment
from wsproxy.config.load import default, load
from wsproxy.proxy.quotas import Allotment
from wsproxy.proxy.shares import ShareSettings

CONFIG = """
policy:
  rules:
    - {name: all, action: allow, limits: {connections: 5, bandwidth: 1MiB/s}}
    - {name: rest, action: allow}
limits:
  connections_per_user: 7
  requests_per_client: 10/m
  bandwidth_per_connection: 2KiB/s
  bandwidth_per_user: 3KiB/s
  messages_per_user: 4/s
  bytes_per_user: 5GiB/24h
"""


def test_every_limit_arrives(tmp_path: Path) -> None:
    file = tmp_path / "wsproxy.yaml"
    file.write_text(CONFIG)
    assert allotment(load(file)) == Allotment(
        per_user=7,
        per_rule={"all": 5},
        requests=(10, 60),
        shares=ShareSettings(
            per_connection=(2048, 1),
            per_user=(3072, 1),
            per_rule={"all": (1024 * 1024, 1)},
            messages_per_user=(4, 1),
            bytes_per_user=(5 * 1024**3, 86400),
        ),
    )


def test_without_any_there_is_none() -> None:
    assert allotment(default()) == Allotment()
