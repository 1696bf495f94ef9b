"""Invariant: any octets from a client are refused by ClientProtocolError, or are requests that leave for the origin in one strict spelling."""

from __future__ import annotations

import sys

from driver import run

from tests.differential.case import Finding, Tally
from tests.differential.requests import SEEDS, converse
from tests.protocol.traces import Refused, Trace, hear_requests, octet_by_octet


def fuzz(data: bytes) -> None:
    """Has `data` heard, sent on and judged; the outcome is the same in pieces of one octet."""
    converse([data], Tally())
    whole = hear_requests((data,), count=9, ended=True).trace
    in_octets = hear_requests(octet_by_octet(data), count=9, ended=True).trace
    if _outline(whole) != _outline(in_octets):
        raise Finding(f"whole {whole!r}, octet by octet {in_octets!r}")


def _outline(trace: Trace) -> Trace | list[type[Refused]]:
    """All of a good trace; of a bad one that it is: which fault is seen first may differ."""
    return [Refused] if trace and isinstance(trace[-1], Refused) else trace


if __name__ == "__main__":
    run(fuzz, list(SEEDS), sys.argv[1:])
