"""Python's `websockets` with ``proxy=``: ws and wss, with and without credentials."""

from __future__ import annotations

import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidProxyStatus
from websockets.sync.client import ClientConnection, connect

from .clients import Credentials
from .observed import ALICE, ObservedProxy
from .origins import Certificates, EchoServer, Nginx
from .wire import PATIENCE_S

BINARY = bytes(range(256)) * 8 * 1024  # 2 MiB


@pytest.fixture(params=["ws", "wss"])
def server(
    request: pytest.FixtureRequest, echo: EchoServer, certificates: Certificates
) -> dict[str, Any]:
    """Where to connect, as arguments of `connect`."""
    if request.param == "ws":
        return {"uri": f"ws://127.0.0.1:{echo.port}/socket"}
    context = certificates.client_context()
    return {"uri": f"wss://localhost:{echo.tls_port}/socket", "ssl": context}


def chat(server: dict[str, Any], proxy: str) -> ClientConnection:
    """A conversation with the echo server, by way of `proxy`."""
    return connect(
        **server,
        proxy=proxy,
        subprotocols=["chat"],  # type: ignore[list-item]
        max_size=2 * len(BINARY),
        open_timeout=PATIENCE_S,
    )


def test_a_conversation_passes_unchanged(server: dict[str, Any], proxy: ObservedProxy) -> None:
    with chat(server, proxy.url) as connection:
        assert connection.subprotocol == "chat"
        connection.send("grüße")
        assert connection.recv(PATIENCE_S) == "grüße"
        connection.send(BINARY)
        assert connection.recv(PATIENCE_S) == BINARY
        connection.send(part for part in ("one ", "message ", "in parts"))
        assert connection.recv(PATIENCE_S) == "one message in parts"
        assert connection.ping().wait(PATIENCE_S)
        client = "{}:{}".format(*connection.local_address[:2])
        assert proxy.opened(client=client)["status"] == 200
    record = proxy.access(client=client)
    assert (record["kind"], record["user"], record["status"]) == ("connect", None, 200)
    # RFC 6455 §7.1.1: the server closes the TCP connection first.
    assert (record["closed_by"], record["reason"]) == ("upstream", "eof")


def test_every_byte_of_an_uncompressed_conversation_is_counted(
    echo: EchoServer, proxy: ObservedProxy
) -> None:
    server = {"uri": f"ws://127.0.0.1:{echo.port}/", "compression": None}
    with chat(server, proxy.url) as connection:
        client = "{}:{}".format(*connection.local_address[:2])
        connection.send(BINARY)
        assert connection.recv(PATIENCE_S) == BINARY
        assert connection.request is not None
        assert connection.response is not None
        up = len(connection.request.serialize())
        down = len(connection.response.serialize())
    record = proxy.access(client=client)
    # Frame heads: 64-bit length, mask from the client; Close: its 2-byte code.
    assert record["bytes_up"] == up + (14 + len(BINARY)) + (6 + 2)
    assert record["bytes_down"] == down + (10 + len(BINARY)) + (2 + 2)


def test_credentials_in_the_proxys_url(server: dict[str, Any], secured: ObservedProxy) -> None:
    with chat(server, ALICE.in_url(secured.url)) as connection:
        connection.send("hello")
        assert connection.recv(PATIENCE_S) == "hello"
        client = "{}:{}".format(*connection.local_address[:2])
    assert secured.access(client=client)["user"] == "alice"


@pytest.mark.parametrize("given", ["wrong", "none"])
def test_without_the_right_password_the_client_is_told_407(
    given: str, server: dict[str, Any], secured: ObservedProxy, wrong_password: Credentials
) -> None:
    url = wrong_password.in_url(secured.url) if given == "wrong" else secured.url
    with pytest.raises(InvalidProxyStatus) as caught, chat(server, url):
        pass
    assert caught.value.response.status_code == 407
    challenge = caught.value.response.headers["Proxy-Authenticate"]
    assert challenge == 'Basic realm="wsproxy", charset="UTF-8"'
    record = secured.access(kind="connect", status=407)
    assert (record["user"], record["verdict"]) == (None, None)


def test_a_websocket_through_proxy_and_nginx(nginx: Nginx, proxy: ObservedProxy) -> None:
    with chat({"uri": f"ws://127.0.0.1:{nginx.port}/websocket"}, proxy.url) as connection:
        connection.send("hello")
        assert connection.recv(PATIENCE_S) == "hello"


def test_forty_conversations_at_once(echo: EchoServer, proxy: ObservedProxy) -> None:
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(8) as pool:
        server = {"uri": f"ws://127.0.0.1:{echo.port}/"}
        connections = [
            stack.enter_context(one)
            for one in pool.map(lambda _: chat(server, proxy.url), range(40))
        ]
        for number, connection in enumerate(connections):
            connection.send(f"I am {number}")
        answers = [connection.recv(PATIENCE_S) for connection in connections]
    assert answers == [f"I am {number}" for number in range(40)]


def test_an_abnormal_end_stays_abnormal(echo: EchoServer, proxy: ObservedProxy) -> None:
    with chat({"uri": f"ws://127.0.0.1:{echo.port}/"}, proxy.url) as connection:
        client = "{}:{}".format(*connection.local_address[:2])
        connection.socket.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionClosedError) as caught:
            connection.recv(PATIENCE_S)
        assert caught.value.rcvd is None  # no Close frame was made up
    record = proxy.access(client=client)
    assert (record["closed_by"], record["reason"]) == ("client", "eof")
