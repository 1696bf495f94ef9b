"""A proxy to guess at: who knows a password and who does not, each from an address of its own."""

from __future__ import annotations

from base64 import b64encode

import trio

from tests.goals.room import Client, receive_head
from tests.support.proxy_process import OPEN_TO_LOOPBACK, ProxyProcess
from tests.support.rawnet import Connection, RecordingOrigin

__all__ = ["GUESSER", "LOCKOUT", "PASSWORD", "SECURED", "USER", "GuessedAt", "answer"]

PASSWORD = "correct horse battery staple"
SECURED = OPEN_TO_LOOPBACK + "auth: {methods: [{type: basic, users: users}]%s}\n"
LOCKOUT = ", lockout: {failures: 10, within: 1m, for: 5m}"
GUESSER, USER = "127.0.0.2", "127.0.0.3"


async def answer(connection: Connection) -> None:
    """An origin that is quick."""
    while await connection.receive_until(b"\r\n\r\n"):
        connection.received.clear()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


class GuessedAt:
    """A proxy that knows Alice, and an origin behind it.

    Args:
        proxy: running.
        origin: open.
    """

    def __init__(self, proxy: ProxyProcess, origin: RecordingOrigin) -> None:
        self.proxy = proxy
        self._target = origin.authority

    async def connect(self, source: str) -> Client:
        """A connection to the proxy from an address of loopback."""
        sock = trio.socket.socket()
        await sock.bind((source, 0))
        await sock.connect(self.proxy.address)
        return sock

    async def ask(self, sock: Client, user: str, password: str) -> bytes:
        """One request, without credentials when there is no user; its answer, as far as it came."""
        login = b64encode(f"{user}:{password}".encode())
        field = b"Proxy-Authorization: Basic %b\r\n" % login if user else b""
        await sock.send(b"GET http://%b/ HTTP/1.1\r\nHost: x\r\n%b\r\n" % (self._target, field))
        head = await receive_head(sock)
        body = head.partition(b"\r\n\r\n")[2]
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                missing = int(line.partition(b":")[2]) - len(body)
                while missing > 0:
                    missing -= len(await sock.recv(missing))
        return head

    async def ask_once(self, source: str, user: str, password: str) -> int:
        """The status of one request on a connection of its own."""
        sock = await self.connect(source)
        with sock:
            return int((await self.ask(sock, user, password))[9:12])

    async def guess(self, count: int, *, user: str = "alice") -> list[int]:
        """The statuses of `count` guesses, one after the other."""
        return [await self.ask_once(GUESSER, user, f"guess {n}") for n in range(count)]
