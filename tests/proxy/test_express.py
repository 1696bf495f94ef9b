"""The express lane: what it takes, what it leaves, and that nobody can tell the difference."""

from __future__ import annotations

import functools
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from tests.support.door import credentials, write_users
from wsproxy.app import build
from wsproxy.config.load import load
from wsproxy.errors import LimitReached
from wsproxy.model import Peer
from wsproxy.net.listen import Handler, accept_loop, bind
from wsproxy.observe.exchange import Exchange
from wsproxy.observe.records import format_json
from wsproxy.proxy.express import express
from wsproxy.proxy.runtime import Live, Runtime

LOOPBACK = ip_address("127.0.0.1")
OPEN = "policy: {default: allow, private_networks: [{hosts: ['*'], networks: [127.0.0.0/8]}]}\n"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Lane:
    """A listener with the express lane in front, and an origin that greets with its first read.

    Args:
        runtime: what is configured first.
        proxy: listens.
        origin: listens.
        lane: what looks at connections first.

    Attributes:
        left: connections the lane left to a session.
        records: as logged.
    """

    def __init__(
        self,
        runtime: Runtime,
        proxy: socket.socket,
        origin: socket.socket,
        lane: Callable[..., Handler | None],
    ) -> None:
        self._lane = lane
        self.proxy = proxy
        self.origin = origin
        self.left = 0
        self.authority = b"127.0.0.1:%d" % origin.getsockname()[1]
        self.records: list[dict[str, Any]] = []
        self.live = Live(replace(runtime, log=self._log))

    @property
    def runtime(self) -> Runtime:
        """What is configured now."""
        return self.live.runtime

    def _log(self, event: str, exchange: Exchange) -> None:
        self.records.append(json.loads(format_json(event, exchange, 0.0, trio.current_time())))

    def look(self, sock: socket.socket, peer: Peer) -> Handler | None:
        handler = self._lane(sock, peer, live=self.live)
        self.left += handler is not None
        return handler

    async def ask(self, request: bytes) -> bytes:
        """Sends `request` before it is accepted, ends, and reads to the end."""
        with socket.socket() as client:
            client.connect(self.proxy.getsockname())
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            client.setblocking(False)
            answer = b""
            with trio.fail_after(10):
                while True:
                    await trio.lowlevel.wait_readable(client)
                    data = client.recv(65536)
                    if not data:
                        return answer
                    answer += data


@asynccontextmanager
async def open_lane(
    folder: Path, config: str = OPEN, *, lane: Callable[..., Handler | None] = express
) -> AsyncIterator[Lane]:
    (folder / "wsproxy.yaml").write_text(config)
    runtime = build(load(folder / "wsproxy.yaml"))
    proxy, origin = bind(LOOPBACK, 0), bind(LOOPBACK, 0)
    opened = Lane(runtime, proxy, origin, lane)

    async def echo(sock: socket.socket, _peer: Peer) -> None:
        with sock:
            while True:
                await trio.lowlevel.wait_readable(sock)
                data = sock.recv(65536)
                if not data:
                    return
                sock.sendall(data)

    async with trio.open_nursery() as nursery:
        await nursery.start(runtime.engine.run)
        nursery.start_soon(accept_loop, origin, lambda *_: echo, nursery)
        # Only now, when requests may be waiting: the lane finds them whole.
        nursery.start_soon(accept_loop, proxy, opened.look, nursery)
        yield opened
        with trio.fail_after(10):
            await runtime.engine.wait_empty()
        nursery.cancel_scope.cancel()
    proxy.close()
    origin.close()
    assert runtime.occupancy.open == 0


def connect(authority: bytes, fields: bytes = b"") -> bytes:
    return b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (authority, authority, fields)


async def test_a_tunnel_that_needs_no_waiting_needs_no_session(tmp_path: Path) -> None:
    async with open_lane(tmp_path) as lane:
        answer = await lane.ask(connect(lane.authority) + b"early octets")
        assert (answer, lane.left) == (ESTABLISHED + b"early octets", 0)
        await lane.runtime.engine.wait_empty()
        opened, ended = lane.records
    assert (opened["event"], ended["event"], opened["id"]) == ("open", "access", ended["id"])
    assert (ended["status"], ended["bytes_up"], ended["bytes_down"]) == (200, 12, 12)
    assert (ended["address"], ended["closed_by"], ended["reason"]) == (
        lane.authority.decode(),
        "client",
        "eof",
    )
    assert ended["durations_ms"]["connect"] is not None


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n", b"200"),
        (connect(b"10.0.0.1:80"), b"403"),
        (connect(b"nowhere.invalid:80"), b"502"),
        (connect(b"127.0.0.1:1"), b"502"),
        (connect(b"0x7f.1:80"), b"400"),
        (b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost", b"400"),
        (b"CONNECT 127.0.0.1:80 HTTP/1.1\nHost: x\r\n\r\n", b"400"),
    ],
    ids=["own", "denied", "name", "refused", "odd host", "half a head", "bare LF"],
)
async def test_everything_else_is_left_to_a_session_and_answered_there(
    tmp_path: Path, request_: bytes, status: bytes
) -> None:
    async with open_lane(tmp_path) as lane:
        answer = await lane.ask(request_)
        assert (answer[9:12], lane.left) == (status, 1)
    (record,) = lane.records
    assert record["status"] == int(status)


async def test_credentials_take_the_lane_once_they_are_known(tmp_path: Path) -> None:
    write_users(tmp_path, alice="secret")
    config = OPEN + "auth: {methods: [{type: basic, users: users}]}\n"
    async with open_lane(tmp_path, config) as lane:
        request = connect(lane.authority, credentials("alice", "secret"))
        for left in (1, 1):
            assert await lane.ask(request + b"x") == ESTABLISHED + b"x"
            assert lane.left == left
        assert (await lane.ask(connect(lane.authority)))[9:12] == b"407"
        assert (await lane.ask(connect(lane.authority, credentials("alice", "no"))))[9:12] == b"407"
        assert lane.left == 3


async def test_a_head_that_is_known_has_the_credentials_of_whoever_sent_it(tmp_path: Path) -> None:
    write_users(tmp_path, alice="secret", bob="secret")
    config = OPEN + "auth: {methods: [{type: basic, users: users}]}\n"
    asked = ["alice", "bob", "alice", None, "bob", "mallory", "alice"]
    async with open_lane(tmp_path, config) as lane:
        for user in asked:
            fields = b"" if user is None else credentials(user, "secret")
            status = 200 if user in {"alice", "bob"} else 407
            answer = await lane.ask(connect(lane.authority, fields) + b"x")
            assert answer[9:12] == b"%d" % status
            await lane.runtime.engine.wait_empty()
        assert lane.left == 4  # the first of each, and who was refused
    said = [(one["user"], one["status"]) for one in lane.records if one["event"] == "access"]
    assert said == [(user, 200) if user in {"alice", "bob"} else (None, 407) for user in asked]


async def test_a_full_proxy_says_so_and_leaves_no_connection_behind(tmp_path: Path) -> None:
    async with open_lane(tmp_path, OPEN + "limits: {connections: 1}\n") as lane:
        lane.runtime.occupancy.enter(LOOPBACK)
        with pytest.raises(LimitReached):
            lane.runtime.occupancy.enter(LOOPBACK)
        assert (await lane.ask(connect(lane.authority)))[9:12] == b"503"
        lane.runtime.occupancy.leave(LOOPBACK)


@pytest.mark.parametrize("addresses", ["127.0.0.1", "[127.0.0.1, 127.0.0.2]"])
async def test_a_name_takes_the_lane_once_its_one_address_is_known(
    tmp_path: Path, addresses: str
) -> None:
    """Several addresses take some racing, which a session does."""
    names = f"dns: {{hosts: {{origin.test: {addresses}}}}}\n"
    async with open_lane(tmp_path, OPEN.replace("['*']", "['*.test']") + names) as lane:
        port = lane.origin.getsockname()[1]
        answer = await lane.ask(connect(b"origin.test:%d" % port) + b"x")
        assert (answer, lane.left) == (ESTABLISHED + b"x", int(addresses != "127.0.0.1"))
        await lane.runtime.engine.wait_empty()
    assert [record["address"] for record in lane.records] == [f"127.0.0.1:{port}"] * 2


async def test_a_known_name_that_leads_inside_is_refused_in_the_lane_as_well(
    tmp_path: Path,
) -> None:
    names = "dns: {hosts: {origin.test: 127.0.0.1}}\n"
    async with open_lane(tmp_path, "policy: {default: allow}\n" + names) as lane:
        assert (await lane.ask(connect(b"origin.test:80")))[9:12] == b"403"
    (record,) = lane.records
    assert (record["rule"], record["address"]) == ("private-networks", None)


async def test_the_lane_comes_from_the_source_of_the_rule(tmp_path: Path) -> None:
    sourced = OPEN.replace("default: allow", "default: allow, source_address: 127.0.0.5")
    async with open_lane(tmp_path, sourced) as lane:
        assert await lane.ask(connect(lane.authority) + b"x") == ESTABLISHED + b"x"
        assert lane.left == 0
        await lane.runtime.engine.wait_empty()
    assert {record["source"] for record in lane.records} == {"127.0.0.5"}


async def test_no_tunnel_begins_while_stopping(tmp_path: Path) -> None:
    async with open_lane(tmp_path) as lane:
        lane.runtime.drain.begin()
        await lane.ask(connect(lane.authority) + b"x")
        assert lane.left == 1


async def test_an_attempt_that_is_under_way_is_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialled = []
    real = socket.socket.connect_ex
    monkeypatch.setattr("wsproxy.net.dial.Attempt.stands", lambda _attempt: False)
    monkeypatch.setattr(
        socket.socket, "connect_ex", lambda sock, name: dialled.append(name) or real(sock, name)
    )
    async with open_lane(tmp_path) as lane:
        assert await lane.ask(connect(lane.authority) + b"x") == ESTABLISHED + b"x"
        assert (lane.left, len(dialled)) == (1, 1)


def test_a_connection_that_broke_at_once_is_left_to_a_session(tmp_path: Path) -> None:
    (tmp_path / "wsproxy.yaml").write_text(OPEN)
    runtime = build(load(tmp_path / "wsproxy.yaml"))
    near = socket.socket()
    handler = express(near, Peer(LOOPBACK, 1), live=Live(runtime))
    near.close()
    assert isinstance(handler, functools.partial)
    assert handler.keywords["begun"].octets == b""


class Full:
    """A client's socket that takes nothing just now."""

    def __init__(self, sock: socket.socket) -> None:
        self.recv = sock.recv

    def send(self, _data: bytes) -> int:
        raise BlockingIOError


async def test_a_request_that_is_left_to_a_session_is_counted_once(tmp_path: Path) -> None:
    def look(sock: socket.socket, peer: Peer, *, live: Live) -> Handler | None:
        return express(cast("socket.socket", Full(sock)), peer, live=live)

    config = OPEN + "limits: {requests_per_client: 1/h}\n"
    async with open_lane(tmp_path, config, lane=look) as lane:
        assert await lane.ask(connect(lane.authority) + b"x") == ESTABLISHED + b"x"
        assert (await lane.ask(connect(lane.authority))).startswith(b"HTTP/1.1 429 ")
        assert lane.left == 2
