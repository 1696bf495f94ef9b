"""The composition root: what a configuration becomes, and how the proxy starts and stops."""

from __future__ import annotations

import gc
import json
import logging
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.door import write_users
from wsproxy import app
from wsproxy.app import build, serve
from wsproxy.config.load import Config, default, load
from wsproxy.errors import ConfigError

OPEN = """
listeners: [{address: 127.0.0.1:0}]
policy: {default: allow, private_networks: [{hosts: ["*"], networks: [127.0.0.0/8]}]}
logs: {access: {to: access.log}}
"""
GUARD_S = 20


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


# ---------------------------------------------------------------- serve


@pytest.fixture
def process() -> Iterator[None]:
    """What `serve` changes for its process is put back; a late signal hurts nobody."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, lambda _number, _frame: None) for number in numbers]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    gc.unfreeze()
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def interrupt(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def run(config: Config, drive: Callable[[list[str]], None]) -> None:
    """Serves while `drive` runs in a thread; `drive` has to end it."""
    failures: list[BaseException] = []
    threads: list[threading.Thread] = []

    def work(urls: list[str]) -> None:
        try:
            drive(urls)
        except BaseException as error:
            failures.append(error)
            interrupt()
            interrupt()

    def announce(urls: list[str]) -> None:
        threads.append(threading.Thread(target=work, args=(urls,)))
        threads[0].start()

    serve(config, announce)
    threads[0].join(GUARD_S)
    for failure in failures:
        raise failure


def connect(url: str) -> socket.socket:
    host, _colon, port = url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), GUARD_S)


def ask(sock: socket.socket) -> bytes:
    sock.sendall(b"GET / HTTP/1.1\r\nHost: p\r\n\r\n")
    return sock.recv(65536)


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (folder / "access.log").read_bytes().splitlines()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("process")
def test_it_serves_until_a_signal_and_every_record_is_written(
    tmp_path: Path, number: signal.Signals
) -> None:
    before = len(os.listdir("/proc/self/fd"))

    def drive(urls: list[str]) -> None:
        (url,) = urls
        with connect(url) as sock:
            assert ask(sock).startswith(b"HTTP/1.1 200 ")
            interrupt(number)
            while sock.recv(65536):
                pass

    run(configure(tmp_path, OPEN), drive)
    (record,) = records(tmp_path)
    assert (record["kind"], record["status"]) == ("own", 200)
    assert record["time"].startswith("20")
    assert len(os.listdir("/proc/self/fd")) <= before + 1


@pytest.mark.usefixtures("process")
def test_every_listener_is_announced_and_serves(tmp_path: Path) -> None:
    text = OPEN.replace("{address: 127.0.0.1:0}", "{address: 127.0.0.1:0}, {address: '[::1]:0'}")

    def drive(urls: list[str]) -> None:
        assert [url.rpartition(":")[0] for url in urls] == ["http://127.0.0.1", "http://[::1]"]
        for url in urls:
            with connect(url) as sock:
                assert ask(sock).startswith(b"HTTP/1.1 200 ")
        interrupt()

    run(configure(tmp_path, text), drive)
    assert len(records(tmp_path)) == 2


@pytest.mark.usefixtures("process")
def test_it_does_not_forward_to_itself(tmp_path: Path) -> None:
    def drive(urls: list[str]) -> None:
        with connect(urls[0]) as sock:
            sock.sendall(b"GET %b/ HTTP/1.1\r\nHost: h\r\n\r\n" % urls[0].encode())
            assert b"the proxy itself" in sock.recv(65536)
        interrupt()

    run(configure(tmp_path, OPEN), drive)


@pytest.mark.usefixtures("process")
def test_a_hangup_is_survived(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def drive(urls: list[str]) -> None:
        interrupt(signal.SIGHUP)
        with connect(urls[0]) as sock:
            assert ask(sock).startswith(b"HTTP/1.1 200 ")
        interrupt()

    run(configure(tmp_path, OPEN), drive)
    messages = [entry.getMessage() for entry in caplog.records]
    assert any(message.startswith("SIGHUP: this version cannot reload") for message in messages)


def open_tunnel(url: str, target: socket.socket) -> tuple[socket.socket, socket.socket]:
    """A tunnel that has carried four octets; both outer ends."""
    client = connect(url)
    client.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: h\r\n\r\n" % target.getsockname()[1])
    assert client.recv(65536) == b"HTTP/1.1 200 Connection established\r\n\r\n"
    upstream, _name = target.accept()
    client.sendall(b"ping")
    assert upstream.recv(65536) == b"ping"
    return client, upstream


@pytest.mark.parametrize("how", ["deadline", "second signal"])
@pytest.mark.usefixtures("process")
def test_a_tunnel_outlives_the_first_signal_until_the_deadline_or_a_second(
    tmp_path: Path, how: str
) -> None:
    drain = "100ms" if how == "deadline" else "1h"

    def drive(urls: list[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as target:
            client, upstream = open_tunnel(urls[0], target)
            with client, upstream, connect(urls[0]) as idle:
                interrupt()
                assert idle.recv(1) == b"", "idle connections end at once"
                if how == "second signal":
                    client.sendall(b"more")
                    assert upstream.recv(65536) == b"more", "the tunnel still works"
                    with pytest.raises(ConnectionRefusedError):
                        connect(urls[0])
                    interrupt()
                assert client.recv(65536) == b""
                assert upstream.recv(65536) == b""

    run(configure(tmp_path, OPEN + f"timeouts: {{drain: {drain}}}\n"), drive)
    found = {(record["event"], record["kind"]): record for record in records(tmp_path)}
    assert set(found) == {("open", "connect"), ("access", None), ("access", "connect")}
    tunnel = found["access", "connect"]
    assert (tunnel["closed_by"], tunnel["reason"]) == ("proxy", "drained")
    assert tunnel["bytes_up"] == (4 if how == "deadline" else 8)
    assert found["access", None]["reason"] == "drained"


@pytest.mark.usefixtures("process")
def test_a_running_request_gets_its_answer_while_stopping(tmp_path: Path) -> None:
    def drive(urls: list[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as target, connect(urls[0]) as client:
            client.sendall(b"GET http://127.0.0.1:%d/ HTTP/1.0\r\n\r\n" % target.getsockname()[1])
            origin, _name = target.accept()
            with origin:
                origin.recv(65536)
                with connect(urls[0]) as idle:
                    interrupt()
                    assert idle.recv(1) == b""
                origin.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
                answer = b""
                while data := client.recv(65536):
                    answer += data
        assert answer.endswith(b"\r\n\r\nhi")

    run(configure(tmp_path, OPEN), drive)
    assert {record["status"] for record in records(tmp_path)} == {200, None}


@pytest.mark.usefixtures("process")
def test_nobody_has_to_want_records(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def drive(urls: list[str]) -> None:
        with connect(urls[0]) as sock:
            ask(sock)
        interrupt()

    run(configure(tmp_path, OPEN.replace("access.log", "none")), drive)
    assert capfd.readouterr().out == ""


def must_not_start(_urls: list[str]) -> None:
    raise AssertionError("it started")


@pytest.mark.usefixtures("process")
def test_a_busy_port_is_an_error_at_its_position_and_nothing_stays_bound(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy, socket.socket() as probe:
        port = busy.getsockname()[1]
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
        probe.close()
        text = f"listeners:\n  - address: 127.0.0.1:{free}\n  - address: 127.0.0.1:{port}\n"
        with pytest.raises(ConfigError) as caught:
            serve(configure(tmp_path, text + "logs: {access: {to: none}}\n"), must_not_start)
        assert str(caught.value) == (
            f"{tmp_path / 'c.yaml'}:3:14: listeners[1].address: "
            f"cannot listen on 127.0.0.1:{port}: Address already in use"
        )
        with socket.create_server(("127.0.0.1", free)):
            pass


@pytest.mark.usefixtures("process")
def test_a_log_that_cannot_be_opened_is_an_error_at_its_position(tmp_path: Path) -> None:
    (tmp_path / "access.log").mkdir()
    with pytest.raises(ConfigError) as caught:
        serve(configure(tmp_path, OPEN), must_not_start)
    assert ":4:21: logs.access.to: cannot be opened: " in str(caught.value)


# ---------------------------------------------------------------- descriptors


@pytest.mark.parametrize(
    ("hard", "asked", "affordable", "level"),
    [
        (256, "limits: {connections: 1000}", 96, logging.WARNING),
        (256, "", 96, logging.DEBUG),
        (100_000, "", 20_000, None),
        (resource.RLIM_INFINITY, "", 20_000, None),
        (4, "limits: {connections: 1000}", 1, logging.WARNING),
    ],
)
def test_the_limit_of_open_files_is_raised_and_bounds_the_connections(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    hard: int,
    asked: str,
    affordable: int,
    level: int | None,
) -> None:
    wanted: list[tuple[int, int]] = []
    fake = SimpleNamespace(
        RLIMIT_NOFILE=resource.RLIMIT_NOFILE,
        RLIM_INFINITY=resource.RLIM_INFINITY,
        getrlimit=lambda _which: (64 if hard > 64 or hard < 0 else hard, hard),
        setrlimit=lambda _which, limits: wanted.append(limits),
    )
    monkeypatch.setattr(app, "resource", fake)
    caplog.set_level(logging.DEBUG, "wsproxy")
    config = configure(tmp_path, asked) if asked else default()
    assert app._affordable_connections(config) == affordable
    app._warn_of_few_descriptors(config, affordable)
    assert [entry.levelno for entry in caplog.records] == ([level] if level else [])
    if hard == 4:
        assert wanted == []
    else:
        (raised,) = wanted
        assert raised[0] == raised[1] >= 256
