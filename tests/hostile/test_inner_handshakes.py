"""T9, T10: bad handshakes inside a tunnel.  Observed they pass as they are; enforced they do not.

An enforcing proxy that cannot read a handshake, or its answer, cannot judge what follows.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence

import pytest
import trio

from tests.hostile.case import fill
from tests.hostile.corpus.inner import ANSWERS, HEAD, QUESTIONS, Answer, Question
from tests.hostile.judge import CONNECTED
from tests.hostile.origins import replying
from tests.hostile.room import AT_ONCE, new_client_address
from tests.hostile.talking import ADDRESSES, Watched, open_watched
from tests.support.rawnet import Connection, Exchange, RecordingOrigin, exchange, open_origin

_REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
by_mode = pytest.mark.parametrize("mode", ADDRESSES)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A proxy with every mode of inspection."""
    with open_watched(tmp_path_factory.mktemp("inner")) as watched:
        yield watched


async def _run_all(
    watched: Watched, cases: Sequence[object], run: Callable[[int], Awaitable[list[str]]]
) -> None:
    problems: list[str] = []
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def one(at: int) -> None:
        async with limiter:
            problems.extend(await run(at))

    watched.room.check_bystander()
    async with trio.open_nursery() as nursery:
        for at in range(len(cases)):
            nursery.start_soon(one, at)
    watched.room.check_bystander()
    watched.room.check_descriptors()
    assert not problems, "\n" + "\n".join(sorted(problems))


def _authority(mode: str, origin: RecordingOrigin) -> bytes:
    return b"%b:%d" % (ADDRESSES[mode].encode(), origin.port)


async def _through(
    watched: Watched, authority: bytes, pieces: list[bytes], *, eof: bool
) -> tuple[str, Exchange]:
    source = new_client_address()
    connect = b"CONNECT %b HTTP/1.1\r\nHost: x\r\n\r\n" % authority
    address = watched.room.proxy.address
    seen = await exchange(address, [connect, *pieces], source=source, eof=eof)
    watched.room.seen[source] += 1
    return source, seen


def _refusal(seen: bytes, statuses: tuple[int, ...]) -> list[str]:
    """What is wrong with an answer of the proxy's own within the tunnel."""
    while seen.startswith(b"HTTP/1.1 100 "):
        seen = seen.partition(b"\r\n\r\n")[2]
    match = _STATUS.match(seen)
    if match is None or int(match[1]) not in statuses:
        return [f"expected {statuses}, got {seen[:120]!r}"]
    if b"\r\nConnection: close\r\n" not in seen or b"\r\nProxy-Status: wsproxy;" not in seen:
        return [f"refused with {seen[:400]!r}"]
    return ["the refusal echoes what was sent"] if b"smuggled" in seen else []


@by_mode
async def test_a_handshake_in_a_tunnel_that_is_none_is_refused_or_passes_as_it_is(
    watched: Watched, mode: str
) -> None:
    async def behave(connection: Connection) -> None:
        await connection.drain()
        await connection.send(_REPLY)

    async def run(at: int) -> list[str]:
        case: Question = QUESTIONS[at]
        enforced = bool(case.statuses) and mode in ("enforce", "hold")
        async with open_origin(behave, host=ADDRESSES[mode]) as origin:
            authority = _authority(mode, origin)
            send = fill(case.send, {b"@O@": authority})
            source, seen = await _through(watched, authority, [send], eof=not enforced)
            with trio.move_on_after(5):
                await origin.wait_finished()
            got = origin.received
        if seen.ended is None:
            return [f"{case.name}: hang"]
        answer = seen.received.removeprefix(CONNECTED)
        if not enforced:
            return [] if (got, answer) == (send, _REPLY) else [f"{case.name}: {got!r} {answer!r}"]
        problems = _refusal(answer, case.statuses) + _check_record(watched, source, case.statuses)
        if len(got) > case.ahead + len(authority):
            problems.append(f"the origin got {got[:200]!r}")
        return [f"{case.name}: {problem}" for problem in problems]

    await _run_all(watched, QUESTIONS, run)


def _check_record(watched: Watched, source: str, statuses: tuple[int, ...]) -> list[str]:
    watched.room.wait_for_records(source, 1)
    records = watched.room.proxy.records(event="access")
    (record,) = [r for r in records if str(r["client"]).startswith(source + ":")]
    right = record["status"] in statuses and record["class"] in ("T3", "T4", "T9", "T10", "T1")
    return [] if right else [f"recorded as {record['status']}, {record['class']}"]


@by_mode
@pytest.mark.parametrize("delivery", ["whole", "in pieces"])
async def test_an_answer_in_a_tunnel_that_does_not_switch_is_refused_or_passes_as_it_is(
    watched: Watched, mode: str, delivery: str
) -> None:
    async def run(at: int) -> list[str]:
        case: Answer = ANSWERS[at]
        size = len(case.send) // (1 if delivery == "whole" else 50) + 1
        pieces = [case.send[n : n + size] for n in range(0, len(case.send), size)]
        async with open_origin(replying(pieces, end="fin"), host=ADDRESSES[mode]) as origin:
            authority = _authority(mode, origin)
            head = fill(HEAD, {b"@O@": authority})
            _source, seen = await _through(watched, authority, [head], eof=False)
        if seen.ended is None:
            return [f"{case.name}: hang"]
        got = seen.received.removeprefix(CONNECTED)
        if mode not in ("enforce", "hold") or not case.statuses:
            return [] if got == case.send else [f"{case.name}: {len(got)}: {got[-120:]!r}"]
        whole, _, rest = got.partition(b"\r\n\r\n")
        if 101 in case.statuses and case.send.startswith(whole) and rest.startswith(b"\x88"):
            return []
        return [f"{case.name}: {problem}" for problem in _refusal(got, case.statuses)]

    await _run_all(watched, ANSWERS, run)
