"""WebSockets whose user may say only so much: messages in a time, octets in a day."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from tests.proxy.inspected import (
    ConnectedPair,
    Inspected,
    client_says,
    handshake,
    inspecting,
    origin_says,
    switched,
)
from wsproxy.observe.exchange import Exchange
from wsproxy.protocol.frames import encode_close, parse_close, parse_header, unmask
from wsproxy.proxy.quotas import Allotment, Quotas
from wsproxy.proxy.shares import ShareSettings

OPENING = len(handshake()) + 1000
"""More than what it takes to open one."""


@asynccontextmanager
async def alices(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mode: str, shares: ShareSettings
) -> AsyncIterator[tuple[Inspected, ConnectedPair]]:
    """A WebSocket of a user with limits."""
    monkeypatch.setattr(Exchange, "user", "alice")
    async with inspecting(folder, mode) as one:
        quotas = Quotas(Allotment(shares=shares))
        one.door.runtime = replace(one.door.runtime, quotas=quotas)
        yield one, await switched(one)


MODES = pytest.mark.parametrize("mode", ["metadata", "log", "enforce"])


@pytest.fixture
def autojump_clock() -> MockClock:
    """Jumps once nothing has come over the sockets for a moment: the kernel takes its time."""
    return MockClock(autojump_threshold=0.001)


@MODES
async def test_who_says_too_much_is_not_read_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock, mode: str
) -> None:
    shares = ShareSettings(messages_per_user=(10, 1.0))
    word = client_says(1, b"word")
    async with alices(tmp_path, monkeypatch, mode, shares) as (_one, (client, origin)):
        began_at = trio.current_time()
        for _ in range(30):
            await client.sends(word)
            assert await origin.reads(len(word)) == word
        # What has passed already is paid for by those behind it.
        assert 1.8 <= trio.current_time() - began_at <= 2.1
        # Answers are not counted.
        answered_at = trio.current_time()
        for _ in range(30):
            await origin.sends(origin_says(1, b"w"))
            await client.reads(3)
        assert trio.current_time() == answered_at
        client.shuts()
        origin.closes()


async def test_what_comes_in_one_read_is_held_message_by_message_where_it_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    shares = ShareSettings(messages_per_user=(5, 1.0))
    word, ping = client_says(1, b"word"), client_says(9, b"?")
    async with alices(tmp_path, monkeypatch, "enforce", shares) as (_one, (client, origin)):
        began_at = trio.current_time()
        await client.sends(ping * 20 + word * 15)
        # Control frames are not counted; the sixth has passed when it is counted.
        assert await origin.reads(len(ping) * 20 + len(word) * 6) == ping * 20 + word * 6
        assert trio.current_time() == began_at
        assert await origin.reads(len(word) * 9) == word * 9
        assert 1.8 <= trio.current_time() - began_at <= 2.1
        client.shuts()
        origin.closes()


async def test_all_websockets_of_a_user_share_what_may_be_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    shares = ShareSettings(messages_per_user=(10, 1.0))
    word = client_says(2, b"word")
    async with alices(tmp_path, monkeypatch, "log", shares) as (one, first):
        second = await switched(one)
        began_at = trio.current_time()
        for _ in range(10):
            for client, origin in (first, second):
                await client.sends(word)
                assert await origin.reads(len(word)) == word
        # Pauses run side by side.
        assert 0.8 <= trio.current_time() - began_at <= 1.3
        for client, origin in (first, second):
            client.shuts()
            origin.closes()


def close_in(octets: bytes) -> tuple[int, str]:
    """What the Close says that `octets` are, and nothing else."""
    header = parse_header(octets)
    assert header is not None
    assert (header.opcode, header.size + header.length) == (8, len(octets))
    payload = octets[header.size :]
    return parse_close(unmask(payload, header.key, 0) if header.key else payload)


@MODES
async def test_at_the_end_of_a_quota_both_sides_are_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    shares = ShareSettings(bytes_per_user=(OPENING + 50_000, 3600.0))
    async with alices(tmp_path, monkeypatch, mode, shares) as (one, (client, origin)):
        spoken = origin_says(2, b"x" * 9_996)
        for _ in range(5):
            await origin.sends(spoken)
            assert await client.reads(len(spoken)) == spoken
        (window,) = one.door.runtime.quotas.shares._windows.all()
        # To the octet: what is left is the next message, and then there is none.
        rest = int(window.left(trio.current_time()))
        word = client_says(2, bytes(rest - 8))
        await client.sends(word + client_says(1, b"one too many"))
        assert await origin.reads(len(word)) == word
        assert close_in(await client.reads_rest()) == (1008, "quota")
        assert close_in(await origin.reads_rest()) == (1008, "quota")
        client.shuts()
        origin.shuts()
        (record,) = await one.door.access()
    assert (record["closed_by"], record["reason"]) == ("proxy", "quota")
    assert (record["websocket"]["code"], record["websocket"]["closed_by"]) == (1008, "proxy")


@MODES
async def test_a_frame_that_is_in_the_way_is_cut_without_a_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    shares = ShareSettings(bytes_per_user=(OPENING + 10_000, 3600.0))
    async with alices(tmp_path, monkeypatch, mode, shares) as (one, (client, origin)):
        spoken = origin_says(2, b"x" * 60_000)
        await origin.sends(spoken)
        assert close_in(await origin.reads_rest()) == (1008, "quota")
        received = await client.reads_rest()
        assert received == spoken[: len(received)]
        assert len(received) < len(spoken)
        client.shuts()
        origin.shuts()
        (record,) = await one.door.access()
    assert (record["closed_by"], record["reason"]) == ("proxy", "quota")


async def test_a_small_frame_in_the_way_is_noticed_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = ShareSettings(bytes_per_user=(OPENING + 1000, 3600.0))
    async with alices(tmp_path, monkeypatch, "log", shares) as (one, (client, origin)):
        (window,) = one.door.runtime.quotas.shares._windows.all()
        rest = int(window.left(trio.current_time()))
        word = client_says(2, bytes(200))
        first = client_says(2, bytes(rest - 8 - 50))
        # Both in one read: nobody has looked at them when the last octet has gone.
        await client.sends(first + word)
        assert await origin.reads_rest() == first + word[:50]
        assert close_in(await client.reads_rest()) == (1008, "quota")
        client.shuts()
        origin.shuts()


async def test_what_could_not_be_read_any_more_ends_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = ShareSettings(bytes_per_user=(OPENING + 10_000, 3600.0))
    async with alices(tmp_path, monkeypatch, "log", shares) as (one, (client, origin)):
        wrong = client_says(3, b"no such opcode")
        await client.sends(wrong)
        await origin.expects(wrong)
        await client.sends(bytes(60_000))
        assert close_in(await client.reads_rest()) == (1008, "quota")
        await origin.reads_rest()
        (record,) = await one.door.access()
    assert (record["closed_by"], record["reason"]) == ("proxy", "quota")


async def test_a_close_is_not_said_behind_a_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = ShareSettings(bytes_per_user=(OPENING + 10_000, 3600.0))
    async with alices(tmp_path, monkeypatch, "log", shares) as (_one, (client, origin)):
        goodbye = encode_close(1000, "", key=b"1234")
        await client.sends(goodbye)
        await origin.expects(goodbye)
        await origin.sends(origin_says(2, b"x" * 60_000))
        await origin.ends()
        await client.reads_rest()
        client.shuts()
        origin.shuts()


@pytest.mark.parametrize("stage", ["nothing said", "a handshake"])
async def test_what_is_no_websocket_yet_ends_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setattr(Exchange, "user", "alice")
    async with inspecting(tmp_path) as one:
        shares = ShareSettings(bytes_per_user=(500, 3600.0))
        quotas = Quotas(Allotment(shares=shares))
        one.door.runtime = replace(one.door.runtime, quotas=quotas)
        client = await one.door.client()
        await client.sends(b"CONNECT origin.test:80 HTTP/1.1\r\nHost: origin.test:80\r\n\r\n")
        origin = await one.door.origin.accept()
        await client.expects(b"HTTP/1.1 200 Connection established\r\n\r\n")
        if stage == "a handshake":
            await client.sends(handshake())
            await origin.expects(handshake())
        await origin.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + bytes(9999))
        assert len(await client.reads_rest()) < 600
        (record,) = await one.door.access()
    assert record["reason"] == "quota"
