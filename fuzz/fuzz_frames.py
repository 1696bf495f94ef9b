"""Invariant: a reader takes any octets in any pieces, raises nothing, says the same, and holds no more than it was told to keep."""

from __future__ import annotations

import sys

from driver import run

from wsproxy.protocol.deflate import Inflater
from wsproxy.protocol.frames import encode_close, encode_frame
from wsproxy.protocol.messages import Event, Message, MessageReader

KEEP_BYTES = 64
KEY = b"\x37\xfa\x21\x3d"
SEEDS = [
    b"\x01" + encode_frame(1, b"hello", key=KEY) + encode_close(1000, "bye", key=KEY),
    b"\x00" + encode_frame(2, bytes(200)) + encode_frame(9, b"?") + encode_frame(0, b"x"),
    b"\x03" + encode_frame(1, b"\xf2\x48\xcd\xc9\xc9\x07\x00", rsv=4, key=KEY) * 2,
    b"\x07" + encode_frame(1, b"a", fin=False, key=KEY) + encode_frame(0, b"b", key=KEY),
]


def fuzz(data: bytes) -> None:
    """The first octet chooses the reader, the others are what it reads."""
    kind, stream = data[:1] or b"\0", data[1:]
    whole = _reader(kind[0]).feed(stream)
    single = _reader(kind[0])
    in_octets = [event for i in range(len(stream)) for event in single.feed(stream[i : i + 1])]
    assert _messages(whole) == _messages(in_octets), (whole, in_octets)
    assert all(len(message.payload) <= KEEP_BYTES for message in _messages(whole))


def _reader(kind: int) -> MessageReader:
    return MessageReader(
        masked=bool(kind & 1),
        inflater=Inflater(15, takeover=bool(kind & 8)) if kind & 2 else None,
        max_message_bytes=4096,
        keep_bytes=KEEP_BYTES,
        chunks=bool(kind & 4),
        strict=bool(kind & 16),
    )


def _messages(events: list[Event]) -> list[Message]:
    """Without chunks, which are cut where reads were, and the trouble, of which one of two may come first."""
    return [event for event in events if isinstance(event, Message)]


if __name__ == "__main__":
    run(fuzz, SEEDS, sys.argv[1:])
