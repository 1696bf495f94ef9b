"""HAProxy in front: rules, limits and records see who connected to it, in plain and over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.doorkeeper import Doorkeeper
from tests.support.proxy_process import ProxyProcess, start_proxy

from .clients import curl, node
from .haproxy import HaProxy, run_haproxy
from .observed import ObservedProxy
from .origins import Certificates, EchoServer, Nginx

GOOD, BAD = "127.0.0.77", "127.0.0.78"
BEHIND = """
listeners:
  - {{address: 127.0.0.1:0, proxy_protocol: {{trust: [127.0.0.1]}}}}
  - {tls}
auth: {{required: false, methods: [{{type: certificate}}]}}
policy:
  default: deny
  private_networks: [{{hosts: ["*"], networks: [127.0.0.0/8]}}]
  rules:
    - {{name: not-him, when: {{clients: [{bad}]}}, action: deny}}
    - {{name: others, action: allow}}
"""


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Doorkeeper:
    return Doorkeeper(tmp_path_factory.mktemp("keeper"))


@pytest.fixture(scope="module")
def behind(
    tmp_path_factory: pytest.TempPathFactory, keeper: Doorkeeper
) -> Iterator[tuple[ProxyProcess, HaProxy]]:
    """The proxy, and the balancer in front of it."""
    folder = tmp_path_factory.mktemp("behind")
    tls = keeper.listener()[:-1] + ", proxy_protocol: {trust: [127.0.0.1]}}"
    config = BEHIND.format(tls=tls, bad=BAD)
    with start_proxy(config, folder, listeners=2) as process:
        plain, secure = (port for _host, port in process.addresses)
        with run_haproxy(folder, plain=plain, secure=secure) as balancer:
            yield process, balancer
        assert process.terminate() == 0
        assert "Traceback" not in process.stderr, process.stderr


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_client_is_who_connected_to_the_balancer(
    tmp_path: Path,
    certificates: Certificates,
    nginx: Nginx,
    behind: tuple[ProxyProcess, HaProxy],
    version: str,
    scheme: str,
) -> None:
    process, balancer = behind
    seen = ObservedProxy(process)
    url = f"http://127.0.0.1:{getattr(balancer, version)}"
    trusting = ("--cacert", str(certificates.authority))
    target = f"{getattr(nginx, scheme)}/file.txt"
    got = curl(tmp_path, url, "--interface", GOOD, *trusting, target)
    assert (got.exit_code, got.status, got.body) == (0, 200, b"a small file\n")
    assert got.client.startswith(GOOD + ":")
    record = seen.access(client=got.client)
    assert (record["rule"], record["status"]) == ("others", 200)
    refused = curl(tmp_path, url, "--interface", BAD, *trusting, target)
    assert 403 in (refused.status, refused.connect_status)
    assert seen.access(client=refused.client)["rule"] == "not-him"


def test_tls_goes_through_the_balancer_and_certificates_with_it(
    tmp_path: Path,
    certificates: Certificates,
    nginx: Nginx,
    keeper: Doorkeeper,
    behind: tuple[ProxyProcess, HaProxy],
) -> None:
    process, balancer = behind
    seen = ObservedProxy(process)
    alice = keeper.issue("alice")
    got = curl(
        tmp_path,
        f"https://127.0.0.1:{balancer.tls}",
        *("--interface", GOOD, "--proxy-cacert", str(keeper.ca)),
        *("--proxy-cert", str(alice.certificate), "--proxy-key", str(alice.key)),
        *("--cacert", str(certificates.authority), f"{nginx.https}/file.txt"),
    )
    assert (got.exit_code, got.status, got.body) == (0, 200, b"a small file\n")
    assert seen.access(client=got.client)["user"] == "alice"


@pytest.mark.usefixtures("node_packages")
def test_a_websocket_goes_through_the_balancer(
    tmp_path: Path,
    certificates: Certificates,
    echo: EchoServer,
    behind: tuple[ProxyProcess, HaProxy],
) -> None:
    process, balancer = behind
    seen = ObservedProxy(process)
    told = node(
        tmp_path,
        url=f"wss://localhost:{echo.tls_port}/socket",
        proxy=f"http://127.0.0.1:{balancer.v2}",
        agent="tunnel",
        authority=str(certificates.authority),
        bytes=1_500_000,
    )
    assert told == {"code": 1000, "protocol": "chat", "text": "grüße", "intact": True}
    record = seen.access(kind="connect")
    assert record["reason"] == "eof"


def test_who_goes_past_the_balancer_is_not_served(
    tmp_path: Path, nginx: Nginx, behind: tuple[ProxyProcess, HaProxy]
) -> None:
    process, _balancer = behind
    seen = ObservedProxy(process)
    got = curl(tmp_path, process.urls[0], f"{nginx.http}/file.txt")
    assert got.status == 400
    assert "PROXY header" in seen.access(client=got.client)["detail"]
    # From elsewhere no header is taken: it is an ordinary client, who cannot name another.
    got = curl(
        tmp_path, process.urls[0], "--haproxy-protocol", "--interface", BAD, f"{nginx.http}/x"
    )
    assert got.status == 400
    assert seen.access(client=got.client)["class"] == "T1"
    got = curl(tmp_path, process.urls[0], "--interface", BAD, f"{nginx.http}/file.txt")
    assert (got.status, seen.access(client=got.client)["rule"]) == (403, "not-him")


def test_curl_is_a_balancer_too(
    tmp_path: Path, nginx: Nginx, behind: tuple[ProxyProcess, HaProxy]
) -> None:
    process, _balancer = behind
    seen = ObservedProxy(process)
    got = curl(tmp_path, process.urls[0], "--haproxy-protocol", f"{nginx.http}/file.txt")
    assert (got.status, got.body) == (200, b"a small file\n")
    assert seen.access(client=got.client)["rule"] == "others"
