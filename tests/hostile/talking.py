"""Both ends of a WebSocket through the proxy: one says what it was told to, one listens.

Each mode of inspection has an address of its own in 127.0.0.0/8 where origins listen, so one
proxy has them all.  In mode ``hold`` a rule that never matches has every message held until
it is whole.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from tests.hostile.corpus.messages import MAX_MESSAGE_BYTES
from tests.hostile.corpus.upgrade import HANDSHAKE
from tests.hostile.judge import CONNECTED
from tests.hostile.origins import accepting
from tests.hostile.room import Room, new_client_address, open_room
from tests.hostile.talk import CLIENT, UPSTREAM, Talk, close, frames
from tests.support.rawnet import Behaviour, Connection, open_origin, reset

__all__ = [
    "ADDRESSES",
    "FORMS",
    "Heard",
    "Watched",
    "Way",
    "connect",
    "converse",
    "handshake",
    "open_watched",
]

ADDRESSES = {
    "off": "127.0.0.101",
    "metadata": "127.0.0.102",
    "log": "127.0.0.103",
    "enforce": "127.0.0.104",
    "hold": "127.0.0.105",
}
FORMS = ("absolute", "connect")
_GUARD_S = 10.0
_BYTEWISE = 300
"""Longer talks are cut into this many pieces instead."""
_AHEAD_BYTES = 32 * 1024
"""A client that says more than this waits for its 101 first."""


def _config() -> str:
    rules = "\n".join(
        f"    - {{name: {mode}, when: {{hosts: ['{address}']}}, action: allow, websocket: '"
        + ("enforce', messages: never}" if mode == "hold" else f"{mode}'}}")
        for mode, address in ADDRESSES.items()
    )
    return f"""
listeners:
  - address: 127.0.0.1:0
policy:
  default: allow
  private_networks:
    - {{hosts: ["*"], networks: [127.0.0.0/8]}}
  rules:
{rules}
inspection:
  max_message: {MAX_MESSAGE_BYTES // 1024}KiB
  capture: {{directory: captures}}
  message_rules:
    never:
      - {{name: never, matches: "x{{99}}never", action: close}}
"""


@dataclass(frozen=True, slots=True)
class Way:
    """How a talk is held.

    Attributes:
        mode: of inspection, a key of `ADDRESSES`.
        form: ``absolute``, or ``connect`` for a handshake inside a tunnel.
        delivery: ``glued`` to the handshake or the 101, ``apart`` from it, or ``bytewise``.
    """

    mode: str
    form: str
    delivery: str = "apart"

    @property
    def enforces(self) -> bool:
        """Whether what is wrong must not pass."""
        return self.mode in ("enforce", "hold")


@dataclass(slots=True)
class Heard:
    """What came of a talk.

    Attributes:
        talk, way: which, and how.
        source: address of the client.
        hung: somebody waited in vain.
        switched: the client got its 101.
        at_listener, at_talker: octets behind the handshake that the peers got.
        listener_ended, talker_ended: ``eof``, ``reset`` or None.
    """

    talk: Talk
    way: Way
    source: str = field(default_factory=new_client_address)
    hung: bool = True
    switched: bool = False
    at_listener: bytes = b""
    at_talker: bytes = b""
    listener_ended: str | None = None
    talker_ended: str | None = None

    @property
    def name(self) -> str:
        """For reports."""
        way = self.way
        return f"{self.talk.row} {self.talk.name} ({way.mode}, {way.form}, {way.delivery})"


@dataclass(slots=True, eq=False)
class Watched:
    """A proxy whose captures are read along.

    Attributes:
        room: the proxy.
        directory: its captures.
        captured: their records so far but for messages, by session.
    """

    room: Room
    directory: Path
    captured: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    _read: int = 0

    def wait_for_close(self, sessions: Sequence[str]) -> list[str]:
        """Reads until each session's last record is there; the sessions that have none.

        Each echo is a round trip through the proxy, so its loop has turned in between.
        """
        deadline = trio.current_time() + _GUARD_S
        while missing := [session for session in sessions if not self._is_over(session)]:
            if trio.current_time() > deadline:
                break
            self.room.check_bystander()
            self._read_on()
        return missing

    def _is_over(self, session: str) -> bool:
        return any(record["event"] == "close" for record in self.captured.get(session, ()))

    def _read_on(self) -> None:
        (path,) = self.directory.glob("*.jsonl")
        with path.open("rb") as file:
            file.seek(self._read)
            lines = file.read().splitlines(keepends=True)
        for line in lines:
            if not line.endswith(b"\n"):
                return
            self._read += len(line)
            if not line.startswith(b'{"event":"message"'):
                record = json.loads(line)
                self.captured.setdefault(record.get("session", ""), []).append(record)


@contextmanager
def open_watched(tmp_path: Path) -> Iterator[Watched]:
    """Starts a proxy with every mode of inspection; see `open_room`."""
    with open_room(_config(), tmp_path) as room:
        yield Watched(room, tmp_path / "captures")


def handshake(form: str, authority: bytes, *, extensions: bytes = b"", path: bytes = b"/") -> bytes:
    """An opening handshake."""
    start = b"http://" + authority if form == "absolute" else b""
    fields = [b"Host: " + authority, *HANDSHAKE]
    if extensions:
        fields.append(b"Sec-WebSocket-Extensions: " + extensions)
    return b"GET %b%b HTTP/1.1\r\n" % (start, path) + b"\r\n".join([*fields, b"", b""])


def _pieces(talk: Talk, delivery: str) -> list[bytes]:
    sent = talk.sent
    if delivery != "bytewise":
        return [sent]
    size = -(-len(sent) // _BYTEWISE)
    return [sent[n : n + size] for n in range(0, len(sent), size)]


async def _talk(connection: Connection, pieces: Sequence[bytes], heard: Heard) -> None:
    """Says it all and ends as the talk wants, or waits for the end where it must be told."""
    for piece in pieces:
        if not await connection.send(piece):
            break
        await trio.lowlevel.checkpoint()
    end = heard.talk.end
    if end == "rst":
        reset(connection.stream)
        return
    if end == "fin" or not heard.way.enforces or heard.talk.enforced is None:
        with suppress(trio.BrokenResourceError):
            await connection.stream.send_eof()
    await connection.drain()


async def _listen(connection: Connection, seen: int, heard: Heard) -> None:
    """Hears it out; answers a Close as an endpoint does (RFC 6455 §5.5.1)."""
    await connection.drain()
    whole, rest = frames(bytes(connection.received[seen:]))
    if whole and whole[-1].opcode == 8 and not rest:
        side = UPSTREAM if heard.talk.side == CLIENT else CLIENT
        code = whole[-1].code
        await connection.send(close(side, 1000 if code == 1005 else code))


async def converse(room: Room, talk: Talk, way: Way) -> Heard:
    """Holds one talk through the proxy; nobody waits longer than 10 s."""
    heard = Heard(talk, way)
    host = ADDRESSES[way.mode]
    async with open_origin(_origin(heard), host=host) as origin:
        with trio.move_on_after(_GUARD_S):
            authority = b"%b:%d" % (host.encode(), origin.port)
            client = await connect(room, heard.source)
            await _be_client(client, authority, heard)
            await trio.aclose_forcefully(client.stream)
            await origin.wait_finished()
            heard.hung = False
        if origin.connections:
            _note(heard, UPSTREAM, origin.connections[0])
    room.seen[heard.source] += 1
    return heard


async def connect(room: Room, source: str) -> Connection:
    """A connection to the proxy from an address of its own."""
    sock = trio.socket.socket()
    await sock.bind((source, 0))
    await sock.connect(room.proxy.address)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Connection(trio.SocketStream(sock))


def _origin(heard: Heard) -> Behaviour:
    talk, way = heard.talk, heard.way

    async def behave(connection: Connection) -> None:
        if not await connection.receive_until(b"\r\n\r\n"):
            return
        head = accepting(bytes(connection.received))
        if talk.extensions:
            extensions = b"Sec-WebSocket-Extensions: " + talk.extensions + b"\r\n\r\n"
            head = head.removesuffix(b"\r\n") + extensions
        if talk.side == CLIENT:
            await connection.send(head)
            seen = connection.received.index(b"\r\n\r\n") + 4
            await _listen(connection, seen, heard)
            return
        pieces = _pieces(talk, way.delivery)
        if way.delivery == "glued":
            pieces[0] = head + pieces[0]
        else:
            pieces.insert(0, head)
        await _talk(connection, pieces, heard)

    return behave


async def _be_client(connection: Connection, authority: bytes, heard: Heard) -> None:
    talk, way = heard.talk, heard.way
    if way.form == "connect":
        await connection.send(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (authority, authority))
        if not await connection.receive_until(CONNECTED):
            return
        connection.received.clear()
    asks = handshake(way.form, authority, extensions=talk.extensions)
    pieces = _pieces(talk, way.delivery) if talk.side == CLIENT else []
    if pieces and way.delivery == "glued" and len(pieces[0]) <= _AHEAD_BYTES:
        asks, pieces = asks + pieces[0], []
    await connection.send(asks)
    heard.switched = await connection.receive_until(b"\r\n\r\n")
    heard.switched &= connection.received.startswith(b"HTTP/1.1 101 ")
    if heard.switched:
        seen = connection.received.index(b"\r\n\r\n") + 4
        if talk.side == CLIENT:
            await _talk(connection, pieces, heard)
        else:
            await _listen(connection, seen, heard)
    _note(heard, CLIENT, connection)


def _note(heard: Heard, side: str, connection: Connection) -> None:
    octets = bytes(connection.received).partition(b"\r\n\r\n")[2]
    if heard.talk.side == side:
        heard.at_talker, heard.talker_ended = octets, connection.ended
    else:
        heard.at_listener, heard.listener_ended = octets, connection.ended
