"""From capture records to HAR 1.2, as Chrome's developer tools write and read WebSockets.

One entry a WebSocket; its messages are in ``_webSocketMessages``, where Chrome has
them since version 76: ``type`` send or receive, ``time`` in seconds since 1970,
``opcode``, and ``data``, text or Base64.  HAR has no place for the rest of what a
capture knows; it stands in fields of our own, which begin with ``_`` as the
specification asks.

A capture may be larger than memory and is still being written: it is read once,
line by line.  The messages of all WebSockets wait in one temporary file, in pieces
of one WebSocket each: a file for each would be more than a process may open, and a
look-up for each message more than memory holds.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Final
from urllib.parse import parse_qsl

import orjson

from wsproxy.observe.timestamps import parse_time

__all__ = ["HarWriter", "read_records"]

Record = Mapping[str, object]

_OPCODES: Final = {"text": 1, "binary": 2, "close": 8, "ping": 9, "pong": 10}
_PIECE_BYTES = 16 * 1024
"""Of a WebSocket's messages, before they wait on the disk."""


def read_records(lines: Iterable[bytes]) -> Iterator[dict[str, object]]:
    """The records of a capture; what is no whole line of JSON yet, or never was, is passed over."""
    for line in lines:
        if not line.endswith(b"\n"):
            return
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(record, dict):
            yield record


class _Session:
    """One WebSocket on its way to an entry.

    Args:
        first: its first record, of the opening if the capture has it.
        spool: where messages wait, shared by all.
    """

    def __init__(self, first: Record, spool: IO[bytes]) -> None:
        self.first = first
        self.last_time = _time(first)
        self.closed: Record | None = None
        self.messages = 0
        self._spool = spool
        self._waiting = bytearray()
        self._pieces: list[tuple[int, int]] = []

    def add(self, record: Record) -> None:
        """Takes a message."""
        self.last_time = max(self.last_time, _time(record))
        self._waiting += (b"," if self.messages else b"") + orjson.dumps(_message(record))
        self.messages += 1
        if len(self._waiting) >= _PIECE_BYTES:
            self._pieces.append((self._spool.seek(0, os.SEEK_END), len(self._waiting)))
            self._spool.write(self._waiting)
            self._waiting.clear()

    def close(self, record: Record) -> None:
        """Takes the last record."""
        self.closed = record
        self.last_time = max(self.last_time, _time(record))

    def read(self) -> Iterator[bytes]:
        """The messages, with commas between them."""
        for start, length in self._pieces:
            self._spool.seek(start)
            yield self._spool.read(length)
        yield bytes(self._waiting)


class HarWriter:
    """Collects records and writes one HAR file.

    Args:
        version: of this program, for ``creator``.
        wanted: which messages; a WebSocket with none of them is in the file if its opening
            or its end is wanted.  All by default.
    """

    def __init__(
        self, version: str, wanted: Callable[[Record], bool] = lambda _record: True
    ) -> None:
        self._version = version
        self._wanted = wanted
        self._sessions: dict[str, _Session] = {}
        self._opened: dict[str, Record] = {}
        self._spool = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it

    @property
    def messages(self) -> int:
        """Messages collected so far."""
        return sum(session.messages for session in self._sessions.values())

    @property
    def sessions(self) -> int:
        """WebSockets with something to show."""
        return len(self._sessions)

    def add(self, record: Record) -> None:
        """Takes the next record of a capture."""
        event, name = record.get("event"), str(record.get("session"))
        if event == "open":
            self._opened[name] = record
            if self._wanted(record):
                self._session(name, record)
        elif event == "message" and self._wanted(record):
            self._session(name, record).add(record)
        elif event == "close" and (name in self._sessions or self._wanted(record)):
            self._session(name, record).close(record)

    def _session(self, name: str, record: Record) -> _Session:
        if name not in self._sessions:
            self._sessions[name] = _Session(self._opened.get(name, record), self._spool)
        return self._sessions[name]

    def write(self, out: IO[bytes]) -> None:
        """Writes the file, and forgets what was collected."""
        creator = {"name": "wsproxy", "version": self._version}
        start = {"version": "1.2", "creator": creator, "pages": []}
        out.write(b'{"log":' + orjson.dumps(start)[:-1] + b',"entries":[')
        for number, session in enumerate(self._sessions.values()):
            entry = orjson.dumps(_entry(session))
            out.write((b",\n" if number else b"\n") + entry[:-1] + b',"_webSocketMessages":[')
            for piece in session.read():
                out.write(piece)
            out.write(b"]}")
        out.write(b"\n]}}\n")
        self.close()

    def close(self) -> None:
        """Forgets what was collected."""
        self._spool.close()
        self._sessions.clear()
        self._opened.clear()


def _time(record: Record) -> float:
    try:
        return parse_time(str(record["time"]))
    except (KeyError, ValueError):
        return 0.0


def _message(record: Record) -> dict[str, object]:
    opcode = str(record.get("opcode"))
    data = record.get("text")
    if data is None:
        data = record.get("binary", "")
    if opcode == "close" and not data:
        data = f"{record.get('code', '')} {record.get('reason', '')}".strip()
    message: dict[str, object] = {
        "type": "send" if record.get("direction") == "client" else "receive",
        "time": _time(record),
        "opcode": _OPCODES.get(opcode, 2),
        "data": data,
    }
    for name in ("size", "truncated", "sha256", "label", "verdicts", "undecodable"):
        if name in record and not (name == "size" and "truncated" not in record):
            message[f"_{name}"] = record[name]
    return message


def _entry(session: _Session) -> dict[str, object]:
    first, began_at = session.first, _time(session.first)
    duration_ms = max(0.0, (session.last_time - began_at) * 1000)
    url = str(first.get("url") or f"ws://{first.get('host', '')}/")
    entry: dict[str, object] = {
        "startedDateTime": first.get("time"),
        "time": duration_ms,
        "_resourceType": "websocket",
        "_session": first.get("session"),
        "request": _request(first, url),
        "response": _response(first),
        "cache": {},
        "timings": {"send": 0, "wait": duration_ms, "receive": 0},
    }
    if session.closed is not None:
        shown = ("closed_by", "reason", "code", "close_reason", "clean")
        entry["_close"] = {name: session.closed.get(name) for name in shown}
    return entry


def _request(first: Record, url: str) -> dict[str, object]:
    return {
        "method": "GET",
        "url": url,
        "httpVersion": "HTTP/1.1",
        "headers": _pairs(first.get("request")),
        "queryString": [
            {"name": name, "value": value}
            for name, value in parse_qsl(url.partition("?")[2], keep_blank_values=True)
        ],
        "cookies": [],
        "headersSize": -1,
        "bodySize": 0,
    }


def _response(first: Record) -> dict[str, object]:
    return {
        "status": 101,
        "statusText": "Switching Protocols",
        "httpVersion": "HTTP/1.1",
        "headers": _pairs(first.get("response")),
        "cookies": [],
        "content": {"size": 0, "mimeType": "x-unknown"},
        "redirectURL": "",
        "headersSize": -1,
        "bodySize": -1,
        "_transferSize": 0,
    }


def _pairs(headers: object) -> list[dict[str, str]]:
    if not isinstance(headers, list):
        return []
    return [{"name": str(name), "value": str(value)} for name, value in headers]
