"""Servers that tests start: a port for one, and when it can be reached."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from pathlib import Path

__all__ = ["free_port", "wait_listening"]


def free_port() -> int:
    """A port on loopback that nobody listened on a moment ago, for servers that cannot tell theirs."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_listening(
    port: int, process: subprocess.Popen[bytes], *, log: Path | None = None, patience_s: int = 10
) -> None:
    """Returns when a connection to `port` of loopback succeeds.

    Args:
        port: where it is going to listen.
        process: it.
        log: what it writes, to be shown if it does not come up.
        patience_s: how long it may take.

    Raises:
        AssertionError: the process ended, or the time is over.
    """
    waiter = threading.Event()
    for _ in range(patience_s * 50):
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        assert process.poll() is None, f"{process.args!r} did not start\n{_said(log)}"
        waiter.wait(0.02)
    raise AssertionError(f"{process.args!r} does not listen\n{_said(log)}")


def _said(log: Path | None) -> str:
    return log.read_text() if log is not None and log.exists() else ""
