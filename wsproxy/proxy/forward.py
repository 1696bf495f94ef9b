"""Absolute-form HTTP: one request to its origin and the answer back (RFC 9110 §7).

Both bodies stream at once, each at the pace of its slower end, so an origin
may answer, refuse or half-close while the upload still runs.  A message is
only ever completed by its sender: when one side breaks, the other one's
message stays visibly unfinished.
"""

from __future__ import annotations

import math
from dataclasses import replace
from email.utils import formatdate

import h11
import trio

from wsproxy.errors import (
    LoopDetected,
    UpstreamClosed,
    UpstreamProtocolError,
    UpstreamStalled,
    UpstreamTimeout,
    WsproxyError,
)
from wsproxy.model import BodyKind, ProxyRequest
from wsproxy.net.http1 import UpstreamChannel, deadline
from wsproxy.observe.exchange import Exchange, milliseconds
from wsproxy.protocol.fields import (
    authenticates_connection,
    end_to_end,
    has_token,
    loops,
    max_forwards,
    safe_trailers,
    to_upstream,
)
from wsproxy.protocol.http1 import Fields
from wsproxy.protocol.response import Response, announced_framing
from wsproxy.proxy.content import ContentWriter
from wsproxy.proxy.own import answer_for_origin
from wsproxy.proxy.session import Session

__all__ = ["check_loop", "forward", "read_final", "relay_response"]

_MAX_INTERIM = 32
"""1xx responses to one request; more is a flood (RFC 9110 §15.2 has no bound)."""
_KEPT_PAIR = [
    (b"Proxy-Support", b"Session-Based-Authentication"),
    (b"Connection", b"Proxy-Support"),
]
"""RFC 4559 §6.  Named in `Connection`, it ends with the next proxy, which may not keep pairs."""
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


def check_loop(session: Session, request: ProxyRequest) -> None:
    """Refuses a request that has passed this very process before.

    Raises:
        LoopDetected: its Via says so (RFC 9110 §7.6.3).
    """
    if loops(request.headers, session.runtime.via):
        raise LoopDetected("this request has already been here")


async def forward(session: Session, request: ProxyRequest, exchange: Exchange) -> bool:
    """Forwards one request; True when the client's connection may go on.

    Raises:
        WsproxyError: before the response was begun, for the caller to answer;
            after that the caller closes without finishing it.
    """
    check_loop(session, request)
    route = await session.admit(request, exchange)
    hops = max_forwards(request)
    if hops == 0:
        return await answer_for_origin(session, request, exchange)
    if hops is not None:
        request = _one_hop_less(request, hops)
    upstream = await session.connect(route, exchange)
    try:
        return await _exchange(session, request, exchange, upstream)
    except UpstreamClosed:
        # An origin may close an idle connection just when we use it again; a
        # request without effect may then be repeated (RFC 9110 §9.2.2).
        if not _may_repeat(session, request, exchange):
            raise
    session.drop_upstream()
    route = await session.admit(request, exchange)
    return await _exchange(session, request, exchange, await session.connect(route, exchange))


def _may_repeat(session: Session, request: ProxyRequest, exchange: Exchange) -> bool:
    upstream = session.upstream
    return (
        upstream is not None
        and upstream.used
        and not upstream.channel.http.has_data()
        and exchange.status is None
        and request.method in _REPEATABLE
        and request.body.kind is BodyKind.NONE
    )


def _one_hop_less(request: ProxyRequest, hops: int) -> ProxyRequest:
    headers = tuple(
        (name, b"%d" % (hops - 1)) if name.lower() == b"max-forwards" else (name, value)
        for name, value in request.headers
    )
    return replace(request, headers=headers)


async def _exchange(
    session: Session, request: ProxyRequest, exchange: Exchange, upstream: UpstreamChannel
) -> bool:
    timeouts = session.runtime.timeouts
    fields, path = to_upstream(request, via=session.runtime.via), request.target.path
    if session.upstream is not None and session.upstream.parent is not None:
        fields += await session.upstream.introduce()
        path = str(request.target).encode("latin-1")
    head = upstream.http.send_request(request.method, path, fields)
    await upstream.send(head, timeout_s=timeouts.response_head_s)
    upload = _Upload(session, request, exchange, upstream)
    if request.body.kind is BodyKind.NONE:
        await upload.run()
        await _download(session, request, exchange, upload)
    else:
        await _both_ways(session, request, exchange, upload)
    complete = session.client.http.request_complete
    go_on = session.may_go_on(request) and not _parts(session, ends=not upstream.reusable)
    if not upstream.reusable or not go_on:
        session.drop_upstream()
    if not complete and not upload.withheld:
        complete = await session.discard_body()
    return complete and go_on


def _parts(session: Session, *, ends: bool) -> bool:
    """Whether the end of the origin's connection has to be that of the client's.

    It has if the client authenticated the one and takes the other for it.
    """
    return ends and session.upstream is not None and session.upstream.authenticated


class _Upload:
    """The request's body on its way to the origin.

    `error` is set when the client failed: the whole exchange is over then.
    When it is the origin that takes no more, the upload just ends (`refused`), and the
    response decides what becomes of the exchange.
    """

    def __init__(
        self,
        session: Session,
        request: ProxyRequest,
        exchange: Exchange,
        upstream: UpstreamChannel,
    ) -> None:
        self._session = session
        self._request = request
        self._exchange = exchange
        self.upstream = upstream
        self.error: WsproxyError | None = None
        self.refused: WsproxyError | None = None
        self.withheld = request.expects_continue
        self._over = False
        self.response_deadline: trio.CancelScope | None = None
        ways = session.allowances
        self._content = ContentWriter(
            upstream, ways and ways[0], moved=self._count, waits=self.grant_time
        )

    def _count(self, size: int) -> None:
        self._exchange.bytes_up += size

    async def run(self) -> None:
        """Sends the body to its end, or to the end of somebody's patience."""
        try:
            while not await self._step():
                self.grant_time()
        except (UpstreamClosed, UpstreamTimeout) as error:
            self.refused = error
        except WsproxyError as error:
            self.error = error
        self._over = True
        self.grant_time()

    async def _step(self) -> bool:
        """Moves one piece; True when that was the last."""
        timeouts = self._session.runtime.timeouts
        patience_s = timeouts.body_s
        if self.withheld:
            # The client waits for the origin's 100; its own patience is shorter.
            patience_s += timeouts.response_head_s
        client = self._session.client
        event = None
        if not client.http.request_complete:  # as it is when the request is repeated
            event = await client.next_event(
                timeout_s=patience_s, slow="the client stopped in the middle of its request"
            )
        self.withheld = False
        http = self.upstream.http
        if isinstance(event, h11.Data):
            await self._content.send(event.data, timeout_s=timeouts.body_s)
            await trio.lowlevel.checkpoint()
            return False
        trailers: Fields = []
        if isinstance(event, h11.EndOfMessage):
            trailers = safe_trailers(event.headers.raw_items(), self._request.headers)
        await self.upstream.send(http.end_request(trailers), timeout_s=timeouts.body_s)
        return True

    def grant_time(self, more_s: float = 0.0) -> None:
        """Moves the deadline of the origin's answer.

        Its time counts from the last octet it gets.  While the client owes the
        next one, it is the client's time that runs, and must end first.

        Args:
            more_s: seconds that neither is to blame for.
        """
        if self.response_deadline is not None:
            timeouts = self._session.runtime.timeouts
            owed_s = 0.0 if self._over or self.withheld else timeouts.body_s
            patience_s = timeouts.response_head_s + owed_s + more_s
            self.response_deadline.deadline = trio.current_time() + patience_s


async def _both_ways(
    session: Session, request: ProxyRequest, exchange: Exchange, upload: _Upload
) -> None:
    failure: WsproxyError | None = None

    async def run_upload() -> None:
        await upload.run()
        if upload.error is not None:
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_upload)
        try:
            response = await _download(session, request, exchange, upload)
            if upload.withheld or _refuses_body(response):
                nursery.cancel_scope.cancel()
        except WsproxyError as error:
            failure = error
            nursery.cancel_scope.cancel()
    if upload.error is not None:
        raise upload.error
    if isinstance(failure, UpstreamTimeout) and isinstance(upload.refused, UpstreamStalled):
        raise upload.refused
    if failure is not None:
        raise failure


def _refuses_body(response: Response) -> bool:
    """Whether upstream does not want the rest of the request (RFC 9112 §9.5).

    "If the client sees a response that indicates the server does not wish to
    receive the message body and is closing the connection, the client SHOULD
    immediately cease transmitting the body".
    """
    return response.status >= 300 and not response.keep_alive


async def _download(
    session: Session, request: ProxyRequest, exchange: Exchange, upload: _Upload
) -> Response:
    upstream = upload.upstream
    timeout_s = session.runtime.timeouts.response_head_s
    with deadline(timeout_s, _silent_origin) as upload.response_deadline:
        upload.grant_time()
        response = await read_final(session, request, upstream, upload)
    upload.response_deadline = None
    if response.status == 101:  # pragma: no cover - h11 has refused it, for it was not proposed
        raise UpstreamProtocolError("101 that nobody asked for")
    _note_authentication(session, request, response)
    close = not session.may_go_on(request) or upload.withheld
    close = close or _parts(session, ends=not response.keep_alive)
    await relay_response(session, request, exchange, response, upstream, close=close)
    return response


def _note_authentication(session: Session, request: ProxyRequest, response: Response) -> None:
    upstream = session.upstream
    assert upstream is not None, "it has answered"
    upstream.hear(response.headers)
    if authenticates_connection(request.headers, b"authorization") or (
        authenticates_connection(response.headers, b"www-authenticate")
    ):
        upstream.authenticated = True


async def read_final(
    session: Session,
    request: ProxyRequest,
    upstream: UpstreamChannel,
    upload: _Upload | None = None,
) -> Response:
    """The final response's head; interim ones go to clients that know them (RFC 9110 §15.2).

    Raises:
        UpstreamProtocolError: no response to relay, or a flood of interim ones.
        UpstreamClosed: the connection ended first.
        ConnectFailed: a parent refuses us.
    """
    for _ in range(_MAX_INTERIM + 1):
        response = await upstream.next_event(timeout_s=math.inf)
        assert isinstance(response, Response), "heads come first"
        if not response.is_interim:
            break
        if upload is not None and response.status == 100:
            upload.withheld = False
            upload.grant_time()
        if request.version == "1.1":
            fields = _response_fields(session, response)
            http = session.client.http
            data = http.send_interim(response.status, response.reason, fields)
            await session.client.send(data, timeout_s=session.runtime.timeouts.body_s)
    else:
        raise UpstreamProtocolError(f"more than {_MAX_INTERIM} interim responses")
    if response.status == 407:
        assert session.upstream is not None, "it has answered"
        raise session.upstream.refused()
    return response


def _response_fields(session: Session, response: Response) -> Fields:
    fields = end_to_end(response.headers)
    via = response.version.encode("ascii") + b" " + session.runtime.via
    return [*fields, (b"Via", via)]


async def relay_response(
    session: Session,
    request: ProxyRequest,
    exchange: Exchange,
    response: Response,
    upstream: UpstreamChannel,
    *,
    close: bool,
) -> None:
    """Relays a final response whose head was read, to its end.

    Raises:
        WsproxyError: one side broke; what the client has is visibly unfinished.
    """
    client, timeouts = session.client, session.runtime.timeouts
    fields = _response_fields(session, response)
    fields += announced_framing(response, request.method)
    if not any(name.lower() == b"date" for name, _value in fields):
        fields.append((b"Date", formatdate(usegmt=True).encode("ascii")))
    fields += session.remembered.answer()
    if close:
        fields.append((b"Connection", b"close"))
    elif _keeps_pair(session, response):
        fields += _KEPT_PAIR
    exchange.status = response.status
    exchange.first_byte_ms = milliseconds(exchange.began_at, trio.current_time())
    head = client.http.send_response(response.status, response.reason, fields)
    await client.send(head, timeout_s=timeouts.stalled_s)

    def count(size: int) -> None:
        exchange.bytes_down += size

    ways = session.allowances
    content = ContentWriter(client, ways and ways[1], moved=count)
    while True:
        event = await upstream.next_event(
            timeout_s=timeouts.body_s, slow="the origin stopped in the middle of its answer"
        )
        if isinstance(event, h11.Data):
            await content.send(event.data, timeout_s=timeouts.stalled_s)
            await trio.lowlevel.checkpoint()
            continue
        assert isinstance(event, h11.EndOfMessage)
        trailers: Fields = []
        if request.version == "1.1" and response.body.kind is BodyKind.CHUNKED:
            trailers = safe_trailers(event.headers.raw_items(), response.headers)
        data = client.http.end_response(trailers)
        await client.send(data, timeout_s=timeouts.stalled_s)
        return


def _keeps_pair(session: Session, response: Response) -> bool:
    """Whether to tell the client that it may authenticate its connection to the origin.

    Inside a tunnel it knows of no proxy.  Of a parent's connection the parent has to say it.
    """
    if session.inside is not None or response.status != 401:
        return False
    if session.upstream is not None and session.upstream.parent is not None:
        return has_token(response.headers, b"proxy-support", b"session-based-authentication")
    return authenticates_connection(response.headers, b"www-authenticate")


def _silent_origin() -> WsproxyError:
    return UpstreamTimeout("the origin did not answer in time")
