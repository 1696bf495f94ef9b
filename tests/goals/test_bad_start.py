"""Goal G21: what cannot start says so in one line that names file, line and key, and ends.

Whoever starts it sees nothing else: no half of a proxy, no traceback, nothing on stdout.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.proxy_process import PROJECT_ROOT

GUARD_S = 20.0
SECRET = "hunter2"
LISTEN = "listeners: [{address: 127.0.0.1:0}]\n"
FEW = "limits: {connections: 100}\n"
"""Last in each file that gets as far as that: what the descriptors here allow is another matter."""


@dataclass(frozen=True, slots=True)
class Bad:
    """A configuration that must not start.

    Attributes:
        name: of the case.
        config: text of the file; ``{port}`` becomes a port somebody listens on.
        line: on which the complaint must point; 0 when it is about the whole file.
        key: it must name.
        says: what else must be in the line.
    """

    name: str
    config: str
    line: int
    key: str
    says: str = ""


CASES = [
    Bad("unknown key", LISTEN + "polici: {default: allow}\n", 2, "polici", "policy"),
    Bad("unknown inner key", LISTEN + "policy:\n  defualt: allow\n", 3, "policy.defualt"),
    Bad("wrong type", LISTEN + "limits:\n  connections: many\n", 3, "limits.connections"),
    Bad("wrong word", LISTEN + "policy: {default: maybe}\n", 2, "policy.default"),
    Bad("wrong duration", LISTEN + "timeouts: {idle: 5 parsecs}\n", 2, "timeouts.idle"),
    Bad("key twice", LISTEN + "logs: {level: info}\nlogs: {level: debug}\n", 3, "logs"),
    Bad("a part that is not there yet", LISTEN + "workers: 4\n", 2, "workers"),
    Bad("no YAML", LISTEN + "policy: [\n", 2, ""),
    Bad("an anchor", LISTEN + "policy:\n  rules: &a [*a, *a]\n", 3, "policy.rules"),
    Bad("unset variable", LISTEN + "logs:\n  level: ${NOBODY_SETS_THIS}\n", 3, "logs.level"),
    Bad("no listener", "listeners: []\n", 1, "listeners"),
    Bad("port out of range", "listeners:\n- address: 127.0.0.1:65536\n", 2, "listeners[0].address"),
    Bad("a name to listen on", "listeners:\n- address: proxy:80\n", 2, "listeners[0].address"),
    Bad("busy port", "listeners:\n- address: 127.0.0.1:{port}\n", 2, "listeners[0].address", "use"),
    Bad(
        "busy second port",
        "listeners:\n- address: 127.0.0.1:0\n- address: 127.0.0.1:{port}\n",
        3,
        "listeners[1].address",
        "use",
    ),
    Bad(
        "an address of somebody else",
        "listeners:\n- address: 192.0.2.1:8080\n",
        2,
        "listeners[0].address",
    ),
    Bad(
        "bad host pattern",
        LISTEN + "policy:\n  rules:\n  - {when: {hosts: ['a..b']}, action: deny}\n",
        4,
        "policy.rules[0].when",
    ),
    Bad(
        "bad network",
        LISTEN + "policy:\n  private_networks:\n  - {hosts: ['*'], networks: [10.0.0.0/99]}\n",
        4,
        "policy.private_networks[0].networks",
    ),
    Bad(
        "no action",
        LISTEN + "policy:\n  rules:\n  - name: x\n    when: {ports: [80]}\n",
        4,
        "policy.rules[0].action",
    ),
    Bad(
        "no users file",
        LISTEN + "auth:\n  methods:\n  - {type: basic, users: absent}\n",
        4,
        "users",
    ),
    Bad("users folder", LISTEN + "auth:\n  methods:\n  - {type: basic, users: .}\n", 4, "users"),
    Bad(
        "unreadable users file",
        LISTEN + "auth:\n  methods:\n  - {type: basic, users: unreadable}\n",
        4,
        "users",
        "ermission",
    ),
    Bad(
        "unreadable secret",
        LISTEN + "auth:\n  realm: !file unreadable\n",
        3,
        "auth.realm",
        "ermission",
    ),
    Bad("no log folder", LISTEN + "logs:\n  access: {to: absent/a.log}\n", 3, "logs.access.to"),
    Bad("a log that is a folder", LISTEN + "logs:\n  access: {to: .}\n", 3, "logs.access.to"),
    Bad(
        "a log folder that is a file",
        LISTEN + "logs:\n  access: {to: wsproxy.yaml/a.log}\n",
        3,
        "logs.access.to",
    ),
    Bad(
        "a log nobody may write",
        LISTEN + "logs:\n  access: {to: locked/a.log}\n",
        3,
        "logs.access.to",
    ),
]


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the configuration stands, with things in it that nobody may use."""
    (tmp_path / "unreadable").write_text(SECRET)
    (tmp_path / "unreadable").chmod(0o000)
    (tmp_path / "locked").mkdir(mode=0o500)
    yield tmp_path
    (tmp_path / "locked").chmod(0o700)


def run(*arguments: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """`wsproxy run` to its end, without root's privilege to ignore permissions."""
    command = [sys.executable, "-m", "wsproxy", "run", *arguments]
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    environment = {k: v for k, v in os.environ.items() if k != "NOBODY_SETS_THIS"}
    began = time.monotonic()
    done = subprocess.run(
        command,
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        check=False,
    )
    return done, time.monotonic() - began


def the_one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("bad", CASES, ids=lambda bad: bad.name)
def test_a_bad_configuration_is_one_line_and_the_end(
    bad: Bad, folder: Path, busy_port: int
) -> None:
    file = folder / "wsproxy.yaml"
    config = bad.config.replace("{port}", str(busy_port))
    file.write_text(config if "limits" in config else config + FEW)
    done, seconds = run("--config", str(file))
    line = the_one_line(done)
    print(f"G21 {bad.name}: {seconds:.2f} s: {line.replace(str(folder), '…')}")
    match = re.match(rf"{re.escape(str(file))}:(\d+):(\d+): (.*)", line)
    assert match is not None, line
    assert int(match[1]) == bad.line, line
    assert bad.key in match[3].partition(": ")[0], line
    assert bad.says in match[3], line
    assert SECRET not in line


@pytest.mark.parametrize(
    ("file", "reason"),
    [("absent.yaml", "No such file"), (".", "directory"), ("unreadable", "Permission denied")],
)
def test_a_configuration_that_cannot_be_read_is_named(folder: Path, file: str, reason: str) -> None:
    done, seconds = run("--config", str(folder / file))
    line = the_one_line(done)
    print(f"G21 {file}: {seconds:.2f} s: {line.replace(str(folder), '…')}")
    assert str(folder / file) in line
    assert reason in line


def test_a_users_file_with_a_bad_line_is_named_with_that_line(folder: Path) -> None:
    (folder / "users").write_text("# staff\nalice:not-a-hash\n")
    config = folder / "wsproxy.yaml"
    config.write_text(LISTEN + FEW + "auth: {methods: [{type: basic, users: users}]}\n")
    line = the_one_line(run("--config", str(config))[0])
    assert line.startswith(f"{folder / 'users'}:2"), line
    assert "not-a-hash" not in line


@pytest.mark.parametrize("listen", ["nowhere", "127.0.0.1", "127.0.0.1:99999", ":0:0"])
def test_a_bad_listen_option_names_itself(listen: str) -> None:
    line = the_one_line(run("--listen", listen)[0])
    assert line.startswith("--listen: "), line
    assert listen in line


def test_a_busy_port_of_the_listen_option_is_named(busy_port: int, folder: Path) -> None:
    file = folder / "wsproxy.yaml"
    file.write_text(LISTEN + FEW)
    line = the_one_line(run("--config", str(file), "--listen", f"127.0.0.1:{busy_port}")[0])
    assert f"cannot listen on 127.0.0.1:{busy_port}" in line
    assert "in use" in line
