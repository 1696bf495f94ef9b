"""The proxy inside a test: a real Runtime and real sockets, in front of a network that is fake.

    async with open_door(tmp_path) as door:
        client = await door.client()
        await client.sends(b"GET http://origin.test/ HTTP/1.1\r\n…")
        origin = await door.origin.accept()
        await origin.expects(b"GET / HTTP/1.1\r\n…")

When the block ends, every connection has to end by itself, every descriptor has to be closed,
and nothing may have been recorded twice.
"""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import trio

from tests.support.fakenet import FakeNetwork, FakeOrigin
from tests.support.wire import Wire
from wsproxy.app import build
from wsproxy.config.load import load
from wsproxy.model import Peer
from wsproxy.net.listen import accept_loop, bind
from wsproxy.observe.exchange import Exchange
from wsproxy.observe.records import format_json
from wsproxy.proxy import route
from wsproxy.proxy.http import serve
from wsproxy.proxy.runtime import Live, Runtime

__all__ = ["ORIGIN", "VIA", "Door", "credentials", "open_door", "write_users"]

ORIGIN = "93.184.216.34"
"""A public address; origin.test has it."""
VIA = b"proxy"
"""The proxy's name in Via fields, in place of a random one."""

Record = dict[str, Any]


def credentials(user: str, password: str) -> bytes:
    """The field line that proves who is asking."""
    pair = base64.b64encode(f"{user}:{password}".encode())
    return b"Proxy-Authorization: Basic " + pair + b"\r\n"


def write_users(folder: Path, **passwords: str) -> None:
    """A users file with cheap hashes, for ``auth.methods[].users: users``."""
    lines = [
        f"{name}:{bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode()}\n"
        for name, word in passwords.items()
    ]
    (folder / "users").write_text("".join(lines))


class Door:
    """A serving proxy.

    Attributes:
        live: what it serves with.
        network: what it sees of the world.
        origin: the host behind http://origin.test.
        parent: another host, which listens where a test puts it.
        all_records: (event, record) in order.
    """

    def __init__(self, runtime: Runtime, network: FakeNetwork, listener: socket.socket) -> None:
        self.network = network
        self.origin = network.origin("origin.test", ORIGIN)
        self.parent = FakeOrigin()
        self.all_records: list[tuple[str, Record]] = []
        self._listener = listener
        self._changed = trio.Event()
        self._clients: list[Wire] = []
        self.open = 0
        self.accepted = 0
        self.live = Live(self._adapt(runtime))

    @property
    def runtime(self) -> Runtime:
        """What it is built from now."""
        return self.live.runtime

    @runtime.setter
    def runtime(self, runtime: Runtime) -> None:
        self.live.runtime = runtime

    def _adapt(self, runtime: Runtime) -> Runtime:
        gate = replace(runtime.gate, resolver=self.network)
        return replace(runtime, gate=gate, via=VIA, log=self._log)

    async def reload(self, folder: Path, config: str) -> int:
        """Puts another configuration in place, and decides again; how many ended."""
        file = folder / "wsproxy.yaml"
        file.write_text(config)
        new = build(load(file), earlier=self.runtime)
        self.live.runtime = self._adapt(new.succeed(self.runtime))
        return await self.runtime.standing.review(self.runtime.gate)

    def _log(self, event: str, exchange: Exchange) -> None:
        line = format_json(event, exchange, 0.0, trio.current_time())
        self.all_records.append((event, json.loads(line)))
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def handle(self, sock: socket.socket, peer: Peer) -> None:
        """Serves one connection and counts it."""
        self.open += 1
        self.accepted += 1
        try:
            await serve(sock, peer, live=self.live)
        finally:
            self.open -= 1
            self._tell()

    async def wait_closed(self) -> None:
        """Waits until the proxy has no client connection left."""
        with trio.fail_after(15):
            while self.open:
                await self._changed.wait()
            await self.runtime.engine.wait_empty()

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listener.getsockname()[1]
        return port

    async def client(self) -> Wire:
        """A new client connection; it is accepted when this returns."""
        before = self.accepted
        sock = socket.create_connection(self._listener.getsockname())
        self._clients.append(Wire(sock))
        with trio.fail_after(10):
            while self.accepted == before:
                await trio.lowlevel.checkpoint()
        return self._clients[-1]

    async def access(self, count: int = 1, *, event: str = "access") -> list[Record]:
        """The records, once there are `count`; more than that is an error."""
        with trio.fail_after(10):
            while len(found := self._of(event)) < count:
                await self._changed.wait()
        assert len(found) == count
        return found

    def _of(self, event: str) -> list[Record]:
        return [dict(record) for kind, record in self.all_records if kind == event]

    def close_wires(self) -> None:
        """Closes the test's end of every connection."""
        for wire in self._clients:
            wire.closes()
        self.network.close()


@asynccontextmanager
async def open_door(
    folder: Path, config: str = "policy: {default: allow}", *, own: bool = False
) -> AsyncIterator[Door]:
    """A door that serves while the block runs.

    Args:
        folder: for the configuration file.
        config: YAML.
        own: whether the door knows its own listener, as an application tells it.
    """
    file = folder / "wsproxy.yaml"
    file.write_text(config)
    loopback = ip_address("127.0.0.1")
    descriptors = len(os.listdir("/proc/self/fd"))
    listener = bind(loopback, 0)
    listeners = [(loopback, listener.getsockname()[1])] if own else []
    network = FakeNetwork()
    door = Door(build(load(file), own=listeners), network, listener)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(route, "dial", network.dial)
            async with trio.open_nursery() as nursery:
                await nursery.start(door.runtime.engine.run)
                nursery.start_soon(accept_loop, listener, lambda *_: door.handle, nursery)
                yield door
                door.close_wires()
                await door.wait_closed()
                nursery.cancel_scope.cancel()
    finally:
        door.close_wires()
        listener.close()
    ids = [record["id"] for record in door._of("access")]
    assert len(ids) == len(set(ids)), "a request was recorded twice"
    assert len(os.listdir("/proc/self/fd")) == descriptors, "descriptors were left open"
