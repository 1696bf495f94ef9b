"""Servers, proxies and clients that the end-to-end tests share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.kdc import Realms, start_realms
from tests.support.proxy_process import ProxyProcess, add_user, start_proxy

from .clients import Credentials, Java, compile_java, install_node_packages, make_ca
from .inspected import LOGGING, InspectingProxy
from .observed import ALICE, OPEN, SECURED, ObservedProxy
from .origins import (
    Certificates,
    EchoServer,
    Nginx,
    make_certificates,
    run_application,
    run_echo_server,
    run_nginx,
)
from .wire import RawOrigin

PROXY_HOST = "proxy.corp.example"
PARENT_HOST = "parent.corp.example"
"""Names in tickets; nothing resolves them."""

INTERCEPTING = """
listeners: [{{address: 127.0.0.1:0}}]
inspection: {{capture: {{directory: captures, payload: 64KiB}}}}
policy:
  default: deny
  private_networks: [{{hosts: [127.0.0.1, localhost], networks: [127.0.0.0/8, "::1/128"]}}]
  rules: [{{name: here, when: {{hosts: [127.0.0.1, localhost]}}, action: allow, tls: intercept, websocket: log}}]
interception:
  ca_certificate: {ca}/ca.pem
  ca_key: {ca}/ca.key
  passthrough: {passthrough}
  upstream: {upstream}
"""


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """What the TLS servers present and the clients trust."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def application() -> Iterator[int]:
    """Port of the application that describes the requests it gets."""
    with run_application() as port:
        yield port


@pytest.fixture(scope="session")
def echo(certificates: Certificates) -> Iterator[EchoServer]:
    """The WebSocket server."""
    with run_echo_server(certificates) as server:
        yield server


@pytest.fixture(scope="session")
def nginx(
    tmp_path_factory: pytest.TempPathFactory,
    certificates: Certificates,
    application: int,
    echo: EchoServer,
) -> Iterator[Nginx]:
    """Debian's nginx in front of the application."""
    directory = tmp_path_factory.mktemp("nginx")
    with run_nginx(directory, certificates, application=application, echo=echo.port) as server:
        yield server


@pytest.fixture(scope="session")
def realms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realms]:
    """A KDC, keytabs of the services here, and Alice logged in; more users are in the directory or not."""
    with start_realms(tmp_path_factory.mktemp("realms")) as realms:
        for user in ("alice", "bob", "twin", "stranger"):
            realms.kadmin("addprinc", "-pw", "secret", user)
        realms.kadmin("addprinc", "-randkey", "svc")
        realms.keytab("svc.keytab", "svc")
        services = {
            "proxy.keytab": (f"HTTP/{PROXY_HOST}", "HTTP/proxy.localhost"),
            "parent.keytab": (f"HTTP/{PARENT_HOST}",),
            "origin.keytab": ("HTTP/localhost",),
        }
        for keytab, principals in services.items():
            for principal in principals:
                realms.kadmin("addprinc", "-randkey", principal)
            realms.keytab(keytab, *principals)
        realms.kinit("alice", "secret")
        yield realms


@pytest.fixture(scope="session")
def java(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Java:
    """The JDK's own client, compiled once."""
    return compile_java(tmp_path_factory.mktemp("classes"), certificates.authority)


@pytest.fixture(scope="session")
def node_packages() -> None:
    """The Node.js packages, at the versions of the lock file."""
    install_node_packages()


def _run(configuration: str, directory: Path) -> Iterator[ProxyProcess]:
    with start_proxy(configuration, directory) as process:
        yield process
        assert process.is_running(), process.stderr
        assert "Traceback" not in process.stderr, process.stderr
        assert process.terminate() == 0


@pytest.fixture(scope="module")
def open_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    """A proxy that lets anybody through, for one module; it must end well at the end of it."""
    yield from _run(OPEN, tmp_path_factory.mktemp("open"))


@pytest.fixture(scope="module")
def secured_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    """The same for a proxy that wants Alice's credentials."""
    directory = tmp_path_factory.mktemp("secured")
    add_user(directory / "users", ALICE.user, ALICE.password)
    yield from _run(SECURED, directory)


@pytest.fixture
def proxy(open_process: ProxyProcess) -> ObservedProxy:
    """The open proxy, with an eye on the records of this test."""
    return ObservedProxy(open_process)


@pytest.fixture
def secured(secured_process: ProxyProcess) -> ObservedProxy:
    """The proxy that wants credentials, with an eye on the records of this test."""
    return ObservedProxy(secured_process)


@pytest.fixture
def inspecting(tmp_path: Path) -> Iterator[InspectingProxy]:
    """A proxy whose capture holds the messages of one test."""
    with start_proxy(LOGGING, tmp_path) as process:
        yield InspectingProxy(process, tmp_path)


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the authority that interception signs with, made by the product's own command."""
    folder = tmp_path_factory.mktemp("interception") / "ca"
    make_ca(folder)
    return folder


@pytest.fixture
def start_intercepting(
    tmp_path: Path, ca: Path, certificates: Certificates
) -> Iterator[Callable[..., InspectingProxy]]:
    """Starts a proxy for one test that looks into TLS; it must end well at the end of it.

    It is given PEM files of an authority that origins may have, and the YAML of
    ``interception.passthrough``.
    """
    with contextlib.ExitStack() as stack:
        started = []

        def start(
            *, origin_ca: Path | None = certificates.authority, passthrough: str = "{}"
        ) -> InspectingProxy:
            upstream = "{}" if origin_ca is None else f"{{ca: {origin_ca}}}"
            text = INTERCEPTING.format(ca=ca, passthrough=passthrough, upstream=upstream)
            process = stack.enter_context(start_proxy(text, tmp_path))
            started.append(InspectingProxy(process, tmp_path))
            return started[-1]

        yield start
        for proxy in started:
            if proxy.process.is_running():
                proxy.stop()


@pytest.fixture
def intercepting(start_intercepting: Callable[..., InspectingProxy]) -> InspectingProxy:
    """A proxy that looks into TLS, and trusts the authority of the servers here."""
    return start_intercepting()


@pytest.fixture
def origin() -> Iterator[RawOrigin]:
    """An origin that the test answers for by hand."""
    with RawOrigin() as server:
        yield server


@pytest.fixture
def wrong_password() -> Credentials:
    """Credentials that are refused."""
    return Credentials(ALICE.user, "not it")
