"""Node.js through the proxy: `ws` and the core HTTP library with the two common agents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .clients import Credentials, node
from .observed import ALICE, ObservedProxy
from .origins import Certificates, EchoServer, Nginx

pytestmark = pytest.mark.usefixtures("node_packages")

ECHOED = {"code": 1000, "protocol": "chat", "text": "grüße", "intact": True}
BYTES = 1_500_000

# Name, agent and server: how the agent asks the proxy for a WebSocket.
WAYS = [
    pytest.param("tunnel", "ws", id="ws-by-CONNECT"),
    pytest.param("tunnel", "wss", id="wss-by-CONNECT"),
    pytest.param("absolute", "ws", id="ws-by-absolute-form"),
]


def socket_url(scheme: str, echo: EchoServer) -> str:
    """Of the echo server."""
    return f"{scheme}://localhost:{echo.tls_port if scheme == 'wss' else echo.port}/socket"


def converse(home: Path, certificates: Certificates, **task: Any) -> dict[str, Any]:
    """One conversation with the echo server."""
    return node(home, bytes=BYTES, authority=str(certificates.authority), **task)


@pytest.mark.parametrize(("agent", "scheme"), WAYS)
def test_a_conversation_passes_unchanged(
    agent: str,
    scheme: str,
    tmp_path: Path,
    certificates: Certificates,
    echo: EchoServer,
    proxy: ObservedProxy,
) -> None:
    url = socket_url(scheme, echo)
    assert converse(tmp_path, certificates, url=url, proxy=proxy.url, agent=agent) == ECHOED
    record = proxy.access()
    assert proxy.opened()["id"] == record["id"]
    expected = ("connect", 200) if agent == "tunnel" else ("upgrade", 101)
    assert (record["kind"], record["status"]) == expected
    # `ws` ends its side on the server's Close frame, when the server does, too.
    assert record["closed_by"] in ("client", "upstream")
    assert record["reason"] == "eof"


def test_every_byte_of_an_uncompressed_conversation_is_counted(
    tmp_path: Path, certificates: Certificates, echo: EchoServer, proxy: ObservedProxy
) -> None:
    told = converse(
        tmp_path,
        certificates,
        url=socket_url("ws", echo),
        proxy=proxy.url,
        agent="absolute",
        compress=False,
    )
    assert told == ECHOED
    record = proxy.access(kind="upgrade")
    # Text, binary and Close with its code and reason, each behind its frame head.
    assert record["bytes_up"] == (6 + 7) + (14 + BYTES) + (6 + 2 + 4)
    assert record["bytes_down"] == (2 + 7) + (10 + BYTES) + (2 + 2 + 4)


@pytest.mark.parametrize(("agent", "scheme"), WAYS)
def test_credentials_in_the_proxys_url(
    agent: str,
    scheme: str,
    tmp_path: Path,
    certificates: Certificates,
    echo: EchoServer,
    secured: ObservedProxy,
) -> None:
    url, proxy = socket_url(scheme, echo), ALICE.in_url(secured.url)
    assert converse(tmp_path, certificates, url=url, proxy=proxy, agent=agent) == ECHOED
    assert secured.access()["user"] == "alice"


@pytest.mark.parametrize(("agent", "scheme"), WAYS)
def test_a_wrong_password_shows_the_proxys_page(
    agent: str,
    scheme: str,
    tmp_path: Path,
    certificates: Certificates,
    echo: EchoServer,
    secured: ObservedProxy,
    wrong_password: Credentials,
) -> None:
    url, proxy = socket_url(scheme, echo), wrong_password.in_url(secured.url)
    told = converse(tmp_path, certificates, url=url, proxy=proxy, agent=agent)
    assert (told["refused"], told["status"]) == (True, 407)
    assert told["headers"]["proxy-authenticate"] == 'Basic realm="wsproxy", charset="UTF-8"'
    record = secured.access()
    assert record["id"] in told["body"]
    assert (record["status"], record["user"]) == (407, None)


@pytest.mark.parametrize("agent", ["tunnel", "absolute"])
def test_an_ordinary_get(
    agent: str,
    tmp_path: Path,
    certificates: Certificates,
    nginx: Nginx,
    proxy: ObservedProxy,
) -> None:
    base = nginx.https if agent == "tunnel" else nginx.http
    told = node(
        tmp_path,
        url=f"{base}/file.txt",
        proxy=proxy.url,
        agent=agent,
        authority=str(certificates.authority),
    )
    assert (told["status"], told["body"]) == (200, "a small file\n")
    assert proxy.access()["kind"] == ("connect" if agent == "tunnel" else "forward")
