"""A tunnel's first octets: a handshake is looked at, everything else is let alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.proxy.inspected import (
    Inspected,
    client_says,
    connect,
    handshake,
    inspecting,
    origin_says,
    switch,
    switched,
)
from tests.support.door import open_door


async def test_a_handshake_in_a_tunnel_becomes_a_websocket(tmp_path: Path) -> None:
    async with inspecting(tmp_path) as one:
        client, origin = await switched(one)
        await client.sends(client_says(1, b"hi"))
        await origin.expects(client_says(1, b"hi"))
        await origin.sends(origin_says(1, b"ho"))
        await client.expects(origin_says(1, b"ho"))
        origin.closes()
        client.shuts()
        await client.ends()
        (record,) = await one.door.access()
    assert record["kind"] == "connect"
    assert record["websocket"]["url"] == "ws://origin.test:80/chat"
    assert (record["websocket"]["messages_up"], record["websocket"]["code"]) == (1, 1006)
    assert [each["event"] for each in one.records] == ["open", "message", "message", "close"]
    assert [each["text"] for each in one.of("message")] == ["hi", "ho"]


async def test_octet_by_octet_and_with_octets_ahead(tmp_path: Path) -> None:
    async with inspecting(tmp_path) as one:
        client, origin = await connect(one)
        await client.sends_bytewise(handshake())
        await origin.expects(handshake())
        await client.sends(client_says(1, b"early"))
        await origin.sends_bytewise(switch() + origin_says(1, b"x"))
        await client.expects(switch() + origin_says(1, b"x"))
        await origin.expects(client_says(1, b"early"))
    assert {each["text"] for each in one.of("message")} == {"x", "early"}


async def test_what_follows_an_answer_comes_behind_it(tmp_path: Path) -> None:
    """Both sides are wrong at once: the Close of each has to wait for the 101."""
    async with inspecting(tmp_path, "enforce") as one:
        client, origin = await connect(one)
        await client.sends(handshake() + b"\x81\x01a")
        await origin.expects(handshake())
        hints = b"HTTP/1.1 103 Early Hints\r\n\r\n"
        await origin.sends(hints + switch() + origin_says(3))
        await client.expects(hints + switch() + origin_says(8, b"\x03\xeaopcode 3 is reserved"))
        await client.ends()


async def test_a_client_may_end_its_side_before_the_answer(tmp_path: Path) -> None:
    early = client_says(1, b"early")
    for mode in ("log", "enforce"):
        async with inspecting(tmp_path, mode) as one:
            client, origin = await connect(one)
            await client.sends(handshake() + early)
            client.shuts()
            await origin.expects(handshake())
            assert await origin.reads_rest() == (early if mode == "log" else b"")
            await origin.sends(switch() + origin_says(1, b"late"))
            origin.closes()
            assert await client.reads_rest() == switch() + origin_says(1, b"late")
            await one.door.access()
        said = [each["text"] for each in one.of("message")]
        assert said == (["early", "late"] if mode == "log" else ["late"])


async def test_an_origin_may_leave_in_the_middle_of_its_answer(tmp_path: Path) -> None:
    async with inspecting(tmp_path, "enforce") as one:
        client, origin = await connect(one)
        await client.sends(handshake())
        await origin.expects(handshake())
        await origin.sends(switch()[:20])
        origin.closes()
        assert await client.reads_rest() == switch()[:20]
        client.closes()
        (record,) = await one.door.access()
    assert record["reason"] == "eof"


async def test_empty_lines_ahead_of_a_handshake_hide_nothing(tmp_path: Path) -> None:
    async with inspecting(tmp_path, "enforce", when='paths: "/chat"') as one:
        client, origin = await connect(one)
        await client.sends(b"\r\n")
        await origin.expects(b"\r\n")
        await client.sends(b"\r\n" + handshake(b"/other"))
        assert (await client.answer()).status == 403
        client.closes()
        assert await origin.reads_rest() == b"\r\n"


async def test_the_absolute_form_inside_a_tunnel_hides_nothing(tmp_path: Path) -> None:
    async with inspecting(tmp_path, when='paths: "/chat"') as one:
        client, origin = await connect(one)
        await client.sends(handshake(b"ws://elsewhere.test/other"))
        assert (await client.answer()).status == 403
        client.closes()
        await origin.ends()
        good = handshake(b"http://elsewhere.test/chat")
        client, origin = await connect(one)
        await client.sends(good)
        await origin.expects(good)
        await origin.sends(switch())
        await client.expects(switch())
    assert one.of("open")[0]["url"] == "ws://origin.test:80/chat"


@pytest.mark.parametrize("line", [b"GET key\r\n", b"GET /\n"])
async def test_a_get_that_is_not_http_is_not_waited_for(tmp_path: Path, line: bytes) -> None:
    async with inspecting(tmp_path, "enforce") as one:
        client, origin = await connect(one)
        await client.sends(line)
        await origin.expects(line)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (handshake().replace(b"\r\n", b"\n"), 400),
        (handshake().replace(b"\r\nHost", b"\nHost"), 400),
        (b"GET  /chat" + handshake()[9:], 400),
        (handshake(more=b"X: " + b"a" * 66_000 + b"\r\n")[:-2], 431),
    ],
    ids=["bare line feeds", "one of them", "two spaces", "too large"],
)
async def test_a_head_that_only_others_can_read(tmp_path: Path, head: bytes, status: int) -> None:
    async with inspecting(tmp_path) as one:
        client, origin = await connect(one)
        await client.sends(head)
        await origin.expects(head)
    async with inspecting(tmp_path, "enforce") as one:
        client, origin = await connect(one)
        await client.sends(head)
        assert (await client.answer()).status == status
        client.closes()
        await origin.ends()


@pytest.mark.parametrize(
    "first", [b"\x16\x03\x01\x00", b"SSH-2.0-x\r\n", b"POST / HTTP/1.1\r\n", b"GEX", b"\x00"]
)
async def test_anything_else_passes_at_once_and_unseen(tmp_path: Path, first: bytes) -> None:
    async with inspecting(tmp_path, "enforce") as one:
        client, origin = await connect(one)
        await client.sends(first)
        await origin.expects(first)
        await origin.sends(b"answer")
        await client.expects(b"answer")
    assert one.records == []


async def test_a_server_may_speak_first(tmp_path: Path) -> None:
    async with inspecting(tmp_path) as one:
        client, origin = await connect(one)
        await origin.sends(b"220 mail.test\r\n")
        await client.expects(b"220 mail.test\r\n")
        await client.sends(b"EHLO x\r\n")
        await origin.expects(b"EHLO x\r\n")


async def test_a_plain_request_is_nobodys_business(tmp_path: Path) -> None:
    request = b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n"
    async with inspecting(tmp_path) as one:
        client, origin = await connect(one)
        await client.sends(request)
        await origin.expects(request)
        await origin.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await client.reads_until(b"\r\n\r\n")
        await client.sends(handshake())
        await origin.expects(handshake())
    assert one.records == []


async def test_a_half_head_is_still_the_clients_to_say(tmp_path: Path) -> None:
    async with inspecting(tmp_path) as one:
        client, origin = await connect(one)
        await client.sends(b"GET / HT")
        client.shuts()
        await origin.expects(b"GET / HT")
        await origin.ends()


async def test_an_endless_head_is_given_up(tmp_path: Path) -> None:
    octets = b"GET /" + b"a" * 70_000
    async with inspecting(tmp_path) as one:
        client, origin = await connect(one)
        await client.sends(octets)
        await origin.expects(octets)


async def test_the_origin_may_refuse_and_the_client_try_again(tmp_path: Path) -> None:
    refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno"
    async with inspecting(tmp_path) as one:
        client, origin = await connect(one)
        await client.sends(handshake())
        await origin.expects(handshake())
        await origin.sends(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await origin.sends(refusal)
        await client.expects(b"HTTP/1.1 103 Early Hints\r\n\r\n" + refusal)
        again = handshake(more=b"Authorization: Basic eDp5\r\n")
        await client.sends(again)
        await origin.expects(again)
        await origin.sends(switch())
        await client.expects(switch())
    assert [each["event"] for each in one.records] == ["open", "close"]


async def test_a_refused_handshake_is_a_403_and_the_origin_hears_nothing(tmp_path: Path) -> None:
    """The tunnel was allowed by a rule of its own; inside it the default denies."""
    async with inspecting(tmp_path, when='paths: "/chat"') as one:
        client, origin = await connect(one)
        await client.sends(handshake(b"/other"))
        answer = await client.answer()
        assert answer.status == 403
        assert answer.field("connection") == "close"
        await client.ends()
        client.closes()
        await origin.ends()
        origin.closes()
        (record,) = await one.door.access()
    assert (record["status"], record["verdict"], record["error"]) == (
        403,
        "deny",
        "http_request_denied",
    )
    assert (record["closed_by"], record["reason"], record["bytes_up"]) == ("proxy", "refused", 0)
    assert one.records == []


@pytest.mark.parametrize(
    ("when", "fields", "passes"),
    [
        ('origins: "http://a.test"', b"Origin: http://a.test\r\n", True),
        ('origins: "http://a.test"', b"Origin: http://b.test\r\n", False),
        ('origins: "http://a.test"', b"", False),
        ("subprotocols: chat", b"Sec-WebSocket-Protocol: chat\r\n", True),
        ("subprotocols: chat", b"Sec-WebSocket-Protocol: chat, other\r\n", False),
        ("subprotocols: chat", b"", False),
    ],
)
async def test_a_handshakes_origin_and_subprotocols(
    tmp_path: Path, when: str, fields: bytes, *, passes: bool
) -> None:
    async with inspecting(tmp_path, when=when) as one:
        client, origin = await connect(one)
        await client.sends(handshake(more=fields))
        if passes:
            await origin.expects(handshake(more=fields))
        else:
            assert (await client.answer()).status == 403


async def test_only_enforcing_refuses_a_handshake_that_is_none(tmp_path: Path) -> None:
    odd = handshake().replace(b"Version: 13", b"Version: 12")
    async with inspecting(tmp_path) as one:
        client, origin = await connect(one)
        await client.sends(odd)
        await origin.expects(odd)
    async with inspecting(tmp_path, "enforce") as one:
        client, origin = await connect(one)
        await client.sends(odd)
        assert (await client.answer()).status == 400
        client.closes()
        await origin.ends()


@pytest.mark.parametrize(
    "answer",
    [
        switch().replace(b"s3p", b"xxx"),
        switch(b"Sec-WebSocket-Extensions: permessage-deflate; x=1\r\n"),
        b"HTTP/1.1 101 \r\nbad field\r\n\r\n",
        b"\x00garbage\r\n\r\n",
        b"220 mail.test",
        switch().replace(b"\r\n", b"\n"),
    ],
)
async def test_an_answer_that_switches_to_nothing_known(tmp_path: Path, answer: bytes) -> None:
    async with inspecting(tmp_path) as one:
        client, origin = await connect(one)
        await client.sends(handshake())
        await origin.expects(handshake())
        await client.sends(b"ahead")
        await origin.sends(answer)
        await client.expects(answer)
        await origin.expects(b"ahead")
    async with inspecting(tmp_path, "enforce") as one:
        client, origin = await connect(one)
        await client.sends(handshake())
        await origin.expects(handshake())
        await origin.sends(answer)
        assert (await client.answer()).status == 502


async def test_an_extension_nobody_can_judge_is_not_agreed_to(tmp_path: Path) -> None:
    async with inspecting(tmp_path, "enforce") as one:
        client, origin = await connect(one)
        await client.sends(handshake())
        await origin.expects(handshake())
        await origin.sends(switch(b"Sec-WebSocket-Extensions: x-private\r\n"))
        assert (await client.answer()).status == 502


async def test_octets_ahead_of_an_answer_are_bounded(tmp_path: Path) -> None:
    ahead = bytes(70_000)
    async with inspecting(tmp_path) as one:
        client, origin = await connect(one)
        await client.sends(handshake())
        await origin.expects(handshake())
        await client.sends(ahead)
        await origin.expects(ahead)


async def test_whoever_enforces_gives_up_on_nobody(tmp_path: Path) -> None:
    async with inspecting(tmp_path, "enforce") as one:
        client, origin = await connect(one)
        await client.sends(handshake())
        await origin.expects(handshake())
        await client.sends(bytes(70_000))
        assert (await client.answer()).status == 400
        await origin.ends()
        client, origin = await connect(one)
        await client.sends(handshake() + b"ahead")
        await origin.expects(handshake())
        await origin.sends(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000)
        assert (await client.answer()).status == 502
        await origin.ends()


async def test_an_endless_answer_is_given_up(tmp_path: Path) -> None:
    octets = b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000
    async with inspecting(tmp_path) as one:
        client, origin = await connect(one)
        await client.sends(handshake() + b"ahead")
        await origin.expects(handshake())
        await origin.sends(octets)
        await client.expects(octets)
        await origin.expects(b"ahead")


@pytest.mark.parametrize(
    ("more", "goes_on"),
    [
        ("extensions: keep", b"Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        ("extensions: strip", b""),
        (
            "extensions: no_context_takeover",
            b"Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover;"
            b" server_no_context_takeover\r\n",
        ),
    ],
)
async def test_what_a_handshake_may_offer(tmp_path: Path, more: str, goes_on: bytes) -> None:
    offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
    async with inspecting(tmp_path, more=more) as one:
        client, origin = await connect(one)
        await client.sends(handshake(more=offer))
        await origin.expects(handshake(more=goes_on))


async def test_with_off_nobody_looks(tmp_path: Path) -> None:
    async with inspecting(tmp_path, "off") as one:
        await switched(one)
    assert one.records == []


async def test_the_rule_of_the_handshake_decides_who_looks(tmp_path: Path) -> None:
    config = """
policy:
  rules:
    - {name: quiet, action: allow, when: {paths: "/quiet"}, websocket: off}
    - {name: tunnels, action: allow, when: {methods: [CONNECT, GET]}, websocket: metadata}
"""
    async with open_door(tmp_path, config) as door:
        one = Inspected(door)
        for path, rule in ((b"/quiet", "quiet"), (b"/loud", "tunnels")):
            client, origin = await connect(one)
            await client.sends(handshake(path))
            await origin.expects(handshake(path))
            await origin.sends(switch())
            await client.expects(switch())
            origin.closes()
            await client.ends()
            client.closes()
            record = (await door.access(1 if rule == "quiet" else 2))[-1]
            assert (record["rule"], "websocket" in record) == (rule, rule == "tunnels")
