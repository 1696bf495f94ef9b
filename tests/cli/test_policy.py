"""``wsproxy policy``: two policies before one log, and a policy out of a log."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import trio

from tests.support.door import ORIGIN, open_door
from wsproxy.cli import main


def record(target: str, **more: object) -> dict[str, Any]:
    kind = "forward" if "://" in target else "connect"
    return {
        "event": "access",
        "id": f"{id(more):x}{len(more)}",
        "time": "2026-03-04T12:00:00.000Z",
        "client": "10.0.0.7:1234",
        "user": None,
        "kind": kind,
        "method": "CONNECT" if kind == "connect" else "GET",
        "target": target,
        "verdict": "allow",
        "error": None,
        **more,
    }


def write(records: Iterable[dict[str, Any]], *more: str) -> None:
    lines = [json.dumps(one) for one in records]
    Path("access.log").write_text("".join(f"{line}\n" for line in [*lines, *more]))


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["policy", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


# ---------------------------------------------------------------- diff

OLD = """\
policy:
  default: deny
  rules:
    - {name: web, when: {ports: [80, 443]}, action: allow}
"""
NEW = """\
policy:
  default: deny
  rules:
    - {name: no-b, when: {hosts: b.test}, action: deny}
    - {name: web, when: {ports: [80, 443]}, action: allow}
    - {name: git, when: {hosts: git.test, ports: 22}, action: allow}
"""
DIFF = ("diff", "old.yaml", "new.yaml", "--against", "access.log")


def policies(old: str = OLD, new: str = NEW) -> None:
    Path("old.yaml").write_text(old)
    Path("new.yaml").write_text(new)


def test_what_fares_differently_is_told_most_frequent_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    policies()
    write(
        [
            record("a.test:443"),
            record("git.test:22", user="alice", verdict="deny"),
            *[record("http://b.test:80/x?…", client=f"[::1]:{port}") for port in (1, 2, 3)],
            record("http://b.test:80/x?…"),
        ]
    )
    assert ran(capsys, *DIFF) == (
        1,
        "     3  allow -> deny  ::1 - GET http://b.test:80/x?…\n"
        "        old: web (old.yaml:4)\n"
        "        new: no-b (new.yaml:4)\n"
        "     1  allow -> deny  10.0.0.7 - GET http://b.test:80/x?…\n"
        "        old: web (old.yaml:4)\n"
        "        new: no-b (new.yaml:4)\n"
        "     1  deny -> allow  10.0.0.7 alice CONNECT git.test:22\n"
        "        old: default\n"
        "        new: git (new.yaml:6)\n"
        "3 of 4 distinct requests would fare differently\n",
        "",
    )
    status, out, err = ran(capsys, *DIFF, "--json")
    told = json.loads(out)
    assert (status, err, told["requests"], told["distinct"], told["skipped_lines"]) == (
        1,
        "",
        6,
        4,
        0,
    )
    assert told["differences"][2] == {
        "count": 1,
        "client": "10.0.0.7",
        "user": "alice",
        "method": "CONNECT",
        "target": "git.test:22",
        "old": {
            "decision": "deny",
            "rule": "default",
            "file": None,
            "line": None,
            "route": None,
            "source": [],
            "tls": None,
            "websocket": None,
        },
        "new": {
            "decision": "allow",
            "rule": "git",
            "file": "new.yaml",
            "line": 6,
            "route": "direct",
            "source": [],
            "tls": "none",
            "websocket": None,
        },
    }


def test_where_nothing_differs_the_status_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    policies()
    write([record("a.test:443"), record("a.test:443")])
    told = "0 of 1 distinct requests would fare differently\n"
    assert ran(capsys, *DIFF) == (0, told, "")


def test_another_way_out_or_another_look_is_a_difference(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parents = 'upstreams: {far: {url: "http://203.0.113.9:3128"}}\n'
    rule = "policy: {rules: [{name: all, action: allow, %s}]}\n"
    policies(rule % "websocket: off", rule % "upstream: far" + parents)
    write([record("a.test:443"), record("ws://a.test:80/", kind="upgrade")])
    status, out, _ = ran(capsys, *DIFF)
    assert (status, [line for line in out.splitlines() if line[:1] == " "][::3]) == (
        1,
        [
            "     1  route direct -> far  10.0.0.7 - CONNECT a.test:443",
            "     1  route direct -> far, websocket off -> metadata  10.0.0.7 - GET ws://a.test:80/",
        ],
    )


def test_another_source_address_is_a_difference(capsys: pytest.CaptureFixture[str]) -> None:
    policies("policy: {default: allow}\n", "policy: {default: allow, source_address: 127.0.0.5}\n")
    write([record("a.test:443")])
    status, out, _ = ran(capsys, *DIFF)
    assert status == 1
    assert "     1  source - -> 127.0.0.5  10.0.0.7 - CONNECT a.test:443" in out.splitlines()


def test_who_asks_is_known_by_the_files_or_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    hashed = bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode()
    Path("users").write_text(f"alice:{hashed}:desk\n")
    Path("users").chmod(0o600)
    auth = "auth: {methods: [{type: basic, users: users}]}\n"
    new = "policy: {rules: [{action: allow, when: {groups: desk}}]}\n"
    policies(auth + "policy: {default: allow}\n", auth + new)
    write([record("a.test:443", user=user) for user in ("alice", "bob", None)])
    status, out, _ = ran(capsys, *DIFF)
    assert (status, out.count(" bob "), out.count("\n")) == (1, 1, 4)
    assert ran(capsys, *DIFF, "--group", "bob=desk")[0] == 0
    status, _, err = ran(capsys, *DIFF, "--group", "bob")
    assert (status, err.partition(";")[0]) == (
        2,
        "wsproxy policy diff: --group bob: expected USER=NAME",
    )


def test_a_literal_address_is_vetted_without_a_look_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    zone = "private_networks: [{hosts: 10.0.0.0/8, networks: 10.0.0.0/8}]"
    policies("policy: {default: allow}\n", f"policy: {{default: allow, {zone}}}\n")
    write([record("10.1.2.3:443"), record("[::1]:443"), record("a.test:443")])
    assert ran(capsys, *DIFF)[1].splitlines() == [
        "     1  deny -> allow  10.0.0.7 - CONNECT 10.1.2.3:443",
        "        old: private-networks",
        "        new: default",
        "1 of 3 distinct requests would fare differently",
    ]


def test_hours_are_those_at_which_it_was_asked(capsys: pytest.CaptureFixture[str]) -> None:
    policies(
        "policy: {default: allow}\n",
        "policy: {rules: [{action: allow, when: {hours: {days: wed, timezone: UTC}}}]}\n",
    )
    write([record("a.test:443")])
    assert ran(capsys, *DIFF)[0] == 0
    write([record("a.test:443", time="2026-03-05T12:00:00.000Z")])
    assert ran(capsys, *DIFF)[0] == 1


def test_a_tunnel_is_what_its_record_says_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    sniffing = "policy: {rules: [{name: r, action: allow, when: {sniff: %s}}]}\n"
    policies("policy: {default: allow}\n", sniffing % "tls")
    write(
        [
            record("a.test:443"),
            record("b.test:8443", tls={"alpn": ["http/1.1"]}),
            record("c.test:22"),
        ]
    )
    assert [line[-24:] for line in ran(capsys, *DIFF)[1].splitlines()[:-1:3]] == [
        "0.0.7 - CONNECT c.test:22"[-24:]
    ]
    # A WebSocket inside was asked for twice.
    policies(
        "policy: {default: allow}\n",
        "policy: {default: allow, rules: [{action: deny, when: {protocols: ws, paths: /x}}]}\n",
    )
    write(
        [
            record("a.test:80", websocket={"url": "ws://a.test:80/x"}),
            record("b.test:80", websocket={"url": None}),
        ]
    )
    status, out, _ = ran(capsys, *DIFF)
    assert (status, out.splitlines()[0]) == (
        1,
        "     1  allow -> deny  10.0.0.7 - GET ws://a.test:80/x",
    )
    assert out.splitlines()[-1] == "1 of 3 distinct requests would fare differently"


def test_tunnels_that_are_still_open_count_and_no_request_does_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    policies()
    write(
        [
            record("b.test:443", id="1", event="open"),
            record("b.test:443", id="2", event="open"),
            record("b.test:443", id="2"),
            record("/", kind="own", verdict=None),
            {**record("x:1"), "kind": None, "target": None, "method": None},
        ]
    )
    status, out, err = ran(capsys, *DIFF)
    assert (status, out[:22], err) == (1, "     2  allow -> deny ", "")


def test_lines_that_are_no_records_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    policies()
    lines = ["", "{", "[]", '{"event": "message", "id": "1"}']
    lines += [json.dumps(record("a.test:443", **more)) for more in ({"client": "me"}, {"user": 1})]
    lines += [json.dumps(record("a.test"))]
    write([record("a.test:443")], *lines)
    status, _, err = ran(capsys, *DIFF)
    assert (status, err) == (0, "7 of 8 lines are no access records\n")


@pytest.mark.parametrize("command", [DIFF, ("suggest", "access.log")])
def test_a_log_of_another_kind_is_refused(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    policies()
    status, out, err = ran(capsys, *command)
    assert (status, out, err) == (2, "", "access.log: cannot read: No such file or directory\n")
    write([], "1709553600.000 1 10.0.0.7 TCP_TUNNEL/200 1 CONNECT a.test:443 - HIER_NONE/- -")
    sentence = "access.log: no line is an access record in JSON; see logs.access.format\n"
    assert ran(capsys, *command) == (2, "", sentence)


def test_a_target_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    policies(new="policy: {default: deny}\n")
    write([record("a.test:443", user="a\x1b[31m")])
    assert " a\\x1b[31m CONNECT" in ran(capsys, *DIFF)[1]


def test_a_configuration_that_is_wrong_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    policies(new="policy: {defualt: deny}\n")
    write([record("a.test:443")])
    status, out, err = ran(capsys, *DIFF)
    assert (status, out) == (2, "")
    assert err.startswith("new.yaml:1:10: policy.defualt: unknown key")


# ---------------------------------------------------------------- suggest


def test_what_was_let_through_becomes_a_list_that_check_accepts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(
        [
            *[record(f"{name}.cdn.example:443") for name in "abcd"],
            record("http://a.test:80/x?…", would_deny=["default"]),
            record("ws://a.test:8080/", kind="upgrade"),
            record("git.test:22"),
            record("sock.test:80"),
            record("b.test:8443", tls={"alpn": []}),
            record("https://b.test:8443/", tunnel="1"),
            record("gone.test:443", error="dns_error"),
            record("no.test:443", verdict="deny"),
            record("no.test:443", verdict=None),
            record("10.0.0.1:443"),
        ],
        "x",
    )
    status, out, err = ran(capsys, "suggest", "access.log")
    assert (status, err) == (0, "1 of 15 lines are no access records\n")
    assert out.startswith(
        "# Proposed by 'wsproxy policy suggest' from 9 requests; read it well.\n"
        "# Left out: 1 that were refused, 1 that came to no decision.\n"
        "# Left out: 1 for names without an address.\n"
        "# Left out: 1 to literal addresses that are not public.\n"
        "policy:\n"
    )
    assert '          - "a.test"  # 1 requests, 1 of them would be denied\n' in out
    Path("new.yaml").write_text(out)
    assert main(["check", "--config", "new.yaml"]) == 0
    capsys.readouterr()
    status, out, _ = ran(capsys, "suggest", "access.log", "--json", "--at-least", "5")
    told = json.loads(out)
    assert (status, told["requests"], told["skipped_lines"]) == (0, 9, 1)
    assert told["left_out"] == {
        "denied": 1,
        "undecided": 1,
        "unknown_names": 1,
        "private_addresses": 1,
    }
    rules = {rule["name"]: [host["pattern"] for host in rule["hosts"]] for rule in told["rules"]}
    assert rules == {
        "https-443": [f"{name}.cdn.example" for name in "abcd"],
        "http-80": ["a.test"],
        "ws-8080": ["a.test"],
        "tcp-22": ["git.test"],
        "ws-80": ["sock.test"],
        "https-8443": ["b.test"],
    }


def test_by_user_it_is_accepted_beside_a_users_file(capsys: pytest.CaptureFixture[str]) -> None:
    write([record("a.test:443", user='al"i$ce'), record("b.test:443")])
    _, out, _ = ran(capsys, "suggest", "access.log", "--by", "user")
    Path("new.yaml").write_text(out)
    Path("users").touch(0o600)
    assert main(["check", "--config", "new.yaml"]) == 0
    capsys.readouterr()
    for user, status in ((["--user", 'al"i$ce'], 0), (["--user", "bob"], 1)):
        known = ["--resolve", f"a.test={ORIGIN}"]
        assert main(["explain", "--config", "new.yaml", *user, *known, "https://a.test/"]) == status
    capsys.readouterr()


def test_the_log_may_come_on_stdin(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = json.dumps(record("a.test:443")).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(line)))
    status, out, _ = ran(capsys, "suggest", "-")
    assert (status, '"a.test"' in out) == (0, True)


def test_real_records_of_a_policy_that_reports_become_one_that_lets_them_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(trio.run(real_records, tmp_path))
    status, out, err = ran(capsys, "suggest", "access.log")
    assert (status, err) == (0, "")
    Path("new.yaml").write_text(out)
    Path("enforced.yaml").write_text("policy: {default: deny}\n")
    against = ("--against", "access.log")
    assert ran(capsys, "diff", "enforced.yaml", "new.yaml", *against)[1].splitlines()[::3] == [
        "     1  deny -> allow  127.0.0.1 - CONNECT b.test:443",
        "     1  deny -> allow  127.0.0.1 - GET http://a.test:80/x?…",
        "2 of 3 distinct requests would fare differently",
    ]


async def real_records(folder: Path) -> list[dict[str, Any]]:
    """Of a request, a tunnel, and a request that is refused whatever rules say."""
    async with open_door(folder, "policy: {mode: report}\n") as door:
        door.network.names |= {name: [ORIGIN] for name in ("a.test", "b.test")}
        door.network.hosts = {(ORIGIN, 443): door.origin}
        for head in (
            b"GET http://a.test/x?secret HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET http://10.0.0.1/ HTTP/1.1\r\nHost: h\r\n\r\n",
            b"CONNECT b.test:443 HTTP/1.1\r\nHost: h\r\n\r\n",
        ):
            client = await door.client()
            await client.sends(head)
            await client.reads_until(b"\r\n\r\n")
            client.closes()
        (await door.origin.accept()).closes()
        await door.access(3)
        return [dict(one) for _event, one in door.all_records]
