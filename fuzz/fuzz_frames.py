"""Invariant: a reader takes any octets in any pieces, raises nothing, says the same, and holds no more than it was told to keep."""

from __future__ import annotations

import random
import sys
import zlib
from collections.abc import Iterator

from driver import run

from wsproxy.protocol.deflate import Inflater
from wsproxy.protocol.frames import (
    FrameError,
    Opcode,
    encode_close,
    encode_frame,
    parse_header,
)
from wsproxy.protocol.messages import Chunk, Event, Message, MessageReader

KEEP_BYTES = 64
KEY = b"\x37\xfa\x21\x3d"
SEEDS = [
    b"\x01" + encode_frame(1, b"hello", key=KEY) + encode_close(1000, "bye", key=KEY),
    b"\x00" + encode_frame(2, bytes(200)) + encode_frame(9, b"?") + encode_frame(0, b"x"),
    b"\x03" + encode_frame(1, b"\xf2\x48\xcd\xc9\xc9\x07\x00", rsv=4, key=KEY) * 2,
    b"\x07" + encode_frame(1, b"a", fin=False, key=KEY) + encode_frame(0, b"b", key=KEY),
    # A bomb, and octets behind a BFINAL (RFC 7692 §7.2.3.4).
    b"\x06" + encode_frame(1, zlib.compress(b"a" * 9000, wbits=-15)[:-4], rsv=4),
    b"\x0f" + encode_frame(1, bytes.fromhex("f348cdc9c90700") * 3 + b"\0", rsv=4, key=KEY),
    b"\x01" + encode_close(1000, "bye", key=KEY) + encode_frame(1, b"late", key=KEY),
]


def fuzz(data: bytes) -> None:
    """The first octet chooses the reader, the others are what it reads."""
    kind, stream = data[:1] or b"\0", data[1:]
    whole = _reader(kind[0]).feed(stream)
    # Pieces end inside of frames, and also where frames do: those have ways of their own.
    for longest in (1, 8, 64):
        reader, pieces = _reader(kind[0]), []
        for piece in _pieces(stream, longest):
            pieces += reader.feed(piece)
            held = reader.unfinished
            assert held is None or len(held.payload) <= KEEP_BYTES
        assert _outline(whole) == _outline(pieces), (longest, whole, pieces)
    assert all(len(each.payload) <= KEEP_BYTES for each in whole if isinstance(each, Message))


def _reader(kind: int) -> MessageReader:
    return MessageReader(
        masked=bool(kind & 1),
        inflater=Inflater(15, takeover=bool(kind & 8)) if kind & 2 else None,
        max_message_bytes=4096,
        keep_bytes=KEEP_BYTES,
        chunks=bool(kind & 4),
        strict=bool(kind & 16),
    )


def _pieces(stream: bytes, longest: int) -> Iterator[bytes]:
    """`stream` in pieces of up to `longest` octets, always the same, and where frames seem to end."""
    rng, at = random.Random(len(stream)), 0
    while at < len(stream):
        size = rng.randint(1, longest)
        header = parse_header(stream, at) if longest > 1 and _has_header(stream, at) else None
        if header is not None and rng.random() < 0.7:
            size = header.size + header.length
        yield stream[at : at + size]
        at += size


def _has_header(stream: bytes, at: int) -> bool:
    try:
        return parse_header(stream, at) is not None
    except FrameError:
        return False


def _outline(events: list[Event]) -> list[tuple[object, ...]]:
    """What must not depend on the pieces: chunks joined, and of a trouble its code.

    The trouble cuts short what its own message has shown, sooner or later.
    """
    outline: list[tuple[object, ...]] = []
    shown = b""
    for event in events:
        if isinstance(event, Chunk):
            assert event.offset == len(shown), event
            shown += event.data
        elif isinstance(event, Message):
            is_data = event.opcode <= Opcode.BINARY
            outline.append((*event, shown if is_data else b""))
            shown = b"" if is_data else shown
        else:
            outline.append((event.code,))
    return outline


if __name__ == "__main__":
    run(fuzz, SEEDS, sys.argv[1:])
