"""Limits as people meet them: curl that is slowed down and refused, a WebSocket that is ended with a reason."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import ClientConnection, connect

from tests.support.proxy_process import ProxyProcess, add_user, start_proxy

from .clients import curl, curl_each
from .origins import LARGE_BYTES, Certificates, EchoServer, Nginx
from .wire import PATIENCE_S

CONFIG = """
listeners: [{{address: 127.0.0.1:0}}]
auth: {{methods: [{{type: basic, users: users}}]}}
policy:
  private_networks: [{{hosts: ["*"], networks: [127.0.0.0/8]}}]
  rules: [{{name: all, action: allow, limits: {{{rule}}}}}]
limits: {{{limits}}}
"""


@contextmanager
def limiting(folder: Path, limits: str, rule: str = "") -> Iterator[tuple[ProxyProcess, str]]:
    """A proxy, and its URL as alice knows it."""
    add_user(folder / "users", "alice", "pw")
    with start_proxy(CONFIG.format(limits=limits, rule=rule), folder) as proxy:
        yield proxy, proxy.url.replace("http://", "http://alice:pw@")
        assert "Traceback" not in proxy.stderr, proxy.stderr


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_curl_gets_everything_though_it_may_not_have_it_at_once(
    tmp_path: Path, nginx: Nginx, certificates: Certificates, scheme: str
) -> None:
    # Less than a second's worth is not in the way; the rest of the file is.
    half = LARGE_BYTES // 2 // 1024
    with limiting(tmp_path, f"bandwidth_per_user: {half}KiB/s", "bandwidth: 1GiB/s") as (
        proxy,
        url,
    ):
        origin = nginx.http if scheme == "http" else f"https://localhost:{nginx.tls_port}"
        trust = ("--cacert", str(certificates.authority))
        fetched = curl(tmp_path, url, *trust, f"{origin}/large.bin")
        assert (fetched.exit_code, fetched.status) == (0, 200)
        assert len(fetched.body) == LARGE_BYTES
        (record,) = proxy.wait_records(1)
    assert (record["status"], record["error"]) == (200, None)
    assert record["bytes_down"] >= LARGE_BYTES


def test_curl_is_told_when_to_come_back(tmp_path: Path, nginx: Nginx) -> None:
    with limiting(tmp_path, "bytes_per_user: 20B/1h") as (proxy, url):
        first = curl(tmp_path, url, f"{nginx.http}/file.txt")
        assert (first.status, first.body) == (200, b"a small file\n")
        second = curl(tmp_path, url, f"{nginx.http}/file.txt")
        assert (second.status, second.exit_code) == (200, 18)  # a cut answer
        assert second.body == b"a small"
        third = curl(tmp_path, url, f"{nginx.http}/file.txt")
        assert third.status == 429
        assert 3500 < int(third.fields[b"retry-after"]) <= 3600
        reasons = [record["reason"] for record in proxy.wait_records(3)]
    assert reasons == [None, "quota", "quota"]


def test_requests_inside_intercepted_tls_are_counted_and_refused(
    tmp_path: Path, nginx: Nginx, ca: Path, certificates: Certificates
) -> None:
    add_user(tmp_path / "users", "alice", "pw")
    config = CONFIG.format(limits="bytes_per_user: 13B/1h", rule="")
    config = config.replace("action: allow", "action: allow, tls: intercept")
    config += f"""
interception:
  ca_certificate: {ca}/ca.pem
  ca_key: {ca}/ca.key
  upstream: {{ca: {certificates.authority}}}
"""
    with start_proxy(config, tmp_path) as proxy:
        url = proxy.url.replace("http://", "http://alice:pw@")
        file = f"https://localhost:{nginx.tls_port}/file.txt"
        first, second = curl_each(tmp_path, url, "--cacert", f"{ca}/ca.pem", file, file)
        assert (first.status, second.status) == (200, 429)
        records = [record for record in proxy.wait_records(3) if record["kind"] == "forward"]
    assert [record["error"] for record in records] == [None, "http_request_denied"]


def converse(connection: ClientConnection) -> None:
    """Until somebody has had enough; what is said cannot be compressed."""
    while True:
        connection.send(os.urandom(1000))
        connection.recv(PATIENCE_S)


def test_a_websocket_hears_why_it_ends(tmp_path: Path, echo: EchoServer) -> None:
    with limiting(tmp_path, "bytes_per_user: 100KiB/1h") as (proxy, url):
        uri = f"ws://127.0.0.1:{echo.port}/socket"
        with (
            connect(
                uri,
                proxy=url,
                subprotocols=["chat"],  # type: ignore[list-item]
                open_timeout=PATIENCE_S,
            ) as connection,
            pytest.raises(ConnectionClosedError) as caught,
        ):
            converse(connection)
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1008, "quota")
        (record,) = proxy.wait_records(1)
    assert (record["closed_by"], record["reason"]) == ("proxy", "quota")
