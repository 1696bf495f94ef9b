"""A name server that says what a test wants, truth or not, on UDP and TCP of loopback.

with run_fake_dns(lambda query, tcp: [answer(query, "192.0.2.1")]) as server:
    server.port, server.asked
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

__all__ = ["FakeDns", "Say", "answer", "run_fake_dns"]

Say = Callable[[dns.message.Message, bool], Sequence[bytes]]
"""From a query, and whether it came over TCP, to the octets to send back, each a datagram."""


def answer(
    query: dns.message.Message, *addresses: str, ttl_s: int = 60, rcode: str = "NOERROR"
) -> bytes:
    """Those of `addresses` that are of the kind that is asked for."""
    reply = dns.message.make_response(query, recursion_available=True)
    reply.set_rcode(dns.rcode.from_text(rcode))
    kind = query.question[0].rdtype
    mine = [one for one in addresses if (":" in one) == (kind == dns.rdatatype.AAAA)]
    if mine:
        reply.answer.append(
            dns.rrset.from_text_list(query.question[0].name, ttl_s, "IN", kind, mine)
        )
    return reply.to_wire(max_size=65535)


class FakeDns:
    """The server.

    Attributes:
        port: of UDP and TCP.
        asked: what was asked, in order: ``A x.test``.
        ports: where each question came from.
        ids: of each question.
    """

    def __init__(self, say: Say, host: str) -> None:
        self._say = say
        self._host = host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._tcp = socket.create_server((host, 0), family=family)
        self.port: int = self._tcp.getsockname()[1]
        self._udp = socket.socket(family, socket.SOCK_DGRAM)
        self._udp.bind((host, self.port))
        self.asked: list[str] = []
        self.ports: list[int] = []
        self.ids: list[int] = []
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._datagrams, self._streams)
        ]
        for thread in self._threads:
            thread.start()

    def _take(self, octets: bytes, peer: tuple[str, int], *, tcp: bool) -> Sequence[bytes]:
        query = dns.message.from_wire(octets)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True)
        self.asked.append(f"{dns.rdatatype.to_text(question.rdtype)} {name}")
        self.ports.append(peer[1])
        self.ids.append(query.id)
        return self._say(query, tcp)

    def _datagrams(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                octets, peer = self._udp.recvfrom(65535)
                if not octets:
                    return
                for piece in self._take(octets, peer, tcp=False):
                    self._udp.sendto(piece, peer)

    def _streams(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                stream, peer = self._tcp.accept()
                with stream, contextlib.suppress(OSError), stream.makefile("rb") as lines:
                    octets = lines.read(int.from_bytes(lines.read(2), "big"))
                    if not octets:
                        continue
                    for piece in self._take(octets, peer, tcp=True):
                        stream.sendall(len(piece).to_bytes(2, "big") + piece)

    def close(self) -> None:
        """Ends it."""
        with socket.socket(self._udp.family, socket.SOCK_DGRAM) as last:
            last.sendto(b"", (self._host, self.port))
        self._tcp.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._tcp.close()
        self._udp.close()


@contextlib.contextmanager
def run_fake_dns(say: Say, host: str = "127.0.0.1") -> Iterator[FakeDns]:
    """A server that runs while the block does."""
    server = FakeDns(say, host)
    try:
        yield server
    finally:
        server.close()
