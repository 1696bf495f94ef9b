"""Invariant: any octets are refused by ClientHelloError or read, the same in any records and pieces; an answer once given stands."""

from __future__ import annotations

import random
import string
import sys

from driver import run

from tests.protocol.test_client_hello import (
    ECH_INNER,
    ECH_OUTER,
    alpn,
    extension,
    message,
    records,
    sni,
    versions,
)
from wsproxy.protocol.client_hello import (
    ClientHello,
    ClientHelloError,
    classify,
    parse_client_hello,
)

RECORD_SIZES = (1, 2, 5, 64, 1 << 14)
HELLO = message(sni(b"Www.Example."), alpn(b"h2", b"http/1.1"), versions(0xDADA, 0x304, 0x303))
SEEDS = [
    # The first octet says whether the others are in records already.
    b"\x00" + HELLO,
    b"\x00" + message(ECH_OUTER, sni(b"a.test")),
    b"\x00" + message(ECH_INNER, extension(0x2A2A, b""), extension(21, bytes(99))),
    b"\x00" + message() + b"what follows",
    b"\x01" + records(HELLO, 4, 1, 40, 100) + b"\x14\x03\x03\x00\x01\x01",
    b"\x01GET / HTTP/1.1\r\n",
    b"\x01SSH-2.0-x\r\n",
    b"\x01PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x01\x05\x02\x00\x01",
]


def fuzz(data: bytes) -> None:
    """A message that is put into records of every size, or octets as a client sends them."""
    kind, octets = data[:1] or b"\0", data[1:]
    if kind[0] & 1:
        check_pieces(octets)
        return
    outcomes = [check_pieces(records(octets, size)) for size in RECORD_SIZES]
    assert all(outcome == outcomes[0] for outcome in outcomes), outcomes


def check_pieces(data: bytes) -> ClientHello | str | None:
    """The outcome of `data`, which none of its beginnings contradicts; an error is its sentence."""
    whole, kind = outcome_of(data), classify(data)
    rng = random.Random(len(data))
    cuts = {*range(min(len(data), 8)), *(rng.randrange(len(data) + 1) for _ in range(16))}
    for cut in sorted(cuts):
        early = outcome_of(data[:cut])
        if isinstance(early, str):
            assert isinstance(whole, str), (cut, early, whole)
        else:
            assert early is None or early == whole, (cut, early, whole)
        guess = classify(data[:cut])
        assert guess in (None, kind) or (guess == "tls" and cut < 3), (cut, guess, kind)
    if isinstance(whole, ClientHello):
        check_hello(whole)
        assert outcome_of(data + b"\xff") == whole
    return whole


def check_hello(hello: ClientHello) -> None:
    """What policy and records rely on."""
    name = hello.server_name
    if name is not None:
        assert name
        assert set(name) <= set(string.ascii_lowercase + string.digits + "-_.")
    assert all(0 < len(each) < 256 for each in hello.alpn)
    assert len(hello.versions) == 1 or all(each % 0x1010 != 0xA0A for each in hello.versions)


def outcome_of(data: bytes) -> ClientHello | str | None:
    try:
        return parse_client_hello(data)
    except ClientHelloError as error:
        return str(error)


if __name__ == "__main__":
    run(fuzz, SEEDS, sys.argv[1:])
