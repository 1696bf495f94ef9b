"""Octets and messages in a time: whose they are, and what a user sees when there are none left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.door import ORIGIN, Door, credentials, open_door, write_users
from tests.support.wire import Wire
from wsproxy.errors import QuotaSpent
from wsproxy.model import Identity, Peer, Verdict
from wsproxy.net.allowance import Allowance
from wsproxy.observe.exchange import Exchange
from wsproxy.proxy.shares import Shares, ShareSettings

if TYPE_CHECKING:
    from trio.testing import MockClock

KIB = 1024
CLIENT = ip_address("192.0.2.1")


def exchange(user: str | None = None, rule: str = "r") -> Exchange:
    made = Exchange(Peer(CLIENT, 1), 0.0)
    if user is not None:
        made.identify(Identity(user))
    made.judge(Verdict(True, rule, ""))
    return made


def wait_s(allowance: Allowance, size: int, now: float = 0.0) -> float:
    """Seconds until so much has been moved."""
    began_at = now
    while size > 0:
        moved = allowance.claim(now)
        if moved:
            allowance.spend(min(moved, size), now)
            size -= moved
        else:
            now = allowance.resume_at
    return now - began_at


def test_without_limits_there_is_nothing_to_ask() -> None:
    shares = Shares(ShareSettings())
    assert shares.connection() is None
    assert shares.allowances(exchange("alice"), 0.0, None) is None
    assert shares.messages(exchange("alice"), 0.0) is None
    shares.check(exchange("alice"), 0.0)


def test_a_rule_has_one_bucket_each_way_for_all_that_it_allows() -> None:
    shares = Shares(ShareSettings(per_rule={"r": (100 * KIB, 1.0)}))
    assert shares.allowances(exchange(rule="other"), 0.0, None) is None
    first = shares.allowances(exchange("alice"), 0.0, None)
    second = shares.allowances(exchange("bob"), 0.0, None)
    assert first
    assert second
    assert wait_s(first[0], 100 * KIB) == 0
    assert wait_s(second[0], 100 * KIB) == pytest.approx(1.0)
    assert wait_s(second[1], 100 * KIB) == 0


def test_a_user_has_one_for_all_connections_and_the_anonymous_have_none() -> None:
    shares = Shares(ShareSettings(per_user=(100 * KIB, 1.0)))
    assert shares.allowances(exchange(None), 0.0, None) is None
    first = shares.allowances(exchange("alice", "r"), 0.0, None)
    again = shares.allowances(exchange("alice", "s"), 0.0, None)
    other = shares.allowances(exchange("bob"), 0.0, None)
    assert first
    assert again
    assert other
    assert wait_s(first[1], 100 * KIB) == 0
    assert wait_s(other[1], 100 * KIB) == 0
    assert wait_s(again[1], 100 * KIB) == pytest.approx(1.0)


def test_a_connection_has_its_own_and_the_slowest_counts() -> None:
    settings = ShareSettings(per_connection=(50 * KIB, 1.0), per_user=(100 * KIB, 1.0))
    shares = Shares(settings)
    one = shares.allowances(exchange("alice"), 0.0, shares.connection())
    two = shares.allowances(exchange("alice"), 0.0, shares.connection())
    assert one
    assert two
    assert wait_s(one[0], 50 * KIB) == wait_s(two[0], 50 * KIB) == 0
    assert wait_s(one[0], 50 * KIB) == pytest.approx(1.0)


def test_bytes_are_counted_both_ways_until_the_time_is_over() -> None:
    shares = Shares(ShareSettings(bytes_per_user=(1000, 60.0)))
    ways = shares.allowances(exchange("alice"), 0.0, None)
    assert ways
    for way, size in zip(ways, (400, 600), strict=True):
        assert way.claim(10.0) >= size
        way.spend(size, 10.0)
        way.give_back()
    with pytest.raises(QuotaSpent, match="1000 bytes that are allowed in 60 s") as caught:
        shares.check(exchange("alice"), 20.5)
    assert (caught.value.status, caught.value.retry_after_s) == (429, 50)
    shares.check(exchange("bob"), 20.5)
    shares.check(exchange(None), 20.5)
    shares.check(exchange("alice"), 70.0)


def test_settings_change_under_those_who_hold_a_share() -> None:
    shares = Shares(
        ShareSettings(
            per_user=(100 * KIB, 1.0),
            per_rule={"r": (100 * KIB, 1.0)},
            bytes_per_user=(1000 * KIB, 60.0),
            messages_per_user=(10, 1.0),
        )
    )
    alice = exchange("alice")
    ways = shares.allowances(alice, 0.0, None)
    pace = shares.messages(alice, 0.0)
    assert ways
    assert pace
    assert wait_s(ways[0], 100 * KIB) == 0
    shares.adopt(
        ShareSettings(
            per_user=(50 * KIB, 1.0),
            per_rule={"r": (500 * KIB, 1.0)},
            bytes_per_user=(2000 * KIB, 60.0),
            messages_per_user=(20, 1.0),
        )
    )
    assert shares.messages(alice, 0.0) is pace
    assert wait_s(ways[0], 50 * KIB) == pytest.approx(1.0, abs=0.01)
    shares.adopt(ShareSettings())
    assert wait_s(ways[0], 5000 * KIB, 10.0) == pytest.approx(0.0, abs=1e-6)
    assert shares.allowances(alice, 20.0, None) is None


def test_what_was_used_up_stays_used_up_over_a_change() -> None:
    settings = ShareSettings(bytes_per_user=(1000, 60.0))
    shares = Shares(settings)
    ways = shares.allowances(exchange("alice"), 0.0, None)
    assert ways
    ways[0].spend(ways[0].claim(0.0), 0.0)
    shares.adopt(settings)
    with pytest.raises(QuotaSpent):
        shares.check(exchange("alice"), 1.0)


# ---------------------------------------------------------------- in front of a door


@asynccontextmanager
async def door_for_alice(
    folder: Path, limits: str, rule: str = "", clock: MockClock | None = None
) -> AsyncIterator[Door]:
    """A door that knows alice's password; from then on `clock` jumps, which no thread would notice."""
    write_users(folder, alice="pw")
    config = f"""
policy: {{rules: [{{name: all, action: allow, limits: {{{rule}}}}}]}}
limits: {{{limits}}}
auth: {{methods: [{{type: basic, users: users}}]}}
"""
    async with open_door(folder, config) as door:
        door.network.hosts[ORIGIN, 443] = door.origin
        if clock is not None:
            client = await door.client()
            await client.sends(b"GET http://192.168.0.1/ HTTP/1.1\r\nHost: x\r\n" + ALICE + b"\r\n")
            assert (await client.answer()).status == 403
            await door.access()
            door.all_records.clear()
            clock.autojump_threshold = 0
        yield door


ALICE = credentials("alice", "pw")
GET = b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n" + ALICE + b"\r\n"
CONNECT = b"CONNECT origin.test:443 HTTP/1.1\r\nHost: x\r\n" + ALICE + b"\r\n"


async def tunnel(door: Door) -> tuple[Wire, Wire]:
    client = await door.client()
    await client.sends(CONNECT)
    await client.expects(b"HTTP/1.1 200 Connection established\r\n\r\n")
    return client, await door.origin.accept()


@pytest.mark.parametrize(
    ("limits", "rule"),
    [
        ("bandwidth_per_user: 100KiB/s", ""),
        ("bandwidth_per_connection: 100KiB/s", ""),
        ("", "bandwidth: 100KiB/s"),
    ],
)
async def test_every_limit_of_bandwidth_holds_for_tunnels_and_for_requests(
    tmp_path: Path, mock_clock: MockClock, limits: str, rule: str
) -> None:
    size = 500 * KIB
    async with door_for_alice(tmp_path, limits, rule, mock_clock) as door:
        client, origin = await tunnel(door)
        began_at = trio.current_time()
        await origin.sends(bytes(size))
        assert len(await client.reads(size)) == size
        assert 4.0 <= trio.current_time() - began_at <= 4.2
        await trio.sleep(2)
        asker = await door.client()
        await asker.sends(GET)
        answerer = await door.origin.accept()
        await answerer.reads_until(b"\r\n\r\n")
        began_at = trio.current_time()
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
        await answerer.sends(head + bytes(size))
        assert len((await asker.answer()).body) == size
        assert 4.0 <= trio.current_time() - began_at <= 4.2
        (record,) = await door.access()
        assert record["bytes_down"] == size


async def test_an_upload_is_limited_and_the_origins_time_waits_for_it(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    size = 500 * KIB
    async with door_for_alice(
        tmp_path, "bandwidth_per_connection: 1KiB/s", clock=mock_clock
    ) as door:
        client = await door.client()
        head = b"POST http://origin.test/ HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % size
        async with trio.open_nursery() as nursery:
            # A stream has no guard of ten seconds, which are soon over here.
            upload = trio.SocketStream(client.sock)
            nursery.start_soon(upload.send_all, head + ALICE + b"\r\n" + bytes(size))
            origin = await door.origin.accept()
            began_at = trio.current_time()
            received = b""
            while len(received.partition(b"\r\n\r\n")[2]) < size:
                data = await origin.sock.recv(65536)
                assert data, "the upload was cut"
                received += data
            assert 498 <= trio.current_time() - began_at <= 501
            await origin.sends(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
            await client.reads_until(b"\r\n\r\n")
        (record,) = await door.access()
        assert (record["status"], record["bytes_up"]) == (204, size)


async def test_a_user_without_bytes_gets_429_and_when_to_come_back(tmp_path: Path) -> None:
    async with door_for_alice(tmp_path, "bytes_per_user: 1000B/1h") as door:
        client, origin = await tunnel(door)
        await client.sends(b"x" * 400)
        await origin.expects(b"x" * 400)
        await origin.sends(b"y" * 1000)
        assert await client.reads_rest() == b"y" * 600
        (record,) = await door.access()
        assert (record["closed_by"], record["reason"]) == ("proxy", "quota")
        assert (record["bytes_up"], record["bytes_down"]) == (400, 600)
        for ask in (GET, CONNECT):
            client = await door.client()
            await client.sends(ask)
            answer = await client.answer()
            assert answer.status == 429
            assert 3500 < int(answer.field("retry-after") or 0) <= 3600
        records = await door.access(3)
        assert records[1]["error"] == records[2]["error"] == "http_request_denied"
        assert "this user has moved the 1000 bytes" in records[2]["detail"]


async def test_an_answer_that_is_over_the_quota_is_cut(tmp_path: Path) -> None:
    async with door_for_alice(tmp_path, "bytes_per_user: 1000B/1h") as door:
        client = await door.client()
        await client.sends(GET)
        origin = await door.origin.accept()
        await origin.reads_until(b"\r\n\r\n")
        await origin.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"y" * 5000)
        await client.reads_until(b"\r\n\r\n")
        assert await client.reads_rest() == b"y" * 1000
        (record,) = await door.access()
        assert (record["status"], record["reason"], record["bytes_down"]) == (200, "quota", 1000)


def test_whoever_held_the_limit_of_a_rule_feels_it_when_it_is_back() -> None:
    shares = Shares(ShareSettings(per_rule={"r": (1000, 1.0)}))
    one = Exchange(Peer(ip_address("192.0.2.1"), 1), 0.0)
    one.rule = "r"
    held = shares.allowances(one, 0.0, None)
    assert held is not None
    shares.adopt(ShareSettings())
    shares.adopt(ShareSettings(per_rule={"r": (1024, 1.0)}))
    assert held[0].claim(1.0) > 0
    held[0].spend(1024, 1.0)
    later = shares.allowances(one, 1.0, None)
    assert later is not None
    assert later[0].claim(1.0) == 0, "they share one bucket"
