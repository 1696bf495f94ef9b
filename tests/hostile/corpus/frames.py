"""T22: frames that break RFC 6455 §5, from either side."""

from __future__ import annotations

from dataclasses import replace

from tests.hostile.talk import (
    CLIENT,
    KEY,
    SIDES,
    UPSTREAM,
    Talk,
    close,
    frame,
    legal,
    offends,
    text,
)

__all__ = ["CASES"]

_FIN = 0x80
_PING, _PONG, _CLOSE = 0x89, 0x8A, 0x88
_BAD_CODES = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
_GOOD_CODES = (1000, 1001, 1003, 1007, 1011, 1012, 3000, 4999)


def _bits(side: str) -> list[Talk]:
    cases = [
        offends(side, f"RSV {rsv} on {name}", 1002, frame(side, first | rsv << 4, payload))
        for rsv in range(1, 8)
        for name, first, payload in (("a text", 0x81, b"hello"), ("a ping", _PING, b""))
    ]
    cases += [
        offends(side, f"opcode {opcode}", 1002, frame(side, _FIN | opcode, b"x"))
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    ]
    begun = frame(side, 0x01, b"begun")
    return [
        *cases,
        offends(side, "a reserved opcode without FIN", 1002, frame(side, 0x03, b"x")),
        offends(side, "RSV on a continuation", 1002, frame(side, 0xC0, b"x"), good=begun),
        offends(side, "RSV on a Close", 1002, frame(side, 0xC8, b"\x03\xe8")),
        offends(side, "wrong from the first frame on", 1002, frame(side, 0x83, b"x"), good=b""),
    ]


def _masks(side: str) -> list[Talk]:
    wrong = side != CLIENT
    kind = "a masked" if wrong else "an unmasked"
    begun = frame(side, 0x01, b"begun")
    bad = {
        "text": frame(side, 0x81, b"hello", masked=wrong),
        "empty text": frame(side, 0x81, b"", masked=wrong),
        "ping": frame(side, _PING, b"p", masked=wrong),
        "Close": frame(side, _CLOSE, b"\x03\xe8", masked=wrong),
        "long binary": frame(side, 0x82, b"\xff" * 300, masked=wrong),
        "empty binary": frame(side, 0x82, b"", masked=wrong),
    }
    cases = [offends(side, f"{kind} {name}", 1002, data) for name, data in bad.items()]
    later = frame(side, 0x80, b"end", masked=wrong)
    return [*cases, offends(side, f"{kind} continuation", 1002, later, good=begun)]


def _lengths(side: str) -> list[Talk]:
    def length(field: bytes, payload: bytes = b"") -> bytes:
        return frame(side, 0x82, payload, length=field)

    bad = {
        "5 in 16 bits": length(b"\x7e\x00\x05", b"hello"),
        "0 in 16 bits": length(b"\x7e\x00\x00"),
        "125 in 16 bits": length(b"\x7e\x00\x7d", bytes(125)),
        "5 in 64 bits": length(b"\x7f" + bytes(7) + b"\x05", b"hello"),
        "0 in 64 bits": length(b"\x7f" + bytes(8)),
        "300 in 64 bits": length(b"\x7f" + bytes(6) + b"\x01\x2c", bytes(300)),
        "65535 in 64 bits": length(b"\x7f" + bytes(6) + b"\xff\xff"),
        "2^63": length(b"\x7f\x80" + bytes(7)),
        "2^64-1": length(b"\x7f" + b"\xff" * 8),
    }
    return [offends(side, f"length {name}", 1002, data) for name, data in bad.items()]


def _controls(side: str) -> list[Talk]:
    bad = {
        "a ping of 126 octets": frame(side, _PING, bytes(126)),
        "a pong of 126 octets": frame(side, _PONG, bytes(126)),
        "a Close of 126 octets": frame(side, _CLOSE, b"\x03\xe8" + b"x" * 124),
        "a ping of 64 KiB": frame(side, _PING, bytes(65536)),
        "a ping that claims 2 GiB": frame(side, _PING, length=b"\x7f" + b"\0\0\0\0\x80\0\0\0"),
        "half a ping": frame(side, 0x09, b"ha"),
        "half a pong": frame(side, 0x0A, b"ha"),
        "half a Close": frame(side, 0x08, b"\x03"),
        "half a ping, empty": frame(side, 0x09),
        "a Close of one octet": frame(side, _CLOSE, b"\x03"),
    }
    return [offends(side, name, 1002, data) for name, data in bad.items()]


def _closes(side: str) -> list[Talk]:
    cases = [offends(side, f"Close {code}", 1002, close(side, code)) for code in _BAD_CODES]
    reasons = {
        "not UTF-8": b"\xff",
        "a surrogate": b"\xed\xa0\x80",
        "cut in a character": b"bye \xe2\x82",
        "overlong": b"\xc0\xaf",
    }
    cases += [
        offends(side, f"reason of a Close {name}", 1007, close(side, reason=reason))
        for name, reason in reasons.items()
    ]
    cases += [legal(side, f"Close {code}", close(side, code), said=code) for code in _GOOD_CODES]
    cases += [
        legal(side, "Close without a code", frame(side, _CLOSE), said=1005),
        legal(side, "Close of 125 octets", close(side, reason=b"x" * 123), said=1000),
        legal(
            side,
            "Close inside a message",
            frame(side, 0x01, b"begun") + close(side),
            said=1000,
        ),
    ]
    behind = {
        "a text": text(side, "smuggled"),
        "a Close": close(side, 1001),
        "a ping": frame(side, _PING),
        "a reserved opcode": frame(side, 0x8F),
        "garbage": b"\xff" * 100,
        "HTTP": b"GET /smuggled HTTP/1.1\r\n\r\n",
    }
    quiet = legal(side, "", text(side, "last") + close(side), said=1000)
    return cases + [
        replace(quiet, name=f"{side}: {name} behind a Close", bad=data)
        for name, data in behind.items()
    ]


def _fragments(side: str) -> list[Talk]:
    begun, end = frame(side, 0x01, b"be"), frame(side, 0x80, b"gun")
    ping = frame(side, _PING, b"p")
    bad = {
        "a continuation of nothing": (b"", end),
        "a continuation of nothing, not the last": (b"", frame(side, 0x00, b"x")),
        "a continuation behind a whole message": (text(side, "whole"), end),
        "a continuation behind a fragmented message": (begun + end, end),
        "a text inside a message": (begun, text(side, "x")),
        "a binary inside a message": (begun, frame(side, 0x82, b"x")),
        "a first fragment inside a message": (begun, begun),
        "a text inside a message, behind a ping": (begun + ping, text(side, "x")),
        "an empty text inside a message": (begun, frame(side, 0x81)),
    }
    cases = [offends(side, name, 1002, data, good=good) for name, (good, data) in bad.items()]
    odd = {
        "a ping inside a message": begun + ping + end,
        "empty fragments": frame(side, 0x01) + frame(side, 0x00) * 50 + frame(side, 0x80),
        "many small fragments": begun + frame(side, 0x00, b"x") * 1000 + end,
        "a flood of pings": frame(side, _PING, b"p" * 125) * 500,
        "a flood of pongs nobody asked for": frame(side, _PONG, b"p") * 500,
        "a flood of empty texts": frame(side, 0x81) * 500,
        "a flood of pings inside a message": begun + ping * 300 + end,
        "the longest payloads of each length": frame(side, 0x82, bytes(125))
        + frame(side, 0x82, bytes(65535))
        + frame(side, 0x82, bytes(65536)),
    }
    return cases + [legal(side, name, data) for name, data in odd.items()]


def _other_protocols(side: str) -> list[Talk]:
    bad = {
        "an HTTP request": b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
        "an HTTP response": b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled",
        "a CONNECT": b"CONNECT smuggled:443 HTTP/1.1\r\n\r\n",
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32),
        "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
        "noise": b"\xff" * 400,
        "zeros": bytes(400),
    }
    cases = []
    for name, data in bad.items():
        cases.append(offends(side, f"{name} at once", 1002, data, good=b"", more=b""))
        cases.append(offends(side, f"{name} behind a text", 1002, data, more=b""))
    return cases


def _cut(side: str) -> list[Talk]:
    whole = text(side, "whole")
    halves = {
        "one octet of a header": frame(side, 0x81, b"hello")[:1],
        "half a 64-bit length": frame(side, 0x82, bytes(70000))[:5],
        "a header without its payload": frame(side, 0x81, b"hello")[: 6 if side == CLIENT else 2],
        "half a payload": frame(side, 0x82, bytes(200))[:100],
        "half a ping": frame(side, _PING, b"hello")[:-2],
        "half a Close": close(side, reason=b"bye")[:-2],
        "one fragment": frame(side, 0x01, b"fragment"),
        "half a second fragment": frame(side, 0x01, b"a") + frame(side, 0x80, b"hello")[:-1],
        "half a character": frame(side, 0x81, b"hello \xe2\x82\xac")[:-1],
    }
    cases = []
    for name, data in halves.items():
        talk = Talk(f"{side}: {name}, then FIN", "T22", side, whole, data, None, None, at=None)
        cases += [talk, replace(talk, name=f"{side}: {name}, then RST", end="rst")]
    return cases


def _masked_controls() -> list[Talk]:
    """A key of zeros hides nothing, and is a key all the same (RFC 6455 §5.3)."""
    zeros = frame(CLIENT, 0x81, b"hello").replace(KEY, bytes(4))
    plain = zeros[:6] + b"hello"
    looks_like = frame(UPSTREAM, 0x82, close(UPSTREAM, 1006))
    return [
        legal(CLIENT, "a key of zeros", plain),
        legal(UPSTREAM, "a Close within a binary", looks_like),
        legal(CLIENT, "a Close within a binary", frame(CLIENT, 0x82, close(UPSTREAM, 1006))),
    ]


def _cases() -> list[Talk]:
    groups = (_bits, _masks, _lengths, _controls, _closes, _fragments, _other_protocols, _cut)
    return [case for side in SIDES for group in groups for case in group(side)]


CASES = [*_cases(), *_masked_controls()]
