"""What is only reported: requests pass, and their records say what would have been."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import trio

from tests.support.door import Door, Record, open_door

REPORT = """
policy:
  mode: report
  default: deny
  rules:
    - {name: no-talk, action: deny, when: {hosts: [origin.test], methods: [CONNECT]}}
    - {name: only-get, action: deny, when: {hosts: [origin.test], paths: ["/private/*"]}}
    - {name: tried, action: allow, mode: report, when: {hosts: [origin.test]}}
"""


async def record_of(door: Door, url: str) -> Record:
    """The record of one request; the origin answers 200."""
    client = await door.client()
    await client.sends(f"GET {url} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())

    async def be_origin() -> None:
        wire = await door.origin.accept()
        await wire.reads_until(b"\r\n\r\n")
        await wire.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(be_origin)
        await client.answer()
        nursery.cancel_scope.cancel()
    client.closes()
    (record,) = await door.access()
    return record


async def test_a_policy_that_reports_lets_pass_and_says_what_it_would_have_denied(
    tmp_path: Path,
) -> None:
    async with open_door(tmp_path, REPORT) as door:
        record = await record_of(door, "http://origin.test/private/x")
        assert (record["status"], record["verdict"], record["rule"]) == (200, "allow", "default")
        assert record["would_deny"] == ["only-get", "default"]
        assert record["would_allow"] == ["tried"]


async def test_an_address_that_is_refused_is_never_only_reported(tmp_path: Path) -> None:
    async with open_door(tmp_path, REPORT) as door:
        record = await record_of(door, "http://127.0.0.1/private/x")
        assert (record["status"], record["verdict"]) == (403, "deny")
        assert record["rule"] == "private-networks"
        assert record["would_deny"] == ["default"]


async def test_nothing_is_said_where_nothing_reports(tmp_path: Path) -> None:
    async with open_door(tmp_path, "policy: {default: allow}") as door:
        record = await record_of(door, "http://origin.test/")
        assert not {"would_deny", "would_allow"} & set(record)


HOURS = """
policy:
  rules:
    - {name: sundays, action: allow, when: {hours: {days: sun, timezone: UTC}}}
"""


async def test_rules_are_asked_what_time_it_is(tmp_path: Path) -> None:
    for day, status in ((8, 403), (9, 200), (10, 403)):
        async with open_door(tmp_path, HOURS) as door:
            now = datetime(2001, 9, day, 12, tzinfo=UTC).timestamp()
            gate = replace(door.runtime.gate, clock=lambda now=now: now)
            door.runtime = replace(door.runtime, gate=gate)
            record = await record_of(door, "http://origin.test/")
            assert record["status"] == status
