"""Enforced WebSockets: nothing passes before it was judged, and endings are said to both sides."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.proxy.inspected import (
    client_says,
    inspecting,
    origin_says,
    switched,
)
from tests.support.wire import Wire
from wsproxy.observe.conversation import Opening
from wsproxy.observe.lines import Stamps
from wsproxy.policy.messages import MessageRuleSpec, compile_message_rules
from wsproxy.protocol.deflate import Agreement
from wsproxy.protocol.frames import parse_close, parse_header, unmask
from wsproxy.protocol.labels import Labeller
from wsproxy.proxy.guard import Guard
from wsproxy.proxy.plans import Plan, Recording
from wsproxy.proxy.websocket import Agreed, WebSocket

NO_CARDS = '{name: no-cards, direction: client, opcode: text, matches: "4[0-9]{3}", action: close}'


async def close_heard(wire: Wire) -> tuple[int | None, str]:
    """The Close that comes next, masked or not."""
    start = await wire.reads(2)
    header = parse_header(start + (await wire.reads(4) if start[1] & 0x80 else b""))
    assert header is not None
    assert start[0] == 0x88
    payload = await wire.reads(header.length)
    return parse_close(unmask(payload, header.key) if header.key else payload)


async def test_a_forbidden_message_closes_both_sides_and_never_arrives(tmp_path: Path) -> None:
    async with inspecting(tmp_path, "enforce", rules=NO_CARDS) as one:
        client, origin = await switched(one)
        good = client_says(1, b"hello")
        await client.sends(good + client_says(1, b"card 4111") + client_says(1, b"more"))
        await origin.expects(good)
        assert await close_heard(origin) == (1008, "rule 'no-cards' closes")
        assert await close_heard(client) == (1008, "rule 'no-cards' closes")
        await origin.ends()
        await client.ends()
        client.closes()
        origin.closes()
        (record,) = await one.door.access()
    assert (record["closed_by"], record["reason"]) == ("proxy", "policy")
    assert record["websocket"]["code"] == 1008
    assert one.of("message")[1]["verdicts"] == [
        {"rule": "no-cards", "action": "close", "mode": "enforce"}
    ]
    (closed,) = one.of("close")
    assert (closed["closed_by"], closed["code"], closed["clean"]) == ("proxy", 1008, False)


async def test_a_message_is_held_until_it_is_whole_and_control_frames_are_not(
    tmp_path: Path,
) -> None:
    parts = [client_says(1, b"card ", fin=False), client_says(0, b"411", fin=False)]
    ping = client_says(9, b"?")
    async with inspecting(tmp_path, "enforce", rules=NO_CARDS) as one:
        client, origin = await switched(one)
        await client.sends(parts[0] + ping + parts[1])
        await origin.expects(ping)
        assert origin.is_silent()
        last = client_says(0, b" ok")
        await client.sends(last)
        await origin.expects(b"".join(parts) + last)
        await client.sends(b"".join(parts) + client_says(0, b"1"))
        assert (await close_heard(origin))[0] == 1008


async def test_what_no_rule_is_for_is_not_held(tmp_path: Path) -> None:
    async with inspecting(tmp_path, "enforce", rules=NO_CARDS) as one:
        client, origin = await switched(one)
        for wire, other, frame in (
            (client, origin, client_says(2, b"4111 in binary")),
            (origin, client, origin_says(1, b"4111 from upstream")),
        ):
            await wire.sends(frame[:9])
            await other.expects(frame[:9])
            await wire.sends(frame[9:])
            await other.expects(frame[9:])


async def test_a_frame_that_passes_ends_before_a_close_is_put_behind_it(tmp_path: Path) -> None:
    frame = origin_says(2, b"abcdefgh")
    async with inspecting(tmp_path, "enforce", rules=NO_CARDS) as one:
        client, origin = await switched(one)
        await origin.sends(frame[:5])
        await client.expects(frame[:5])
        await client.sends(client_says(1, b"4111"))
        assert (await close_heard(origin))[0] == 1008
        await origin.sends(frame[5:] + origin_says(1, b"more"))
        await client.expects(frame[5:])
        assert (await close_heard(client))[0] == 1008
        await client.ends()


async def test_a_frame_that_never_ends_is_cut_and_not_lied_about(tmp_path: Path) -> None:
    async with inspecting(tmp_path, "enforce", rules=NO_CARDS) as one:
        client, origin = await switched(one)
        await origin.sends(origin_says(2, b"abcdefgh")[:5])
        await client.reads(5)
        await client.sends(client_says(1, b"4111"))
        assert (await close_heard(origin))[0] == 1008
        client.shuts()
        await client.ends()


async def test_a_dropped_message_is_missing_and_the_websocket_stays(tmp_path: Path) -> None:
    rules = "{name: hush, matches: secret, action: drop}"
    async with inspecting(tmp_path, "enforce", rules=rules) as one:
        client, origin = await switched(one)
        await client.sends(client_says(1, b"secret") + client_says(1, b"open"))
        await origin.expects(client_says(1, b"open"))
        await origin.sends(origin_says(2, b"secret") + origin_says(9))
        await client.expects(origin_says(9))


async def test_a_redacted_message_goes_on_without_what_was_found(tmp_path: Path) -> None:
    rules = "{name: blot, matches: secret, action: redact}"
    async with inspecting(tmp_path, "enforce", rules=rules) as one:
        client, origin = await switched(one)
        await origin.sends(origin_says(1, b"my ", fin=False) + origin_says(0, b"secret"))
        await client.expects(origin_says(1, b"my <redacted>"))
        await client.sends(client_says(1, b"secret"))
        head = await origin.reads(6)
        assert head[:2] == b"\x81\x8a"
        assert unmask(await origin.reads(10), head[2:]) == b"<redacted>"
    assert [each["text"] for each in one.of("message")] == ["my <redacted>", "<redacted>"]


@pytest.mark.parametrize("action", ["drop", "redact"])
async def test_what_alters_messages_takes_compression_out_of_the_handshake(
    tmp_path: Path, action: str
) -> None:
    from tests.proxy.inspected import connect, handshake

    rules = f"{{name: x, matches: secret, action: {action}}}"
    async with inspecting(tmp_path, "enforce", rules=rules) as one:
        client, origin = await connect(one)
        await client.sends(handshake(more=b"Sec-WebSocket-Extensions: permessage-deflate\r\n"))
        await origin.expects(handshake())


async def test_a_throttled_sender_is_slowed_down_and_loses_nothing(tmp_path: Path) -> None:
    rules = "{name: calm, direction: client, rate: 20/s, action: throttle}"
    frames = [client_says(1, b"%d" % number) for number in range(25)]
    async with inspecting(tmp_path, "enforce", rules=rules) as one:
        client, origin = await switched(one)
        for frame in frames:
            await client.sends(frame)
        await origin.expects(b"".join(frames))
    assert any("verdicts" in each for each in one.of("message"))


@pytest.mark.parametrize(
    ("garbage", "code"),
    [
        (b"\x81\x02hi", 1002),
        (client_says(3), 1002),
        (client_says(1, b"\xff"), 1007),
        (client_says(2, bytes(200))[:3] + b"\x01" + bytes(5), 1002),
        (b"\x82\xff\x00\x00\x00\x00\x00\x20\x00\x00mask", 1009),
        (b"\x81\xff\x00\x00\x00\x00\x00\x20\x00\x00mask", 1009),
    ],
)
async def test_a_clients_mistake_is_answered_by_its_peer(
    tmp_path: Path, garbage: bytes, code: int
) -> None:
    """The upstream's last messages come before its answer to the Close in the client's name."""
    rules, bound = NO_CARDS, "max_message: 1MiB"
    async with inspecting(tmp_path, "enforce", rules=rules, inspection=bound) as one:
        client, origin = await switched(one)
        await client.sends(client_says(1, b"good") + garbage + client_says(1, b"behind"))
        await origin.expects(client_says(1, b"good"))
        assert (await close_heard(origin))[0] == code
        echo = origin_says(1, b"good") + origin_says(8, code.to_bytes(2, "big"))
        await origin.sends(echo)
        await client.expects(echo)
        origin.closes()
        await client.ends()
        client.closes()
        (record,) = await one.door.access()
    assert (record["closed_by"], record["reason"]) == ("client", "protocol")
    assert one.of("trouble")[0]["code"] == code


async def test_a_client_whose_peer_does_not_answer_is_told_by_us(tmp_path: Path) -> None:
    async with inspecting(tmp_path, "enforce", rules=NO_CARDS) as one:
        client, origin = await switched(one)
        await client.sends(b"\x81\x02hi")
        assert (await close_heard(origin))[0] == 1002
        client.shuts()
        assert (await close_heard(client))[0] == 1002
        await client.ends()


async def test_an_upstreams_mistake_ends_both_at_once(tmp_path: Path) -> None:
    async with inspecting(tmp_path, "enforce", rules=NO_CARDS) as one:
        client, origin = await switched(one)
        await origin.sends(origin_says(1, b"good") + client_says(1, b"masked"))
        await client.expects(origin_says(1, b"good"))
        assert (await close_heard(client))[0] == 1002
        assert (await close_heard(origin))[0] == 1002
        client.closes()
        origin.closes()
        (record,) = await one.door.access()
    assert (record["closed_by"], record["reason"]) == ("upstream", "protocol")


async def test_a_mistake_in_a_frame_that_came_whole_is_said_in_order(tmp_path: Path) -> None:
    """Nothing of it has passed, though no rule is for the upstream's text."""
    async with inspecting(tmp_path, "enforce", rules=NO_CARDS) as one:
        client, origin = await switched(one)
        await origin.sends(origin_says(1, b"good") + origin_says(1, b"\xff"))
        await client.expects(origin_says(1, b"good"))
        assert (await close_heard(client))[0] == 1007
        assert (await close_heard(origin))[0] == 1007


async def test_a_mistake_inside_a_frame_that_passes_cuts_it(tmp_path: Path) -> None:
    """No rule is for the upstream's text, so it passes while it is checked."""
    frame = origin_says(1, b"good \xff bad")
    async with inspecting(tmp_path, "enforce", rules=NO_CARDS) as one:
        client, origin = await switched(one)
        await origin.sends(frame[:6])
        await client.expects(frame[:6])
        await origin.sends(frame[6:])
        await client.ends()
        assert (await close_heard(origin))[0] == 1007


async def test_behind_a_close_nothing_passes(tmp_path: Path) -> None:
    bye = client_says(8, b"\x03\xe8")
    async with inspecting(tmp_path, "enforce", rules=NO_CARDS) as one:
        client, origin = await switched(one)
        await client.sends(bye + client_says(1, b"more") + b"\xff")
        await origin.expects(bye)
        await origin.sends(origin_says(8, b"\x03\xe8"))
        await client.expects(origin_says(8, b"\x03\xe8"))
        client.shuts()
        await origin.ends()


async def test_what_a_close_cuts_short_is_judged_as_far_as_it_came(tmp_path: Path) -> None:
    half, bye = client_says(1, b"half", fin=False), client_says(8, b"\x03\xe8")
    async with inspecting(tmp_path, "enforce", rules=NO_CARDS) as one:
        client, origin = await switched(one)
        await client.sends(half + bye)
        await origin.expects(half + bye)
    async with inspecting(tmp_path, "enforce", rules=NO_CARDS) as one:
        client, origin = await switched(one)
        await client.sends(client_says(1, b"4111", fin=False) + bye)
        assert (await close_heard(origin))[0] == 1008
    hush = "{name: hush, matches: half, action: drop}"
    async with inspecting(tmp_path, "enforce", rules=hush) as one:
        client, origin = await switched(one)
        await client.sends(half + bye)
        await origin.expects(bye)


async def test_a_close_that_is_dropped_ends_what_its_sender_may_say(tmp_path: Path) -> None:
    hush = "{name: hush, direction: client, opcode: close, action: drop}"
    no = "{name: no, direction: upstream, matches: no, action: close}"
    async with inspecting(tmp_path, "enforce", rules=f"{hush}, {no}") as one:
        client, origin = await switched(one)
        await client.sends(client_says(1, b"a") + client_says(8) + client_says(1, b"b"))
        await origin.expects(client_says(1, b"a"))
        await origin.sends(origin_says(1, b"no"))
        assert (await close_heard(client))[0] == 1008
        assert (await close_heard(origin))[0] == 1008, "it has not heard one yet"


@pytest.mark.parametrize("fragment", [b"", b"\x02\x00\x00\x00\xff\xff"], ids=["empty", "deflated"])
async def test_what_decodes_to_nothing_is_not_held_for_ever(
    tmp_path: Path, fragment: bytes
) -> None:
    deflate = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
    async with inspecting(
        tmp_path, "enforce", rules=NO_CARDS, inspection="max_message: 1KiB"
    ) as one:
        client, origin = await switched(one, deflate, deflate)
        await client.sends(client_says(1, fragment, fin=False, rsv=4))
        await client.sends(client_says(0, fragment, fin=False) * 1000)
        assert (await close_heard(origin))[0] == 1009


async def test_a_compressed_frame_too_large_to_be_held_is_refused_by_its_header(
    tmp_path: Path,
) -> None:
    deflate = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
    async with inspecting(tmp_path, "enforce", rules=NO_CARDS) as one:
        client, origin = await switched(one, deflate, deflate)
        await client.sends(b"\xc1\xff\x00\x00\x00\x00\x7f\xff\xff\xffmask")
        assert (await close_heard(origin))[0] == 1009


async def test_a_half_message_is_not_passed_on_at_the_end(tmp_path: Path) -> None:
    async with inspecting(tmp_path, "enforce", rules=NO_CARDS) as one:
        client, origin = await switched(one)
        await client.sends(client_says(1, b"hal")[:-1])
        client.shuts()
        await origin.ends()


async def test_octet_by_octet(tmp_path: Path) -> None:
    good = client_says(1, b"hello") + client_says(2, bytes(200))
    async with inspecting(tmp_path, "enforce", rules=NO_CARDS) as one:
        client, origin = await switched(one)
        await client.sends_bytewise(good + client_says(1, b"4111"))
        await origin.expects(good)
        assert (await close_heard(origin))[0] == 1008


# ---------------------------------------------------------------- in time


async def test_silent_peers_are_not_waited_for_beyond_the_linger(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with inspecting(tmp_path, "enforce", rules=NO_CARDS) as one:
        client, origin = await switched(one)
        began = trio.current_time()
        await client.sends(client_says(1, b"4111"))
        assert (await close_heard(origin))[0] == (await close_heard(client))[0] == 1008
        await origin.ends()
        await client.ends()
        await one.door.access()
        assert 2 <= trio.current_time() - began < 4


async def test_an_upstream_that_does_not_answer_for_the_client_has_five_seconds(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with inspecting(tmp_path, "enforce", rules=NO_CARDS) as one:
        client, origin = await switched(one)
        began = trio.current_time()
        await client.sends(b"\x81\x02hi")
        assert (await close_heard(origin))[0] == 1002
        await origin.sends(origin_says(1, b"good"))
        await client.expects(origin_says(1, b"good"))
        assert (await close_heard(client))[0] == 1002
        assert 5 <= trio.current_time() - began < 7
        await one.door.access()
        assert trio.current_time() - began < 10


async def test_an_upstream_stuck_in_a_frame_does_not_keep_the_relay(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with inspecting(tmp_path, "enforce", rules=NO_CARDS) as one:
        client, origin = await switched(one)
        await origin.sends(origin_says(2, b"abcdefgh")[:5])
        await client.reads(5)
        began = trio.current_time()
        await client.sends(client_says(1, b"4111"))
        await client.ends()
        await one.door.access()
        assert trio.current_time() - began < 7


async def test_a_client_that_does_not_read_does_not_keep_the_relay(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with inspecting(tmp_path, "enforce", rules=NO_CARDS) as one:
        client, origin = await switched(one)
        frame = origin_says(2, bytes(1 << 20))
        with trio.move_on_after(1):
            for _ in range(64):
                await origin.sends(frame)
        began = trio.current_time()
        await client.sends(client_says(1, b"4111"))
        (record,) = await one.door.access()
        assert trio.current_time() - began < 10
    assert (record["closed_by"], record["reason"]) == ("proxy", "policy")


async def test_a_throttled_message_waits_and_so_does_what_came_with_it(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    rules = "{name: calm, direction: client, opcode: text, rate: 1/s, action: throttle}"
    frames = [client_says(1, b"%d" % number) for number in range(5)]
    bye = client_says(8, b"\x03\xe8")
    async with inspecting(tmp_path, "enforce", rules=rules) as one:
        client, origin = await switched(one)
        await client.sends(b"".join(frames) + client_says(9) + bye)
        came_at = []
        for frame in frames:
            await origin.expects(frame)
            came_at.append(trio.current_time())
        await origin.expects(client_says(9) + bye)
    waits = [after - before for before, after in itertools.pairwise(came_at)]
    assert all(0.9 <= wait < 2.1 for wait in waits)


async def test_a_message_that_waits_gives_way_to_a_close(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    rules = "{name: calm, direction: client, opcode: text, rate: 1/s, action: throttle}"
    no = "{name: no, direction: upstream, matches: no, action: close}"
    async with inspecting(tmp_path, "enforce", rules=f"{rules}, {no}") as one:
        client, origin = await switched(one)
        await client.sends(client_says(1, b"a") * 3)
        await origin.expects(client_says(1, b"a"))
        await origin.sends(origin_says(1, b"no"))
        assert (await close_heard(origin))[0] == (await close_heard(client))[0] == 1008
        await origin.ends()


async def test_the_stream_view_shows_parts_of_what_is_held(tmp_path: Path) -> None:
    async with inspecting(tmp_path, "enforce", rules=NO_CARDS) as one:
        plans = one.door.runtime.plans
        recording = replace(plans.recording, view="stream")
        one.door.runtime = replace(one.door.runtime, plans=replace(plans, recording=recording))
        client, origin = await switched(one)
        frames = client_says(1, b"ab", fin=False) + client_says(0, b"cd")
        await client.sends(frames)
        await origin.expects(frames)
    assert [(each["text"], each["final"]) for each in one.of("chunk")] == [
        ("ab", False),
        ("cd", True),
    ]


# ---------------------------------------------------------------- without a network


class Line:
    """Stands for a filter: what is put into the sink's stream, and when it ends."""

    def __init__(self) -> None:
        self.inspector: Guard | None = None
        self.sink = b""
        self.ends_by: float | None = None

    def inject(self, data: bytes) -> None:
        assert self.ends_by is None
        self.sink += data

    def finish(self, by: float) -> None:
        self.ends_by = by

    def carries(self, data: bytes) -> None:
        """Octets come from the source."""
        assert self.inspector is not None
        passed = self.inspector.pass_on(data, 0.0)
        self.sink += passed


def guarded(*unknown: str) -> tuple[Line, Line, list[bytes]]:
    """Both directions of an enforced WebSocket, and what is recorded."""
    opening = Opening("s", "c", None, "h", 80, "ws://h/", "r", "enforce")
    agreed = Agreed(opening, Agreement(None, unknown), Labeller(None, "/", offered=()))
    spec = MessageRuleSpec("no", "close", opcode="text", matches="4[0-9]{3}")
    plan = Plan("enforce", compile_message_rules([spec], {}))
    lines: list[bytes] = []
    websocket = WebSocket(
        plan, Recording(put=lines.append, stamps=Stamps(lambda: 0.0)), agreed, 0.0
    )
    up, down = Line(), Line()
    websocket.attach(up, down)  # type: ignore[arg-type]
    return up, down, lines


def test_what_cannot_be_decoded_cannot_be_judged() -> None:
    up, down, _lines = guarded("x-private")
    up.carries(client_says(1, b"hello"))
    header = parse_header(up.sink)
    assert header is not None
    assert parse_close(unmask(up.sink[header.size :], header.key)) == (
        1008,
        "unknown extension x-private",
    )
    assert (up.ends_by, down.ends_by) == (5.0, None)


PAYLOAD = st.sampled_from([b"", b"a", b"hello", bytes(125), bytes(126), bytes(70_000)])
OPCODE = st.sampled_from([1, 2, 9, 10])


@given(
    st.lists(st.tuples(OPCODE, PAYLOAD, st.integers(1, 3)), max_size=8),
    st.lists(st.integers(1, 300), max_size=20),
    st.booleans(),
)
def test_what_is_allowed_passes_whole_whatever_pieces_it_comes_in(
    messages: list[tuple[int, bytes, int]], sizes: list[int], from_client: bool
) -> None:
    says = client_says if from_client else origin_says
    octets = b""
    for opcode, payload, fragments in messages:
        if opcode >= 8:
            octets += says(opcode, payload[:125])
            continue
        for number in range(fragments):
            final = number == fragments - 1
            octets += says(0 if number else opcode, payload, fin=final)
    up, down, lines = guarded()
    line = up if from_client else down
    at = 0
    for size in [*sizes, len(octets)]:
        line.carries(octets[at : at + size])
        at += size
        assert octets.startswith(line.sink)
    assert line.sink == octets
    assert line.ends_by is None
    assert len(lines) == 1 + len(messages)
