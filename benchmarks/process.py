"""Proxies under measurement: started on one core, looked at through /proc, stopped by their ids."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LOAD_CORE", "PROXY_CORE", "Proxy", "free_port", "run_proxy"]

_cores = sorted(os.sched_getaffinity(0))
LOAD_CORE, PROXY_CORE = _cores[0], _cores[-1]

_START_S = 20.0
_STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running proxy.

    Attributes:
        port: where it listens on 127.0.0.1; 0 stands for no proxy at all.
        pid: of its first process.
        credentials: that its clients send, as `load.c` takes them; empty for none.
    """

    port: int
    pid: int
    credentials: str = ""

    def _family(self) -> list[int]:
        """Its processes: itself and its descendants."""
        found, todo = [], [self.pid]
        while todo:
            pid = todo.pop()
            with suppress(OSError):
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
                found.append(pid)
                todo += map(int, children.split())
        return found

    def cpu_s(self) -> float:
        """User and system time of its processes so far."""
        ticks = 0
        for pid in self._family():
            with suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def pss_bytes(self) -> int:
        """Memory of its processes; what several of them share is counted once."""
        total = 0
        for pid in self._family():
            with suppress(OSError):
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                match = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
                total += int(match[1]) * 1024 if match else 0
        return total

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """Asks its processes to end, and ends those that do not."""
        family = self._family()
        for number in (signal.SIGTERM, signal.SIGKILL):
            # Its children were not started by us and may be reaped by anybody:
            # only one that is still a descendant is signalled a second time.
            for pid in family:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)
                return
            family = self._family()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def run_proxy(command: Callable[[int], list[str]], log: Path, *, cwd: Path) -> Iterator[Proxy]:
    """Runs a proxy on its core, and stops it at the end of the block.

    Args:
        command: what to run, given the port to listen on.
        log: gets what it prints.
        cwd: its working directory.

    Raises:
        RuntimeError: it did not open its port.
    """
    port = free_port()
    argv = ["taskset", "-c", str(PROXY_CORE), *command(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us; they are told by their ids
        )
    proxy = Proxy(port, process.pid)
    try:
        _wait_until_open(process, port, log)
        yield proxy
    finally:
        proxy.stop(process)


def _wait_until_open(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    give_up_at = time.monotonic() + _START_S
    while time.monotonic() < give_up_at and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
            continue
        time.sleep(0.5)  # what it still does after its port is open
        return
    last = log.read_text(errors="replace").splitlines()[-3:]
    raise RuntimeError(f"{process.args!r} did not open its port: {' / '.join(last)}")
