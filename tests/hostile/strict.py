"""Readers that forgive nothing: what the proxy emitted, judged by the letter of RFC 9112.

A byte string that left the proxy towards an origin is *safe* when every recipient, however
lenient, must understand it the same way.  So these readers accept one spelling only, and
raise `Unsafe` for everything that a real parser somewhere reads differently.
They share no code with the product and none with h11.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = [
    "Incomplete",
    "Reading",
    "Request",
    "Response",
    "Unsafe",
    "read_requests",
    "read_responses",
]

Fields = tuple[tuple[bytes, bytes], ...]
_NO_FIELDS: Fields = ()

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# RFC 3986 path and query octets, and those the product passes on because browsers send them.
_ORIGIN_FORM = rb"/[A-Za-z0-9\-._~%!$&'()*+,;=:@/?|\[\]{}^`\"<>]*"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") (\*|" + _ORIGIN_FORM + rb") HTTP/1\.1")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2}) [\t\x20-\x7e\x80-\xff]*")
_FIELD_LINE = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,18}")
_CHUNK_LINE = re.compile(rb"[0-9A-Fa-f]{1,16}")
_VIA = re.compile(rb"1\.[01] [^ ,]+(?: \([^()]*\))?")

_NEVER_TO_ORIGIN = frozenset(
    (
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authorization",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"http2-settings",
    )
)
_NEVER_IN_TRAILERS = frozenset(
    (
        b"authorization",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"expect",
        b"host",
        b"keep-alive",
        b"max-forwards",
        b"proxy-authorization",
        b"proxy-connection",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"via",
    )
)
_MAX_HEAD_BYTES = 64 * 1024 + 1024  # the product's limit and what it adds: Via, Host, Connection


class Unsafe(Exception):
    """Some recipient could read these octets in another way, or they must not be there."""


class Incomplete(Unsafe):
    """The head has not ended yet; at the end of a connection, that is unsafe too."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the origin got it.

    Attributes:
        line: method and target, separated by one space.
        fields: lower-case names, values without surrounding white space.
        body: decoded.
        trailers: as `fields`.
        complete: whether the message ended by its own framing.
    """

    line: bytes
    fields: Fields
    body: bytes
    trailers: Fields
    complete: bool


@dataclass(frozen=True, slots=True)
class Response:
    """One response as the client got it; attributes as in `Request`."""

    status: int
    fields: Fields
    body: bytes
    trailers: Fields
    complete: bool

    def value(self, name: bytes) -> bytes | None:
        """The value of the only field called `name` (lower-case), or None."""
        return _only(self.fields, name)


@dataclass(frozen=True, slots=True)
class Reading:
    """What an origin received: requests, and the tunnel bytes behind a WebSocket handshake."""

    requests: tuple[Request, ...]
    tunnel: bytes = b""


def read_requests(data: bytes, authority: bytes) -> Reading:
    """Reads everything one origin connection received.

    Args:
        data: every octet, in order.
        authority: the only acceptable value of Host.

    Raises:
        Unsafe: naming the first rule that is broken.
    """
    requests: list[Request] = []
    while data:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            raise Incomplete(f"incomplete head: {data[:200]!r}")
        lines = data[:end].split(b"\r\n")
        match = _REQUEST_LINE.fullmatch(lines[0])
        if match is None:
            raise Unsafe(f"request line {lines[0][:200]!r}")
        if match[2] == b"*" and match[1] != b"OPTIONS":
            raise Unsafe("asterisk-form without OPTIONS")
        fields = _read_fields(lines[1:])
        if end > _MAX_HEAD_BYTES:
            raise Unsafe("head too large")
        is_handshake = _check_request_fields(fields, authority)
        body, trailers, complete, data = _read_body(data[end + 4 :], fields, until_close=False)
        requests.append(
            Request(match[1] + b" " + match[2], fields, bytes(body), trailers, complete)
        )
        if is_handshake:
            return Reading(tuple(requests), data)
        if not complete:
            break
    return Reading(tuple(requests))


def _check_request_fields(fields: Fields, authority: bytes) -> bool:
    """Checks routing and hop-by-hop fields; whether this is a WebSocket handshake."""
    hosts = [value for name, value in fields if name == b"host"]
    if hosts != [authority]:
        raise Unsafe(f"Host is {hosts!r}, target is {authority!r}")
    forbidden = [name for name, _ in fields if name in _NEVER_TO_ORIGIN]
    if forbidden:
        raise Unsafe(f"hop-by-hop field {forbidden[0]!r} reached the origin")
    via = _only(fields, b"via", joined=True)
    if via is None or _VIA.fullmatch(via.split(b",")[-1].strip()) is None:
        raise Unsafe(f"Via is {via!r}")
    options = {
        option.strip().lower()
        for name, value in fields
        if name == b"connection"
        for option in value.split(b",")
    }
    upgrade = _only(fields, b"upgrade")
    te = _only(fields, b"te")
    allowed = {b"keep-alive", b"close"}
    if upgrade is not None:
        if upgrade.lower() != b"websocket" or b"upgrade" not in options:
            raise Unsafe(f"Upgrade {upgrade!r} with Connection {options!r}")
        allowed = {b"upgrade"}
    if te is not None:
        if te != b"trailers" or b"te" not in options:
            raise Unsafe(f"TE {te!r} with Connection {options!r}")
        allowed |= {b"te"}
    if options - allowed:
        raise Unsafe(f"Connection nominates {options - allowed!r}")
    return upgrade is not None


def read_responses(
    data: bytes, methods: tuple[str, ...], *, ended: bool = True
) -> tuple[tuple[Response, ...], bytes]:
    """Reads everything a client received.

    Args:
        data: every octet, in order.
        methods: of the requests, in order; the last one stands for all further ones.
        ended: whether the connection was closed in order, which ends a close-delimited body.

    Returns:
        The responses (interim ones too), and the octets behind a switch of protocols (101, or
        2xx to CONNECT).

    Raises:
        Unsafe: naming the first rule that is broken.
    """
    responses: list[Response] = []
    finals = 0
    while data:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            raise Unsafe(f"incomplete response head {data[:200]!r}")
        lines = data[:end].split(b"\r\n")
        match = _STATUS_LINE.fullmatch(lines[0])
        if match is None:
            raise Unsafe(f"status line {lines[0][:200]!r}")
        status = int(match[1])
        method = methods[min(finals, len(methods) - 1)]
        fields = _read_fields(lines[1:])
        rest = data[end + 4 :]
        switches = status == 101 or (method == "CONNECT" and 200 <= status < 300)
        has_no_body = status < 200 or status in (204, 304) or method == "HEAD" or switches
        if has_no_body:
            _check_framing(fields)
            body, trailers, complete = b"", _NO_FIELDS, True
        else:
            body, trailers, complete, rest = _read_body(rest, fields, until_close=ended)
        responses.append(Response(status, fields, body, trailers, complete))
        if (status < 200 or switches) and {b"content-length", b"transfer-encoding"} & {
            name for name, _ in fields
        }:
            raise Unsafe(f"{status} with framing fields")
        if switches:
            return tuple(responses), rest
        finals += status >= 200
        data = rest
    return tuple(responses), b""


def _read_fields(lines: list[bytes]) -> Fields:
    fields: list[tuple[bytes, bytes]] = []
    for line in lines:
        match = _FIELD_LINE.fullmatch(line)
        if match is None:
            raise Unsafe(f"field line {line[:200]!r}")
        fields.append((match[1].lower(), match[2]))
    return tuple(fields)


def _only(fields: Fields, name: bytes, *, joined: bool = False) -> bytes | None:
    values = [value for key, value in fields if key == name]
    if len(values) > 1 and not joined:
        raise Unsafe(f"several {name!r}")
    return b", ".join(values) if values else None


def _check_framing(fields: Fields) -> tuple[int | None, bool]:
    """The Content-Length, and whether the body is chunked."""
    length = _only(fields, b"content-length")
    coding = _only(fields, b"transfer-encoding")
    if length is not None and coding is not None:
        raise Unsafe("Content-Length and Transfer-Encoding")
    if length is not None and _LENGTH.fullmatch(length) is None:
        raise Unsafe(f"Content-Length {length!r}")
    if coding is not None and coding != b"chunked":
        raise Unsafe(f"Transfer-Encoding {coding!r}")
    return (int(length) if length is not None else None), coding is not None


def _read_body(
    data: bytes, fields: Fields, *, until_close: bool
) -> tuple[bytes, Fields, bool, bytes]:
    """Body, trailers, whether it is complete, and what follows."""
    length, is_chunked = _check_framing(fields)
    if is_chunked:
        return _read_chunked(data)
    if length is not None:
        return data[:length], (), len(data) >= length, data[length:]
    if until_close:
        return data, (), True, b""
    return b"", (), True, data


def _read_chunked(data: bytes) -> tuple[bytes, Fields, bool, bytes]:
    body = b""
    while True:
        line, separator, rest = data.partition(b"\r\n")
        if not separator:
            if re.fullmatch(rb"[0-9A-Fa-f]{0,16}\r?", line) is None:
                raise Unsafe(f"chunk line {line[:200]!r}")
            return body, (), False, b""
        if _CHUNK_LINE.fullmatch(line) is None:
            raise Unsafe(f"chunk line {line[:200]!r}")
        size = int(line, 16)
        if size == 0:
            break
        body += rest[:size]
        if len(rest) < size + 2:
            if not b"\r\n".startswith(rest[size:]):
                raise Unsafe("chunk data without CRLF")
            return body, (), False, b""
        if rest[size : size + 2] != b"\r\n":
            raise Unsafe("chunk data without CRLF")
        data = rest[size + 2 :]
    if rest.startswith(b"\r\n"):
        return body, (), True, rest[2:]
    end = rest.find(b"\r\n\r\n")
    if end < 0:
        return body, (), False, b""
    trailers = _read_fields(rest[:end].split(b"\r\n"))
    forbidden = [name for name, _ in trailers if name in _NEVER_IN_TRAILERS]
    if forbidden:
        raise Unsafe(f"trailer field {forbidden[0]!r}")
    return body, trailers, True, rest[end + 4 :]
