"""What a client connection owns: its upstream connection, its answers, its leftovers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_address

import pytest
import trio

from tests.support.door import ORIGIN, Door
from tests.support.wire import Wire, tcp_pair
from wsproxy.model import Host, Peer, ProxyRequest, Target
from wsproxy.net.http1 import ClientChannel
from wsproxy.net.streams import TcpStream, tune
from wsproxy.observe.exchange import Exchange
from wsproxy.proxy import session as session_module
from wsproxy.proxy.pages import Page
from wsproxy.proxy.route import Parents, Route
from wsproxy.proxy.runtime import Live
from wsproxy.proxy.session import Session

TARGET = Target("http", Host("origin.test"), 80, b"/")
ROUTE = Route(TARGET, [ip_address(ORIGIN)], 5.0)
PAGE = Page(404, [(b"X", b"y")], b"gone")


class Ends:
    """A session and the test's end of its client connection."""

    def __init__(self, door: Door) -> None:
        near, far = tcp_pair()
        tune(near)
        self.client = Wire(far)
        self.peer = Peer(ip_address("192.0.2.1"), 5000)
        self.session = Session(ClientChannel(TcpStream(near)), self.peer, Live(door.runtime))
        self.exchange = Exchange(self.peer, trio.current_time())

    async def reads(self, data: bytes) -> ProxyRequest:
        """What the session reads when the client sends `data`."""
        await self.client.sends(data)
        request = await self.session.client.next_event(timeout_s=5)
        assert isinstance(request, ProxyRequest)
        return request


@pytest.fixture
async def ends(door: Door) -> AsyncIterator[Ends]:
    made = Ends(door)
    yield made
    made.session.close()
    made.client.closes()


async def test_a_connection_is_paired_once_its_answer_is_complete(door: Door, ends: Ends) -> None:
    session = ends.session
    assert session.paired(TARGET) is None
    channel = await session.connect(ROUTE, ends.exchange)
    origin = await door.origin.accept()
    assert session.paired(TARGET) is None, "its first request is not even sent"
    await origin.ends()

    channel = await session.connect(ROUTE, ends.exchange)
    origin = await door.origin.accept()
    channel.http.send_request("GET", b"/", [(b"Host", b"origin.test")])
    channel.http.end_request([])
    await origin.sends(b"HTTP/1.1 204 None\r\n\r\n")
    for _ in range(2):
        await channel.next_event(timeout_s=5)
    assert session.paired(TARGET) == ip_address(ORIGIN)
    assert await session.connect(ROUTE, ends.exchange) is channel
    assert (session.upstream is not None) and session.upstream.used


@pytest.mark.parametrize(
    "other", [Target("http", Host("other.test"), 80), Target("http", Host("origin.test"), 81)]
)
async def test_another_target_is_not_served_by_the_pair(
    door: Door, ends: Ends, other: Target
) -> None:
    await ends.session.connect(ROUTE, ends.exchange)
    assert ends.session.paired(other) is None
    assert ends.session.upstream is None


async def test_a_pair_that_was_not_vetted_this_time_is_replaced(door: Door, ends: Ends) -> None:
    door.network.hosts["93.184.216.35", 80] = door.origin
    await ends.session.connect(ROUTE, ends.exchange)
    elsewhere = Route(TARGET, [ip_address("93.184.216.35")], 5.0)
    await ends.session.connect(elsewhere, ends.exchange)
    await (await door.origin.accept()).ends()
    assert str(ends.exchange.dialled) == "93.184.216.35:80"


async def test_a_pair_that_was_made_another_way_is_replaced(door: Door, ends: Ends) -> None:
    here = replace(ROUTE, sources={4: ip_address("192.0.2.10")})
    await ends.session.connect(ROUTE, ends.exchange)
    await ends.session.connect(here, ends.exchange)
    await (await door.origin.accept()).ends()
    assert len(door.network.dialled) == 2
    assert ends.session.upstream is not None
    assert ends.session.upstream.way == here.way


async def test_where_a_parent_is_the_target_is_not(door: Door, ends: Ends) -> None:
    await ends.session.connect(ROUTE, ends.exchange)
    upstream = ends.session.upstream
    assert upstream is not None
    upstream.fresh = True
    assert ends.session.paired(TARGET) == ip_address(ORIGIN)
    upstream.way = (Parents("out", [], door.network, 1.0), {})
    assert ends.session.paired(TARGET) is None
    await ends.session.connect(ROUTE, ends.exchange)
    await (await door.origin.accept()).ends()
    assert len(door.network.dialled) == 2


async def test_a_pair_through_a_parent_is_told_as_one(door: Door, ends: Ends) -> None:
    await ends.session.connect(ROUTE, ends.exchange)
    upstream = ends.session.upstream
    assert upstream is not None
    through = replace(ROUTE, parents=Parents("out", [], door.network, 1.0))
    upstream.fresh, upstream.way = True, through.way
    assert ends.exchange.upstream is None
    await ends.session.connect(through, ends.exchange)
    assert ends.exchange.upstream == "out"
    assert len(door.network.dialled) == 1


async def test_a_connection_that_was_taken_is_no_longer_the_sessions(
    door: Door, ends: Ends
) -> None:
    channel = await ends.session.connect(ROUTE, ends.exchange)
    assert ends.session.take_upstream() is channel
    ends.session.close()
    assert channel.stream.sock.fileno() > 0
    channel.close()


@pytest.mark.parametrize(
    ("request_", "close", "fields"),
    [
        (b"GET / HTTP/1.1\r\nHost: p\r\n\r\n", False, b""),
        (b"GET / HTTP/1.1\r\nHost: p\r\n\r\n", True, b"Connection: close\r\n"),
        (
            b"GET / HTTP/1.1\r\nHost: p\r\nProxy-Connection: x\r\n\r\n",
            False,
            b"Proxy-Connection: keep-alive\r\n",
        ),
        (
            b"GET / HTTP/1.1\r\nHost: p\r\nProxy-Connection: x\r\n\r\n",
            True,
            b"Connection: close\r\nProxy-Connection: close\r\n",
        ),
    ],
)
async def test_an_answer_says_how_the_connection_goes_on(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, request_: bytes, close: bool, fields: bytes
) -> None:
    monkeypatch.setattr(session_module, "formatdate", lambda *, usegmt: "D")
    request = await ends.reads(request_)
    await ends.session.answer(PAGE, ends.exchange, request=request, close=close)
    await ends.client.expects(
        b"HTTP/1.1 404 Not Found\r\nX: y\r\nContent-Length: 4\r\nDate: D\r\n" + fields + b"\r\ngone"
    )
    assert ends.exchange.status == 404


async def test_an_answer_to_head_has_no_body(ends: Ends) -> None:
    request = await ends.reads(b"HEAD / HTTP/1.1\r\nHost: p\r\n\r\n")
    await ends.session.answer(PAGE, ends.exchange, request=request, close=True)
    ends.session.close()
    assert (await ends.client.answer(head=True)).field("content-length") == "4"
    await ends.client.ends()


async def test_a_discarded_body_is_read_to_its_end_and_no_further(ends: Ends) -> None:
    await ends.reads(
        b"POST / HTTP/1.1\r\nHost: p\r\nContent-Length: 4\r\n\r\nbodyGET / HTTP/1.1\r\n"
    )
    assert await ends.session.discard_body()
    assert ends.session.client.http.take_rest() == b"GET / HTTP/1.1\r\n"


async def test_a_body_is_discarded_up_to_a_size(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "MAX_DISCARDED_BYTES", 1000)
    await ends.reads(b"POST / HTTP/1.1\r\nHost: p\r\nContent-Length: 5000\r\n\r\n")
    await ends.client.sends(bytes(4999))
    assert not await ends.session.discard_body()


async def test_a_body_is_discarded_for_a_time(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "MAX_DISCARD_S", 0.05)
    await ends.reads(b"POST / HTTP/1.1\r\nHost: p\r\nContent-Length: 5\r\n\r\n")
    with trio.fail_after(10):
        assert not await ends.session.discard_body()


async def test_a_body_that_breaks_is_discarded_no_further(ends: Ends) -> None:
    await ends.reads(b"POST / HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n")
    assert not await ends.session.discard_body()


@pytest.mark.parametrize(
    ("version", "fields", "broken"),
    [
        (b"1.1", [], False),
        (b"1.0", [], True),
        (b"1.0", [(b"Content-Length", b"9")], False),
    ],
)
async def test_what_was_aborted_never_looks_complete(
    ends: Ends, version: bytes, fields: list[tuple[bytes, bytes]], broken: bool
) -> None:
    await ends.reads(b"GET / HTTP/" + version + b"\r\nHost: p\r\n\r\n")
    http = ends.session.client.http
    data = http.send_response(200, b"OK", fields) + http.send_data(b"half")
    await ends.session.client.send(data, timeout_s=5)
    await ends.client.reads_until(b"half")
    ends.session.abort()
    if broken:
        await ends.client.breaks()
    else:
        assert b"0\r\n\r\n" not in await ends.client.reads_rest()


async def test_requests_go_on_until_the_proxy_stops_or_the_client_wants_no_more(
    door: Door, ends: Ends
) -> None:
    going = await ends.reads(b"GET / HTTP/1.1\r\nHost: p\r\n\r\n")
    assert ends.session.may_go_on(going)
    door.runtime.drain.begin()
    assert not ends.session.may_go_on(going)
