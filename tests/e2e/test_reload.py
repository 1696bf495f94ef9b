"""Access that is withdrawn while it is used: real clients, a signal, a users file, a token."""

from __future__ import annotations

import json
import signal
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.support.proxy_process import ProxyProcess, add_user, start_proxy

from .inspected import InspectingProxy
from .origins import Certificates, EchoServer
from .wire import PATIENCE_S

USE_S = 8
"""Ample to connect in; then the token expires."""


def chat(url: str, proxy: str, context: ssl.SSLContext | None = None) -> ClientConnection:
    """A WebSocket to the echo server, through `proxy`."""
    return connect(url, proxy=proxy, ssl=context, subprotocols=[Subprotocol("chat")])


def configuration_of(process: ProxyProcess, folder: Path) -> Path:
    """The file that a proxy was started with."""
    assert process.is_running()
    (file,) = folder.glob("wsproxy-*.yaml")
    return file


def deny_here(process: ProxyProcess, folder: Path) -> None:
    """Puts a rule that denies everything in front of the one that allows it."""
    file = configuration_of(process, folder)
    text = file.read_text()
    assert "rules: [" in text
    file.write_text(text.replace("rules: [", "rules: [{name: shut, action: deny}, "))
    process.send_signal(signal.SIGHUP)
    process.wait_stderr("; [1-9][0-9]* of [0-9]+ sessions under way are not allowed")


def assert_told(connection: ClientConnection) -> None:
    """The client learns why, in the words of its protocol."""
    with pytest.raises(ConnectionClosed):
        connection.recv(timeout=PATIENCE_S)
    assert (connection.close_code, connection.close_reason) == (1008, "no longer allowed")


def test_a_websocket_is_closed_in_its_own_words(
    tmp_path: Path, echo: EchoServer, inspecting: InspectingProxy
) -> None:
    url = f"ws://127.0.0.1:{echo.port}/"
    with chat(url, inspecting.url) as one, chat(url, inspecting.url) as two:
        for connection in (one, two):
            connection.send("hello")
            assert connection.recv(timeout=PATIENCE_S) == "hello"
        deny_here(inspecting.process, tmp_path)
        assert_told(one)
        assert_told(two)
    inspecting.process.wait_records(2)
    for record in inspecting.process.records(event="access"):
        assert (record["closed_by"], record["reason"]) == ("proxy", "revoked")
        assert (record["verdict"], record["rule"]) == ("deny", "shut")
        assert record["websocket"]["code"] == 1008


def test_a_websocket_inside_tls_is_closed_in_its_own_words(
    tmp_path: Path,
    ca: Path,
    echo: EchoServer,
    start_intercepting: Callable[..., InspectingProxy],
) -> None:
    proxy = start_intercepting()
    context = ssl.create_default_context(cafile=ca / "ca.pem")
    url = f"wss://127.0.0.1:{echo.tls_port}/"
    with chat(url, proxy.url, context) as connection:
        connection.send("hello")
        assert connection.recv(timeout=PATIENCE_S) == "hello"
        deny_here(proxy.process, tmp_path)
        assert_told(connection)
    inner, outer = proxy.process.wait_records(2)
    assert {inner["kind"], outer["kind"]} == {"upgrade", "connect"}
    assert {inner["reason"], outer["reason"]} == {"revoked"}


def test_a_tunnel_of_a_user_who_is_taken_out_of_the_file(
    tmp_path: Path, certificates: Certificates, echo: EchoServer
) -> None:
    users = tmp_path / "users"
    add_user(users, "alice", "secret")
    alices = users.read_text()
    add_user(users, "bob", "secret")
    config = """
listeners: [{address: 127.0.0.1:0}]
auth: {methods: [{type: basic, users: users}]}
policy: {default: allow, private_networks: [{hosts: [127.0.0.1], networks: [127.0.0.0/8]}]}
"""
    url, context = f"wss://127.0.0.1:{echo.tls_port}/", certificates.client_context()
    with start_proxy(config, tmp_path) as process:

        def reach(user: str) -> ClientConnection:
            proxy = process.url.replace("://", f"://{user}:secret@")
            return chat(url, proxy, context)

        with reach("alice") as alice, reach("bob") as bob:
            users.write_text(alices)
            process.wait_stderr("; 1 of 2 sessions under way are not allowed")
            with pytest.raises(ConnectionClosed):
                bob.recv(timeout=PATIENCE_S)
            assert bob.close_code == 1006, "it is not ours to say, inside TLS"
            alice.send("still")
            assert alice.recv(timeout=PATIENCE_S) == "still"
        revoked = process.wait_records(2)[0]
        assert (revoked["user"], revoked["reason"]) == ("bob", "revoked")


def test_what_was_opened_with_a_token_ends_with_it(tmp_path: Path, echo: EchoServer) -> None:
    key = ECKey.generate_key("P-256", {"kid": "k1", "use": "sig", "alg": "ES256"})
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    config = """
listeners: [{address: 127.0.0.1:0}]
auth: {methods: [{type: bearer, jwks: jwks.json, issuer: idp, audience: wsproxy}]}
policy:
  private_networks: [{hosts: [127.0.0.1], networks: [127.0.0.0/8]}]
  rules: [{name: here, action: allow}]
"""
    with start_proxy(config, tmp_path) as process:
        # The skew of a minute is on top of it.
        expires = int(time.time()) - 60 + USE_S
        claims = {"sub": "ci", "iss": "idp", "aud": "wsproxy", "exp": expires}
        token = jwt.encode({"alg": "ES256", "kid": "k1"}, claims, key)
        proxy = process.url.replace("://", f"://:{token}@")
        with chat(f"ws://127.0.0.1:{echo.port}/", proxy) as connection:
            assert_told(connection)
        (record,) = process.wait_records(1)
        assert (record["user"], record["reason"]) == ("ci", "revoked")
        assert record["detail"] == "the credentials have expired"
