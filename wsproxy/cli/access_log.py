"""Access records in JSON, read back: what was asked, by whom, and what became of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address

import click
import orjson

from wsproxy.errors import ConfigError
from wsproxy.model import Address, Target
from wsproxy.proxy.explain import parse_question_url

__all__ = ["AccessLog", "Asked", "Record"]

_HIDDEN_QUERY = "?…"
_PEER = re.compile(r"\[?([0-9A-Fa-f:.]+)\]?:\d+")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a record says was asked.

    Attributes:
        method: of the request.
        text: target as in the record.
        target: the same, with the scheme that a client of it has; a query is not in it.
        inside: it was asked inside a tunnel that was intercepted.
    """

    method: str
    text: str
    target: Target
    inside: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    Attributes:
        at: when it was made, in seconds since 1970.
        client: address.
        user: as authenticated.
        asked: what was asked; a WebSocket in a tunnel was asked for twice.
        verdict: ``allow``, ``deny``, or None.
        would_deny: whether something that only reports would have denied it.
        error: RFC 9209 token.
    """

    at: float
    client: Address
    user: str | None
    asked: tuple[Asked, ...]
    verdict: str | None
    would_deny: bool
    error: str | None


class AccessLog:
    """The records of one file, each request once.

    Args:
        path: of the file; ``-`` for the standard input.

    Attributes:
        lines: read so far.
        skipped: those among them that are no records.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.lines = 0
        self.skipped = 0
        self._open: dict[object, Record] = {}

    def read(self) -> Iterator[Record]:
        """Every record of a request; of tunnels that have not ended, what opened them.

        Raises:
            ConfigError: the file cannot be read, or holds no records.
        """
        records = 0
        try:
            with click.open_file(self._path, "rb") as stream:
                for line in stream:
                    self.lines += 1
                    try:
                        record = self._parse(line)
                    except (ValueError, TypeError, KeyError, AttributeError):
                        self.skipped += 1
                        continue
                    records += 1
                    if record is not None:
                        yield record
        except OSError as error:
            raise ConfigError(f"cannot read: {error.strerror}", file=self._path) from None
        if self.lines and not records:
            sentence = "no line is an access record in JSON; see logs.access.format"
            raise ConfigError(sentence, file=self._path)
        yield from self._open.values()

    def _parse(self, line: bytes) -> Record | None:
        """The record in a line; None when nothing was asked of anybody else, or it comes again."""
        data = orjson.loads(line)
        event, name = data["event"], data["id"]
        if event not in ("access", "open"):
            raise ValueError("another record")
        kind, target, method = data["kind"], data["target"], data["method"]
        self._open.pop(name, None)
        if kind is None or target is None or kind == "own":
            return None
        client = _PEER.fullmatch(data["client"])
        if (
            client is None
            or not isinstance(method, str)
            or not isinstance(data["user"], str | None)
        ):
            raise ValueError("no record of ours")
        record = Record(
            at=datetime.fromisoformat(data["time"]).timestamp(),
            client=ip_address(client[1]),
            user=data["user"],
            asked=tuple(_asked(kind, method, target, data)),
            verdict=data["verdict"],
            would_deny=bool(data.get("would_deny")),
            error=data["error"],
        )
        if event == "open":
            self._open[name] = record
            return None
        return record


def _asked(kind: str, method: str, text: str, data: dict[str, object]) -> Iterator[Asked]:
    if kind != "connect":
        target = parse_question_url(text.removesuffix(_HIDDEN_QUERY))
        yield Asked(method, text, target, inside="tunnel" in data)
        return
    tls, websocket = data.get("tls"), data.get("websocket")
    target = parse_question_url(f"tcp://{text}")
    scheme = "https" if target.port == 443 else "tcp"
    if isinstance(tls, dict):
        scheme = "wss" if tls.get("alpn") == ["http/1.1"] else "https"
    yield Asked(method, text, Target(scheme, target.host, target.port))
    url = websocket.get("url") if isinstance(websocket, dict) else None
    if isinstance(url, str):
        yield Asked("GET", url, parse_question_url(url))
