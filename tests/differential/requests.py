"""Mutated requests on their way from client octets to origin octets, as `wsproxy.proxy` moves them."""

from __future__ import annotations

import random

import h11

from tests.differential.case import VIA, Finding, Tally, check_crossing
from tests.differential.mutate import mutate, split
from tests.hostile.strict import Unsafe, read_requests
from wsproxy.errors import ClientProtocolError
from wsproxy.model import ProxyRequest, RequestKind
from wsproxy.protocol.fields import safe_trailers, to_upstream
from wsproxy.protocol.http1 import ClientConnection, Need, ServerConnection

__all__ = ["SEEDS", "converse", "run_requests"]

SEEDS = (
    b"GET http://origin.example/ HTTP/1.1\r\nHost: origin.example\r\n\r\n",
    b"GET http://origin.example:8080/a?b=c HTTP/1.1\r\nHost: origin.example:8080\r\nUser-Agent: curl/8\r\n"
    b"Accept: */*\r\nProxy-Connection: Keep-Alive\r\nProxy-Authorization: Basic YTpi\r\n\r\n",
    b"GET http://[2001:db8::1]/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"HEAD http://origin.example/ HTTP/1.1\r\nHost: origin.example\r\nConnection: close\r\n\r\n",
    b"POST http://origin.example/f HTTP/1.1\r\nHost: origin.example\r\nContent-Length: 5\r\n\r\nhello",
    b"POST http://origin.example/f HTTP/1.1\r\nHost: origin.example\r\nExpect: 100-continue\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"PUT http://origin.example/f HTTP/1.1\r\nHost: origin.example\r\nTE: trailers\r\nConnection: TE\r\n"
    b"Trailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\nA \r\n0123456789\r\n0\r\nX-T: v\r\n\r\n",
    b"OPTIONS http://origin.example HTTP/1.1\r\nHost: origin.example\r\nMax-Forwards: 3\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: proxy.example\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: proxy.example:8080\r\n\r\n",
    b"CONNECT origin.example:443 HTTP/1.1\r\nHost: origin.example:443\r\n\r\n\x16\x03\x01\x00\x05hello",
    b"GET ws://origin.example/chat HTTP/1.1\r\nHost: origin.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nOrigin: http://a.example\r\n\r\n",
    b"GET http://origin.example/ HTTP/1.1\r\nHost: origin.example\r\nUpgrade: h2c\r\nConnection: Upgrade, "
    b"HTTP2-Settings, X-A\r\nHTTP2-Settings: AAMA\r\nX-A: b\r\nVia: 1.0 fred\r\n\r\n",
    b"POST http://origin.example/1 HTTP/1.1\r\nHost: origin.example\r\nContent-Length: 3\r\n\r\nabc"
    b"POST http://origin.example/2 HTTP/1.1\r\nHost: origin.example\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n0\r\n\r\nGET http://other.example/3 HTTP/1.1\r\nHost: other.example\r\n\r\n",
)  # fmt: skip


def run_requests(count: int, seed: int, tally: Tally) -> None:
    """Runs `count` mutated requests, seeded by `seed`, and adds them to `tally`."""
    rng = random.Random(seed)
    for _ in range(count):
        data = mutate(rng.choice(SEEDS), SEEDS, rng)
        pieces = split(data, rng)
        try:
            converse(pieces, tally)
        except Exception as error:
            tally.findings.append(f"{type(error).__name__}: {error}: {pieces!r}")
        tally.cases += 1


def converse(pieces: list[bytes], tally: Tally) -> None:
    """One client connection, request after request, until it is refused, turned away or ends.

    Raises:
        Finding: an origin got something unsafe.  Any other exception is a finding too.
    """
    client = ServerConnection()
    queue = iter((*pieces, b""))
    try:
        while (request := _next(client, queue)) is not None:
            if not isinstance(request, ProxyRequest):
                raise Finding(f"{request!r} where a head was due")
            if request.kind is RequestKind.CONNECT:
                tally.outcomes["tunnels"] += 1
                return
            if request.kind is RequestKind.OWN:
                _drain(client, queue)
            else:
                _forward(client, queue, request)
            tally.outcomes[request.kind.value] += 1
            if request.kind is RequestKind.UPGRADE or not _answer(client, request):
                return
    except ClientProtocolError as error:
        tally.outcomes[f"refused {error.status}"] += 1
        if client.can_respond:
            client.send_response(error.status, b"", [(b"Content-Length", b"0")])


def _next(
    client: ServerConnection, queue: object
) -> ProxyRequest | h11.Data | h11.EndOfMessage | None:
    while (event := client.next_event()) is Need.DATA:
        client.receive_data(next(queue))  # type: ignore[call-overload]
    return None if isinstance(event, Need) else event


def _drain(client: ServerConnection, queue: object) -> None:
    while not isinstance(_next(client, queue), h11.EndOfMessage):
        pass


def _answer(client: ServerConnection, request: ProxyRequest) -> bool:
    client.send_response(200, b"OK", [(b"Content-Length", b"0")])
    client.end_response([])
    return request.keep_alive and client.start_next_request()


def _forward(client: ServerConnection, queue: object, request: ProxyRequest) -> None:
    """Sends `request` on and judges what the origin got, whether or not the body came to its end."""
    upstream = ClientConnection()
    fields = to_upstream(request, via=VIA)
    if request.kind is RequestKind.UPGRADE:
        fields += [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]
    sent = [upstream.send_request(request.method, request.target.path, fields)]
    body: list[bytes] = []
    complete = False
    try:
        if request.kind is RequestKind.UPGRADE:
            sent.append(upstream.end_request([]))
            complete = True
        while not complete:
            event = _next(client, queue)
            if isinstance(event, h11.Data):
                body.append(bytes(event.data))
                sent.append(upstream.send_data(event.data))
            elif isinstance(event, h11.EndOfMessage):
                trailers = safe_trailers(event.headers.raw_items(), request.headers)
                sent.append(upstream.end_request(trailers))
                complete = True
    finally:
        _judge(b"".join(sent), request, b"".join(body), complete=complete)


def _judge(sent: bytes, request: ProxyRequest, body: bytes, *, complete: bool) -> None:
    target = request.target
    authority = str(target.host) if target.port == 80 else target.authority
    try:
        reading = read_requests(sent, authority.encode())
    except Unsafe as error:
        raise Finding(f"unsafe at the origin: {error}: {sent!r}") from error
    if len(reading.requests) != 1 or reading.tunnel:
        raise Finding(f"{len(reading.requests)} requests at the origin: {sent!r}")
    got = reading.requests[0]
    line = request.method.encode() + b" " + target.path
    if (got.line, got.body, got.complete) != (line, body, complete):
        raise Finding(f"the origin reads {got!r} in {sent!r}")
    check_crossing(request.headers, got.fields + got.trailers)
