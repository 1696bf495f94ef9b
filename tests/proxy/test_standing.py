"""What goes on is decided again: by other rules, without its user, and when a proof expires."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from tests.proxy.inspected import client_says, connect, inspecting, origin_says, switched
from tests.support.door import ORIGIN, Door, credentials, open_door, write_users
from tests.support.wire import Wire
from wsproxy.errors import AuthRequired, Denied, WsproxyError
from wsproxy.model import Identity, Peer
from wsproxy.observe.exchange import Exchange
from wsproxy.protocol.labels import MESSAGES
from wsproxy.proxy.standing import Standing

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
OPEN = "policy: {default: allow}\n"
CLOSED = (
    "policy: {default: allow, rules: [{name: not-there, action: deny, when: {hosts: origin.test}}]}"
)
KNOWN = "auth: {methods: [{type: basic, users: users}]}\n" + OPEN


async def open_tunnel(
    door: Door, user: str = "", *, host: bytes = b"origin.test"
) -> tuple[Wire, Wire]:
    """Both ends of a tunnel that `user` opened."""
    fields = credentials(user, "secret") if user else b""
    client = await door.client()
    await client.sends(b"CONNECT %b:80 HTTP/1.1\r\nHost: %b:80\r\n%b\r\n" % (host, host, fields))
    target = await door.origin.accept()
    await client.expects(ESTABLISHED)
    return client, target


# ---------------------------------------------------------------- tunnels


async def test_a_tunnel_that_is_denied_now_ends_and_others_go_on(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door:
        door.network.hosts["93.184.216.40", 80] = door.origin
        door.network.names["other.test"] = ["93.184.216.40"]
        client, target = await open_tunnel(door)
        other, other_target = await open_tunnel(door, host=b"other.test")
        assert await door.reload(tmp_path, CLOSED) == 1
        await client.ends()
        await target.ends()
        (record,) = await door.access()
        assert (record["closed_by"], record["reason"]) == ("proxy", "revoked")
        assert (record["verdict"], record["rule"]) == ("deny", "not-there")
        assert record["error"] == "http_request_denied"
        await other.sends(b"still")
        await other_target.expects(b"still")
        assert len(door.runtime.standing) == 1
        other.shuts()
        other_target.shuts()
        await door.access(2)
        assert len(door.runtime.standing) == 0


async def test_what_is_allowed_still_notices_nothing(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door:
        client, target = await open_tunnel(door)
        for _ in range(3):
            assert await door.reload(tmp_path, OPEN) == 0
        await client.sends(b"up")
        await target.expects(b"up")
        await target.sends(b"down")
        await client.expects(b"down")


async def test_a_private_network_that_is_closed_again(tmp_path: Path) -> None:
    zone = (
        "policy: {default: allow, private_networks: [{hosts: origin.test, networks: 10.0.0.0/8}]}"
    )
    async with open_door(tmp_path, zone) as door:
        door.network.names["origin.test"] = ["10.0.0.1"]
        door.network.hosts["10.0.0.1", 80] = door.origin
        client, _target = await open_tunnel(door)
        assert await door.reload(tmp_path, zone) == 0
        assert await door.reload(tmp_path, OPEN) == 1
        await client.ends()
        (record,) = await door.access()
        assert (record["rule"], record["reason"]) == ("private-networks", "revoked")


@pytest.mark.parametrize("change", ["gone", "password", "nobody is asked", "groups"])
async def test_a_user_who_is_another_one_now(tmp_path: Path, change: str) -> None:
    write_users(tmp_path, alice="secret", bob="secret")
    async with open_door(tmp_path, KNOWN) as door:
        alice, _target = await open_tunnel(door, "alice")
        bob, bob_target = await open_tunnel(door, "bob")
        config = KNOWN
        kept = [line for line in (tmp_path / "users").read_text().splitlines() if "bob" in line]
        if change == "gone":
            (tmp_path / "users").write_text(kept[0] + "\n")
        elif change == "password":
            write_users(tmp_path, alice="another")
            (tmp_path / "users").write_text((tmp_path / "users").read_text() + kept[0] + "\n")
        elif change == "groups":
            text = (tmp_path / "users").read_text()
            (tmp_path / "users").write_text(
                "\n".join(f"{line}:x" if "alice" in line else line for line in text.splitlines())
            )
            config = KNOWN.replace(
                OPEN,
                "policy: {default: allow, rules: [{name: x, action: deny, when: {groups: x}}]}",
            )
        else:
            config = OPEN
        ended = await door.reload(tmp_path, config)
        if change == "nobody is asked":
            assert ended == 0
            return
        assert ended == 1
        await alice.ends()
        (record,) = await door.access()
        assert (record["user"], record["reason"]) == ("alice", "revoked")
        await bob.sends(b"still")
        await bob_target.expects(b"still")


async def test_a_stranger_where_users_are_asked_for_now(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door:
        client, _target = await open_tunnel(door)
        write_users(tmp_path, alice="secret")
        assert await door.reload(tmp_path, KNOWN) == 1
        await client.ends()
        (record,) = await door.access()
        assert record["detail"] == "proxy credentials are required"


# ---------------------------------------------------------------- requests


async def test_a_connection_that_stays_open_is_asked_by_the_new_rules(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door:
        client = await door.client()
        await client.sends(b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n")
        origin = await door.origin.accept()
        await origin.reads_until(b"\r\n\r\n")
        await origin.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert (await client.answer()).status == 200
        assert await door.reload(tmp_path, CLOSED) == 0
        await client.sends(b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n")
        assert (await client.answer()).status == 403


async def test_a_request_that_waits_for_its_answer_is_refused(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door:
        client = await door.client()
        await client.sends(b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n")
        origin = await door.origin.accept()
        await origin.reads_until(b"\r\n\r\n")
        assert await door.reload(tmp_path, CLOSED) == 1
        assert (await client.answer()).status == 403
        await origin.ends()
        (record,) = await door.access()
        assert (record["status"], record["rule"], record["reason"]) == (403, "not-there", "revoked")


async def test_an_answer_that_is_under_way_ends_incomplete(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door:
        client = await door.client()
        await client.sends(b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n")
        origin = await door.origin.accept()
        await origin.reads_until(b"\r\n\r\n")
        await origin.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        head = await client.reads_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        await client.expects(b"half")
        assert await door.reload(tmp_path, CLOSED) == 1
        assert await client.reads_rest() == b""
        (record,) = await door.access()
        assert (record["status"], record["reason"]) == (200, "revoked")


async def test_what_was_admitted_while_the_rules_changed_is_decided_by_the_new_ones(
    tmp_path: Path,
) -> None:
    async with open_door(tmp_path) as door:
        asked, answer = trio.Event(), trio.Event()
        resolve = door.network.resolve

        async def slowly(host: object) -> object:
            asked.set()
            await answer.wait()
            return await resolve(host)  # type: ignore[arg-type]

        door.network.resolve = slowly  # type: ignore[method-assign, assignment]
        client = await door.client()
        await client.sends(b"CONNECT origin.test:80 HTTP/1.1\r\nHost: origin.test:80\r\n\r\n")
        await asked.wait()
        await door.reload(tmp_path, CLOSED)
        answer.set()
        assert (await client.answer()).status == 403


# ---------------------------------------------------------------- WebSockets


async def both_hear(client: Wire, origin: Wire, close: bytes) -> None:
    """Both ends get a Close with this payload, the origin a masked one."""
    await client.expects(origin_says(8, close))
    said = await origin.reads(2 + 4 + len(close))
    assert (said[0], said[1]) == (0x88, 0x80 | len(close))


@pytest.mark.parametrize("mode", ["metadata", "log", "enforce"])
async def test_a_websocket_is_told_by_a_close(tmp_path: Path, mode: str) -> None:
    async with inspecting(tmp_path, mode) as one:
        client, origin = await switched(one)
        await client.sends(client_says(1, b"before"))
        await origin.expects(client_says(1, b"before"))
        assert await one.door.reload(tmp_path, CLOSED) == 1
        await both_hear(client, origin, b"\x03\xf0no longer allowed")
        await client.sends(client_says(1, b"after"))
        client.shuts()
        origin.shuts()
        assert await origin.reads_rest() == b"", "nothing behind the Close"
        (record,) = await one.door.access()
        assert (record["closed_by"], record["reason"]) == ("proxy", "revoked")
        (closed,) = one.of("close")
        assert (closed["closed_by"], closed["code"]) == ("proxy", 1008)


@pytest.mark.parametrize("mode", ["metadata", "log", "enforce"])
async def test_a_websocket_hears_that_the_proxy_stops(tmp_path: Path, mode: str) -> None:
    async with inspecting(tmp_path, mode) as one:
        client, origin = await switched(one)
        await client.sends(client_says(1, b"before"))
        await origin.expects(client_says(1, b"before"))
        one.door.runtime.standing.take_leave()
        await both_hear(client, origin, b"\x03\xf4the proxy stops")
        one.door.runtime.standing.take_leave()  # once is enough
        client.shuts()
        origin.shuts()
        assert (await client.reads_rest(), await origin.reads_rest()) == (b"", b"")
        (record,) = await one.door.access()
        assert (record["closed_by"], record["reason"]) == ("proxy", "drained")
        (closed,) = one.of("close")
        assert (closed["closed_by"], closed["code"]) == ("proxy", 1012)


async def test_a_tunnel_that_has_no_words_ends_when_the_proxy_stops(tmp_path: Path) -> None:
    async with inspecting(tmp_path, "off") as one:
        client, origin = await switched(one)
        one.door.runtime.standing.take_leave()
        assert (await client.reads_rest(), await origin.reads_rest()) == (b"", b"")
        (record,) = await one.door.access()
        assert (record["closed_by"], record["reason"]) == ("proxy", "drained")


async def test_a_websocket_in_the_middle_of_a_frame_just_ends(tmp_path: Path) -> None:
    async with inspecting(tmp_path) as one:
        client, origin = await switched(one)
        frame = origin_says(2, bytes(100))
        await origin.sends(frame[:50])
        await client.expects(frame[:50])
        await one.door.reload(tmp_path, CLOSED)
        assert await client.reads_rest() == b""
        client.shuts()
        origin.shuts()
        (record,) = await one.door.access()
        assert record["reason"] == "revoked"


@pytest.mark.parametrize("looked", ["not again", "for a label"])
async def test_one_of_which_a_side_could_not_be_read_any_more_is_cut(
    tmp_path: Path, looked: str
) -> None:
    async with inspecting(tmp_path) as one:
        client, origin = await switched(one)
        wrong = client_says(3, b"no such opcode")
        await client.sends(wrong)
        await origin.expects(wrong)
        # What the other side says still decides what it is, and who records it from there on.
        for _ in range(2 * MESSAGES if looked == "for a label" else 1):
            await origin.sends(origin_says(1, b"hello"))
            await client.expects(origin_says(1, b"hello"))
        await one.door.reload(tmp_path, CLOSED)
        await client.sends(b"more")
        await client.reads_rest()
        assert await origin.reads_rest() == b"", "nothing behind the end"
        (record,) = await one.door.access()
        assert record["reason"] == "revoked"


async def test_a_peer_that_does_not_answer_the_close_is_cut_off(tmp_path: Path) -> None:
    async with inspecting(tmp_path) as one:
        client, origin = await switched(one)
        await one.door.reload(tmp_path, CLOSED)
        assert (await client.reads_rest()).startswith(b"\x88")
        assert (await origin.reads_rest()).startswith(b"\x88")
        await one.door.access()


async def test_a_tunnel_that_nobody_understands_is_cut(tmp_path: Path) -> None:
    async with inspecting(tmp_path) as one:
        client, origin = await connect(one)
        await client.sends(b"\x16\x03\x01 something else")
        await origin.expects(b"\x16\x03\x01 something else")
        await one.door.reload(tmp_path, CLOSED)
        await client.ends()
        await origin.ends()


async def test_a_second_close_is_not_said(tmp_path: Path) -> None:
    async with inspecting(tmp_path) as one:
        client, origin = await switched(one)
        goodbye = origin_says(8, b"\x03\xe8")
        await origin.sends(goodbye)
        await client.expects(goodbye)
        await one.door.reload(tmp_path, CLOSED)
        assert await client.reads_rest() == b""
        client.shuts()
        origin.shuts()
        (record,) = await one.door.access()
        assert record["websocket"]["code"] == 1000


# ---------------------------------------------------------------- time


class Judge:
    """A gate of the test's own."""

    def __init__(self) -> None:
        self.wall = 1_000_000.0
        self.began_at = trio.current_time()
        self.knows_hours = False
        self.refuses: WsproxyError | None = None
        self.asked = 0

    def clock(self) -> float:
        return self.wall + trio.current_time() - self.began_at

    def review(self, exchange: Exchange) -> None:
        self.asked += 1
        if self.refuses is not None:
            raise self.refuses
        if exchange.identity is not None and exchange.identity.expires_at <= self.clock():
            raise AuthRequired("expired")


class Ending:
    """Notes when it was told."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def revoke(self) -> None:
        self.at.append(trio.current_time())


def exchange_of(expires_at: float | None = None) -> Exchange:
    exchange = Exchange(Peer(ip_address(ORIGIN), 1), trio.current_time())
    if expires_at is not None:
        exchange.identify(Identity("alice", expires_at=expires_at))
    return exchange


@pytest.fixture
async def judge(autojump_clock: MockClock) -> Judge:
    return Judge()


async def test_whoever_expires_ends_when_it_is_time(
    judge: Judge, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    standing, endings = Standing(), [Ending() for _ in range(4)]
    began_at, wall = trio.current_time(), judge.clock()
    nursery.start_soon(standing.run, lambda: judge)
    await trio.testing.wait_all_tasks_blocked()
    for ending, after in zip(endings, (300.0, 10.0, 10.1, None), strict=True):
        standing.enter(exchange_of(None if after is None else wall + after), ending)
    await trio.sleep(400)
    ends = [[at - began_at for at in ending.at] for ending in endings]
    assert ends[3] == []
    for (at,), due in zip(ends[:3], (300.0, 10.0, 10.1), strict=True):
        assert due <= at <= due + 0.5


async def test_a_proof_that_is_known_later_counts(
    judge: Judge, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    standing, ending, exchange = Standing(), Ending(), exchange_of()
    nursery.start_soon(standing.run, lambda: judge)
    standing.enter(exchange, ending)
    exchange.identify(Identity("alice", expires_at=judge.clock() + 5))
    standing.note_expiry(exchange)
    await trio.sleep(10)
    assert len(ending.at) == 1
    assert isinstance(exchange.revoked, AuthRequired)


async def test_what_is_over_is_left_alone(
    judge: Judge, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    standing, ending, exchange = Standing(), Ending(), exchange_of(judge.clock() + 5)
    nursery.start_soon(standing.run, lambda: judge)
    standing.enter(exchange, ending)
    standing.leave(exchange)
    await trio.sleep(10)
    assert (ending.at, judge.asked) == ([], 0)


async def test_hours_are_looked_at_every_minute(
    judge: Judge, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    standing, ending = Standing(), Ending()
    standing.enter(exchange_of(), ending)
    nursery.start_soon(standing.run, lambda: judge)
    await trio.sleep(600)
    assert judge.asked == 0
    judge.knows_hours = True
    await trio.sleep(600)
    assert 9 <= judge.asked <= 11
    judge.refuses = Denied("after hours", rule="hours")
    await trio.sleep(61)
    assert len(ending.at) == 1


async def test_thousands_are_decided_about_in_turns(
    judge: Judge, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    standing, ending, turns = Standing(), Ending(), 0
    for _ in range(1000):
        standing.enter(exchange_of(), ending)
    judge.refuses = Denied("no", rule="r")

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    nursery.start_soon(count)
    assert await standing.review(judge) == 1000
    assert turns >= 10
    assert await standing.review(judge) == 0, "each is told once"
    nursery.cancel_scope.cancel()


async def test_a_task_is_cut_short_where_it_waits_and_nowhere_else(
    judge: Judge, autojump_clock: MockClock
) -> None:
    standing, exchange = Standing(), exchange_of()
    judge.refuses = Denied("no", rule="r")

    async def work() -> None:
        with standing.interruptible(exchange):
            assert await standing.review(judge) == 1
            await trio.sleep(5)

    with pytest.raises(Denied):
        await work()
    assert len(standing) == 0
    with standing.interruptible(other := exchange_of()):
        await standing.review(judge)
    assert isinstance(other.revoked, Denied), "it was done already"
