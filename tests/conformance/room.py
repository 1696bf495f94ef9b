"""The echo server, and a proxy in each mode with the two ways through it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conformance.child import start_module
from tests.support.proxy_process import start_proxy

__all__ = ["MODES", "count_inspected", "start_echo", "start_way"]

MODES = ("off", "metadata", "log", "enforce")

_CONFIG = """
listeners: [{{address: "127.0.0.1:0"}}]
policy:
  default: deny
  private_networks: [{{hosts: ["127.0.0.1"], networks: [127.0.0.0/8]}}]
  rules:
    - {{name: here, when: {{hosts: ["127.0.0.1"]}}, action: allow{inspected}}}
"""
_INSPECTION = """
inspection:
  capture: {directory: captures, payload: 1KiB}  # all of each message would be 30 GB
  message_rules:
    never:
      - name: never
        direction: client
        matches: "no-autobahn-case-says-this-[0-9]{40}"
        action: close
        mode: enforce
"""


def _config(mode: str) -> str:
    inspected = f', websocket: "{mode}"'
    if mode == "enforce":
        inspected += ", messages: [never]"
    return _CONFIG.format(inspected=inspected) + ("" if mode == "off" else _INSPECTION)


@contextmanager
def start_echo() -> Iterator[int]:
    """Runs the origin and yields its port."""
    with start_module("tests.conformance.echo") as port:
        yield port


@contextmanager
def start_way(way: str, mode: str, target_port: int, directory: Path) -> Iterator[int]:
    """Runs a proxy of its own in a mode, and yields a port that leads through it.

    Args:
        way: one of `tests.conformance.way.WAYS`.
        mode: one of `MODES`.
        target_port: of the origin.
        directory: where the proxy's configuration and captures go; made if it is not there.

    Raises:
        AssertionError: the proxy did not start.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with start_proxy(_config(mode), directory) as proxy:
        with start_module("tests.conformance.way", way, str(proxy.port), str(target_port)) as port:
            yield port
        proxy.terminate()  # its capture files are whole


def count_inspected(directory: Path) -> int:
    """How many WebSockets the stopped proxy of `start_way` looked into, by its capture files."""
    opened = 0
    for path in directory.glob("captures/capture-*.jsonl"):
        with path.open("rb") as lines:
            opened += sum(line.startswith(b'{"event":"open"') for line in lines)
    return opened
