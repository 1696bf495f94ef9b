"""TLS on a socket that never waits: what stands in for a socket keeps a socket's promises."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import trio
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.net.relays import shrink_buffers, tcp_pair
from wsproxy.errors import ClientTlsError, UpstreamTlsError
from wsproxy.net.streams import TcpStream
from wsproxy.net.tls import leaf_context, start_client_tls, start_upstream_tls, upstream_context
from wsproxy.net.tls_socket import TlsSocket

AUTHORITY = trustme.CA()
LEAF = AUTHORITY.issue_cert("origin.test")
PEM = LEAF.private_key_and_cert_chain_pem.bytes()
HOST = "origin.test"


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(file))
    return upstream_context(ca_files=[file], system=False)


@dataclass
class Pair:
    """Both ends of a TLS connection, and the sockets below."""

    client: TlsSocket
    server: TlsSocket
    client_sock: socket.socket
    server_sock: socket.socket


async def shake_hands(
    trusting: ssl.SSLContext, *, version: ssl.TLSVersion | None = None, small: bool = False
) -> Pair:
    ours, theirs = tcp_pair()
    ours.setblocking(False)
    theirs.setblocking(False)
    if small:
        shrink_buffers(ours, theirs)
    context = leaf_context(PEM)
    if version is not None:
        context.maximum_version = version
    ends: dict[str, TlsSocket] = {}

    async def serve() -> None:
        ends["server"] = await start_client_tls(theirs, context, b"", timeout_s=20)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        ends["client"] = await start_upstream_tls(ours, trusting, HOST, timeout_s=20)
    return Pair(ends["client"], ends["server"], ours, theirs)


@contextmanager
def closing(pair: Pair) -> Iterator[Pair]:
    try:
        yield pair
    finally:
        pair.client.close()
        pair.server.close()


BOTH = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


async def receive_all(tls: TlsSocket) -> bytes:
    """Everything up to the end of the stream."""
    stream, data = TcpStream(tls), b""  # type: ignore[arg-type]  # it stands in for one
    while piece := await stream.receive_some():
        data += piece
    return data


@BOTH
async def test_octets_go_both_ways(trusting: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    with closing(await shake_hands(trusting, version=version)) as pair:
        assert pair.client.object.version() == version.name.replace("_", ".")
        assert pair.client.object.selected_alpn_protocol() == "http/1.1"
        for one, other in ((pair.client, pair.server), (pair.server, pair.client)):
            assert one.send(b"hello") == 5
            await trio.lowlevel.wait_readable(other)
            assert other.recv(1, socket.MSG_PEEK) == b"h"
            assert other.recv(100) == b"hello"
            with pytest.raises(BlockingIOError):
                other.recv(1)


@BOTH
async def test_a_direction_ends_and_the_other_goes_on(
    trusting: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    with closing(await shake_hands(trusting, version=version)) as pair, trio.fail_after(20):
        # Octets of the other side are on their way while ours ends.
        pair.server.send(b"before ")
        await trio.lowlevel.wait_readable(pair.client)
        pair.client.send(b"last words")
        pair.client.shutdown(socket.SHUT_WR)
        assert await receive_all(pair.server) == b"last words"
        pair.server.send(b"and after")
        pair.server.shutdown(socket.SHUT_WR)
        assert await receive_all(pair.client) == b"before and after"


@BOTH
async def test_an_end_with_whole_records_unread_loses_none(
    trusting: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    with closing(await shake_hands(trusting, version=version)) as pair, trio.fail_after(20):
        for _ in range(3):
            pair.server.send(b"record")
        await trio.lowlevel.wait_readable(pair.client)
        assert pair.client.recv(1) == b"r"  # the rest is decrypted or waits in memory
        pair.client.shutdown(socket.SHUT_WR)
        pair.server.shutdown(socket.SHUT_WR)
        assert await receive_all(pair.client) == b"ecordrecordrecord"


async def test_an_end_without_close_notify_breaks_the_stream(trusting: ssl.SSLContext) -> None:
    with closing(await shake_hands(trusting)) as pair, trio.fail_after(20):
        pair.server.send(b"all?")
        pair.server_sock.shutdown(socket.SHUT_WR)
        stream = TcpStream(pair.client)  # type: ignore[arg-type]
        assert await stream.receive_some() == b"all?"
        with pytest.raises(trio.BrokenResourceError, match="close_notify"):
            await stream.receive_some()


async def test_whoever_is_lenient_takes_it_for_the_end(trusting: ssl.SSLContext) -> None:
    with closing(await shake_hands(trusting)) as pair, trio.fail_after(20):
        pair.client.lenient = True
        pair.server.send(b"all")
        pair.server_sock.shutdown(socket.SHUT_WR)
        assert await receive_all(pair.client) == b"all"
        assert pair.client.recv(1) == b""


async def test_what_cannot_be_decrypted_breaks_the_stream(trusting: ssl.SSLContext) -> None:
    with closing(await shake_hands(trusting)) as pair, trio.fail_after(20):
        pair.server.send(b"good")
        pair.server_sock.send(bytes((23, 3, 3, 0, 20, *range(20))))
        stream = TcpStream(pair.client)  # type: ignore[arg-type]
        assert await stream.receive_some() == b"good"
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()


async def test_a_full_sink_takes_the_same_octets_again(trusting: ssl.SSLContext) -> None:
    data = os.urandom(1_000_000)
    with closing(await shake_hands(trusting, small=True)) as pair, trio.fail_after(20):
        received = bytearray()

        async def receive() -> None:
            stream = TcpStream(pair.server)  # type: ignore[arg-type]
            while len(received) < len(data):
                received.extend(await stream.receive_some())

        rest, refusals = memoryview(data), 0
        async with trio.open_nursery() as nursery:
            while rest:
                try:
                    rest = rest[pair.client.send(rest[: 64 * 1024]) :]
                except BlockingIOError:
                    if not refusals:
                        nursery.start_soon(receive)
                    refusals += 1
                    await trio.lowlevel.wait_writable(pair.client)
        assert refusals
        assert received == data


@given(
    st.lists(st.binary(min_size=1, max_size=40_000), max_size=6),
    st.lists(st.integers(1, 70_000), min_size=1, max_size=5),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_reads_see_what_any_sends_said(
    trusting: ssl.SSLContext, pieces: list[bytes], sizes: list[int]
) -> None:
    async def run() -> bytes:
        with closing(await shake_hands(trusting)) as pair, trio.fail_after(20):
            received = bytearray()

            async def receive() -> None:
                stream, turn = TcpStream(pair.server), 0  # type: ignore[arg-type]
                while data := await stream.receive_some(sizes[turn % len(sizes)]):
                    received.extend(data)
                    turn += 1

            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive)
                stream = TcpStream(pair.client)  # type: ignore[arg-type]
                for piece in pieces:
                    await stream.send_all(piece)
                await stream.send_eof()
            assert pair.server.received_bytes == pair.client.sent_bytes
            return bytes(received)

    assert trio.run(run) == b"".join(pieces)


async def test_what_is_ready_can_be_taken_along(trusting: ssl.SSLContext) -> None:
    with closing(await shake_hands(trusting)) as pair, trio.fail_after(20):
        for _ in range(5):
            pair.server.send(b"12345678")
        await trio.lowlevel.wait_readable(pair.client)
        assert pair.client.recv(3) == b"123"
        assert pair.client.take_ready() == b"45678" + b"12345678" * 4
        assert pair.client.take_ready() == b""


# ---------------------------------------------------------------- handshakes that fail


async def test_a_client_that_does_not_trust_us_says_so() -> None:
    ours, theirs = tcp_pair()
    ours.setblocking(False)
    theirs.setblocking(False)
    suspicious = upstream_context(system=False)
    errors: list[ClientTlsError] = []

    async def serve() -> None:
        with pytest.raises(ClientTlsError) as caught:
            await start_client_tls(theirs, leaf_context(PEM), b"", timeout_s=20)
        errors.append(caught.value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with pytest.raises(UpstreamTlsError, match="unable to get local issuer") as caught:
            await start_upstream_tls(ours, suspicious, HOST, timeout_s=20)
    assert caught.value.token == "tls_certificate_error"
    assert errors[0].distrusts
    assert "unknown ca" in errors[0].detail


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no TLS with origin.test"),
        (b"", "it closed the connection"),
        (bytes((21, 3, 3, 0, 2, 2, 40)), "handshake failure"),
        (bytes((21, 3, 3, 0, 2, 2, 120)), "no application protocol"),
    ],
)
async def test_an_origin_that_does_not_speak_tls(
    trusting: ssl.SSLContext, said: bytes, detail: str
) -> None:
    ours, theirs = tcp_pair()
    ours.setblocking(False)
    theirs.sendall(said)
    theirs.shutdown(socket.SHUT_WR)
    with theirs, pytest.raises(UpstreamTlsError, match=detail):
        await start_upstream_tls(ours, trusting, HOST, timeout_s=20)
    assert ours.fileno() == -1


async def test_an_origin_that_hangs_in_the_handshake(
    trusting: ssl.SSLContext, autojump_clock: trio.testing.MockClock
) -> None:
    ours, theirs = tcp_pair()
    ours.setblocking(False)
    with theirs, pytest.raises(UpstreamTlsError, match="in time") as caught:
        await start_upstream_tls(ours, trusting, HOST, timeout_s=10)
    assert caught.value.status == 504


async def test_a_client_that_hangs_up_in_the_handshake_may_distrust_us() -> None:
    ours, theirs = tcp_pair()
    theirs.setblocking(False)
    ours.close()
    with pytest.raises(ClientTlsError) as caught:
        await start_client_tls(theirs, leaf_context(PEM), b"", timeout_s=20)
    assert caught.value.distrusts


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello"])
async def test_a_client_that_speaks_something_else(said: bytes) -> None:
    ours, theirs = tcp_pair()
    theirs.setblocking(False)
    with ours, pytest.raises(ClientTlsError) as caught:
        await start_client_tls(theirs, leaf_context(PEM), said, timeout_s=20)
    assert not caught.value.distrusts
