"""Ways out: where connections come from, and what a parent is to blame for."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest
import trio

from tests.support.fakenet import FakeNetwork
from wsproxy.errors import ConnectFailed, SourceUnavailable
from wsproxy.model import Host, Peer, Target
from wsproxy.net.parents import Parent
from wsproxy.observe.exchange import Exchange
from wsproxy.proxy.route import Parents, Route, Sources

LOOPBACK = ip_address("127.0.0.1")
HERE: Sources = {4: ip_address("127.0.0.5")}
GONE: Sources = {4: ip_address("192.0.2.10")}


def notebook() -> Exchange:
    return Exchange(Peer(LOOPBACK, 1), trio.current_time())


def target(listener: socket.socket) -> Target:
    return Target("http", Host("x.test"), listener.getsockname()[1])


def parents_at(port: int) -> Parents:
    parent = Parent(name="p", kind="http", host=Host("127.0.0.1", LOOPBACK), port=port)
    return Parents("out", [parent], FakeNetwork(), 5.0)


async def test_a_connection_comes_from_the_source_and_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        route = Route(target(listener), [LOOPBACK], 5.0, sources=HERE)
        exchange = notebook()
        sock, _address, _parent = await route.connect(exchange)
        accepted, peer = listener.accept()
        accepted.close()
        sock.close()
    assert (peer[0], str(exchange.source)) == ("127.0.0.5", "127.0.0.5")


async def test_a_connection_to_a_parent_comes_from_the_source_of_the_rule() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        parents = parents_at(listener.getsockname()[1])
        route = Route(target(listener), (), 5.0, parents, HERE)
        exchange = notebook()
        endpoint, _address, parent = await route.connect(exchange, tunnel=False)
        accepted, peer = listener.accept()
        accepted.close()
        endpoint.close()
    assert parent is not None
    assert (peer[0], str(exchange.source)) == ("127.0.0.5", "127.0.0.5")


async def test_a_source_that_is_gone_is_not_the_parents_fault() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        parents = parents_at(listener.getsockname()[1])
        with pytest.raises(SourceUnavailable):
            await Route(target(listener), (), 5.0, parents, GONE).connect(notebook())
        assert parents._down_until == {}
    with pytest.raises(ConnectFailed):
        await Route(target_of(1), (), 5.0, parents_at(1), HERE).connect(notebook())


def target_of(port: int) -> Target:
    return Target("http", Host("x.test"), port)


async def test_a_source_that_is_gone_is_no_connection() -> None:
    exchange = notebook()
    with pytest.raises(SourceUnavailable):
        await Route(target_of(80), [LOOPBACK], 5.0, sources=GONE).connect(exchange)
    with pytest.raises(SourceUnavailable):
        Route(target_of(80), [LOOPBACK], 5.0, sources=GONE).connect_nowait(exchange)
    assert (exchange.dialled, exchange.source) == (None, None)


def test_only_one_address_that_can_be_reached_is_dialled_at_once() -> None:
    both = [ip_address("::1"), LOOPBACK]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        route = Route(target(listener), both, 5.0)

        async def begin(one: Route) -> str | None:
            attempt = one.connect_nowait(notebook())
            if attempt is None:
                return None
            with attempt.sock:
                return str(attempt.address)

        assert trio.run(begin, route) is None
        assert trio.run(begin, Route(route.target, both, 5.0, sources=HERE)) == "127.0.0.1"
