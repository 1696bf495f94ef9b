"""The WebSocket opening handshake, as an intermediary has to know it (RFC 6455 §4)."""

from __future__ import annotations

import base64
import binascii
import hashlib

from wsproxy.errors import ClientProtocolError, UpstreamProtocolError
from wsproxy.model import BodyKind, Headers, ProxyRequest
from wsproxy.protocol.fields import end_to_end, has_token, values

__all__ = [
    "accept_key",
    "asks_for_websocket",
    "check_handshake",
    "check_switch",
    "offered_subprotocols",
    "upgrade_fields",
]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3


def accept_key(key: bytes) -> bytes:
    """The Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 §4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def asks_for_websocket(headers: Headers) -> bool:
    """Whether the header section proposes to switch to WebSocket (RFC 9110 §7.8).

    Only an `Upgrade` that `Connection` names counts; tokens match in any case.
    """
    return has_token(headers, b"upgrade", b"websocket") and has_token(
        headers, b"connection", b"upgrade"
    )


def offered_subprotocols(headers: Headers) -> tuple[str, ...]:
    """The subprotocols a client offers, in its order of preference (RFC 6455 §4.1)."""
    return tuple(
        name
        for value in values(headers, b"sec-websocket-protocol")
        for member in value.decode("latin-1").split(",")
        if (name := member.strip(" \t"))
    )


def check_handshake(request: ProxyRequest) -> None:
    """Passes a client's opening handshake (RFC 6455 §4.1, §4.2.1).

    Raises:
        ClientProtocolError: 400; what is missing is in its detail.
    """

    def refuse(detail: str) -> ClientProtocolError:
        return ClientProtocolError(f"WebSocket handshake: {detail}", row="T9")

    if request.method != "GET":
        raise refuse("the method must be GET")
    if request.body.kind is not BodyKind.NONE and request.body.length:
        raise refuse("it must not have a body")
    if request.body.kind is BodyKind.CHUNKED:
        raise refuse("it must not have a body")
    if values(request.headers, b"sec-websocket-version") != [b"13"]:
        raise refuse("the version must be 13")
    keys = values(request.headers, b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise refuse("Sec-WebSocket-Key must be 16 octets in Base64, once")


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False


def upgrade_fields(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The end-to-end fields plus the two of the switch itself.

    Exactly ``Connection: Upgrade``, one token: clients have been seen to fail
    on more.
    """
    return [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"), *end_to_end(headers)]


def check_switch(headers: Headers, *, key: bytes) -> None:
    """Passes the header section of a 101 that answers a handshake with `key` (RFC 6455 §4.1).

    Raises:
        UpstreamProtocolError: not the switch the client asked for.
    """
    if not asks_for_websocket(headers):
        raise UpstreamProtocolError("101 without Upgrade: websocket and Connection: Upgrade")
    if values(headers, b"sec-websocket-accept") != [accept_key(key)]:
        raise UpstreamProtocolError("101 with a Sec-WebSocket-Accept that does not fit the key")
