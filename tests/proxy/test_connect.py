"""CONNECT: what the client and the target see, and what is recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest
import trio

from tests.support.door import ORIGIN, Door, credentials, open_door, write_users
from tests.support.wire import tcp_pair
from wsproxy.errors import ConnectTimeout, Denied, ResolveTimeout
from wsproxy.model import CloseReason, Peer
from wsproxy.observe.exchange import Exchange
from wsproxy.proxy.open_tunnel import OpenTunnel, begin_tunnel
from wsproxy.proxy.runtime import Live

CONNECT = b"CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    """The origin listens at 443 too."""
    async with open_door(tmp_path) as opened:
        opened.network.hosts[ORIGIN, 443] = opened.origin
        yield opened


async def test_a_tunnel_carries_both_directions_until_both_end(door: Door) -> None:
    client = await door.client()
    await client.sends(CONNECT)
    await client.expects(ESTABLISHED)
    target = await door.origin.accept()
    await client.sends(b"ping")
    await target.expects(b"ping")
    client.shuts()
    await target.ends()
    await target.sends(b"pong!")
    target.shuts()
    assert await client.reads_rest() == b"pong!"
    (record,) = await door.access()
    (opened,) = await door.access(event="open")
    assert (opened["id"], opened["status"]) == (record["id"], 200)
    assert (record["bytes_up"], record["bytes_down"]) == (4, 5)
    assert (record["kind"], record["target"]) == ("connect", "origin.test:443")
    assert (record["closed_by"], record["reason"]) == ("client", "eof")


async def test_octets_sent_ahead_of_the_answer_reach_the_target_once(door: Door) -> None:
    client = await door.client()
    await client.sends(CONNECT + b"hello")
    target = await door.origin.accept()
    await client.expects(ESTABLISHED)
    await target.expects(b"hello")
    client.shuts()
    await target.ends()


async def test_an_old_client_gets_the_same_answer(door: Door) -> None:
    client = await door.client()
    await client.sends_bytewise(b"CONNECT origin.test:443 HTTP/1.0\r\n\r\n")
    await client.expects(ESTABLISHED)


async def test_a_connect_follows_requests_on_the_same_connection(door: Door) -> None:
    client = await door.client()
    await client.sends(b"GET / HTTP/1.1\r\nHost: proxy\r\n\r\n")
    await client.answer()
    await client.sends(CONNECT)
    await client.expects(ESTABLISHED)
    (await door.origin.accept()).closes()
    await client.ends()


async def test_a_connect_closes_the_upstream_connection_of_earlier_requests(door: Door) -> None:
    client = await door.client()
    await client.sends(b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n")
    origin = await door.origin.accept()
    await origin.reads_until(b"\r\n\r\n")
    await origin.sends(b"HTTP/1.1 204 None\r\n\r\n")
    await client.reads_until(b"\r\n\r\n")
    await client.sends(CONNECT)
    await client.expects(ESTABLISHED)
    await origin.ends()


@pytest.mark.parametrize(
    ("host", "status", "token"),
    [
        ("nowhere.test:443", 502, "dns_error"),
        ("slow.test:443", 504, "dns_timeout"),
        ("origin.test:444", 502, "connection_refused"),
        ("silent.test:443", 504, "connection_timeout"),
        ("127.0.0.1:443", 403, "destination_ip_prohibited"),
    ],
)
async def test_a_refused_connect_closes_and_nothing_behind_it_is_processed(
    door: Door, host: str, status: int, token: str
) -> None:
    door.network.names["slow.test"] = ResolveTimeout("the resolver did not answer")
    door.network.names["silent.test"] = ["93.184.216.99"]
    door.network.hosts["93.184.216.99", 443] = ConnectTimeout("no answer")
    client = await door.client()
    await client.sends(
        b"CONNECT %b HTTP/1.1\r\nHost: h\r\n\r\n" % host.encode()
        + b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n"
    )
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (status, "close")
    assert f"; error={token};" in (answer.field("proxy-status") or "")
    await client.ends()
    client.closes()
    (record,) = await door.access()
    assert (record["status"], record["error"], record["address"]) == (status, token, None)
    assert "origin.test" not in door.network.asked or host == "origin.test:444"


async def test_a_407_to_connect_closes_too(tmp_path: Path) -> None:
    write_users(tmp_path, alice="secret")
    config = "auth: {required: true, methods: [{type: basic, users: users}]}\n"
    async with open_door(tmp_path, config + "policy: {default: allow}") as door:
        door.network.hosts[ORIGIN, 443] = door.origin
        client = await door.client()
        await client.sends(CONNECT)
        answer = await client.answer()
        assert (answer.status, answer.field("connection")) == (407, "close")
        await client.ends()
        client.closes()
        assert door.network.asked == []
        again = await door.client()
        await again.sends(CONNECT[:-2] + credentials("alice", "secret") + b"\r\n")
        await again.expects(ESTABLISHED)
        (await door.origin.accept()).closes()
        await again.ends()
        again.closes()
        _refused, record = await door.access(2)
        assert (record["user"], record["status"]) == ("alice", 200)


async def test_a_client_that_left_before_the_answer_leaves_no_tunnel(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door:
        client = await door.client()
        await client.sends(b"CONNECT origin.test:80 HTTP/1.1\r\nHost: h\r\n\r\n")
        client.resets()
        target = await door.origin.accept()
        await target.ends()
        (record,) = await door.access()
        assert (record["status"], record["closed_by"], record["reason"]) == (
            None,
            "client",
            "reset",
        )


async def test_a_tunnel_that_is_cut_while_stopping_is_recorded_as_drained(door: Door) -> None:
    near, client = tcp_pair()
    far, target = tcp_pair()
    for sock in (near, far):
        sock.setblocking(False)
    peer = Peer(ip_address("127.0.0.1"), 1)
    door.runtime.occupancy.enter(peer.address)
    exchange = Exchange(peer, trio.current_time())
    begin_tunnel(OpenTunnel(near, far, exchange), Live(door.runtime))
    assert door.runtime.occupancy.open == 1
    door.runtime.engine.end_all(CloseReason.DRAINED)
    assert door.runtime.occupancy.open == 0
    client.close()
    target.close()
    (record,) = await door.access()
    assert (record["closed_by"], record["reason"]) == ("proxy", "drained")


async def test_a_tunnel_is_ended_by_its_deadlines(tmp_path: Path) -> None:
    config = "policy: {default: allow}\ntimeouts: {idle: 50ms}"
    async with open_door(tmp_path, config) as door:
        door.network.hosts[ORIGIN, 443] = door.origin
        client = await door.client()
        await client.sends(CONNECT)
        await client.expects(ESTABLISHED)
        await client.ends()
        (record,) = await door.access()
        assert (record["closed_by"], record["reason"]) == ("proxy", "idle")


async def test_behind_its_200_a_tunnel_gets_no_page_of_ours(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise Denied("no more", rule="r")

    monkeypatch.setattr("wsproxy.proxy.connect.inspection_of", fail)
    client = await door.client()
    await client.sends(CONNECT)
    await client.expects(ESTABLISHED)
    assert await client.reads_rest() == b""
    (record,) = await door.access()
    assert (record["status"], record["verdict"], record["detail"]) == (200, "deny", "no more")
    assert await (await door.origin.accept()).reads_rest() == b""


async def test_a_fault_of_the_engine_is_recorded_as_ours(door: Door) -> None:
    near, client = tcp_pair()
    far, target = tcp_pair()
    far.close()  # epoll refuses it
    peer = Peer(ip_address("127.0.0.1"), 1)
    door.runtime.occupancy.enter(peer.address)
    exchange = Exchange(peer, trio.current_time())
    with pytest.raises((OSError, ValueError)):
        begin_tunnel(OpenTunnel(near, far, exchange), Live(door.runtime))
    assert (near.fileno(), door.runtime.occupancy.open) == (-1, 0)
    client.close()
    target.close()
    (record,) = await door.access()
    assert (record["closed_by"], record["reason"]) == ("proxy", "internal")
