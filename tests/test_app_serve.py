"""The running proxy: how it starts, takes another configuration, and stops."""

from __future__ import annotations

import gc
import json
import logging
import os
import queue
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from joserfc.jwk import ECKey, KeySet

from tests.support.door import credentials, write_users
from wsproxy import app_serve
from wsproxy.app_serve import serve
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


def run(
    config: Config,
    drive: Callable[[list[str]], None],
    *,
    reread: Callable[[], Config] | None = None,
) -> None:
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

    serve(config, announce, reread=reread)
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


def open_tunnel(
    url: str, target: socket.socket, fields: bytes = b""
) -> tuple[socket.socket, socket.socket]:
    """A tunnel that has carried four octets; both outer ends."""
    client = connect(url)
    port = target.getsockname()[1]
    client.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: h\r\n%b\r\n" % (port, fields))
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


# ---------------------------------------------------------------- reload


class Heard(logging.Handler):
    """Takes what the log says, for a test to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: queue.Queue[str] = queue.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.put(record.getMessage())

    def until(self, start: str) -> list[str]:
        """All lines up to one that begins with `start`."""
        lines: list[str] = []
        while not lines or not lines[-1].startswith(start):
            lines.append(self._lines.get(timeout=GUARD_S))
        return lines


@pytest.fixture
def heard(process: None) -> Iterator[Heard]:
    handler = Heard()
    logger = logging.getLogger("wsproxy")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)


class Reloading:
    """A proxy whose configuration file changes."""

    def __init__(self, folder: Path, heard: Heard, text: str = OPEN) -> None:
        self.folder, self.heard, self.text = folder, heard, text

    def serve(self, drive: Callable[[list[str]], None]) -> None:
        def reread() -> Config:
            return load(self.folder / "c.yaml")

        run(configure(self.folder, self.text), drive, reread=reread)

    def reload(self, text: str, outcome: str = "reloaded: ") -> list[str]:
        (self.folder / "c.yaml").write_text(text)
        interrupt(signal.SIGHUP)
        return self.heard.until(outcome)


@pytest.fixture
def reloading(tmp_path: Path, heard: Heard) -> Reloading:
    return Reloading(tmp_path, heard)


DENIED = OPEN.replace("default: allow", "default: deny")
SAME = "reload: nothing has changed; "


def test_a_reload_holds_for_what_comes_and_for_what_goes_on(reloading: Reloading) -> None:
    def drive(urls: list[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as target:
            client, upstream = open_tunnel(urls[0], target)
            with client, upstream:
                (line,) = reloading.reload(OPEN)
                assert line.endswith(
                    "holds now; 0 of 1 sessions under way are not allowed by it and end"
                )
                client.sendall(b"more")
                assert upstream.recv(65536) == b"more"
                (line,) = reloading.reload(DENIED)
                assert line.endswith(
                    "holds now; 1 of 1 sessions under way are not allowed by it and end"
                )
                assert (client.recv(1), upstream.recv(1)) == (b"", b"")
            with connect(urls[0]) as late:
                late.sendall(
                    b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: h\r\n\r\n" % target.getsockname()[1]
                )
                assert late.recv(65536).startswith(b"HTTP/1.1 403 ")
        interrupt()

    reloading.serve(drive)
    *_, tunnel, refused = records(reloading.folder)
    assert (tunnel["reason"], tunnel["rule"], tunnel["verdict"]) == ("revoked", "default", "deny")
    assert refused["status"] == 403


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("listners: []\n", "reload: {file}:1:1: listners: unknown key"),
        ("policy: [\n", "reload: {file}:2:1: "),
        (OPEN + "auth: {methods: [{type: basic, users: none}]}\n", "reload: "),
        (
            OPEN.replace("access.log", "none"),
            "reload: {file}:4:21: logs.access.to: a reload cannot",
        ),
    ],
)
def test_what_cannot_be_used_changes_nothing(reloading: Reloading, text: str, told: str) -> None:
    def drive(urls: list[str]) -> None:
        first, *_, last = reloading.reload(text, SAME)
        assert first.startswith(told.format(file=reloading.folder / "c.yaml"))
        assert last == f"{SAME}{reloading.folder / 'c.yaml'} holds as it was"
        with connect(urls[0]) as sock:
            assert ask(sock).startswith(b"HTTP/1.1 200 ")
        reloading.reload(OPEN)
        interrupt()

    reloading.serve(drive)


def test_a_reload_that_does_not_come_to_its_end_keeps_nobody_from_stopping(
    tmp_path: Path, heard: Heard
) -> None:
    reading, stopped = threading.Event(), threading.Event()
    in_time: list[bool] = []

    def reread() -> Config:
        reading.set()
        in_time.append(stopped.wait(GUARD_S))
        return configure(tmp_path, OPEN)

    def drive(_urls: list[str]) -> None:
        interrupt(signal.SIGHUP)
        assert reading.wait(GUARD_S)
        interrupt()

    try:
        run(configure(tmp_path, OPEN), drive, reread=reread)
        assert in_time == [], "it has not waited for the reload"
    finally:
        stopped.set()


def test_listeners_are_exchanged_and_their_connections_stay(reloading: Reloading) -> None:
    def drive(urls: list[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as target, socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            probe.close()
            client, upstream = open_tunnel(urls[0], target)
            with client, upstream:
                reloading.reload(OPEN.replace("127.0.0.1:0}", f"127.0.0.1:{port}}}"))
                with pytest.raises(ConnectionRefusedError):
                    connect(urls[0])
                with connect(f"http://127.0.0.1:{port}") as sock:
                    assert ask(sock).startswith(b"HTTP/1.1 200 ")
                    sock.sendall(b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nHost: h\r\n\r\n" % port)
                    assert b"the proxy itself" in sock.recv(65536)
                client.sendall(b"more")
                assert upstream.recv(65536) == b"more"
        interrupt()

    reloading.serve(drive)


def test_a_port_that_is_taken_changes_nothing(reloading: Reloading) -> None:
    def drive(urls: list[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as busy:
            port = busy.getsockname()[1]
            text = DENIED.replace(
                "}]", f"}}, {{address: 127.0.0.1:0}}, {{address: 127.0.0.1:{port}}}]", 1
            )
            first, *_ = reloading.reload(text, SAME)
            assert f"cannot listen on 127.0.0.1:{port}" in first
        with connect(urls[0]) as sock:
            sock.sendall(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: h\r\n\r\n")
            assert sock.recv(65536).startswith(b"HTTP/1.1 502 ")
        interrupt()

    reloading.serve(drive)


def test_a_user_who_is_taken_out_of_the_file_is_gone_without_a_signal(
    tmp_path: Path, heard: Heard
) -> None:
    users = "auth: {methods: [{type: basic, users: users}]}\n"
    write_users(tmp_path, alice="secret", bob="secret")
    alices, bobs = (tmp_path / "users").read_text().splitlines()
    reloading = Reloading(tmp_path, heard, OPEN + users)

    def drive(urls: list[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as target:
            alice, _one = open_tunnel(urls[0], target, credentials("alice", "secret"))
            bob, two = open_tunnel(urls[0], target, credentials("bob", "secret"))
            with alice, bob, _one, two:
                # As `wsproxy passwd` and editors write: whole, in place of the old one.
                (tmp_path / "new").write_text(bobs + "\n")
                (tmp_path / "new").rename(tmp_path / "users")
                heard.until("reloaded: ")
                assert alice.recv(1) == b""
                bob.sendall(b"still")
                assert two.recv(65536) == b"still"
                (tmp_path / "users").write_text("neither name nor hash\n")
                assert "users:1" in heard.until(SAME)[0]
                (tmp_path / "users").write_text(f"{alices}\n{bobs}\n")
                assert "; 0 of 1 " in heard.until("reloaded: ")[-1]
        interrupt()

    reloading.serve(drive)
    revoked = [one["user"] for one in records(tmp_path) if one["reason"] == "revoked"]
    assert revoked == ["alice"]


def test_a_fault_while_it_is_built_changes_nothing(
    reloading: Reloading, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drive(urls: list[str]) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(app_serve, "build", None)
            reloading.reload(DENIED, "reload: a fault of ours")
        with connect(urls[0]) as sock:
            assert ask(sock).startswith(b"HTTP/1.1 200 ")
        reloading.reload(OPEN)
        interrupt()

    reloading.serve(drive)


def test_services_go_on_with_what_they_serve(tmp_path: Path, heard: Heard) -> None:
    keys = KeySet([ECKey.generate_key("P-256", {"kid": "k"})])
    (tmp_path / "jwks").write_text(json.dumps(keys.as_dict(private=False)))
    bearer = "auth: {methods: [{type: bearer, jwks: jwks, issuer: i, audience: %s}]}\n"
    reloading = Reloading(tmp_path, heard, OPEN + bearer % "a")
    running: list[set[object]] = []
    original = app_serve._Server._run_services

    def note(self: app_serve._Server, nursery: object) -> None:
        original(self, nursery)  # type: ignore[arg-type]
        running.append(set(self._services))

    def drive(_urls: list[str]) -> None:
        reloading.reload(OPEN + bearer % "a")
        reloading.reload(OPEN + bearer % "b")
        reloading.reload(OPEN)
        interrupt()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app_serve._Server, "_run_services", note)
        reloading.serve(drive)
    first, same, other, none = running
    assert first == same
    assert [len(each) for each in running] == [1, 1, 1, 0]
    assert first != other != none


@pytest.mark.usefixtures("process")
def test_without_a_file_there_is_nothing_else_to_read(tmp_path: Path, heard: Heard) -> None:
    def drive(urls: list[str]) -> None:
        interrupt(signal.SIGHUP)
        heard.until("reloaded: ")
        with connect(urls[0]) as sock:
            assert ask(sock).startswith(b"HTTP/1.1 200 ")
        interrupt()

    run(configure(tmp_path, OPEN), drive)


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
    monkeypatch.setattr(app_serve, "resource", fake)
    caplog.set_level(logging.DEBUG, "wsproxy")
    config = configure(tmp_path, asked) if asked else default()
    assert app_serve._affordable_connections(config) == affordable
    app_serve._warn_of_few_descriptors(config)
    assert [entry.levelno for entry in caplog.records] == ([level] if level else [])
    if hard == 4:
        assert wanted == []
    else:
        assert {raised[0] == raised[1] >= 256 for raised in wanted} == {True}
