"""Mutated responses on their way from origin octets to client octets, as `wsproxy.proxy` moves them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import h11

from tests.differential.case import VIA, Finding, Tally, check_crossing
from tests.differential.mutate import mutate, split
from tests.hostile.strict import Response as Seen
from tests.hostile.strict import Unsafe, read_responses
from wsproxy.errors import UpstreamClosed, UpstreamProtocolError
from wsproxy.model import BodyKind, ProxyRequest, RequestKind
from wsproxy.protocol.fields import end_to_end, safe_trailers, to_upstream
from wsproxy.protocol.handshake import check_switch, upgrade_fields
from wsproxy.protocol.http1 import ClientConnection, Fields, Need, ServerConnection
from wsproxy.protocol.response import Response, announced_framing

__all__ = ["REQUESTS", "SEEDS", "exchange", "run_responses"]

SEEDS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nServer: a\r\nDate: now\r\nContent-Type: text/html\r\nContent-Length: 5\r\n"
    b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\nhello",
    b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;a=b\r\nhello\r\nA \r\n0123456789\r\n0\r\nX-T: v\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nuntil the end",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x05hello",
    b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade, X-A\r\nX-A : b\r\n"
    b"X-B: a\r\n b\r\nContent-Length: 0\r\n\r\n",
)  # fmt: skip

_KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # this and the next: RFC 6455 §1.3
_ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
_HANDSHAKE = (
    b"GET ws://origin.example/ HTTP/1.1\r\nHost: origin.example\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: " + _KEY + b"\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
REQUESTS = (
    *(b"%b http://origin.example/ HTTP/1.1\r\nHost: origin.example\r\n\r\n" % method
      for method in (b"GET", b"GET", b"GET", b"HEAD", b"POST", b"OPTIONS")),
    b"GET http://origin.example/ HTTP/1.0\r\n\r\n",
    b"HEAD http://origin.example/ HTTP/1.0\r\n\r\n",
    _HANDSHAKE,
)  # fmt: skip
_NEVER_TO_CLIENT = {b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"te"}


@dataclass(slots=True)
class _Relayed:
    """What went to the client for one final response, and what is known about it.

    Attributes:
        sent: octets the client got.
        responses: those relayed, in order, as the proxy understood them.
        body: decoded, as the proxy understood it.
        complete: whether the final response was brought to its end.
    """

    sent: bytearray = field(default_factory=bytearray)
    responses: list[Response] = field(default_factory=list)
    body: bytes = b""
    complete: bool = False


def run_responses(count: int, seed: int, tally: Tally) -> None:
    """Runs `count` mutated responses, seeded by `seed`, and adds them to `tally`."""
    rng = random.Random(seed)
    for _ in range(count):
        head = rng.choice(REQUESTS)
        pieces = split(mutate(rng.choice(SEEDS), SEEDS, rng), rng)
        try:
            exchange(head, pieces, tally)
        except Exception as error:
            tally.findings.append(f"{type(error).__name__}: {error}: {head!r} {pieces!r}")
        tally.cases += 1


def exchange(head: bytes, pieces: list[bytes], tally: Tally) -> None:
    """Answers the request in `head` with `pieces` and judges what its client gets.

    Raises:
        Finding: it got something unsafe.  Any other exception is a finding too.
    """
    client, upstream = ServerConnection(), ClientConnection()
    client.receive_data(head)
    request = client.next_event()
    if not isinstance(request, ProxyRequest):
        raise Finding(f"{request!r} where a request was due")
    if request.kind is RequestKind.FORWARD:
        client.next_event()
    _send_request(upstream, request)
    relayed = _Relayed()
    try:
        _relay(client, upstream, request, iter((*pieces, b"")), relayed)
        tally.outcomes["relayed"] += 1
    except (UpstreamClosed, UpstreamProtocolError) as error:
        tally.outcomes[f"{type(error).__name__} {'mid-body' if relayed.sent else 'refused'}"] += 1
    finally:
        _judge(relayed, request)


def _send_request(upstream: ClientConnection, request: ProxyRequest) -> None:
    fields = to_upstream(request, via=VIA)
    if request.kind is RequestKind.UPGRADE:
        fields += [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]
    upstream.send_request(request.method, request.target.path, fields)
    upstream.end_request([])


def _next(
    upstream: ClientConnection, queue: Iterator[bytes]
) -> Response | h11.Data | h11.EndOfMessage:
    while (event := upstream.next_event()) is Need.DATA:
        upstream.receive_data(next(queue))
    if isinstance(event, Need):
        raise Finding("an upstream connection said that nothing will come")
    return event


def _relay(
    client: ServerConnection,
    upstream: ClientConnection,
    request: ProxyRequest,
    queue: Iterator[bytes],
    relayed: _Relayed,
) -> None:
    response = _read_final(client, upstream, request, queue, relayed)
    if response.status == 101:
        check_switch(response.headers, key=_KEY)
        fields = [*upgrade_fields(response.headers), (b"Via", b"1.1 " + VIA)]
        relayed.sent += client.send_interim(101, response.reason, fields)
        relayed.complete = True
        return
    fields = [*_fields(response), *announced_framing(response, request.method)]
    relayed.sent += client.send_response(response.status, response.reason, fields)
    while True:
        event = _next(upstream, queue)
        if isinstance(event, h11.Data):
            relayed.body += event.data
            relayed.sent += client.send_data(event.data)
            continue
        trailers: Fields = []
        if not isinstance(event, h11.EndOfMessage):
            raise Finding(f"{event!r} inside a body")
        if request.version == "1.1" and response.body.kind is BodyKind.CHUNKED:
            trailers = safe_trailers(event.headers.raw_items(), response.headers)
        relayed.sent += client.end_response(trailers)
        relayed.complete = True
        return


def _read_final(
    client: ServerConnection,
    upstream: ClientConnection,
    request: ProxyRequest,
    queue: Iterator[bytes],
    relayed: _Relayed,
) -> Response:
    while True:
        response = _next(upstream, queue)
        if not isinstance(response, Response):
            raise Finding(f"{response!r} where a head was due")
        if response.status == 407:
            raise UpstreamProtocolError("the origin asked for proxy credentials")
        if response.is_interim and request.version == "1.0":
            continue
        relayed.responses.append(response)
        if not response.is_interim:
            return response
        relayed.sent += client.send_interim(response.status, response.reason, _fields(response))


def _fields(response: Response) -> Fields:
    return [*end_to_end(response.headers), (b"Via", response.version.encode() + b" " + VIA)]


def _judge(relayed: _Relayed, request: ProxyRequest) -> None:
    sent = bytes(relayed.sent)
    # A close-delimited message has no visible end: a broken one ends in a reset.
    until_close = request.version == "1.0"
    try:
        seen, rest = read_responses(sent, (request.method,), ended=relayed.complete or until_close)
    except Unsafe as error:
        raise Finding(f"unsafe at the client: {error}: {sent!r}") from error
    statuses = [response.status for response in relayed.responses]
    if statuses[: len(seen)] != [response.status for response in seen] or rest:
        raise Finding(f"the client reads {seen!r} and {rest!r} in {sent!r}")
    for before, after in zip(relayed.responses, seen, strict=False):
        check_crossing(before.headers, after.fields + after.trailers)
        _check_fields(after)
    if seen and seen[-1].status >= 200 and not until_close:
        _check_final(seen[-1], relayed)


def _check_fields(response: Seen) -> None:
    forbidden = _NEVER_TO_CLIENT & {name for name, _ in response.fields}
    if forbidden:
        raise Finding(f"{forbidden!r} reached the client")
    if response.status == 101 and response.value(b"sec-websocket-accept") != _ACCEPT:
        raise Finding("a 101 that does not answer the key reached the client")


def _check_final(final: Seen, relayed: _Relayed) -> None:
    if final.body != relayed.body:
        raise Finding(f"the client reads {final.body!r}, the origin sent {relayed.body!r}")
    announced = final.value(b"content-length")
    is_whole = announced is not None and len(final.body) == int(announced)
    if final.complete != relayed.complete and not is_whole:
        raise Finding(f"complete is {final.complete} at the client, {relayed.complete} here")
