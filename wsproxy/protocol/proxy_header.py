"""The PROXY protocol, versions 1 and 2: a balancer says ahead of everything whose connection it passes on.

Theory of operation.  The header is the first thing on a connection (haproxy's
proxy-protocol.txt, §2).  Version 1 is one line of text, version 2 a binary head with a
length, so it is known from the first octets on which of the two it will be, if any; what can
be neither is refused at once.  Extensions (TLVs) of version 2 are passed over, but for the
checksum: with a wrong one "the receiver MUST treat the TCP connection providing the header as
invalid" (§2.2.3).

Nothing here asks whether the sender may be believed: `wsproxy.proxy.arrive` does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from wsproxy.model import Peer

__all__ = ["MAX_HEADER_BYTES", "ProxyHeader", "ProxyHeaderError", "parse_proxy_header"]

MAX_HEADER_BYTES: Final = 16 * 1024
"""Of version 2, extensions included; a client's certificate is the largest of those that are sent."""
_MAX_LINE_BYTES: Final = 107
"""§2.1: the longest line of version 1, CRLF included."""

_LINE: Final = b"PROXY "
_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_HEAD_BYTES: Final = 16
_V1_ADDRESSES = re.compile(
    rb"PROXY (?:(TCP4) ([0-9.]{7,15}) ([0-9.]{7,15})|(TCP6) ([0-9A-Fa-f:.]{2,39}) ([0-9A-Fa-f:.]{2,39}))"
    rb" (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\r\n"
)
_V1_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")

_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6, _UNIX, _UNSPECIFIED = 0x11, 0x21, 0x31, 0x00
_ADDRESS_BYTES: Final = {_TCP4: 12, _TCP6: 36, _UNIX: 216, _UNSPECIFIED: 0}
_CRC32C: Final = 0x03
"""PP2_TYPE_CRC32C, the only extension that is read."""


class ProxyHeaderError(ValueError):
    """These octets never become a PROXY header; its one argument is a sentence that says why."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A header, whole.

    Attributes:
        source: whose connection it is, as written: an IPv4 client may be in IPv6 dress. None:
            the sender's own, or nobody can say.
        size: octets it took.
    """

    source: Peer | None
    size: int


def parse_proxy_header(data: bytes) -> ProxyHeader | None:
    """The header that `data` begins with; None: more is needed.

    Args:
        data: all that was received so far; what follows the header is not looked at.

    Raises:
        ProxyHeaderError: whatever follows, this never becomes a header.
    """
    if data.startswith(_SIGNATURE):
        return _read_binary(data)
    if data.startswith(_LINE):
        return _read_line(data)
    if _SIGNATURE.startswith(data) or _LINE.startswith(data):
        return None
    raise ProxyHeaderError("this is no PROXY header")


def _read_line(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, _MAX_LINE_BYTES)
    if end < 0:
        if len(data) >= _MAX_LINE_BYTES:
            raise ProxyHeaderError("the PROXY line is too long")
        return None
    line = data[: end + 2]
    if _V1_UNKNOWN.fullmatch(line):
        return ProxyHeader(None, len(line))
    found = _V1_ADDRESSES.fullmatch(line)
    if found is None:
        raise ProxyHeaderError("the PROXY line is malformed")
    kind: type[IPv4Address | IPv6Address] = IPv4Address if found[1] else IPv6Address
    try:
        source = kind((found[2] or found[5]).decode("ascii"))
        kind((found[3] or found[6]).decode("ascii"))
    except ValueError:
        raise ProxyHeaderError("the PROXY line has an address that is none") from None
    if max(int(found[7]), int(found[8])) > 65535:
        raise ProxyHeaderError("the PROXY line has a port that is none")
    return ProxyHeader(Peer(source, int(found[7])), len(line))


def _read_binary(data: bytes) -> ProxyHeader | None:
    if len(data) < _HEAD_BYTES:
        return None
    command, family = data[12], data[13]
    length = int.from_bytes(data[14:16], "big")
    size = _HEAD_BYTES + length
    if command not in (_LOCAL, _PROXY):
        raise ProxyHeaderError("the PROXY header has a version or a command that is not known")
    if size > MAX_HEADER_BYTES:
        raise ProxyHeaderError("the PROXY header is too long")
    if command == _PROXY and _ADDRESS_BYTES.get(family, size) > length:
        raise ProxyHeaderError("the PROXY header is of no stream, or too short for its addresses")
    if len(data) < size:
        return None
    if command == _LOCAL:
        return ProxyHeader(None, size)  # §2.2: "discard the protocol block including the family"
    header = data[:size]
    _check_extensions(header, _HEAD_BYTES + _ADDRESS_BYTES[family])
    return ProxyHeader(_source(header, family), size)


def _source(header: bytes, family: int) -> Peer | None:
    """Who is named; families that are not the Internet's name nobody we could know."""
    match family:
        case 0x11:
            return Peer(IPv4Address(header[16:20]), int.from_bytes(header[24:26], "big"))
        case 0x21:
            return Peer(IPv6Address(header[16:32]), int.from_bytes(header[48:50], "big"))
    return None


def _check_extensions(header: bytes, at: int) -> None:
    """Walks over the TLVs from `at` to the end (§2.2)."""
    checked = False
    while at < len(header):
        begin, size = at + 3, int.from_bytes(header[at + 1 : at + 3], "big")
        end = begin + size
        if begin > len(header) or end > len(header):
            raise ProxyHeaderError("an extension of the PROXY header does not end where it does")
        if header[at] == _CRC32C:
            if checked:  # each costs as much as the header is long
                raise ProxyHeaderError("the PROXY header has more than one checksum")
            checked = True
            without = header[:begin] + bytes(size) + header[end:]
            if size != 4 or int.from_bytes(header[begin:end], "big") != _crc32c(without):
                raise ProxyHeaderError("the checksum of the PROXY header is wrong")
        at = end


def _crc32c_of(octet: int) -> int:
    for _ in range(8):
        octet = octet >> 1 ^ (0x82F63B78 if octet & 1 else 0)
    return octet


_CRC32C_TABLE: Final = tuple(map(_crc32c_of, range(256)))


def _crc32c(data: bytes) -> int:
    """CRC-32C (RFC 9260, appendix A); `zlib` has only the other polynomial."""
    crc = 0xFFFFFFFF
    for octet in data:
        crc = crc >> 8 ^ _CRC32C_TABLE[(crc ^ octet) & 0xFF]
    return crc ^ 0xFFFFFFFF
