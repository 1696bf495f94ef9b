"""Another configuration comes while a request is on its way: it holds from wherever that has got to."""

from __future__ import annotations

import gc
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
import trio

from tests.support.door import Door, open_door
from tests.support.wire import Wire, tcp_pair
from wsproxy.errors import Denied
from wsproxy.model import Body, BodyKind, Host, Peer, ProxyRequest, RequestKind, Target
from wsproxy.net.http1 import ClientChannel
from wsproxy.net.streams import TcpStream
from wsproxy.observe.exchange import Exchange
from wsproxy.proxy import route
from wsproxy.proxy.gate import Gate
from wsproxy.proxy.route import Route
from wsproxy.proxy.session import Session
from wsproxy.proxy.upstream import Inside

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
OPEN = "policy: {default: allow}\n"
CLOSED = (
    "policy: {default: allow, rules: [{name: not-there, action: deny, when: {hosts: origin.test}}]}"
)
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
INSIDE = (
    "policy: {default: allow, private_networks: [{hosts: origin.test, networks: 10.0.0.0/8}]}\n"
)
CONNECT = b"CONNECT origin.test:80 HTTP/1.1\r\nHost: origin.test:80\r\n\r\n"
GET = b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n"
HANDSHAKE = (
    b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


class Pause:
    """A step of the network that waits for the test."""

    def __init__(self, door: Door, step: str) -> None:
        self.begun, self.go_on = trio.Event(), trio.Event()
        self._real: Callable[..., object] = getattr(door.network, step)

    async def __call__(self, *args: object, **named: object) -> object:
        self.begun.set()
        await self.go_on.wait()
        return await self._real(*args, **named)  # type: ignore[misc]  # a coroutine function


async def meanwhile(door: Door, folder: Path, request: bytes, config: str, *, step: str) -> Wire:
    """Has `config` come into place while `request` is at `step`; the client."""
    pause = Pause(door, step)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(route if step == "dial" else door.network, step, pause)
        client = await door.client()
        await client.sends(request)
        with trio.fail_after(10):
            await pause.begun.wait()
    await door.reload(folder, config)
    pause.go_on.set()
    return client


@pytest.mark.parametrize("step", ["resolve", "dial"])
@pytest.mark.parametrize("request_", [CONNECT, GET, HANDSHAKE], ids=["connect", "get", "upgrade"])
async def test_a_network_that_is_closed_meanwhile_is_not_reached(
    tmp_path: Path, step: str, request_: bytes
) -> None:
    async with open_door(tmp_path, INSIDE) as door:
        door.network.names["origin.test"] = ["10.0.0.1"]
        door.network.hosts["10.0.0.1", 80] = door.origin
        client = await meanwhile(door, tmp_path, request_, OPEN, step=step)
        assert (await client.answer()).status == 403
        for wire in door.origin.wires:
            assert await wire.reads_rest() == b""
        (record,) = await door.access()
        assert (record["rule"], record["verdict"]) == ("private-networks", "deny")


@pytest.mark.parametrize("step", ["resolve", "dial"])
async def test_a_websocket_is_looked_into_as_is_configured_now(tmp_path: Path, step: str) -> None:
    looked = "policy: {rules: [{name: looked, action: allow, websocket: enforce}]}\n"
    async with open_door(tmp_path, OPEN) as door:
        client = await meanwhile(door, tmp_path, HANDSHAKE, looked, step=step)
        origin = await door.origin.accept()
        await origin.reads_until(b"\r\n\r\n")
        await origin.sends(SWITCHED)
        assert (await client.reads_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        client.shuts()
        origin.shuts()
        (record,) = await door.access()
        assert (record["rule"], record["decision"]["websocket"]) == ("looked", "enforce")


SNIFFING = (
    "policy: {default: allow, rules: ["
    "{name: no-%s, action: deny, when: {hosts: origin.test, sniff: %s}}]}\n"
)


async def test_what_a_tunnel_carries_is_decided_by_the_rules_of_now(tmp_path: Path) -> None:
    async with open_door(tmp_path, SNIFFING % ("http", "http")) as door:
        client = await door.client()
        await client.sends(CONNECT)
        await client.expects(ESTABLISHED)
        await door.reload(tmp_path, SNIFFING % ("other", "other"))
        await client.sends(b"\x00\x01\x02 neither TLS nor HTTP\r\n\r\n")
        await client.ends()
        (record,) = await door.access()
        assert (record["rule"], record["verdict"]) == ("no-other", "deny")


async def test_a_tunnel_that_is_to_be_looked_into_by_now_is(tmp_path: Path) -> None:
    config = SNIFFING % ("other", "other")
    async with open_door(tmp_path, OPEN) as door:
        client = await meanwhile(door, tmp_path, CONNECT, config, step="dial")
        await client.expects(ESTABLISHED)
        await client.sends(b"\x00\x01\x02 neither TLS nor HTTP\r\n\r\n")
        await client.ends()
        (record,) = await door.access()
        assert (record["rule"], record["verdict"]) == ("no-other", "deny")


async def test_a_request_inside_whose_head_is_slow_is_decided_by_the_rules_of_now(
    door: Door, tmp_path: Path
) -> None:
    peer, target = Peer(ip_address("192.0.2.1"), 5000), Target("https", Host("origin.test"), 443)
    inside = Inside(target, Route(target, [], 1.0), Exchange(peer, 0.0), CONTEXT, 1.0)
    near, far = tcp_pair()
    with near, far:
        session = Session(ClientChannel(TcpStream(near)), peer, door.live, inside=inside)
        exchange = session.new_exchange(0.0)
        await door.reload(tmp_path, CLOSED)
        request = ProxyRequest(
            RequestKind.FORWARD, "GET", target, "1.1", (), Body(BodyKind.NONE), True
        )
        with pytest.raises(Denied) as caught:
            await session.admit(request, exchange)
        assert caught.value.rule == "not-there"


async def test_what_goes_on_keeps_no_configuration_of_old(tmp_path: Path) -> None:
    async with open_door(tmp_path, OPEN) as door:
        for _ in range(20):
            client = await door.client()
            await client.sends(CONNECT)
            await client.expects(ESTABLISHED)
            await door.reload(tmp_path, OPEN)
        gc.collect()
        gates = [one for one in gc.get_objects() if type(one) is Gate]
        kept = [one for one in gates if one.resolver is door.network]
        assert kept == [door.runtime.gate]
