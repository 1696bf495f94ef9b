"""Drives the two HTTP/1 connections of `wsproxy.protocol.http1` and writes down what they say.

A trace is a list: heads as `ProxyRequest` or `Response`, then `Content` and `End`, and
`Refused` or `Closed` as its last line when it ends that way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import h11

from wsproxy.errors import ClientProtocolError, UpstreamClosed, UpstreamProtocolError, WsproxyError
from wsproxy.model import Headers, ProxyRequest, RequestKind
from wsproxy.protocol.http1 import ClientConnection, Need, ServerConnection
from wsproxy.protocol.response import Response

__all__ = [
    "BEHIND",
    "Closed",
    "Content",
    "Delivery",
    "End",
    "Heard",
    "Refused",
    "Trace",
    "every_split",
    "hear_requests",
    "hear_response",
    "octet_by_octet",
    "refusal",
    "sent_request",
]

BEHIND = b"\x00 octets behind\r\n"
"""No beginning of any message: whoever takes it for one is found out."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One way in which the network may deliver a vector.

    Attributes:
        pieces: what each read returns.
        behind: octets in the pieces that do not belong to the vector.
    """

    pieces: tuple[bytes, ...]
    behind: bytes = b""


@dataclass(frozen=True, slots=True)
class Content:
    """A piece of a body, decoded; neighbouring pieces are joined."""

    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The end of a message, with its trailers."""

    trailers: Headers = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """A documented refusal; status and row as in `ClientProtocolError`, 502 for upstream's."""

    status: int
    row: str = ""


@dataclass(frozen=True, slots=True)
class Closed:
    """The stream ended: in order between two messages, or else inside one."""

    in_order: bool = True


Event = ProxyRequest | Response | Content | End | Refused | Closed
Trace = list[Event]


@dataclass(frozen=True, slots=True)
class Heard:
    """All that was understood, and the octets that were not looked at."""

    trace: Trace
    rest: bytes = b""


def octet_by_octet(data: bytes) -> tuple[bytes, ...]:
    """`data` in pieces of one octet."""
    return tuple(data[i : i + 1] for i in range(len(data)))


def every_split(data: bytes) -> tuple[Delivery, ...]:
    """`data` whole and octet by octet, each also with trailing octets."""
    with_more = data + BEHIND
    return (
        Delivery((data,)),
        Delivery(octet_by_octet(data)),
        Delivery((with_more,), BEHIND),
        Delivery(octet_by_octet(with_more), BEHIND),
    )


def refusal(error: WsproxyError) -> Refused:
    """The line of a trace for `error`."""
    if isinstance(error, ClientProtocolError):
        return Refused(error.status, error.row)
    assert isinstance(error, UpstreamProtocolError), f"{error!r} is not documented"
    return Refused(502)


def hear_requests(pieces: Iterable[bytes], *, count: int = 1, ended: bool = False) -> Heard:
    """What a `ServerConnection` hears.

    Args:
        pieces: what each read returns.
        count: how many requests to read; each but the last is answered at once.
            What follows the last, a CONNECT or an upgrade is left alone.
        ended: whether the client closes its side in the end.
    """
    http = ServerConnection()
    trace: Trace = []
    queue = [piece for piece in pieces if piece] + [b""] * ended
    try:
        while count:
            event = http.next_event()
            if event is Need.NOTHING:
                trace.append(Closed())
                break
            if event is not Need.DATA:
                _note(trace, event)
                if _is_last(event):
                    count = _answer(http, event, count)
            elif queue:
                http.receive_data(queue.pop(0))
            else:
                break
    except ClientProtocolError as error:
        trace.append(refusal(error))
    return Heard(trace, http.take_rest() + b"".join(queue))


def hear_response(pieces: Iterable[bytes], *, method: str = "GET", ended: bool = False) -> Heard:
    """What a `ClientConnection` hears: interim responses and one final one.

    Args:
        pieces: what each read returns.
        method: of the request; ``UPGRADE`` stands for a WebSocket handshake.
        ended: whether upstream closes its side in the end.
    """
    http = sent_request(method)
    trace: Trace = []
    queue = [piece for piece in pieces if piece] + [b""] * ended
    try:
        while not _is_over(trace):
            event = http.next_event()
            if not isinstance(event, Need):
                _note(trace, event)
            elif queue:
                http.receive_data(queue.pop(0))
            else:
                break
    except UpstreamProtocolError as error:
        trace.append(refusal(error))
    except UpstreamClosed:
        trace.append(Closed(in_order=False))
    return Heard(trace, http.take_rest() + b"".join(queue))


def sent_request(method: str) -> ClientConnection:
    """A connection that has just sent a whole request without a body."""
    http = ClientConnection()
    fields = [(b"Host", b"origin.example")]
    if method == "UPGRADE":
        method = "GET"
        fields += [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]
    http.send_request(method, b"/", fields)
    http.end_request([])
    return http


def _note(trace: Trace, event: ProxyRequest | Response | h11.Data | h11.EndOfMessage) -> None:
    if isinstance(event, h11.Data):
        before = trace.pop() if isinstance(trace[-1], Content) else Content(b"")
        assert isinstance(before, Content)
        trace.append(Content(before.data + bytes(event.data)))
    elif isinstance(event, h11.EndOfMessage):
        trace.append(End(tuple(event.headers.raw_items())))
    else:
        trace.append(event)


def _is_last(event: ProxyRequest | h11.Data | h11.EndOfMessage) -> bool:
    """Whether nothing more belongs to this request."""
    if isinstance(event, ProxyRequest):
        return event.kind in (RequestKind.CONNECT, RequestKind.UPGRADE)
    return isinstance(event, h11.EndOfMessage)


def _answer(
    http: ServerConnection, event: ProxyRequest | h11.Data | h11.EndOfMessage, count: int
) -> int:
    """Answers one of `count` requests unless it is the last; how many may still follow."""
    if count == 1 or isinstance(event, ProxyRequest):
        return 0
    http.send_response(200, b"OK", [(b"Content-Length", b"0")])
    http.end_response([])
    return count - 1 if http.start_next_request() else 0


def _is_over(trace: Trace) -> bool:
    last = trace[-1] if trace else None
    return isinstance(last, End) or (isinstance(last, Response) and last.status == 101)
