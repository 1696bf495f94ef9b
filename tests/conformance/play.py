"""Plays Autobahn's cases against a server on loopback, and prints the verdicts as JSON.

A process of its own: to import cases written for Python 2, kosoku puts modules named
`case` and `autobahn` on the path and another `binascii.b2a_hex` in place.

    python -m tests.conformance.play PORT AT_A_TIME [CASE]...
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

import kosoku

__all__ = ["main"]


async def main(arguments: list[str]) -> None:
    """Prints ``{case: [field of a Verdict, ...]}`` in Autobahn's order."""
    port, at_a_time, *cases = arguments
    try:
        results = await kosoku.run_fuzzingclient(
            f"ws://127.0.0.1:{port}", cases or None, concurrency=int(at_a_time)
        )
    except kosoku.FailureError as failure:
        results = failure.results  # of all cases, the good ones too
    verdicts = {
        result.case_id: (
            result.behavior.value,
            result.behavior_close.value,
            result.remote_close_code,
            result.was_clean,
            len(result.received or ()),
        )
        for result in results
    }
    print(json.dumps(verdicts), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
    # kosoku 0.1.0 leaves threads behind that abort, two times in five, an interpreter that ends
    # in an orderly way (SIGABRT).  All verdicts are out by now; whatever fails before is seen.
    os._exit(0)
