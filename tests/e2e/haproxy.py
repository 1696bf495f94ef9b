"""Debian's HAProxy in front of the proxy, as a balancer that tells whose connections it passes on."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.programs import free_port, wait_listening

from .wire import PATIENCE_S

_CONFIGURATION = """
global
  maxconn 200
defaults
  mode tcp
  timeout connect 10s
  timeout client 60s
  timeout server 60s
listen v1
  bind 127.0.0.1:{v1}
  server proxy 127.0.0.1:{plain} send-proxy
listen v2
  bind 127.0.0.1:{v2}
  server proxy 127.0.0.1:{plain} send-proxy-v2 proxy-v2-options crc32c,unique-id
  unique-id-format %{{+X}}o\\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid
listen tls
  bind 127.0.0.1:{tls}
  server proxy 127.0.0.1:{secure} send-proxy-v2 proxy-v2-options crc32c
"""


@dataclass(frozen=True, slots=True)
class HaProxy:
    """A running balancer.

    Attributes:
        v1: port from where connections go on with headers of version 1.
        v2: the same with version 2, a checksum and an extension.
        tls: the same, to a listener that speaks TLS with the client.
    """

    v1: int
    v2: int
    tls: int


@contextlib.contextmanager
def run_haproxy(directory: Path, *, plain: int, secure: int) -> Iterator[HaProxy]:
    """HAProxy in front of two listeners, by their ports."""
    ports = {name: free_port() for name in ("v1", "v2", "tls")}
    file = directory / "haproxy.cfg"
    file.write_text(_CONFIGURATION.format(plain=plain, secure=secure, **ports))
    with (directory / "haproxy.log").open("wb") as log:
        process = subprocess.Popen(
            ["/usr/sbin/haproxy", "-db", "-f", str(file)], stdout=log, stderr=log
        )
    try:
        for port in ports.values():
            wait_listening(port, process)
        yield HaProxy(**ports)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
