"""``wsproxy health``: asks a running proxy whether it answers, for Docker's HEALTHCHECK."""

from __future__ import annotations

import socket
import sys
from ipaddress import ip_address
from pathlib import Path

import click

from wsproxy.config.fields import ListenAddress
from wsproxy.config.load import default, load

__all__ = ["health"]

_QUESTION = b"OPTIONS * HTTP/1.1\r\nHost: wsproxy\r\nConnection: close\r\n\r\n"


@click.command(epilog="Example: wsproxy health --config wsproxy.yaml")
@click.option(
    "--config",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path, readable=False),
    help="File the proxy was started with; its first listener is asked.",
)
@click.option("--timeout", default=3.0, show_default=True, help="Seconds to wait for the answer.")
def health(file: Path | None, timeout: float) -> None:
    """Ask the running proxy whether it answers; exit status 1 when it does not."""
    config = load(file) if file else default()
    where = config.settings.listeners[0].address
    problem = _ask(where, timeout)
    if problem:
        click.echo(f"wsproxy at {where} does not answer: {problem}", err=True)
        sys.exit(1)
    click.echo(f"wsproxy at {where} answers")


def _ask(where: ListenAddress, timeout: float) -> str:
    """What is wrong, or an empty string."""
    loopback = "127.0.0.1" if where.address.version == 4 else "::1"
    address = ip_address(loopback) if where.address.is_unspecified else where.address
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family) as sock:
            sock.settimeout(timeout)
            sock.connect((str(address), where.port))
            sock.sendall(_QUESTION)
            answer = sock.recv(1024)
    except OSError as error:
        return error.strerror or str(error) or "no answer in time"
    return "" if answer.startswith(b"HTTP/1.1 200 ") else "it answers something else"
