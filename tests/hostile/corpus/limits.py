"""T3: lines, heads and field counts beyond every limit, and those just within."""

from __future__ import annotations

from tests.hostile.case import GET, Case, head, passed, refused

_K = 1024


def _fields(count: int) -> bytes:
    """`count` fields after Host and the credentials."""
    return b"".join(b"X-%d: y\r\n" % number for number in range(count))


def _target(size: int) -> bytes:
    return head(b"GET http://@O@/" + b"a" * size + b" HTTP/1.1")


_SMUGGLED = b"GET http://@O@/smuggled HTTP/1.1\r\n@A@Host: @O@\r\n\r\n"

CASES: list[Case] = [
    refused("T3", "target of 32 KiB", _target(32 * _K), 414),
    refused("T3", "target of 100 KiB", _target(100 * _K), 414),
    refused("T3", "target of 1 MiB", _target(_K * _K), 414),
    refused(
        "T3", "query of 60 KiB", head(b"GET http://@O@/?" + b"a" * 60 * _K + b" HTTP/1.1"), 414
    ),
    refused("T3", "target without end", b"GET http://@O@/" + b"a" * 200 * _K, 414),
    refused(
        "T3", "CONNECT target of 32 KiB", head(b"CONNECT " + b"a" * 32 * _K + b":443 HTTP/1.1"), 414
    ),
    refused("T3", "method without end", b"A" * 200 * _K, (400, 414, 431, 501), classes="T1 T3"),
    refused(
        "T3",
        "method of 100 KiB",
        head(b"A" * 100 * _K + b" http://@O@/ HTTP/1.1"),
        (400, 414, 431, 501),
        classes="T1 T3",
    ),
    refused(
        "T3",
        "version of 100 KiB",
        head(b"GET http://@O@/ HTTP/1." + b"1" * 100 * _K),
        (400, 414, 431),
        classes="T1 T3",
    ),
    refused("T3", "value of 70 KiB", GET + b"X-A: " + b"b" * 70 * _K + b"\r\n\r\n", 431),
    refused("T3", "value of 1 MiB", GET + b"X-A: " + b"b" * _K * _K + b"\r\n\r\n", 431),
    refused("T3", "value without end", GET + b"X-A: " + b"b" * 300 * _K, 431),
    refused(
        "T3", "name of 70 KiB", GET + b"X" * 70 * _K + b": y\r\n\r\n", (400, 431), classes="T1 T3"
    ),
    refused("T3", "name without end", GET + b"X" * 300 * _K, (400, 431), classes="T1 T3"),
    refused(
        "T3",
        "Host of 70 KiB",
        b"GET http://@O@/ HTTP/1.1\r\n@A@Host: " + b"a" * 70 * _K + b"\r\n\r\n",
        431,
    ),
    refused(
        "T3", "100 fields of 1 KiB", GET + (b"X-A: " + b"b" * _K + b"\r\n") * 100 + b"\r\n", 431
    ),
    refused("T3", "129 fields", GET + _fields(128) + b"\r\n", 431),
    refused("T3", "1000 fields", GET + _fields(1000) + b"\r\n", 431),
    refused("T3", "fields without end", GET + _fields(9000), 431),
    refused("T3", "20000 fields", GET + b"a:\r\n" * 20_000 + b"\r\n", 431),
    refused("T3", "200 times the same field", GET + b"X-A: b\r\n" * 200 + b"\r\n", 431),
    refused("T3", "200 Cookie fields", GET + b"Cookie: a=b\r\n" * 200 + b"\r\n", 431),
    refused("T3", "too many fields, then a request", GET + _fields(300) + b"\r\n" + _SMUGGLED, 431),
    refused(
        "T3",
        "too large, then a request",
        GET + b"X: " + b"y" * 70 * _K + b"\r\n\r\n" + _SMUGGLED,
        431,
    ),
    refused("T3", "empty lines without end", b"\r\n" * 50_000, (400, 431), classes="T1 T3"),
    refused(
        "T3",
        "CONNECT with 300 fields",
        b"CONNECT @O@ HTTP/1.1\r\n@A@Host: @O@\r\n" + _fields(300) + b"\r\n",
        431,
    ),
    passed("T3", "120 fields", GET + _fields(120) + b"\r\n"),
    passed("T3", "head of 60 KiB", GET + b"X-A: " + b"b" * 60 * _K + b"\r\n\r\n"),
    passed("T3", "target of 8000 octets", _target(8000), b"GET /" + b"a" * 8000),
    passed(
        "T3",
        "value of 48 KiB as a ticket",
        GET + b"Authorization: Negotiate " + b"b" * 48 * _K + b"\r\n\r\n",
    ),
]
