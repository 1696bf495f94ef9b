"""The echo server, and a proxy in each mode with the two ways through it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import trustme

from tests.conformance.child import start_module
from tests.support.proxy_process import start_proxy
from wsproxy.protocol.x509 import create_authority

__all__ = ["MODES", "Keys", "count_inspected", "start_echo", "start_way"]

MODES = ("off", "metadata", "log", "enforce")

_CONFIG = """
listeners: [{{address: "127.0.0.1:0"}}]
policy:
  default: deny
  private_networks: [{{hosts: ["127.0.0.1"], networks: [127.0.0.0/8]}}]
  rules:
    - {{name: here, when: {{hosts: ["127.0.0.1"]}}, action: allow{inspected}}}
"""
_INTERCEPTION = """
interception: {{ca_certificate: {0}/ca.pem, ca_key: {0}/ca.key, upstream: {{ca: {0}/origin-ca.pem}}}}
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


class Keys:
    """The certificates of the way `tls`: of the proxy's authority, and of the origin and its own.

    Args:
        directory: where their files are made.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca_file = directory / "ca.pem"
        self.origin_file = directory / "origin.pem"
        certificate, key = create_authority("conformance", now=datetime.now(UTC))
        self.ca_file.write_bytes(certificate)
        (directory / "ca.key").touch(0o600)
        (directory / "ca.key").write_bytes(key)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(directory / "origin-ca.pem"))
        leaf = authority.issue_cert("127.0.0.1")
        leaf.private_key_and_cert_chain_pem.write_to_path(str(self.origin_file))


def _config(mode: str, keys: Keys | None) -> str:
    inspected = f', websocket: "{mode}"'
    if keys is not None:
        inspected += ", tls: intercept_always"
    if mode == "enforce":
        inspected += ", messages: [never]"
    config = _CONFIG.format(inspected=inspected) + ("" if mode == "off" else _INSPECTION)
    return config if keys is None else config + _INTERCEPTION.format(keys.directory)


@contextmanager
def start_echo(keys: Keys | None = None) -> Iterator[int]:
    """Runs the origin, with TLS when there are keys, and yields its port."""
    arguments = [] if keys is None else [str(keys.origin_file)]
    with start_module("tests.conformance.echo", *arguments) as port:
        yield port


@contextmanager
def start_way(
    way: str, mode: str, target_port: int, directory: Path, keys: Keys | None = None
) -> Iterator[int]:
    """Runs a proxy of its own in a mode, and yields a port that leads through it.

    Args:
        way: one of `tests.conformance.way.WAYS`.
        mode: one of `MODES`.
        target_port: of the origin.
        directory: where the proxy's configuration and captures go; made if it is not there.
        keys: for the way `tls`.

    Raises:
        AssertionError: the proxy did not start.
    """
    directory.mkdir(parents=True, exist_ok=True)
    trusted = [] if keys is None else [str(keys.ca_file)]
    with start_proxy(_config(mode, keys), directory) as proxy:
        arguments = [way, str(proxy.port), str(target_port), *trusted]
        with start_module("tests.conformance.way", *arguments) as port:
            yield port
        proxy.terminate()  # its capture files are whole


def count_inspected(directory: Path) -> int:
    """How many WebSockets the stopped proxy of `start_way` looked into, by its capture files."""
    opened = 0
    for path in directory.glob("captures/capture-*.jsonl"):
        with path.open("rb") as lines:
            opened += sum(line.startswith(b'{"event":"open"') for line in lines)
    return opened
