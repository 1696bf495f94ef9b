"""TLS to the proxy: curl, Python, Node.js and Chromium, with and without certificates."""

from __future__ import annotations

import hashlib
import http.client
import json
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.x509 import DNSName
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from tests.support.doorkeeper import SERVER, Doorkeeper, Shown
from tests.support.programs import free_port
from tests.support.proxy_process import ProxyProcess, add_user, start_proxy

from .chromium import run_chromium
from .clients import Fetched, curl, curl_each, node
from .conftest import INTERCEPTING
from .inspected import InspectingProxy
from .observed import ALICE, ObservedProxy
from .origins import Certificates, EchoServer, Nginx
from .wire import PATIENCE_S

MIB = 1024 * 1024
UPLOAD = bytes(range(256)) * 32 * 1024  # 8 MiB
ECHOED = {"code": 1000, "protocol": "chat", "text": "grüße", "intact": True}
SECURE = """
listeners: [{listener}]
auth:
  methods:
    - {{type: certificate}}
    - {{type: basic, users: users}}
policy:
  private_networks: [{{hosts: ["*"], networks: [127.0.0.0/8, "::1/128"]}}]
  rules:
    - {{name: desk, when: {{groups: [desk]}}, action: allow, websocket: log}}
    - {{name: by-password, when: {{users: [{user}]}}, action: allow}}
inspection: {{capture: {{directory: captures, payload: 64KiB}}}}
"""


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Doorkeeper:
    return Doorkeeper(tmp_path_factory.mktemp("keeper"))


@pytest.fixture(scope="module")
def dealer(keeper: Doorkeeper) -> Shown:
    """The certificate of somebody at the desk."""
    return keeper.issue("dealer", "desk")


@pytest.fixture(scope="module")
def revoked(keeper: Doorkeeper) -> Shown:
    return keeper.issue("mallory", "desk")


@pytest.fixture(scope="module")
def process(
    tmp_path_factory: pytest.TempPathFactory, keeper: Doorkeeper, revoked: Shown
) -> Iterator[ProxyProcess]:
    """A proxy whose clients prove themselves by a certificate or by a password."""
    folder = tmp_path_factory.mktemp("secure")
    add_user(folder / "users", ALICE.user, ALICE.password)
    crl = keeper.revoke(revoked)
    listener = keeper.listener(more=f", client_crl: {crl}")
    with start_proxy(SECURE.format(listener=listener, user=ALICE.user), folder) as started:
        yield started
        assert started.is_running(), started.stderr
        assert "Traceback" not in started.stderr, started.stderr
        assert started.terminate() == 0


@pytest.fixture
def seen(process: ProxyProcess) -> ObservedProxy:
    return ObservedProxy(process)


def showing(keeper: Doorkeeper, shown: Shown | None) -> list[str]:
    """curl's options for TLS to the proxy."""
    options = ["--proxy-cacert", str(keeper.ca)]
    if shown is not None:
        options += ["--proxy-cert", str(shown.certificate), "--proxy-key", str(shown.key)]
    return options


def head_of(fetched: Fetched) -> bytes:
    return b"".join(fetched.heads).lower()


# ---------------------------------------------------------------- curl


def test_curl_gets_in_absolute_form(
    tmp_path: Path, keeper: Doorkeeper, dealer: Shown, nginx: Nginx, seen: ObservedProxy
) -> None:
    assert seen.url.startswith("https://127.0.0.1:")
    urls = [f"{nginx.http}/file.txt", f"{nginx.http}/application/x"]
    first, second = curl_each(tmp_path, seen.url, *showing(keeper, dealer), *urls)
    assert (first.status, second.status, second.connections) == (200, 200, 0)
    record = seen.access(target=urls[0])
    assert (record["kind"], record["user"], record["rule"]) == ("forward", "dealer", "desk")
    # Nothing of the certificate goes on to the origin.
    told = json.loads(second.body.partition(b"\n")[2])
    assert not [name for name, value in told["fields"] if "dealer" in value or "desk" in value]


def test_curl_gets_and_uploads_much_by_tls_in_tls(
    tmp_path: Path,
    keeper: Doorkeeper,
    dealer: Shown,
    certificates: Certificates,
    nginx: Nginx,
    seen: ObservedProxy,
) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(UPLOAD)
    options = [*showing(keeper, dealer), "--cacert", str(certificates.authority)]
    wanted = (*options, "--range", f"0-{32 * MIB - 1}", f"{nginx.https}/large.bin")
    got = curl(tmp_path, seen.url, *wanted)
    assert (got.exit_code, got.connect_status, got.status) == (0, 200, 206)
    assert got.body == nginx.large_slice(0, 32 * MIB - 1)
    record = seen.access(client=got.client)
    assert (record["kind"], record["user"]) == ("connect", "dealer")
    assert record["bytes_down"] > 32 * MIB
    sent = curl(
        tmp_path, seen.url, *options, "--data-binary", f"@{upload}", f"{nginx.https}/application/f"
    )
    told = json.loads(sent.body)
    assert (told["length"], told["sha256"]) == (len(UPLOAD), hashlib.sha256(UPLOAD).hexdigest())


def test_curl_without_a_certificate_is_asked_for_a_password(
    tmp_path: Path, keeper: Doorkeeper, nginx: Nginx, seen: ObservedProxy
) -> None:
    url = f"{nginx.http}/file.txt"
    asked = curl(tmp_path, seen.url, *showing(keeper, None), url)
    assert asked.status == 407
    assert head_of(asked).count(b"proxy-authenticate:") == 1
    got = curl(tmp_path, ALICE.in_url(seen.url), *showing(keeper, None), url)
    assert (got.status, got.body) == (200, b"a small file\n")
    assert seen.access(client=got.client)["user"] == ALICE.user


@pytest.mark.parametrize(
    ("kind", "detail"),
    [
        ("expired", "certificate has expired"),
        ("revoked", "certificate revoked"),
        ("stranger", "unable to get local issuer certificate"),
        ("server", "unsuitable certificate purpose"),
    ],
)
def test_curl_with_a_bad_certificate_is_refused_and_the_record_says_why(
    tmp_path: Path,
    keeper: Doorkeeper,
    revoked: Shown,
    nginx: Nginx,
    seen: ObservedProxy,
    kind: str,
    detail: str,
) -> None:
    others = {
        "expired": lambda: keeper.issue_expired("dealer"),
        "revoked": lambda: revoked,
        "stranger": lambda: Doorkeeper(tmp_path, "another").issue("dealer", "desk"),
        "server": lambda: keeper.server,
    }
    got = curl(tmp_path, seen.url, *showing(keeper, others[kind]()), f"{nginx.http}/")
    assert (got.exit_code, got.status) == (56, 0)
    record = seen.access(client=got.client)
    assert (record["error"], record["user"], record["status"]) == (
        "tls_certificate_error",
        None,
        None,
    )
    assert detail in record["detail"]


def test_curl_that_does_not_trust_the_proxy(
    tmp_path: Path, certificates: Certificates, nginx: Nginx, seen: ObservedProxy
) -> None:
    got = curl(tmp_path, seen.url, "--proxy-cacert", str(certificates.authority), f"{nginx.http}/")
    assert got.exit_code == 60
    record = seen.access(client=got.client)
    assert (record["error"], record["closed_by"]) == ("tls_alert_received", "client")


def test_curl_that_forgets_the_s(tmp_path: Path, nginx: Nginx, seen: ObservedProxy) -> None:
    got = curl(tmp_path, seen.url.replace("https:", "http:"), f"{nginx.http}/file.txt")
    assert got.status == 400
    assert b"the URL of the proxy begins with https://" in got.body


# ---------------------------------------------------------------- Python


def test_python_keeps_its_connection(
    keeper: Doorkeeper, dealer: Shown, nginx: Nginx, seen: ObservedProxy
) -> None:
    client = http.client.HTTPSConnection(
        "127.0.0.1", seen.port, context=keeper.trusting(dealer), timeout=PATIENCE_S
    )
    client.connect()
    address = "{}:{}".format(*client.sock.getsockname())
    for number in range(3):
        client.request("GET", f"{nginx.http}/file.txt?{number}")
        with client.getresponse() as response:
            assert (response.status, response.read()) == (200, b"a small file\n")
    client.close()
    seen.process.wait_until_logged(lambda _: len(seen.matching(client=address)) == 3)
    assert [record["user"] for record in seen.matching(client=address)] == ["dealer"] * 3


def test_python_converses_over_a_websocket_that_is_recorded(
    keeper: Doorkeeper, dealer: Shown, echo: EchoServer, seen: ObservedProxy
) -> None:
    with connect(
        f"ws://127.0.0.1:{echo.port}/socket",
        proxy=seen.url,
        proxy_ssl=keeper.trusting(dealer),
        subprotocols=["chat"],  # type: ignore[list-item]
        open_timeout=PATIENCE_S,
        max_size=16 * MIB,
    ) as connection:
        connection.send("grüße")
        assert connection.recv(PATIENCE_S) == "grüße"
        connection.send(UPLOAD)
        assert connection.recv(PATIENCE_S) == UPLOAD
        client = "{}:{}".format(*connection.local_address[:2])
    record = seen.access(client=client)
    assert (record["kind"], record["user"]) == ("connect", "dealer")
    said = record["websocket"]
    assert (said["messages_up"], said["messages_down"], said["trouble"]) == (2, 2, None)


# ---------------------------------------------------------------- Node.js


@pytest.mark.usefixtures("node_packages")
@pytest.mark.parametrize(
    ("agent", "scheme"), [("tunnel", "wss"), ("tunnel", "ws"), ("absolute", "ws")]
)
def test_node_converses(
    tmp_path: Path,
    keeper: Doorkeeper,
    dealer: Shown,
    certificates: Certificates,
    echo: EchoServer,
    seen: ObservedProxy,
    agent: str,
    scheme: str,
) -> None:
    told = node(
        tmp_path,
        url=f"{scheme}://localhost:{echo.tls_port if scheme == 'wss' else echo.port}/socket",
        proxy=seen.url,
        proxyTls={
            "ca": str(keeper.ca),
            "cert": str(dealer.certificate),
            "key": str(dealer.key),
        },
        agent=agent,
        authority=str(certificates.authority),
        bytes=1_500_000,
    )
    assert told == ECHOED
    record = seen.access(user="dealer")
    assert record["kind"] == ("connect" if agent == "tunnel" else "upgrade")


# ---------------------------------------------------------------- a reload


def test_whose_certificate_is_revoked_loses_what_is_open_and_nobody_else_does(
    tmp_path: Path, echo: EchoServer
) -> None:
    keeper = Doorkeeper(tmp_path)
    alice, mallory = keeper.issue("alice", "desk"), keeper.issue("mallory", "desk")
    add_user(tmp_path / "users", ALICE.user, ALICE.password)
    listener = keeper.listener(more=f", client_crl: {keeper.revoke()}")
    with start_proxy(SECURE.format(listener=listener, user=ALICE.user), tmp_path) as started:

        def chat(shown: Shown) -> ClientConnection:
            return connect(
                f"ws://127.0.0.1:{echo.port}/socket",
                proxy=started.url,
                proxy_ssl=keeper.trusting(shown),
                subprotocols=["chat"],  # type: ignore[list-item]
                open_timeout=PATIENCE_S,
            )

        with chat(alice) as hers, chat(mallory) as his:
            keeper.revoke(mallory)
            started.send_signal(signal.SIGHUP)
            started.wait_stderr("; 1 of [0-9]+ sessions under way are not allowed")
            with pytest.raises(ConnectionClosed):
                his.recv(PATIENCE_S)
            hers.send("still here")
            assert hers.recv(PATIENCE_S) == "still here"
        with pytest.raises((ssl.SSLError, OSError, EOFError, InvalidHandshake)):
            chat(mallory)
        with chat(alice) as hers:
            hers.send("and again")
            assert hers.recv(PATIENCE_S) == "and again"
        ended = [r for r in started.records(event="access") if r["user"] == "mallory"]
        assert [r["reason"] for r in ended] == ["revoked"]
        started.wait_until_logged(
            lambda found: any(r["error"] == "tls_certificate_error" for r in found)
        )


def test_a_new_certificate_of_the_listener_counts_from_the_reload_on(
    tmp_path: Path, echo: EchoServer
) -> None:
    keeper = Doorkeeper(tmp_path)
    add_user(tmp_path / "users", ALICE.user, ALICE.password)
    config = SECURE.format(listener=keeper.listener(), user=ALICE.user)
    with start_proxy(config, tmp_path) as started:

        def serial() -> int:
            with socket.create_connection(started.address, PATIENCE_S) as sock:
                context = keeper.trusting()
                with context.wrap_socket(sock, server_hostname="proxy.test") as tls:
                    shown = tls.getpeercert()
                    assert shown is not None
                    return int(str(shown["serialNumber"]), 16)

        assert serial() == keeper.server.serial
        again = keeper.issue(
            "the proxy", names=[DNSName("proxy.test")], purpose=SERVER, file="server"
        )
        started.send_signal(signal.SIGHUP)
        started.wait_stderr("holds now")
        assert serial() == again.serial
        keeper.server.key.chmod(0o644)
        started.send_signal(signal.SIGHUP)
        started.wait_stderr("reload: nothing has changed")
        assert "chmod 600" in started.stderr
        assert serial() == again.serial


def test_a_listener_stays_what_it_is_when_their_order_changes(tmp_path: Path) -> None:
    keeper = Doorkeeper(tmp_path)
    plain = f"{{address: '127.0.0.1:{free_port()}'}}"
    secure = keeper.listener(address=f"127.0.0.1:{free_port()}", asks=False)
    config = f"listeners: [{plain}, {secure}]\npolicy: {{default: allow}}\n"
    with start_proxy(config, tmp_path, listeners=2) as started:
        (file,) = tmp_path.glob("wsproxy-*.yaml")

        def answers() -> list[int]:
            return [
                curl(tmp_path, url, *showing(keeper, None), "http://127.0.0.1/").status
                for url in started.urls
            ]

        assert [url.partition(":")[0] for url in started.urls] == ["http", "https"]
        assert answers() == [403, 403]
        file.write_text(f"listeners: [{secure}, {plain}]\npolicy: {{default: allow}}\n")
        started.send_signal(signal.SIGHUP)
        started.wait_stderr("holds now")
        assert answers() == [403, 403]


# ---------------------------------------------------------------- Chromium


def test_chromium_pages_and_websockets_with_a_password(
    tmp_path: Path,
    keeper: Doorkeeper,
    certificates: Certificates,
    nginx: Nginx,
    echo: EchoServer,
    seen: ObservedProxy,
) -> None:
    authorities = [keeper.ca, certificates.authority]
    with run_chromium(tmp_path, seen.url, credentials=ALICE, authorities=authorities) as page:
        assert page.visit(f"{nginx.https}/page.html") == ""
        assert page.evaluate("document.title") == "loaded"
        url = f"wss://127.0.0.1:{echo.tls_port}/socket"
        told = page.evaluate(f"converse({json.dumps(url)}, 100000)")
        assert (told["code"], told["intact"]) == (1000, True)
        assert page.challenges == 1
    assert seen.access(target=f"127.0.0.1:{echo.tls_port}", status=200)["user"] == ALICE.user


def test_chromium_that_does_not_trust_the_proxy(
    tmp_path: Path, certificates: Certificates, nginx: Nginx, seen: ObservedProxy
) -> None:
    with run_chromium(tmp_path, seen.url, authorities=[certificates.authority]) as page:
        assert page.visit(f"{nginx.http}/page.html") == "net::ERR_PROXY_CERTIFICATE_INVALID"


# ---------------------------------------------------------------- looked into


@pytest.mark.usefixtures("node_packages")
def test_tls_inside_tls_is_intercepted_and_its_messages_are_recorded(
    tmp_path: Path,
    keeper: Doorkeeper,
    ca: Path,
    certificates: Certificates,
    nginx: Nginx,
    echo: EchoServer,
) -> None:
    upstream = f"{{ca: {certificates.authority}}}"
    text = INTERCEPTING.format(ca=ca, passthrough="{}", upstream=upstream)
    text = text.replace("{address: 127.0.0.1:0}", keeper.listener(asks=False))
    with start_proxy(text, tmp_path) as started:
        intercepting = InspectingProxy(started, tmp_path)
        options = [*showing(keeper, None), "--cacert", str(ca / "ca.pem")]
        got = curl(
            tmp_path,
            intercepting.url,
            *options,
            *("--range", f"0-{8 * MIB - 1}", f"{nginx.https}/large.bin"),
        )
        assert (got.exit_code, got.connect_status, got.status) == (0, 200, 206)
        assert got.body == nginx.large_slice(0, 8 * MIB - 1)
        told = node(
            tmp_path,
            url=f"wss://localhost:{echo.tls_port}/socket",
            proxy=intercepting.url,
            proxyTls={"ca": str(keeper.ca)},
            agent="tunnel",
            authority=str(ca / "ca.pem"),
            bytes=300_000,
        )
        assert told == ECHOED
        intercepting.stop()
        opening, *messages, closing = (json.loads(line) for line in intercepting.lines())
    assert opening["url"] == f"wss://localhost:{echo.tls_port}/socket"
    texts = [(one["direction"], one["text"]) for one in messages if one["opcode"] == "text"]
    assert texts == [("client", "grüße"), ("upstream", "grüße")]
    assert (closing["code"], closing["clean"]) == (1000, True)
