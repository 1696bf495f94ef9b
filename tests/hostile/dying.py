"""Origins that die at an octet of one's choice, and clients that must hear of it (G11)."""

from __future__ import annotations

import re
import statistics
from dataclasses import dataclass, field

import trio

from tests.hostile.room import AT_ONCE, Room, new_client_address
from tests.support.proxy_process import Record
from tests.support.rawnet import Behaviour, Connection, Exchange, exchange, reset

__all__ = ["Deaths", "sweep"]

_TIME_OUTS = ("timeout", "stalled", "idle", "lifetime")


@dataclass(slots=True, eq=False)
class Deaths:
    """When each of the connections died, by offset."""

    at: dict[int, float] = field(default_factory=dict)

    def dying(self, data: bytes, death: str) -> Behaviour:
        """Sends as many octets of `data` as the request's path says, then dies."""

        async def behave(connection: Connection) -> None:
            if not await connection.receive_until(b"\r\n\r\n"):
                return
            match = re.match(rb"GET /(\d+) ", connection.received)
            assert match is not None
            offset = int(match[1])
            await connection.send(data[:offset])
            await self.die(connection, death, offset)

        return behave

    async def die(self, connection: Connection, death: str, offset: int) -> None:
        self.at[offset] = trio.current_time()
        if death == "rst":
            reset(connection.stream)
        elif death == "half":
            await connection.stream.send_eof()
            await connection.drain()


async def sweep(
    room: Room,
    requests: list[list[bytes]],
    deaths: Deaths,
    *,
    enough: bytes | None = None,
) -> list[Exchange]:
    """Sends `requests`, many at once; checks that each client hears of the end, and of that end.

    Of the death, and not because some time-out of the proxy fired: its records would say so.
    How soon is printed (G11).
    """
    seen = [Exchange() for _ in requests]
    delays: list[float] = []
    before = len(_timed_out(room))
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def one(offset: int, pieces: list[bytes]) -> None:
        source = new_client_address()
        async with limiter:
            seen[offset] = await exchange(room.proxy.address, pieces, source=source, enough=enough)
            delays.append(trio.current_time() - deaths.at[offset])
        room.seen[source] += 1

    async with trio.open_nursery() as nursery:
        for offset, pieces in enumerate(requests):
            nursery.start_soon(one, offset, pieces)
    untold = [offset for offset, outcome in enumerate(seen) if outcome.ended is None]
    assert untold == []
    print(f"told within {statistics.median(delays) * 1000:.1f} ms in the median")
    assert len(_timed_out(room)) == before
    return seen


def _timed_out(room: Room) -> list[Record]:
    """What the proxy ended because it took too long, once all that clients were told is recorded."""
    total = sum(room.seen.values())
    assert room.proxy.wait_until_logged(
        lambda records: sum(r["event"] == "access" for r in records) >= total
    )
    return [r for r in room.proxy.records(event="access") if r["reason"] in _TIME_OUTS]
