"""T9, T19, T20, T21: what hostile origins answer to a decent request."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["REPLIES", "SWITCHES", "Reply", "Switch"]

_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled"


@dataclass(frozen=True, slots=True)
class Reply:
    """What an origin sends to ``GET /``, and what the client may get.

    Attributes:
        name: unique.
        send: octets.
        statuses: that the client may see.
        end: ``fin``, ``rst`` or ``hold``.
        body: the client must get, complete; None: not a complete message may arrive, unless
            it is a page of the proxy's own.
        method: of the request.
        row: of docs/security.md.
        lacks: octets, lower-case, that the client must not get.
    """

    name: str
    send: bytes
    statuses: tuple[int, ...] = (502,)
    end: str = "fin"
    body: bytes | None = None
    method: bytes = b"GET"
    row: str = "T19"
    lacks: tuple[bytes, ...] = (b"smuggled",)


def _heads() -> list[Reply]:
    body = b"Content-Length: 2\r\n\r\nok"
    lines = {
        "HTTP/0.9": b"<html>hello</html>",
        "HTTP/2.0": b"HTTP/2.0 200 OK\r\n" + body,
        "HTTP/1.2": b"HTTP/1.2 200 OK\r\n" + body,
        "HTTP/0.9 by name": b"HTTP/0.9 200 OK\r\n" + body,
        "version in lower case": b"http/1.1 200 OK\r\n" + body,
        "ICY": b"ICY 200 OK\r\n" + body,
        "no version": b"200 OK\r\n" + body,
        "no status": b"HTTP/1.1\r\n" + body,
        "no status but a space": b"HTTP/1.1 \r\n" + body,
        "status 99": b"HTTP/1.1 99 x\r\n" + body,
        "status 000": b"HTTP/1.1 000 x\r\n" + body,
        "status 099": b"HTTP/1.1 099 x\r\n" + body,
        "status 1000": b"HTTP/1.1 1000 OK\r\n" + body,
        "status 20": b"HTTP/1.1 20 OK\r\n" + body,
        "status -200": b"HTTP/1.1 -200 OK\r\n" + body,
        "status 0x1": b"HTTP/1.1 0x1 OK\r\n" + body,
        "status 2e2": b"HTTP/1.1 2e2 OK\r\n" + body,
        "status in Arabic digits": b"HTTP/1.1 \xd9\xa2\xd9\xa0\xd9\xa0 OK\r\n" + body,
        "two spaces": b"HTTP/1.1  200 OK\r\n" + body,
        "tab": b"HTTP/1.1\t200 OK\r\n" + body,
        "no space before the reason": b"HTTP/1.1 200OK\r\n" + body,
        "leading space": b" HTTP/1.1 200 OK\r\n" + body,
        "NUL in the reason": b"HTTP/1.1 200 O\x00K\r\n" + body,
        "CR in the reason": b"HTTP/1.1 200 O\rK\r\n" + body,
        "escape in the reason": b"HTTP/1.1 200 \x1b[2J\r\n" + body,
        "bare LF everywhere": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "bare CR everywhere": b"HTTP/1.1 200 OK\rContent-Length: 2\r\rok",
        "a request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
        "TLS alert": b"\x15\x03\x03\x00\x02\x02\x28",
        "HTTP/2 SETTINGS": b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        "zeros": bytes(1000),
        "nothing at all": b"",
        "half a status line": b"HTTP/1.1 20",
        "half a head": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
        "head without its last LF": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r",
    }
    fields = {
        "no colon": b"X-A",
        "empty name": b": b",
        "name with space": b"X A: b",
        "name with NUL": b"X\x00A: b",
        "name not ASCII": b"X\xe4: b",
        "name with brackets": b"X[]: b",
        "value with NUL": b"X-A: b\x00c",
        "value with bare CR": b"X-A: b\rSet-Cookie: smuggled=1",
        "value with bare LF": b"X-A: b\nSet-Cookie: smuggled=1",
        "value with escape": b"X-A: \x1b[31m",
        "value with DEL": b"X-A: \x7f",
        "first line indented": b" X-A: b",
        "only white space": b" ",
    }
    return [Reply(name, data) for name, data in lines.items()] + [
        Reply(f"field: {name}", _OK + line + b"\r\n" + body) for name, line in fields.items()
    ]


def _framing() -> list[Reply]:
    lengths = (
        b'+2 -2 0x2 2,3 2a a 1_0 2; 2.0 "2" 18446744073709551618 '
        b"340282366920938463463374607431768211458 \xd9\xa2"
    )
    cases = [
        Reply(f"Content-Length {n.decode()}", _OK + b"Content-Length: " + n + b"\r\n\r\nok")
        for n in lengths.split()
    ]
    codings = (
        b'gzip identity xchunked chunkedx chunked;q=1 "chunked" gzip,chunked chunked,gzip'
        b" chunked,chunked identity,chunked cow ,"
    )
    end = b"\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    cases += [
        Reply(f"Transfer-Encoding {c.decode()}", _OK + b"Transfer-Encoding: " + c + end)
        for c in codings.split()
    ]
    te, cl = b"Transfer-Encoding: chunked\r\n", b"Content-Length: 2\r\n"
    old = b"HTTP/1.0 200 OK\r\n"
    body = b"2\r\nok\r\n0\r\n\r\n"
    return cases + [
        Reply("empty Content-Length", _OK + b"Content-Length:\r\n\r\nok"),
        Reply("two lengths", _OK + cl + b"Content-Length: 3\r\n\r\nok"),
        Reply("both", _OK + te + cl + b"\r\n" + body),
        Reply("both, length first", _OK + cl + te + b"\r\n" + body),
        Reply("both in 204", b"HTTP/1.1 204 No Content\r\n" + cl + te + b"\r\n"),
        Reply("two codings", _OK + te * 2 + b"\r\n" + body),
        Reply("coding in HTTP/1.0", old + te + b"\r\n" + body),
        Reply("both in HTTP/1.0", old + te + cl + b"\r\n" + body),
        Reply("coding with vertical tab", _OK + b"Transfer-Encoding: chunked\x0b\r\n\r\n" + body),
        Reply("coding with NUL", _OK + b"Transfer-Encoding: chunked\x00\r\n\r\n" + body),
        Reply(
            "407 of the origin's own",
            b"HTTP/1.1 407 x\r\nProxy-Authenticate: Basic\r\n" + cl + b"\r\nok",
            (502, 407),
            lacks=(b"basic\r\n",),
        ),
    ]


def _floods() -> list[Reply]:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    end = _OK + b"Content-Length: 2\r\n\r\nok"
    field = b"X-A: " + b"b" * 1000 + b"\r\n"
    return [
        Reply("5000 times 100", b"HTTP/1.1 100 Continue\r\n\r\n" * 5000 + end, row="T20"),
        Reply("5000 times 103", early * 5000 + end, row="T20"),
        Reply("5000 times 199", b"HTTP/1.1 199 x\r\n\r\n" * 5000 + end, row="T20"),
        Reply("100, then the end", b"HTTP/1.1 100 Continue\r\n\r\n", row="T20"),
        Reply("100, then garbage", b"HTTP/1.1 100 Continue\r\n\r\n\x00\x01", row="T20"),
        Reply(
            "101 that nobody asked for",
            b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nsmuggled",
            row="T9",
        ),
        Reply(
            "101 to h2c",
            b"HTTP/1.1 101 x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nsmuggled",
            row="T9",
        ),
        Reply("103 with a NUL", b"HTTP/1.1 103 x\r\nX: \x00\r\n\r\n" + end, row="T20"),
        Reply(
            "103 with both framings",
            b"HTTP/1.1 103 x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n" + end,
            row="T20",
        ),
        Reply("head without end", _OK + field * 500, end="hold", row="T20"),
        Reply("field without end", _OK + b"X-A: " + b"b" * 500_000, end="hold", row="T20"),
        Reply("status line without end", b"HTTP/1.1 200 " + b"O" * 500_000, end="hold", row="T20"),
        Reply("head of 100 KiB", _OK + field * 100 + b"\r\n", end="hold", row="T20"),
        Reply("1000 fields", _OK + b"X-A: b\r\n" * 1000 + b"\r\n", end="hold", row="T20"),
        Reply("empty lines without end", b"\r\n" * 200_000, end="hold", row="T20"),
        Reply("reset at once", b"", end="rst", row="T20"),
        Reply("reset inside the head", _OK + b"X-A", end="rst", row="T20"),
    ]


def _bodies() -> list[Reply]:
    length = _OK + b"Content-Length: 10\r\n\r\n"
    until_close = _OK + b"X-A: b\r\n\r\n"
    broken = {
        "negative": b"-2\r\nok\r\n0\r\n\r\n",
        "0x": b"0x2\r\nok\r\n0\r\n\r\n",
        "underscore": b"0_2\r\nok\r\n0\r\n\r\n",
        "plus": b"+2\r\nok\r\n0\r\n\r\n",
        "leading space": b" 2\r\nok\r\n0\r\n\r\n",
        "not hexadecimal": b"zz\r\nok\r\n0\r\n\r\n",
        "empty": b"\r\nok\r\n0\r\n\r\n",
        "17 digits": b"0" * 16 + b"2\r\nok\r\n0\r\n\r\n",
        "2^64 + 2": b"10000000000000002\r\nok\r\n0\r\n\r\n",
        "LF": b"2\nok\n0\n\n",
        "CR in the extension": b"2;a\rb\r\nok\r\n0\r\n\r\n",
        "NUL in the extension": b"2;\x00\r\nok\r\n0\r\n\r\n",
        "extension of 100 KiB": b"2;" + b"a" * 100_000 + b"\r\nok\r\n0\r\n\r\n",
        "no CRLF behind the data": b"2\r\nok0\r\n\r\n",
        "data too long": b"2\r\nokay\r\n0\r\n\r\n",
        "size without end": b"1" * 100_000,
        "trailer without colon": b"2\r\nok\r\n0\r\nX-A\r\n\r\n",
        "trailer with NUL": b"2\r\nok\r\n0\r\nX-A: \x00\r\n\r\n",
        "trailer with LF": b"2\r\nok\r\n0\r\nX-A: b\nX-B: c\r\n\r\n",
        "trailer flood": b"2\r\nok\r\n0\r\n" + b"X-A: b\r\n" * 5000 + b"\r\n",
    }
    cut = {
        "length, nothing": length,
        "length, short": length + b"short",
        "length, one short": length + b"123456789",
        "chunked, nothing": _CHUNKED,
        "chunked, inside a size": _CHUNKED + b"a",
        "chunked, inside the data": _CHUNKED + b"a\r\nshort",
        "chunked, behind a chunk": _CHUNKED + b"2\r\nok\r\n",
        "chunked, inside the end": _CHUNKED + b"2\r\nok\r\n0\r\n",
    }
    cases = [Reply(f"chunk: {name}", _CHUNKED + data, (200, 502)) for name, data in broken.items()]
    for end in ("fin", "rst"):
        cases += [Reply(f"cut by {end}: {n}", data, (200, 502), end) for n, data in cut.items()]
    return cases + [
        Reply("until close, cut by rst", until_close + b"short", (200, 502), "rst"),
        Reply("until close", until_close + b"short", (200,), body=b"short"),
        Reply("HTTP/1.0 until close", b"HTTP/1.0 200 OK\r\n\r\nshort", (200,), body=b"short"),
        Reply(
            "reason missing", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", (200, 502), body=b"ok"
        ),
        Reply(
            "status 999", b"HTTP/1.1 999 x\r\nContent-Length: 2\r\n\r\nok", (999, 502), body=b"ok"
        ),
        Reply(
            "space before the colon", _OK + b"Content-Length : 2\r\n\r\nok", (200, 502), body=b"ok"
        ),
        Reply(
            "folded field",
            _OK + b"X-A: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
            (200, 502),
            body=b"ok",
        ),
        Reply("leading zeros", _OK + b"Content-Length: 002\r\n\r\nok", (200, 502), body=b"ok"),
        Reply(
            "the same length twice",
            _OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
            (200, 502),
            body=b"ok",
        ),
        Reply("chunk extension", _CHUNKED + b"2;a=b\r\nok\r\n0\r\n\r\n", (200,), body=b"ok"),
        Reply(
            "trailers that frame",
            _CHUNKED + b"2\r\nok\r\n0\r\nContent-Length: 9\r\nSet-Cookie: smuggled=1\r\n\r\n",
            (200,),
            body=b"ok",
        ),
    ]


def _extra() -> list[Reply]:
    """Octets behind the response: never for the next request, never to the client."""
    head = _OK + b"Content-Length: 2\r\n\r\nok"
    nothing = b"HTTP/1.1 204 No Content\r\n\r\n"
    unchanged = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 8\r\n\r\n"
    ends = {"a response": _POISON, "garbage": b"smuggled\x00", "half a response": _POISON[:-4]}
    cases = []
    for name, extra in ends.items():
        cases += [
            Reply(f"{name} behind a length", head + extra, (200,), "hold", b"ok", row="T21"),
            Reply(
                f"{name} behind chunks",
                _CHUNKED + b"2\r\nok\r\n0\r\n\r\n" + extra,
                (200,),
                "hold",
                b"ok",
                row="T21",
            ),
            Reply(f"{name} behind 204", nothing + extra, (204,), "hold", b"", row="T21"),
            Reply(f"{name} behind 304", unchanged + extra, (304,), "hold", b"", row="T21"),
            Reply(
                f"{name} behind HEAD",
                _OK + b"Content-Length: 8\r\n\r\n" + extra,
                (200,),
                "hold",
                b"",
                b"HEAD",
                "T21",
            ),
            Reply(
                f"{name} behind length 0",
                _OK + b"Content-Length: 0\r\n\r\n" + extra,
                (200,),
                "hold",
                b"",
                row="T21",
            ),
        ]
    fields = {
        "Proxy-Authenticate": b"Proxy-Authenticate: Basic realm=smuggled",
        "Proxy-Authentication-Info": b"Proxy-Authentication-Info: smuggled",
        "Proxy-Connection": b"Proxy-Connection: smuggled",
        "Keep-Alive": b"Keep-Alive: smuggled",
        "Upgrade": b"Upgrade: smuggled",
        "nominated": b"Connection: X-Secret\r\nX-Secret: smuggled",
        "nominated and close": b"Connection: close, x-SECRET\r\nX-Secret: smuggled",
    }
    return (
        cases
        + [
            Reply(
                f"stripped: {name}",
                _OK + field + b"\r\nContent-Length: 2\r\n\r\nok",
                (200,),
                body=b"ok",
            )
            for name, field in fields.items()
        ]
        + [
            Reply(
                "nominated Content-Length",
                _OK + b"Connection: Content-Length\r\nContent-Length: 2\r\n\r\nok",
                (200,),
                body=b"ok",
            ),
            Reply(
                "nominated Transfer-Encoding",
                _OK
                + b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                (200,),
                body=b"ok",
            ),
        ]
    )


REPLIES = [*_heads(), *_framing(), *_floods(), *_bodies(), *_extra()]


@dataclass(frozen=True, slots=True)
class Switch:
    """What an origin answers to a valid WebSocket handshake; no byte of `payload` may cross.

    Attributes:
        name: unique.
        send: octets; ``@ACCEPT@`` becomes the right key.
        statuses: that the client may see.
    """

    name: str
    send: bytes
    statuses: tuple[int, ...] = (502,)


def _switches() -> list[Switch]:
    start = b"HTTP/1.1 101 Switching Protocols\r\n"
    upgrade, connection = b"Upgrade: websocket\r\n", b"Connection: Upgrade\r\n"
    accept = b"Sec-WebSocket-Accept: @ACCEPT@\r\n"
    good = upgrade + connection + accept
    bad = {
        "no accept key": upgrade + connection,
        "wrong accept key": upgrade
        + connection
        + b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n",
        "accept key with a letter before": upgrade
        + connection
        + b"Sec-WebSocket-Accept: x@ACCEPT@\r\n",
        "empty accept key": upgrade + connection + b"Sec-WebSocket-Accept:\r\n",
        "two accept keys": good + accept,
        "two accept keys, one wrong": good + b"Sec-WebSocket-Accept: x\r\n",
        "accept key with NUL": upgrade + connection + b"Sec-WebSocket-Accept: @ACCEPT@\x00\r\n",
        "no Upgrade": connection + accept,
        "Upgrade to h2c": b"Upgrade: h2c\r\n" + connection + accept,
        "no Connection": upgrade + accept,
        "Connection: close": upgrade + b"Connection: close\r\n" + accept,
        "both framings": good + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "bad length": good + b"Content-Length: x\r\n",
        "bare LF": good.replace(b"\r\n", b"\n"),
    }
    cases = [Switch(name, start + fields + b"\r\nsmuggled") for name, fields in bad.items()]
    old = b"HTTP/1.0 101 Switching Protocols\r\n"
    return cases + [
        Switch("101 in HTTP/1.0", old + good + b"\r\nsmuggled", (502, 101)),
        Switch("101 in HTTP/2.0", start.replace(b"1.1", b"2.0") + good + b"\r\nsmuggled"),
        Switch(
            "100 flood, then 101", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000 + start + good + b"\r\n"
        ),
        Switch("garbage", b"\x81\x05hello"),
        Switch("nothing", b""),
        Switch("200 with more behind it", _OK + b"Content-Length: 2\r\n\r\noksmuggled", (200,)),
        Switch(
            "426",
            b"HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 8\r\nContent-Length: 0\r\n\r\nsmuggled",
            (426,),
        ),
        Switch("204 with Upgrade", b"HTTP/1.1 204 No Content\r\n" + good + b"\r\nsmuggled", (204,)),
        Switch(
            "401 with Upgrade",
            b"HTTP/1.1 401 x\r\n" + good + b"Content-Length: 0\r\n\r\nsmuggled",
            (401,),
        ),
        Switch("200 with Upgrade", _OK + good + b"Content-Length: 2\r\n\r\noksmuggled", (200,)),
    ]


SWITCHES = _switches()
