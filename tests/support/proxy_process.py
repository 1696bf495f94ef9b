"""The product as its users run it: one child process, driven from outside.

Used by every black-box test.  Plain threads and condition variables: two daemon
threads read the child's stdout (the access log, JSON Lines) and stderr, so a full
pipe can never block the proxy, and every wait below is a wait for a line, not a poll.

    with start_proxy(CONFIG, tmp_path) as proxy:
        with socket.create_connection(proxy.address, timeout=5) as client: ...
        (record,) = proxy.wait_records(1)
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

__all__ = ["OPEN_TO_LOOPBACK", "PROJECT_ROOT", "ProxyProcess", "Record", "add_user", "start_proxy"]

PROJECT_ROOT = Path(__file__).resolve().parents[2]
START_GUARD_S = 30.0
STOP_GUARD_S = 30.0
_LISTENING = re.compile(
    r"^wsproxy listening on (https?://(\[[0-9a-f:]+\]|[0-9.]+):(\d+))\s*$", re.M
)

OPEN_TO_LOOPBACK = """
listeners:
  - address: 127.0.0.1:0
policy:
  default: allow
  private_networks:
    - {hosts: ["*"], networks: [127.0.0.0/8, "::1/128"]}
"""
"""A configuration without credentials that may reach origins on loopback; logs to stdout."""

Record = dict[str, Any]
"""One line of the access log, parsed."""


class ProxyProcess:
    """A running `python -m wsproxy run`.

    Attributes:
        address: ``(host, port)`` of the first listener, as `socket.create_connection` wants it.
        addresses: the same for every listener, in the order they were announced.
        urls: of every listener, as they were announced.
        port: of the first listener.
        url: ``http://host:port`` of the first listener, or ``https://``, as clients want their
            proxy named.
        pid: of the child.
    """

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str]) -> None:
        self._changed = threading.Condition()
        self._stdout: list[str] = []
        self._stderr: list[str] = []
        self._records: list[Record] = []
        self._exited = False
        self._process = subprocess.Popen(
            argv,
            cwd=PROJECT_ROOT,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            self._read_in_thread(self._process.stdout, self._stdout),
            self._read_in_thread(self._process.stderr, self._stderr),
        ]
        self.pid = self._process.pid
        self.addresses: list[tuple[str, int]] = []
        self.urls: list[str] = []

    def _read_in_thread(self, pipe: IO[str], lines: list[str]) -> threading.Thread:
        def read() -> None:
            with pipe:
                for line in pipe:
                    with self._changed:
                        lines.append(line)
                        self._changed.notify_all()
            with self._changed:
                self._exited = True
                self._changed.notify_all()

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        return thread

    @property
    def address(self) -> tuple[str, int]:
        """``(host, port)`` of the first listener."""
        return self.addresses[0]

    @property
    def port(self) -> int:
        """Port of the first listener."""
        return self.address[1]

    @property
    def url(self) -> str:
        """URL of the first listener."""
        return self.urls[0]

    @property
    def stderr(self) -> str:
        """Everything the proxy wrote to stderr so far."""
        with self._changed:
            return "".join(self._stderr)

    @property
    def stdout(self) -> str:
        """Everything the proxy wrote to stdout so far; the access log unless configured away."""
        with self._changed:
            return "".join(self._stdout)

    def records(self, *, event: str | None = None) -> list[Record]:
        """The access log so far.

        Args:
            event: only records of this kind, ``access`` or ``open``; all when None.

        Raises:
            ValueError: a line on stdout is not JSON.
        """
        with self._changed:
            self._parse_new_lines()
            return [r for r in self._records if event is None or r["event"] == event]

    def _parse_new_lines(self) -> None:
        self._records += [json.loads(line) for line in self._stdout[len(self._records) :]]

    def wait_until_logged(
        self, complete: Callable[[list[Record]], bool], *, guard_s: float = 20.0
    ) -> bool:
        """Waits until `complete` holds for the list of all records, of any kind.

        Returns:
            Whether it did before the guard passed or the proxy went away.
        """

        def holds() -> bool:
            self._parse_new_lines()
            return complete(self._records)

        with self._changed:
            self._changed.wait_for(lambda: holds() or self._exited, timeout=guard_s)
            return holds()

    def wait_records(
        self, count: int, *, event: str = "access", guard_s: float = 20.0
    ) -> list[Record]:
        """Waits until there are `count` records of kind `event`, and returns all of that kind.

        Raises:
            AssertionError: the guard passed or the proxy went away first.
        """
        self.wait_until_logged(
            lambda records: sum(r["event"] == event for r in records) >= count, guard_s=guard_s
        )
        records = self.records(event=event)
        assert len(records) >= count, f"{len(records)} of {count} {event!r} records came"
        return records

    def wait_stderr(self, pattern: str, *, guard_s: float = 20.0) -> re.Match[str]:
        """Waits until stderr matches `pattern` (``re.search``, multi-line mode).

        Raises:
            AssertionError: the guard passed or the proxy went away first.
        """

        def found() -> re.Match[str] | None:
            return re.search(pattern, "".join(self._stderr), re.M)

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or self._exited, timeout=guard_s)
        match = found()
        assert match is not None, f"{pattern!r} did not come on stderr:\n{self.stderr}"
        return match

    def wait_listening(self, listeners: int) -> None:
        """Waits until `listeners` listeners were announced on stderr.

        Raises:
            AssertionError: the proxy exited or the guard passed first.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._exited or len(_LISTENING.findall("".join(self._stderr))) >= listeners,
                timeout=START_GUARD_S,
            )
        found = _LISTENING.findall(self.stderr)
        assert len(found) >= listeners, (
            f"the proxy did not start, status {self._process.poll()}:\n{self.stderr}"
        )
        self.urls = [url for url, _, _ in found]
        self.addresses = [(host.strip("[]"), int(port)) for _, host, port in found]

    def is_running(self) -> bool:
        """Whether the child still lives."""
        return self._process.poll() is None

    def descriptors(self) -> int:
        """How many descriptors the child has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def rss_bytes(self) -> int:
        """Resident memory of the child."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        match = re.search(r"^VmRSS:\s+(\d+) kB", status, re.M)
        assert match is not None
        return int(match[1]) * 1024

    def send_signal(self, number: int) -> None:
        """Sends a signal to the child."""
        self._process.send_signal(number)

    def wait(self, *, guard_s: float = STOP_GUARD_S) -> int:
        """Waits for the child's end and returns its exit status.

        Raises:
            subprocess.TimeoutExpired: the guard passed first.
        """
        status = self._process.wait(timeout=guard_s)
        for reader in self._readers:
            reader.join(timeout=guard_s)
        return status

    def terminate(self, *, guard_s: float = STOP_GUARD_S) -> int:
        """Sends SIGTERM, waits, and returns the exit status.

        Raises:
            subprocess.TimeoutExpired: the guard passed first.
        """
        if self.is_running():
            self.send_signal(signal.SIGTERM)
        return self.wait(guard_s=guard_s)

    def kill(self) -> None:
        """Ends the child at once, if it still lives."""
        if self.is_running():
            self._process.kill()
        self.wait()


@contextmanager
def start_proxy(
    config_yaml: str,
    tmp_path: Path,
    *,
    env: Mapping[str, str] | None = None,
    argv: Sequence[str] = (),
    listeners: int = 1,
) -> Iterator[ProxyProcess]:
    """Runs the product with a configuration and yields it once it listens.

    Args:
        config_yaml: the configuration; its relative paths start at `tmp_path`.  Leave
            `logs.access.to` at stdout if `records` is wanted.
        tmp_path: where the configuration file is written.
        env: added to this process's environment.
        argv: further arguments of ``wsproxy run``.
        listeners: how many listeners to wait for.

    Raises:
        AssertionError: it did not start.
    """
    with tempfile.NamedTemporaryFile(
        "w", dir=tmp_path, prefix="wsproxy-", suffix=".yaml", delete=False, encoding="utf-8"
    ) as file:
        file.write(config_yaml)
    command = [sys.executable, "-m", "wsproxy", "run", "--config", file.name, *argv]
    proxy = ProxyProcess(command, env={**os.environ, **(env or {})})
    try:
        proxy.wait_listening(listeners)
        yield proxy
    finally:
        proxy.kill()


def add_user(users_file: Path, name: str, password: str) -> None:
    """Adds a user with the product's own command.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    subprocess.run(
        [sys.executable, "-m", "wsproxy", "passwd", str(users_file), name, "--password-stdin"],
        cwd=PROJECT_ROOT,
        input=password.encode(),
        check=True,
        capture_output=True,
        timeout=30,
    )
