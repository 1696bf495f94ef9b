"""One proxy process under attack, with a bystander whose tunnel must never notice."""

from __future__ import annotations

import itertools
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trio

from tests.hostile.case import Case, fill
from tests.hostile.judge import CONNECTED, judge, judge_anonymous, judge_records
from tests.hostile.origins import answer_strictly
from tests.support.proxy_process import ProxyProcess, Record, start_proxy
from tests.support.rawnet import RecordingOrigin, echo, exchange, open_origin

__all__ = ["BYSTANDER", "Room", "new_client_address", "open_room"]

BYSTANDER = "127.0.0.9"
"""Where the bystander's origin listens; every configuration must let it through."""
AT_ONCE = 48
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
"""Octets of an attacker must not reach a terminal that shows the log (T16)."""
_UPSTREAM_GUARD_S = 10.0
_addresses = itertools.count(1)


def new_client_address() -> str:
    """An address in 127.0.0.0/8 that no client has used before."""
    number = next(_addresses)
    return f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


@dataclass(frozen=True, slots=True)
class _Outcome:
    case: Case
    source: str
    problems: list[str]
    statuses: list[int]


def _by_client(records: Iterable[Record]) -> dict[str, list[Record]]:
    """The access records, by client address without port."""
    found: dict[str, list[Record]] = {}
    for record in records:
        if record["event"] == "access":
            found.setdefault(str(record["client"]).rpartition(":")[0], []).append(record)
    return found


class Room:
    """What the tests of one proxy process share.

    Every conversation has a client address of its own in 127.0.0.0/8, so that its access
    records can be told from all others.

    Attributes:
        proxy: the process.
        seen: how many records each client address must have in the end.
    """

    def __init__(self, proxy: ProxyProcess, *, credentials: bytes) -> None:
        self.proxy = proxy
        self.seen: Counter[str] = Counter()
        self._credentials = credentials
        self._bystander = _Bystander(proxy.address, credentials)
        self._baseline = self._descriptors()

    async def run(
        self, cases: Sequence[Case], *, bytewise: bool = False, anonymous: bool = False
    ) -> list[str]:
        """Runs all cases, many at once, and returns what went wrong, one line each.

        Args:
            cases: what to run.
            bytewise: send every octet in a segment of its own; leaves out what is too long.
            anonymous: send no credentials, whatever the case says.
        """
        self._bystander.echo()
        outcomes: list[_Outcome] = []
        limiter = trio.CapacityLimiter(AT_ONCE)

        async def one(case: Case) -> None:
            async with limiter:
                outcomes.append(await self._run_one(case, bytewise=bytewise, anonymous=anonymous))

        async with trio.open_nursery() as nursery:
            for case in cases:
                if case.bytewise or not bytewise:
                    nursery.start_soon(one, case)
        self._bystander.echo()
        return self._report(outcomes, anonymous=anonymous)

    async def _run_one(self, case: Case, *, bytewise: bool, anonymous: bool) -> _Outcome:
        source = new_client_address()
        default = echo if case.tunnel is not None else answer_strictly
        async with open_origin(case.behaviour or default) as origin:
            marks = self._marks(origin, anonymous=anonymous)
            pieces = [fill(piece, marks) for piece in case.send]
            if bytewise:
                whole = b"".join(pieces)
                pieces = [whole[n : n + 1] for n in range(len(whole))]
            eof = anonymous or not case.closes
            gate = None if anonymous else origin.wait_received
            seen = await exchange(self.proxy.address, pieces, source=source, eof=eof, gate=gate)
            with trio.move_on_after(_UPSTREAM_GUARD_S):
                await origin.wait_finished()
            verdict = judge_anonymous if anonymous else judge
            problems, statuses = verdict(case, seen, origin)
        return _Outcome(case, source, problems, statuses)

    def _marks(self, origin: RecordingOrigin, *, anonymous: bool) -> dict[bytes, bytes]:
        return {
            b"@A@": b"" if anonymous else self.credentials_line,
            b"@C@": self._credentials,
            b"@O@": origin.authority,
            b"@P@": b"%d" % origin.port,
            b"@SP@": b"%d" % self.proxy.port,
            b"@S@": b"127.0.0.1:%d" % self.proxy.port,
        }

    def _report(self, outcomes: Sequence[_Outcome], *, anonymous: bool) -> list[str]:
        """Adds what is wrong with the records, once all of them have been written."""
        expected = {outcome.source: max(1, len(outcome.statuses)) for outcome in outcomes}
        self.seen.update(expected)

        def all_are_there(records: list[Record]) -> bool:
            found = _by_client(records)
            return all(len(found.get(client, ())) >= n for client, n in expected.items())

        self.proxy.wait_until_logged(all_are_there)
        by_client = _by_client(self.proxy.records(event="access"))
        reports = []
        for outcome in outcomes:
            problems = outcome.problems or judge_records(
                outcome.case,
                outcome.statuses,
                by_client.get(outcome.source, []),
                anonymous=anonymous,
            )
            reports += [f"{outcome.case.id}: {problem}" for problem in problems]
        return sorted(reports)

    def wait_for_records(self, source: str, count: int) -> None:
        """Waits until a client address has `count` access records."""
        assert self.proxy.wait_until_logged(
            lambda records: len(_by_client(records).get(source, ())) >= count
        )

    def check_bystander(self) -> None:
        """Expects an echo from the tunnel that has been open all along."""
        self._bystander.echo()

    @property
    def credentials_line(self) -> bytes:
        """What a client sends to be let in; empty where nothing is asked for."""
        value = self._credentials
        return b"Proxy-Authorization: Basic " + value + b"\r\n" if value else b""

    def close(self) -> None:
        """Closes the bystander's sockets, whatever happened."""
        self._bystander.close()

    def check_afterwards(self) -> None:
        """What must hold when all is over: see the assertions.  Ends the process."""
        assert self.proxy.is_running(), f"the proxy died:\n{self.proxy.stderr}"
        self.check_descriptors()
        self._bystander.end()
        self.seen["127.0.0.1"] += 1
        assert self.proxy.terminate() == 0
        assert _CONTROL.search(self.proxy.stdout + self.proxy.stderr) is None
        assert "Traceback" not in self.proxy.stderr, self.proxy.stderr
        assert "internal" not in {r["reason"] for r in self.proxy.records(event="access")}
        by_client = _by_client(self.proxy.records())
        logged = Counter({client: len(records) for client, records in by_client.items()})
        wrong = {
            client: (logged[client], self.seen[client])
            for client in logged.keys() | self.seen.keys()
            if logged[client] != self.seen[client]
        }
        assert not wrong, f"records by client (logged, expected): {wrong}"

    def check_descriptors(self) -> None:
        """Expects the proxy to have as many descriptors as in the beginning, or soon.

        Each echo is a round trip through the proxy, so its loop has turned in between.
        """
        deadline = time.monotonic() + _UPSTREAM_GUARD_S
        while self._descriptors() > self._baseline and time.monotonic() < deadline:
            self._bystander.echo()
        assert self._descriptors() <= self._baseline, "descriptors leaked"

    def _descriptors(self) -> int:
        """How many are open, pipes left out: those that bulk has used are kept for the next."""
        kinds = []
        for path in Path(f"/proc/{self.proxy.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since it was listed
                kinds.append(path.readlink().name)
        return sum(not kind.startswith("pipe:") for kind in kinds)


class _Bystander:
    """A tunnel that was open before and stays open: the same connection all along."""

    def __init__(self, proxy: tuple[str, int], credentials: bytes) -> None:
        self._listener = socket.create_server((BYSTANDER, 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self._socket = socket.create_connection(proxy, timeout=20)
        authority = b"%b:%d" % (BYSTANDER.encode(), self._listener.getsockname()[1])
        line = b"Proxy-Authorization: Basic " + credentials + b"\r\n" if credentials else b""
        self._socket.sendall(
            b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (authority, authority, line)
        )
        assert self._receive(len(CONNECTED)) == CONNECTED
        self._number = 0

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)

    def _receive(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self._socket.recv(count - len(data))
            assert piece, f"the bystander's tunnel ended behind {data!r}"
            data += piece
        return data

    def echo(self) -> None:
        """Sends a line nobody sent before and expects it back."""
        self._number += 1
        line = b"bystander %d\n" % self._number
        self._socket.sendall(line)
        assert self._receive(len(line)) == line

    def end(self) -> None:
        """Ends the tunnel in order and expects the other end to follow."""
        self._socket.shutdown(socket.SHUT_WR)
        assert self._socket.recv(1) == b""
        self.close()
        self._thread.join(timeout=10)

    def close(self) -> None:
        """Closes what is still open."""
        self._socket.close()
        self._listener.close()


@contextmanager
def open_room(
    config_yaml: str, tmp_path: Path, *, credentials: bytes = b"", listeners: int = 1
) -> Iterator[Room]:
    """Starts a proxy, lets the tests at it, and checks afterwards that nothing is left.

    Args:
        config_yaml: the configuration; must let the bystander reach its origin.
        tmp_path: for the configuration.
        credentials: Base64 of Basic credentials, where the proxy asks for some.
        listeners: how many it has; the bystander comes by the first.
    """
    with start_proxy(config_yaml, tmp_path, listeners=listeners) as proxy:
        room = Room(proxy, credentials=credentials)
        try:
            yield room
            room.check_afterwards()
        finally:
            room.close()
