"""The ClientHello of TLS: what a client says before anything is encrypted (RFC 8446 §4.1.2).

Theory of operation.  A ClientHello is one handshake message in as many records as its sender
likes (§5.1), and TCP cuts those anywhere.  So whenever there is more, the payloads of the records
that are there are joined, and the message is read as far as it goes, in linear time.

A length is held against what encloses it from its first octet on, so what can never become a
ClientHello is refused at once; only a server name's characters wait for the whole name.  What two
implementations could read in two ways is refused too: policy has to see the server's name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, Literal

__all__ = ["MAX_HELLO_BYTES", "ClientHello", "ClientHelloError", "classify", "parse_client_hello"]

MAX_HELLO_BYTES: Final = 64 * 1024
"""Of the handshake message without its header.  In records of one octet that is six times as much
on the wire: who collects them needs a bound as well."""
_ANY: Final = range(1 << 16)
_SOME: Final = range(1, 1 << 16)

_UNREADABLE: Final = "the server name cannot be read"
_HOST_NAME = re.compile(rb"[0-9A-Za-z._-]++")
_METHOD = re.compile(rb"[A-Z]{1,20}+")
_SOCKS = re.compile(rb"\x04[\x01\x02]|\x05[\x01-\xff]")  # CONNECT or BIND; RFC 1928 §3: NMETHODS
_PREFACE: Final = b"PRI * HTTP/2.0"  # RFC 9113 §3.4


class ClientHelloError(ValueError):
    """These octets never become a ClientHello; its one argument is a sentence that says why."""


class _Incomplete(Exception):
    """What is asked for has not arrived yet."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a ClientHello tells whoever passes it on.

    Attributes:
        server_name: the host_name of SNI (RFC 6066 §3) in lower case, without one dot at its end:
            letters, digits, ``-``, ``_``, ``.`` in any order, so it may be an IPv4 address.
            None without the extension.
        alpn: protocols offered, in the client's order, each octet one character (RFC 7301 §3.1);
            empty without the extension.
        versions: of supported_versions, in the client's order, without GREASE (RFC 8446 §4.2.1,
            RFC 8701 §2); without the extension legacy_version alone.
        encrypted: it has an encrypted_client_hello of type outer (RFC 9849 §5), so `server_name`
            may not be where the client goes; one that holds nothing (§6.2) looks the same.
    """

    server_name: str | None
    alpn: tuple[str, ...]
    versions: tuple[int, ...]
    encrypted: bool


def parse_client_hello(data: bytes) -> ClientHello | None:
    """The ClientHello that `data` begins with (RFC 8446 §4.1.2, §5.1); None: more is needed.

    Args:
        data: all the client has sent so far; what follows the ClientHello is not looked at.

    Raises:
        ClientHelloError: whatever follows, this never becomes a well-formed ClientHello of at
            most `MAX_HELLO_BYTES` whose server name can be read.
    """
    try:
        return _read_hello(_join_records(data))
    except _Incomplete:
        return None


def classify(data: bytes) -> Literal["tls", "http", "socks", "ssh", "other"] | None:
    """What `data`, all a client has sent so far, begins; None while that is open; never raises.

    "tls" is said from the first octet on, and taken back when the second or third is not of a
    record (RFC 8446 §5.1); every other answer stands.  "http" is a method and a space (RFC 9112
    §3), "ssh" a version string (RFC 4253 §4.2); HTTP/2's preface and SSLv2 are "other".
    """
    if data in (b"", b"\x04", b"\x05"):
        return None
    if data[0] == 22:
        return "tls" if data[1:2] in (b"", b"\x03") and data[2:3] <= b"\x04" else "other"
    if _SOCKS.match(data):
        return "socks"
    if data.startswith(b"SSH-"):
        return "ssh"
    method = _METHOD.match(data)
    if method is None or data.startswith(_PREFACE):
        return "other"
    if method.end() == len(data) or _PREFACE.startswith(data):
        return None
    return "http" if data[method.end()] == 0x20 else "other"


def _join_records(data: bytes) -> _Part:
    """The message from behind its header, as far as it is there; also part of what follows it."""
    message, end, at = bytearray(), None, 0
    while at < len(data) and (end is None or len(message) < end):
        header = data[at : at + 5]
        if header[0] != 22 or header[1:2] not in (b"", b"\x03"):
            raise ClientHelloError("the record is not of a TLS handshake")
        size = int.from_bytes(header[3:].ljust(2, b"\0"), "big")
        # RFC 8446 §5.1: at most 2^14, and no "zero-length fragments of Handshake types".
        if size > 1 << 14 or (len(header) == 5 and not size):
            raise ClientHelloError("the record is empty or longer than 16384 octets")
        message += data[at + 5 : at + 5 + size]
        at += 5 + size
        if end is not None:
            continue
        if message and message[0] != 1:
            raise ClientHelloError("the handshake message is not a ClientHello")
        size = int.from_bytes(message[1:4].ljust(3, b"\0"), "big")
        if size > MAX_HELLO_BYTES:
            raise ClientHelloError(f"the ClientHello is longer than {MAX_HELLO_BYTES} octets")
        end = 4 + size if len(message) >= 4 else None
    if end is None:
        raise _Incomplete
    return _Part("the ClientHello", message, 4, end)


@dataclass(slots=True)
class _Part:
    """A part of the message, read from `at` to `end`, which may be beyond what is there."""

    what: str
    data: bytearray
    at: int
    end: int

    def skip(self, count: int) -> int:
        """Goes past octets that need not be there yet, returns where they begin."""
        start = self.at
        if start + count > self.end:
            raise ClientHelloError(f"{self.what} ends too early")
        self.at += count
        return start

    def number(self, width: int, *, most: int = 0xFFFF, excess: str = "") -> int:
        """A number of `width` octets; the first ones suffice to refuse one beyond `most`."""
        start = self.skip(width)
        octets = self.data[start : start + width]
        value = int.from_bytes(octets.ljust(width, b"\0"), "big")
        if value > most:
            raise ClientHelloError(excess)
        if len(octets) < width:
            raise _Incomplete
        return value

    def vector(self, what: str, width: int, sizes: range = _ANY) -> _Part:
        """Goes past a vector with a length of `width` octets; it need not be there yet."""
        most = min(sizes[-1], max(0, self.end - self.at - width))
        size = self.number(width, most=most, excess=f"{what} is too long")
        if size not in sizes:
            raise ClientHelloError(f"{what} has a length that it cannot have")
        return _Part(what, self.data, self.skip(size), self.at)

    def rest(self) -> bytes:
        """All that is left, which has to be there."""
        octets = bytes(self.data[self.at : self.end])
        if len(octets) < self.end - self.at:
            raise _Incomplete
        return octets

    def finish(self) -> None:
        """Refuses octets behind those that were read."""
        if self.at != self.end:
            raise ClientHelloError(f"octets follow in {self.what}")


def _read_hello(body: _Part) -> ClientHello:
    """RFC 8446 §4.1.2; without extensions RFC 5246 §7.4.1.2."""
    hello = ClientHello(None, (), (body.number(2),), encrypted=False)
    seen = set()
    body.skip(32)  # random
    body.vector("the session id", 1, range(33))
    body.vector("the list of cipher suites", 2, range(2, 1 << 16, 2))
    body.vector("the list of compression methods", 1, _SOME)
    extensions = body if body.at == body.end else body.vector("the list of extensions", 2)
    body.finish()
    while extensions.at < extensions.end:
        kind = extensions.number(2)
        if kind in seen:
            raise ClientHelloError(f"extension {kind:#06x} comes twice")  # RFC 8446 §4.2
        seen.add(kind)
        content = extensions.vector(f"extension {kind:#06x}", 2)
        match kind:
            case 0:
                hello = replace(hello, server_name=_read_server_name(content))
            case 16:
                hello = replace(hello, alpn=_read_alpn(content))
            case 43:
                hello = replace(hello, versions=_read_versions(content))
            case 0xFE0D:
                hello = replace(hello, encrypted=_read_is_outer(content))
    if len(body.data) < body.end:
        raise _Incomplete
    return hello


def _read_server_name(content: _Part) -> str:
    """RFC 6066 §3; names of other types, none of which is defined, are passed over."""
    found = None
    names = content.vector("the list of server names", 2, _SOME)
    content.finish()
    while names.at < names.end:
        is_host_name = names.number(1) == 0
        if is_host_name and found is not None:
            raise ClientHelloError(_UNREADABLE)
        name = names.vector("a server name", 2)
        if is_host_name:
            found = name.rest()
    if found is None or not _HOST_NAME.fullmatch(found) or found == b".":
        raise ClientHelloError(_UNREADABLE)
    return found.decode().lower().removesuffix(".")


def _read_alpn(content: _Part) -> tuple[str, ...]:
    """RFC 7301 §3.1: "Empty strings MUST NOT be included"."""
    names = content.vector("the list of protocols", 2, _SOME)
    content.finish()
    found = []
    while names.at < names.end:
        found.append(names.vector("a protocol's name", 1, _SOME).rest().decode("latin-1"))
    return tuple(found)


def _read_versions(content: _Part) -> tuple[int, ...]:
    """RFC 8446 §4.2.1, without what RFC 8701 §2 reserves: 0x0A0A, 0x1A1A … 0xFAFA."""
    versions = content.vector("the list of versions", 1, range(2, 255, 2))
    content.finish()
    found = [versions.number(2) for _ in range(versions.at, versions.end, 2)]
    return tuple(each for each in found if each & 0xF0F != 0xA0A or each >> 8 != each & 0xFF)


def _read_is_outer(content: _Part) -> bool:
    """RFC 9849 §5; any other type is an "illegal_parameter" (§7)."""
    is_outer = content.number(1, most=1, excess="extension 0xfe0d is of no known type") == 0
    if is_outer:
        content.skip(5)  # cipher_suite, config_id
        content.vector("the encapsulated key", 2)
        content.vector("the encrypted ClientHello", 2, _SOME)
    content.finish()
    return is_outer
