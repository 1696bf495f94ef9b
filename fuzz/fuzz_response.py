"""Invariant: any octets from an origin are refused by a documented exception, or reach the client in one strict spelling."""

from __future__ import annotations

import sys

from driver import run

from tests.differential.case import Finding, Tally
from tests.differential.responses import REQUESTS, SEEDS, exchange
from tests.protocol.traces import Refused, Trace, hear_response, octet_by_octet


def fuzz(data: bytes) -> None:
    """Has `data` heard, relayed and judged; the outcome is the same in pieces of one octet."""
    for head in REQUESTS:
        exchange(head, [data], Tally())
    for method in ("GET", "HEAD", "UPGRADE"):
        whole = hear_response((data,), method=method, ended=True).trace
        in_octets = hear_response(octet_by_octet(data), method=method, ended=True).trace
        if _outline(whole) != _outline(in_octets):
            raise Finding(f"{method}: whole {whole!r}, octet by octet {in_octets!r}")


def _outline(trace: Trace) -> Trace | list[type[Refused]]:
    """All of a good trace; of a bad one that it is: which fault is seen first may differ."""
    return [Refused] if trace and isinstance(trace[-1], Refused) else trace


if __name__ == "__main__":
    run(fuzz, list(SEEDS), sys.argv[1:])
