"""HTTP/1 over a stream: the bytes of `wsproxy.protocol.http1`, moved by trio.

A `Channel` reads and writes; what the messages mean is `wsproxy.proxy`'s.
Errors of the transport become the two words the rest of the project knows:
the client is gone, or upstream is.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

import h11
import trio

from wsproxy.errors import (
    ClientGone,
    ClientStalled,
    ClientTimeout,
    UpstreamClosed,
    UpstreamStalled,
    UpstreamTimeout,
    WsproxyError,
)
from wsproxy.model import ProxyRequest
from wsproxy.net.progress import LOOKS, Progress
from wsproxy.net.streams import TcpStream
from wsproxy.net.tls_socket import TlsSocket
from wsproxy.protocol.http1 import ClientConnection, Need, ServerConnection
from wsproxy.protocol.response import Response

__all__ = ["Channel", "ClientChannel", "UpstreamChannel", "deadline"]

_Http = TypeVar("_Http", ServerConnection, ClientConnection)


class deadline:  # noqa: N801 - a context manager that reads as a clause, as contextlib's do
    """Raises what `error` makes when the block is not done `seconds` from now.

    Entering gives the cancel scope; its deadline may be moved as progress is made.
    """

    __slots__ = ("_error", "_scope")

    def __init__(self, seconds: float, error: Callable[[], WsproxyError]) -> None:
        self._scope = trio.move_on_after(seconds)
        self._error = error

    def __enter__(self) -> trio.CancelScope:
        """Starts the clock."""
        return self._scope.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops it."""
        self._scope.__exit__(kind, error, trace)
        if self._scope.cancelled_caught:
            raise self._error()


class Channel(Generic[_Http]):
    """One side's stream together with the state of its HTTP/1 conversation."""

    __slots__ = ("http", "stream", "was_reset")

    stream: TcpStream
    http: _Http
    gone: type[WsproxyError] = WsproxyError
    detail = "the connection broke"
    slow: type[WsproxyError] = WsproxyError
    slow_detail = "it does not take what is sent to it"

    def __init__(self, stream: TcpStream, http: _Http) -> None:
        self.stream = stream
        self.http = http
        self.was_reset = False

    async def receive_more(self) -> None:
        """Reads once, and gives what came (or the end) to the connection."""
        try:
            data = await self.stream.receive_some()
        except trio.BrokenResourceError as error:
            raise self.gone(self.detail) from error
        if not data and self.was_reset:
            raise self.gone(self.detail) from trio.BrokenResourceError("reset, as a send was told")
        self.http.receive_data(data)

    def receive_now(self) -> bool:
        """Like `receive_more` when something is there already; False when it is not."""
        try:
            data = self.stream.receive_nowait()
        except trio.BrokenResourceError as error:
            raise self.gone(self.detail) from error
        if data is None:
            return False
        self.http.receive_data(data)
        return True

    async def send(self, data: bytes, *, timeout_s: float) -> None:
        """Sends encoded octets; a checkpoint only when the kernel does not take all at once.

        Args:
            data: from the connection's `send_…`.
            timeout_s: in which the peer takes nothing; noticed a little late, by a half of
                it at most.

        Raises:
            ClientGone: or `UpstreamClosed`: the connection broke.
            ClientStalled: or `UpstreamStalled`: it takes nothing.
        """
        if not data:
            return  # an empty send would take a pending reset away from the next read
        try:
            sent = self.stream.send_nowait(data)
            if sent < len(data):
                await self._send_rest(memoryview(data)[sent:], timeout_s)
        except trio.BrokenResourceError as error:
            cause = error.__cause__
            # The kernel tells of a reset once: told to a send, the next read would see an
            # orderly end.  (EPIPE: the peer had ended its side in order before.)
            self.was_reset = isinstance(cause, OSError) and cause.errno == errno.ECONNRESET
            raise self.gone(self.detail) from error

    async def _send_rest(self, rest: memoryview, timeout_s: float) -> None:
        sock, accepted = self.stream.sock, 0
        progress = Progress.first(sock, trio.current_time())
        while rest:
            with trio.move_on_after(timeout_s / LOOKS) as scope:
                await self.stream.wait_send_all_might_not_block()
            if not scope.cancelled_caught:
                sent = self.stream.send_nowait(rest)
                accepted, rest = accepted + sent, rest[sent:]
            now = trio.current_time()
            progress = progress.look(sock, accepted=accepted, now=now)
            if now - progress.since >= timeout_s:
                raise self.slow(self.slow_detail)

    def take_rest(self) -> bytes:
        """The octets behind the last message, read or not: no event will tell of them."""
        rest, sock = self.http.take_rest(), self.stream.sock
        if isinstance(sock, TlsSocket):
            # What follows has framing of its own to tell whether it is whole.
            sock.lenient = True
            rest += sock.take_ready()
        return rest

    def close(self) -> None:
        """Closes at once."""
        self.stream.close()


class ClientChannel(Channel[ServerConnection]):
    """The channel to a client."""

    __slots__ = ()
    gone = ClientGone
    detail = "the client's connection broke"
    slow = ClientStalled
    slow_detail = "the client does not take the answer"

    def __init__(self, stream: TcpStream) -> None:
        super().__init__(stream, ServerConnection())

    async def next_event(
        self, *, timeout_s: float, slow: str = "the client does not send the body"
    ) -> ProxyRequest | h11.Data | h11.EndOfMessage | None:
        """The next event of the request stream; None when the client has ended it in order.

        Args:
            timeout_s: for the octets of this one event.
            slow: what to say when they do not come in time.

        Raises:
            ClientProtocolError: see `ServerConnection.next_event`.
            ClientTimeout: too slow.
            ClientGone: the connection broke.
        """
        event = self.http.next_event()
        if event is Need.DATA:
            with deadline(timeout_s, lambda: ClientTimeout(slow)):
                while event is Need.DATA:
                    await self.receive_more()
                    event = self.http.next_event()
        return None if isinstance(event, Need) else event

    def end(self) -> None:
        """Ends our side in order, at a moment when nobody owes anything."""
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            self.stream.end_nowait()

    async def linger(self) -> None:
        """Lets the client read our last words; see `TcpStream.linger`."""
        await self.stream.linger()


class UpstreamChannel(Channel[ClientConnection]):
    """The channel to an upstream."""

    __slots__ = ()
    gone = UpstreamClosed
    detail = "upstream closed the connection"
    slow = UpstreamStalled
    slow_detail = "the origin does not take the request"

    def __init__(self, stream: TcpStream) -> None:
        super().__init__(stream, ClientConnection())

    async def next_event(
        self, *, timeout_s: float, slow: str = "the origin did not answer in time"
    ) -> Response | h11.Data | h11.EndOfMessage:
        """The next event of the response stream.

        Args:
            timeout_s: for the octets of this one event.
            slow: what to say when they do not come in time.

        Raises:
            UpstreamProtocolError: not a response that may be relayed.
            UpstreamClosed: the connection ended or broke before the message did.
            UpstreamTimeout: too slow.
        """
        event = self.http.next_event()
        if not isinstance(event, Need):
            return event
        with deadline(timeout_s, lambda: UpstreamTimeout(slow)):
            while isinstance(event, Need):
                await self.receive_more()
                event = self.http.next_event()
        return event

    @property
    def untouched(self) -> bool:
        """Whether nothing was said over it yet, by either side."""
        return not self.http.has_data() and not self.stream.is_readable()

    @property
    def reusable(self) -> bool:
        """Whether the next request may use this connection: all framed, complete, and silent."""
        return self.http.reusable and not self.stream.is_readable()
