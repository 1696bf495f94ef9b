"""Seeded mutations that know HTTP/1: lines, numbers and framing change more often than plain octets."""

from __future__ import annotations

import random
import re

__all__ = ["mutate", "split"]

_LINES = (
    b"Content-Length: 5", b"Content-Length: 0", b"content-length: 005", b"Content-Length: 5, 5",
    b"Content-Length: +5", b"Content-Length: 0x5", b"Content-Length:", b"Content-Length : 5",
    b"Content-Length: 99999999999999999999", b"Content-Length:\t5 ", b"Content_Length: 5",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: CHUNKED", b"Transfer-Encoding:\tchunked",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: chunked,", b"Transfer-Encoding:", b"Transfer-Encoding : chunked",
    b"Transfer-Encoding: xchunked", b"Transfer-Encoding:\x0bchunked", b"X: y\nTransfer-Encoding: chunked",
    b" Transfer-Encoding: chunked", b"Transfer_Encoding: chunked", b"TE: trailers, chunked",
    b"Connection: close", b"Connection: keep-alive", b"Connection: Upgrade", b"Connection: TE",
    b"Connection: Content-Length, Host, X-A", b"Connection: transfer-encoding", b"Connection: ,,",
    b"Proxy-Connection: keep-alive", b"Proxy-Connection: close", b"Keep-Alive: timeout=5",
    b"Upgrade: websocket", b"Upgrade: h2c", b"Upgrade: websocket, h2c", b"HTTP2-Settings: AAMA",
    b"Host: other.example", b"Host:", b"Host: a b", b"Host: user@x", b"Host: origin.example:80",
    b"Expect: 100-continue", b"Expect: 200-ok", b"Via: 1.0 fred, 1.1 p", b"Trailer: X-T",
    b"Proxy-Authorization: Basic YTpi", b"Proxy-Authenticate: Basic", b"Max-Forwards: 0",
    b"X-A: b", b"X-A: \xc3\xbc", b"X-A: a\rb", b"X-A: a\x00b", b"X-A: a\x7f", b"X-A:", b":", b"X-A",
    b"X-A: a\r\n folded", b"X-A\t: b", b"\tX-A: b", b"X(A): b", b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"GET http://smuggled.example/ HTTP/1.1",
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", b"Set-Cookie: a=b", b"Date: now", b"",
)  # fmt: skip
_SCRAPS = (
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b" ", b"\t", b"\x0b", b"\x00", b"\x7f", b"\x85", b"\xff",
    b":", b",", b";", b"0", b"0\r\n\r\n", b"5\r\nhello\r\n", b"5;a=b\r\nhello\r\n", b"5 \r\nhello\r\n",
    b"5\nhello\n", b"0x5\r\nhello\r\n", b"-5\r\nhello\r\n", b"05\r\nhello\r\n", b"+5\r\nhello\r\n",
    b"10000000000000000\r\n", b"FFFFFFFFFFFFFFFF\r\n", b"0;\r\n\r\n", b"00\r\n\r\n", b"0\r\nX-T: v\r\n\r\n",
    b"0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: x\r\nTE: x\r\n\r\n",
    b"0\r\n folded\r\n\r\n", b"hello", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.1 200 OK\r\n\r\n",
    b"http://", b"ws://", b"https://", b"@", b"#", b"\\", b"?", b"/", b"*", b"[::1]", b":80", b":0", b"%0d%0a",
    b"GET ", b"POST ", b"HEAD ", b"CONNECT ", b"OPTIONS ", b"PRI ", b"get ", b"100", b"101", b"204", b"304",
)  # fmt: skip
_NUMBER = re.compile(rb"\b[0-9A-Fa-f]+\b")
_NUMBERS = (b"0", b"1", b"4", b"5", b"6", b"7", b"00", b"005", b"a", b"A", b"10", b"999", b"65536", b"-1",
            b"100", b"101", b"103", b"200", b"204", b"304", b"407", b"999999999999999999")  # fmt: skip


def mutate(seed: bytes, seeds: tuple[bytes, ...], rng: random.Random) -> bytes:
    """`seed` after none to six edits; mostly one or two, or nothing would ever be let through."""
    data = seed
    for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 2, 3, 6))):
        data = _edit(data, seeds, rng)
    return data


def _edit(data: bytes, seeds: tuple[bytes, ...], rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    match rng.randrange(10):
        case 0:
            return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        case 1:
            return data[:at] + data[at + rng.choice((1, 1, 2, 8)) :]
        case 2:
            return data[:at] + rng.choice(_SCRAPS) + data[at:]
        case 3:
            return data[:at]
        case 4:
            other = rng.choice(seeds)
            return data[:at] + other[rng.randrange(len(other)) :]
        case 5:
            return data + rng.choice((*_SCRAPS, *seeds))
        case 6:
            return _change_number(data, rng)
        case _:
            return _edit_line(data, rng)


def _edit_line(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\r\n")
    at = rng.randrange(len(lines))
    match rng.randrange(6):
        case 0:
            lines.insert(at, lines[rng.randrange(len(lines))])
        case 1:
            del lines[at]
        case 2:
            lines[at] = rng.choice((lines[at].upper(), lines[at].lower(), lines[at] + b" "))
        case 3:
            lines[at] = rng.choice(_LINES)
        case _:
            lines.insert(max(1, at), rng.choice(_LINES))
    return b"\r\n".join(lines)


def _change_number(data: bytes, rng: random.Random) -> bytes:
    numbers = list(_NUMBER.finditer(data))
    if not numbers:
        return data
    start, end = rng.choice(numbers).span()
    return data[:start] + rng.choice(_NUMBERS) + data[end:]


def split(data: bytes, rng: random.Random) -> list[bytes]:
    """`data` as the network may deliver it: whole, in a few pieces, or rarely octet by octet."""
    ways = rng.randrange(16)
    if ways == 0:
        return [data[i : i + 1] for i in range(len(data))]
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(ways if ways < 4 else 0))
    ends = [*cuts, len(data)]
    pieces = [data[a:b] for a, b in zip([0, *cuts], ends, strict=True)]
    return [piece for piece in pieces if piece]
