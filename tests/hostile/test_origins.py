"""G1: hostile origins.  The client gets 502, or a message that is visibly cut, and nothing else.

Each conversation sends a second request behind the first.  It must be answered by a decent
origin on a new connection, or not at all: never by what the hostile one left behind.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import pytest
import trio

from tests.hostile.corpus.replies import REPLIES, SWITCHES, Reply, Switch
from tests.hostile.corpus.upgrade import HANDSHAKE
from tests.hostile.origins import answer_strictly, replying
from tests.hostile.room import AT_ONCE, Room, new_client_address
from tests.hostile.strict import Response, Unsafe, read_responses
from tests.support.rawnet import Behaviour, Connection, exchange, open_origin, reset

_Case = TypeVar("_Case", Reply, Switch)
_PIECE = 100


def _pieces(data: bytes, *, drip: bool) -> list[bytes]:
    if not drip:
        return [data]
    size = 1 if len(data) < 1000 else _PIECE
    return [data[n : n + size] for n in range(0, len(data), size)]


def _hostile_once(hostile: Behaviour) -> Behaviour:
    """The first connection meets `hostile`, every later one a decent origin."""
    met = False

    async def behave(connection: Connection) -> None:
        nonlocal met
        if met:
            await answer_strictly(connection)
        else:
            met = True
            await hostile(connection)

    return behave


async def _run_all(
    room: Room, cases: Sequence[_Case], run: Callable[[Room, _Case], Awaitable[list[str]]]
) -> list[str]:
    reports: list[str] = []
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def one(case: _Case) -> None:
        async with limiter:
            reports.extend(f"{case.name}: {problem}" for problem in await run(room, case))

    room.check_bystander()
    async with trio.open_nursery() as nursery:
        for case in cases:
            nursery.start_soon(one, case)
    room.check_bystander()
    return sorted(reports)


@pytest.mark.parametrize("drip", [False, True], ids=["whole", "in pieces"])
async def test_a_hostile_answer_is_refused_or_visibly_cut(open_proxy: Room, drip: bool) -> None:
    # Extra octets that come late, when the next request has been sent to the same origin, are
    # an answer to it by any rule; so T21 is only asked of those that come at once.
    replies = [case for case in REPLIES if not (drip and case.row == "T21")]

    async def run(room: Room, case: Reply) -> list[str]:
        hostile = replying(_pieces(case.send, drip=drip), end=case.end)
        source = new_client_address()
        async with open_origin(_hostile_once(hostile)) as origin:
            target = b" http://" + origin.authority
            rest = b" HTTP/1.1\r\nHost: x\r\n\r\n"
            send = case.method + target + b"/first" + rest + b"GET" + target + b"/second" + rest
            seen = await exchange(room.proxy.address, [send], source=source, eof=True)
        if seen.ended is None:
            return ["hang"]
        methods = (case.method.decode(), "GET")
        try:
            responses, _ = read_responses(seen.received, methods, ended=seen.ended == "eof")
        except Unsafe as error:
            return [f"client got {error}"]
        finals = [response for response in responses if response.status >= 200]
        room.seen[source] += max(1, len(finals))
        problems = [f"client got {o!r}" for o in case.lacks if o in seen.received.lower()]
        return problems + _judge_reply(case, finals)

    problems = await _run_all(open_proxy, replies, run)
    assert not problems, "\n" + "\n".join(problems)


def _judge_reply(case: Reply, finals: list[Response]) -> list[str]:
    if not finals:
        return [] if case.body is None and 200 in case.statuses else ["no answer"]
    first, *others = finals
    problems = []
    if first.status not in case.statuses:
        problems.append(f"status {first.status}, expected {case.statuses}")
    is_ours = first.value(b"proxy-status") is not None
    if case.body is None and first.complete and not is_ours:
        problems.append(f"a cut or refused answer looks complete: {first}")
    if case.body is not None and not is_ours and (not first.complete or first.body != case.body):
        problems.append(f"body {first.body[:80]!r}, complete {first.complete}")
    if len(others) > 1:
        problems.append(f"{len(others) + 1} answers to two requests")
    for second in others:
        if second.status != 200 or second.value(b"x-origin") != b"decent":
            problems.append(f"the second request was answered {second}")
    return problems


@pytest.mark.parametrize("drip", [False, True], ids=["whole", "in pieces"])
async def test_a_switch_that_is_not_valid_opens_no_tunnel(open_proxy: Room, drip: bool) -> None:
    async def run(room: Room, case: Switch) -> list[str]:
        behaviour = replying([case.send] if not drip else _drip(case.send), end="fin")
        source = new_client_address()
        async with open_origin(behaviour) as origin:
            fields = b"\r\n".join((b"Host: x", *HANDSHAKE))
            head = b"GET http://" + origin.authority + b"/ HTTP/1.1\r\n" + fields + b"\r\n\r\n"
            send = [head + b"client smuggled", b"client smuggled"]
            seen = await exchange(room.proxy.address, send, source=source, eof=False)
            early = origin.received.partition(b"\r\n\r\n")[2]
        room.seen[source] += 1
        if seen.ended is None:
            return ["hang"]
        if case.name == "101 in HTTP/1.0" and seen.received.startswith(b"HTTP/1.1 101"):
            return []
        problems = [f"octets of the client reached the origin: {early!r}"] if early else []
        if b"smuggled" in seen.received:
            problems.append(f"octets of the origin reached the client: {seen.received!r}")
        try:
            responses, rest = read_responses(seen.received, ("GET",))
        except Unsafe as error:
            return [*problems, f"client got {error}"]
        statuses = [response.status for response in responses if response.status not in (100,)]
        if len(statuses) != 1 or statuses[0] not in case.statuses or rest:
            problems.append(f"statuses {statuses}, expected {case.statuses}, behind: {rest!r}")
        return problems

    problems = await _run_all(open_proxy, SWITCHES, run)
    assert not problems, "\n" + "\n".join(problems)


def _drip(data: bytes) -> list[bytes]:
    """Octet by octet, but for the accept key's marker."""
    before, mark, behind = data.partition(b"@ACCEPT@")
    return [*_pieces(before, drip=True), mark, *_pieces(behind, drip=True)]


@pytest.mark.parametrize("half_closed", [False, True], ids=["open", "half-closed"])
@pytest.mark.parametrize("end", ["fin", "rst"])
async def test_a_kept_connection_that_ends_under_a_request_is_replaced_once(
    open_proxy: Room, end: str, half_closed: bool
) -> None:
    """RFC 9112 §9.3.1: an idempotent request may be sent again; 9.6: the close may cross it."""
    source = new_client_address()
    async with open_origin(_hostile_once(_end_under_the_second(end))) as origin:
        target = b" http://" + origin.authority
        rest = b" HTTP/1.1\r\nHost: x\r\n"
        last = b"\r\n" if half_closed else b"Connection: close\r\n\r\n"
        send = b"GET" + target + b"/first" + rest + b"\r\nGET" + target + b"/second" + rest + last
        seen = await exchange(open_proxy.proxy.address, [send], source=source, eof=half_closed)
        connections = len(origin.connections)
    open_proxy.seen[source] += 2
    assert seen.ended == "eof"
    responses, _ = read_responses(seen.received, ("GET",))
    assert [(r.status, r.body, r.complete) for r in responses] == [(200, b"ok", True)] * 2
    assert connections == 2


@pytest.mark.parametrize("end", ["fin", "rst"])
async def test_a_request_with_effect_is_not_repeated(open_proxy: Room, end: str) -> None:
    source = new_client_address()
    async with open_origin(_hostile_once(_end_under_the_second(end))) as origin:
        target = b" http://" + origin.authority
        rest = b" HTTP/1.1\r\nHost: x\r\n"
        send = b"GET" + target + b"/first" + rest + b"\r\nPOST" + target + b"/second" + rest
        send += b"Connection: close\r\nContent-Length: 2\r\n\r\nhi"
        seen = await exchange(open_proxy.proxy.address, [send], source=source)
        posts = origin.received.count(b"POST /second")
    open_proxy.seen[source] += 2
    responses, _ = read_responses(seen.received, ("GET",))
    assert [response.status for response in responses] == [200, 502]
    assert posts == 1


def _end_under_the_second(end: str) -> Behaviour:
    async def behave(connection: Connection) -> None:
        await connection.receive_until(b"\r\n\r\n")
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await connection.receive_until(b"/second")
        if end == "rst":
            reset(connection.stream)

    return behave


async def test_a_request_that_was_here_before_is_refused(open_proxy: Room) -> None:
    """RFC 9110 §7.6.3: the proxy knows its own pseudonym in Via, wherever it stands."""
    source = new_client_address()
    async with open_origin(answer_strictly) as origin:
        start = b"GET http://" + origin.authority + b"/ HTTP/1.1\r\nHost: x\r\n"
        send = [start + b"\r\n"]
        await exchange(open_proxy.proxy.address, send, source=source, eof=True)
        via = re.search(rb"Via: 1\.1 (\S+)\r\n", origin.received)
        assert via is not None
        looped = [
            b"Via: 1.1 " + via[1],
            b"vIA: 1.0 first, 1.1 " + via[1] + b" (comment)",
            b"Via: 1.1 first\r\nVia: 1.1 " + via[1] + b"\r\nVia: 1.1 last",
            b"Via: HTTP/1.1\t" + via[1],
            b"Connection: Via\r\nVia: 1.1 " + via[1],
        ]
        for field in looped:
            send = [start + field + b"\r\n\r\n"]
            seen = await exchange(open_proxy.proxy.address, send, source=source, eof=True)
            (response,), _ = read_responses(seen.received, ("GET",))
            assert (response.status, field) == (508, field)
        assert len(origin.connections) == 1
    open_proxy.seen[source] += 1 + len(looped)


def test_every_hostile_answer_has_a_name_of_its_own() -> None:
    assert len({case.name for case in REPLIES}) == len(REPLIES)
    assert len({case.name for case in SWITCHES}) == len(SWITCHES)
    assert len(REPLIES) + len(SWITCHES) >= 150
