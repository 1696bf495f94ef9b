"""``wsproxy health``: asks a running proxy whether it answers, for Docker's HEALTHCHECK."""

from __future__ import annotations

import socket
import ssl
import sys
from ipaddress import ip_address
from pathlib import Path

import click

from wsproxy.config.listeners import Listener
from wsproxy.config.load import default, load

__all__ = ["health"]

_HEADER = b"PROXY UNKNOWN\r\n"
_QUESTION = b"OPTIONS * HTTP/1.1\r\nHost: wsproxy\r\nConnection: close\r\n\r\n"


@click.command(epilog="Example: wsproxy health --config wsproxy.yaml")
@click.option(
    "--config",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path, readable=False),
    help="File the proxy was started with; its first listener that needs no certificate is asked.",
)
@click.option("--timeout", default=3.0, show_default=True, help="Seconds to wait for the answer.")
def health(file: Path | None, timeout: float) -> None:
    """Ask the running proxy whether it answers; exit status 1 when it does not."""
    config = load(file) if file else default()
    listeners = config.settings.listeners
    # Where a certificate is asked for, we may have to show one that we do not have.
    listener = next((one for one in listeners if not (one.tls and one.tls.client_ca)), listeners[0])
    where = listener.address
    problem = _ask(listener, timeout)
    if problem:
        click.echo(f"wsproxy at {where} does not answer: {problem}", err=True)
        sys.exit(1)
    click.echo(f"wsproxy at {where} answers")


def _ask(listener: Listener, timeout: float) -> str:
    """What is wrong, or an empty string."""
    where, balancers = listener.address, listener.proxy_protocol
    loopback = "127.0.0.1" if where.address.version == 4 else "::1"
    address = ip_address(loopback) if where.address.is_unspecified else where.address
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family) as sock:
            sock.settimeout(timeout)
            sock.connect((str(address), where.port))
            if balancers is not None and any(address in network for network in balancers.trust):
                sock.sendall(_HEADER)
            answer = _exchange(sock) if listener.tls is None else _exchange_over_tls(sock)
    except OSError as error:
        return error.strerror or str(error) or "no answer in time"
    return "" if answer.startswith(b"HTTP/1.1 200 ") else "it answers something else"


def _exchange(sock: socket.socket) -> bytes:
    sock.sendall(_QUESTION)
    return sock.recv(1024)


def _exchange_over_tls(sock: socket.socket) -> bytes:
    """As `_exchange`; a proxy that wants our certificate lives, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # It is asked by its address, for which it need not have a certificate, and told nothing.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with context.wrap_socket(sock) as tls:
            return _exchange(tls)
    except ssl.SSLError as error:
        if error.reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED":
            return b"HTTP/1.1 200 "
        raise
