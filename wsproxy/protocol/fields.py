"""Which header fields cross the proxy, and which end here (RFC 9110 §7.6)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from wsproxy.model import Body, BodyKind, Headers, ProxyRequest
from wsproxy.protocol.head import Refuse

__all__ = [
    "authenticates_connection",
    "content_length",
    "end_to_end",
    "framing",
    "has_token",
    "loops",
    "max_forwards",
    "safe_trailers",
    "to_upstream",
    "transfer_codings",
    "values",
]

# RFC 9110 §7.6.1 and §11.7; Proxy-Connection and HTTP2-Settings are older and
# newer relatives.  Proxy-Authenticate from an origin would ask the client for
# the credentials it has for us; Proxy-Support (RFC 4559 §6) is for each proxy to say.
_HOP_BY_HOP = frozenset(
    b"connection proxy-connection keep-alive te transfer-encoding upgrade http2-settings"
    b" proxy-authorization proxy-authenticate proxy-authentication-info"
    b" proxy-authentication-control proxy-support".split()
)
# Fields a `Connection` field may name but not remove: those that route, frame
# or pace the message, and those of a handshake that was just vetted.
_PROTECTED = frozenset(
    b"host content-length via date expect sec-websocket-key sec-websocket-version"
    b" sec-websocket-accept sec-websocket-protocol sec-websocket-extensions".split()
)
# RFC 9110 §6.5.1: fields that frame, route, authenticate, modify the request,
# control the response or the content have no business in a trailer section.
_NOT_IN_TRAILERS = _HOP_BY_HOP | frozenset(
    b"host content-length trailer via max-forwards expect range cache-control pragma"
    b" authorization www-authenticate authentication-info cookie set-cookie set-cookie2"
    b" age date expires location retry-after vary warning"
    b" content-type content-encoding content-range content-location"
    b" if-match if-none-match if-modified-since if-unmodified-since if-range"
    b" sec-websocket-key sec-websocket-accept sec-websocket-version"
    b" sec-websocket-protocol sec-websocket-extensions".split()
)

_CONNECTION_SCHEMES = frozenset({b"negotiate", b"ntlm"})
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')  # RFC 9110 §5.6.4

_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


def values(headers: Headers, name: bytes) -> list[bytes]:
    """All values of field `name` (lower-case), in order."""
    return [value for key, value in headers if key.lower() == name]


def _tokens(headers: Headers, name: bytes) -> list[bytes]:
    """The comma-separated members of all `name` fields, lower-case."""
    return [
        token
        for value in values(headers, name)
        for member in value.split(b",")
        if (token := member.strip(b" \t").lower())
    ]


def has_token(headers: Headers, name: bytes, token: bytes) -> bool:
    """Whether list field `name` has `token`, both lower-case (RFC 9110 §5.6.1)."""
    return token in _tokens(headers, name)


def transfer_codings(headers: Headers) -> list[bytes]:
    """The codings of all Transfer-Encoding fields, lower-case, in order (RFC 9112 §6.1)."""
    return _tokens(headers, b"transfer-encoding")


def content_length(headers: Headers, refuse: Refuse, *, row: str) -> int | None:
    """The one Content-Length, or None.

    Raises:
        ClientProtocolError: or what `refuse` makes: several fields, a list, or
            anything but up to 18 digits (RFC 9112 §6.3, RFC 9110 §8.6).
    """
    lengths = values(headers, b"content-length")
    if not lengths:
        return None
    if len(lengths) > 1:
        raise refuse("more than one Content-Length", 400, row)
    if not lengths[0].isdigit() or len(lengths[0]) > 18:
        raise refuse("invalid Content-Length", 400, row)
    return int(lengths[0])


def _nominated(headers: Headers) -> set[bytes]:
    return set(_tokens(headers, b"connection")) - _PROTECTED


def end_to_end(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The fields that may go on: without hop-by-hop ones and all that `Connection` names.

    Order and spelling stay (RFC 9110 §5.3).  Message framing is left out too:
    the sender adds its own.
    """
    gone = _HOP_BY_HOP | _nominated(headers) | {b"content-length"}
    return [(name, value) for name, value in headers if name.lower() not in gone]


def framing(body: Body) -> list[tuple[bytes, bytes]]:
    """The field that announces `body`, written by us (RFC 9112 §6)."""
    if body.kind is BodyKind.LENGTH:
        return [(b"Content-Length", b"%d" % body.length)]
    if body.kind is BodyKind.CHUNKED:
        return [(b"Transfer-Encoding", b"chunked")]
    return []


def to_upstream(request: ProxyRequest, *, via: bytes) -> list[tuple[bytes, bytes]]:
    """The header section the origin gets for `request`.

    Host comes from the target and replaces the received one (RFC 9112
    §3.2.2), its default port left out; `via` is this proxy's pseudonym (RFC
    9110 §7.6.3).
    """
    target = request.target
    host = str(target.host) if target.port == _PORTS[target.scheme] else target.authority
    fields = [(b"Host", host.encode("ascii"))]
    # RFC 9110 §10.1.1: an expectation in an HTTP/1.0 request is ignored.
    own = (b"host", b"expect") if request.version == "1.0" else (b"host",)
    fields += [field for field in end_to_end(request.headers) if field[0].lower() not in own]
    fields += framing(request.body)
    fields.append((b"Via", request.version.encode("ascii") + b" " + via))
    return fields


def safe_trailers(
    trailers: Iterable[tuple[bytes, bytes]], headers: Headers
) -> list[tuple[bytes, bytes]]:
    """The trailer fields that may go on; `headers` is the header section of the same message.

    Fields that frame, route or authenticate are dropped (RFC 9110 §6.5.1), and
    those that `Connection` names (§7.6.1).
    """
    gone = _NOT_IN_TRAILERS | _nominated(headers)
    return [(name, value) for name, value in trailers if name.lower() not in gone]


def loops(headers: Headers, via: bytes) -> bool:
    """Whether a Via field says that the message was here before (RFC 9110 §7.6.3)."""
    return any(
        member.split()[1:2] == [via]
        for value in values(headers, b"via")
        if via in value  # most are without, and some are long
        for member in value.split(b",")
    )


def authenticates_connection(headers: Headers, name: bytes) -> bool:
    """Whether `name`, challenges or credentials, has a scheme that authenticates connections.

    These are NTLM and Negotiate (RFC 4559 §6), against RFC 9110 §11.1.
    """
    return any(
        member.strip(b" \t").partition(b" ")[0].lower() in _CONNECTION_SCHEMES
        for value in values(headers, name)
        for member in _QUOTED.sub(b"", value).split(b",")
    )


def max_forwards(request: ProxyRequest) -> int | None:
    """The Max-Forwards of a TRACE or OPTIONS request, or None (RFC 9110 §7.6.2)."""
    value = request.field(b"max-forwards")
    if request.method not in ("TRACE", "OPTIONS") or value is None or not value.isdigit():
        return None
    return min(int(value[:9]), 1 << 30)
