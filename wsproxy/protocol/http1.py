"""One HTTP/1 connection as bytes in, events out: h11 behind strict framing.

`ServerConnection` faces a client, `ClientConnection` an upstream.  Both hand
h11 exactly one vetted head, then exactly the octets of its body, and keep the
rest: it is the next message's, the tunnel's, or garbage, and the caller
decides which.  h11 decodes and encodes bodies, writes heads, and keeps the
state of the connection.  A CONNECT needs none of that, and does without it.

No I/O, no clock.  Any exception other than the documented ones is a bug here.
"""

from __future__ import annotations

import enum

import h11

from wsproxy.errors import ClientProtocolError, UpstreamClosed, WsproxyError
from wsproxy.model import Body, ProxyRequest, RequestKind
from wsproxy.protocol.abridge import Fields, abridged, abridged_head, completed
from wsproxy.protocol.body import BodyFramer
from wsproxy.protocol.head import (
    MAX_HEAD_BYTES,
    HeadBuffer,
    Refuse,
    check_request_line,
    check_status_line,
    refuse_request,
    refuse_response,
    split_head,
    tidy_response_head,
)
from wsproxy.protocol.request import interpret_request
from wsproxy.protocol.response import Response, interpret_response

__all__ = ["ClientConnection", "Fields", "Need", "ServerConnection"]

_PIECE_BYTES = 64 * 1024
"""How much of a body is looked at before others get their turn."""


class Need(enum.Enum):
    """What `next_event` says when it has no event."""

    DATA = "data"
    """Nothing more until `receive_data` is called."""
    NOTHING = "nothing"
    """The peer has ended its side in order, between two messages."""


class _Connection:
    """What both roles share: octets in, one message at a time to h11."""

    __slots__ = ("_buffer", "_eof", "_framer", "_head", "_message_done", "_refuse", "_state")

    def __init__(self, head: HeadBuffer, refuse: Refuse) -> None:
        self._state: h11.Connection | None = None
        self._head = head
        self._framer: BodyFramer | None = None
        self._buffer = b""
        self._eof = False
        self._message_done = False
        self._refuse = refuse

    role: type[h11.CLIENT] | type[h11.SERVER]

    @property
    def _h11(self) -> h11.Connection:
        """Made when it is first needed."""
        if self._state is None:
            self._state = h11.Connection(self.role, max_incomplete_event_size=2 * MAX_HEAD_BYTES)
        return self._state

    def has_data(self) -> bool:
        """Whether octets were received that belong to no event yet."""
        return bool(self._head) or bool(self._buffer)

    def receive_data(self, data: bytes) -> None:
        """Takes what was read; ``b""`` is the end of the peer's stream."""
        if not data:
            self._eof = True
        elif self._framer is None and not self._message_done:
            self._head.feed(data)
        else:
            self._buffer += data

    def take_rest(self) -> bytes:
        """The octets behind the last message: the beginning of a tunnel, if there is one."""
        rest, self._buffer = self._head.take_all() + self._buffer, b""
        return rest

    def _next_body_event(self, framer: BodyFramer) -> h11.Data | h11.EndOfMessage | Need:
        while True:
            event = self._next_from_h11()
            if isinstance(event, h11.EndOfMessage):
                self._framer, self._message_done = None, True
                return event
            if isinstance(event, h11.Data):
                return event
            if self._buffer:
                taken, octets = framer.feed(self._buffer[:_PIECE_BYTES])
                self._buffer = self._buffer[taken:]
                if octets:
                    self._h11.receive_data(octets)
            elif self._eof and framer.ends_with_connection:
                self._h11.receive_data(b"")
            elif self._eof:
                raise self._truncated()
            else:
                return Need.DATA

    def _next_from_h11(self) -> object:
        try:
            return self._h11.next_event()
        except h11.RemoteProtocolError as error:
            raise self._refuse(str(error), error.error_status_hint, "T5") from error

    def _truncated(self) -> WsproxyError:
        raise NotImplementedError  # pragma: no cover - each side has its own

    def _begin_body(self, body: Body) -> None:
        self._framer = BodyFramer(body, self._refuse)
        self._buffer = self._head.take_all()

    def _send(self, event: h11.Event) -> bytes:
        return self._h11.send(event) or b""

    def send_data(self, data: bytes) -> bytes:
        """Part of our message's body, framed."""
        return self._send(h11.Data(data=data))


class ServerConnection(_Connection):
    """The side that faces a client: requests come in, responses go out.

    Attributes:
        ends_with_close: only the end of the connection ends the response (HTTP/1.0).
    """

    __slots__ = ("_answered", "_method", "ends_with_close")
    role = h11.SERVER

    def __init__(self) -> None:
        super().__init__(HeadBuffer(check_request_line, refuse_request), refuse_request)
        self._answered = False
        self._method = b""
        self.ends_with_close = False

    def next_event(self) -> ProxyRequest | h11.Data | h11.EndOfMessage | Need:
        """The next thing the client said.

        After the `EndOfMessage` of a request, `Need.DATA` until
        `start_next_request`.  A CONNECT or an upgrade has no body events: what
        follows it is `take_rest`'s.

        Raises:
            ClientProtocolError: refuse with its status, then close; no
                further event is meaningful.
        """
        if self._framer is not None:
            return self._next_body_event(self._framer)
        if self._message_done:
            return Need.DATA
        head = self._head.take_head()
        if head is not None:
            return self._read_request(head)
        if not self._eof:
            return Need.DATA
        if len(self._head):
            raise ClientProtocolError("the connection ended inside a request head")
        return Need.NOTHING

    def _read_request(self, head: bytes) -> ProxyRequest:
        self._method = head[: head.index(b" ")]
        line, headers = split_head(head, self._refuse)
        request = interpret_request(line, headers)
        if request.kind is RequestKind.CONNECT:
            self._message_done = True
            return request
        self._h11.receive_data(abridged_head(line, headers))
        self._next_from_h11()
        if request.kind is RequestKind.UPGRADE:
            self._next_from_h11()  # its EndOfMessage: it has no body
            self._message_done = True
        else:
            self._begin_body(request.body)
        return request

    def _truncated(self) -> WsproxyError:
        return ClientProtocolError("the connection ended inside a request body", row="T5")

    @property
    def request_complete(self) -> bool:
        """Whether the current request was read to its end."""
        return self._message_done

    @property
    def can_respond(self) -> bool:
        """Whether no final response was begun yet."""
        begun = self._state is not None and self._state.our_state not in (
            h11.IDLE,
            h11.SEND_RESPONSE,
        )
        return not self._answered and not begun

    def start_next_request(self) -> bool:
        """Makes ready for the next request; False when this connection cannot go on."""
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        self._method = b""
        rest, self._buffer, self._message_done = self._buffer, b"", False
        self._head.feed(rest)
        return True

    def note_tunnel(self) -> None:
        """A CONNECT was answered by its 200: what follows is no message of ours any more."""
        self._answered = True

    def send_answer(self, status: int, reason: bytes, headers: Fields, body: bytes) -> bytes:
        """A complete response of our own.

        Args:
            status: final.
            reason: the reason phrase.
            headers: with Content-Length; with ``Connection: close`` when the
                request was refused before h11 saw it, as every CONNECT is.
            body: left out for HEAD (RFC 9110 §9.3.2), also when the rest of
                the head was refused.
        """
        if self._method == b"HEAD":
            body = b""
        if self._state is not None and self._state.their_state is not h11.IDLE:
            octets = self.send_response(status, reason, headers)
            return octets + self.send_data(body) + self.end_response([])
        self._answered = True
        lines = [b"HTTP/1.1 %d %b" % (status, reason)]
        lines += [b"%b: %b" % field for field in headers]
        return b"\r\n".join([*lines, b"", body])

    def send_response(self, status: int, reason: bytes, headers: Fields) -> bytes:
        """A response head; h11 settles framing and `Connection` (RFC 9112 §6, §9.3).

        The answer to HEAD has no body, whatever its head says (RFC 9110 §9.3.2).
        """
        framed = any(name.lower() == b"content-length" for name, _value in headers)
        self.ends_with_close = not framed and self._h11.their_http_version != b"1.1"
        event = h11.Response(status_code=status, reason=reason, headers=abridged(headers))
        return completed(self._send(event), headers)

    def send_interim(self, status: int, reason: bytes, headers: Fields) -> bytes:
        """A 1xx response (RFC 9110 §15.2)."""
        event = h11.InformationalResponse(
            status_code=status, reason=reason, headers=abridged(headers)
        )
        return completed(self._send(event), headers)

    def end_response(self, trailers: Fields) -> bytes:
        """The end of the response; trailers only to an HTTP/1.1 client, behind chunked framing."""
        return self._send(h11.EndOfMessage(headers=trailers))


class ClientConnection(_Connection):
    """The side that faces an upstream: requests go out, responses come in."""

    __slots__ = ("_method",)
    role = h11.CLIENT

    def __init__(self) -> None:
        super().__init__(HeadBuffer(check_status_line, refuse_response), refuse_response)
        self._method = ""

    def send_request(self, method: str, target: bytes, headers: Fields) -> bytes:
        """A request head."""
        self._method = method
        event = h11.Request(method=method, target=target, headers=abridged(headers))
        return completed(self._send(event), headers)

    def end_request(self, trailers: Fields) -> bytes:
        """The end of the request."""
        return self._send(h11.EndOfMessage(headers=trailers))

    def next_event(self) -> Response | h11.Data | h11.EndOfMessage | Need:
        """The next thing upstream said.  After a 101, the rest is `take_rest`'s.

        Raises:
            UpstreamProtocolError: not a response that may be relayed.
            UpstreamClosed: the stream ended before the message did.
        """
        if self._framer is not None:
            return self._next_body_event(self._framer)
        if self._message_done:
            return Need.DATA
        head = self._head.take_head()
        if head is None:
            if self._eof:
                raise self._truncated()
            return Need.DATA
        line, headers = split_head(tidy_response_head(head), self._refuse)
        response = interpret_response(line, headers, self._method)
        self._h11.receive_data(abridged_head(line, headers))
        self._next_from_h11()
        if response.status == 101:
            self._message_done = True
        elif not response.is_interim:
            self._begin_body(response.body)
        return response

    def _truncated(self) -> WsproxyError:
        return UpstreamClosed("upstream closed the connection before its response was complete")

    @property
    def reusable(self) -> bool:
        """Whether another request may follow: both messages complete, and nothing left over."""
        return (
            self._h11.our_state is h11.DONE
            and self._h11.their_state is h11.DONE
            and not self.has_data()
            and not self._eof
        )

    def start_next_cycle(self) -> None:
        """Makes ready for the next request; only when `reusable`."""
        self._h11.start_next_cycle()
        self._message_done = False
