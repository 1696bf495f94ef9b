"""Goal G20: exactly one access record per request, however it ended, with its octets to the octet.

10 000 connections of every kind go through the proxy in random order, each from an address
of its own in 127.0.0.0/8, by which its records are found again.
"""

from __future__ import annotations

import functools
import random
import socket
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import trio

from tests.goals.room import many_descriptors
from tests.goals.visits import (
    PASSWORD,
    PLANS,
    USER,
    Expected,
    Plan,
    Visit,
    World,
    serve_http,
    serve_sink,
)
from tests.support.proxy_process import OPEN_TO_LOOPBACK, Record, add_user, start_proxy
from tests.support.rawnet import open_origin

CONNECTIONS = 10_000
AT_A_TIME = 64
SEED = 20
GUARD_S = 110.0
CONFIG = f"""{OPEN_TO_LOOPBACK}
  rules:
    - {{name: not-there, when: {{hosts: [forbidden.example]}}, action: deny}}
auth: {{required: true, methods: [{{type: basic, users: users}}]}}
"""


def _source(number: int) -> str:
    """The address of a connection."""
    return f"127.1.{number >> 8}.{number & 255}"


async def _visit(number: int, plan: Plan, world: World) -> list[Expected]:
    with trio.socket.socket() as sock:
        await sock.bind((_source(number), 0))
        await sock.connect(world.address)
        return await plan(Visit(number, sock, world))


async def _visit_all(world: World) -> list[tuple[str, list[Expected]]]:
    """Plays all connections; what each was and what it must have left, by number."""
    weights, plans = zip(*PLANS, strict=True)
    chosen = world.chance.choices(plans, weights, k=CONNECTIONS)
    left: list[tuple[str, list[Expected]]] = [("", [])] * CONNECTIONS
    todo: Iterator[tuple[int, Plan]] = iter(enumerate(chosen))

    async def work() -> None:
        for number, plan in todo:
            with trio.fail_after(GUARD_S):
                left[number] = (plan.__name__, await _visit(number, plan, world))

    async with trio.open_nursery() as nursery:
        for _ in range(AT_A_TIME):
            nursery.start_soon(work)
    return left


def _problems(expected: list[Expected], records: list[Record], received: int | None) -> list[str]:
    """What is wrong with the records of one connection, in the order they were written."""
    if len(records) != len(expected):
        return [f"{len(records)} records, not {len(expected)}: {records}"]
    found = []
    for want, record in zip(expected, records, strict=True):
        whole = want.kind == "connect" and want.status == 200 and want.up[0] == want.up[1]
        ok = {
            "kind": want.kind in (None, record["kind"]),
            "status": want.status in (None, record["status"]),
            "bytes_up": want.up[0] <= record["bytes_up"] <= want.up[1],
            "bytes_down": want.down[0] <= record["bytes_down"] <= want.down[1],
            # An origin that was reset before it accepted knows of no connection.
            "octets at the origin": (received or 0) == record["bytes_up"]
            if whole
            else (received or 0) <= record["bytes_up"],
            "end": record["kind"] != "connect" or record["reason"] is not None,
        }
        wrong = [name for name, fine in ok.items() if not fine]
        if wrong:
            found.append(f"{wrong}: {want}, {received} at the origin, {record}")
    return found


async def test_every_connection_leaves_its_records_and_no_other(tmp_path: Path) -> None:
    add_user(tmp_path / "users", USER, PASSWORD)
    received: dict[int, int] = {}
    with (
        many_descriptors(8 * AT_A_TIME + 256),
        socket.socket() as closed,
        start_proxy(CONFIG, tmp_path) as proxy,
    ):
        closed.bind(("127.0.0.1", 0))  # and never listens
        async with (
            open_origin(functools.partial(serve_sink, received=received)) as sink,
            open_origin(serve_http) as http,
        ):
            world = World(
                address=proxy.address,
                sink=sink.port,
                http=http.port,
                closed=closed.getsockname()[1],
                chance=random.Random(SEED),
            )
            left = await _visit_all(world)
            # Stopping waits for everything that still runs, and writes what is not written yet.
            status = await trio.to_thread.run_sync(proxy.terminate)
        records = proxy.records(event="access")
        stderr = proxy.stderr
    by_source: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_source[record["client"].rpartition(":")[0]].append(record)
    problems = [
        f"{number} {name}: {problem}"
        for number, (name, expected) in enumerate(left)
        for problem in _problems(expected, by_source.pop(_source(number), []), received.get(number))
    ]
    print(
        f"G20: {CONNECTIONS} connections, {len(records)} access records, "
        f"{sum(r['bytes_up'] for r in records)} octets up, "
        f"{sum(r['bytes_down'] for r in records)} down, {len(problems)} wrong; "
        f"{dict(Counter(r['reason'] for r in records))}"
    )
    assert not problems, "\n" + "\n".join(problems[:20])
    assert not by_source, "records of nobody"
    assert len({record["id"] for record in records}) == len(records)
    assert status == 0
    assert "Traceback" not in stderr, stderr[-2000:]
