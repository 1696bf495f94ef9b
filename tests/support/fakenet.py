"""A network that is not there: names, addresses and hosts as a test wants them.

`FakeNetwork` stands in for the resolver and for `wsproxy.net.dial.dial`, and counts what it
is asked; what it connects are real loopback sockets, so that no byte is simulated.
`Scenario` stands in one layer deeper, for the sockets that `dial` itself makes.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from types import SimpleNamespace

import pytest
import trio

from tests.support.wire import Wire, tcp_pair
from wsproxy.errors import ConnectRefused, ResolveFailed
from wsproxy.model import Address, Host
from wsproxy.net import dial as dial_module
from wsproxy.net.dial import ANY_SOURCE, Attempt, Sources
from wsproxy.net.resolve import Resolver
from wsproxy.net.streams import tune

__all__ = ["FakeNetwork", "FakeOrigin", "Scenario"]


class FakeOrigin:
    """A host that waits for connections; the test plays it."""

    def __init__(self) -> None:
        self._waiting: deque[Wire] = deque()
        self._arrived = trio.Event()
        self.wires: list[Wire] = []

    def connect(self) -> socket.socket:
        """The near end of a new connection; the far end waits for `accept`."""
        near, far = tcp_pair()
        wire = Wire(far)
        self.wires.append(wire)
        self._waiting.append(wire)
        self._arrived.set()
        return near

    async def accept(self) -> Wire:
        """The next connection."""
        with trio.fail_after(10):
            while not self._waiting:
                self._arrived = trio.Event()
                await self._arrived.wait()
        return self._waiting.popleft()


class FakeNetwork(Resolver):
    """Resolver and dialler of a door.

    Attributes:
        names: name → its addresses, or the exception that its look-up ends with.
        hosts: address and port → who listens there, or the exception of connecting.
        asked: every name looked up, in order.
        dialled: every address and port connected to, in order.
    """

    def __init__(self) -> None:
        super().__init__(1.0)
        self.names: dict[str, list[str] | Exception] = {}
        self.hosts: dict[tuple[str, int], FakeOrigin | Exception] = {}
        self.asked: list[str] = []
        self.dialled: list[str] = []

    def origin(self, name: str, address: str, port: int = 80) -> FakeOrigin:
        """A host with a name, listening."""
        self.names[name] = [address]
        made = FakeOrigin()
        self.hosts[address, port] = made
        return made

    async def resolve(self, host: Host) -> tuple[Address, ...]:
        """What `names` says."""
        if host.address is not None:
            return (host.address,)
        self.asked.append(host.text)
        await trio.lowlevel.checkpoint()
        found = self.names.get(host.text, ResolveFailed(f"no address for {host.text}"))
        if isinstance(found, Exception):
            raise found
        return tuple(ip_address(text) for text in found)

    async def dial(
        self,
        addresses: Sequence[Address],
        port: int,
        *,
        timeout_s: float,
        begun: Attempt | None = None,
        sources: Sources = ANY_SOURCE,
    ) -> tuple[socket.socket, Address]:
        """A connection to whoever `hosts` says listens at the first of `addresses`."""
        address = addresses[0]
        self.dialled.append(f"{address}:{port}")
        await trio.lowlevel.checkpoint()
        refused = ConnectRefused("the target refused the connection")
        host = self.hosts.get((str(address), port), refused)
        if isinstance(host, Exception):
            raise host
        sock = host.connect()
        tune(sock)
        return sock, address

    def close(self) -> None:
        """Closes the test's end of every connection; nobody listens any more."""
        for host in self.hosts.values():
            if isinstance(host, FakeOrigin):
                for wire in host.wires:
                    wire.closes()
        self.hosts.clear()


class _ScriptedSocket:
    """A socket that connects, or fails, when its scenario says so."""

    def __init__(self, scenario: Scenario, family: int) -> None:
        self._scenario = scenario
        self.family = family
        self.address = ""
        self.open = True
        self.ready = trio.Event()
        self._code = 0
        self._ready_at = 0.0

    def setblocking(self, _flag: bool) -> None: ...

    def setsockopt(self, *_args: int) -> None: ...

    def connect_ex(self, name: tuple[str, int]) -> int:
        self.address = name[0]
        now = trio.current_time()
        self._scenario.log.append((round(now, 3), f"connect {name[0]}:{name[1]}"))
        delay_s, self._code = self._scenario.hosts[name[0]]
        self._ready_at = now + delay_s
        return self._code if delay_s == 0 else errno.EINPROGRESS

    def getpeername(self) -> tuple[str, int]:
        if self._ready_at > trio.current_time() or self._code:
            raise OSError(errno.ENOTCONN, "not connected")
        return self.address, 1

    def getsockopt(self, *_args: int) -> int:
        self._scenario.on_outcome()
        return self._code

    def close(self) -> None:
        self.open = False

    async def wait(self) -> None:
        # Woken by the event, as by the kernel, a task can no longer be cancelled in its wait.
        with trio.move_on_at(self._ready_at):
            await self.ready.wait()


class Scenario:
    """What happens at each address that is dialled, under a mock clock.

    Args:
        hosts: address → seconds until the outcome, and its errno (0: connected).

    Attributes:
        log: (seconds, what was tried).
        sockets: all that were made.
        exhausted: errno of socket(2) itself, when it fails.
        on_outcome: called whenever the outcome of an attempt is asked for.
    """

    def __init__(self, hosts: Mapping[str, tuple[float, int]]) -> None:
        self.hosts = hosts
        self.log: list[tuple[float, str]] = []
        self.sockets: list[_ScriptedSocket] = []
        self.exhausted = 0
        self.on_outcome: Callable[[], None] = lambda: None

    def _socket(self, family: int, _kind: int) -> _ScriptedSocket:
        if self.exhausted:
            raise OSError(self.exhausted, "no socket")
        self.sockets.append(_ScriptedSocket(self, family))
        return self.sockets[-1]

    @property
    def open(self) -> list[str]:
        """The addresses of the sockets that are not closed."""
        return [sock.address for sock in self.sockets if sock.open]

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Puts this scenario in the place of the network."""
        names = {name: getattr(socket, name) for name in dir(socket) if name.isupper()}
        patch.setattr(dial_module, "socket", SimpleNamespace(**{**names, "socket": self._socket}))
        patch.setattr(trio.lowlevel, "wait_writable", _ScriptedSocket.wait)
        patch.setattr(trio.lowlevel, "notify_closing", lambda _sock: None)
