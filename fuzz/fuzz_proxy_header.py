"""Invariant: any octets are refused by ProxyHeaderError or read, in any pieces; an answer once given stands, and takes no octet that is not there."""

from __future__ import annotations

import random
import sys

from driver import run

from tests.protocol.test_proxy_header import BAD, GOOD
from wsproxy.protocol.proxy_header import (
    MAX_HEADER_BYTES,
    ProxyHeader,
    ProxyHeaderError,
    parse_proxy_header,
)

SEEDS = [octets for octets, _ in (*GOOD, *BAD)]


def fuzz(data: bytes) -> None:
    """What a balancer sends, cut anywhere."""
    whole = outcome_of(data)
    rng = random.Random(len(data))
    cuts = {*range(min(len(data), 20)), *(rng.randrange(len(data) + 1) for _ in range(16))}
    for cut in sorted(cuts):
        early = outcome_of(data[:cut])
        assert early is None or early == whole, (cut, early, whole)
    if isinstance(whole, ProxyHeader):
        assert 0 < whole.size <= min(len(data), MAX_HEADER_BYTES)
        assert outcome_of(data[: whole.size] + b"\xff\r\n") == whole
        assert whole.source is None or 0 <= whole.source.port <= 65535


def outcome_of(data: bytes) -> ProxyHeader | str | None:
    try:
        return parse_proxy_header(data)
    except ProxyHeaderError as error:
        return str(error)


if __name__ == "__main__":
    run(fuzz, SEEDS, sys.argv[1:])
