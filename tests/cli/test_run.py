"""``wsproxy run``: what is loaded, what is printed, and how it ends."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.proxy_process import OPEN_TO_LOOPBACK, PROJECT_ROOT, start_proxy
from wsproxy.cli import main
from wsproxy.config.load import Config


class Served:
    """Stands in for `serve`: notes what it was given, and announces."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *urls: str) -> None:
        self.configs: list[Config] = []
        self._urls = list(urls)
        monkeypatch.setattr(sys.modules["wsproxy.cli.run"], "serve", self)

    def __call__(self, config: Config, announce: object, *, reread: object) -> None:
        assert callable(announce)
        assert callable(reread)
        assert reread().settings == config.settings
        self.configs.append(config)
        announce(self._urls)


@pytest.mark.parametrize(
    ("urls", "shown"),
    [
        (["http://127.0.0.1:8080"], "http://127.0.0.1:8080"),
        (["http://0.0.0.0:3128", "http://[::1]:81"], "http://127.0.0.1:3128"),
        (["http://[::]:3128"], "http://[::1]:3128"),
    ],
)
def test_the_first_lines_say_where_it_listens_and_what_to_try(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    urls: list[str],
    shown: str,
) -> None:
    Served(monkeypatch, *urls)
    assert main(["run"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        *(f"wsproxy listening on {url}" for url in urls),
        f"try: curl --proxy {shown} https://example.com/",
    ]


def test_without_a_file_the_embedded_default_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    served = Served(monkeypatch, "http://127.0.0.1:8080")
    assert main(["run"]) == 0
    (config,) = served.configs
    assert [str(listener.address) for listener in config.settings.listeners] == ["127.0.0.1:8080"]


def test_a_file_and_another_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    served = Served(monkeypatch, "http://127.0.0.1:1")
    file = tmp_path / "c.yaml"
    file.write_text("policy: {default: allow}\nlogs: {level: error}\n")
    assert main(["run", "--config", str(file), "--listen", "127.0.0.1:4000"]) == 0
    (config,) = served.configs
    assert config.settings.policy.default == "allow"
    assert [str(listener.address) for listener in config.settings.listeners] == ["127.0.0.1:4000"]


@pytest.mark.parametrize(
    ("text", "arguments", "line"),
    [
        ("listner: []", [], "c.yaml:1:1: listner: unknown key"),
        ("policy: {default: allow}", ["--listen", "nowhere"], "--listen: "),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    text: str,
    arguments: list[str],
    line: str,
) -> None:
    served = Served(monkeypatch)
    (tmp_path / "c.yaml").write_text(text)
    assert main(["run", "--config", str(tmp_path / "c.yaml"), *arguments]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert line in error
    assert served.configs == []


def test_a_real_process_serves_and_ends_with_status_0(tmp_path: Path) -> None:
    with start_proxy(OPEN_TO_LOOPBACK, tmp_path) as proxy:
        with socket.create_connection(proxy.address, 10) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert sock.recv(4096).startswith(b"HTTP/1.1 200 ")
        (record,) = proxy.wait_records(1)
        assert record["kind"] == "own"
        assert proxy.terminate() == 0
        assert f"try: curl --proxy {proxy.url} https://example.com/" in proxy.stderr
        assert "Traceback" not in proxy.stderr


def test_a_busy_port_ends_a_real_process_with_status_2_and_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-m", "wsproxy", "run", "--listen", address],
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert f"cannot listen on {address}: Address already in use" in line
