"""The first octets of a tunnel: what they are, before anything is relayed."""

from __future__ import annotations

from typing import Literal, NamedTuple

import trio

from wsproxy.errors import ClientProtocolError
from wsproxy.model import Target
from wsproxy.net.streams import TcpStream, wait_either_readable
from wsproxy.protocol.authority import parse_host_field
from wsproxy.protocol.client_hello import (
    ClientHello,
    ClientHelloError,
    classify,
    parse_client_hello,
)
from wsproxy.protocol.handshake import asks_for_websocket
from wsproxy.protocol.head import HEAD_END, MAX_HEAD_BYTES
from wsproxy.protocol.request import read_request

__all__ = ["Seen", "peek"]

_MAX_BYTES = 128 * 1024
"""More than a ClientHello or a request head may have, in records of usual size."""
_MAX_EFFORT_BYTES = 4 * 1024 * 1024
"""Octets read, those read again included: a hello of 2 KiB may come octet by octet."""

Kind = Literal["tls", "websocket", "http", "other"]


class Seen(NamedTuple):
    """A tunnel's first octets.

    Attributes:
        kind: what they are; a client that keeps silent speaks something else.
        octets: read from the client; nobody else has seen them.
        hello: of a TLS client.
        why: what is wrong with a ClientHello that is none, or that nothing came.
        ended: the client has ended its side.
    """

    kind: Kind
    octets: bytes
    hello: ClientHello | None = None
    why: str = ""
    ended: bool = False

    @property
    def is_half_tls(self) -> bool:
        """Whether it began like TLS and was never understood: it may be TLS yet."""
        return self.hello is None and self.octets[:1] == b"\x16"

    def agrees_with(self, target: Target) -> bool:
        """Whether a TLS client asks for the host its tunnel leads to; one that names none does."""
        name = None if self.hello is None else self.hello.server_name
        return name is None or name == target.host.text


async def peek(
    client: TcpStream, upstream: TcpStream, early: bytes, target: Target, *, timeout_s: float
) -> Seen:
    """Reads from the client until it is known what it speaks; never raises for what it says.

    A server that speaks first ends it, and so does the deadline: of such protocols nothing
    can be known.

    Args:
        client: where the tunnel comes from.
        upstream: where it leads; nothing is read from it.
        early: octets the client sent ahead.
        target: of the tunnel.
        timeout_s: for all of it.

    Raises:
        trio.BrokenResourceError: the client is gone.
    """
    octets, effort = early, 0
    with trio.move_on_after(timeout_s):
        while True:
            seen = _understand(octets, target)
            if seen is not None:
                return seen
            # Each piece has all of it read again: that must not be cheaper for the client than for us.
            effort += len(octets)
            if len(octets) > _MAX_BYTES or effort > _MAX_EFFORT_BYTES:
                return Seen("other", octets, why="too long to be understood")
            more = await _receive(client, upstream)
            if more is None:
                return Seen("other", octets, why="the server speaks first")
            if not more:
                return Seen("other", octets, why="the client has ended its side", ended=True)
            octets += more
    return Seen("other", octets, why="nothing to go by in time")


async def _receive(client: TcpStream, upstream: TcpStream) -> bytes | None:
    """What the client says next; None when the upstream says something first."""
    data: bytes | None = client.receive_nowait()
    if data is not None:
        return data
    await wait_either_readable(client, upstream)
    return client.receive_nowait()


def _understand(octets: bytes, target: Target) -> Seen | None:
    """What they are; None while it takes more to say."""
    match classify(octets):
        case None:
            return None
        case "tls":
            try:
                hello = parse_client_hello(octets)
            except ClientHelloError as error:
                return Seen("other", octets, why=str(error))
            return None if hello is None else Seen("tls", octets, hello)
        case "http":
            return _understand_http(octets, target)
        case other:
            return Seen("other", octets, why="" if other == "other" else other)


def _understand_http(octets: bytes, target: Target) -> Seen | None:
    found = HEAD_END.search(octets)
    if found is None:
        return None if len(octets) <= MAX_HEAD_BYTES else Seen("other", octets, why="a long head")
    try:
        request = read_request(octets[: found.end()])
        named = parse_host_field(request.field(b"host") or b"")
    except ClientProtocolError as error:
        return Seen("other", octets, why=error.detail)
    agrees = named is not None and named[0] == target.host
    return Seen("websocket" if agrees and asks_for_websocket(request.headers) else "http", octets)
