"""Invariant: whatever heads were read before, `read_connect` says of a head what a new connection hears of it, or nothing."""

from __future__ import annotations

import sys
from dataclasses import replace

from driver import run

from tests.differential.case import Finding
from tests.protocol.traces import hear_requests, refusal
from wsproxy.errors import ClientProtocolError
from wsproxy.model import Headers, ProxyRequest
from wsproxy.protocol import request as requests
from wsproxy.protocol.request import read_connect

LINE = b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n"
SEEDS = [
    LINE + b"\r\n",
    LINE + b"Proxy-Authorization: Basic YTpi\r\n\r\n\x16\x03\x01",
    LINE + b"User-Agent: curl/8\r\nProxy-Connection: Keep-Alive\r\nProxy-Authorization:\t\r\n\r\n",
    LINE + b"Proxy-Authorization: Bearer x\r\nproxy-authorization: Basic YTpi\r\n\r\n",
    LINE + b"Content-Length: 0\r\nExpect: 100-continue\r\nX-Secret: a\r\nCookie: b\r\n\r\n",
    LINE + b"Accept: */*\r\n" * 127 + b"\r\n",
    LINE + b"Accept: */*\r\n" * 126 + b"Proxy-Authorization: Basic YTpi\r\n\r\n",
    b"CONNECT [2001:db8::1]:8443 HTTP/1.0\r\nProxy-Authorization: Basic YTpi\r\n\r\nmore\r\n\r\n",
]
_NAME = b"proxy-authorization"


def fuzz(data: bytes) -> None:
    """Has `data` read twice, the second time from memory, and heard by a connection; see above."""
    heard = hear_requests([data])
    for _ in range(2):
        try:
            read = read_connect(data)
        except ClientProtocolError as error:
            if heard.trace != [refusal(error)]:
                raise Finding(f"{refusal(error)!r}, heard {heard!r}") from error
            continue
        if read is None:
            continue
        [asked] = heard.trace
        if not isinstance(asked, ProxyRequest) or heard.rest != read.rest:
            raise Finding(f"{read!r}, heard {heard!r}")
        if read.credentials != asked.field(_NAME):
            raise Finding(f"credentials {read.credentials!r}, heard {asked!r}")
        if _outline(read.request) != _outline(asked):
            raise Finding(f"{read.request!r}, heard {asked!r}")
    held = requests._remembered
    if len(held) > requests._MAX_REMEMBERED:
        raise Finding(f"{len(held)} heads are remembered")
    for known in held.values():
        if known.field(_NAME) is not None:
            raise Finding(f"credentials are remembered: {known!r}")


def _outline(request: ProxyRequest) -> tuple[ProxyRequest, bytes]:
    """All but the credentials, also what no comparison looks at."""
    headers: Headers = tuple(one for one in request.headers if one[0].lower() != _NAME)
    return replace(request, headers=headers), request.sent_target


if __name__ == "__main__":
    run(fuzz, SEEDS, sys.argv[1:])
