"""A proxy that logs the messages of every WebSocket to loopback, and what its capture holds.

Records are read after the proxy was stopped: a stop writes all that waits, so a
test needs no patience of its own.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.proxy_process import ProxyProcess, Record

LOGGING = """
listeners: [{address: 127.0.0.1:0}]
inspection: {capture: {directory: captures, payload: 64KiB}}
policy:
  default: deny
  private_networks: [{hosts: [127.0.0.1], networks: [127.0.0.0/8]}]
  rules: [{name: here, when: {hosts: [127.0.0.1]}, action: allow, websocket: log}]
"""


def payload(record: Record) -> bytes:
    """What is kept of a message."""
    if "text" in record:
        text: str = record["text"]
        return text.encode()
    return base64.b64decode(record["binary"], validate=True)


@dataclass(frozen=True, slots=True)
class Conversation:
    """The records of one WebSocket, in the order in which they were written."""

    opening: Record
    messages: list[Record]
    closing: Record

    def said_by(self, direction: str, opcode: str) -> list[bytes]:
        """Payloads of one peer's messages of one kind; a Close has none in its record."""
        return [
            payload(record)
            for record in self.messages
            if (record["direction"], record["opcode"]) == (direction, opcode)
        ]

    def assert_ordered(self) -> None:
        """Its messages are numbered from one on, and no later record has an earlier time."""
        assert [record["number"] for record in self.messages] == [
            number for number, _ in enumerate(self.messages, start=1)
        ]
        times = [r["time"] for r in (self.opening, *self.messages, self.closing)]
        assert times == sorted(times)


class InspectingProxy:
    """A running proxy with the configuration `LOGGING`.

    Attributes:
        process: the child.
        port: of its listener.
        url: of its listener.
        captures: the folder with its capture files.
    """

    def __init__(self, process: ProxyProcess, directory: Path) -> None:
        self.process = process
        self.port = process.port
        self.url = process.url
        self.captures = directory / "captures"

    def stop(self) -> None:
        """Ends it as a service manager does; it must end well."""
        assert self.process.is_running(), self.process.stderr
        assert self.process.terminate() == 0, self.process.stderr
        assert "Traceback" not in self.process.stderr, self.process.stderr

    def lines(self) -> Iterator[str]:
        """Every line of its capture files, oldest file first."""
        for file in sorted(self.captures.glob("*.jsonl")):
            with file.open(encoding="utf-8") as lines:
                yield from lines

    def conversations(self) -> list[Conversation]:
        """Stops it and returns what it recorded, in the order of opening.

        Raises:
            AssertionError: there is nothing, something was dropped, a record stands outside of a WebSocket's opening
                and closing, or a peer is said to have broken the protocol.
        """
        self.stop()
        records = [json.loads(line) for line in self.lines()]
        assert records, f"no record in {self.captures}"
        assert not [record for record in records if record["event"] == "dropped"]
        made = [
            _conversation([other for other in records if other["session"] == record["session"]])
            for record in records
            if record["event"] == "open"
        ]
        assert sum(2 + len(one.messages) for one in made) == len(records), records
        logged = {record["id"] for record in self.process.records(event="access")}
        assert logged >= {one.opening["session"] for one in made}
        return made

    def conversation(self) -> Conversation:
        """Stops it and returns the only WebSocket it recorded."""
        (only,) = self.conversations()
        only.assert_ordered()
        return only


def _conversation(records: list[Record]) -> Conversation:
    opening, *messages, closing = records
    assert (opening["event"], closing["event"]) == ("open", "close")
    assert {record["event"] for record in messages} <= {"message"}, messages
    assert (opening["rule"], opening["mode"]) == ("here", "log")
    assert {record["host"] for record in records} == {"127.0.0.1"}
    return Conversation(opening, messages, closing)
