"""From a request head to a `ProxyRequest`: what is asked, and whether it may be asked so."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from wsproxy.errors import ClientProtocolError
from wsproxy.model import Body, BodyKind, Headers, Host, ProxyRequest, RequestKind, Target
from wsproxy.protocol.authority import parse_absolute_form, parse_authority, parse_host_field
from wsproxy.protocol.fields import content_length, has_token, transfer_codings, values
from wsproxy.protocol.handshake import asks_for_websocket, check_handshake
from wsproxy.protocol.head import (
    MAX_HEAD_BYTES,
    HeadBuffer,
    check_request_line,
    is_plain_head,
    refuse_request,
    split_head,
)

__all__ = ["ConnectHead", "interpret_request", "read_connect", "read_request"]

_OWN_HOST = Host("wsproxy")
_NO_BODY = Body(BodyKind.NONE)
_FRAMING = frozenset({b"transfer-encoding", b"content-length"})
_LISTS = frozenset(
    {b"connection", b"proxy-connection", b"transfer-encoding", b"upgrade", b"expect"}
)
_MAX_MEMBERS = 64
"""Members of the list fields that are taken apart here; nobody needs a tenth of that."""
_MANNERS = frozenset({b"connection", b"proxy-connection"})


_remembered: dict[bytes, ProxyRequest] = {}
"""CONNECTs by their heads: a client asks for the same few targets in the same words again and again."""
_MAX_REMEMBERED = 512
_MAX_REMEMBERED_BYTES = 1024
_MAX_REMEMBERED_FIELDS = 16
"""Each takes room for itself, whatever it says; so few that the line that was cut out is not one too many."""
_CREDENTIALS = re.compile(rb"\r\nProxy-Authorization:([\t\x20-\x7e\x80-\xff]*+)(?=\r\n)")
"""The one line that is cut out of what is remembered: a secret, and another one for every user."""
_PLAIN = frozenset(
    b"host user-agent connection proxy-connection content-length accept accept-encoding"
    b" accept-language cache-control pragma".split()
)
"""What clients say in a CONNECT and is no secret; a head with any other field is not kept."""


class ConnectHead(NamedTuple):
    """A CONNECT, as it stands at the front of a connection.

    Attributes:
        request: what is asked, without the Proxy-Authorization where that is spelled so.
        credentials: the value of that; None if there is none.
        rest: what stands behind the head.
    """

    request: ProxyRequest
    credentials: bytes | None
    rest: bytes


def read_connect(octets: bytes) -> ConnectHead | None:
    """What the first octets of a connection ask for.

    Returns:
        None when they are not just one whole head of a CONNECT with nothing odd about it,
        and perhaps the beginning of a tunnel; `wsproxy.protocol.http1` says the rest.

    Raises:
        ClientProtocolError: see `interpret_request`.
    """
    end = octets.find(b"\r\n\r\n") + 4
    if not 4 <= end <= MAX_HEAD_BYTES:
        return None
    found = _CREDENTIALS.search(octets, 0, end)
    head = bare = octets[:end]
    credentials = None
    if found is not None:
        bare = head[: found.start()] + head[found.end() :]
        credentials = found[1].strip(b" \t")
    request = _remembered.get(bare)
    if request is None:
        if not (head.startswith(b"CONNECT ") and is_plain_head(head)):
            return None
        line, headers = split_head(bare, refuse_request)
        if found is None:
            credentials = next(iter(values(headers, b"proxy-authorization")), None)
        elif values(headers, b"proxy-authorization"):
            return None  # the connection says what is wrong with two of them
        request = interpret_request(line, headers)
        _remember(bare, request)
    return ConnectHead(request, credentials, octets[end:])


def _remember(head: bytes, request: ProxyRequest) -> None:
    """Keeps what was read, unless it takes much room or there may be something secret in it still."""
    headers = request.headers
    if len(head) > _MAX_REMEMBERED_BYTES or len(headers) > _MAX_REMEMBERED_FIELDS:
        return
    if _PLAIN.issuperset(name.lower() for name, _value in headers):
        if len(_remembered) >= _MAX_REMEMBERED:
            _remembered.clear()
        _remembered[head] = request


def read_request(head: bytes) -> ProxyRequest:
    """What a whole head of a tunnel's first octets asks for; see `interpret_request`."""
    buffer = HeadBuffer(check_request_line, refuse_request)
    buffer.feed(head)
    line, headers = split_head(buffer.take_head() or head, refuse_request)
    return interpret_request(line, headers)


def interpret_request(line: bytes, headers: Headers) -> ProxyRequest:
    """What the client asks for.

    Args:
        line: a request line that has passed `wsproxy.protocol.head`.
        headers: the field lines, from `split_head`.

    Raises:
        ClientProtocolError: ambiguous framing, Host or target; incomplete
            handshake; 501 for a transfer coding other than chunked.
    """
    raw_method, raw_target, raw_version = line.split(b" ")
    version = "1.1" if raw_version == b"HTTP/1.1" else "1.0"
    # Most requests have few of the fields that matter here: look for those only.
    present = {name.lower() for name, _value in headers}
    _check_host(headers, version)
    if not present.isdisjoint(_LISTS):
        _check_lists(headers)
    if b"proxy-authorization" in present and len(values(headers, b"proxy-authorization")) > 1:
        raise ClientProtocolError("more than one Proxy-Authorization", row="T14")
    method = raw_method.decode("ascii")
    kind, target = _read_target(method, raw_target)
    request = ProxyRequest(
        kind=kind,
        method=method,
        target=target,
        version=version,
        headers=headers,
        body=_NO_BODY if present.isdisjoint(_FRAMING) else _read_framing(headers, version),
        keep_alive=version == "1.1" and (present.isdisjoint(_MANNERS) or not _wants_close(headers)),
        expects_continue=version == "1.1"
        and b"expect" in present
        and has_token(headers, b"expect", b"100-continue"),
        sent_target=raw_target,
    )
    if kind is RequestKind.CONNECT:
        _check_connect(request)
    if kind is RequestKind.FORWARD:
        return _check_upgrade(request)
    return request


def _check_host(headers: Headers, version: str) -> None:
    hosts = values(headers, b"host")
    # RFC 9112 §3.2: "A server MUST respond with a 400 (Bad Request) status code
    # to any HTTP/1.1 request message that lacks a Host header field and to any
    # request message that contains more than one Host header field line or a
    # Host header field with an invalid field value."
    if len(hosts) > 1:
        raise ClientProtocolError("more than one Host", row="T8")
    if not hosts and version == "1.1":
        raise ClientProtocolError("HTTP/1.1 without Host", row="T8")
    if hosts:
        parse_host_field(hosts[0])


def _check_lists(headers: Headers) -> None:
    for name, value in headers:
        if value.count(b",") >= _MAX_MEMBERS and name.lower() in _LISTS:
            detail = f"more than {_MAX_MEMBERS} members in one field"
            raise ClientProtocolError(detail, status=431, row="T3")


def _read_target(method: str, raw: bytes) -> tuple[RequestKind, Target]:
    if method == "CONNECT":
        return RequestKind.CONNECT, _tunnel_target(raw)
    if raw.startswith(b"/") or (raw == b"*" and method == "OPTIONS"):
        return RequestKind.OWN, Target("http", _OWN_HOST, 80, raw)
    target = parse_absolute_form(raw)
    if method == "OPTIONS" and target.path == b"/" and not raw.endswith(b"/"):
        # RFC 9112 §3.2.4: an empty path of OPTIONS becomes the asterisk-form.
        target = replace(target, path=b"*")
    return RequestKind.FORWARD, target


@lru_cache(maxsize=4096)
def _tunnel_target(raw: bytes) -> Target:
    """Remembered, because the same few targets are asked for again and again."""
    host, port = parse_authority(raw)
    return Target("tcp", host, port)


def _read_framing(headers: Headers, version: str) -> Body:
    coding = [value.lower() for value in values(headers, b"transfer-encoding")]
    length = content_length(headers, refuse_request, row="T4")
    if not coding:
        return _NO_BODY if length is None else Body(BodyKind.LENGTH, length)
    if version == "1.0":
        raise ClientProtocolError("Transfer-Encoding in HTTP/1.0", row="T4")
    if length is not None:
        raise ClientProtocolError("Transfer-Encoding together with Content-Length", row="T4")
    if coding != [b"chunked"]:
        # RFC 9112 §6.3: 400 when chunked is not the final coding, stands there
        # twice or is oddly written; §6.1: 501 for a coding that is not understood.
        codings = transfer_codings(headers)
        misplaced = codings in ([], [b"chunked"]) or b"chunked" in codings[:-1]
        raise ClientProtocolError(
            "Transfer-Encoding other than chunked", status=400 if misplaced else 501, row="T4"
        )
    return Body(BodyKind.CHUNKED)


def _wants_close(headers: Headers) -> bool:
    # Proxy-Connection is not standard, but what Node's agents and old clients
    # say to a proxy instead of Connection (RFC 9112 §C.2.2).
    return has_token(headers, b"connection", b"close") or has_token(
        headers, b"proxy-connection", b"close"
    )


def _check_connect(request: ProxyRequest) -> None:
    # A CONNECT has no content (RFC 9110 §9.3.6). WinINet says so with
    # `Content-Length: 0`; anything more would be read as a body by one party
    # and as the tunnel's first bytes by another.
    if request.body.kind is BodyKind.CHUNKED or request.body.length:
        raise ClientProtocolError("CONNECT with a body", row="T4")


def _check_upgrade(request: ProxyRequest) -> ProxyRequest:
    if request.version == "1.1" and asks_for_websocket(request.headers):
        check_handshake(request)
        target = replace(request.target, scheme="ws")
        return replace(request, kind=RequestKind.UPGRADE, target=target, body=_NO_BODY)
    if request.target.scheme == "ws":
        raise ClientProtocolError("a ws:// target needs a WebSocket handshake", row="T9")
    return request
