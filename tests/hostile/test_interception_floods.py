"""T17, T25: floods against a proxy that looks into TLS, and a bystander who must not notice."""

from __future__ import annotations

import random
import ssl
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import trio

from tests.hostile.corpus.upgrade import HANDSHAKE
from tests.hostile.origins import accept_websocket
from tests.hostile.tls_ends import AsyncClosing, TlsStream, exchange_inside, open_secure_origin
from tests.hostile.tls_hellos import hello
from tests.hostile.tls_key_updates import key_updates
from tests.hostile.tls_room import ADDRESSES, MANY, Looked, at_once, fresh, lines, open_looking
from tests.support.rawnet import Connection, echo, exchange, open_origin

_GOOD = hello()


@pytest.fixture
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    """A proxy that intercepts; a new one, for its memory is measured."""
    with open_looking(tmp_path_factory.mktemp("floods")) as looked:
        yield looked


async def _answer(connection: Connection) -> None:
    while await connection.receive():
        if connection.received.endswith(b"\r\n\r\n") and not await connection.send(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        ):
            return


async def _latencies(looked: Looked, until: trio.Event) -> list[float]:
    """Of the bystander's echo, until the event."""
    found = []
    while not until.is_set():
        began_at = time.monotonic()
        await trio.to_thread.run_sync(looked.room.check_bystander)
        found.append(time.monotonic() - began_at)
        with trio.move_on_after(0.01):
            await until.wait()
    return found


async def test_two_hundred_new_names_at_once(patient: Looked) -> None:
    async with open_secure_origin(_answer, host="0.0.0.0") as origin:
        port = origin.outer.port

        async def run(at: int) -> list[str]:
            host, found = MANY[at // 2], set()
            source = fresh()
            tls = await patient.enter(b"%b:%d" % (host.encode(), port), source)
            found.add(tls.object.getpeercert(binary_form=True))
            certificates.setdefault(host, set()).update(found)
            request = b"GET / HTTP/1.1\r\nHost: %b:%d\r\n\r\n" % (host.encode(), port)
            seen = await exchange_inside(tls, [request], enough=b"</html>\n")
            record, _connect = await trio.to_thread.run_sync(patient.records_of, source, 2)
            # The origin's certificate is not for these addresses.
            good = record["error"] == "tls_certificate_error" and b" 502 " in seen.received
            return [] if good else [f"{host}: {seen.received[:200]!r} {record}"]

        certificates: dict[str, set[bytes | None]] = {}
        problems = await at_once(patient, 2 * len(MANY), run, limit=400)
    assert not problems, lines(problems)
    assert {len(found) for found in certificates.values()} == {1}


async def test_three_hundred_clients_of_one_name_and_what_an_idle_one_costs(
    patient: Looked, record_property: Callable[[str, object], None]
) -> None:
    host, count = ADDRESSES["always"], 300
    clients: list[TlsStream] = []
    certificates = set()
    before = patient.room.proxy.rss_bytes()
    async with open_secure_origin(_answer, host=host) as origin:
        authority = b"%b:%d" % (host.encode(), origin.outer.port)

        async def enter() -> None:
            tls = await patient.enter(authority, fresh_source())
            clients.append(tls)
            certificates.add(tls.object.getpeercert(binary_form=True))

        def fresh_source() -> str:
            source = fresh()
            patient.room.seen[source] += 1
            return source

        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(enter)
        each = (patient.room.proxy.rss_bytes() - before) / count
        for tls in clients:
            await trio.aclose_forcefully(tls.transport)
    patient.room.check_descriptors()
    record_property("bytes_per_idle_intercepted_connection", round(each))
    print(f"\nan idle intercepted connection costs {each / 1024:.0f} KiB")
    assert len(certificates) == 1
    assert each < 256 * 1024


async def test_a_thousand_garbage_hellos_do_not_disturb(patient: Looked) -> None:
    host, over = ADDRESSES["always"], trio.Event()
    rng = random.Random(7)
    latencies: list[float] = []

    async def listen() -> None:
        latencies.extend(await _latencies(patient, over))

    async with open_origin(echo, host=host) as origin:
        authority = b"%b:%d" % (host.encode(), origin.port)
        connect = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (authority, authority)
        limiter = trio.CapacityLimiter(8)

        async def one(number: int) -> None:
            octets = bytearray(_GOOD)
            for _ in range(1 + number % 7):
                octets[rng.randrange(1, len(octets))] = rng.randrange(256)
            async with limiter:
                source = fresh()
                patient.room.seen[source] += 1
                await exchange(
                    patient.room.proxy.address, [connect, bytes(octets)], source=source, eof=True
                )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            async with trio.open_nursery() as attackers:
                for number in range(1000):
                    attackers.start_soon(one, number)
            over.set()
    patient.room.check_descriptors()
    print(f"\nmedian {statistics.median(latencies) * 1000:.1f} ms, worst {max(latencies):.3f} s")
    assert latencies  # the bystander was heard meanwhile


@pytest.mark.parametrize("asks", [False, True], ids=["tells", "asks"])
@pytest.mark.parametrize("where", ["before a request", "inside a WebSocket"])
async def test_endless_key_updates_do_not_stop_the_proxy(
    patient: Looked, tmp_path_factory: pytest.TempPathFactory, where: str, asks: bool
) -> None:
    """RFC 8446 §4.6.3: each costs a key derivation, none of them is application data."""
    host, source, over = ADDRESSES["intercept"], fresh(), trio.Event()
    key_log = tmp_path_factory.mktemp("keys") / "keys"
    latencies: list[float] = []
    in_websocket = where != "before a request"

    async def listen() -> None:
        latencies.extend(await _latencies(patient, over))

    async with open_secure_origin(accept_websocket, host=host) as origin:
        authority = b"%b:%d" % (host.encode(), origin.outer.port)
        stream = await patient.tunnel(authority, source)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(patient.ca_file)
        context.keylog_filename = str(key_log)
        tls = TlsStream(stream, context, host)
        async with AsyncClosing(stream):
            await tls.shake_hands()
            cipher = tls.object.cipher()
            assert cipher is not None
            if in_websocket:
                asked = b"GET / HTTP/1.1\r\nHost: %b\r\n" % authority
                await tls.send_all(asked + b"\r\n".join([*HANDSHAKE, b"", b""]))
                assert (await tls.receive_some()).startswith(b"HTTP/1.1 101 ")
            flood = key_updates(key_log, cipher[0], 60_000, asks=asks, sent=int(in_websocket))

            async def send() -> None:
                # It is cut off long before its end.
                with suppress(trio.BrokenResourceError):
                    await stream.send_all(flood)
                    with trio.fail_after(20):
                        while await stream.receive_some():
                            pass
                over.set()

            before = patient.room.proxy.rss_bytes()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                nursery.start_soon(listen)
            grown = patient.room.proxy.rss_bytes() - before
    patient.records_of(source, 1 + in_websocket)
    print(f"\nworst {max(latencies):.3f} s, grown by {grown >> 10} KiB")
    assert latencies  # the bystander was heard meanwhile
    assert grown < 8 * 1024 * 1024
