"""The script that browsers ask where to go."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.door import open_door
from wsproxy.proxy.pac import pac_file

# What browsers give such scripts, as far as ours uses it.
_HELPERS = """
function isPlainHostName(host) { return !host.includes("."); }
function shExpMatch(text, pattern) {
  return new RegExp("^" + pattern.replaceAll(".", "\\\\.").replaceAll("*", ".*") + "$").test(text);
}
"""


@pytest.mark.parametrize(
    ("host", "way"),
    [
        ("example.com", "PROXY proxy.test:8080"),
        ("10.0.0.1", "PROXY proxy.test:8080"),
        ("intranet", "DIRECT"),
        ("localhost", "DIRECT"),
        ("127.0.0.1", "DIRECT"),
    ],
)
def test_the_script_leads_here(host: str, way: str) -> None:
    asked = f"console.log(FindProxyForURL('wss://{host}/', '{host}'))"
    script = _HELPERS + pac_file("proxy.test:8080").decode() + asked
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == way


def test_a_proxy_behind_tls_is_named_as_one() -> None:
    assert 'return "HTTPS proxy.test:8443";' in pac_file("proxy.test:8443", scheme="https").decode()


def test_an_address_cannot_break_out_of_the_script() -> None:
    line = pac_file('a"; alert(1); "').decode().splitlines()[5]
    assert json.loads(line.strip().removeprefix("return ").rstrip(";")) == 'PROXY a"; alert(1); "'


@pytest.mark.parametrize("path", [b"/proxy.pac", b"/wpad.dat", b"/proxy.pac?x"])
async def test_it_is_served(tmp_path: Path, path: bytes) -> None:
    async with open_door(tmp_path) as door:
        client = await door.client()
        ask = b"GET " + path + b" HTTP/1.1\r\nHost: p.test:3128\r\nConnection: close\r\n\r\n"
        await client.sends(ask)
        answer = await client.reads_rest()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"application/x-ns-proxy-autoconfig" in answer
    assert b'"PROXY p.test:3128"' in answer
