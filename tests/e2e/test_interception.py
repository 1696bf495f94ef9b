"""TLS that is looked into: real clients, the proxy's own CA, and origins that speak TLS."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import ssl
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Origin

from tests.support.proxy_process import Record

from .clients import PATIENCE_S as PROGRAM_PATIENCE_S
from .clients import Java, curl, curl_each, make_ca, node, run_ca
from .inspected import Conversation, InspectingProxy
from .observed import ObservedProxy
from .origins import Certificates, EchoServer, Nginx, served
from .wire import PATIENCE_S, Wire, start_line

MIB = 1024 * 1024
KEPT_BYTES = 64 * 1024
BYTES = 300_000
BINARY = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def seen(intercepting: InspectingProxy) -> ObservedProxy:
    """The records of the proxy that intercepts."""
    return ObservedProxy(intercepting.process)


def assert_tls(record: Record, action: str, why: str) -> None:
    """What a tunnel's record says was done with its TLS."""
    assert (record["kind"], record["status"]) == ("connect", 200)
    assert (record["tls"]["action"], record["tls"]["why"]) == (action, why)


def arrived(nginx: Nginx, query: str) -> list[str]:
    """The lines of nginx's log with `query`; it writes them before it serves the next request."""
    urlopen(f"{nginx.http}/nothing").close()
    return [line for line in nginx.log.read_text().splitlines() if query in line]


# ---------------------------------------------------------------- curl


def test_curl_gets(tmp_path: Path, ca: Path, nginx: Nginx, intercepting: InspectingProxy) -> None:
    seen = ObservedProxy(intercepting.process)
    wanted = ("--cacert", str(ca / "ca.pem"), "--range", f"0-{8 * MIB - 1}")
    got = curl(tmp_path, intercepting.url, *wanted, f"{nginx.https}/large.bin")
    assert (got.exit_code, got.connect_status, got.status) == (0, 200, 206)
    assert got.body == nginx.large_slice(0, 8 * MIB - 1)
    request = seen.access(kind="forward")
    assert request["target"] == f"{nginx.https}/large.bin"
    assert (request["status"], request["rule"], request["error"]) == (206, "here", None)
    assert request["bytes_down"] == 8 * MIB
    tunnel = seen.access(kind="connect")
    assert_tls(tunnel, "intercept", "the rule")
    assert tunnel["target"] == f"127.0.0.1:{nginx.tls_port}"
    assert tunnel["tls"]["server_name"] is None  # an address is no server name
    assert tunnel["client"] == request["client"] == got.client
    assert request["tunnel"] == tunnel["id"] != request["id"]
    assert seen.opened()["id"] == tunnel["id"]
    # On the wire there is more: heads, records, the handshake.
    assert tunnel["bytes_down"] > 8 * MIB
    assert (tunnel["closed_by"], tunnel["reason"]) == ("client", "eof")


def test_curl_asks_by_name(
    tmp_path: Path, ca: Path, nginx: Nginx, intercepting: InspectingProxy, seen: ObservedProxy
) -> None:
    url = f"https://localhost:{nginx.tls_port}/file.txt"
    got = curl(tmp_path, intercepting.url, "--cacert", str(ca / "ca.pem"), url)
    assert (got.exit_code, got.status, got.body) == (0, 200, b"a small file\n")
    assert seen.access(kind="connect")["tls"]["server_name"] == "localhost"
    assert seen.access(kind="forward")["target"] == url


def test_curl_uploads(
    tmp_path: Path, ca: Path, nginx: Nginx, intercepting: InspectingProxy, seen: ObservedProxy
) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(BINARY)
    wanted = ("--cacert", str(ca / "ca.pem"), "--data-binary", f"@{upload}")
    got = curl(tmp_path, intercepting.url, *wanted, f"{nginx.https}/application/form?token=1")
    assert (got.exit_code, got.status) == (0, 200)
    told = json.loads(got.body)
    assert (told["method"], told["path"]) == ("POST", "/form?token=1")
    assert (told["length"], told["sha256"]) == (MIB, hashlib.sha256(BINARY).hexdigest())
    fields = dict(told["fields"])
    assert fields["via"].startswith("1.1 ")
    assert not [name for name in fields if name.startswith("proxy-")]
    request = seen.access(kind="forward")
    assert (request["method"], request["status"]) == ("POST", 200)
    assert request["target"] == f"{nginx.https}/application/form?…"
    assert (request["bytes_up"], request["bytes_down"]) == (MIB, len(got.body))
    assert seen.access(kind="connect")["bytes_up"] > MIB


def test_curl_asks_twice_on_one_connection(
    tmp_path: Path, ca: Path, nginx: Nginx, intercepting: InspectingProxy, seen: ObservedProxy
) -> None:
    urls = [f"{nginx.https}/file.txt?{os.urandom(8).hex()}" for _ in range(2)]
    trusting = ("--cacert", str(ca / "ca.pem"))
    first, second = curl_each(tmp_path, intercepting.url, *trusting, *urls)
    assert (first.exit_code, first.status, second.status) == (0, 200, 200)
    assert second.body == b"a small file\n" * 2
    assert (first.connections, second.connections) == (1, 0)
    # At the origin it is one connection as well.
    numbers = [line.split()[0] for url in urls for line in arrived(nginx, url.partition("?")[2])]
    assert len(numbers) == 2
    assert len(set(numbers)) == 1
    tunnel = seen.access(kind="connect")
    requests = seen.matching(kind="forward", status=200, target=f"{nginx.https}/file.txt?…")
    assert [request["tunnel"] for request in requests] == [tunnel["id"]] * 2


def test_curl_asks_for_a_head(
    tmp_path: Path, ca: Path, nginx: Nginx, intercepting: InspectingProxy, seen: ObservedProxy
) -> None:
    trusting = ("--cacert", str(ca / "ca.pem"), "--head")
    got = curl(tmp_path, intercepting.url, *trusting, f"{nginx.https}/file.txt")
    assert (got.exit_code, got.status) == (0, 200)
    assert got.fields[b"content-length"] == b"13"
    request = seen.access(kind="forward")
    assert (request["method"], request["status"], request["bytes_down"]) == ("HEAD", 200, 0)
    assert request["tunnel"] == seen.access(kind="connect")["id"]


def test_curl_that_does_not_trust_us(
    tmp_path: Path,
    certificates: Certificates,
    nginx: Nginx,
    intercepting: InspectingProxy,
    seen: ObservedProxy,
) -> None:
    trusting = ("--cacert", str(certificates.authority))
    got = curl(tmp_path, intercepting.url, *trusting, f"{nginx.https}/file.txt")
    assert (got.exit_code, got.connect_status, got.status) == (60, 200, 0)
    record = seen.access()
    assert_tls(record, "intercept", "the rule")
    assert record["error"] == "tls_alert_received"
    assert record["detail"] == "the client broke off the TLS handshake: tlsv1 alert unknown ca"
    assert (record["closed_by"], record["reason"]) == ("client", "protocol")


@pytest.mark.parametrize("json_wanted", [False, True])
def test_an_origin_that_is_not_trusted_is_told_in_a_page(
    json_wanted: bool,
    tmp_path: Path,
    ca: Path,
    nginx: Nginx,
    start_intercepting: Callable[..., InspectingProxy],
) -> None:
    intercepting = start_intercepting(origin_ca=None)
    seen = ObservedProxy(intercepting.process)
    wanted = ["--cacert", str(ca / "ca.pem")]
    wanted += ["--header", "Accept: application/json"] if json_wanted else []
    query = os.urandom(8).hex()
    got = curl(tmp_path, intercepting.url, *wanted, f"{nginx.https}/file.txt?{query}")
    assert (got.exit_code, got.connect_status, got.status) == (0, 200, 502)
    why = "the certificate of 127.0.0.1 is refused: unable to get local issuer certificate"
    request = seen.access(kind="forward")
    assert got.fields[b"proxy-status"].decode() == (
        f'wsproxy; error=tls_certificate_error; details="{why}"; id="{request["id"]}"'
    )
    if json_wanted:
        assert json.loads(got.body)["detail"] == why
    else:
        assert f"<h1>502 Bad Gateway</h1><p>{why}</p>".encode() in got.body
    assert (request["status"], request["error"]) == (502, "tls_certificate_error")
    assert request["detail"] == why
    tunnel = seen.access(kind="connect")
    assert_tls(tunnel, "intercept", "the rule")
    assert request["tunnel"] == tunnel["id"]
    assert arrived(nginx, query) == []


def test_curl_that_offers_http2_gets_what_we_speak(
    tmp_path: Path, ca: Path, nginx: Nginx, intercepting: InspectingProxy, seen: ObservedProxy
) -> None:
    wanted = ("--cacert", str(ca / "ca.pem"), "--http2")
    got = curl(tmp_path, intercepting.url, *wanted, f"{nginx.https}/file.txt")
    assert (got.exit_code, got.body) == (0, b"a small file\n")
    assert start_line(got.heads[-1]) == b"HTTP/1.1 200 OK"
    tunnel = seen.access(kind="connect")
    assert_tls(tunnel, "intercept", "the rule")
    assert tunnel["tls"]["alpn"] == ["h2", "http/1.1"]


def test_a_host_field_that_names_another_origin(
    tmp_path: Path, ca: Path, nginx: Nginx, intercepting: InspectingProxy, seen: ObservedProxy
) -> None:
    query = os.urandom(8).hex()
    wanted = ("--cacert", str(ca / "ca.pem"), "--header", "Host: other.test")
    got = curl(tmp_path, intercepting.url, *wanted, f"{nginx.https}/file.txt?{query}")
    assert (got.exit_code, got.connect_status, got.status) == (0, 200, 403)
    assert b"; error=http_request_denied; " in got.fields[b"proxy-status"]
    assert b'; rule="host-mismatch"; ' in got.fields[b"proxy-status"]
    assert b"Rule: <code>host-mismatch</code>" in got.body
    request = seen.access(status=403)
    assert (request["rule"], request["verdict"]) == ("host-mismatch", "deny")
    assert request["error"] == "http_request_denied"
    tunnel = seen.access(kind="connect")
    assert request["tunnel"] == tunnel["id"]
    assert (tunnel["rule"], tunnel["verdict"]) == ("here", "allow")
    assert arrived(nginx, query) == []


# ---------------------------------------------------------------- TLS by hand


@contextlib.contextmanager
def tunnelled(proxy: InspectingProxy, port: int) -> Iterator[Wire]:
    """A tunnel to `port` of 127.0.0.1 in which nothing was said yet."""
    with Wire.connect(proxy.port) as wire:
        wire.send(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (port, port))
        assert start_line(wire.read_head()) == b"HTTP/1.1 200 Connection established"
        yield wire


def own_certificate(certificates: Certificates) -> bytes:
    """What the origins here present."""
    pem = certificates.chain.read_text().partition("-----END CERTIFICATE-----\n")
    return ssl.PEM_cert_to_DER_cert(pem[0] + pem[1])


@pytest.mark.parametrize("offered", [["h2", "http/1.1"], ["http/1.1"], []])
def test_what_alpn_selects(
    offered: list[str],
    ca: Path,
    echo: EchoServer,
    certificates: Certificates,
    intercepting: InspectingProxy,
    seen: ObservedProxy,
) -> None:
    context = ssl.create_default_context(cafile=str(ca / "ca.pem"))
    if offered:
        context.set_alpn_protocols(offered)
    with (
        tunnelled(intercepting, echo.tls_port) as wire,
        context.wrap_socket(wire.sock, server_hostname="127.0.0.1") as tls,
    ):
        assert tls.selected_alpn_protocol() == ("http/1.1" if offered else None)
        shown = tls.getpeercert(binary_form=True)
    assert shown != own_certificate(certificates)
    record = seen.access(kind="connect")
    assert_tls(record, "intercept", "the rule")
    assert record["tls"]["alpn"] == offered


def test_a_client_that_speaks_http2_only_is_passed_through(
    echo: EchoServer,
    certificates: Certificates,
    intercepting: InspectingProxy,
    seen: ObservedProxy,
) -> None:
    context = certificates.client_context()
    context.set_alpn_protocols(["h2"])
    with (
        tunnelled(intercepting, echo.tls_port) as wire,
        context.wrap_socket(wire.sock, server_hostname="127.0.0.1") as tls,
    ):
        assert tls.getpeercert(binary_form=True) == own_certificate(certificates)
    record = seen.access()
    assert_tls(record, "passthrough", "the client's alpn")
    assert record["tls"]["alpn"] == ["h2"]
    assert record["error"] is None


def test_a_server_name_that_is_not_the_targets(
    ca: Path, echo: EchoServer, intercepting: InspectingProxy, seen: ObservedProxy
) -> None:
    context = ssl.create_default_context(cafile=str(ca / "ca.pem"))
    with tunnelled(intercepting, echo.tls_port) as wire, pytest.raises(ssl.SSLError) as caught:
        context.wrap_socket(wire.sock, server_hostname="other.test")
    assert caught.value.reason == "TLSV1_ALERT_ACCESS_DENIED"
    record = seen.access()
    assert_tls(record, "refuse", "sni-mismatch")
    assert (record["rule"], record["verdict"]) == ("sni-mismatch", "deny")
    assert record["error"] == "http_request_denied"
    assert record["tls"]["server_name"] == "other.test"
    assert (record["closed_by"], record["reason"]) == ("proxy", "refused")


# ---------------------------------------------------------------- WebSockets


def assert_conversed(
    said: Conversation, seen: ObservedProxy, echo: EchoServer, *, host: str, binary: bytes
) -> None:
    """The text, then `binary`, both echoed, are in the capture in clear, and all has its record."""
    assert said.opening["url"] == f"wss://{host}:{echo.tls_port}/socket"
    assert (said.opening["port"], said.opening["subprotocol"]) == (echo.tls_port, "chat")
    for direction in ("client", "upstream"):
        assert said.said_by(direction, "text") == ["grüße".encode()]
        assert said.said_by(direction, "binary") == [binary[:KEPT_BYTES]]
    for record in said.messages:
        if record["opcode"] == "binary":
            assert (record["size"], record["truncated"]) == (len(binary), True)
            assert record["sha256"] == hashlib.sha256(binary).hexdigest()
    assert (said.closing["code"], said.closing["clean"]) == (1000, True)
    upgrade, tunnel = seen.access(kind="upgrade"), seen.access(kind="connect")
    assert upgrade["id"] == said.opening["session"]
    assert (upgrade["target"], upgrade["status"]) == (said.opening["url"], 101)
    assert (upgrade["websocket"]["messages_up"], upgrade["websocket"]["messages_down"]) == (2, 2)
    assert_tls(tunnel, "intercept", "the rule")
    assert upgrade["tunnel"] == tunnel["id"]


@pytest.mark.parametrize("compression", ["deflate", None])
def test_websockets(
    compression: str | None,
    ca: Path,
    echo: EchoServer,
    intercepting: InspectingProxy,
    seen: ObservedProxy,
) -> None:
    with connect(
        f"wss://127.0.0.1:{echo.tls_port}/socket",
        ssl=ssl.create_default_context(cafile=str(ca / "ca.pem")),
        proxy=intercepting.url,
        subprotocols=["chat"],  # type: ignore[list-item]
        compression=compression,
        open_timeout=PATIENCE_S,
    ) as connection:
        assert connection.subprotocol == "chat"
        connection.send("grüße")
        assert connection.recv(PATIENCE_S) == "grüße"
        connection.send(BINARY)
        assert connection.recv(PATIENCE_S) == BINARY
    seen.access(kind="upgrade")
    said = intercepting.conversation()
    assert_conversed(said, seen, echo, host="127.0.0.1", binary=BINARY)
    for record in said.messages:
        if record["opcode"] in ("text", "binary"):
            assert record.get("compressed", False) == (compression is not None)


def test_the_origin_field_arrives_untouched(
    ca: Path, certificates: Certificates, intercepting: InspectingProxy, seen: ObservedProxy
) -> None:
    def tell(connection: ServerConnection) -> None:
        assert connection.request is not None
        connection.send(json.dumps(list(connection.request.headers.raw_items())))

    context = certificates.server_context()
    with serve(tell, "127.0.0.1", 0, ssl=context) as server, served(server):
        url = f"wss://127.0.0.1:{server.socket.getsockname()[1]}/socket"
        with connect(
            url,
            ssl=ssl.create_default_context(cafile=str(ca / "ca.pem")),
            proxy=intercepting.url,
            origin=Origin("https://app.test"),
            open_timeout=PATIENCE_S,
        ) as connection:
            told = json.loads(connection.recv(PATIENCE_S))
    arrived = [value for name, value in told if name.lower() == "origin"]
    assert arrived == ["https://app.test"]
    assert seen.access(kind="upgrade")["target"] == url
    said = intercepting.conversation()
    assert said.opening["url"] == url
    sent = [value for name, value in said.opening["request"] if name.lower() == "origin"]
    assert sent == ["https://app.test"]


def talk_by_node(
    home: Path, intercepting: InspectingProxy, echo: EchoServer, authority: Path
) -> dict[str, Any]:
    """Asks by name: for an address `ws` with an agent checks that the leaf is of localhost."""
    return node(
        home,
        url=f"wss://localhost:{echo.tls_port}/socket",
        proxy=intercepting.url,
        agent="tunnel",
        authority=str(authority),
        bytes=BYTES,
    )


@pytest.mark.usefixtures("node_packages")
def test_node(
    tmp_path: Path, ca: Path, echo: EchoServer, intercepting: InspectingProxy, seen: ObservedProxy
) -> None:
    told = talk_by_node(tmp_path, intercepting, echo, ca / "ca.pem")
    assert told == {"code": 1000, "protocol": "chat", "text": "grüße", "intact": True}
    seen.access(kind="upgrade")
    intercepting.stop()
    opening, *messages, closing = (json.loads(line) for line in intercepting.lines())
    assert (opening["event"], closing["event"]) == ("open", "close")
    assert {record["event"] for record in messages} == {"message"}
    said = Conversation(opening, messages, closing)
    said.assert_ordered()
    binary = (b"wsproxy" * BYTES)[:BYTES]
    assert_conversed(said, seen, echo, host="localhost", binary=binary)


@pytest.mark.usefixtures("node_packages")
def test_node_that_does_not_trust_us(
    tmp_path: Path,
    certificates: Certificates,
    echo: EchoServer,
    intercepting: InspectingProxy,
    seen: ObservedProxy,
) -> None:
    told = talk_by_node(tmp_path, intercepting, echo, certificates.authority)
    assert told == {"error": "Error: self-signed certificate in certificate chain"}
    record = seen.access()
    assert_tls(record, "intercept", "the rule")
    # It says nothing, it only hangs up.
    detail = "the client broke off the TLS handshake: it closed the connection"
    assert (record["error"], record["detail"]) == ("connection_terminated", detail)
    intercepting.stop()
    assert list(intercepting.lines()) == []


def test_java(
    ca: Path, java: Java, echo: EchoServer, intercepting: InspectingProxy, seen: ObservedProxy
) -> None:
    told = Java(java.classes, ca / "ca.pem").run(
        "ws",
        f"wss://127.0.0.1:{echo.tls_port}/socket",
        proxy_port=intercepting.port,
        bytes_up=BYTES,
    )
    assert told == {"code": "1000", "protocol": "chat", "text": "grüße", "intact": "true"}
    seen.access(kind="upgrade")
    binary = (bytes(range(251)) * BYTES)[:BYTES]
    said = intercepting.conversation()
    assert_conversed(said, seen, echo, host="127.0.0.1", binary=binary)


def test_java_gets(
    ca: Path, java: Java, nginx: Nginx, intercepting: InspectingProxy, seen: ObservedProxy
) -> None:
    told = Java(java.classes, ca / "ca.pem").run(
        "get", f"{nginx.https}/file.txt", proxy_port=intercepting.port
    )
    assert told == {"status": "200", "body": "a small file\\n"}
    tunnel = seen.access(kind="connect")
    assert_tls(tunnel, "intercept", "the rule")
    assert tunnel["tls"]["alpn"] == ["h2", "http/1.1"]
    request = seen.access(kind="forward")
    assert (request["target"], request["tunnel"]) == (f"{nginx.https}/file.txt", tunnel["id"])


# ---------------------------------------------------------------- the CA


def openssl(*arguments: str | Path) -> str:
    """Runs openssl and returns what it prints."""
    return subprocess.run(
        ["openssl", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PROGRAM_PATIENCE_S,
        check=True,
    ).stdout


def test_ca_init(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    told = make_ca(folder)
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}
    assert files == {"ca": 0o700, "ca.pem": 0o644, "ca.key": 0o600}
    shown = openssl("x509", "-in", folder / "ca.pem", "-noout", "-sha256", "-fingerprint", "-text")
    fingerprint = shown.splitlines()[0].partition("=")[2]
    assert f"SHA-256      {fingerprint}\n" in told
    assert "CA:TRUE" in shown
    assert f"  ca_certificate: {folder}/ca.pem\n  ca_key: {folder}/ca.key\n" in told
    of_key = openssl("pkey", "-in", folder / "ca.key", "-pubout")
    assert of_key == openssl("x509", "-in", folder / "ca.pem", "-noout", "-pubkey")


def test_ca_init_overwrites_nothing(ca: Path) -> None:
    before = {path.name: path.read_bytes() for path in ca.iterdir()}
    done = run_ca("init", ca)
    assert done.returncode == 1
    assert "exists and stays as it is" in done.stderr
    assert {path.name: path.read_bytes() for path in ca.iterdir()} == before


def test_an_exported_ca_is_what_clients_need(
    tmp_path: Path, ca: Path, nginx: Nginx, intercepting: InspectingProxy, seen: ObservedProxy
) -> None:
    exported = tmp_path / "exported.pem"
    done = run_ca("export", "--output", exported, ca)
    assert done.returncode == 0, done.stderr
    assert b"PRIVATE" not in exported.read_bytes()
    trusting = ("--cacert", str(exported))
    got = curl(tmp_path, intercepting.url, *trusting, f"{nginx.https}/file.txt")
    assert (got.exit_code, got.body) == (0, b"a small file\n")
    assert_tls(seen.access(kind="connect"), "intercept", "the rule")
