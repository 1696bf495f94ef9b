"""Goal G2 at full size, with figures: ``python -m tests.differential --requests N --responses N --sockets N``."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.differential.case import Tally
from tests.differential.requests import run_requests
from tests.differential.responses import run_responses
from tests.differential.sockets import run_sockets

MAX_GROWTH_BYTES = 64 * 1024 * 1024
_WARM_UP = 2000
_MAX_FINDINGS_SHOWN = 10


def main(arguments: list[str]) -> int:
    """Runs both directions; 1 when anything was found or memory grew too much."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential")
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--responses", type=int, default=200_000)
    parser.add_argument("--sockets", type=int, default=50_000, help="requests over sockets")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    run_requests(_WARM_UP, options.seed, Tally())
    run_responses(_WARM_UP, options.seed, Tally())
    before = resident_bytes()
    passed = _run("requests", run_requests, options.requests, options.seed)
    passed &= _run("responses", run_responses, options.responses, options.seed)
    growth = resident_bytes() - before
    passed &= _run("over sockets", run_sockets, options.sockets, options.seed)
    print(f"memory: {growth / 1024 / 1024:+.1f} MiB, allowed +{MAX_GROWTH_BYTES // 1024**2} MiB")
    return 0 if passed and growth < MAX_GROWTH_BYTES else 1


def _run(name: str, run: Callable[[int, int, Tally], None], count: int, seed: int) -> bool:
    tally = Tally()
    began_at = time.monotonic()
    run(count, seed, tally)
    took_s = time.monotonic() - began_at
    print(f"{name}: {tally.cases} cases, seed {seed}, {took_s:.1f} s, {tally.cases / took_s:.0f}/s")
    for outcome, times in sorted(tally.outcomes.items()):
        print(f"  {outcome}: {times}")
    print(f"  findings: {len(tally.findings)}")
    for finding in tally.findings[:_MAX_FINDINGS_SHOWN]:
        print(f"    {finding}")
    return not tally.findings


def resident_bytes() -> int:
    """Memory this process holds, as the kernel sees it."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
