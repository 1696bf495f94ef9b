"""Servers of the conformance run, each a Python module that prints its port and serves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.proxy_process import PROJECT_ROOT

__all__ = ["start_module"]


@contextmanager
def start_module(name: str, *arguments: str) -> Iterator[int]:
    """Runs ``python -m name arguments`` and yields the port it serves on loopback.

    Args:
        name: of a module that prints its port as its first line.
        arguments: its command line.

    Raises:
        ValueError: it printed something else, or ended first.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", name, *arguments],
        cwd=PROJECT_ROOT,
        # Cases 9.3.1 and 9.4.1 have 65 536 fragments a message; websockets takes 4096 by itself.
        env={**os.environ, "WEBSOCKETS_MAX_FRAGMENTS": "1000000"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # it forks: what it started ends with it
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
