"""T2, T17, T18, T28: what strangers do to a listener before HTTP: TLS handshakes and PROXY headers."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
import trio

from tests.hostile.room import Room, new_client_address, open_room
from tests.hostile.tls_ends import TlsStream
from tests.hostile.tls_hellos import hello, message, records
from tests.support.doorkeeper import Doorkeeper, Shown
from tests.support.proxy_process import Record
from tests.support.rawnet import Exchange, exchange

GET = b"GET / HTTP/1.1\r\nHost: proxy.test\r\nConnection: close\r\n\r\n"
BALANCER = "127.200.0.9"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
CONFIG = """
listeners:
  - address: 127.0.0.1:0
  - {secure}
  - {{address: 127.0.0.1:0, proxy_protocol: {{trust: [127.200.0.0/16]}}}}
policy: {{default: allow, private_networks: [{{hosts: ["*"], networks: [127.0.0.0/8]}}]}}
auth: {{required: false, methods: [{{type: certificate}}]}}
timeouts: {{tls_handshake: 2s, request_head: 2s}}
"""


@dataclass(frozen=True, slots=True, eq=False)
class Gates:
    """A proxy with a plain, a TLS and a PROXY listener.

    Attributes:
        room: the proxy.
        keeper: of the TLS listener's certificates.
        alice: somebody who may come in.
    """

    room: Room
    keeper: Doorkeeper
    alice: Shown

    @property
    def tls(self) -> tuple[str, int]:
        """The TLS listener."""
        return self.room.proxy.addresses[1]

    @property
    def balanced(self) -> tuple[str, int]:
        """The listener that takes PROXY headers from `BALANCER`."""
        return self.room.proxy.addresses[2]

    async def record(self, source: str, count: int = 1) -> Record:
        """The last of the `count` access records that a client has to leave."""
        self.room.seen[source] = count
        await trio.to_thread.run_sync(self.room.wait_for_records, source, count)
        found = self.room.proxy.records(event="access")
        return [r for r in found if str(r["client"]).startswith(source + ":")][-1]

    async def knock(self, *pieces: bytes, eof: bool = False) -> tuple[Exchange, Record]:
        """A client of the TLS listener that says this, and its record."""
        source = new_client_address()
        seen = await exchange(self.tls, pieces, source=source, eof=eof)
        return seen, await self.record(source)

    async def enter(self, source: str, shown: Shown | None = None) -> TlsStream:
        """A decent client behind its handshake."""
        sock = trio.socket.socket()
        await sock.bind((source, 0))
        await sock.connect(self.tls)
        tls = TlsStream(trio.SocketStream(sock), self.keeper.trusting(shown), "proxy.test")
        await tls.shake_hands()
        return tls

    async def check_service(self) -> None:
        """Others are served, in clear and over TLS."""
        self.room.check_bystander()
        source = new_client_address()
        tls = await self.enter(source, self.alice)
        await tls.send_all(GET)
        assert (await tls.receive_some()).startswith(b"HTTP/1.1 200 ")
        await tls.aclose()
        await self.record(source)


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gates]:
    folder = tmp_path_factory.mktemp("gates")
    keeper = Doorkeeper(folder)
    alice = keeper.issue("alice")
    config = CONFIG.format(secure=keeper.listener())
    with open_room(config, folder, listeners=3) as room:
        yield Gates(room, keeper, alice)
        written = room.proxy.stdout + room.proxy.stderr
        assert "PRIVATE KEY" not in written


async def at_once(count: int, run: object, limit: int = 32) -> None:
    limiter = trio.CapacityLimiter(limit)

    async def one(number: int) -> None:
        async with limiter:
            await run(number)  # type: ignore[operator]  # a coroutine function

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(one, number)


# ---------------------------------------------------------------- TLS


async def test_garbage_leaves_a_record_each_and_nothing_else(gates: Gates) -> None:
    rng = random.Random(11)
    good = hello()

    async def one(number: int) -> None:
        octets = bytearray(good if number % 2 else rng.randbytes(rng.randrange(1, 600)))
        for _ in range(1 + number % 7):
            octets[rng.randrange(len(octets))] = rng.randrange(256)
        seen, record = await gates.knock(bytes(octets), eof=True)
        assert seen.ended is not None
        if octets[0] == 0x16:
            assert record["error"] in ("tls_protocol_error", "connection_terminated"), record
        else:
            assert seen.received.startswith(b"HTTP/1.1 400 ")
            assert record["status"] == 400

    await at_once(400, one)
    await gates.check_service()
    gates.room.check_descriptors()


async def test_three_hundred_handshakes_that_stall_hold_nobody_up_and_end(gates: Gates) -> None:
    good = hello()
    stalled: list[str] = []
    served = trio.Event()

    async def one(number: int) -> None:
        source = new_client_address()
        stalled.append(source)
        # From a single octet to a whole hello, whose answer is not answered.
        piece = good[: 1 + number * len(good) // 299]
        seen = await exchange(gates.tls, [piece], source=source, guard_s=20)
        assert served.is_set()
        assert seen.ended == "eof"
        record = await gates.record(source)
        assert record["error"] == "connection_terminated"
        assert record["detail"] == "the client did not finish the TLS handshake in time"

    async with trio.open_nursery() as nursery:
        for number in range(300):
            nursery.start_soon(one, number)
        await gates.check_service()
        served.set()
    gates.room.check_descriptors()


@pytest.mark.parametrize(
    "octets",
    [
        records(b"\x01\xff\xff\xff" + bytes(200_000)),
        records(message())[:-1] + b"\0" * 100_000,
        b"\x16\x03\x01\x00\x00" * 20_000,
        b"\x16\x03\x01\xff\xff" + bytes(70_000),
        b"\x15\x03\x01\x00\x02\x01\x00" * 20_000,
    ],
    ids=["a hello without end", "too much of it", "empty records", "a long record", "alerts"],
)
async def test_a_handshake_is_given_up_when_it_cannot_become_one(
    gates: Gates, octets: bytes
) -> None:
    before = gates.room.proxy.rss_bytes()
    seen, record = await gates.knock(octets)
    assert seen.ended is not None
    assert record["error"] is not None or record["status"] == 400
    assert gates.room.proxy.rss_bytes() - before < 4 * 1024 * 1024
    await gates.check_service()


async def test_a_hello_octet_by_octet_is_a_hello(gates: Gates) -> None:
    source = new_client_address()
    sock = trio.socket.socket()
    sock.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
    await sock.bind((source, 0))
    await sock.connect(gates.tls)
    tls = TlsStream(trio.SocketStream(sock), gates.keeper.trusting(), "proxy.test")
    for octet in tls.hello():
        await sock.send(bytes((octet,)))
    await tls.shake_hands()
    await tls.send_all(GET)
    assert (await tls.receive_some()).startswith(b"HTTP/1.1 ")
    await tls.aclose()
    await gates.record(source)


def s_client(
    gates: Gates, source: str, *options: str, says: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """OpenSSL's own client, from `source`, to its end."""
    host, port = gates.tls
    where = ("-connect", f"{host}:{port}", "-bind", f"{source}:0")
    command = ["openssl", "s_client", *where, *options]
    return subprocess.run(command, input=says, capture_output=True, timeout=30, check=False)


def test_renegotiation_is_refused(gates: Gates) -> None:
    source = new_client_address()
    done = s_client(gates, source, "-tls1_2", says=b"R\n")
    assert b"RENEGOTIATING" in done.stderr + done.stdout
    assert b"no renegotiation" in done.stderr
    assert b"Compression: NONE" in done.stdout
    gates.room.seen[source] = 1
    gates.room.wait_for_records(source, 1)


@pytest.mark.parametrize(
    "options",
    [["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], ["-tls1_2", "-cipher", "NULL:aNULL:@SECLEVEL=0"]],
    ids=["TLS 1.1", "no encryption"],
)
def test_what_is_too_weak_is_refused(gates: Gates, options: Sequence[str]) -> None:
    source = new_client_address()
    done = s_client(gates, source, *options)
    assert done.returncode != 0
    gates.room.seen[source] = 1
    gates.room.wait_for_records(source, 1)
    gates.room.check_bystander()


async def test_a_forged_certificate_with_the_right_name_is_nobody(
    gates: Gates, tmp_path_factory: pytest.TempPathFactory
) -> None:
    forger = Doorkeeper(tmp_path_factory.mktemp("forger"), gates.keeper.name)
    source = new_client_address()
    told = []
    # By TLS 1.3 it has done its part before it hears of it.
    tls = await gates.enter(source, forger.issue("alice"))
    try:
        await tls.send_all(GET)
        await tls.receive_some()
    except trio.BrokenResourceError as error:
        told.append(str(error))
    await tls.aclose()
    assert "ALERT_UNKNOWN_CA" in told[0] or "ALERT_DECRYPT_ERROR" in told[0]
    record = await gates.record(source)
    assert (record["error"], record["user"]) == ("tls_certificate_error", None)


# ---------------------------------------------------------------- PROXY headers


@pytest.mark.parametrize(
    "octets",
    [
        b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + GET,
        b"PROXY UNKNOWN\r\n" + GET,
        SIGNATURE + b"\x21\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x02\0\x01\0\x02" + GET,
        SIGNATURE + b"\x20\0\0\0" + GET,
    ],
)
async def test_a_stranger_who_names_himself_is_refused_by_his_own_address(
    gates: Gates, octets: bytes
) -> None:
    for address in (gates.balanced, gates.room.proxy.address, gates.tls):
        source = new_client_address()
        seen = await exchange(address, [octets], source=source)
        assert seen.received.startswith(b"HTTP/1.1 400 ")
        record = await gates.record(source)
        assert record["class"] in ("T1", "T2")


async def test_what_a_balancer_sends_is_no_less_looked_at(gates: Gates) -> None:
    rng = random.Random(5)
    good = SIGNATURE + b"\x21\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x02\0\x01\0\x02"

    async def one(number: int) -> None:
        octets = bytearray(good if number % 2 else b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n")
        # Never the length, which would have more waited for.
        octets[rng.randrange(14)] ^= 1 << rng.randrange(8)
        seen = await exchange(gates.balanced, [bytes(octets) + GET], source=BALANCER, eof=True)
        assert seen.received[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 200"), seen
        assert seen.received.count(b"HTTP/1.1 ") == 1

    def named(found: Sequence[Record]) -> list[str]:
        """Who such headers name: anybody, or nobody but the balancer."""
        clients = [str(r["client"]).rpartition(":")[0] for r in found if r["event"] == "access"]
        return [client for client in clients if client not in others]

    others = dict(gates.room.seen)
    await at_once(300, one)
    await trio.to_thread.run_sync(
        gates.room.proxy.wait_until_logged, lambda found: len(named(found)) == 300
    )
    gates.room.seen.update(named(gates.room.proxy.records()))
    await gates.check_service()
    gates.room.check_descriptors()


async def test_a_header_without_end_is_cut(gates: Gates) -> None:
    for octets in (SIGNATURE + b"\x21\x11\xff\xff", b"PROXY UNKNOWN " + b"x" * 200):
        seen = await exchange(gates.balanced, [octets], source="127.200.0.10")
        assert seen.received.startswith(b"HTTP/1.1 400 ")
    record = await gates.record("127.200.0.10", 2)
    assert "too long" in record["detail"]
    seen = await exchange(gates.balanced, [SIGNATURE], source="127.200.0.11")
    assert seen.received.startswith(b"HTTP/1.1 408 ")
    await gates.record("127.200.0.11")
