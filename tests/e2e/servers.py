"""Servers whose WebSockets are looked into: MQTT, Socket.IO, JSON-RPC and Jupyter.

Each runs on loopback for one test, on a port that was free, with everything it
writes below the directory it is given.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from jsonrpc import (  # type: ignore[import-untyped]  # json-rpc has no types
    Dispatcher,
    JSONRPCResponseManager,
)
from websockets.sync.server import ServerConnection, serve

from tests.support.programs import free_port, wait_listening

from .clients import NODE
from .origins import served
from .wire import PATIENCE_S

# Mosquitto 2.0 does not start with a listener for WebSockets only: it has another one, on a
# socket file (issues 1924 and 2284 of eclipse-mosquitto/mosquitto).
_MOSQUITTO = """
listener 0 {directory}/mqtt.sock
listener {port} 127.0.0.1
protocol websockets
socket_domain ipv4
allow_anonymous true
persistence false
log_dest file {directory}/mosquitto.log
user {user}
"""


@contextlib.contextmanager
def _running(process: subprocess.Popen[bytes], port: int) -> Iterator[None]:
    try:
        wait_listening(port, process)
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@contextlib.contextmanager
def run_mosquitto(directory: Path) -> Iterator[int]:
    """Debian's Mosquitto with MQTT over WebSocket; yields its port."""
    port = free_port()
    configuration = directory / "mosquitto.conf"
    # Started as root it would drop to an account that cannot enter pytest's private folders.
    user = "root" if os.geteuid() == 0 else "mosquitto"
    configuration.write_text(_MOSQUITTO.format(port=port, directory=directory, user=user))
    process = subprocess.Popen(["/usr/sbin/mosquitto", "-c", str(configuration)])
    with _running(process, port):
        yield port


@contextlib.contextmanager
def run_socket_io() -> Iterator[int]:
    """``node/socketio-server.js``; yields the port it says it listens on."""
    process = subprocess.Popen(
        ["node", "socketio-server.js"], cwd=NODE, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process, process.stdin:  # it ends when its input does
        line = process.stdout.readline()
        assert line, "the Socket.IO server did not start"
        yield int(line)


def _procedures() -> Dispatcher:
    procedures = Dispatcher()
    procedures.add_method(lambda a, b: a + b, name="add")
    procedures.add_method(lambda name: f"Grüß Gott, {name}", name="greet")
    return procedures


@contextlib.contextmanager
def run_json_rpc() -> Iterator[int]:
    """JSON-RPC 2.0 with the procedures ``add`` and ``greet``; yields its port."""
    procedures = _procedures()

    def answer(connection: ServerConnection) -> None:
        for request in connection:
            response = JSONRPCResponseManager.handle(request, procedures)
            if response is not None:  # None: the request was a notification
                connection.send(response.json)

    with serve(answer, "127.0.0.1", 0) as server, served(server):
        yield server.socket.getsockname()[1]


def _jupyter_environment(directory: Path) -> Mapping[str, str]:
    """Neither the settings nor the kernels of this machine's people reach the server."""
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    return {
        **{name: str(directory / name.lower()) for name in folders},
        "HOME": str(directory),
        "JUPYTER_NO_CONFIG": "1",
        "LC_ALL": "C.UTF-8",
        "PATH": os.environ["PATH"],
    }


@contextlib.contextmanager
def run_jupyter(directory: Path, token: str) -> Iterator[int]:
    """Jupyter Server that wants `token`, without terminals; yields its port."""
    port = free_port()
    root = directory / "notebooks"
    root.mkdir()
    settings = {
        "ServerApp": {
            "ip": "127.0.0.1",
            "port": port,
            "port_retries": 0,
            "allow_root": True,
            "open_browser": False,
            "root_dir": str(root),
            "terminals_enabled": False,
            "jpserver_extensions": {},
        },
        "IdentityProvider": {"token": token},
    }
    file = directory / "jupyter.json"
    file.write_text(json.dumps(settings))
    with (directory / "jupyter.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_server", f"--config={file}"],
            env=_jupyter_environment(directory),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    with _running(process, port):
        yield port
