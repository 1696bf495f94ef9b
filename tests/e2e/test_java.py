"""The JDK's own client through the proxy: HTTP, HTTPS and WebSocket, with an Authenticator."""

from __future__ import annotations

import pytest

from .clients import Credentials, Java
from .observed import ALICE, ObservedProxy
from .origins import EchoServer, Nginx

ECHOED = {"code": "1000", "protocol": "chat", "text": "grüße", "intact": "true"}
BYTES = 400_000


def test_http(java: Java, nginx: Nginx, proxy: ObservedProxy) -> None:
    told = java.run("get", f"{nginx.http}/file.txt", proxy_port=proxy.port)
    assert told == {"status": "200", "body": "a small file\\n"}
    record = proxy.access()
    assert (record["kind"], record["status"], record["bytes_down"]) == ("forward", 200, 13)


def test_https_through_a_tunnel(java: Java, nginx: Nginx, proxy: ObservedProxy) -> None:
    told = java.run("get", f"{nginx.https}/file.txt", proxy_port=proxy.port)
    assert told == {"status": "200", "body": "a small file\\n"}
    record = proxy.access()
    assert (record["kind"], record["status"]) == ("connect", 200)


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_websocket(scheme: str, java: Java, echo: EchoServer, proxy: ObservedProxy) -> None:
    port = echo.tls_port if scheme == "wss" else echo.port
    url = f"{scheme}://localhost:{port}/socket"
    assert java.run("ws", url, proxy_port=proxy.port, bytes_up=BYTES) == ECHOED
    record = proxy.access()
    assert (record["kind"], record["target"]) == ("connect", f"localhost:{port}")


def test_a_challenged_get_is_sent_again(java: Java, nginx: Nginx, secured: ObservedProxy) -> None:
    told = java.run("get", f"{nginx.http}/file.txt", proxy_port=secured.port, credentials=ALICE)
    assert told == {"status": "200", "body": "a small file\\n"}
    assert secured.access(status=407)["user"] is None
    assert secured.access(status=200)["user"] == "alice"


def test_a_challenged_post_sends_its_whole_body_twice(
    java: Java, nginx: Nginx, secured: ObservedProxy
) -> None:
    told = java.run(
        "post",
        f"{nginx.http}/application/",
        proxy_port=secured.port,
        credentials=ALICE,
        bytes_up=BYTES,
    )
    assert told["status"] == "200"
    assert f'"length": {BYTES}' in told["body"]
    assert secured.access(status=407)["method"] == "POST"
    assert secured.access(status=200)["bytes_up"] == BYTES


def test_a_challenged_tunnel_is_asked_for_again(
    java: Java, nginx: Nginx, secured: ObservedProxy
) -> None:
    told = java.run("get", f"{nginx.https}/file.txt", proxy_port=secured.port, credentials=ALICE)
    assert told == {"status": "200", "body": "a small file\\n"}
    refused = secured.access(kind="connect", status=407)
    assert (refused["closed_by"], refused["reason"]) == ("proxy", "refused")
    assert secured.access(kind="connect", status=200)["user"] == "alice"


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_challenged_websocket(
    scheme: str, java: Java, echo: EchoServer, secured: ObservedProxy
) -> None:
    port = echo.tls_port if scheme == "wss" else echo.port
    told = java.run(
        "ws",
        f"{scheme}://localhost:{port}/socket",
        proxy_port=secured.port,
        credentials=ALICE,
        bytes_up=BYTES,
    )
    assert told == ECHOED
    assert secured.access(status=200)["user"] == "alice"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_without_an_authenticator_the_caller_sees_the_407(
    scheme: str, java: Java, nginx: Nginx, secured: ObservedProxy
) -> None:
    base = nginx.https if scheme == "https" else nginx.http
    told = java.run("get", f"{base}/file.txt", proxy_port=secured.port)
    assert told["status"] == "407"
    assert secured.access()["status"] == 407


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_wrong_password_ends_after_the_clients_own_limit(
    scheme: str,
    java: Java,
    nginx: Nginx,
    secured: ObservedProxy,
    wrong_password: Credentials,
) -> None:
    base = nginx.https if scheme == "https" else nginx.http
    told = java.run("get", f"{base}/file.txt", proxy_port=secured.port, credentials=wrong_password)
    assert "too many authentication attempts" in told["error"]
    assert {record["status"] for record in secured.matching()} == {407}
