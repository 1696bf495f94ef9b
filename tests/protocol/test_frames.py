"""Frames: headers, masks, and the body of a Close."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.protocol.frames import (
    OPCODE_NAMES,
    FrameError,
    FrameHeader,
    Opcode,
    encode_close,
    encode_frame,
    parse_close,
    parse_header,
    unmask,
)

KEY = b"\x37\xfa\x21\x3d"


@pytest.mark.parametrize(
    ("octets", "header"),
    [
        (b"\x81\x05Hello", FrameHeader(True, 0, 1, 5, b"", 2)),
        (b"\x81\x85\x37\xfa\x21\x3d\x7f", FrameHeader(True, 0, 1, 5, KEY, 6)),
        (b"\x01\x03Hel", FrameHeader(False, 0, 1, 3, b"", 2)),
        (b"\x80\x00", FrameHeader(True, 0, 0, 0, b"", 2)),
        (b"\xf2\x7d", FrameHeader(True, 7, 2, 125, b"", 2)),
        (b"\x82\x7e\x01\x00", FrameHeader(True, 0, 2, 256, b"", 4)),
        (b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", FrameHeader(True, 0, 2, 65536, b"", 10)),
        (b"\x82\xff\x7f" + b"\xff" * 7 + KEY, FrameHeader(True, 0, 2, (1 << 63) - 1, KEY, 14)),
    ],
)
def test_a_header_is_read_whole_in_parts_and_behind_others(
    octets: bytes, header: FrameHeader
) -> None:
    """The first four are the examples of RFC 6455 §5.7."""
    assert parse_header(octets) == header
    assert parse_header(b"ab" + octets + b"more", 2) == header
    for size in range(header.size):
        assert parse_header(octets[:size]) is None


@pytest.mark.parametrize(
    ("octets", "detail"),
    [
        (b"\x82\x7e\x00\x7d", "fewest octets"),
        (b"\x82\x7f" + (65535).to_bytes(8, "big"), "fewest octets"),
        (b"\x82\x7f\x80" + bytes(7), "most significant bit"),
    ],
)
def test_a_length_that_is_oddly_written_is_refused(octets: bytes, detail: str) -> None:
    with pytest.raises(FrameError, match=detail) as caught:
        parse_header(octets)
    assert caught.value.code == 1002
    assert parse_header(octets[:-1]) is None


@given(st.binary(max_size=5000), st.binary(min_size=4, max_size=4), st.integers(0, 9))
def test_unmasking_is_what_the_rfc_says(payload: bytes, key: bytes, offset: int) -> None:
    """RFC 6455 §5.3: "transformed-octet-i = original-octet-i XOR masking-key-octet-j"."""
    masked = unmask(payload, key, offset)
    assert masked == bytes(octet ^ key[(i + offset) % 4] for i, octet in enumerate(payload))
    assert unmask(memoryview(masked), key, offset) == payload


@pytest.mark.parametrize("size", [0, 1, 125, 126, 2047, 2048, 2049, 65535, 65536, 70001])
@pytest.mark.parametrize("key", [b"", KEY])
def test_what_is_encoded_can_be_read(size: int, key: bytes) -> None:
    payload = bytes(range(256)) * 300
    frame = encode_frame(Opcode.BINARY, payload[:size], fin=False, rsv=5, key=key)
    header = parse_header(frame)
    assert header is not None
    assert header[:5] == (False, 5, 2, size, key)
    body = frame[header.size :]
    assert (unmask(body, key) if key else body) == payload[:size]


def test_the_masked_hello_of_the_rfc() -> None:
    assert encode_frame(Opcode.TEXT, b"Hello", key=KEY) == bytes.fromhex("818537fa213d7f9f4d5158")


@pytest.mark.parametrize(
    ("payload", "parsed"),
    [
        (b"", (None, "")),
        (b"\x03\xe8", (1000, "")),
        (b"\x03\xf0no \xe2\x82\xac", (1008, "no €")),
        (b"\x0b\xb8", (3000, "")),
        (b"\x13\x87", (4999, "")),
    ],
)
def test_the_body_of_a_close(payload: bytes, parsed: tuple[int | None, str]) -> None:
    assert parse_close(payload) == parsed


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"\x03", 1002),
        *[(code.to_bytes(2, "big"), 1002) for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000)],
        (b"\x03\xe8\xff", 1007),
        (b"\x03\xe8\xe2\x82", 1007),
    ],
)
def test_a_close_that_may_not_be_sent(payload: bytes, code: int) -> None:
    with pytest.raises(FrameError) as caught:
        parse_close(payload)
    assert caught.value.code == code
    assert caught.value.detail


def test_a_reason_is_cut_between_characters() -> None:
    frame = encode_close(1008, "€" * 60)
    assert frame[1] == 2 + 41 * 3
    assert parse_close(frame[2:]) == (1008, "€" * 41)
    masked = encode_close(1000, "bye", key=KEY)
    assert parse_close(unmask(masked[6:], KEY)) == (1000, "bye")


def test_opcodes_have_names() -> None:
    assert OPCODE_NAMES[8] == "close"
    assert set(OPCODE_NAMES.values()) == {"continuation", "text", "binary", "close", "ping", "pong"}
