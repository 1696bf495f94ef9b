"""PROXY headers: what is one, what may yet become one, and what never will."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.model import Peer
from wsproxy.protocol.proxy_header import (
    MAX_HEADER_BYTES,
    ProxyHeader,
    ProxyHeaderError,
    _crc32c,
    parse_proxy_header,
)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
REST = b"GET http://example.com/ HTTP/1.1\r\n"
ADDRESSES_V4 = bytes((192, 0, 2, 7, 198, 51, 100, 1)) + b"\x30\x39\x01\xbb"
ADDRESSES_V6 = ip_address("2001:db8::7").packed + ip_address("2001:db8::1").packed + b"\0\x07\0\x01"


def binary(
    addresses: bytes = ADDRESSES_V4,
    extensions: bytes = b"",
    *,
    command: int = 0x21,
    family: int = 0x11,
) -> bytes:
    """A header of version 2."""
    block = addresses + extensions
    return SIGNATURE + bytes((command, family)) + len(block).to_bytes(2, "big") + block


def extension(kind: int, value: bytes) -> bytes:
    return bytes((kind,)) + len(value).to_bytes(2, "big") + value


def with_checksum(*others: bytes, flip: int = 0) -> bytes:
    """A header with a CRC32C in the middle of its extensions."""
    before, after = b"".join(others[:1]), b"".join(others[1:])
    zeroed = binary(extensions=before + extension(3, bytes(4)) + after)
    checksum = _crc32c(zeroed) ^ flip
    return binary(extensions=before + extension(3, checksum.to_bytes(4, "big")) + after)


def peer(address: str, port: int) -> Peer:
    return Peer(ip_address(address), port)


GOOD = [
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 443\r\n", peer("192.0.2.7", 12345)),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", peer("255.255.255.255", 65535)),
    (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", peer("0.0.0.0", 0)),
    (b"PROXY TCP6 2001:DB8::7 ::1 7 1\r\n", peer("2001:db8::7", 7)),
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 7 1\r\n", peer("::ffff:192.0.2.7", 7)),
    (b"PROXY TCP6 " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n", peer("ffff:" * 7 + "ffff", 65535)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n", None),
    (binary(), peer("192.0.2.7", 12345)),
    (binary(ADDRESSES_V6, family=0x21), peer("2001:db8::7", 7)),
    (binary(bytes(216), family=0x31), None),
    (binary(b"", family=0x00), None),
    (binary(b"", extension(4, b""), family=0x00), None),
    (binary(b"", command=0x20, family=0x00), None),
    (binary(b"anything at all", command=0x20, family=0x7F), None),
    (binary(extensions=extension(1, b"http/1.1") + extension(0xEE, bytes(2000))), peer("192.0.2.7", 12345)),
    (with_checksum(), peer("192.0.2.7", 12345)),
    (with_checksum(extension(2, b"proxy.test"), extension(4, bytes(9))), peer("192.0.2.7", 12345)),
]  # fmt: skip

BAD = [
    (REST, "this is no PROXY header"),
    (b"PROXY\r\n", "this is no PROXY header"),
    (b"proxy TCP4", "this is no PROXY header"),
    (b"\x16\x03\x01\x02\x00", "this is no PROXY header"),
    (b"\r\n\r\n\0\r\nQUIT\r", "this is no PROXY header"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n", None),
    (b"PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n", "the PROXY line is malformed"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n", "the PROXY line is malformed"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n", "the PROXY line is malformed"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 2\r\n", "the PROXY line is malformed"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n", "the PROXY line is malformed"),
    (b"PROXY TCP5 192.0.2.7 198.51.100.1 1 2\r\n", "the PROXY line is malformed"),
    (b"PROXY UNKNOWNS\r\n", "the PROXY line is malformed"),
    (b"PROXY UNKNOWN a\rb\r\n", "the PROXY line is malformed"),
    (b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", "the PROXY line is malformed"),
    (b"PROXY TCP4 192.0.2.07 198.51.100.1 1 2\r\n", "the PROXY line has an address that is none"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.256 1 2\r\n", "the PROXY line has an address that is none"),
    (b"PROXY TCP6 192.0.2.7 ::1 1 2\r\n", "the PROXY line has an address that is none"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n", "the PROXY line has a port that is none"),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 1 99999\r\n", "the PROXY line has a port that is none"),
    (b"PROXY UNKNOWN " + bytes(93), "the PROXY line is too long"),
    (b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", "the PROXY line is too long"),
    (binary(command=0x22), "a version or a command"),
    (binary(command=0x11), "a version or a command"),
    (binary(command=0x31), "a version or a command"),
    (binary(family=0x12), "of no stream"),
    (binary(family=0x01), "of no stream"),
    (binary(family=0x41), "of no stream"),
    (binary(bytes(11)), "too short for its addresses"),
    (binary(ADDRESSES_V6[:-1], family=0x21), "too short for its addresses"),
    (binary(bytes(215), family=0x31), "too short for its addresses"),
    (binary(bytes(MAX_HEADER_BYTES - 15)), "too long"),
    (binary(extensions=b"\x01"), "does not end where it does"),
    (binary(extensions=b"\x01\x00\x02a"), "does not end where it does"),
    (with_checksum(flip=1), "the checksum of the PROXY header is wrong"),
    (binary(extensions=extension(3, bytes(5))), "the checksum of the PROXY header is wrong"),
    (binary(extensions=extension(3, b"")), "the checksum of the PROXY header is wrong"),
]  # fmt: skip


@pytest.mark.parametrize(("header", "source"), GOOD)
def test_a_header_names_the_client_and_says_where_it_ends(
    header: bytes, source: Peer | None
) -> None:
    for cut in range(len(header)):
        assert parse_proxy_header(header[:cut]) is None
    assert parse_proxy_header(header) == ProxyHeader(source, len(header))
    assert parse_proxy_header(header + REST) == ProxyHeader(source, len(header))


@pytest.mark.parametrize(("octets", "sentence"), BAD)
def test_what_never_becomes_a_header_is_refused(octets: bytes, sentence: str | None) -> None:
    if sentence is None:
        assert parse_proxy_header(octets) is None
        return
    with pytest.raises(ProxyHeaderError, match=sentence):
        parse_proxy_header(octets)


def test_only_one_checksum_is_calculated() -> None:
    once = with_checksum()[-7:]
    with pytest.raises(ProxyHeaderError):
        parse_proxy_header(binary(extensions=once + once))
    # The first is right, so that it is the second which is refused.
    second = extension(3, bytes(4))
    zeroed = binary(extensions=extension(3, bytes(4)) + second)
    first = extension(3, _crc32c(zeroed).to_bytes(4, "big"))
    with pytest.raises(ProxyHeaderError, match="more than one checksum"):
        parse_proxy_header(binary(extensions=first + second))


def test_the_checksum_is_that_of_the_standard() -> None:
    # RFC 3720, appendix B.4; and the check value that every catalogue of CRCs has.
    assert _crc32c(bytes(32)) == 0x8A9136AA
    assert _crc32c(b"\xff" * 32) == 0x62A8AB43
    assert _crc32c(b"123456789") == 0xE3069283


@given(st.ip_addresses(), st.integers(0, 65535))
def test_both_versions_say_the_same(address: object, port: int) -> None:
    source = ip_address(str(address))
    kind, family = ("TCP4", 0x11) if source.version == 4 else ("TCP6", 0x21)
    line = f"PROXY {kind} {source} {source} {port} {port}\r\n".encode()
    block = source.packed * 2 + port.to_bytes(2, "big") * 2
    expected = Peer(source, port)
    for header in (line, binary(block, family=family)):
        assert parse_proxy_header(header) == ProxyHeader(expected, len(header))


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", SIGNATURE, SIGNATURE + b"!\x11"]))
def test_any_octets_are_a_header_or_not_and_the_answer_stands(tail: bytes, head: bytes) -> None:
    octets, answer = head + tail, None
    for cut in range(len(octets) + 1):
        try:
            found: object = parse_proxy_header(octets[:cut])
        except ProxyHeaderError:
            found = ProxyHeaderError
        assert answer is None or found == answer
        answer = found
