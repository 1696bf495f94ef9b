"""A browser whose TLS is looked into, because it trusts the proxy's CA, or not, because it does not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from tests.support.proxy_process import Record

from .chromium import Page, run_chromium
from .inspected import InspectingProxy
from .observed import ObservedProxy
from .origins import Certificates, EchoServer, Nginx

KEPT_BYTES = 64 * 1024
BYTES = 100_000
BINARY = bytes(index % 251 for index in range(BYTES))  # what `converse` in pages/script.js sends
ECHOED = {
    "code": 1000,
    "clean": True,
    "protocol": "chat",
    "text": "grüße",
    "length": BYTES,
    "intact": True,
}
DISTRUST = "net::ERR_CERT_AUTHORITY_INVALID"


def converse(page: Page, url: str) -> object:
    """What a `new WebSocket()` of the page has to tell."""
    return page.evaluate(f"converse({json.dumps(url)}, {BYTES})")


def tls_of(record: Record) -> tuple[str, str]:
    """What was done with a tunnel's TLS, and why."""
    return record["tls"]["action"], record["tls"]["why"]


def test_a_page_its_script_fetch_and_a_websocket(
    tmp_path: Path, ca: Path, nginx: Nginx, echo: EchoServer, intercepting: InspectingProxy
) -> None:
    seen = ObservedProxy(intercepting.process)
    url = f"wss://127.0.0.1:{echo.tls_port}/socket"
    with run_chromium(tmp_path, intercepting.url, authorities=[ca / "ca.pem"]) as page:
        assert page.visit(f"{nginx.https}/page.html") == ""
        assert page.evaluate("document.title") == "loaded"
        assert page.evaluate("window.isSecureContext") is True
        fetched = page.evaluate("fetchText('/file.txt')")
        assert fetched == {"status": 200, "text": "a small file\n"}
        assert converse(page, url) == ECHOED
    upgrade = seen.access(kind="upgrade")
    assert (upgrade["target"], upgrade["status"]) == (url, 101)
    tunnel = seen.access(id=upgrade["tunnel"])
    assert tls_of(tunnel) == ("intercept", "the rule")
    assert tunnel["tls"]["alpn"] == ["http/1.1"]  # it asks for a WebSocket in HTTP/1.1 only
    for path in ("/page.html", "/script.js", "/file.txt"):
        request = seen.access(target=nginx.https + path)
        assert (request["kind"], request["status"]) == ("forward", 200)
        opened = seen.opened(id=request["tunnel"])
        assert tls_of(opened) == ("intercept", "the rule")
        assert opened["tls"]["alpn"] == ["h2", "http/1.1"]
    said = intercepting.conversation()
    assert (said.opening["url"], said.opening["session"]) == (url, upgrade["id"])
    sent = {name.lower(): value for name, value in said.opening["request"]}
    assert sent["origin"] == nginx.https
    for direction in ("client", "upstream"):
        assert said.said_by(direction, "text") == ["grüße".encode()]
        assert said.said_by(direction, "binary") == [BINARY[:KEPT_BYTES]]
    for record in said.messages:
        if record["opcode"] == "binary":
            assert record["sha256"] == hashlib.sha256(BINARY).hexdigest()
    assert (said.closing["code"], said.closing["clean"]) == (1000, True)


def test_a_browser_that_does_not_trust_us_is_passed_through_in_the_end(
    tmp_path: Path,
    certificates: Certificates,
    nginx: Nginx,
    start_intercepting: Callable[..., InspectingProxy],
) -> None:
    intercepting = start_intercepting(passthrough="{after_failures: 2, for: 1h}")
    seen = ObservedProxy(intercepting.process)
    url = f"{nginx.https}/page.html"
    errors = []
    with run_chromium(tmp_path, intercepting.url, authorities=[certificates.authority]) as page:
        # It connects more than once for a page, and how often is its own affair.
        while error := page.visit(url):
            errors.append(error)
            assert len(errors) <= 2, errors
        assert page.evaluate("document.title") == "loaded"
        assert page.evaluate("window.isSecureContext") is True
        # Fallen through for good, not once.
        assert page.visit(url) == ""
    assert set(errors) == {DISTRUST}
    intercepting.stop()  # every record is written
    tunnels = seen.matching(target=f"127.0.0.1:{nginx.tls_port}")
    broken = [record for record in tunnels if record["error"] is not None]
    assert len(broken) >= 2, broken
    for record in broken:
        assert record["error"] == "tls_alert_received"
        assert record["detail"].endswith("alert certificate unknown")
        assert tls_of(record) == ("intercept", "the rule")
    passed = [record for record in tunnels if record["error"] is None]
    assert {tls_of(record) for record in passed} == {
        ("passthrough", "the client does not trust us")
    }
    # Nothing that was said inside was read.
    assert seen.matching(rule="here", kind="forward") == []
    told = (
        "127.0.0.1 does not trust our certificate for 127.0.0.1: its TLS there is not looked into"
    )
    assert intercepting.process.stderr.count(told) == 1


def test_a_browser_that_does_not_trust_us_stays_outside(
    tmp_path: Path,
    certificates: Certificates,
    nginx: Nginx,
    echo: EchoServer,
    intercepting: InspectingProxy,
) -> None:
    seen = ObservedProxy(intercepting.process)
    with run_chromium(tmp_path, intercepting.url, authorities=[certificates.authority]) as page:
        assert [page.visit(f"{nginx.https}/page.html") for _ in range(3)] == [DISTRUST] * 3
        assert page.visit(f"{nginx.http}/page.html") == ""
        assert converse(page, f"wss://127.0.0.1:{echo.tls_port}/socket") == {"error": True}
    intercepting.stop()  # every record is written
    for port in (nginx.tls_port, echo.tls_port):
        records = seen.matching(kind="connect", target=f"127.0.0.1:{port}")
        assert {record["error"] for record in records} == {"tls_alert_received"}
        assert {tls_of(record) for record in records} == {("intercept", "the rule")}
    assert seen.access(target=f"{nginx.http}/page.html")["status"] == 200
    assert seen.matching(kind="upgrade") == []
    assert list(intercepting.lines()) == []
