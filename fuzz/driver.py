"""Runs a fuzz target: under atheris where it is installed, else with a seeded random mutator.

A target is a function of bytes that returns for everything it promises to handle
and raises for anything else.  The first input that makes it raise is written to
``crash-<hash>`` in the working directory and the process ends with status 1.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import random
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

__all__ = ["run"]

Target = Callable[[bytes], None]

MAX_INPUT_BYTES = 4096
INTERESTING = (
    b"\x00", b"\t", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"%", b"%25", b"%2e", b"@", b":", b"::",
    b"/", b"//", b"\\", b"?", b"#", b"[", b"]", b".", b"..", b"-", b"+", b",", b";", b"0", b"0x",
    b"127.0.0.1", b"65535", b"65536", b"4294967296", b"99999999999999999999", b"\x7f", b"\xff",
    b"\xc3\xbc", "。".encode(), b"http://", b"chunked", b"close",
)  # fmt: skip


def run(target: Target, seeds: list[bytes], argv: list[str]) -> None:
    """Feed `target` with mutations of `seeds`.

    Args:
        target: raises to report a finding.
        seeds: at least one well-formed input.
        argv: the arguments of the command line, without the program's name:
            ``--seconds`` bounds the run, ``--seed`` makes it repeatable (mutator
            only), and files are tried as inputs instead of fuzzing.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("files", nargs="*", type=Path, help="inputs to try again")
    arguments = parser.parse_args(argv)
    for data in (*seeds, *(path.read_bytes() for path in arguments.files)):
        _try(target, data)
    if arguments.files:
        return
    if importlib.util.find_spec("atheris"):
        _run_atheris(target, arguments.seconds)
    else:
        _run_mutator(target, seeds, seconds=arguments.seconds, seed=arguments.seed)


def _run_atheris(target: Target, seconds: float) -> None:
    atheris = importlib.import_module("atheris")
    atheris.instrument_all()
    options = [sys.argv[0], f"-max_total_time={max(1, int(seconds))}"]
    atheris.Setup([*options, f"-max_len={MAX_INPUT_BYTES}"], target)
    atheris.Fuzz()


def _run_mutator(target: Target, seeds: list[bytes], *, seconds: float, seed: int) -> None:
    rng = random.Random(seed)
    pool = list(seeds)
    began_at = time.monotonic()
    count = 0
    while count % 256 or time.monotonic() - began_at < seconds:
        data = mutate(rng.choice(pool), pool, rng)
        _try(target, data)
        count += 1
        if rng.random() < 0.01:
            # Let some mutations pile up, or nothing gets far from the seeds.
            pool[len(seeds) :] = [*pool[len(seeds) :], data][-256:]
    took_s = time.monotonic() - began_at
    print(f"{Path(sys.argv[0]).name}: {count} inputs, seed {seed}, {took_s:.1f} s, no finding")


def mutate(data: bytes, pool: list[bytes], rng: random.Random) -> bytes:
    """A few random edits of `data`: bytes flipped, dropped, doubled, spliced, inserted."""
    for _ in range(rng.choice((1, 1, 2, 3, 5, 8))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 1, 2, 4, 16)))
        match rng.randrange(6):
            case 0:
                data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
            case 1:
                data = data[:at] + data[end:]
            case 2:
                data = data[:end] + data[at:end] * rng.choice((1, 1, 2, 64)) + data[end:]
            case 3:
                other = rng.choice(pool)
                data = data[:at] + other[rng.randrange(len(other) + 1) :]
            case 4:
                data = data[:at] + data[at:end].swapcase() + data[end:]
            case _:
                data = data[:at] + rng.choice(INTERESTING) + data[at:]
    return data[:MAX_INPUT_BYTES]


def _try(target: Target, data: bytes) -> None:
    try:
        target(data)
    except Exception:
        traceback.print_exc()
        crash = Path(f"crash-{hashlib.sha256(data).hexdigest()[:16]}")
        crash.write_bytes(data)
        print(f"finding: {data[:200]!r}\ntry it again: {sys.argv[0]} {crash}", file=sys.stderr)
        raise SystemExit(1) from None
