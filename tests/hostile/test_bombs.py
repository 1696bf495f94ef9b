"""T23: what costs its sender next to nothing costs the proxy no memory, and nobody waits for ever."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from tests.hostile.corpus.frames import CASES
from tests.hostile.corpus.messages import BOMBS, MAX_MESSAGE_BYTES
from tests.hostile.origins import accepting
from tests.hostile.room import new_client_address
from tests.hostile.talk import CLIENT, SIDES, UPSTREAM, Talk, frame, frames, legal, text
from tests.hostile.talking import (
    ADDRESSES,
    FORMS,
    Watched,
    Way,
    connect,
    converse,
    handshake,
    open_watched,
)
from tests.hostile.test_frames import run_talks
from tests.support.rawnet import Connection, open_origin
from wsproxy.proxy import websocket

_GROWTH_BYTES = 8 * 1024 * 1024
by_side = pytest.mark.parametrize("side", SIDES)
by_mode = pytest.mark.parametrize("mode", ["log", "enforce", "hold"])


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A proxy with every mode of inspection."""
    with open_watched(tmp_path_factory.mktemp("bombs")) as watched:
        yield watched


def _peak_from_here_on(pid: int) -> Callable[[], int]:
    """How far resident memory has risen above what it is now, at its highest."""
    status = Path(f"/proc/{pid}/status")

    def high_water() -> int:
        match = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii"), re.M)
        assert match is not None
        return int(match[1]) * 1024

    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
    before = high_water()
    return lambda: high_water() - before


def _endless(side: str) -> list[Talk]:
    """Messages that have no end in sight; where they are held there is one."""
    empty = legal(side, "100 000 empty fragments", frame(side, 0x02) + frame(side, 0x00) * 100_000)
    tiny = legal(
        side,
        "50 000 fragments of an octet",
        frame(side, 0x01, b"x") + frame(side, 0x00, b"x") * 50_000,
    )
    pings = legal(side, "10 000 pings", frame(side, 0x89, b"p" * 100) * 10_000)
    long = replace(
        legal(side, "a frame of 1 GiB of which 8 MiB come", b""),
        bad=frame(side, 0x82, length=b"\x7f\0\0\0\0\x40\0\0\0") + bytes(8 * 1024 * 1024),
        enforced=1009,
        end="hold",
    )
    return [empty, tiny, pings, long]


@by_mode
@by_side
async def test_a_bomb_costs_no_memory(watched: Watched, side: str, mode: str) -> None:
    calm = [case for case in CASES if case.name == f"{side}: a flood of pings"]
    way = Way(mode, "connect")
    assert await run_talks(watched, calm, way) == []
    risen = _peak_from_here_on(watched.room.proxy.pid)
    for bomb in BOMBS:
        if bomb.side == side:
            for form in FORMS:
                assert await run_talks(watched, [bomb], Way(mode, form)) == []
                assert (bomb.name, form, risen() < _GROWTH_BYTES) == (bomb.name, form, True)
    watched.room.check_descriptors()


@pytest.mark.parametrize("mode", ["log", "hold"])
@by_side
async def test_a_message_without_end_costs_no_memory(
    watched: Watched, side: str, mode: str
) -> None:
    risen = _peak_from_here_on(watched.room.proxy.pid)
    for talk in _endless(side):
        heard = await converse(watched.room, talk, Way(mode, "absolute"))
        assert (talk.name, heard.hung) == (talk.name, False)
        assert (talk.name, risen() < _GROWTH_BYTES) == (talk.name, True)
        if mode == "log":
            assert heard.at_listener == talk.sent
    watched.room.check_descriptors()


async def test_what_is_held_of_a_message_without_end_is_bounded(watched: Watched) -> None:
    """Headers count, too: what is decoded here is nothing, however long it goes on."""
    talk = replace(
        legal(CLIENT, "empty fragments without end", b""),
        bad=frame(CLIENT, 0x02) + frame(CLIENT, 0x00) * (MAX_MESSAGE_BYTES * 5 // 12),
        enforced=1009,
        end="hold",
    )
    risen = _peak_from_here_on(watched.room.proxy.pid)
    heard = await converse(watched.room, talk, Way("hold", "connect"))
    assert not heard.hung
    (told,), rest = frames(heard.at_listener)
    assert (told.opcode, told.code, rest) == (8, 1009, b"")
    assert risen() < _GROWTH_BYTES


@by_side
async def test_what_was_held_is_let_go_with_its_connection(watched: Watched, side: str) -> None:
    held = frame(side, 0x02, bytes(MAX_MESSAGE_BYTES * 3 // 4))
    talk = Talk("half a message", "T23", side, b"", held, None, None, at=None)
    risen = _peak_from_here_on(watched.room.proxy.pid)
    for _ in range(16):
        heard = await converse(watched.room, talk, Way("hold", "absolute"))
        assert (heard.hung, heard.at_listener) == (False, b"")
    assert risen() < _GROWTH_BYTES


async def test_a_peer_that_does_not_answer_a_close_is_not_waited_for_long(
    watched: Watched,
) -> None:
    """Neither peer ends by itself; the one to blame may go on and on."""
    async with trio.open_nursery() as nursery:
        for side in SIDES:
            for floods in (False, True):
                nursery.start_soon(_break_and_stay, watched, side, floods)


async def _break_and_stay(watched: Watched, side: str, floods: bool) -> None:
    longest = websocket._ANSWER_S + websocket._LINGER_S + 1

    async def misbehave(connection: Connection, *, to_blame: bool) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.drain)
            if to_blame:
                await connection.send(text(side, "before") + frame(side, 0x83, b"wrong"))
            while floods and to_blame and await connection.send(bytes(1024)):
                pass

    async def be_origin(connection: Connection) -> None:
        await connection.receive_until(b"\r\n\r\n")
        await connection.send(accepting(bytes(connection.received)))
        await misbehave(connection, to_blame=side == UPSTREAM)
        await trio.sleep_forever()

    source, host = new_client_address(), ADDRESSES["enforce"]
    async with open_origin(be_origin, host=host) as origin:
        client = await connect(watched.room, source)
        authority = b"%b:%d" % (host.encode(), origin.port)
        await client.send(handshake("absolute", authority))
        assert await client.receive_until(b"\r\n\r\n")
        with trio.fail_after(longest):
            await misbehave(client, to_blame=side == CLIENT)
            # Its record is written when both its connections are over.
            await trio.to_thread.run_sync(watched.room.wait_for_records, source, 1)
        await trio.aclose_forcefully(client.stream)
        at_origin = bytes(origin.connections[0].received)
    watched.room.seen[source] += 1
    records = watched.room.proxy.records(event="access")
    (record,) = [r for r in records if str(r["client"]).startswith(source + ":")]
    assert (record["reason"], record["closed_by"]) == ("protocol", side)
    at_victim = at_origin if side == CLIENT else bytes(client.received)
    whole, rest = frames(at_victim.partition(b"\r\n\r\n")[2])
    assert [each.opcode for each in whole] == [1, 8]
    assert (whole[-1].code, rest) == (1002, b"")
