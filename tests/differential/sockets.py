"""Mutated requests over sockets: a real proxy process between careless clients and a strict origin."""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import trio

from tests.differential.case import Tally
from tests.differential.mutate import mutate
from tests.differential.requests import SEEDS
from tests.hostile.strict import Unsafe, read_requests
from tests.support.proxy_process import OPEN_TO_LOOPBACK, ProxyProcess, start_proxy
from tests.support.rawnet import Connection, RecordingOrigin, open_origin

__all__ = ["run_sockets"]

_CLIENTS = 32
_PATIENCE_S = 30.0
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_QUICK = """
timeouts: {request_head: 2s, body: 2s, keep_alive: 2s, response_head: 2s}
logs: {access: {to: none}}
"""
_NAME = re.compile(rb"(?:origin|other)\.example(?::\d+)?")
# What a tunnel carries is nobody's business, so nothing here opens one.
_SEEDS = tuple(seed for seed in SEEDS if b"CONNECT" not in seed and b"websocket" not in seed)


def run_sockets(count: int, seed: int, tally: Tally) -> None:
    """Sends `count` mutated requests, seeded by `seed`, and adds what came of them to `tally`."""
    with (
        tempfile.TemporaryDirectory() as folder,
        start_proxy(OPEN_TO_LOOPBACK + _QUICK, Path(folder)) as proxy,
    ):
        trio.run(_run, count, random.Random(seed), proxy, tally)
        if not proxy.is_running() or "Traceback" in proxy.stderr:
            tally.findings.append(f"the proxy crashed: {proxy.stderr[-500:]}")


async def _run(count: int, rng: random.Random, proxy: ProxyProcess, tally: Tally) -> None:
    async with open_origin(_answer) as origin:
        seeds = tuple(_NAME.sub(origin.authority, seed) for seed in _SEEDS)
        cases = (mutate(rng.choice(seeds), seeds, rng) for _ in range(count))
        async with trio.open_nursery() as nursery:
            for _ in range(_CLIENTS):
                nursery.start_soon(_client, cases, proxy.port, tally)
        for connection in origin.connections:
            _judge(bytes(connection.received), origin, tally)


async def _answer(connection: Connection) -> None:
    """One answer for each read is enough: what is asked is judged, not what is answered."""
    while await connection.receive():
        if not await connection.send(_ANSWER):
            return


async def _client(cases: Iterator[bytes], port: int, tally: Tally) -> None:
    for data in cases:
        tally.cases += 1
        answer = b""
        with trio.move_on_after(_PATIENCE_S) as patience:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with stream:
                try:
                    await stream.send_all(data)
                    await stream.send_eof()
                    while more := await stream.receive_some():
                        answer = answer or more
                except trio.BrokenResourceError:
                    pass
        if patience.cancelled_caught:
            tally.findings.append(f"no end: {data!r}")
        tally.outcomes[answer[9:12].decode("latin-1") or "no answer"] += 1


def _judge(received: bytes, origin: RecordingOrigin, tally: Tally) -> None:
    try:
        tally.outcomes["reached the origin"] += len(
            read_requests(received, origin.authority).requests
        )
    except Unsafe as error:
        tally.findings.append(f"{error}: {received!r}")
