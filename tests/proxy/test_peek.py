"""What a tunnel's first octets are."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.net.relays import reset, tcp_pair
from wsproxy.model import Host, Target
from wsproxy.net.streams import TcpStream
from wsproxy.proxy.peek import Seen, peek

TARGET = Target("tcp", Host("origin.test"), 443)
GET = b"GET / HTTP/1.1\r\nHost: %b\r\n"
UPGRADE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def hello(name: str = "origin.test", *alpn: str) -> bytes:
    """What OpenSSL says first."""
    context = ssl.create_default_context()
    if alpn:
        context.set_alpn_protocols(list(alpn))
    out = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name).do_handshake()
    return out.read()


@dataclass
class Ends:
    """A tunnel's ends: ours, and those of client and upstream."""

    client: socket.socket
    upstream: socket.socket
    ours: TcpStream
    ours_up: TcpStream

    async def peek(self, early: bytes = b"") -> Seen:
        return await peek(self.ours, self.ours_up, early, TARGET, timeout_s=5)


@pytest.fixture
def ends() -> Iterator[Ends]:
    client, ours = tcp_pair()
    upstream, ours_up = tcp_pair()
    yield Ends(client, upstream, TcpStream(ours), TcpStream(ours_up))
    for sock in (client, ours, upstream, ours_up):
        sock.close()


@pytest.mark.parametrize(
    ("octets", "kind"),
    [
        (hello(), "tls"),
        (GET % b"origin.test" + b"\r\n", "http"),
        (GET % b"origin.test" + UPGRADE + b"\r\n", "websocket"),
        (GET % b"origin.test:443" + UPGRADE + b"\r\n", "websocket"),
        (GET % b"other.test" + UPGRADE + b"\r\n", "http"),
        (b"POST /\x00 HTTP/1.1\r\n\r\n", "other"),
        (b"GET /" + b"a" * 70_000, "other"),
        (b"SSH-2.0-x\r\n", "other"),
        (b"\x05\x01\x00", "other"),
        (b"\x16\x03\x01\x00\x02\x02\x00", "other"),
        (b"\x00\x01", "other"),
    ],
)
async def test_kinds(ends: Ends, octets: bytes, kind: str) -> None:
    seen = await ends.peek(octets)
    assert (seen.kind, seen.octets) == (kind, octets)


async def test_a_hello_in_pieces(ends: Ends) -> None:
    octets, seen = hello("origin.test", "h2", "http/1.1"), []

    async def look() -> None:
        seen.append(await ends.peek(octets[:3]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        for at in range(3, len(octets), 50):
            await wait_all_tasks_blocked()
            assert not seen
            ends.client.send(octets[at : at + 50])
    (one,) = seen
    assert (one.kind, one.octets) == ("tls", octets)
    assert one.hello is not None
    assert (one.hello.server_name, one.hello.alpn) == ("origin.test", ("h2", "http/1.1"))
    assert one.agrees_with(TARGET)


async def test_another_name_does_not_agree(ends: Ends) -> None:
    assert not (await ends.peek(hello("other.test"))).agrees_with(TARGET)


async def test_no_name_does_not_disagree(ends: Ends) -> None:
    assert (await ends.peek(hello("192.0.2.1"))).agrees_with(TARGET)


async def test_silence_is_something_else(ends: Ends, autojump_clock: MockClock) -> None:
    began_at = trio.current_time()
    assert await ends.peek() == Seen("other", b"", why="nothing to go by in time")
    assert trio.current_time() - began_at == pytest.approx(5)


async def test_half_a_hello_and_silence(ends: Ends, autojump_clock: MockClock) -> None:
    half = hello()[:100]
    assert await ends.peek(half) == Seen("other", half, why="nothing to go by in time")


async def test_a_server_that_speaks_first_ends_it(ends: Ends, autojump_clock: MockClock) -> None:
    ends.upstream.send(b"220 mail.test ESMTP\r\n")
    began_at = trio.current_time()
    assert await ends.peek() == Seen("other", b"", why="the server speaks first")
    assert trio.current_time() == began_at
    assert ends.ours_up.receive_nowait() == b"220 mail.test ESMTP\r\n"


async def test_the_end_of_the_client_ends_it(ends: Ends) -> None:
    ends.client.send(b"GE")
    ends.client.shutdown(socket.SHUT_WR)
    seen = await ends.peek()
    assert (seen.kind, seen.octets, seen.ended) == ("other", b"GE", True)


async def test_a_reset_breaks_it(ends: Ends) -> None:
    reset(ends.client)
    with pytest.raises(trio.BrokenResourceError):
        await ends.peek()


async def test_octet_by_octet_has_a_bound(ends: Ends) -> None:
    octets = (
        b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03" + bytes(33) + b"\x3f\x00" + bytes(15_000)
    )
    seen: list[Seen] = []

    async def look() -> None:
        seen.append(await ends.peek())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        for at in range(len(octets)):
            if seen:
                break
            await wait_all_tasks_blocked()
            ends.client.send(octets[at : at + 1])
    assert (seen[0].kind, seen[0].why) == ("other", "too long to be understood")
