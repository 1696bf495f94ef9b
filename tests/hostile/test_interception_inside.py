"""T1 to T10, T26: the corpus again, inside TLS that the proxy looks into."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
import trio

from tests.hostile.case import Case, fill
from tests.hostile.corpus import chunks, framing, grammar, hops, limits, upgrade
from tests.hostile.judge import judge, judge_records
from tests.hostile.origins import accept_websocket, answer_strictly
from tests.hostile.tls_ends import exchange_inside, open_secure_origin
from tests.hostile.tls_room import Looked, at_once, fresh, lines, open_looking
from tests.support.rawnet import Connection

_HOST = "127.0.0.1"
_INSIDE = re.compile(rb"(?m)^([A-Za-z]+) http://@O@(?=/)")
ABOUT_TARGETS = ("own page", "switch: another Host")
"""Inside, the first is the origin's, and the second is fronting; see below for that."""


def _as_inside(case: Case) -> Case | None:
    """The case with targets in origin-form; None where it is about targets."""
    send = tuple(_INSIDE.sub(rb"\1 ", piece) for piece in case.send)
    if (
        case.name in ABOUT_TARGETS
        or case.send[0].startswith(b"CONNECT ")
        or b"://" in send[0].split(b"\r\n")[0]
    ):
        return None
    return replace(case, send=send)


_GROUPS = {
    "grammar": grammar.CASES,
    "limits": limits.CASES,
    "framing": framing.CASES,
    "chunks": chunks.CASES,
    "hops": hops.CASES,
    "upgrade": upgrade.CASES,
}
GROUPS = {
    name: [inside for case in cases if (inside := _as_inside(case)) is not None]
    for name, cases in _GROUPS.items()
}


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    """A proxy that intercepts."""
    with open_looking(tmp_path_factory.mktemp("inside")) as looked:
        yield looked


async def _run(looked: Looked, case: Case, *, bytewise: bool) -> list[str]:
    source = fresh()
    async with open_secure_origin(case.behaviour or answer_strictly, host=_HOST) as origin:
        authority = origin.outer.authority
        marks = {
            b"@A@": b"",
            b"@C@": b"",
            b"@O@": authority,
            b"@P@": b"%d" % origin.outer.port,
            b"@SP@": b"%d" % looked.room.proxy.port,
            b"@S@": b"127.0.0.1:%d" % looked.room.proxy.port,
        }
        pieces = [fill(piece, marks) for piece in case.send]
        if bytewise:
            whole = b"".join(pieces)
            pieces = [whole[n : n + 1] for n in range(len(whole))]
        tls = await looked.enter(authority, source)
        gate = origin.inner.wait_received
        seen = await exchange_inside(tls, pieces, eof=not case.closes, gate=gate)
        with trio.move_on_after(10):
            await origin.outer.wait_finished()
        # The proxy shook hands with the origin before anything was asked.
        origin.inner.connections = [each for each in origin.inner.connections if each.received]
        problems, statuses = judge(case, seen, origin.inner)
    found = await trio.to_thread.run_sync(looked.records_of, source, 1 + max(1, len(statuses)))
    outer = [r for r in found if r["kind"] == "connect"]
    inner = [r for r in found if r["kind"] != "connect"]
    looked.room.seen[source] = len(outer) + len(inner)
    if len(outer) != 1:
        problems.append(f"{len(outer)} records of the CONNECT")
    if inner or statuses:
        problems = problems or judge_records(case, statuses, inner, anonymous=False)
    if any(record["tunnel"] != outer[0]["id"] for record in inner):
        problems.append("a record that does not name its tunnel")
    return [f"{case.id}: {problem}" for problem in problems]


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("group", GROUPS)
async def test_no_octet_inside_is_unsafe(patient: Looked, group: str, bytewise: bool) -> None:
    cases = [case for case in GROUPS[group] if case.bytewise or not bytewise]

    async def run(at: int) -> list[str]:
        return await _run(patient, cases[at], bytewise=bytewise)

    problems = await at_once(patient, len(cases), run)
    assert not problems, lines(problems)


_GET = b"GET / HTTP/1.1\r\n"
_HANDSHAKE = b"\r\n".join([*upgrade.HANDSHAKE, b"", b""])
REFUSED = {
    "Host of another origin": (b"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n", 403),
    "Host of a name for it": (b"GET / HTTP/1.1\r\nHost: localhost:@P@\r\n\r\n", 403),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET / HTTP/1.1\r\nHost: @O@\r\nHost: @O@\r\n\r\n", 400),
    "absolute-form": (b"GET http://@O@/ HTTP/1.1\r\nHost: @O@\r\n\r\n", 400),
    "absolute-form, https": (b"GET https://@O@/ HTTP/1.1\r\nHost: @O@\r\n\r\n", 400),
    "absolute-form, other": (b"GET http://other.example/ HTTP/1.1\r\nHost: @O@\r\n\r\n", 400),
    "absolute-form, wss": (b"GET wss://@O@/ HTTP/1.1\r\nHost: @O@\r\n" + _HANDSHAKE, 400),
    "CONNECT": (b"CONNECT @O@ HTTP/1.1\r\nHost: @O@\r\n\r\n", 400),
    "CONNECT to another": (b"CONNECT other.example:443 HTTP/1.1\r\nHost: @O@\r\n\r\n", 400),
    "CONNECT with a path": (b"CONNECT / HTTP/1.1\r\nHost: @O@\r\n\r\n", 400),
    "TLS in TLS": (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", 400),
    "preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "handshake for another": (b"GET / HTTP/1.1\r\nHost: other.example\r\n" + _HANDSHAKE, 403),
    "65 KiB of head": (_GET + b"Host: @O@\r\nX: " + b"x" * 65 * 1024 + b"\r\n\r\n", 431),
    "65 KiB of target": (b"GET /" + b"x" * 65 * 1024 + b" HTTP/1.1\r\nHost: @O@\r\n\r\n", 414),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_may_not_be_asked_inside_never_reaches_the_origin(
    patient: Looked, name: str
) -> None:
    send, status = REFUSED[name]
    source = fresh()
    async with open_secure_origin(answer_strictly, host=_HOST) as origin:
        authority = origin.outer.authority
        tls = await patient.enter(authority, source)
        send = fill(send, {b"@O@": authority, b"@P@": b"%d" % origin.outer.port})
        smuggled = b"GET /smuggled HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % authority
        piggyback = smuggled if status == 400 else b""
        seen = await exchange_inside(tls, [send + piggyback], enough=b"</html>\n")
        received = origin.inner.received
    assert seen.received.startswith(b"HTTP/1.1 %d " % status)
    assert received == b""
    found = patient.records_of(source, 2)
    assert {record["status"] for record in found} == {status, 200}


PASSED = {
    "Host with the port": (b"GET / HTTP/1.1\r\nHost: @O@\r\n\r\n", b"get /"),
    "Host with another port": (b"GET / HTTP/1.1\r\nHost: 127.0.0.1:9\r\n\r\n", b"get /"),
    "Host without": (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"get /"),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: @O@\r\n\r\n", b"options *"),
    "credentials for us": (
        b"GET / HTTP/1.1\r\nHost: @O@\r\nProxy-Authorization: Basic aHVudGVyMg==\r\n\r\n", b"get /",
    ),
    "h2c": (
        b"GET / HTTP/1.1\r\nHost: @O@\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n", b"get /",
    ),
    "HTTP/1.0": (b"GET / HTTP/1.0\r\n\r\n", b"get /"),
}  # fmt: skip


@pytest.mark.parametrize("name", PASSED)
async def test_what_is_for_us_does_not_go_on(patient: Looked, name: str) -> None:
    send, line = PASSED[name]
    source = fresh()
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    async def answer(connection: Connection) -> None:
        await connection.receive_until(b"\r\n\r\n")
        await connection.send(ok)
        await connection.drain()

    async with open_secure_origin(answer, host=_HOST) as origin:
        authority = origin.outer.authority
        tls = await patient.enter(authority, source)
        seen = await exchange_inside(tls, [fill(send, {b"@O@": authority})], enough=b"\r\n\r\nok")
        received = origin.inner.received.lower()
    patient.records_of(source, 2)
    assert seen.received.startswith(b"HTTP/1.1 200 ")
    assert received.startswith(line)
    for word in (b"proxy-authorization", b"upgrade", b"http2-settings", b"h2c"):
        assert word not in received
    assert received.count(b"\r\nhost: %b\r\n" % authority) == 1


async def test_pipelined_requests_are_answered_in_order_with_a_record_each(
    patient: Looked,
) -> None:
    source, count = fresh(), 50
    async with open_secure_origin(answer_strictly, host=_HOST) as origin:
        authority = origin.outer.authority
        tls = await patient.enter(authority, source)
        asked = b"".join(
            b"GET /%d HTTP/1.1\r\nHost: %b\r\n%b\r\n"
            % (n, authority, b"Connection: close\r\n" if n == count - 1 else b"")
            for n in range(count)
        )
        seen = await exchange_inside(tls, [asked])
        received = origin.inner.received
    assert seen.ended == "eof"
    assert seen.received.count(b"HTTP/1.1 200 ") == count
    assert re.findall(rb"GET /(\d+) ", received) == [b"%d" % n for n in range(count)]
    found = patient.records_of(source, count + 1)
    assert sum(record["kind"] == "forward" for record in found) == count


async def test_a_smuggled_request_behind_a_refusal_is_not_served(patient: Looked) -> None:
    source = fresh()
    async with open_secure_origin(answer_strictly, host=_HOST) as origin:
        authority = origin.outer.authority
        tls = await patient.enter(authority, source)
        attack = (
            b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n"
            b"\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: %b\r\n\r\n" % (authority, authority)
        )
        seen = await exchange_inside(tls, [attack])
        received = origin.inner.received
    assert seen.received.startswith(b"HTTP/1.1 400 ")
    assert seen.received.count(b"HTTP/1.1") == 1
    assert seen.ended == "eof"
    assert received == b""
    patient.records_of(source, 2)


async def test_what_follows_a_handshake_that_is_refused_is_no_request(patient: Looked) -> None:
    """T10, RFC 9931: such octets were meant for a WebSocket; a page may have chosen them."""
    source = fresh()
    async with open_secure_origin(answer_strictly, host=_HOST) as origin:
        authority = origin.outer.authority
        tls = await patient.enter(authority, source)
        asked = b"GET / HTTP/1.1\r\nHost: other.example\r\n" + _HANDSHAKE
        early = b"GET /smuggled HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % authority
        seen = await exchange_inside(tls, [asked + early])
        received = origin.inner.received
    answers = seen.received.count(b"HTTP/1.1 ")
    patient.records_of(source, 1 + answers)
    assert seen.received.startswith(b"HTTP/1.1 403 ")
    assert received == b""
    assert answers == 1


async def test_frames_behind_a_handshake_wait_for_the_101(patient: Looked) -> None:
    source = fresh()
    early = b"\x81\x85\0\0\0\0early"
    async with open_secure_origin(accept_websocket, host=_HOST) as origin:
        authority = origin.outer.authority
        tls = await patient.enter(authority, source)
        asked = b"GET / HTTP/1.1\r\nHost: %b\r\n" % authority + _HANDSHAKE
        seen = await exchange_inside(tls, [asked + early], enough=early)
        received = origin.inner.received
    assert seen.ended == "enough"
    assert received.endswith(b"\r\n\r\n" + early)
    found = patient.records_of(source, 2)
    assert {record["kind"] for record in found} == {"connect", "upgrade"}
