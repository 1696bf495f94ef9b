"""Name servers, asked directly (RFC 1035, RFC 2308): UDP, and TCP where an answer does not fit.

dnspython's messages without its sockets: here a socket is connected, so that the kernel
takes octets from nobody but the server that was asked and says at once when nobody listens
there; every question has a socket, a port and an id of its own; and what is longer than
`_MAX_BYTES` is not read, because reading 64 KiB of addresses keeps everybody else waiting for a tenth
of a second.

A and AAAA are asked for at the same time.  When addresses of IPv4 are there first, those of
IPv6 get 50 ms more (RFC 8305 §3); the other way round IPv4 is waited for, as nothing can be added
to a route once it is vetted, and a machine without IPv6 needs the others.

A server that keeps silent is asked last for a while.  No search domains, no second question for
a CNAME: the servers are resolvers, which follow it themselves.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import islice
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import trio

from wsproxy.model import Address
from wsproxy.net.answers import MAX_ADDRESSES, Answer
from wsproxy.net.resolve import Names
from wsproxy.net.streams import is_exhausted

__all__ = ["NameServer", "NameServers"]

log = logging.getLogger("wsproxy")

_RESOLUTION_DELAY_S: Final = 0.050
"""RFC 8305 §3: "The recommended value for the Resolution Delay is 50 milliseconds"."""
_TRY_S: Final = 1.0
"""The first time round; each further one waits twice as long."""
_DOWN_S: Final = 30.0
"""A server that kept silent is asked last for so long."""
_HALF_S: Final = 10.0
"""How long the addresses of one family are remembered when those of the other were not told."""
_UDP_BYTES: Final = 1232
"""Fits into one IPv6 packet everywhere (dnsflagday.net/2020)."""
_MAX_BYTES: Final = 4096
"""A hundred addresses behind a chain of long names; 9 ms to read at worst."""
_HEAD_BYTES: Final = 12
_RESPONSE, _TRUNCATED = 0x80, 0x02  # in the third octet of a message, RFC 1035 §4.1.1
_KNOWN: Final = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)

Kind = dns.rdatatype.RdataType


class _Unusable(Exception):
    """What a server sent is no answer to what it was asked."""


@dataclass(slots=True, eq=False)
class NameServer:
    """One that is asked.

    Attributes:
        address: where it is.
        port: where it is.
        heard_at: when it said something last.
        down_until: it is asked last so long.
    """

    address: Address
    port: int
    heard_at: float = -1.0
    down_until: float | None = None

    def __str__(self) -> str:
        """``address:port``, IPv6 in brackets."""
        text = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{text}:{self.port}"

    def hear(self, now: float) -> None:
        """Notes that it lives."""
        if self.down_until is not None:
            log.info("name server %s answers again", self)
        self.heard_at, self.down_until = now, None

    def miss(self, asked_at: float, now: float) -> None:
        """Notes that a question was not answered: it may be that of a name nobody could answer for."""
        if self.heard_at >= asked_at:
            return
        if self.down_until is None:
            log.warning("name server %s does not answer; it is asked last for a while", self)
        self.down_until = now + _DOWN_S


@dataclass(frozen=True, slots=True)
class _Reply:
    """What is known of one kind of address.

    Attributes:
        addresses: those there are.
        ttl_s: how long that holds; None where nothing is known.
        rcode: of the answer; empty where there was none.
        why: there is nothing, in a few words.
    """

    addresses: tuple[Address, ...] = ()
    ttl_s: float | None = None
    rcode: str = ""
    why: str = ""


class NameServers:
    """Servers that are asked in order, those that keep silent last.

    Args:
        servers: at least one, best first.
    """

    def __init__(self, servers: Sequence[NameServer]) -> None:
        self._servers = tuple(servers)

    async def look_up(self, name: str, deadline: float) -> Answer:
        """See `Names.look_up`; at the deadline the addresses that are known by then count."""
        labels = dns.name.Name([*name.encode("ascii").split(b"."), b""])
        replies: dict[Kind, _Reply] = {}

        async def ask(kind: Kind) -> None:
            replies[kind] = await self._ask(labels, kind)

        with trio.move_on_at(deadline):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, dns.rdatatype.AAAA)
                await ask(dns.rdatatype.A)
                if replies[dns.rdatatype.A].addresses:
                    nursery.cancel_scope.deadline = trio.current_time() + _RESOLUTION_DELAY_S
        return _together(replies.get(dns.rdatatype.AAAA), replies.get(dns.rdatatype.A))

    async def _ask(self, name: dns.name.Name, kind: Kind) -> _Reply:
        """What the first server says that knows something; goes on for as long as it is let."""
        try_s = _TRY_S
        while True:
            failed, silent = _Reply(why="no name server can be reached"), False
            for server in self._in_order():
                asked_at = trio.current_time()
                try:
                    with trio.fail_after(try_s):
                        reply = await _ask_one(server, name, kind)
                except trio.TooSlowError:
                    silent = True
                    server.miss(asked_at, trio.current_time())
                except OSError as error:
                    if not is_exhausted(error):  # which is our own lack, and no fault of the server
                        server.miss(asked_at, trio.current_time())
                except _Unusable:
                    failed = _Reply(why="the answer of the name server cannot be used")
                else:
                    server.hear(trio.current_time())
                    if reply.ttl_s is not None:
                        return reply
                    failed = reply
            if failed.rcode or not silent:
                return failed
            try_s *= 2

    def _in_order(self) -> Iterator[NameServer]:
        """All servers, those that are down last; one whose time is over is tried by one question."""
        now = trio.current_time()
        for server in sorted(self._servers, key=lambda one: (one.down_until or 0.0) > now):
            if server.down_until is not None and server.down_until <= now:
                server.down_until = now + _DOWN_S
            yield server


async def _ask_one(server: NameServer, name: dns.name.Name, kind: Kind) -> _Reply:
    query = dns.message.make_query(name, kind, use_edns=0, payload=_UDP_BYTES)
    wire = query.to_wire()
    octets = await _over_udp(server, wire)
    if octets[2] & _TRUNCATED:
        octets = await _over_tcp(server, wire)
    try:
        message = dns.message.from_wire(octets)
        if not query.is_response(message):
            raise _Unusable
        return _read(message)
    except dns.exception.DNSException as error:
        raise _Unusable from error


def _read(message: dns.message.Message) -> _Reply:
    """What an answer says; `resolve_chaining` follows sixteen CNAMEs and no more."""
    code = message.rcode()
    text = dns.rcode.to_text(code)
    if code not in _KNOWN or not isinstance(message, dns.message.QueryMessage):
        return _Reply(rcode=text, why=text)
    chain = message.resolve_chaining()
    found = islice(chain.answer or (), MAX_ADDRESSES // 2)
    addresses = tuple(ip_address(record.address) for record in found)
    why = "" if addresses else text if code else "it exists, and has none"
    return _Reply(addresses, float(chain.minimum_ttl), text, why)


def _socket(server: NameServer, kind: socket.SocketKind) -> trio.socket.SocketType:
    family = socket.AF_INET6 if server.address.version == 6 else socket.AF_INET
    return trio.socket.socket(family, kind)


async def _over_udp(server: NameServer, wire: bytes) -> bytes:
    with _socket(server, socket.SOCK_DGRAM) as sock:
        await sock.connect((str(server.address), server.port))
        await sock.send(wire)
        while True:
            octets = await sock.recv(_MAX_BYTES)
            if _answers(octets, wire):
                return octets


async def _over_tcp(server: NameServer, wire: bytes) -> bytes:
    """RFC 7766: each message has its length in front."""
    with _socket(server, socket.SOCK_STREAM) as sock:
        await sock.connect((str(server.address), server.port))
        stream = trio.SocketStream(sock)
        try:
            await stream.send_all(len(wire).to_bytes(2, "big") + wire)
            size = int.from_bytes(await _exactly(stream, 2), "big")
            octets = await _exactly(stream, size) if size <= _MAX_BYTES else b""
        except trio.BrokenResourceError as error:
            raise ConnectionResetError("the name server broke the connection") from error
        if not _answers(octets, wire):
            raise _Unusable
        return octets


async def _exactly(stream: trio.SocketStream, size: int) -> bytes:
    octets = b""
    while len(octets) < size:
        piece = await stream.receive_some(size - len(octets))
        if not piece:
            raise _Unusable
        octets += piece
    return octets


def _answers(octets: bytes, wire: bytes) -> bool:
    """Whether it is a response with the id of the question; all else is somebody's guess."""
    return len(octets) >= _HEAD_BYTES and octets[:2] == wire[:2] and bool(octets[2] & _RESPONSE)


def _together(six: _Reply | None, four: _Reply | None) -> Answer:
    """What two replies say of a name; None is one that did not come."""
    replies = [reply for reply in (six, four) if reply is not None]
    known = [reply for reply in replies if reply.ttl_s is not None]
    ttl_s = min((reply.ttl_s for reply in known if reply.ttl_s is not None), default=None)
    addresses = tuple(dict.fromkeys(one for reply in known for one in reply.addresses))
    if addresses and ttl_s is not None:
        return Answer(addresses, ttl_s if len(known) == 2 else min(ttl_s, _HALF_S))
    for reply in known:
        if reply.rcode == "NXDOMAIN":
            return Answer((), ttl_s, reply.rcode, reply.why)
    if len(replies) < 2:
        return Answer(late=True)
    worst = next((reply for reply in replies if reply.ttl_s is None), replies[0])
    return Answer((), None if worst.ttl_s is None else ttl_s, worst.rcode, worst.why)


_: type[Names] = NameServers
