"""Proxies behind this one, as they answer in all their ways."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest
import trio
import trio.testing

from tests.net.relays import receive, send_all, tcp_pair
from wsproxy.errors import ConnectFailed, ConnectTimeout, UpstreamClosed, UpstreamProtocolError
from wsproxy.model import Host, Target
from wsproxy.net.parents import Parent, open_way

TARGET = Target("tcp", Host("origin.test"), 443)
HTTP = Parent(name="parent", kind="http", host=Host("p.test"), port=3128)
KNOWN = Parent(
    name="parent", kind="http", host=Host("p.test"), port=3128, username="svc", password="s:cret"
)
TOKEN = Parent(name="parent", kind="http", host=Host("p.test"), port=3128, token="abc.def")
SOCKS = Parent(name="parent", kind="socks5", host=Host("p.test"), port=1080)
SOCKS_KNOWN = Parent(
    name="parent", kind="socks5", host=Host("p.test"), port=1080, username="svc", password="pw"
)
ASKED = b"CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n"


async def ask(parent: Parent, answers: list[bytes], target: Target = TARGET) -> tuple[bytes, bytes]:
    """What the parent hears when it answers so, and what is left for the tunnel."""
    ours, theirs = tcp_pair()
    heard = b""

    async def answer() -> None:
        nonlocal heard
        for one in answers:
            await trio.lowlevel.wait_readable(theirs)
            heard += theirs.recv(4096)
            await send_all(theirs, one)

    with ours, theirs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            await open_way(ours, parent, target, timeout_s=20)
            nursery.cancel_scope.cancel()
        theirs.shutdown(socket.SHUT_WR)
        return heard, await receive(ours, 1000)


async def test_connect_opens_a_tunnel_and_leaves_what_is_behind_the_answer() -> None:
    answer = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n220 banner\r\n"
    assert await ask(HTTP, [answer]) == (ASKED + b"\r\n", b"220 banner\r\n")


@pytest.mark.parametrize(
    ("parent", "line"),
    [
        (KNOWN, b"Proxy-Authorization: Basic c3ZjOnM6Y3JldA==\r\n"),
        (TOKEN, b"Proxy-Authorization: Bearer abc.def\r\n"),
    ],
)
async def test_credentials_are_sent_at_once(parent: Parent, line: bytes) -> None:
    heard, _rest = await ask(parent, [b"HTTP/1.0 200 OK\n\n"])
    assert heard == ASKED + line + b"\r\n"
    assert "cret" not in repr(parent)
    assert "abc" not in repr(parent)


@pytest.mark.parametrize(
    ("answer", "error", "detail"),
    [
        (b"HTTP/1.1 403 No\r\n\r\n", ConnectFailed, "origin.test:443: 403"),
        (b"HTTP/1.1 407 Who\r\n\r\n", ConnectFailed, "refuses our credentials"),
        (b"SSH-2.0-x\r\n\r\n", UpstreamProtocolError, "did not answer in HTTP"),
        (b"HTTP/1.1 200 " + b"a" * 200_000, UpstreamProtocolError, "without end"),
    ],
)
async def test_connect_is_refused(answer: bytes, error: type[Exception], detail: str) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(error, match=detail)):
        await ask(HTTP, [answer])


SOCKS_NAME = b"\x05\x01\x00\x03\x0borigin.test\x01\xbb"
GRANTED = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"


async def test_socks5_by_name() -> None:
    heard, rest = await ask(SOCKS, [b"\x05\x00", GRANTED + b"early"])
    assert (heard, rest) == (b"\x05\x01\x00" + SOCKS_NAME, b"early")


async def test_socks5_with_credentials() -> None:
    heard, _rest = await ask(SOCKS_KNOWN, [b"\x05\x02", b"\x01\x00", GRANTED])
    assert heard == b"\x05\x01\x02\x01\x03svc\x02pw" + SOCKS_NAME


@pytest.mark.parametrize(
    ("address", "packed"),
    [
        ("192.0.2.1", b"\x01\xc0\x00\x02\x01"),
        ("2001:db8::1", b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01"),
    ],
)
async def test_socks5_by_address(address: str, packed: bytes) -> None:
    target = Target("tcp", Host(address, ip_address(address)), 443)
    granted = b"\x05\x00\x00\x03\x03abc\x00\x00"  # it may answer with a name
    heard, _rest = await ask(SOCKS, [b"\x05\x00", granted], target)
    assert heard == b"\x05\x01\x00\x05\x01\x00" + packed + b"\x01\xbb"


@pytest.mark.parametrize(
    ("answers", "error", "detail"),
    [
        ([b"\x04\x00"], UpstreamProtocolError, "does not speak SOCKS5"),
        ([b"\x05\xff"], ConnectFailed, "wants other credentials"),
        ([b"\x05\x00", b"\x05\x05\x00\x01" + bytes(6)], ConnectFailed, "connection refused"),
        ([b"\x05\x00", b"\x05\x63\x00\x01" + bytes(6)], ConnectFailed, "reply 99"),
        ([b"\x05\x00", b"HTTP"], UpstreamProtocolError, "does not speak SOCKS5"),
    ],
)
async def test_socks5_is_refused(answers: list[bytes], error: type[Exception], detail: str) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(error, match=detail)):
        await ask(SOCKS, answers)


async def test_wrong_socks_credentials() -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(ConnectFailed, match="refuses our credentials")):
        await ask(SOCKS_KNOWN, [b"\x05\x02", b"\x01\x01"])


@pytest.mark.parametrize("parent", [HTTP, SOCKS])
async def test_a_parent_that_hangs_up(parent: Parent) -> None:
    ours, theirs = tcp_pair()
    theirs.shutdown(socket.SHUT_WR)
    with ours, theirs, pytest.raises(UpstreamClosed):
        await open_way(ours, parent, TARGET, timeout_s=20)


@pytest.mark.parametrize("parent", [HTTP, SOCKS])
async def test_a_parent_that_says_nothing(
    parent: Parent, autojump_clock: trio.testing.MockClock
) -> None:
    ours, theirs = tcp_pair()
    with ours, theirs, pytest.raises(ConnectTimeout, match="in time"):
        await open_way(ours, parent, TARGET, timeout_s=5)
