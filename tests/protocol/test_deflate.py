"""permessage-deflate: what was agreed on, what may be offered, and inflating within bounds."""

from __future__ import annotations

import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.deflating import compressed, compressor
from wsproxy.protocol.deflate import (
    Agreement,
    Compression,
    Extension,
    Inflater,
    limit_offer,
    parse_agreement,
    parse_extensions,
)
from wsproxy.protocol.frames import FrameError

PLAIN = Compression(client_takeover=True, server_takeover=True, client_bits=15, server_bits=15)


def inflated(inflater: Inflater, data: bytes, *, at_once: int = 1 << 16) -> bytes:
    inflater.start_message()
    out = piece = inflater.inflate(data, at_once)
    while len(piece) == at_once:
        piece = inflater.inflate(b"", at_once)
        out += piece
    piece = inflater.end_message(at_once)
    out += piece
    while len(piece) == at_once:
        piece = inflater.inflate(b"", at_once)
        out += piece
    return out


@pytest.mark.parametrize(
    ("values", "agreement"),
    [
        ([], Agreement(None, ())),
        ([b""], Agreement(None, ())),
        ([b"permessage-deflate"], Agreement(PLAIN, ())),
        ([b"Permessage-Deflate"], Agreement(PLAIN, ())),
        (
            [b"permessage-deflate; client_no_context_takeover; server_max_window_bits=10"],
            Agreement(PLAIN._replace(client_takeover=False, server_bits=10), ()),
        ),
        (
            [b'permessage-deflate ;server_no_context_takeover; client_max_window_bits="8"'],
            Agreement(PLAIN._replace(server_takeover=False, client_bits=8), ()),
        ),
        ([b"x-private; a=1", b"permessage-deflate"], Agreement(PLAIN, ("x-private",))),
        ([b"x, y"], Agreement(None, ("x", "y"))),
    ],
)
def test_what_a_handshake_agrees_on(values: list[bytes], agreement: Agreement) -> None:
    assert parse_agreement(values) == agreement


@pytest.mark.parametrize(
    "value",
    [
        b"permessage-deflate, permessage-deflate",
        b"permessage-deflate; server_max_window_bits=7",
        b"permessage-deflate; server_max_window_bits=16",
        b"permessage-deflate; server_max_window_bits",
        b"permessage-deflate; client_no_context_takeover=1",
        b"permessage-deflate; mystery",
        b"permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        b"permessage-deflate;",
        b"a b",
        b"\xff",
        b'x; a="b c"',
    ],
)
def test_what_no_handshake_can_agree_on(value: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_agreement([value])


def test_extensions_are_read_in_order() -> None:
    assert parse_extensions([b"a; x=1; y, B", b"c"]) == [
        Extension("a", (("x", "1"), ("y", None))),
        Extension("b", ()),
        Extension("c", ()),
    ]


def test_an_offer_is_kept_stripped_or_limited() -> None:
    offer = [b"permessage-deflate; client_max_window_bits", b"x-other"]
    assert limit_offer(offer, "keep") == offer
    assert limit_offer(offer, "strip") == []
    assert limit_offer([], "no_context_takeover") == []
    assert limit_offer(offer, "no_context_takeover") == [
        b"permessage-deflate; client_max_window_bits; client_no_context_takeover;"
        b" server_no_context_takeover, x-other"
    ]
    limited = limit_offer(
        [b"permessage-deflate; Client_No_Context_Takeover"], "no_context_takeover"
    )
    assert limited == [
        b"permessage-deflate; Client_No_Context_Takeover; server_no_context_takeover"
    ]


@given(
    st.lists(st.binary(max_size=3000), min_size=1, max_size=5),
    st.sampled_from([9, 10, 15]),
    st.sampled_from([1, 7, 1000, 1 << 16]),
)
def test_messages_share_a_context_or_do_not(messages: list[bytes], bits: int, at_once: int) -> None:
    shared, context = Inflater(bits, takeover=True), compressor(bits)
    alone = Inflater(bits, takeover=False)
    for message in messages:
        assert inflated(shared, compressed(message, context), at_once=at_once) == message
        single = compressed(message, compressor(bits))
        assert inflated(alone, single, at_once=at_once) == message


def test_a_window_of_eight_bits_is_inflated_with_nine() -> None:
    context = zlib.compressobj(wbits=-9)
    assert inflated(Inflater(8, takeover=True), compressed(b"hello", context)) == b"hello"


def test_a_bomb_comes_in_pieces_of_the_size_asked_for() -> None:
    inflater = Inflater(15, takeover=True)
    inflater.start_message()
    bomb = compressed(bytes(1 << 24), compressor())
    assert len(bomb) < 20_000
    assert len(inflater.inflate(bomb, 1000)) == 1000
    assert len(inflater.inflate(b"", 1000)) == 1000


def test_garbage_is_no_deflate_data() -> None:
    inflater = Inflater(15, takeover=True)
    inflater.start_message()
    with pytest.raises(FrameError) as caught:
        inflater.inflate(b"\xff\xff\xff\xff", 100)
    assert caught.value.code == 1007


def test_a_block_that_says_it_is_the_last_ends_its_message_only() -> None:
    """RFC 7692 §7.2.3.4 lets a sender set BFINAL."""
    final = zlib.compressobj(wbits=-15)
    data = final.compress(b"one") + final.flush(zlib.Z_FINISH) + b"\x00"
    inflater = Inflater(15, takeover=True)
    assert inflated(inflater, data) == b"one"
    assert inflated(inflater, compressed(b"two", compressor())) == b"two"


def ending(message: bytes) -> bytes:
    """Compressed, with BFINAL in its last block."""
    return zlib.compress(message, wbits=-15)


@pytest.mark.parametrize("at_once", [1, 2, 7, 1 << 16])
def test_what_follows_a_last_block_in_its_message_is_part_of_it(at_once: int) -> None:
    """Else whoever inflates on, as browsers do, is told what nobody has looked at."""
    inflater = Inflater(15, takeover=True)
    data = ending(b"one ") + ending(b"two " * 2000) + compressed(b"three", compressor())
    assert inflated(inflater, data, at_once=at_once) == b"one " + b"two " * 2000 + b"three"
    assert inflated(inflater, compressed(b"four", compressor()), at_once=at_once) == b"four"
    assert not inflater.pending


def test_what_waits_behind_a_last_block_is_forgotten_with_its_message() -> None:
    inflater = Inflater(15, takeover=False)
    inflater.start_message()
    data = ending(b"one") + ending(b"two")
    assert inflater.inflate(data, 3) == b"one"
    assert inflater.pending == ending(b"two")
    assert inflated(inflater, compressed(b"three", compressor())) == b"three"


def test_octets_behind_a_last_block_are_not_put_aside() -> None:
    inflater = Inflater(15, takeover=True)
    inflater.start_message()
    inflater.inflate(ending(b"one"), 100)
    empty = b"\x00\x00\x00\xff\xff" * 10_000  # stored blocks without octets
    tracemalloc.start()
    for _ in range(100):
        assert inflater.inflate(empty, 100) == b""
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 18
