"""The client programs, each run as a user would run it, and what they tell afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.support.proxy_process import PROJECT_ROOT

from .wire import fields

PATIENCE_S = 45.0
"""How long one client program may take, its own start included."""

NODE = Path(__file__).parent / "node"
JAVA = Path(__file__).parent / "java"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user's name and password."""

    user: str
    password: str

    def in_url(self, url: str) -> str:
        """`url` with these credentials before its host, percent-encoded."""
        scheme, _, rest = url.partition("://")
        return f"{scheme}://{quote(self.user, safe='')}:{quote(self.password, safe='')}@{rest}"

    def basic(self) -> str:
        """The value of a ``Proxy-Authorization`` field."""
        return "Basic " + b64encode(f"{self.user}:{self.password}".encode()).decode()


def environment(home: Path) -> dict[str, str]:
    """No proxy variable and no start-up file of the machine reaches a client."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Fetched:
    """One transfer of curl.

    Attributes:
        exit_code: curl's.
        status: of the final response; 0 when there was none.
        connect_status: of the last answer to CONNECT; 0 when there was none.
        heads: every response head received, in order, CONNECT's included.
        body: of the final response.
        client: ``address:port`` of curl's end of the connection.
        connections: how many new ones the transfer opened.
    """

    exit_code: int
    status: int
    connect_status: int
    heads: list[bytes]
    body: bytes
    client: str
    connections: int

    @property
    def fields(self) -> dict[bytes, bytes]:
        """Fields of the last response head."""
        return fields(self.heads[-1])


def curl_each(home: Path, proxy: str, *arguments: str) -> list[Fetched]:
    """Runs curl through `proxy`; one result for each URL among `arguments`.

    The heads and the body of all transfers are on the last result.
    """
    head_file, body_file = home / "curl.head", home / "curl.body"
    for file in (head_file, body_file):
        file.write_bytes(b"")
    command = [
        *("curl", "-q", "--silent", "--max-time", "40", "--noproxy", "", "--proxy", proxy),
        *("--dump-header", str(head_file), "--write-out", "%{stderr}%{json}\n"),
        *arguments,
    ]
    with body_file.open("wb") as body:
        outcome = subprocess.run(
            command,
            env=environment(home),
            stdin=subprocess.DEVNULL,
            stdout=body,
            stderr=subprocess.PIPE,
            timeout=PATIENCE_S,
            check=False,
        )
    heads = [part + b"\r\n\r\n" for part in head_file.read_bytes().split(b"\r\n\r\n") if part]
    told = [json.loads(line) for line in outcome.stderr.splitlines() if line.startswith(b"{")]
    assert told, outcome.stderr.decode()
    content = body_file.read_bytes()
    body_file.unlink()
    return [
        Fetched(
            exit_code=outcome.returncode,
            status=one["http_code"],
            connect_status=one["http_connect"],
            heads=heads,
            body=content,
            client=f"{one['local_ip']}:{one['local_port']}",
            connections=one["num_connects"],
        )
        for one in told
    ]


def curl(home: Path, proxy: str, *arguments: str) -> Fetched:
    """Runs curl through `proxy` for the one URL among `arguments`."""
    (fetched,) = curl_each(home, proxy, *arguments)
    return fetched


def node(home: Path, **task: Any) -> dict[str, Any]:
    """Runs ``node/client.js`` and returns its result; the task is described there."""
    return run_node(home, "client.js", **task)


def run_node(home: Path, script: str, **task: Any) -> dict[str, Any]:
    """Runs a script of ``node/`` and returns its result; the task is described there."""
    outcome = subprocess.run(
        ["node", script, json.dumps(task)],
        cwd=NODE,
        env=environment(home),
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr.decode()
    (line,) = outcome.stdout.splitlines()
    result: dict[str, Any] = json.loads(line)
    return result


@dataclass(frozen=True, slots=True)
class Java:
    """The compiled client of ``java/Client.java``.

    Attributes:
        classes: folder of its class files.
        authority: PEM file it trusts.
    """

    classes: Path
    authority: Path

    def run(
        self,
        mode: str,
        url: str,
        *,
        proxy_port: int,
        proxy_host: str = "127.0.0.1",
        credentials: Credentials | None = None,
        bytes_up: int = 0,
        properties: Sequence[str] = ("jdk.http.auth.tunneling.disabledSchemes=",),
        env: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """One exchange; the errors of a chain are joined with `` <- ``.

        Args:
            mode: see ``Client.java``.
            url: of the origin.
            proxy_port: where the proxy is.
            proxy_host: its name.
            credentials: for it.
            bytes_up: size of what is sent.
            properties: of the virtual machine.
            env: added to its environment.
        """
        arguments: Sequence[str] = [
            *("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"),
            *("-Dfile.encoding=UTF-8", *(f"-D{one}" for one in properties)),
            *("-cp", str(self.classes), "Client", mode, url, str(bytes_up)),
            *(proxy_host, str(proxy_port), str(self.authority)),
            *([credentials.user, credentials.password] if credentials else []),
        ]
        outcome = subprocess.run(
            arguments,
            env=environment(self.classes) | dict(env or {}),
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert outcome.returncode == 0, outcome.stderr.decode()
        told: dict[str, str] = {}
        for line in outcome.stdout.decode().splitlines():
            key, _, value = line.partition("=")
            told[key] = f"{told[key]} <- {value}" if key in told else value
        return told


def compile_java(classes: Path, authority: Path) -> Java:
    """Compiles the Java client into `classes`."""
    subprocess.run(
        ["javac", "-encoding", "UTF-8", "-d", str(classes), str(JAVA / "Client.java")],
        env=environment(classes),
        check=True,
        timeout=2 * PATIENCE_S,
    )
    return Java(classes, authority)


def install_node_packages() -> None:
    """The packages of ``node/package-lock.json``, unless exactly those are there already."""
    wanted = (NODE / "package-lock.json").read_bytes()
    stamp = NODE / "node_modules" / ".installed-for"
    if stamp.exists() and stamp.read_bytes() == wanted:
        return
    subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"],
        cwd=NODE,
        check=True,
        capture_output=True,
        timeout=120,
    )
    stamp.write_bytes(wanted)


def run_ca(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs ``wsproxy ca`` as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "wsproxy", "ca", *map(str, arguments)],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def make_ca(folder: Path) -> str:
    """``wsproxy ca init``; returns what it says."""
    done = run_ca("init", folder)
    assert done.returncode == 0, done.stderr
    return done.stdout
