"""From the file to a decision: lists of names, hours and reports, as `wsproxy.app.build` wires them."""

from __future__ import annotations

from datetime import datetime
from ipaddress import ip_address
from pathlib import Path

import pytest

from wsproxy.app import build
from wsproxy.config.load import load
from wsproxy.errors import ConfigError
from wsproxy.model import Verdict
from wsproxy.policy.ask import Ask, tunnel_protocols
from wsproxy.policy.rules import Rules, decide
from wsproxy.protocol.authority import parse_host


def rules_of(folder: Path, text: str) -> Rules:
    (folder / "wsproxy.yaml").write_text(text, encoding="utf-8")
    return build(load(folder / "wsproxy.yaml")).gate.rules


def verdict(rules: Rules, host: str, *, at: str = "2025-03-14T12:00+01:00") -> Verdict:
    return decide(
        rules,
        Ask(
            client=ip_address("192.0.2.9"),
            identity=None,
            host=parse_host(host.encode()),
            port=443,
            protocols=tunnel_protocols(443),
            method="CONNECT",
            at=datetime.fromisoformat(at).timestamp(),
        ),
    )


LISTS = """
policy:
  default: allow
  rules:
    - {name: ads, when: {hosts_file: [ads.txt, lists/more.txt]}, action: deny}
    - {name: same, when: {hosts_file: ads.txt, ports: 80}, action: deny}
"""


def test_lists_are_read_once_from_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "ads.txt").write_bytes(b"ads.example\r\n")
    (tmp_path / "lists" / "more.txt").write_bytes(b"# more\nMore.example\n")
    rules = rules_of(tmp_path, LISTS)
    for host in ("ads.example", "x.more.example"):
        assert verdict(rules, host).rule == "ads"
    assert verdict(rules, "example").allow
    first, second = (rule.when["hosts_file"] for rule in rules.rules)
    assert first[0] is second[0]


def test_what_is_wrong_in_a_list_is_told_with_its_line(tmp_path: Path) -> None:
    text = "policy: {rules: [{action: deny, when: {hosts_file: ads.txt}}]}"
    (tmp_path / "ads.txt").write_bytes(b"a.example\n*.b.example\n")
    with pytest.raises(ConfigError) as error:
        rules_of(tmp_path, text)
    assert str(error.value) == (
        f"{tmp_path}/ads.txt:2:1: '*.b.example': write the name alone, it covers its subdomains"
    )
    (tmp_path / "ads.txt").unlink()
    with pytest.raises(ConfigError) as error:
        rules_of(tmp_path, text)
    assert str(error.value) == (
        f"{tmp_path}/wsproxy.yaml:1:52: policy.rules[0].when.hosts_file: "
        f"cannot read {tmp_path}/ads.txt: No such file or directory"
    )


def test_a_list_that_goes_between_two_looks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wsproxy.yaml").write_text(
        "policy: {rules: [{action: deny, when: {hosts_file: ads.txt}}]}"
    )
    (tmp_path / "ads.txt").write_bytes(b"a.example\n")
    config = load(tmp_path / "wsproxy.yaml")
    (tmp_path / "ads.txt").unlink()
    with pytest.raises(ConfigError, match=r"ads\.txt: cannot be read: No such file"):
        build(config)


HOURS = """
policy:
  rules:
    - name: office
      when:
        hours: {days: mon-fri, from: "07:00", to: "19:00", timezone: Europe/Berlin}
      action: allow
    - {name: night, when: {hours: {from: 22:00, to: 06:00, timezone: UTC}, ports: 443}, action: allow}
"""


def test_hours_are_those_of_the_file(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, HOURS)
    assert verdict(rules, "a.example", at="2025-03-14T07:00+01:00").rule == "office"
    assert verdict(rules, "a.example", at="2025-03-15T12:00+01:00").rule == "default"
    assert verdict(rules, "a.example", at="2025-03-15T23:00+00:00").rule == "night"


REPORT = """
policy:
  default: deny
  mode: %s
  rules:
    - {name: tried, when: {hosts: a.example}, action: deny, mode: report}
    - {name: web, when: {hosts: [a.example, b.example]}, action: allow, mode: enforce}
    - {name: late, when: {hosts: c.example}, action: allow, mode: report}
"""


def test_rules_report_where_the_file_says_so(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, REPORT % "enforce")
    tried = verdict(rules, "a.example")
    assert (tried.allow, tried.rule, tried.would_deny) == (True, "web", ("tried",))
    late = verdict(rules, "c.example")
    assert (late.allow, late.rule, late.would_allow) == (False, "default", ("late",))


def test_the_whole_policy_reports_where_the_file_says_so(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, REPORT % "report")
    found = verdict(rules, "c.example")
    assert (found.allow, found.rule) == (True, "default")
    assert (found.would_deny, found.would_allow) == (("default",), ("late",))
