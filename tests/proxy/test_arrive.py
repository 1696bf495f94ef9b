"""From accept to HTTP: PROXY headers, TLS to the proxy, and what ends before either is done."""

from __future__ import annotations

import functools
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography.x509 import DNSName, GeneralName, RFC822Name, UniformResourceIdentifier

from tests.net.relays import reset
from tests.proxy.test_express import ESTABLISHED, LOOPBACK, OPEN, Lane, connect, open_lane
from tests.support.doorkeeper import FAR_FUTURE, Doorkeeper, Shown
from wsproxy.app_listeners import build_entrances
from wsproxy.config.load import load
from wsproxy.errors import UpstreamTlsError
from wsproxy.model import Certificate
from wsproxy.net.streams import TcpStream
from wsproxy.net.tls import start_upstream_tls
from wsproxy.net.tls_socket import TlsSocket
from wsproxy.observe.exchange import Exchange
from wsproxy.proxy.arrive import arrive

GET = b"GET / HTTP/1.1\r\nHost: proxy.test:8443\r\nConnection: close\r\n\r\n"
FROM_7 = b"PROXY TCP4 192.0.2.7 198.51.100.1 77 8080\r\n"
TRUSTED = "listeners: [{address: '127.0.0.1:0', proxy_protocol: {trust: [127.0.0.0/8]}}]\n"
SHORT = "timeouts: {request_head: 50ms, tls_handshake: 50ms}\n"

first_listener = functools.partial(arrive, listener=0)


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Doorkeeper:
    return Doorkeeper(tmp_path_factory.mktemp("keeper"))


@pytest.fixture(scope="module")
def alice(keeper: Doorkeeper) -> Shown:
    return keeper.issue("alice", "desk", "night")


@asynccontextmanager
async def open_porch(folder: Path, listeners: str, more: str = "") -> AsyncIterator[Lane]:
    async with open_lane(folder, listeners + OPEN + more, lane=first_listener) as lane:
        yield lane


def secure(keeper: Doorkeeper, *, asks: bool = False, more: str = "") -> str:
    """A configuration's only listener, which speaks TLS."""
    return f"listeners: [{keeper.listener(asks=asks, more=more)}]\n"


def knock(lane: Lane) -> socket.socket:
    sock = socket.create_connection(lane.proxy.getsockname())
    sock.setblocking(False)
    return sock


async def enter(lane: Lane, context: ssl.SSLContext, *, header: bytes = b"") -> TcpStream:
    """A client behind its handshake."""
    sock = knock(lane)
    sock.send(header)
    return TcpStream(await start_upstream_tls(sock, context, "proxy.test", timeout_s=10))


async def read_all(stream: TcpStream) -> bytes:
    data = b""
    with trio.fail_after(10):
        while piece := await stream.receive_some():
            data += piece
    return data


async def ask(
    lane: Lane, context: ssl.SSLContext, request: bytes = GET, *, header: bytes = b""
) -> bytes:
    """The whole answer to one request over TLS."""
    async with await enter(lane, context, header=header) as stream:
        await stream.send_all(request)
        return await read_all(stream)


async def only_record(lane: Lane) -> dict[str, Any]:
    with trio.fail_after(10):
        while not any(record["event"] == "access" for record in lane.records):
            await trio.lowlevel.checkpoint()
    (record,) = (record for record in lane.records if record["event"] == "access")
    return record


def ending(record: dict[str, Any]) -> tuple[object, ...]:
    return tuple(record[name] for name in ("status", "error", "closed_by", "reason"))


# ---------------------------------------------------------------- TLS


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_requests_are_answered_over_tls_and_pages_know_it(
    tmp_path: Path, keeper: Doorkeeper, version: ssl.TLSVersion
) -> None:
    context = keeper.trusting()
    context.maximum_version = version
    async with open_porch(tmp_path, secure(keeper)) as lane:
        page = await ask(lane, context)
        script = await ask(lane, context, GET.replace(b" / ", b" /proxy.pac "))
    assert page.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"curl --proxy https://proxy.test:8443 " in page
    assert b"http://proxy.test" not in page
    assert b'return "HTTPS proxy.test:8443";' in script


async def test_both_ends_agree_on_http_1_1_and_no_session_outlives_its_tls(
    tmp_path: Path, keeper: Doorkeeper
) -> None:
    async with open_porch(tmp_path, secure(keeper)) as lane:
        context = keeper.trusting()
        context.set_alpn_protocols(["h2", "http/1.1"])
        async with await enter(lane, context) as stream:
            assert isinstance(stream.sock, TlsSocket)
            assert stream.sock.object.selected_alpn_protocol() == "http/1.1"
            assert stream.sock.object.compression() is None
            await stream.send_eof()
            assert await read_all(stream) == b""
        assert ending(await only_record(lane)) == (None, None, "client", "eof")


async def test_a_tunnel_has_no_task_and_each_side_ends_by_itself(
    tmp_path: Path, keeper: Doorkeeper
) -> None:
    async with open_porch(tmp_path, secure(keeper)) as lane:
        before = trio.lowlevel.current_statistics().tasks_living
        async with await enter(lane, keeper.trusting()) as stream:
            await stream.send_all(connect(lane.authority) + b"early ")
            with trio.fail_after(10):
                while not lane.runtime.engine.statistics().bytes_down:
                    await trio.lowlevel.checkpoint()
            # But for the echoing origin's.
            assert trio.lowlevel.current_statistics().tasks_living == before + 1
            await stream.send_all(b"late")
            await stream.send_eof()
            assert await read_all(stream) == ESTABLISHED + b"early late"
        record = await only_record(lane)
    assert (record["status"], record["bytes_up"], record["bytes_down"]) == (200, 10, 10)
    assert (record["closed_by"], record["reason"]) == ("client", "eof")


async def test_what_comes_with_a_connect_and_fills_a_read_is_all_passed_on(
    tmp_path: Path, keeper: Doorkeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_porch(tmp_path, secure(keeper)) as lane:
        async with await enter(lane, keeper.trusting()) as stream:
            # All of it is one record: what a read leaves over is decrypted, and no event tells of it.
            head, early = connect(lane.authority), bytes(range(250))
            monkeypatch.setattr("wsproxy.net.streams.RECEIVE_SIZE", len(head))
            await stream.send_all(head + early)
            answer = b""
            with trio.fail_after(10):
                while len(answer) < len(ESTABLISHED + early):
                    answer += await stream.receive_some()
        assert answer == ESTABLISHED + early


async def test_a_client_that_ends_without_close_notify_has_ended(
    tmp_path: Path, keeper: Doorkeeper
) -> None:
    async with open_porch(tmp_path, secure(keeper)) as lane:
        async with await enter(lane, keeper.trusting()) as stream:
            stream.sock._sock.shutdown(socket.SHUT_WR)  # type: ignore[union-attr]
            record = await only_record(lane)
        assert ending(record) == (None, None, "client", "eof")


@pytest.mark.parametrize("request_", [GET, connect(b"example.com:443"), b"\x05\x01\x00", b"x"])
async def test_what_is_not_tls_is_told_so_in_clear(
    tmp_path: Path, keeper: Doorkeeper, request_: bytes
) -> None:
    async with open_porch(tmp_path, secure(keeper)) as lane:
        answer = await lane.ask(request_)
        record = await only_record(lane)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"this port speaks TLS: the URL of the proxy begins with https://" in answer
    assert ending(record) == (400, "http_request_error", "client", "protocol")
    assert record["class"] == "T2"


@pytest.mark.parametrize(
    ("octets", "end"),
    [
        (b"", (None, None, "proxy", "timeout")),
        (b"\x16\x03\x01", (None, "connection_terminated", "client", "protocol")),
    ],
    ids=["nothing", "half a record"],
)
async def test_a_handshake_has_its_time(
    tmp_path: Path, keeper: Doorkeeper, octets: bytes, end: tuple[object, ...]
) -> None:
    async with open_porch(tmp_path, secure(keeper), SHORT) as lane:
        with knock(lane) as sock:
            sock.send(octets)
            assert await read_all(TcpStream(sock)) == b""
        assert ending(await only_record(lane)) == end


@pytest.mark.parametrize(
    ("octets", "end"),
    [
        (b"", (None, None, "client", "eof")),
        (b"\x16\x03\x01", (None, "connection_terminated", "client", "protocol")),
        (b"\x16garbage that is no record", (None, "tls_protocol_error", "client", "protocol")),
    ],
)
async def test_a_client_that_leaves_before_it_has_shaken_hands_leaves_one_record(
    tmp_path: Path, keeper: Doorkeeper, octets: bytes, end: tuple[object, ...]
) -> None:
    async with open_porch(tmp_path, secure(keeper)) as lane:
        await lane.ask(octets)
        assert ending(await only_record(lane)) == end


async def test_what_is_said_of_a_failed_handshake_is_not_taken_back_by_a_reset(
    tmp_path: Path, keeper: Doorkeeper
) -> None:
    async with open_porch(tmp_path, secure(keeper)) as lane:
        with knock(lane) as sock:
            sock.send(b"\x16\x03\x01\xff\xff" + bytes(200_000))
            alert = await read_all(TcpStream(sock))
        assert (alert[0], alert[5]) == (21, 2)  # fatal


async def test_a_client_that_resets_before_it_said_anything(
    tmp_path: Path, keeper: Doorkeeper
) -> None:
    async with open_porch(tmp_path, secure(keeper)) as lane:
        sock = knock(lane)
        with trio.fail_after(10):
            while not lane.runtime.occupancy.open:
                await trio.lowlevel.checkpoint()
        reset(sock)
        assert ending(await only_record(lane)) == (None, None, "client", "reset")


async def test_a_client_that_does_not_trust_us_says_so(tmp_path: Path, keeper: Doorkeeper) -> None:
    async with open_porch(tmp_path, secure(keeper)) as lane:
        with pytest.raises(UpstreamTlsError):
            await enter(lane, ssl.create_default_context())
        record = await only_record(lane)
    assert ending(record) == (None, "tls_alert_received", "client", "protocol")
    assert record["detail"].endswith("tlsv1 alert unknown ca")


@pytest.mark.parametrize(
    ("limits", "status"),
    [("connections: 1", b"503"), ("connections_per_client: 1", b"429")],
)
async def test_a_limit_is_told_behind_the_handshake(
    tmp_path: Path, keeper: Doorkeeper, limits: str, status: bytes
) -> None:
    async with open_porch(tmp_path, secure(keeper), f"limits: {{{limits}}}\n") as lane:
        with knock(lane):  # it has a place before it has said a word
            with trio.fail_after(10):
                while not lane.runtime.occupancy.open:
                    await trio.lowlevel.checkpoint()
            answer = await ask(lane, keeper.trusting())
            assert answer[9:12] == status
            assert b"Retry-After: 1" in answer
        with trio.fail_after(10):
            while lane.runtime.occupancy.open:
                await trio.lowlevel.checkpoint()
        assert (await ask(lane, keeper.trusting()))[9:12] == b"200"
        refused, gone, _served = lane.records
    assert (refused["error"], refused["status"]) == ("connection_limit_reached", int(status))
    assert ending(gone) == (None, None, "client", "eof")


async def test_a_crowd_that_is_turned_away_gets_no_handshake(
    tmp_path: Path, keeper: Doorkeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsproxy.proxy.occupancy._MAX_TURNING_AWAY", 0)
    async with open_porch(tmp_path, secure(keeper), "limits: {connections: 1}\n") as lane:
        lane.runtime.occupancy.enter(LOOPBACK)
        with pytest.raises(UpstreamTlsError):
            await enter(lane, keeper.trusting())
        lane.runtime.occupancy.leave(LOOPBACK)
        record = await only_record(lane)
    assert ending(record) == (None, "connection_limit_reached", "proxy", "refused")


async def test_stopping_ends_a_handshake_that_hangs(tmp_path: Path, keeper: Doorkeeper) -> None:
    async with open_porch(tmp_path, secure(keeper)) as lane:
        with knock(lane) as sock:
            sock.send(b"\x16\x03")
            with trio.fail_after(10):
                while not lane.runtime.occupancy.open:
                    await trio.lowlevel.checkpoint()
            lane.runtime.drain.begin()
            assert await read_all(TcpStream(sock)) == b""
        assert ending(await only_record(lane)) == (None, None, "proxy", "drained")


# ---------------------------------------------------------------- certificates


METHODS = "auth: {methods: [{type: certificate}]}\n"


async def test_a_certificate_proves_who_asks(
    tmp_path: Path, keeper: Doorkeeper, alice: Shown
) -> None:
    listeners = secure(keeper, asks=True)
    async with open_porch(tmp_path, listeners, METHODS) as lane:
        request = connect(lane.authority) + b"x"
        async with await enter(lane, keeper.trusting(alice)) as stream:
            await stream.send_all(request)
            await stream.send_eof()
            assert await read_all(stream) == ESTABLISHED + b"x"
        assert (await only_record(lane))["user"] == "alice"


async def test_an_authority_need_not_be_a_root(tmp_path: Path, keeper: Doorkeeper) -> None:
    between = Doorkeeper(tmp_path, "the desk's doorkeeper", keeper)
    listeners = secure(keeper, more=f", client_ca: {between.ca}")
    async with open_porch(tmp_path, listeners, METHODS) as lane:
        alice = keeper.trusting(between.issue("alice"))
        assert (await ask(lane, alice)).startswith(b"HTTP/1.1 200 ")
        with pytest.raises(trio.BrokenResourceError):
            await ask(lane, keeper.trusting(keeper.issue("alice")))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("shown", "alert", "detail"),
    [
        (None, None, "the client showed no certificate"),
        ("stranger", "unknown ca", "unable to get local issuer certificate"),
        ("expired", "certificate expired", "certificate has expired"),
        ("revoked", "certificate revoked", "certificate revoked"),
        ("server", "unsupported certificate", "unsuitable certificate purpose"),
    ],
)
async def test_a_bad_certificate_fails_the_handshake_with_its_alert_and_its_record(
    tmp_path: Path,
    version: ssl.TLSVersion,
    shown: str | None,
    alert: str | None,
    detail: str,
) -> None:
    (tmp_path / "other").mkdir()
    keeper = Doorkeeper(tmp_path)
    kinds = {
        None: None,
        "stranger": Doorkeeper(tmp_path / "other", "another").issue("alice"),
        "expired": keeper.issue_expired("alice"),
        "revoked": keeper.issue("mallory"),
        "server": keeper.server,
    }
    crl = keeper.revoke(kinds["revoked"])
    context = keeper.trusting(kinds[shown])
    context.maximum_version = version
    listeners = secure(keeper, asks=True, more=f", client_crl: {crl}")
    async with open_porch(tmp_path, listeners, METHODS) as lane:
        # TLS 1.3: the client has done its part before it hears.
        with pytest.raises((UpstreamTlsError, trio.BrokenResourceError)) as caught:
            await ask(lane, context)
        record = await only_record(lane)
    wanted = alert or (
        "certificate required" if version.name.endswith("3") else "handshake failure"
    )
    assert wanted in str(caught.value).lower()
    assert ending(record) == (None, "tls_certificate_error", "client", "protocol")
    assert detail in record["detail"]


async def test_a_list_that_is_read_again_counts_for_the_next_handshake(tmp_path: Path) -> None:
    keeper = Doorkeeper(tmp_path)
    alice, crl = keeper.issue("alice"), keeper.revoke()
    listeners = secure(keeper, asks=True, more=f", client_crl: {crl}")
    async with open_porch(tmp_path, listeners, METHODS) as lane:
        before = await enter(lane, keeper.trusting(alice))
        keeper.revoke(alice)
        entrances = build_entrances(load(tmp_path / "wsproxy.yaml"))
        lane.live.runtime = replace(lane.runtime, entrances=entrances)
        with pytest.raises(trio.BrokenResourceError):
            await ask(lane, keeper.trusting(alice))
        await before.send_all(GET)
        assert (await read_all(before)).startswith(b"HTTP/1.1 200 ")
        await before.aclose()


async def test_what_a_certificate_says_is_known_of_the_peer(
    tmp_path: Path, keeper: Doorkeeper
) -> None:
    names: list[GeneralName] = [RFC822Name("alice@corp.example"), DNSName("laptop7.corp.example")]
    names.append(UniformResourceIdentifier("spiffe://corp.example/alice"))
    shown = keeper.issue("alice", "desk", "night", names=names)
    async with open_porch(tmp_path, secure(keeper, asks=True), METHODS) as lane:
        seen: list[Certificate | None] = []
        log = lane.runtime.log

        def note(event: str, exchange: Exchange) -> None:
            seen.append(exchange.peer.certificate)
            log(event, exchange)

        lane.live.runtime = replace(lane.runtime, log=note)
        await ask(lane, keeper.trusting(shown))
    assert seen == [
        Certificate(
            subject=(
                ("organizationalUnitName", "desk"),
                ("organizationalUnitName", "night"),
                ("commonName", "alice"),
            ),
            alternatives=(
                ("email", "alice@corp.example"),
                ("DNS", "laptop7.corp.example"),
                ("URI", "spiffe://corp.example/alice"),
            ),
            issuer=(keeper.name,),
            serial=shown.serial,
            expires_at=FAR_FUTURE.timestamp(),
        )
    ]


async def test_a_stale_list_of_revocations_lets_nobody_in(tmp_path: Path) -> None:
    keeper = Doorkeeper(tmp_path)
    crl = keeper.revoke_nobody_since_long()
    listeners = secure(keeper, asks=True, more=f", client_crl: {crl}")
    async with open_porch(tmp_path, listeners, METHODS) as lane:
        with pytest.raises((UpstreamTlsError, trio.BrokenResourceError)):
            await ask(lane, keeper.trusting(keeper.issue("alice")))
        assert "crl has expired" in (await only_record(lane))["detail"]


# ---------------------------------------------------------------- PROXY headers


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (FROM_7, "192.0.2.7:77"),
        (b"PROXY TCP6 2001:db8::7 ::1 7 1\r\n", "[2001:db8::7]:7"),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 7 1\r\n", "192.0.2.7:7"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x08\0\x07\0\x01", "192.0.2.7:7"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("bytewise", [False, True])
async def test_a_header_names_the_client(
    tmp_path: Path, header: bytes, client: str, *, bytewise: bool
) -> None:
    async with open_porch(tmp_path, TRUSTED) as lane:
        request = header + connect(lane.authority)
        if bytewise:
            with knock(lane) as sock:
                for octet in request:
                    sock.send(bytes((octet,)))
                    await trio.lowlevel.checkpoint()
                sock.shutdown(socket.SHUT_WR)
                answer = await read_all(TcpStream(sock))
        else:
            answer = await lane.ask(request)
        assert answer == ESTABLISHED
        assert (await only_record(lane))["client"] == client


async def test_a_tunnel_behind_a_header_needs_no_session(tmp_path: Path) -> None:
    async with open_porch(tmp_path, TRUSTED) as lane:
        assert await lane.ask(FROM_7 + connect(lane.authority) + b"x") == ESTABLISHED + b"x"
        assert lane.left == 0


async def test_what_the_lane_leaves_behind_a_header_is_the_clients_too(tmp_path: Path) -> None:
    async with open_porch(tmp_path, TRUSTED) as lane:
        assert (await lane.ask(FROM_7 + GET)).startswith(b"HTTP/1.1 200 ")
        assert lane.left == 1
        assert (await only_record(lane))["client"] == "192.0.2.7:77"


@pytest.mark.parametrize(
    "header", [b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"], ids=["v1", "v2"]
)
async def test_a_balancers_own_connection_is_its_own(tmp_path: Path, header: bytes) -> None:
    async with open_porch(tmp_path, TRUSTED) as lane:
        assert (await lane.ask(header + GET)).startswith(b"HTTP/1.1 200 ")
        assert (await only_record(lane))["client"].startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("octets", "detail"),
    [
        (GET, "this is no PROXY header"),
        (b"PROXY TCP4 a b 1 2\r\n" + GET, "the PROXY line is malformed"),
        (FROM_7[:-2] + b"x\r\n" + GET, "the PROXY line is malformed"),
    ],
)
async def test_a_balancer_that_sends_no_header_or_a_wrong_one_is_refused(
    tmp_path: Path, octets: bytes, detail: str
) -> None:
    async with open_porch(tmp_path, TRUSTED) as lane:
        answer = await lane.ask(octets)
        record = await only_record(lane)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert ending(record) == (400, "http_request_error", "client", "protocol")
    assert record["detail"].startswith(detail)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("header", [FROM_7, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"])
async def test_others_cannot_name_themselves(
    tmp_path: Path, keeper: Doorkeeper, header: bytes, *, tls: bool
) -> None:
    listener = keeper.listener(asks=False) if tls else "{address: '127.0.0.1:0'}"
    trust = listener[:-1] + ", proxy_protocol: {trust: [10.0.0.0/8]}}"
    async with open_porch(tmp_path, f"listeners: [{trust}]\n") as lane:
        answer = await lane.ask(header + GET)
        record = await only_record(lane)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert record["client"].startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("octets", "end"),
    [
        (b"", (None, None, "proxy", "timeout")),
        (FROM_7[:9], (408, "http_request_error", "proxy", "timeout")),
    ],
)
async def test_a_header_has_the_time_of_a_head(
    tmp_path: Path, octets: bytes, end: tuple[object, ...]
) -> None:
    async with open_porch(tmp_path, TRUSTED, SHORT) as lane:
        with knock(lane) as sock:
            sock.send(octets)
            answer = await read_all(TcpStream(sock))
        assert answer.startswith(b"HTTP/1.1 408 " if octets else b"")
        assert ending(await only_record(lane)) == end


@pytest.mark.parametrize("octets", [b"", FROM_7[:20]])
async def test_a_balancer_that_only_looks_leaves_one_record(tmp_path: Path, octets: bytes) -> None:
    async with open_porch(tmp_path, TRUSTED) as lane:
        assert await lane.ask(octets) == b""
        end = await only_record(lane)
    wanted = ("connection_terminated", "reset") if octets else (None, "eof")
    assert ending(end) == (None, wanted[0], "client", wanted[1])


async def test_a_header_comes_before_tls(tmp_path: Path, keeper: Doorkeeper, alice: Shown) -> None:
    listener = keeper.listener()[:-1] + ", proxy_protocol: {trust: 127.0.0.1}}"
    async with open_porch(tmp_path, f"listeners: [{listener}]\n", METHODS) as lane:
        answer = await ask(lane, keeper.trusting(alice), header=FROM_7)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert (await only_record(lane))["client"] == "192.0.2.7:77"


async def test_limits_and_rules_see_the_client_that_is_named(tmp_path: Path) -> None:
    config = "limits: {connections_per_client: 1}\n"
    async with open_porch(tmp_path, TRUSTED, config) as lane:
        named = ip_address("192.0.2.7")
        lane.runtime.occupancy.enter(named)
        assert (await lane.ask(FROM_7 + GET))[9:12] == b"429"
        assert (await lane.ask(FROM_7.replace(b".7 ", b".8 ") + GET))[9:12] == b"200"
        lane.runtime.occupancy.leave(named)


async def test_headers_that_are_waited_for_take_places_of_the_whole_proxy_only(
    tmp_path: Path,
) -> None:
    config = "limits: {connections: 2, connections_per_client: 1}\n"
    async with open_porch(tmp_path, TRUSTED, config) as lane:
        with knock(lane), knock(lane):
            with trio.fail_after(10):
                while lane.runtime.occupancy.open < 2:
                    await trio.lowlevel.checkpoint()
            answer = await lane.ask(FROM_7[:10])
            assert answer[9:12] == b"503"
