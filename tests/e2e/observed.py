"""The running proxy together with what it recorded since a test began."""

from __future__ import annotations

from typing import Any

from tests.support.proxy_process import OPEN_TO_LOOPBACK, ProxyProcess, Record

from .clients import Credentials

ALICE = Credentials("alice", "pä:ss% ß")
"""Her password has what goes wrong: a colon, a percent sign, a space, letters beyond ASCII."""

OPEN = (
    OPEN_TO_LOOPBACK
    + """
  rules:
    - name: no-games
      when: {hosts: ["games.test"]}
      action: deny
      message: Games are for after work.
"""
)

SECURED = (
    OPEN
    + """
auth:
  required: true
  realm: wsproxy
  methods:
    - {type: basic, users: users}
"""
)


class ObservedProxy:
    """A proxy process, and only those of its records that are newer than this object."""

    def __init__(self, process: ProxyProcess) -> None:
        self.process = process
        self.port = process.port
        self.url = process.url
        self._marks = {event: len(process.records(event=event)) for event in ("access", "open")}

    def access(self, **expected: Any) -> Record:
        """Waits for the one access record whose fields have the `expected` values."""
        return self._record("access", expected)

    def opened(self, **expected: Any) -> Record:
        """Waits for the one opening record whose fields have the `expected` values."""
        return self._record("open", expected)

    def matching(self, event: str = "access", **expected: Any) -> list[Record]:
        """The records of this test so far whose fields have the `expected` values."""
        return _matching(self._fresh(event), expected)

    def _fresh(self, event: str) -> list[Record]:
        return self.process.records(event=event)[self._marks[event] :]

    def _record(self, event: str, expected: dict[str, Any]) -> Record:
        while not (found := _matching(seen := self._fresh(event), expected)):
            try:
                self.process.wait_records(self._marks[event] + len(seen) + 1, event=event)
            except AssertionError as error:
                raise AssertionError(f"no {event} record with {expected} among {seen}") from error
        assert len(found) == 1, found
        return found[0]


def _matching(records: list[Record], expected: dict[str, Any]) -> list[Record]:
    return [record for record in records if expected.items() <= record.items()]
