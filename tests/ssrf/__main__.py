"""Goal G16 at full length: random spellings by themselves, and requests past a gate with zones.

python -m tests.ssrf --count 1000000 --seed 1
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.ssrf import spellings, zones


def main(argv: list[str]) -> None:
    """Run and print figures; what is unsafe is an AssertionError with its spelling."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args(argv)
    for what, run in (("spellings", spellings.run), ("requests past zones", zones.run)):
        began_at = time.perf_counter()
        outcomes = run(arguments.count, arguments.seed)
        took_s = time.perf_counter() - began_at
        print(f"{arguments.count} {what}, seed {arguments.seed}, {took_s:.1f} s, 0 unsafe")
        for outcome, number in sorted(outcomes.items()):
            print(f"  {outcome:16} {number:8}")


if __name__ == "__main__":
    main(sys.argv[1:])
