"""Observed WebSockets: every octet goes on as it came, whatever it is, and is told of truthfully."""

from __future__ import annotations

import gc
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from tests.protocol.deflating import compressed, compressor
from tests.proxy.inspected import (
    ACCEPT,
    KEY,
    client_says,
    inspecting,
    origin_says,
    switched,
)
from wsproxy.net.filter import Filter
from wsproxy.net.pump import Pump
from wsproxy.observe.conversation import Conversation
from wsproxy.protocol.labels import MESSAGES
from wsproxy.protocol.messages import MessageReader
from wsproxy.proxy.sniff import Tunnel
from wsproxy.proxy.websocket import WebSocket

DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"


@pytest.mark.parametrize("mode", ["metadata", "log"])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(min_size=1, max_size=400), st.binary(min_size=1, max_size=400))
def test_any_octets_go_on_as_they_came(tmp_path: Path, mode: str, up: bytes, down: bytes) -> None:
    async def converse() -> None:
        async with inspecting(tmp_path, mode) as one:
            client, origin = await switched(one)
            await client.sends(up)
            await origin.sends(down)
            await origin.expects(up)
            await client.expects(down)
            client.shuts()
            await origin.ends()
            origin.closes()
            await client.ends()
            (record,) = await one.door.access()
        # The tunnel counts the handshake, too.
        assert one.of("close")[0]["bytes_up"] == record["bytes_up"]
        assert len(one.of("trouble")) <= 2

    trio.run(converse)


async def test_metadata_counts_and_tells_no_content(tmp_path: Path) -> None:
    async with inspecting(tmp_path, "metadata") as one:
        client, origin = await switched(one)
        await client.sends(client_says(1, b"secret" * 100))
        await origin.reads(608)
        client.shuts()
        origin.closes()
        await client.ends()
        await one.door.access()
    (message,) = one.of("message")
    assert message["size"] == 600
    assert not any(b"secret" in line for line in one.lines)


async def test_compressed_messages_are_read_and_passed_on_as_they_are(tmp_path: Path) -> None:
    context = compressor()
    frames = [client_says(1, compressed(b"hello hello", context), rsv=4) for _ in range(3)]
    async with inspecting(tmp_path) as one:
        client, origin = await switched(one, DEFLATE, DEFLATE)
        for frame in frames:
            await client.sends(frame)
            await origin.expects(frame)
    assert [each["text"] for each in one.of("message")] == ["hello hello"] * 3
    assert all(each["compressed"] for each in one.of("message"))


async def test_a_bomb_is_relayed_and_not_decoded(tmp_path: Path) -> None:
    packed = zlib.compressobj(9, wbits=-15)
    bomb = packed.compress(bytes(1 << 24)) + packed.flush(zlib.Z_SYNC_FLUSH)
    frame = client_says(2, bomb, rsv=4)
    async with inspecting(tmp_path, inspection="max_message: 1MiB") as one:
        client, origin = await switched(one, DEFLATE, DEFLATE)
        await client.sends(frame)
        await origin.expects(frame)
    assert one.of("message")[0]["undecodable"] == "decoded size over 1048576"


async def test_trouble_is_told_once_and_the_relay_goes_on(tmp_path: Path) -> None:
    async with inspecting(tmp_path) as one:
        client, origin = await switched(one)
        for _ in range(3):
            await client.sends(b"\xff\xff not a frame")
            await origin.expects(b"\xff\xff not a frame")
        await origin.sends(origin_says(1, b"still read"))
        await client.expects(origin_says(1, b"still read"))
        client.closes()
        origin.closes()
        (record,) = await one.door.access()
    (trouble,) = one.of("trouble")
    assert (trouble["direction"], trouble["code"]) == ("client", 1002)
    assert record["websocket"]["trouble"] == trouble["detail"]
    assert [each["text"] for each in one.of("message")] == ["still read"]


@pytest.mark.parametrize(
    ("how", "code", "clean", "reason"),
    [("close", 1000, True, "eof"), ("fin", 1006, False, "eof"), ("reset", 1006, False, "reset")],
)
async def test_an_end_is_told_as_it_was(
    tmp_path: Path, how: str, code: int, reason: str, *, clean: bool
) -> None:
    async with inspecting(tmp_path) as one:
        client, origin = await switched(one)
        if how == "close":
            await client.sends(client_says(8, b"\x03\xe8bye"))
            await origin.expects(client_says(8, b"\x03\xe8bye"))
            await origin.sends(origin_says(8, b"\x03\xe8"))
            await client.expects(origin_says(8, b"\x03\xe8"))
        if how == "reset":
            client.resets()
            await origin.breaks()
        else:
            client.shuts()
            await origin.ends()
            origin.closes()
            await client.ends()
        await one.door.access()
    (closed,) = one.of("close")
    assert (closed["code"], closed["clean"], closed["reason"]) == (code, clean, reason)
    assert closed["closed_by"] == "client"


async def test_labels_are_found_on_the_way(tmp_path: Path) -> None:
    async with inspecting(tmp_path) as one:
        client, origin = await switched(one)
        said = client_says(1, b'{"jsonrpc":"2.0","method":"x","id":1}')
        await client.sends(said)
        await origin.expects(said)
        client.closes()
        origin.closes()
        (record,) = await one.door.access()
    assert one.of("message")[0]["label"] == "json-rpc"
    assert record["websocket"]["label"] == "json-rpc"


async def test_rules_only_report_where_nothing_is_enforced(tmp_path: Path) -> None:
    rules = "{name: no, matches: card, action: close}"
    async with inspecting(tmp_path, "log", rules=rules) as one:
        client, origin = await switched(one)
        await client.sends(client_says(1, b"my card"))
        await origin.expects(client_says(1, b"my card"))
        client.closes()
        origin.closes()
        (record,) = await one.door.access()
    (message,) = one.of("message")
    assert message["verdicts"] == [{"rule": "no", "action": "close", "mode": "report"}]
    assert record["websocket"]["would_deny"] == {"no": 1}


COUNTED = (
    "{name: watched, matches: card, action: close, mode: report},"
    "{name: noted, matches: card, action: log},"
    "{name: fine, matches: card, action: allow, mode: report},"
    "{name: long, larger_than: 8B, action: drop, mode: report},"
    "{name: held, matches: secret, action: drop}"
)


async def test_the_record_of_the_end_counts_what_was_only_reported(tmp_path: Path) -> None:
    async with inspecting(tmp_path, "enforce", rules=COUNTED) as one:
        client, origin = await switched(one)
        for said in (b"card", b"my long card", b"secret", b"hello"):
            await client.sends(client_says(1, said))
        heard = client_says(1, b"card") + client_says(1, b"my long card") + client_says(1, b"hello")
        await origin.expects(heard)
        client.closes()
        origin.closes()
        (record,) = await one.door.access()
    assert record["websocket"]["would_deny"] == {"watched": 2, "long": 1}
    assert "would_deny" not in record


async def test_nothing_is_counted_where_nothing_reports(tmp_path: Path) -> None:
    async with inspecting(tmp_path, "enforce", rules="{name: r, matches: x, action: drop}") as one:
        client, origin = await switched(one)
        await client.sends(client_says(1, b"x") + client_says(1, b"y"))
        await origin.expects(client_says(1, b"y"))
        client.closes()
        origin.closes()
        (record,) = await one.door.access()
    assert "would_deny" not in record["websocket"]


async def test_a_long_message_is_cut_in_its_record_also_when_rules_need_all_of_it(
    tmp_path: Path,
) -> None:
    for number, rules in enumerate(("", "{name: no, matches: zzz, action: close}")):
        folder = tmp_path / str(number)
        folder.mkdir()
        frame = client_says(1, b"x" * 100_000)
        async with inspecting(folder, rules=rules) as one:
            client, origin = await switched(one)
            await client.sends(frame)
            await origin.expects(frame)
        (message,) = one.of("message")
        assert (len(message["text"]), message["size"], message["truncated"]) == (
            65536,
            100_000,
            True,
        )
        assert len(message["sha256"]) == 64


async def test_the_stream_view_shows_parts(tmp_path: Path) -> None:
    async with inspecting(tmp_path) as one:
        plans = one.door.runtime.plans
        recording = replace(plans.recording, view="stream")
        one.door.runtime = replace(one.door.runtime, plans=replace(plans, recording=recording))
        client, origin = await switched(one)
        frame = client_says(2, b"abcdef")
        await client.sends(frame[:9])
        await origin.expects(frame[:9])
        await client.sends(frame[9:])
        await origin.expects(frame[9:])
    assert "".join(each["binary"] for each in one.of("chunk")) == "YWJjZGVm"


async def test_a_websocket_in_absolute_form(tmp_path: Path) -> None:
    ask = (
        b"GET ws://origin.test/chat?t=1 HTTP/1.1\r\nHost: origin.test\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Key: "
        + KEY
        + b"\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    async with inspecting(tmp_path) as one:
        client = await one.door.client()
        await client.sends(ask + client_says(1, b"early"))
        origin = await one.door.origin.accept()
        await origin.reads_until(b"\r\n\r\n")
        await origin.sends(
            b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n\r\n" + origin_says(1, b"first")
        )
        await client.reads_until(b"\r\n\r\n")
        await client.expects(origin_says(1, b"first"))
        await origin.expects(client_says(1, b"early"))
        client.closes()
        origin.closes()
        (record,) = await one.door.access()
    assert record["websocket"]["messages_down"] == 1
    assert one.of("open")[0]["url"].startswith("ws://origin.test:80/chat?t=<redacted:")
    assert {each["text"] for each in one.of("message")} == {"early", "first"}


@pytest.mark.parametrize("mode", ["metadata", "log", "enforce"])
@pytest.mark.parametrize("said", [0, MESSAGES + 1], ids=["nothing", "more than a label needs"])
async def test_what_is_over_leaves_nothing_to_be_collected(
    tmp_path: Path, mode: str, said: int
) -> None:
    kinds = WebSocket, Conversation, Tunnel, Filter, Pump, MessageReader

    def there() -> list[object]:
        return [each for each in gc.get_objects() if type(each) in kinds]

    async with inspecting(tmp_path, mode) as one:
        gc.collect()
        others = there()
        gc.disable()
        try:
            client, origin = await switched(one)
            for _ in range(said):
                await client.sends(client_says(1, b"word"))
                await origin.expects(client_says(1, b"word"))
            assert {type(each) for each in there()} == set(kinds)
            client.shuts()
            await origin.ends()
            origin.closes()
            await client.ends()
            await one.door.access()
            await wait_all_tasks_blocked()
            assert len(there()) == len(others)
        finally:
            gc.enable()
