"""Proxies that look into TLS, under attack; each way of looking has an address of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from tests.hostile.room import Room, new_client_address, open_room
from tests.hostile.tls_ends import AUTHORITY, TlsStream, client_context, open_tunnel
from tests.support.proxy_process import PROJECT_ROOT, Record

__all__ = ["ADDRESSES", "SNIFFING", "Looked", "open_looking", "open_sniffing"]

ADDRESSES = {
    "intercept": "127.0.0.111",
    "always": "127.0.0.112",
    "log": "127.0.0.113",
    "enforce": "127.0.0.114",
}
SNIFFING = {"no-tls": "127.0.0.121", "only-tls": "127.0.0.122"}
_GUARD_S = 10.0

_BASE = """
listeners:
  - address: 127.0.0.1:0
policy:
  default: allow
  private_networks:
    - {hosts: ["*"], networks: [127.0.0.0/8]}
  rules:
"""
_LOOKING = """
    - {name: intercept, when: {hosts: [127.0.0.111, 127.0.0.1, localhost]}, action: allow, tls: intercept}
    - {name: always, when: {hosts: [127.0.0.112]}, action: allow, tls: intercept_always}
    - {name: log, when: {hosts: [127.0.0.113]}, action: allow, tls: intercept, websocket: log}
    - {name: enforce, when: {hosts: [127.0.0.114]}, action: allow, tls: intercept, websocket: enforce}
    - {name: many, when: {hosts: [@MANY@]}, action: allow, tls: intercept_always}
interception:
  ca_certificate: ca/ca.pem
  ca_key: ca/ca.key
  upstream: {ca: origins.pem}
inspection:
  capture: {directory: captures}
"""
MANY = tuple(f"127.7.0.{n}" for n in range(1, 201))
"""Hosts of the rule `many`."""
_SNIFFING = """
    - {name: no-tls, when: {hosts: [127.0.0.121], sniff: [tls]}, action: deny}
    - {name: only-tls, when: {hosts: [127.0.0.122], sniff: [other, http, websocket]}, action: deny}
"""


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """A proxy that looks into tunnels.

    Attributes:
        room: the proxy.
        ca_file: what its clients trust.
    """

    room: Room
    ca_file: Path

    def records_of(self, source: str, count: int) -> list[Record]:
        """The access records of one client, of which there must be `count` in the end."""
        self.room.seen[source] = count
        self.room.wait_for_records(source, count)
        records = self.room.proxy.records(event="access")
        return [r for r in records if str(r["client"]).startswith(source + ":")]

    async def tunnel(
        self, authority: bytes, source: str, *, early: bytes = b""
    ) -> trio.SocketStream:
        """A tunnel that stands."""
        return await open_tunnel(self.room.proxy.address, authority, source, early=early)

    async def enter(
        self, authority: bytes, source: str, *, tls_1_2: bool = False, host: str | None = None
    ) -> TlsStream:
        """TLS inside a tunnel, with the proxy as the other end."""
        stream = await self.tunnel(authority, source)
        try:
            name = host or authority.decode().rpartition(":")[0]
            tls = TlsStream(stream, client_context(self.ca_file, tls_1_2=tls_1_2), name)
            await tls.shake_hands()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return tls


async def at_once(
    looked: Looked, count: int, run: Callable[[int], object], *, limit: int = 32
) -> list[str]:
    """Runs `run` for 0 … count - 1, many at once; what they report, sorted."""
    problems: list[str] = []
    limiter = trio.CapacityLimiter(limit)

    async def one(at: int) -> None:
        async with limiter:
            problems.extend(await run(at))  # type: ignore[misc]  # a coroutine function

    looked.room.check_bystander()
    async with trio.open_nursery() as nursery:
        for at in range(count):
            nursery.start_soon(one, at)
    looked.room.check_bystander()
    looked.room.check_descriptors()
    return sorted(problems)


def lines(problems: Sequence[str]) -> str:
    """For an assertion's message."""
    return "\n" + "\n".join(problems)


@contextmanager
def open_looking(tmp_path: Path, *, timeouts: str = "") -> Iterator[Looked]:
    """A proxy with every way of looking into TLS; see `open_room`."""
    command = [sys.executable, "-m", "wsproxy", "ca", "init", str(tmp_path / "ca")]
    subprocess.run(command, cwd=PROJECT_ROOT, check=True, capture_output=True, timeout=60)
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "origins.pem"))
    with open_room(
        _BASE + _LOOKING.replace("@MANY@", ", ".join(MANY)) + timeouts, tmp_path
    ) as room:
        yield Looked(room, tmp_path / "ca" / "ca.pem")
        written = room.proxy.stdout + room.proxy.stderr
        assert "PRIVATE KEY" not in written


@contextmanager
def open_sniffing(tmp_path: Path, *, timeouts: str = "") -> Iterator[Looked]:
    """A proxy whose rules ask what first octets are; it intercepts nothing."""
    with open_room(_BASE + _SNIFFING + timeouts, tmp_path) as room:
        yield Looked(room, tmp_path / "none")


def fresh() -> str:
    """An address for one client."""
    return new_client_address()


async def soon(event: trio.Event) -> bool:
    """Whether it is set before the guard passes."""
    with trio.move_on_after(_GUARD_S):
        await event.wait()
    return event.is_set()
