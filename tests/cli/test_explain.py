"""``wsproxy explain``: its words, its JSON, and its exit status."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import bcrypt
import pytest

from wsproxy.auth.digest_users import hash_digest_password
from wsproxy.cli import main
from wsproxy.model import Address
from wsproxy.net import resolve

CONFIG = """\
listeners: [{address: 127.0.0.1:3128}]
auth: {required: false, methods: [{type: basic, users: users}, {type: digest, users: digest}]}
policy:
  default: allow
  private_networks: [{name: me, hosts: [me.test], networks: [127.0.0.0/8]}]
  rules:
    - {name: watch, when: {hosts: "*.test"}, action: deny, mode: report}
    - {name: hope, when: {hosts: "*.test"}, action: allow, mode: report}
    - {name: desk, when: {groups: desk, hosts: b.test}, action: deny, message: Not at your desk.}
    - {name: chat, when: {hosts: chat.test, origins: "https://app.test", subprotocols: [x, y]}, action: allow, websocket: off}
    - {name: far, when: {hosts: far.test, methods: POST}, action: allow, upstream: parent}
upstreams: {parent: {url: "http://203.0.113.9:3128"}}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    hashed = bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode()
    Path("users").write_text(f"alice:{hashed}:desk\n")
    hashes = hash_digest_password("dora", realm="wsproxy", password=b"x")
    Path("digest").write_text(f"dora:wsproxy::{hashes['SHA-256'].decode()}:desk\n")
    for name in ("users", "digest"):
        Path(name).chmod(0o600)
    Path("wsproxy.yaml").write_text(CONFIG)
    return "wsproxy.yaml"


def explained(
    capsys: pytest.CaptureFixture[str], file: str, *arguments: str
) -> tuple[int, list[str]]:
    status = main(["explain", "--config", file, *arguments])
    captured = capsys.readouterr()
    assert captured.err == ""
    return status, captured.out.splitlines()


def test_a_refusal_says_why_and_where(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert explained(capsys, file, "--user", "alice", "https://b.test/") == (
        1,
        [
            "decision     deny",
            "rule         desk (wsproxy.yaml:9)",
            "because      rule 'desk' denies",
            "message      Not at your desk.",
            "would deny   watch",
            "would allow  hope",
        ],
    )


def test_what_is_allowed_says_how_it_goes_out(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    known = ("--resolve", "A.net=10.0.0.1", "--resolve", "b.net=93.184.216.34")
    assert explained(capsys, file, *known, "wss://b.net/") == (
        0,
        [
            "decision     allow",
            "rule         default",
            "because      no rule matched; default allow",
            "address      93.184.216.34: public; may be dialled",
            "route        direct",
            "tls          passthrough",
        ],
    )
    assert explained(capsys, file, "--method", "POST", "http://far.test/")[1][-2:] == [
        "route        parent",
        "tls          none",
    ]


def test_an_address_that_is_not_public_is_refused(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = "a.net leads to no public address (private)"
    assert explained(capsys, file, "--resolve", "a.net=10.0.0.1", "http://A.net/") == (
        1,
        [
            "decision     deny",
            "rule         private-networks",
            f"because      {reason}",
            "by name      no rule matched; default allow",
            "address      10.0.0.1: private; may not be dialled",
        ],
    )


def test_a_zone_and_the_rule_that_allowed_the_name_are_told(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    known = ("--resolve", "me.test=127.0.0.9", "--resolve", "me.test=10.0.0.1")
    assert explained(capsys, file, *known, "tcp://me.test:22")[1][3:] == [
        "would deny   watch",
        "would allow  hope",
        "address      127.0.0.9: loopback, in zone me; may be dialled",
        "address      10.0.0.1: private; may not be dialled",
        "route        direct",
        "tls          none",
    ]
    known = ("--origin", "https://app.test", "--subprotocol", "x", "--resolve", "chat.test=::1")
    assert explained(capsys, file, *known, "ws://chat.test/")[1][3] == (
        "by name      rule 'chat' allows (wsproxy.yaml:10)"
    )


def test_a_name_that_leads_nowhere_is_said(
    file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_name: str) -> list[Address]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(resolve, "_look_up", fail)
    status, lines = explained(capsys, file, "http://nowhere.net/")
    assert (status, lines[3]) == (0, "address      no address for nowhere.net")


def test_the_proxy_itself_is_never_reached(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    known = ("--resolve", "me.test=127.0.0.1")
    assert explained(capsys, file, *known, "tcp://me.test:3129")[0] == 0
    status, lines = explained(capsys, file, *known, "tcp://me.test:3128")
    assert (status, lines[1]) == (1, "rule         private-networks")


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["--user", "alice"], "desk"),
        (["--user", "dora"], "desk"),
        (["--user", "mallory"], "default"),
        (["--user", "mallory", "--group", "ops", "--group", "desk"], "desk"),
        (["--user", "alice", "--group", "ops"], "default"),
        ([], "default"),
    ],
)
def test_groups_are_those_of_the_users_files_unless_they_are_said(
    file: str, capsys: pytest.CaptureFixture[str], arguments: list[str], rule: str
) -> None:
    known = ("--resolve", "b.test=93.184.216.34")
    _status, lines = explained(capsys, file, *arguments, *known, "http://b.test/")
    assert lines[1].split()[1] == rule


@pytest.mark.parametrize(
    ("offer", "rule", "websocket"),
    [
        (["--origin", "https://app.test", "--subprotocol", "x"], "chat", "off"),
        (["--origin", "https://app.test", "--subprotocol", "z"], "default", "metadata"),
        (["--origin", "https://other.test", "--subprotocol", "x"], "default", "metadata"),
    ],
)
def test_a_handshake_has_its_origin_and_subprotocols(
    file: str, capsys: pytest.CaptureFixture[str], offer: list[str], rule: str, websocket: str
) -> None:
    known = ["--resolve", "chat.test=93.184.216.34"]
    status, lines = explained(capsys, file, *offer, *known, "ws://chat.test/")
    assert (status, lines[1].split()[1], lines[-1]) == (0, rule, f"websocket    {websocket}")


def test_json_says_the_same(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = explained(capsys, file, "--json", "--user", "alice", "ws://b.test/")
    assert status == 1
    assert json.loads("\n".join(lines)) == {
        "decision": "deny",
        "rule": "desk",
        "file": "wsproxy.yaml",
        "line": 9,
        "reason": "rule 'desk' denies",
        "message": "Not at your desk.",
        "would_deny": ["watch"],
        "would_allow": ["hope"],
        "name": {"verdict": "deny", "rule": "desk", "file": "wsproxy.yaml", "line": 9},
        "addresses": [],
        "route": None,
        "source": [],
        "tls": None,
        "websocket": None,
        "error": None,
        "limits": {},
    }
    known = ("--resolve", "b.net=::1", "--json")
    status, lines = explained(capsys, file, *known, "http://b.net/")
    said = json.loads("\n".join(lines))
    assert (status, said["rule"], said["line"], said["file"]) == (1, "private-networks", None, None)
    assert said["addresses"] == [
        {"address": "::1", "verdict": "deny", "class": "loopback", "zone": None}
    ]
    assert said["name"] == {"verdict": "allow", "rule": "default", "file": None, "line": None}
    status, lines = explained(capsys, file, "--json", "https://93.184.216.34/")
    said = json.loads("\n".join(lines))
    assert (status, said["route"], said["tls"], said["message"]) == (
        0,
        "direct",
        "passthrough",
        None,
    )


def test_the_limits_of_what_is_allowed_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "limits.yaml"
    (tmp_path / "users").touch()
    file.write_text("""
auth: {required: false, methods: [{type: basic, users: users}]}
policy: {rules: [{name: r, action: allow, limits: {bandwidth: 10MiB/s, connections: 20}}]}
limits: {bandwidth_per_connection: 1MiB/s, bytes_per_user: 10GiB/24h}
""")
    url = "http://93.184.216.34/"
    status, lines = explained(capsys, str(file), "--user", "alice", url)
    assert status == 0
    assert [line for line in lines if line.startswith("limit")] == [
        "limit        connections: 20",
        "limit        bandwidth: 10MiB/s",
        "limit        bandwidth_per_connection: 1MiB/s",
        "limit        bytes_per_user: 10GiB/d",
    ]
    _, lines = explained(capsys, str(file), "--json", url)
    assert json.loads("\n".join(lines))["limits"] == {
        "connections": 20,
        "bandwidth": "10MiB/s",
        "bandwidth_per_connection": "1MiB/s",
    }


def test_it_can_be_asked_about_another_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "hours.yaml"
    rule = "{name: r, action: allow, when: {hours: {days: wed, timezone: UTC}}}"
    file.write_text(f"policy: {{rules: [{rule}]}}\n")
    for day, status in ((4, 0), (5, 1)):
        at = ("--at", f"2026-03-0{day}T12:00:00Z")
        assert explained(capsys, str(file), *at, "https://93.184.216.34/")[0] == status


def test_without_a_file_the_embedded_default_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "http://127.0.0.1/"]) == 1
    assert main(["explain", "--resolve", "a.test=93.184.216.34", "http://a.test/"]) == 0
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ftp://a.test/"], "expected a URL with http, https, ws, wss or tcp"),
        (["--client", "me", "http://a.test/"], "--client: 'me' is no IP address"),
        (
            ["--at", "noon", "http://a.test/"],
            "'noon' is no time such as 2026-03-04T12:00:00+01:00",
        ),
        (["--resolve", "a.test", "http://a.test/"], "--resolve a.test: expected NAME=IP"),
        (["--resolve", "a.test=b", "http://a.test/"], "--resolve a.test: 'b' is no IP address"),
    ],
)
def test_a_question_that_makes_no_sense_is_bad_usage(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", *arguments]) == 2
    told = f"wsproxy explain: {sentence}; see 'wsproxy explain --help'\n"
    assert capsys.readouterr() == ("", told)


def test_a_wrong_configuration_is_status_2(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(file).write_text("policy: {defualt: allow}\n")
    assert main(["explain", "--config", file, "http://a.test/"]) == 2
    told = "wsproxy.yaml:1:10: policy.defualt: unknown key; did you mean 'default'?\n"
    assert capsys.readouterr() == ("", told)


WAYS = """\
policy:
  default: allow
  source_address: 127.0.0.5
  rules: [{name: six, when: {hosts: six.test}, action: allow, source_address: "::1"}]
dns: {hosts: {"*.test": 93.184.216.34, in.test: 10.0.0.1}}
"""


@pytest.mark.parametrize(
    ("url", "status", "rows"),
    [
        (
            "http://x.test/",
            0,
            ["address      93.184.216.34: public; may be dialled", "source       127.0.0.5"],
        ),
        (
            "http://six.test/",
            0,
            [
                "address      93.184.216.34: public; there is no IPv4 source address",
                "source       ::1",
            ],
        ),
        (
            "http://in.test/",
            1,
            ["address      10.0.0.1: private; may not be dialled"],
        ),
    ],
)
def test_local_names_and_where_connections_come_from_are_told(
    file: str, capsys: pytest.CaptureFixture[str], url: str, status: int, rows: list[str]
) -> None:
    Path(file).write_text(WAYS)
    got, lines = explained(capsys, file, url)
    assert got == status
    assert [line for line in lines if line.startswith(("address", "source"))] == rows


def test_a_source_stands_in_json(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(file).write_text(WAYS)
    _status, lines = explained(capsys, file, "--json", "http://x.test/")
    assert json.loads("\n".join(lines))["source"] == ["127.0.0.5"]


def test_tests_of_a_policy_know_local_names(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(file).write_text(WAYS)
    Path("cases.yaml").write_text(
        "- {url: 'http://in.test/', expect: deny, rule: private-networks}\n"
        "- {url: 'http://in.test/', resolve: {in.test: 93.184.216.34}, expect: allow}\n"
    )
    assert main(["check", "--config", file, "--tests", "cases.yaml"]) == 0
    assert "2 of 2 as expected" in capsys.readouterr().out
