"""T22, T23: messages that are no text, no deflate data, or too much, from either side."""

from __future__ import annotations

import zlib
from dataclasses import replace
from functools import cache

from tests.hostile.talk import SIDES, Talk, frame, legal, offends, text

__all__ = ["AGREED", "BOMBS", "CASES", "MAX_MESSAGE_BYTES", "deflated"]

MAX_MESSAGE_BYTES = 1024 * 1024
"""As the proxies of these tests are configured."""
AGREED = b"permessage-deflate; client_no_context_takeover; server_no_context_takeover"
_TAKEOVER = b"permessage-deflate"
_BAD_TEXTS = {
    "a lone continuation": (b"abc\x80def", 3),
    "0xFF": (b"abc\xffdef", 3),
    "0xFE": (b"\xfeabc", 0),
    "an overlong slash": (b"abc\xc0\xafdef", 3),
    "an overlong NUL": (b"\xc0\x80", 0),
    "an overlong euro": (b"ab\xf0\x82\x82\xac", 3),
    "a high surrogate": (b"abc\xed\xa0\x80def", 4),
    "a low surrogate": (b"abc\xed\xbf\xbf", 4),
    "a pair of surrogates": (b"\xed\xa0\xbd\xed\xb8\x80", 1),
    "beyond U+10FFFF": (b"a\xf4\x90\x80\x80", 2),
    "five octets": (b"\xf8\x88\x80\x80\x80", 0),
    "a character cut by a letter": (b"\xe2\x82abc", 2),
    "the Autobahn": (b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", 12),
}
"""The text, and where it goes wrong."""


def deflated(data: bytes, *, flush: int = zlib.Z_SYNC_FLUSH) -> bytes:
    """The payload of a compressed message (RFC 7692 §7.2.1)."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    octets = squeeze.compress(data) + squeeze.flush(flush)
    return octets.removesuffix(b"\x00\x00\xff\xff")


@cache
def bomb(mebibytes: int) -> bytes:
    """That many MiB of zeros, deflated: a thousandth of it."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = bytes(1024 * 1024)
    first, again = (squeeze.compress(zeros) + squeeze.flush(zlib.Z_SYNC_FLUSH) for _ in range(2))
    return (first + again * (mebibytes - 1)).removesuffix(b"\x00\x00\xff\xff")


def _front(side: str, size: int) -> int:
    """Octets of the header of a frame with a payload of `size`."""
    return len(frame(side, 0x82, bytes(size))) - size


def _texts(side: str) -> list[Talk]:
    cases = []
    for name, (octets, wrong) in _BAD_TEXTS.items():
        at = _front(side, len(octets)) + wrong
        cases.append(offends(side, f"text with {name}", 1007, frame(side, 0x81, octets), at=at))
        begun = text(side, "before") + frame(side, 0x01, octets[:wrong])
        end = frame(side, 0x80, octets[wrong:])
        at = _front(side, len(octets) - wrong)
        fragments = f"fragments with {name}"
        cases.append(offends(side, fragments, 1007, end, good=begun, at=at))
    ends = {
        "two octets of three": b"caf\xe2\x82",
        "three octets of four": b"\xf0\x9f\x98",
        "one octet of two": b"\xc3",
    }
    for name, octets in ends.items():
        data = frame(side, 0x81, octets)
        cases.append(offends(side, f"text that ends with {name}", 1007, data, at=len(data) - 1))
    begun = frame(side, 0x01, b"\xe2") + frame(side, 0x00, b"\x82")
    good = {
        "a character over three fragments": begun + frame(side, 0x80, b"\xac"),
        "every kind of character": text(side, "\0\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U0010ffff"),
        "octets that are no text in a binary": frame(side, 0x82, b"\xff\xc0\x80"),
        "octets that are no text in a ping": frame(side, 0x89, b"\xff\xfe"),
    }
    cases += [legal(side, name, data) for name, data in good.items()]
    unfinished = frame(side, 0x80, b"")
    at = len(unfinished) - 1
    cases.append(offends(side, "a character never finished", 1007, unfinished, good=begun, at=at))
    return cases


def _agreed(talk: Talk, extensions: bytes = AGREED) -> Talk:
    return replace(talk, extensions=extensions, row="T23")


def _compressed(side: str) -> list[Talk]:
    hello = deflated(b"hello" * 20)
    begun = frame(side, 0x41, hello[:4])
    noise = b"\x07" + b"\xff" * 40
    bad = [
        offends(side, "deflate of a reserved kind", 1007, frame(side, 0xC2, noise), at=99),
        offends(
            side,
            "a stored block with a wrong length",
            1007,
            frame(side, 0xC2, b"\x00\x05\x00\x05\x00hello"),
            at=99,
        ),
        offends(
            side, "a distance before the beginning", 1007, frame(side, 0xC2, b"\x02\x1f\xff"), at=99
        ),
        offends(side, "compressed text, not UTF-8", 1007, frame(side, 0xC1, deflated(b"a\xff"))),
        offends(
            side, "compressed text, half a character", 1007, frame(side, 0xC1, deflated(b"a\xe2"))
        ),
        offends(side, "RSV1 on a continuation", 1002, frame(side, 0xC0, hello[4:]), good=begun),
        offends(side, "RSV1 on a ping", 1002, frame(side, 0xC9, b"x")),
        offends(side, "RSV1 on a Close", 1002, frame(side, 0xC8, b"\x03\xe8")),
        offends(side, "RSV2 besides RSV1", 1002, frame(side, 0xE1, hello)),
        offends(side, "RSV3 alone", 1002, frame(side, 0x91, b"x")),
    ]
    # Where deflate data goes wrong is for zlib to say; its frame may have passed in part.
    cases = [
        replace(case, at=len(frame(side, 0x82, noise)) - 1) if case.code == 1007 else case
        for case in bad
    ]
    good = {
        "a compressed text": frame(side, 0xC1, hello),
        "a compressed text in fragments": begun + frame(side, 0x80, hello[4:]),
        "an uncompressed text all the same": text(side, "hello"),
        "a compressed message of nothing": frame(side, 0xC1, b"\x00"),
        "a last block": frame(side, 0xC2, deflated(b"x" * 99, flush=zlib.Z_FINISH))
        + frame(side, 0xC1, hello),
    }
    cases += [legal(side, f"agreed: {name}", data) for name, data in good.items()]
    renamed = [
        case
        if "agreed" in case.name
        else replace(case, name=case.name.replace(": ", ": agreed: ", 1))
        for case in cases
    ]
    shared = legal(side, "agreed: two texts in one context", frame(side, 0xC1, hello) * 2)
    unasked = offends(side, "a compressed text nobody agreed on", 1002, frame(side, 0xC1, hello))
    return [*map(_agreed, renamed), _agreed(shared, _TAKEOVER), unasked]


def _large(side: str) -> list[Talk]:
    """Sizes that only an enforcing proxy has anything against: it has promised to read it all."""
    claimed = {
        "2 GiB": frame(side, 0x82, length=b"\x7f\0\0\0\0\x80\0\0\0"),
        "2^63-1 octets": frame(side, 0x82, length=b"\x7f\x7f" + b"\xff" * 7),
        "one octet too much": frame(
            side, 0x82, length=b"\x7f" + (MAX_MESSAGE_BYTES + 1).to_bytes(8, "big")
        ),
    }
    cases = []
    for name, header in claimed.items():
        talk = offends(side, f"a frame that claims {name}", 1009, header + bytes(64), more=b"")
        cases.append(replace(talk, code=None, row="T23"))
    much = frame(side, 0x02, bytes(600_000))
    talk = offends(side, "fragments that are too much", 1009, frame(side, 0x80, bytes(600_000)))
    cases.append(replace(talk, code=None, row="T23", good=much))
    return cases


def _bomb(side: str, name: str, data: bytes, extensions: bytes = AGREED) -> Talk:
    talk = offends(side, name, 1009, data, at=len(data) - 1, more=text(side, "after"))
    return replace(talk, code=None, row="T23", extensions=extensions)


def _bombs(side: str) -> list[Talk]:
    large = bomb(256)
    half = len(large) // 2
    halves = frame(side, 0x42, large[:half]) + frame(side, 0x80, large[half:])
    return [
        _bomb(side, "bomb of 2 MiB", frame(side, 0xC2, bomb(2))),
        _bomb(side, "bomb of 256 MiB", frame(side, 0xC2, large)),
        _bomb(side, "bomb of 256 MiB of text", frame(side, 0xC1, large)),
        _bomb(side, "bomb of 256 MiB in fragments", halves),
        _bomb(side, "bomb of 256 MiB with a shared context", frame(side, 0xC2, large), _TAKEOVER),
    ]


CASES = [case for side in SIDES for group in (_texts, _compressed, _large) for case in group(side)]
BOMBS = [case for side in SIDES for case in _bombs(side)]
