"""The front door: the life of one client connection, from accept to close.

Read one head, give it to the story it belongs to, write its record, and again.
A story either says whether the connection may go on, or returns a tunnel; then
all that belonged to HTTP is let go and only two sockets remain.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from wsproxy.errors import (
    AuthContinue,
    AuthRequired,
    ClientGone,
    ClientProtocolError,
    ClientStalled,
    ClientTimeout,
    ClientTlsError,
    ConnectTimeout,
    Denied,
    LimitReached,
    QuotaSpent,
    ResolveTimeout,
    UpstreamClosed,
    UpstreamProtocolError,
    UpstreamStalled,
    UpstreamTimeout,
    WsproxyError,
    face,
)
from wsproxy.model import CloseReason, Peer, ProxyRequest, RequestKind, Side
from wsproxy.net.http1 import ClientChannel
from wsproxy.net.streams import TcpStream
from wsproxy.net.tls_socket import Endpoint
from wsproxy.observe.exchange import Exchange
from wsproxy.protocol.handshake import asks_for_websocket
from wsproxy.protocol.inside import check_host_inside
from wsproxy.proxy.connect import connect
from wsproxy.proxy.forward import forward
from wsproxy.proxy.intercept import Intercepted
from wsproxy.proxy.open_tunnel import OpenTunnel, begin_tunnel
from wsproxy.proxy.own import own
from wsproxy.proxy.pages import refusal
from wsproxy.proxy.runtime import Live
from wsproxy.proxy.session import Begun, Session
from wsproxy.proxy.upgrade import upgrade

__all__ = ["STORIES", "blame", "serve", "serve_admitted", "turn_away"]

log = logging.getLogger("wsproxy")

Outcome = OpenTunnel | Intercepted | bool
Story = Callable[[Session, ProxyRequest, Exchange], Awaitable[Outcome]]

STORIES: dict[RequestKind, Story] = {
    RequestKind.CONNECT: connect,
    RequestKind.FORWARD: forward,
    RequestKind.UPGRADE: upgrade,
    RequestKind.OWN: own,
}


async def serve(sock: Endpoint, peer: Peer, *, live: Live, begun: Begun | None = None) -> None:
    """Serves one accepted connection, to its end or until it has become a tunnel.

    Args:
        sock: owned from here on.
        peer: its far end.
        live: what is configured.
        begun: what was done of it already.
    """
    session = Session(ClientChannel(TcpStream(sock)), peer, live, begun)
    try:
        live.runtime.occupancy.enter(peer.address)
    except LimitReached as error:
        await turn_away(session, error)
        return
    await serve_admitted(session)


async def serve_admitted(session: Session) -> None:
    """Serves a connection that has its place, and gives the place back in the end."""
    # The same after a reload.
    occupancy = session.runtime.occupancy
    tunnel: OpenTunnel | Intercepted | None = None
    try:
        tunnel = await _converse(session)
        if isinstance(tunnel, Intercepted):
            tunnel = await _converse_inside(tunnel)
    finally:
        if not isinstance(tunnel, OpenTunnel):
            occupancy.leave(session.peer.address)
    if isinstance(tunnel, OpenTunnel):
        begin_tunnel(tunnel, session.live)


async def turn_away(session: Session, error: WsproxyError) -> None:
    """Says why, unless so many are being told already that even this would cost too much."""
    runtime = session.runtime
    exchange = Exchange(session.peer, trio.current_time())
    try:
        with runtime.occupancy.turning_away() as polite:
            try:
                if polite:
                    await _refuse(session, None, exchange, error)
                else:
                    exchange.fail(error)
                    exchange.end(*blame(error))
            finally:
                runtime.log("access", exchange)
            if polite:
                await session.client.linger()
    finally:
        session.close()


async def _converse_inside(tunnel: Intercepted) -> OpenTunnel | None:
    """The conversation inside a tunnel; the tunnel's records are written when it begins and ends."""
    # Not `runtime`: it would be kept for as long as the tunnel lasts.
    exchange, live = tunnel.exchange, tunnel.session.live
    live.runtime.log("open", exchange)
    opened: OpenTunnel | Intercepted | None = None
    try:
        with suppress(AuthRequired, Denied), live.runtime.standing.interruptible(exchange):
            opened = await _converse(tunnel.session)
    except trio.Cancelled:
        exchange.end(Side.PROXY, CloseReason.DRAINED)
        raise
    finally:
        if exchange.revoked is not None:
            exchange.end(Side.PROXY, CloseReason.REVOKED)
        if opened is None:
            tunnel.close(*tunnel.session.ending)
    assert not isinstance(opened, Intercepted), "no CONNECT inside"
    return None if opened is None else opened._replace(outer=exchange, over=tunnel.close)


async def _converse(session: Session) -> OpenTunnel | Intercepted | None:
    """Request after request; what one of them opened, if it did."""
    first = True
    try:
        while (began_at := await _wait_for_request(session, first=first)) is not None:
            outcome = await _serve_request(session, session.new_exchange(began_at))
            if not isinstance(outcome, bool):
                return outcome
            if not outcome or not session.client.http.start_next_request():
                session.drop_upstream()
                await session.client.linger()
                break
            first = False
            # Pipelined requests need no I/O that would let others have their turn.
            await trio.lowlevel.checkpoint()
        else:
            session.client.end()
        return None
    finally:
        session.close()


async def _wait_for_request(session: Session, *, first: bool) -> float | None:
    """When the next request began to arrive; None when there will be none.

    A connection that never said anything still leaves a record.
    """
    http = session.client.http
    by, reason, opened_at = Side.CLIENT, CloseReason.EOF, 0.0
    try:
        if not http.has_data() and not session.client.receive_now():
            opened_at = trio.current_time()
            reason = await _wait_for_data(session, first=first)
            by = Side.CLIENT if reason is CloseReason.EOF else Side.PROXY
    except ClientGone:
        reason = CloseReason.RESET
    session.ending = by, reason
    if http.has_data():
        began_at = trio.current_time()
        session.waited_s = began_at - opened_at if first and opened_at else 0.0
        return began_at
    if first and session.inside is None:
        exchange = Exchange(session.peer, opened_at or trio.current_time())
        exchange.end(by, reason)
        session.runtime.log("access", exchange)
    return None


async def _wait_for_data(session: Session, *, first: bool) -> CloseReason:
    """Waits for the client to say anything; why it ended, if it did not."""
    timeouts, drain = session.runtime.timeouts, session.runtime.drain
    with trio.move_on_after(timeouts.request_head_s if first else timeouts.keep_alive_s) as scope:
        with drain.interrupting(scope):
            await session.client.receive_more()
    if not scope.cancelled_caught:
        return CloseReason.EOF
    return CloseReason.DRAINED if drain.draining else CloseReason.TIMEOUT


async def _serve_request(session: Session, exchange: Exchange) -> Outcome:
    """One request, answered and recorded; see `Story` for what is returned."""
    request: ProxyRequest | None = None
    outcome: Outcome = False
    try:
        request = await _read_head(session, exchange)
        if request is not None:
            exchange.begin(request, trio.current_time())
            if not session.begun.noted:
                session.runtime.quotas.take(session.peer.address, trio.current_time())
            session.begun.noted = False
            if session.inside is not None:
                request = session.inside.interpret(request)
                exchange.begin(request, trio.current_time())
                check_host_inside(request, session.inside.target)
            with session.runtime.standing.interruptible(exchange):
                outcome = await STORIES[request.kind](session, request, exchange)
            session.remembered.legs.clear()
    except WsproxyError as error:
        outcome = await _refuse(session, request, exchange, error)
    except Exception as error:
        await _refuse(session, request, exchange, error)
        raise
    except trio.Cancelled:
        outer = session.inside.exchange if session.inside is not None else exchange
        revoked = outer.revoked is not None
        exchange.end(Side.PROXY, CloseReason.REVOKED if revoked else CloseReason.DRAINED)
        raise
    finally:
        if isinstance(outcome, bool):
            if not outcome:
                exchange.end(Side.CLIENT, CloseReason.EOF)
                assert exchange.closed_by is not None
                assert exchange.reason is not None
                session.ending = exchange.closed_by, exchange.reason
            session.runtime.quotas.leave(exchange)
            session.runtime.log("access", exchange)
    return outcome


async def _read_head(session: Session, exchange: Exchange) -> ProxyRequest | None:
    """The request's head; None when the client left in the middle of nothing."""
    event = await session.client.next_event(
        timeout_s=session.runtime.timeouts.request_head_s - session.waited_s,
        slow="the request head did not arrive in time",
    )
    if event is None:
        return None
    assert isinstance(event, ProxyRequest), "heads come first"
    return event


async def _refuse(
    session: Session, request: ProxyRequest | None, exchange: Exchange, error: Exception
) -> bool:
    """Answers what went wrong, if it still can; True when the connection may go on."""
    exchange.fail(error)
    revoked = error is exchange.revoked
    exchange.end(*((Side.PROXY, CloseReason.REVOKED) if revoked else blame(error)))
    log.log(_LEVELS[face(error).level], "%s: %s", exchange.id, exchange.detail)
    if not isinstance(error, AuthRequired):  # nothing was asked of the origin, whose legs may go on
        session.drop_upstream()
    if isinstance(error, ClientGone):
        return False
    if not session.client.http.can_respond:
        session.abort()
        return False
    go_on = _may_go_on_after(session, request, error)
    if not isinstance(error, AuthContinue):
        session.remembered.legs.clear()
    page = refusal(
        error,
        session=exchange.id,
        request=request,
        challenges=_challenges(session, error),
    )
    try:
        await session.answer(page, exchange, request=request, close=not go_on)
        if request is not None and _body_is_coming(request, error):
            go_on = await session.discard_body() and go_on
    except WsproxyError:
        return False
    return go_on


def _challenges(session: Session, error: Exception) -> list[bytes]:
    if isinstance(error, AuthContinue):
        return [error.challenge]
    refusal = error if isinstance(error, AuthRequired) else None
    # Of the gate of now: it may be the one that refuses.
    return session.live.runtime.gate.challenges(trio.current_time(), refusal=refusal)


def _body_is_coming(request: ProxyRequest, error: Exception) -> bool:
    """Whether the client is likely to send its body on: it sent none that broke, and waits for no 100."""
    return not request.expects_continue and not isinstance(
        error, ClientProtocolError | ClientTimeout
    )


def _may_go_on_after(session: Session, request: ProxyRequest | None, error: Exception) -> bool:
    """Whether a refusal leaves the connection usable.

    Never after CONNECT or a handshake, but in the middle of an authentication: what
    follows was meant for somebody else (RFC 9931).  Never after broken framing, and not while the client may
    or may not send the body it has announced with `Expect`.
    """
    if request is None:
        return False
    if asks_for_websocket(request.headers):
        return False
    if isinstance(error, AuthContinue):
        # The next leg comes over this connection (RFC 4559 §6), and nothing else may.
        return session.may_go_on(request) and not session.client.http.has_data()
    if request.kind in (RequestKind.CONNECT, RequestKind.UPGRADE):
        return False
    harmless = not isinstance(error, ClientProtocolError | ClientTimeout | LimitReached)
    known = isinstance(error, WsproxyError) and harmless
    return known and session.may_go_on(request) and not request.expects_continue


def blame(error: Exception) -> tuple[Side, CloseReason]:
    """Who ended a request that failed with `error`, and why."""
    match error:
        case ClientGone():
            return Side.CLIENT, CloseReason.RESET
        case ClientProtocolError() | ClientTlsError():
            return Side.CLIENT, CloseReason.PROTOCOL
        case ClientStalled():
            return Side.CLIENT, CloseReason.STALLED
        case UpstreamStalled():
            return Side.UPSTREAM, CloseReason.STALLED
        case QuotaSpent():
            return Side.PROXY, CloseReason.QUOTA
        case UpstreamProtocolError():
            return Side.UPSTREAM, CloseReason.PROTOCOL
        case UpstreamClosed():
            broken = isinstance(error.__cause__, trio.BrokenResourceError)
            return Side.UPSTREAM, CloseReason.RESET if broken else CloseReason.EOF
        case ClientTimeout() | UpstreamTimeout() | ConnectTimeout() | ResolveTimeout():
            return Side.PROXY, CloseReason.TIMEOUT
        case WsproxyError():
            return Side.PROXY, CloseReason.REFUSED
        case _:
            return Side.PROXY, CloseReason.INTERNAL


_LEVELS = {"info": logging.DEBUG, "warning": logging.WARNING, "error": logging.ERROR}
