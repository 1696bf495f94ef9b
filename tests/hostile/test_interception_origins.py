"""T19, T25, T28, G11: origins that attack a proxy which looks into TLS.

An origin that cannot be trusted is reported in a page inside the client's TLS, and nothing it
says reaches the client.  One that dies in the middle never makes an answer look complete.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
import trio
import trustme

from tests.hostile.corpus.upgrade import HANDSHAKE
from tests.hostile.origins import accepting
from tests.hostile.strict import read_responses
from tests.hostile.tls_ends import (
    AUTHORITY,
    AsyncClosing,
    exchange_inside,
    open_secure_origin,
    secured,
)
from tests.hostile.tls_hellos import alpn, hello
from tests.hostile.tls_room import ADDRESSES, Looked, fresh, open_looking
from tests.support.rawnet import Behaviour, Connection, open_origin, reset

_SECRET = b"octets of an origin nobody vouches for"
_HOST = ADDRESSES["intercept"]
_STATUS = re.compile(rb"\r\nProxy-Status: wsproxy; error=([a-z_]+);")


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    """A proxy that intercepts and does not wait for long."""
    timeouts = "timeouts: {sniff: 5s, tls_handshake: 2s}\n"
    with open_looking(tmp_path_factory.mktemp("origins"), timeouts=timeouts) as looked:
        yield looked


# ------------------------------------------------------------ who cannot be trusted


async def _leak(connection: Connection) -> None:
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(_SECRET) + _SECRET)
    await connection.drain()


def _with_certificate(authority: trustme.CA, *names: str, **options: object) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issue = cast(Callable[..., trustme.LeafCert], authority.issue_cert)
    issue(*names, **options).configure_cert(context)
    return context


def _old(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = _with_certificate(AUTHORITY, _HOST)
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version = version
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def _raw(*pieces: bytes, then: str = "hold") -> Behaviour:
    async def behave(connection: Connection) -> None:
        await connection.receive()
        for piece in pieces:
            await connection.send(piece)
        if then == "rst":
            reset(connection.stream)
        elif then == "hold":
            await connection.drain()

    return behave


def _tls(context: ssl.SSLContext) -> Behaviour:
    return secured(_leak, [], context)


def _alert(description: int) -> bytes:
    return bytes((21, 3, 3, 0, 2, 2, description))


_EXPIRED = {"not_after": datetime.now(UTC) - timedelta(days=1)}
DISTRUSTED: dict[str, tuple[Callable[[], Behaviour], set[str], int]] = {
    "hangs": (_raw, {"connection_timeout"}, 504),
    "closes at once": (lambda: _raw(then="fin"), {"tls_protocol_error"}, 502),
    "resets": (lambda: _raw(then="rst"), {"tls_protocol_error"}, 502),
    "speaks HTTP": (
        lambda: _raw(b"HTTP/1.1 400 Bad Request\r\n\r\n" + _SECRET, then="fin"),
        {"tls_protocol_error"}, 502,
    ),
    "echoes our hello": (
        lambda: _raw(hello(), then="hold"), {"tls_protocol_error", "tls_alert_received"}, 502,
    ),
    "sends garbage": (lambda: _raw(b"\x16\x03\x03\x00\x40" + b"\xff" * 64), {"tls_protocol_error"}, 502),
    "sends half a record": (lambda: _raw(b"\x16\x03\x03\x40\x00" + bytes(64)), {"connection_timeout"}, 504),
    "sends a record too long": (lambda: _raw(b"\x16\x03\x03\xff\xff" + bytes(70000)), {"tls_protocol_error"}, 502),
    "alerts handshake_failure": (lambda: _raw(_alert(40)), {"tls_alert_received"}, 502),
    "alerts internal_error": (lambda: _raw(_alert(80)), {"tls_alert_received"}, 502),
    "endless warnings": (lambda: _raw(bytes((21, 3, 3, 0, 2, 1, 112)) * 5000), {"tls_protocol_error", "tls_alert_received", "connection_timeout"}, 0),
    "self-signed": (lambda: _tls(_with_certificate(trustme.CA(), _HOST)), {"tls_certificate_error"}, 502),
    "expired": (lambda: _tls(_with_certificate(AUTHORITY, _HOST, **_EXPIRED)), {"tls_certificate_error"}, 502),
    "another's name": (lambda: _tls(_with_certificate(AUTHORITY, "other.example")), {"tls_certificate_error"}, 502),
    "its address as a name": (lambda: _tls(_with_certificate(AUTHORITY, "other.example", common_name=_HOST)), {"tls_certificate_error"}, 502),
    "only TLS 1.1": (lambda: _tls(_old(ssl.TLSVersion.TLSv1_1)), {"tls_protocol_error", "tls_alert_received"}, 502),
    "only TLS 1.0": (lambda: _tls(_old(ssl.TLSVersion.TLSv1)), {"tls_protocol_error", "tls_alert_received"}, 502),
}  # fmt: skip


@pytest.mark.parametrize("name", DISTRUSTED)
async def test_an_origin_that_cannot_be_trusted_is_reported_inside(
    hurried: Looked, name: str
) -> None:
    make, tokens, status = DISTRUSTED[name]
    source = fresh()
    async with open_origin(make(), host=_HOST) as origin:
        authority = b"%b:%d" % (_HOST.encode(), origin.port)
        tls = await hurried.enter(authority, source)
        ask = b"GET /%d HTTP/1.1\r\nHost: %b\r\n\r\n"
        last = b"GET /2 HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % authority
        seen = await exchange_inside(tls, [ask % (1, authority) + last])
        received = origin.received
    assert seen.ended == "eof"
    responses, _rest = read_responses(seen.received, ("GET", "GET"))
    assert [r.complete for r in responses] == [True, True]
    assert {r.status for r in responses} <= ({status} if status else {502, 504})
    found_tokens = {token.decode() for token in _STATUS.findall(seen.received)}
    assert len(found_tokens) == 1
    assert found_tokens <= tokens
    assert _SECRET not in seen.received
    assert b"GET /" not in received
    records = hurried.records_of(source, 3)
    assert sorted(str(r["kind"]) for r in records) == ["connect", "forward", "forward"]
    assert {r["error"] for r in records if r["kind"] == "forward"} == found_tokens
    hurried.room.check_descriptors()


@pytest.mark.parametrize("mode", ["intercept", "always"])
async def test_an_origin_that_wants_h2_only(hurried: Looked, mode: str) -> None:
    """Without exceptions it is a 502, else its tunnel passes as it is, over a new connection."""
    host, source = ADDRESSES[mode], fresh()
    first = trio.Event()

    async def behave(connection: Connection) -> None:
        if not first.is_set():
            first.set()
            await _raw(_alert(120))(connection)
            return
        await connection.receive()
        await connection.send(b"as it is")
        await connection.drain()

    async with open_origin(behave, host=host) as origin:
        authority = b"%b:%d" % (host.encode(), origin.port)
        if mode == "always":
            tls = await hurried.enter(authority, source)
            ask = b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % authority
            seen = await exchange_inside(tls, [ask])
            hurried.records_of(source, 2)
            assert seen.received.startswith(b"HTTP/1.1 502 ")
        else:
            octets = hello(alpn(b"h2", b"http/1.1"))
            stream = await hurried.tunnel(authority, source, early=octets)
            async with AsyncClosing(stream):
                with trio.fail_after(8):
                    got = await stream.receive_some(100)
            # Who waits for records keeps this origin from ending its side meanwhile.
            with trio.fail_after(20):
                await origin.connections[1].finished.wait()
            hurried.records_of(source, 1)
            assert got == b"as it is"
            assert bytes(origin.connections[1].received) == octets


async def test_an_origin_that_wants_h2_only_and_is_gone_then(hurried: Looked) -> None:
    """The 200 is out: no HTTP of ours may follow in a tunnel whose client speaks TLS."""
    source = fresh()
    listeners = await trio.open_tcp_listeners(0, host=_HOST)
    (listener,) = listeners
    port = listener.socket.getsockname()[1]

    async def serve() -> None:
        stream = await listener.accept()
        await listener.aclose()
        await _raw(_alert(120))(Connection(stream))
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        stream = await hurried.tunnel(b"%b:%d" % (_HOST.encode(), port), source, early=hello())
        got = b""
        async with AsyncClosing(stream):
            with trio.fail_after(8), suppress(trio.BrokenResourceError):
                while data := await stream.receive_some(4096):
                    got += data
    (record,) = hurried.records_of(source, 1)
    assert not got.startswith(b"HTTP/"), got
    assert record["status"] == 200, record


# ------------------------------------------------------------ kept connections and upgrades


async def test_an_origin_that_closes_between_requests_is_asked_again(hurried: Looked) -> None:
    source = fresh()

    async def once(connection: Connection) -> None:
        await connection.receive_until(b"\r\n\r\n")
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with open_secure_origin(once, host=_HOST) as origin:
        authority = b"%b:%d" % (_HOST.encode(), origin.outer.port)
        tls = await hurried.enter(authority, source)
        ask = b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % authority
        for n in range(1, 6):
            await tls.send_all(ask)
            got = b""
            with trio.fail_after(8):
                while not got.endswith(b"ok"):
                    got += await tls.receive_some()
            assert got.startswith(b"HTTP/1.1 200 ")
            await origin.outer.wait_finished()
            assert len(origin.outer.connections) == n
        await tls.aclose()
    hurried.records_of(source, 6)


SWITCHES = {
    "a wrong accept": b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: d3Jvbmc=\r\n\r\n",
    "no accept": b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "h2c": b"HTTP/1.1 101 S\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "garbage": b"\x81\x05hello" + b"\r\n\r\n",
}


@pytest.mark.parametrize("mode", ["intercept", "log", "enforce"])
@pytest.mark.parametrize("name", SWITCHES)
async def test_a_switch_that_is_none_is_refused(hurried: Looked, mode: str, name: str) -> None:
    host, source = ADDRESSES[mode], fresh()

    async def switch(connection: Connection) -> None:
        await connection.receive_until(b"\r\n\r\n")
        await connection.send(SWITCHES[name] + _SECRET)
        await connection.drain()

    async with open_secure_origin(switch, host=host) as origin:
        authority = b"%b:%d" % (host.encode(), origin.outer.port)
        tls = await hurried.enter(authority, source)
        seen = await exchange_inside(tls, [_handshake(authority, 0) + b"\x81\x85\0\0\0\0early"])
        received = origin.inner.received
    assert seen.received.startswith(b"HTTP/1.1 502 ")
    assert seen.ended == "eof"
    assert _SECRET not in seen.received
    assert b"early" not in received
    hurried.records_of(source, 2)


def _handshake(authority: bytes, offset: int) -> bytes:
    line = b"GET /%d HTTP/1.1\r\nHost: %b\r\n" % (offset, authority)
    return line + b"\r\n".join([*HANDSHAKE, b"", b""])


async def test_garbage_behind_the_101_goes_on_or_is_judged(hurried: Looked) -> None:
    """T22: observed, octets pass as they are; enforced, they end with 1002."""
    garbage = b"\xff\xff not a frame"

    async def switch(connection: Connection) -> None:
        await connection.receive_until(b"\r\n\r\n")
        await connection.send(accepting(bytes(connection.received)) + garbage)
        await connection.drain()

    for mode in ("intercept", "log", "enforce"):
        host, source = ADDRESSES[mode], fresh()
        async with open_secure_origin(switch, host=host) as origin:
            authority = b"%b:%d" % (host.encode(), origin.outer.port)
            tls = await hurried.enter(authority, source)
            enough = None if mode == "enforce" else garbage
            seen = await exchange_inside(tls, [_handshake(authority, 0)], enough=enough)
        behind = seen.received.partition(b"\r\n\r\n")[2]
        assert behind.startswith(b"\x88" if mode == "enforce" else garbage), mode
        hurried.records_of(source, 2)
