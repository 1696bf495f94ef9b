"""``wsproxy health``: whether a proxy answers, by exit status."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.doorkeeper import Doorkeeper
from tests.support.proxy_process import OPEN_TO_LOOPBACK, start_proxy
from wsproxy.cli import main


@contextmanager
def listener(answer: bytes | None) -> Iterator[int]:
    """A port where one connection is taken; `answer` None: it never answers."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            sock, _name = server.accept()
            with sock:
                sock.recv(4096)
                if answer is None:
                    done.wait(10)
                else:
                    sock.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            done.set()
            thread.join(10)


def ask(
    folder: Path, capsys: pytest.CaptureFixture[str], address: str, *arguments: str
) -> tuple[int, str, str]:
    """Exit status, stdout and stderr."""
    file = folder / "c.yaml"
    file.write_text(f"listeners: [{{address: '{address}'}}]\n")
    try:
        status = main(["health", "--config", str(file), *arguments])
    except SystemExit as exit_:
        status = int(str(exit_.code))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_proxy_that_answers_is_healthy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    with start_proxy(OPEN_TO_LOOPBACK, tmp_path) as proxy:
        address = f"{host}:{proxy.port}"
        assert ask(tmp_path, capsys, address) == (0, f"wsproxy at {address} answers\n", "")


@pytest.mark.parametrize("asks", [False, True])
def test_a_proxy_that_answers_over_tls_is_healthy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, asks: bool
) -> None:
    keeper = Doorkeeper(tmp_path)
    config = OPEN_TO_LOOPBACK.replace("- address: 127.0.0.1:0", "- " + keeper.listener(asks=asks))
    with start_proxy(config, tmp_path) as proxy:
        assert proxy.stderr.startswith("wsproxy listening on https://127.0.0.1:")
        address = f"127.0.0.1:{proxy.port}"
        file = tmp_path / "c.yaml"
        file.write_text(f"listeners: [{keeper.listener(address=address, asks=asks)}]\n")
        assert main(["health", "--config", str(file)]) == 0
        assert capsys.readouterr().out == f"wsproxy at {address} answers\n"


def test_a_listener_that_asks_for_nothing_is_asked_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keeper = Doorkeeper(tmp_path)
    with start_proxy(OPEN_TO_LOOPBACK, tmp_path) as proxy:
        plain = f"127.0.0.1:{proxy.port}"
        file = tmp_path / "c.yaml"
        file.write_text(f"listeners: [{keeper.listener()}, {{address: '{plain}'}}]\n")
        assert main(["health", "--config", str(file)]) == 0
        assert plain in capsys.readouterr().out


def test_a_proxy_that_answers_balancers_is_healthy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trusting = "127.0.0.1:0\n    proxy_protocol: {trust: [127.0.0.0/8]}"
    with start_proxy(OPEN_TO_LOOPBACK.replace("127.0.0.1:0", trusting), tmp_path) as proxy:
        file = tmp_path / "c.yaml"
        address = f"127.0.0.1:{proxy.port}"
        file.write_text(
            f"listeners: [{{address: '{address}', proxy_protocol: {{trust: 127.0.0.1}}}}]"
        )
        assert main(["health", "--config", str(file)]) == 0
        assert capsys.readouterr().out == f"wsproxy at {address} answers\n"


def test_plain_http_where_tls_should_be_is_unhealthy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keeper = Doorkeeper(tmp_path)
    with start_proxy(OPEN_TO_LOOPBACK, tmp_path) as proxy:
        file = tmp_path / "c.yaml"
        address = f"127.0.0.1:{proxy.port}"
        file.write_text(f"listeners: [{keeper.listener(address=address)}]\n")
        with pytest.raises(SystemExit):
            main(["health", "--config", str(file)])
        assert "does not answer" in capsys.readouterr().err


def test_a_wildcard_of_ipv6_is_asked_on_its_loopback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with start_proxy(OPEN_TO_LOOPBACK.replace("127.0.0.1:0", "'[::]:0'"), tmp_path) as proxy:
        status, _out, _err = ask(tmp_path, capsys, f"[::]:{proxy.port}")
        assert status == 0


@pytest.mark.parametrize("answer", [b"HTTP/1.1 503 Full\r\n\r\n", b"SSH-2.0-x\r\n", b""])
def test_another_answer_is_unhealthy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: bytes
) -> None:
    with listener(answer) as port:
        status, out, err = ask(tmp_path, capsys, f"127.0.0.1:{port}")
    assert (status, out) == (1, "")
    assert err == f"wsproxy at 127.0.0.1:{port} does not answer: it answers something else\n"


def test_silence_is_unhealthy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with listener(None) as port:
        status, _out, err = ask(tmp_path, capsys, f"127.0.0.1:{port}", "--timeout", "0.05")
    assert (status, err) == (
        1,
        f"wsproxy at 127.0.0.1:{port} does not answer: timed out\n",
    )


def test_nobody_there_is_unhealthy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        status, _out, err = ask(tmp_path, capsys, f"127.0.0.1:{port}")
    assert (status, err) == (
        1,
        f"wsproxy at 127.0.0.1:{port} does not answer: Connection refused\n",
    )


def test_a_wrong_file_is_bad_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["health", "--config", str(tmp_path / "none.yaml")]) == 2
    assert "cannot read the file" in capsys.readouterr().err
