"""Goal G17 by the clock: what guessing tells, and what it costs others.  ``make goals`` runs it.

    python -m tests.goals.guesses

Medians of refusals for a known user, an unknown one and a password that begins like the right one
differ by less than the noise: by no more than those of three random parts of all refusals do, in 99 of
100 partitions.  While 10 000 guesses come, none is served, the guesser is throttled within 50, and the
99th percentile of a user's requests stays below twice what it is while as many requests come that bring
no credentials at all.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import trio

from tests.goals.guessing import (
    GUESSER,
    LOCKOUT,
    PASSWORD,
    SECURED,
    USER,
    GuessedAt,
    answer,
)
from tests.support.proxy_process import add_user, start_proxy
from tests.support.rawnet import open_origin

GUESSES = 10_000
ROUNDS = 100
LEAST = 1_000
PARTITIONS = 1_000


# ---------------------------------------------------------------- what a refusal tells


async def _times(room: GuessedAt) -> dict[str, list[float]]:
    """Seconds of refusals by kind, taken in turns so that nothing else differs."""
    kinds: dict[str, Callable[[int], tuple[str, str]]] = {
        "known": lambda number: ("alice", f"guess {number:6}"),
        "unknown": lambda number: (f"nobody{number:6}", f"guess {number:6}"),
        "prefix": lambda number: ("alice", f"{PASSWORD[:-1]}{number:6}"),
    }
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    sock = await room.connect(GUESSER)
    with sock:
        for number in range(ROUNDS):
            order = list(kinds)
            random.shuffle(order)
            for kind in order:
                began_at = trio.current_time()
                head = await room.ask(sock, *kinds[kind](number))
                times[kind].append(trio.current_time() - began_at)
                assert head[9:12] == b"407"
    return times


def noise_of(times: dict[str, list[float]]) -> float:
    """By how much medians differ where nothing but chance does, at most in 99 of 100 cases."""
    everything = [one for each in times.values() for one in each]
    size = len(everything) // len(times)
    gaps = []
    for _ in range(PARTITIONS):
        random.shuffle(everything)
        medians = [
            statistics.median(everything[n : n + size]) for n in range(0, len(times) * size, size)
        ]
        gaps.append(max(medians) - min(medians))
    return statistics.quantiles(gaps, n=100)[-1]


# ---------------------------------------------------------------- what guessing costs others


async def _user_times(room: GuessedAt, goes_on: Callable[[], bool]) -> list[float]:
    """Seconds of a user's requests, for as long as something goes on."""
    times: list[float] = []
    sock = await room.connect(USER)
    with sock:
        await room.ask(sock, "alice", PASSWORD)
        while goes_on() or len(times) < LEAST:
            began_at = trio.current_time()
            head = await room.ask(sock, "alice", PASSWORD)
            times.append(trio.current_time() - began_at)
            assert head[9:12] == b"200"
    return times


async def _beside(room: GuessedAt, user: str) -> tuple[list[float], list[int]]:
    """A user's times while `GUESSES` guesses at somebody, or nobody, come; and what these were told."""
    told: list[int] = []

    async def guess() -> None:
        told.extend(await room.guess(GUESSES, user=user))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(guess)
        times = await _user_times(room, lambda: not told)
    return times, told


def _p99_ms(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[-1] * 1000


async def _tells_nothing(folder: Path) -> bool:
    async with open_origin(answer) as origin:
        with start_proxy(SECURED % "", folder) as proxy:
            times = await _times(GuessedAt(proxy, origin))
    medians = {kind: statistics.median(each) for kind, each in times.items()}
    gap, noise = max(medians.values()) - min(medians.values()), noise_of(times)
    told = ", ".join(f"{kind} {median * 1000:.2f} ms" for kind, median in medians.items())
    print(
        f"G17: medians of {ROUNDS} refusals: {told}; gap {gap * 1e6:.0f} us, noise {noise * 1e6:.0f} us"
    )
    return gap <= noise


async def _costs_nothing(folder: Path) -> bool:
    async with open_origin(answer) as origin:
        with start_proxy(SECURED % LOCKOUT, folder) as proxy:
            room = GuessedAt(proxy, origin)
            quiet, refused = await _beside(room, "")
            times, told = await _beside(room, "alice")
    throttled = told.index(429) if 429 in told else len(told)
    before, beside = _p99_ms(quiet), _p99_ms(times)
    print(
        f"G17: {len(told)} guesses: {told.count(200)} served, throttled after {throttled}; a user's p99 "
        f"{beside:.2f} ms beside them, {before:.2f} ms beside {len(refused)} requests without credentials"
    )
    return 200 not in told and throttled <= 50 and beside < 2 * before


async def _main() -> bool:
    with tempfile.TemporaryDirectory() as name:
        add_user(Path(name) / "users", "alice", PASSWORD)
        return all([await _tells_nothing(Path(name)), await _costs_nothing(Path(name))])


if __name__ == "__main__":
    sys.exit(0 if trio.run(_main) else 1)
