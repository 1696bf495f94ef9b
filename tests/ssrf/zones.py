"""Random hosts and random answers of DNS against a gate with zones, by an oracle of its own.

For every request: no socket is connected and the system's resolver is not asked; the
gate's resolver is asked at most once, and never for an address or for what is refused by
its spelling; each address of a route was in the answer and is global unicast to the
standard library, or lies in a zone one of whose hosts is the one asked for.
"""

from __future__ import annotations

import functools
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import trio

from tests.ssrf.spellings import random_address, random_spelling
from wsproxy.errors import ClientProtocolError, Denied
from wsproxy.model import Address, Body, BodyKind, Host, Peer, ProxyRequest, RequestKind, Target
from wsproxy.net.resolve import Resolver
from wsproxy.observe.exchange import Exchange
from wsproxy.policy.addresses import compile_zone
from wsproxy.policy.rules import Rules
from wsproxy.protocol.authority import parse_absolute_form, parse_authority
from wsproxy.proxy.gate import Gate

__all__ = ["ZONES", "Answers", "admit", "is_right", "open_gate", "run", "unconnected"]

CLIENT = Peer(ip_address("192.0.2.1"), 5000)
ZONES: dict[str, tuple[list[str | int], list[str | int]]] = {
    "corp": (["*.corp.example"], ["10.0.0.0/8", "fd00::/8"]),
    "lab": (["lab.example", "192.168.0.0/16"], ["192.168.0.0/16", "169.254.169.254"]),
    "loop": (["*.dev.example", "127.0.0.0/8", "::1"], ["127.0.0.0/8", "::1"]),
    "translated": (["*.corp.example", "64:ff9b::/96"], ["64:ff9b::/96", "2002::/16"]),
    "wide": (["wide.example"], ["0.0.0.0/0", "::/0"]),
    "mapped": (["192.168.0.0/16"], ["::ffff:0:0/96"]),
}
NAMES = (
    "a.corp.example", "B.Corp.Example.", "corp.example", "xcorp.example", "a.corp.example.evil.test",
    "lab.example", "www.lab.example", "x.dev.example", "dev.example", "evil.test", "10.corp.example",
    "wide.example",
)  # fmt: skip


class Answers(Resolver):
    """A resolver that says what it is told to.

    Attributes:
        addresses: the next answer.
        asked: how often it was asked.
    """

    def __init__(self) -> None:
        super().__init__(1.0)
        self.addresses: tuple[Address, ...] = ()
        self.asked = 0

    async def resolve(self, host: Host) -> tuple[Address, ...]:
        assert host.address is None, "an address is not looked up"
        self.asked += 1
        await trio.lowlevel.checkpoint()
        return self.addresses


def open_gate(answers: Answers) -> Gate:
    """A gate that allows every name, with `ZONES`."""
    return Gate(
        rules=Rules(True),
        zones=[compile_zone(*zone, name=name) for name, zone in ZONES.items()],
        authenticators={},
        auth_required=False,
        resolver=answers,
        listeners=[(ip_address("127.0.0.1"), 3128)],
        connect_timeout_s=1.0,
        clock=lambda: 0.0,
    )


_network: list[str] = []
_watching: list[bool] = []


def _watch(event: str, _args: object) -> None:
    if _watching and event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        _network.append(event)


@functools.cache
def _hook() -> None:
    """Once, for hooks cannot be taken off again."""
    sys.addaudithook(_watch)


@contextmanager
def unconnected() -> Iterator[None]:
    """Asserts that the interpreter connects no socket and looks no name up meanwhile."""
    _hook()
    _network.clear()
    _watching.append(True)
    try:
        yield
    finally:
        _watching.pop()
    assert _network == []


async def admit(gate: Gate, raw: bytes, *, tunnel: bool) -> tuple[Host, Sequence[Address]] | str:
    """The host and what may be dialled for it, or what refuses it."""
    try:
        if tunnel:
            target = Target("tcp", *parse_authority(raw + b":443"))
        else:
            target = parse_absolute_form(b"http://" + raw + b"/")
    except ClientProtocolError as error:
        return error.row
    kind = RequestKind.CONNECT if tunnel else RequestKind.FORWARD
    method = "CONNECT" if tunnel else "GET"
    body = Body(BodyKind.NONE)
    request = ProxyRequest(kind, method, target, "1.1", (), body, keep_alive=False)
    exchange = Exchange(CLIENT, 0.0)
    try:
        route = await gate.admit(request, exchange)
    except Denied as error:
        assert not any(one.allow for one in exchange.addresses)
        return error.rule
    assert [one.address for one in exchange.addresses if one.allow] == list(route.addresses)
    return target.host, route.addresses


# ---------------------------------------------------------------- the oracle

BROADCAST = ip_address("255.255.255.255")
THIS_NETWORK = ip_network("0.0.0.0/8")


def is_right(host: Host, address: Address) -> str | None:
    """How an address may be dialled for `host`: ``public`` or ``zone``; None for not at all."""
    parts = [address]
    if isinstance(address, IPv6Address) and (inner := inside(address)) is not None:
        parts.append(inner)
    for part in parts:
        if part.is_multicast or part.is_unspecified or part == BROADCAST or part in THIS_NETWORK:
            return None
    if address.is_global and len(parts) == 1:
        return "public"
    # What is global inside needs no zone, its carrier does.
    asking = [part for part in parts if part is address or not part.is_global]
    return "zone" if all(in_zone(host, part) for part in asking) else None


def inside(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address in an IPv6 one."""
    number = int(address)
    if address.teredo is not None:
        return address.teredo[1]
    if address.sixtofour is not None:
        return address.sixtofour
    if number >> 32 in (0, 0xFFFF, 0xFFFF << 16, 0x64FF9B << 64) and number > 1:
        return IPv4Address(number & 0xFFFF_FFFF)
    if number >> 80 == 0x64FF9B0001 or (number >> 32) & 0xFFFF_FFFF in (0x5EFE, 0x0200_5EFE):
        return IPv4Address(number & 0xFFFF_FFFF)
    return None


def in_zone(host: Host, address: Address) -> bool:
    return any(
        any(covers(str(pattern), host) for pattern in hosts)
        and any(address in ip_network(str(network)) for network in networks)
        for hosts, networks in ZONES.values()
    )


def covers(pattern: str, host: Host) -> bool:
    if host.address is None:
        return host.text == pattern or (pattern[:1] == "*" and host.text.endswith(pattern[1:]))
    # As a client an IPv4-mapped host is its IPv4 address.
    mapped = isinstance(host.address, IPv6Address) and host.address.ipv4_mapped
    return pattern[0] in "0123456789:" and (mapped or host.address) in ip_network(pattern)


# ---------------------------------------------------------------- many


async def check(gate: Gate, answers: Answers, rng: random.Random) -> str:
    """One random request; what became of it."""
    raw = rng.choice(NAMES).encode() if rng.random() < 0.5 else random_spelling(rng)
    answers.asked = 0
    answers.addresses = tuple(random_address(rng) for _ in range(rng.choice((1, 1, 2, 3))))
    said = await admit(gate, raw, tunnel=rng.random() < 0.5)
    if isinstance(said, str):
        assert answers.asked <= (said == "private-networks"), raw
        return said if said == "private-networks" else "spelling"
    host, dialled = said
    assert dialled, raw
    if host.address is None:
        assert answers.asked == 1, raw
        assert set(dialled) <= set(answers.addresses), raw
    else:
        assert (answers.asked, list(dialled)) == (0, [host.address]), raw
    ways = [is_right(host, address) for address in dialled]
    assert None not in ways, (raw, host, dialled)
    return "zone" if "zone" in ways else "public"


def run(count: int, seed: int) -> Counter[str]:
    """Checks `count` random requests; how many ended how."""

    async def main() -> Counter[str]:
        rng, answers = random.Random(seed), Answers()
        gate = open_gate(answers)
        outcomes: Counter[str] = Counter()
        with unconnected():
            for _ in range(count):
                outcomes[await check(gate, answers, rng)] += 1
        return outcomes

    return trio.run(main)
