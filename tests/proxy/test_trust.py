"""The CA of interception, for those who have to trust it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.door import open_door
from wsproxy.protocol.x509 import create_authority

CONFIG = """
policy: {rules: [{name: look, action: allow, tls: intercept}]}
interception: {ca_certificate: ca.pem, ca_key: ca.key}
"""


@pytest.fixture
def certificate(tmp_path: Path) -> bytes:
    pem, key = create_authority("test", now=datetime.now(UTC))
    (tmp_path / "ca.pem").write_bytes(pem)
    (tmp_path / "ca.key").touch(0o600)
    (tmp_path / "ca.key").write_bytes(key)
    return pem


async def test_the_ca_can_be_fetched_and_its_key_cannot(tmp_path: Path, certificate: bytes) -> None:
    async with open_door(tmp_path, CONFIG) as door:
        client = await door.client()
        await client.sends(b"GET /wsproxy-ca.pem HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n")
        answer = await client.reads_rest()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"application/x-x509-ca-cert" in head
    assert body == certificate
    assert b"PRIVATE" not in answer


async def test_the_help_page_says_how_to_trust_it(tmp_path: Path, certificate: bytes) -> None:
    async with open_door(tmp_path, CONFIG) as door:
        client = await door.client()
        await client.sends(b"GET / HTTP/1.1\r\nHost: <p>:8080\r\nConnection: close\r\n\r\n")
        assert (await client.reads_rest()).startswith(b"HTTP/1.1 400")
        client = await door.client()
        await client.sends(b"GET / HTTP/1.1\r\nHost: p.test:8080\r\nConnection: close\r\n\r\n")
        page = (await client.reads_rest()).decode()
    for who in ("Windows", "macOS", "Debian", "Firefox", "Java", "Node.js", "Python", ".NET"):
        assert f"<dt>{who}" in page
    assert "http://p.test:8080/wsproxy-ca.pem" in page


async def test_without_interception_there_is_no_ca(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door:
        client = await door.client()
        await client.sends(b"GET /wsproxy-ca.pem HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n")
        assert (await client.reads_rest()).startswith(b"HTTP/1.1 404")
