"""Upgrade: a WebSocket handshake in absolute-form (RFC 6455 §4, RFC 9110 §7.8)."""

from __future__ import annotations

import trio

from wsproxy.errors import UpstreamTimeout
from wsproxy.model import ProxyRequest
from wsproxy.net.http1 import deadline
from wsproxy.observe.exchange import Exchange
from wsproxy.protocol.fields import to_upstream
from wsproxy.protocol.handshake import check_switch, upgrade_fields
from wsproxy.protocol.response import Response
from wsproxy.proxy.agreed import agreed_on, limited_fields
from wsproxy.proxy.forward import check_loop, read_final, relay_response
from wsproxy.proxy.open_tunnel import OpenTunnel
from wsproxy.proxy.plans import Plan
from wsproxy.proxy.session import Session
from wsproxy.proxy.websocket import WebSocket

__all__ = ["upgrade"]


async def upgrade(session: Session, request: ProxyRequest, exchange: Exchange) -> OpenTunnel | bool:
    """Passes the handshake on; a tunnel when the origin switches, else its ordinary response.

    Nothing the client sent behind its handshake goes upstream before a valid
    101.  After an ordinary response the connection ends, since such octets may
    still be on their way and are no requests.

    Raises:
        UpstreamProtocolError: a 101 that does not answer this handshake.
        WsproxyError: what `Gate.admit`, `Route.connect` and the relay raise.
    """
    check_loop(session, request)
    route = await session.admit(request, exchange)
    _plan(session, exchange)
    if session.inside is None:
        session.drop_upstream()
    upstream = await session.connect(route, exchange, tunnel=True)
    plan, runtime = _plan(session, exchange), session.runtime
    fields = to_upstream(request, via=runtime.via)
    if plan is not None:
        fields = limited_fields(fields, plan.offer_policy)
    fields += [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
    ]
    data = upstream.http.send_request(request.method, request.target.path, fields)
    data += upstream.http.end_request([])
    timeout_s = runtime.timeouts.response_head_s
    await upstream.send(data, timeout_s=timeout_s)
    with deadline(timeout_s, _silent_origin):
        response = await read_final(session, request, upstream)
    if response.status == 101:
        return await _switch(session, request, exchange, response, plan)
    await relay_response(session, request, exchange, response, upstream, close=True)
    return False


def _plan(session: Session, exchange: Exchange) -> Plan | None:
    """What is configured now for the rule of now, and noted."""
    session.confirm(exchange)
    plan = session.live.runtime.plans.of(exchange.rule)
    exchange.inspection = None if plan is None else plan.mode
    return plan


async def _switch(
    session: Session,
    request: ProxyRequest,
    exchange: Exchange,
    response: Response,
    plan: Plan | None,
) -> OpenTunnel:
    agreed = None
    if plan is None:
        check_switch(response.headers, key=request.field(b"sec-websocket-key") or b"")
    else:
        agreed = agreed_on(exchange, request, response.headers, plan)
    client = session.client
    via = (b"Via", b"1.1 " + session.runtime.via)
    headers = [*upgrade_fields(response.headers), via, *session.remembered.answer()]
    data = client.http.send_interim(101, response.reason, headers)
    await client.send(data, timeout_s=session.runtime.timeouts.body_s)
    exchange.status = 101
    upstream = session.take_upstream()
    early_up, early_down = client.take_rest(), upstream.take_rest()
    inspection = None
    if plan is not None and agreed is not None:
        now = trio.current_time()
        pace = session.runtime.quotas.shares.messages(exchange, now)
        inspection = WebSocket(plan, session.runtime.plans.recording, agreed, now, pace)
    return OpenTunnel(
        client=client.stream.detach(),
        upstream=upstream.stream.detach(),
        exchange=exchange,
        early_up=early_up,
        early_down=early_down,
        inspection=inspection,
    )


def _silent_origin() -> UpstreamTimeout:
    return UpstreamTimeout("the origin did not answer the handshake in time")
