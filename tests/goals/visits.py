"""Client connections of every kind, played to their end, each with the records it must leave."""

from __future__ import annotations

import base64
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from tests.goals.room import Client, receive_head, receive_rest
from tests.support.rawnet import Connection, reset

__all__ = [
    "PASSWORD",
    "PLANS",
    "USER",
    "Expected",
    "Plan",
    "Visit",
    "World",
    "serve_http",
    "serve_sink",
]

MAX_PAYLOAD = 20_000
USER, PASSWORD = "alice", "correct"
LOGIN = b"Proxy-Authorization: Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()) + b"\r\n"


@dataclass(frozen=True, slots=True)
class Expected:
    """What one record must say; None where it may say anything.

    Attributes:
        kind: of the request.
        status: sent.
        up: least and most of `bytes_up`.
        down: the same of `bytes_down`.
    """

    kind: str | None
    status: int | None
    up: tuple[int, int] = (0, 0)
    down: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class World:
    """What a connection needs: where the proxy is, where the origins are, and chance.

    Attributes:
        address: of the proxy.
        sink: port of the origin that counts what it gets, and sends what its first line asks for.
        http: port of the HTTP origin.
        closed: a port where nobody listens.
        chance: seeded.
    """

    address: tuple[str, int]
    sink: int
    http: int
    closed: int
    chance: random.Random


@dataclass(slots=True)
class Visit:
    """One client connection: who it is, and a socket."""

    number: int
    sock: Client
    world: World

    async def say(self, octets: bytes) -> None:
        """Sends; a proxy that has hung up already is no error."""
        try:
            view = memoryview(octets)
            while view:
                view = view[await self.sock.send(view) :]
        except (BrokenPipeError, ConnectionResetError):
            pass

    def reset(self) -> None:
        """Hangs up with a RST."""
        reset(trio.SocketStream(self.sock))
        self.sock.close()

    def size(self) -> int:
        """Of a payload."""
        return self.world.chance.randrange(MAX_PAYLOAD)


Plan = Callable[[Visit], Awaitable[list[Expected]]]
"""Plays one connection to its end, and says which records it must have left."""


def _command(visit: Visit, wanted: int, manner: str) -> bytes:
    return b"%d %d %s\n" % (visit.number, wanted, manner.encode())


async def serve_sink(connection: Connection, *, received: dict[int, int]) -> None:
    """Obeys the first line, ``NUMBER OCTETS eof|reset``, and counts everything that comes."""
    if not await connection.receive_until(b"\n"):
        return
    line = bytes(connection.received.partition(b"\n")[0]).split()
    number, wanted, manner = int(line[0]), int(line[1]), line[2]
    await connection.send(b"d" * wanted)
    if manner == b"reset":
        reset(connection.stream)
        return
    await connection.drain()
    received[number] = len(connection.received)


async def serve_http(connection: Connection) -> None:
    """Answers ``/N`` with N octets, ``/N/short`` with fewer than it says, ``/N/reset`` with a RST."""
    buffer = connection.received
    while await connection.receive_until(b"\r\n\r\n"):
        head = bytes(buffer).partition(b"\r\n\r\n")[0]
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        if b"transfer-encoding" in head.lower():
            if not await connection.receive_until(b"\r\n0\r\n\r\n"):
                return
        else:
            while len(buffer) < len(head) + 4 + length:
                if not await connection.receive():
                    return
        buffer.clear()
        path = head.split(b" ")[1].split(b"/")
        size, manner = int(path[1]), path[2] if len(path) > 2 else b""
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        await connection.send(b"d" * (size // 2 if manner else size))
        if manner == b"reset":
            reset(connection.stream)
        if manner:
            return


def _connect_head(visit: Visit, port: int, login: bytes = LOGIN) -> bytes:
    return b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n%s\r\n" % (port, login)


async def tunnel(visit: Visit) -> list[Expected]:
    """Both sides say all they have and end in order: every octet counts."""
    wanted, up = visit.size(), b"u" * visit.size()
    said = _command(visit, wanted, "eof") + up
    await visit.say(_connect_head(visit, visit.world.sink))
    assert (await receive_head(visit.sock)).startswith(b"HTTP/1.1 200 ")
    await visit.say(said)
    visit.sock.shutdown(trio.socket.SHUT_WR)
    down, how = await receive_rest(visit.sock)
    assert (len(down), how) == (wanted, "eof")
    return [Expected("connect", 200, (len(said), len(said)), (wanted, wanted))]


async def eager_tunnel(visit: Visit) -> list[Expected]:
    """The same, said before the answer came."""
    wanted = visit.size()
    said = _command(visit, wanted, "eof") + b"u" * visit.size()
    await visit.say(_connect_head(visit, visit.world.sink) + said)
    visit.sock.shutdown(trio.socket.SHUT_WR)
    received, how = await receive_rest(visit.sock)
    down = received.partition(b"\r\n\r\n")[2]
    assert (len(down), how) == (wanted, "eof")
    return [Expected("connect", 200, (len(said), len(said)), (wanted, wanted))]


async def killed_tunnel(visit: Visit) -> list[Expected]:
    """The client resets at a random point."""
    wanted, size = visit.size(), visit.size()
    said = _command(visit, wanted, "eof") + b"u" * size
    await visit.say(_connect_head(visit, visit.world.sink))
    assert (await receive_head(visit.sock)).startswith(b"HTTP/1.1 200 ")
    said = said[: visit.world.chance.randrange(len(said))]
    await visit.say(said)
    visit.reset()
    return [Expected("connect", 200, (0, len(said)), (0, wanted))]


async def tunnel_whose_origin_dies(visit: Visit) -> list[Expected]:
    wanted = visit.size()
    said = _command(visit, wanted, "reset") + b"u" * visit.size()
    await visit.say(_connect_head(visit, visit.world.sink))
    assert (await receive_head(visit.sock)).startswith(b"HTTP/1.1 200 ")
    await visit.say(said)
    down, _ = await receive_rest(visit.sock)
    return [Expected("connect", 200, (0, len(said)), (len(down), wanted))]


def _get(visit: Visit, path: str, extra: bytes = b"") -> bytes:
    line = f"GET http://127.0.0.1:{visit.world.http}/{path} HTTP/1.1\r\n".encode()
    return line + b"Host: x\r\n" + LOGIN + extra + b"\r\n"


async def requests(visit: Visit) -> list[Expected]:
    """One to four requests on one connection, with and without bodies."""
    expected = []
    for _ in range(visit.world.chance.randint(1, 4)):
        size, up = visit.size(), visit.size()
        line = f"POST http://127.0.0.1:{visit.world.http}/{size} HTTP/1.1\r\n".encode()
        head = line + b"Host: x\r\n" + LOGIN
        if visit.world.chance.random() < 0.5:
            await visit.say(head + b"Content-Length: %d\r\n\r\n" % up + b"u" * up)
        else:
            chunk = b"%x\r\n%s\r\n" % (up, b"u" * up) if up else b""
            await visit.say(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n")
        received = await receive_head(visit.sock)
        assert received.startswith(b"HTTP/1.1 200 "), received
        body = len(received.partition(b"\r\n\r\n")[2])
        while body < size:
            body += len(await visit.sock.recv(65536))
        assert body == size
        expected.append(Expected("forward", 200, (up, up), (size, size)))
    return expected


async def pipelined(visit: Visit) -> list[Expected]:
    """Requests that do not wait for answers."""
    sizes = [visit.size() for _ in range(visit.world.chance.randint(2, 5))]
    await visit.say(b"".join(_get(visit, str(size)) for size in sizes))
    visit.sock.shutdown(trio.socket.SHUT_WR)
    received, how = await receive_rest(visit.sock)
    assert received.count(b"HTTP/1.1 200 ") == len(sizes)
    assert how == "eof"
    return [Expected("forward", 200, (0, 0), (size, size)) for size in sizes]


async def killed_request(visit: Visit) -> list[Expected]:
    """The client resets at a random point of the request, or behind it."""
    size = visit.size()
    request = _get(visit, str(size))
    cut = visit.world.chance.randrange(len(request) + 1)
    await visit.say(request[:cut])
    visit.reset()
    return [Expected(None, None, (0, 0), (0, size if cut == len(request) else 0))]


async def killed_download(visit: Visit) -> list[Expected]:
    """The client resets once it has the head of the answer."""
    size = visit.size()
    await visit.say(_get(visit, str(size)))
    received = await receive_head(visit.sock)
    got = len(received.partition(b"\r\n\r\n")[2])
    visit.reset()
    return [Expected("forward", 200, (0, 0), (got, size))]


async def short_answer(visit: Visit) -> list[Expected]:
    """The origin ends in the middle."""
    size = 2 * visit.size() + 2
    manner = visit.world.chance.choice(["short", "reset"])
    await visit.say(_get(visit, f"{size}/{manner}"))
    received, _ = await receive_rest(visit.sock)
    got = len(received.partition(b"\r\n\r\n")[2]) if b" 200 " in received[:13] else 0
    assert got <= size // 2
    return [Expected("forward", None, (0, 0), (got, size // 2))]


async def nothing(visit: Visit) -> list[Expected]:
    """A client that never says a word."""
    if visit.world.chance.random() < 0.5:
        visit.reset()
    else:
        visit.sock.shutdown(trio.socket.SHUT_WR)
        await receive_rest(visit.sock)
    return [Expected(None, None)]


async def half_a_head(visit: Visit) -> list[Expected]:
    request = _get(visit, "1")
    await visit.say(request[: visit.world.chance.randrange(1, len(request))])
    visit.sock.shutdown(trio.socket.SHUT_WR)
    await receive_rest(visit.sock)
    return [Expected(None, None)]


def _refused(kind: str | None, status: int, request: Callable[[Visit], bytes]) -> Plan:
    async def plan(visit: Visit) -> list[Expected]:
        await visit.say(request(visit))
        visit.sock.shutdown(trio.socket.SHUT_WR)
        received, _ = await receive_rest(visit.sock)
        assert received.startswith(b"HTTP/1.1 %d " % status), received[:80]
        return [Expected(kind, status, (0, MAX_PAYLOAD), (0, 0))]

    return plan


def _post_without_login(visit: Visit) -> bytes:
    size = visit.size()
    line = f"POST http://127.0.0.1:{visit.world.http}/1 HTTP/1.1\r\n".encode()
    return line + b"Host: x\r\nContent-Length: %d\r\n\r\n" % size + b"u" * size


def _denied(visit: Visit) -> bytes:
    line = b"GET http://forbidden.example/ HTTP/1.1\r\n"
    return line + b"Host: forbidden.example\r\n" + LOGIN + b"\r\n"


PLANS: list[tuple[int, Plan]] = [
    (20, tunnel),
    (10, eager_tunnel),
    (10, killed_tunnel),
    (5, tunnel_whose_origin_dies),
    (15, requests),
    (5, pipelined),
    (10, killed_request),
    (5, killed_download),
    (5, short_answer),
    (3, nothing),
    (3, half_a_head),
    (3, _refused("connect", 407, lambda visit: _connect_head(visit, visit.world.sink, b""))),
    (3, _refused("forward", 407, _post_without_login)),
    (3, _refused("connect", 502, lambda visit: _connect_head(visit, visit.world.closed))),
    (3, _refused("forward", 403, _denied)),
    (3, _refused(None, 400, lambda visit: b"GET  http://x/ HTTP/1.1\r\n\r\n")),
]
