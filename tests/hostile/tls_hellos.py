"""First octets of a tunnel that somebody looks at: ClientHellos by hand, and what is none."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CASES", "HelloCase", "hello", "message", "padding", "records"]

_HALF = 60


def _vector(width: int, data: bytes) -> bytes:
    return len(data).to_bytes(width, "big") + data


def _extension(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(2, "big") + _vector(2, data)


def server_name(*names: bytes) -> bytes:
    """The extension, with as many host_names as there are."""
    return _extension(0, _vector(2, b"".join(b"\0" + _vector(2, name) for name in names)))


def alpn(*names: bytes) -> bytes:
    """The extension."""
    return _extension(16, _vector(2, b"".join(_vector(1, name) for name in names)))


_GREASE_ECH = _extension(
    0xFE0D, b"\0\0\x01\0\x01\x07" + _vector(2, bytes(32)) + _vector(2, bytes(range(128)))
)
_TLS_1_3 = _extension(43, b"\x04\x03\x04\x03\x03")
_GROUPS = _extension(10, _vector(2, b"\0\x1d\0\x17"))
_SIGNATURES = _extension(13, _vector(2, b"\x04\x03\x08\x04\x04\x01"))
_X25519 = bytes((9, *bytes(31)))  # the base point: as good a share as any
_SHARE = _extension(51, _vector(2, b"\0\x1d" + _vector(2, _X25519)))
_FORMATS = _extension(11, b"\x01\0")


def message(*extensions: bytes, version: bytes = b"\x03\x03") -> bytes:
    """A ClientHello that an ordinary server answers."""
    suites = b"\x13\x01\xc0\x2b\xc0\x2f" if version == b"\x03\x03" else b"\xc0\x09\xc0\x13\x00\x2f"
    common = [_GROUPS, _FORMATS]
    if version == b"\x03\x03":
        common += [_SIGNATURES, _TLS_1_3, _SHARE]
    body = version + bytes(range(32)) + _vector(1, bytes(32)) + _vector(2, suites) + b"\x01\0"
    return b"\x01" + _vector(3, body + _vector(2, b"".join([*common, *extensions])))


def records(octets: bytes, size: int = 1 << 14) -> bytes:
    """`octets` in handshake records of `size`."""
    pieces = [octets[n : n + size] for n in range(0, len(octets), size)]
    return b"".join(b"\x16\x03\x01" + _vector(2, piece) for piece in pieces)


def hello(*extensions: bytes) -> bytes:
    """A ClientHello in one record where it fits."""
    return records(message(*extensions))


@dataclass(frozen=True, slots=True)
class HelloCase:
    """First octets, and what becomes of their tunnel.

    An outcome is ``tls`` (the proxy answers the ClientHello itself), ``alert``, ``relayed``
    (verbatim, both ways), ``closed`` (without an octet) or ``page`` (of HTTP).

    Attributes:
        name: of the case.
        send: in pieces.
        intercept, always: with rules that say so.
        no_tls: with a rule that denies ``sniff: [tls]``.
        only_tls: with a rule that denies everything else.
        eof: whether the client ends its side behind it.
        rule: what an ``always`` refusal is recorded with.
    """

    name: str
    send: tuple[bytes, ...]
    intercept: str
    always: str
    no_tls: str
    only_tls: str
    eof: bool = False
    rule: str = "not-tls"


def _other(name: str, *send: bytes, eof: bool = False) -> HelloCase:
    """Nothing that anybody knows: relayed, unless the rule knows no exception."""
    # What began like TLS may be TLS yet: who denies that means it.
    no_tls = "closed" if b"".join(send).startswith(b"\x16") else "relayed"
    return HelloCase(name, send, "relayed", "closed", no_tls, "closed", eof)


def _tls(name: str, *send: bytes) -> HelloCase:
    return HelloCase(name, send, "tls", "tls", "alert", "relayed")


def _by_octet(data: bytes) -> tuple[bytes, ...]:
    return tuple(data[n : n + 1] for n in range(len(data)))


def padding(size: int) -> bytes:
    """The extension (RFC 7685)."""
    return _extension(21, bytes(size))


def _padded(size: int) -> bytes:
    return records(message(padding(size)))


_HELLO = hello()
_ENDLESS = b"\x01\xff\xff\xff" + bytes(200 * 1024)
_WEBSOCKET = (
    b"GET / HTTP/1.1\r\nHost: @O@\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_SSL_2 = b"\x80\x2b\x01\x03\x01\x00\x12\x00\x00\x00\x10" + bytes(34)

CASES = [
    _tls("a good one", _HELLO),
    _tls("octet by octet", *_by_octet(_HELLO)),
    _tls("1400 octets, octet by octet", *_by_octet(_padded(1100))),
    _tls("2 KiB in records of one octet", records(message(padding(1800)), 1)),
    _tls("records of one octet", records(message(), 1)),
    _tls("records of one octet, octet by octet", *_by_octet(records(message(), 1)[:1200]),
         records(message(), 1)[1200:]),
    _tls("ECH GREASE", hello(_GREASE_ECH)),
    _tls("its server name is the address", hello(server_name(b"@ADDRESS@@@"))),
    _tls("60 KiB", _padded(60 * 1024)),
    _tls("both protocols", hello(alpn(b"h2", b"http/1.1"))),
    HelloCase(
        "TLS 1.0", (records(message(version=b"\x03\x01")),), "alert", "alert", "alert", "relayed"
    ),
    HelloCase(
        "only h2", (hello(alpn(b"h2")),), "relayed", "alert", "alert", "relayed", rule="alpn"
    ),
    HelloCase(
        "another server's name",
        (hello(server_name(b"other.example")),),
        "alert", "alert", "alert", "alert", rule="sni-mismatch",
    ),
    HelloCase(
        "another server's name, dotted", (hello(server_name(b"other.example.")),),
        "alert", "alert", "alert", "alert", rule="sni-mismatch",
    ),
    _other("two server names", hello(server_name(b"one.example", b"two.example"))),
    _other("two extensions of server names", hello(server_name(b"a"), server_name(b"b"))),
    _other("a server name with NUL", hello(server_name(b"127.0.0.1\0.example"))),
    _other("an empty server name", hello(server_name(b""))),
    _other("garbage behind 0x16", b"\x16" + b"garbage" * 9),
    _other("garbage behind the record header", b"\x16\x03\x01\x00\x40" + b"garbage." * 8),
    _other("an empty record first", b"\x16\x03\x01\x00\x00" + _HELLO),
    _other("an alert first", b"\x15\x03\x01\x00\x02\x01\x00" + _HELLO),
    _other("application data first", b"\x17\x03\x03\x00\x10" + bytes(16) + _HELLO),
    _other("a ServerHello", b"\x16\x03\x03\x00\x04\x02\x00\x00\x00"),
    _other("a record of 16385 octets", b"\x16\x03\x01\x40\x01" + bytes(16385)),
    _other("half of one, then silence", _HELLO[:_HALF]),
    _other("one octet, then silence", b"\x16"),
    _other("half of one, then FIN", _HELLO[:_HALF], eof=True),
    _other("one octet, then FIN", b"\x16", eof=True),
    _other("nothing but FIN", eof=True),
    _other("endless", records(_ENDLESS)),
    _other("SSL 2.0", _SSL_2),
    _other("SSH", b"SSH-2.0-OpenSSH_9.6\r\n"),
    _other("SOCKS 5", b"\x05\x01\x00"),
    _other("SOCKS 4", b"\x04\x01\x00\x50\x7f\x00\x00\x01x\x00"),
    _other("zeros", bytes(600)),
    _other("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    _other("half a method, then silence", b"GE"),
    _other("half a head, then silence", b"GET / HTTP/1.1\r\nHost: x"),
    _other("a head that is none", b"GET / HTTP/9.9\r\nHost: x\r\n\r\n"),
    HelloCase(
        "HTTP", (b"GET / HTTP/1.1\r\nHost: @O@\r\n\r\n",), "relayed", "relayed", "relayed", "page"
    ),
    HelloCase("WebSocket", (_WEBSOCKET,), "relayed", "relayed", "relayed", "page"),
]  # fmt: skip
