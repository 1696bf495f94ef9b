"""The composition root: what a configuration becomes."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.support.door import write_users
from wsproxy.app import build
from wsproxy.config.load import Config, default, load
from wsproxy.errors import ConfigError


def configure(folder: Path, text: str) -> Config:
    (folder / "c.yaml").write_text(text)
    return load(folder / "c.yaml")


# ---------------------------------------------------------------- build


def test_the_embedded_default_can_be_built() -> None:
    runtime = build(default())
    assert (runtime.gate.auth_required, runtime.gate.challenges(0.0)) == (False, [])
    assert runtime.gate.rules.default_allow
    assert runtime.via.startswith(b"wsproxy-")
    assert runtime.via != build(default()).via


def test_every_setting_reaches_its_room(tmp_path: Path) -> None:
    write_users(tmp_path, alice="secret")
    runtime = build(
        configure(
            tmp_path,
            """
auth: {required: true, realm: here, methods: [{type: basic, users: users}]}
policy:
  default: deny
  private_networks: [{hosts: ["*.corp"], networks: [10.0.0.0/8]}]
  rules: [{name: a, action: allow, when: {ports: [80]}, message: hi}]
limits: {connections: 7, connections_per_client: 1}
timeouts:
  {request_head: 1s, body: 2s, keep_alive: 3s, connect: 4s, response_head: 5s, idle: 6s, lifetime: 7s}
dns: {timeout: 8s}
""",
        ),
        own=[(ip_address("127.0.0.1"), 8080)],
    )
    gate, times = runtime.gate, runtime.timeouts
    assert gate.challenges(0.0) == [b'Basic realm="here", charset="UTF-8"']
    assert (gate.auth_required, gate.rules.default_allow, len(gate.zones)) == (True, False, 1)
    (rule,) = gate.rules.rules
    assert (rule.name, rule.allow, rule.message, rule.line) == ("a", True, "hi", 6)
    assert (gate.connect_timeout_s, list(gate.listeners)) == (4, [(ip_address("127.0.0.1"), 8080)])
    assert (times.request_head_s, times.body_s) == (1, 2)
    assert (times.keep_alive_s, times.response_head_s) == (3, 5)
    limits = runtime.relay_limits
    assert (limits.idle_timeout_s, limits.lifetime_s) == (6, 7)
    runtime.occupancy.enter(ip_address("192.0.2.1"))
    with pytest.raises(Exception, match="1 connections"):
        runtime.occupancy.enter(ip_address("192.0.2.1"))


def test_the_system_may_allow_less_connections_than_the_file(tmp_path: Path) -> None:
    runtime = build(configure(tmp_path, "limits: {connections: 7}"), connections=1)
    runtime.occupancy.enter(ip_address("192.0.2.1"))
    with pytest.raises(Exception, match="serves 1 connections"):
        runtime.occupancy.enter(ip_address("192.0.2.2"))


@pytest.mark.parametrize(
    ("text", "place", "key"),
    [
        (
            "policy:\n  rules: [{action: deny, when: {hosts: ['a..b']}}]\n",
            "2:32",
            "policy.rules[0].when",
        ),
        (
            "policy:\n  private_networks: [{hosts: ['a..b'], networks: [10.0.0.0/8]}]\n",
            "2:30",
            "policy.private_networks[0].hosts",
        ),
        ("logs: {access: {to: nowhere/a.log}}\n", "1:21", "logs.access.to"),
    ],
)
def test_what_cannot_be_used_is_an_error_with_its_position(
    tmp_path: Path, text: str, place: str, key: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        build(configure(tmp_path, text))
    assert str(caught.value).startswith(f"{tmp_path / 'c.yaml'}:{place}: {key}: ")


def test_a_users_file_with_a_mistake_is_an_error_at_its_own_line(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("# fine\nalice\n")
    config = configure(tmp_path, "auth: {methods: [{type: basic, users: users}]}\n")
    with pytest.raises(ConfigError) as caught:
        build(config)
    assert str(caught.value).startswith(f"{tmp_path / 'users'}:2")


def test_a_folder_that_cannot_be_written_to_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    with pytest.raises(ConfigError, match="cannot be written to"):
        build(configure(tmp_path, "logs: {access: {to: a.log}}\n"))


@pytest.mark.parametrize("to", ["stdout", "stderr", "syslog", "none"])
def test_a_named_sink_needs_no_folder(tmp_path: Path, to: str) -> None:
    build(configure(tmp_path, f"logs: {{access: {{to: {to}}}}}\n"))
