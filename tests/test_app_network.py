"""What ``dns`` and ``source_address`` become, and that what cannot be used is told with its place."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from wsproxy.app_network import build_resolver, build_sources
from wsproxy.config.load import Config, load
from wsproxy.errors import ConfigError
from wsproxy.model import Host
from wsproxy.net.nameservers import NameServers
from wsproxy.net.resolve import SystemNames


def configure(folder: Path, text: str) -> Config:
    (folder / "c.yaml").write_text(text)
    return load(folder / "c.yaml")


def test_by_default_the_system_is_asked_and_remembered(tmp_path: Path) -> None:
    resolver = build_resolver(configure(tmp_path, "policy: {default: allow}"))
    assert isinstance(resolver._names, SystemNames)
    assert resolver._cache is not None
    assert resolver._timeout_s == 5.0


def test_every_setting_of_dns_reaches_its_room(tmp_path: Path) -> None:
    text = """
dns:
  servers: [127.0.0.1, "[::1]:54"]
  timeout: 2s
  cache: false
  hosts: {x.test: 192.0.2.1}
"""
    resolver = build_resolver(configure(tmp_path, text))
    assert isinstance(resolver._names, NameServers)
    assert [str(server) for server in resolver._names._servers] == ["127.0.0.1:53", "[::1]:54"]
    assert (resolver._timeout_s, resolver._cache) == (2.0, None)
    assert resolver.known(Host("x.test")) == (ip_address("192.0.2.1"),)


def test_a_rule_without_a_source_has_that_of_the_policy(tmp_path: Path) -> None:
    text = """
policy:
  source_address: 127.0.0.5
  rules:
    - {name: a, action: allow, source_address: ["::1", 127.0.0.6]}
    - {name: b, action: allow}
"""
    sources = build_sources(configure(tmp_path, text))
    assert {name: sorted(map(str, one.values())) for name, one in sources.items()} == {
        "default": ["127.0.0.5"],
        "a": ["127.0.0.6", "::1"],
        "b": ["127.0.0.5"],
    }
    assert sources["a"] == {4: ip_address("127.0.0.6"), 6: ip_address("::1")}


def test_without_any_there_is_none(tmp_path: Path) -> None:
    assert build_sources(configure(tmp_path, "policy: {rules: [{action: allow}]}")) == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "policy: {rules: [{action: allow, source_address: 192.0.2.10}]}",
            ":1:50: policy.rules[0].source_address: this machine cannot connect from "
            "192.0.2.10: Cannot assign requested address",
        ),
        (
            'policy: {source_address: [127.0.0.1, "2001:db8::1"]}',
            ":1:38: policy.source_address[1]: this machine cannot connect from 2001:db8::1: "
            "Cannot assign requested address",
        ),
        (
            "policy: {source_address: 0.0.0.0}",
            ":1:26: policy.source_address: this machine cannot connect from 0.0.0.0: it stands "
            "for no address of one machine",
        ),
        (
            "policy: {source_address: 224.0.0.1}",
            ":1:26: policy.source_address: this machine cannot connect from 224.0.0.1: it stands "
            "for no address of one machine",
        ),
    ],
)
def test_an_address_that_is_not_this_machines_is_an_error(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        build_sources(configure(tmp_path, text))
    assert str(caught.value) == f"{tmp_path / 'c.yaml'}{told}"
