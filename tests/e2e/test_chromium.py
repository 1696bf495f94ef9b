"""Headless Chromium through the proxy: pages, fetch and WebSockets, and the proxy's challenge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .chromium import run_chromium
from .clients import Credentials
from .observed import ALICE, ObservedProxy
from .origins import EchoServer, Nginx

BYTES = 3_000_000
ECHOED = {
    "code": 1000,
    "clean": True,
    "protocol": "chat",
    "text": "grüße",
    "length": BYTES,
    "intact": True,
}


def conversation(scheme: str, echo: EchoServer) -> str:
    """The expression that talks to the echo server, in pages/script.js."""
    port = echo.tls_port if scheme == "wss" else echo.port
    return f"converse({json.dumps(f'{scheme}://localhost:{port}/socket')}, {BYTES})"


def test_a_page_its_script_fetch_and_a_websocket(
    tmp_path: Path, nginx: Nginx, echo: EchoServer, proxy: ObservedProxy
) -> None:
    with run_chromium(tmp_path, proxy.url) as page:
        assert page.visit(f"{nginx.http}/page.html") == ""
        assert page.evaluate("document.title") == "loaded"
        assert page.evaluate("document.querySelector('#text').innerText") == "plain markup"
        fetched = page.evaluate("fetchText('/file.txt?q=1')")
        assert fetched == {"status": 200, "text": "a small file\n"}
        assert page.evaluate(conversation("ws", echo)) == ECHOED
    for path in ("/page.html", "/script.js", "/file.txt?…"):
        assert proxy.access(target=nginx.http + path)["status"] == 200
    tunnel = proxy.access(target=f"localhost:{echo.port}")
    # RFC 6455 §4.1: a proxied client opens a tunnel, for ws too.
    assert (tunnel["kind"], tunnel["status"]) == ("connect", 200)
    assert tunnel["bytes_up"] > 0
    assert tunnel["bytes_down"] > 0
    assert (tunnel["closed_by"], tunnel["reason"]) == ("upstream", "eof")


def test_a_page_over_tls_and_a_wss_websocket(
    tmp_path: Path, nginx: Nginx, echo: EchoServer, proxy: ObservedProxy
) -> None:
    with run_chromium(tmp_path, proxy.url) as page:
        assert page.visit(f"{nginx.https}/page.html") == ""
        assert page.evaluate("document.title") == "loaded"
        assert page.evaluate(conversation("wss", echo)) == ECHOED
    assert proxy.access(target=f"localhost:{echo.tls_port}")["status"] == 200


def test_the_proxys_challenge_is_answered_once_for_pages_and_websockets(
    tmp_path: Path, nginx: Nginx, echo: EchoServer, secured: ObservedProxy
) -> None:
    with run_chromium(tmp_path, secured.url, credentials=ALICE) as page:
        assert page.visit(f"{nginx.http}/page.html") == ""
        assert page.evaluate("document.title") == "loaded"
        assert page.evaluate(conversation("ws", echo)) == ECHOED
        assert page.evaluate("fetchText('/file.txt')")["status"] == 200
        assert page.challenges == 1
    assert secured.access(target=f"{nginx.http}/page.html", status=407)["user"] is None
    assert secured.access(target=f"{nginx.http}/page.html", status=200)["user"] == "alice"
    assert secured.access(target=f"localhost:{echo.port}", status=200)["user"] == "alice"


def test_the_challenge_of_a_tunnel_is_answered_for_https_and_wss(
    tmp_path: Path, nginx: Nginx, echo: EchoServer, secured: ObservedProxy
) -> None:
    with run_chromium(tmp_path, secured.url, credentials=ALICE) as page:
        assert page.visit(f"{nginx.https}/page.html") == ""
        assert page.evaluate("document.title") == "loaded"
        assert page.evaluate(conversation("wss", echo)) == ECHOED
    assert secured.access(target=f"localhost:{echo.tls_port}", status=200)["user"] == "alice"


@pytest.mark.parametrize("given", ["wrong", "none"])
def test_without_the_right_password_the_page_is_the_proxys_own(
    given: str,
    tmp_path: Path,
    nginx: Nginx,
    secured: ObservedProxy,
    wrong_password: Credentials,
) -> None:
    credentials = wrong_password if given == "wrong" else None
    with run_chromium(tmp_path, secured.url, credentials=credentials) as page:
        page.visit(f"{nginx.http}/page.html")
        text = page.evaluate("document.body.innerText")
        assert page.challenges == (2 if given == "wrong" else 1)
    last = secured.matching(target=f"{nginx.http}/page.html")[-1]
    assert last["status"] == 407
    assert last["id"] in text


def test_a_refused_host_shows_the_rules_message(tmp_path: Path, proxy: ObservedProxy) -> None:
    with run_chromium(tmp_path, proxy.url) as page:
        assert page.visit("http://games.test/") == ""
        assert "Games are for after work." in page.evaluate("document.body.innerText")
        # A browser shows its own page for a refused tunnel, never the proxy's.
        assert page.visit("https://games.test/") == "net::ERR_TUNNEL_CONNECTION_FAILED"
    assert proxy.access(target="http://games.test:80/")["status"] == 403
    tunnels = proxy.matching(target="games.test:443")  # it tries more than once
    assert {record["status"] for record in tunnels} == {403}
