"""The life of a client connection: beginnings, endings, refusals, limits, stopping, crashes."""

from __future__ import annotations

import logging
from ipaddress import ip_address
from pathlib import Path

import pytest
import trio

from tests.support.door import Door, open_door
from tests.support.wire import Wire, tcp_pair
from wsproxy.model import Peer, ProxyRequest, RequestKind
from wsproxy.observe.exchange import Exchange
from wsproxy.proxy import http
from wsproxy.proxy.session import Session

OWN = b"GET / HTTP/1.1\r\nHost: p\r\n\r\n"
GET = b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n"
POST = b"POST http://origin.test/ HTTP/1.1\r\nHost: h\r\n%s\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
SHORT = "policy: {default: allow}\ntimeouts: {%s}\n"


# ---------------------------------------------------------------- connections that ask nothing


@pytest.mark.parametrize(("how", "reason"), [("shuts", "eof"), ("resets", "reset")])
async def test_a_connection_that_says_nothing_leaves_one_record(
    door: Door, how: str, reason: str
) -> None:
    client = await door.client()
    getattr(client, how)()
    (record,) = await door.access()
    assert (record["closed_by"], record["reason"]) == ("client", reason)
    assert (record["status"], record["kind"], record["error"]) == (None, None, None)
    await door.wait_closed()


async def test_a_connection_that_stays_silent_is_closed_without_a_word(tmp_path: Path) -> None:
    async with open_door(tmp_path, SHORT % "request_head: 50ms") as door:
        client = await door.client()
        await client.ends()
        (record,) = await door.access()
        assert (record["closed_by"], record["reason"]) == ("proxy", "timeout")


async def test_an_empty_line_and_the_end_are_no_request(door: Door) -> None:
    client = await door.client()
    await client.sends(b"\r\n")
    client.shuts()
    await client.ends()
    (record,) = await door.access()
    assert (record["closed_by"], record["reason"], record["status"]) == ("client", "eof", None)


async def test_a_connection_that_ends_after_its_requests_leaves_no_further_record(
    door: Door,
) -> None:
    client = await door.client()
    await client.sends(OWN + OWN)
    for _ in range(2):
        await client.answer()
    client.shuts()
    await client.ends()
    await door.wait_closed()
    await door.access(2)


async def test_a_connection_without_a_further_request_is_closed(tmp_path: Path) -> None:
    async with open_door(tmp_path, SHORT % "keep_alive: 50ms") as door:
        client = await door.client()
        await client.sends(OWN)
        await client.answer()
        await client.ends()
        await door.access(1)


# ---------------------------------------------------------------- heads


@pytest.mark.parametrize(
    ("head", "status", "row"),
    [
        (b"GET  / HTTP/1.1\r\n\r\n", 400, "T1"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "T8"),
        (b"GET / HTTP/2.0\r\n\r\n", 505, "T2"),
        (b"\x16\x03\x01\x02\x00", 400, "T2"),
        (b"GET /" + b"a" * 20_000, 414, "T3"),
        (b"GET / HTTP/1.1\r\nHost: p\r\n" + b"A: b\r\n" * 200, 431, "T3"),
        (b"POST / HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "T4"),
        (b"CONNECT p HTTP/1.1\r\nHost: p\r\n\r\n", 400, "T8"),
    ],
)
async def test_a_head_that_is_no_request_is_answered_and_the_connection_closed(
    door: Door, head: bytes, status: int, row: str
) -> None:
    client = await door.client()
    await client.sends(head)
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (status, "close")
    assert "error=http_request_error" in (answer.field("proxy-status") or "")
    await client.ends()
    (record,) = await door.access()
    assert (record["status"], record["class"], record["kind"]) == (status, row, None)
    assert (record["closed_by"], record["reason"]) == ("client", "protocol")
    assert record["id"] in (answer.field("proxy-status") or "")


async def test_a_head_that_ends_in_the_middle_is_a_400(door: Door) -> None:
    client = await door.client()
    await client.sends(b"GET / HTTP/1.1\r\nHo")
    client.shuts()
    assert (await client.answer()).status == 400
    assert (await door.access())[0]["reason"] == "protocol"


async def test_a_head_that_comes_too_slowly_is_a_408(tmp_path: Path) -> None:
    async with open_door(tmp_path, SHORT % "request_head: 50ms") as door:
        client = await door.client()
        await client.sends(b"GET / HTTP/1.1\r\nHo")
        answer = await client.answer()
        assert (answer.status, answer.field("connection")) == (408, "close")
        await client.ends()
        (record,) = await door.access()
        assert (record["closed_by"], record["reason"]) == ("proxy", "timeout")


async def test_a_client_that_resets_in_its_head_is_only_recorded(door: Door) -> None:
    client = await door.client()
    await client.sends(b"GET / HTTP/1.1\r\nHo")
    client.resets()
    (record,) = await door.access()
    assert (record["status"], record["closed_by"], record["reason"]) == (None, "client", "reset")


# ---------------------------------------------------------------- refusals

REFUSED = b"POST http://127.0.0.1/ HTTP/1.1\r\nHost: h\r\n%s\r\n"


async def test_a_refused_request_leaves_the_connection_usable(door: Door) -> None:
    client = await door.client()
    await client.sends(REFUSED % b"Content-Length: 3\r\n" + b"abc" + OWN)
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (403, None)
    assert (await client.answer()).status == 200
    refused, _own = await door.access(2)
    assert (refused["closed_by"], refused["reason"]) == ("proxy", "refused")


@pytest.mark.parametrize("manner", [b"keep-alive", b"close"])
async def test_a_client_that_says_proxy_connection_is_answered_in_kind(
    door: Door, manner: bytes
) -> None:
    client = await door.client()
    await client.sends(REFUSED % (b"Proxy-Connection: " + manner + b"\r\n"))
    answer = await client.answer()
    assert answer.field("proxy-connection") == manner.decode()


async def test_the_answer_to_a_refused_upload_does_not_wait_for_it(door: Door) -> None:
    size = 8 * 1024 * 1024
    client = await door.client()
    await client.sends(REFUSED % b"Content-Length: %d\r\n" % size)
    assert (await client.answer()).status == 403
    await client.sends(bytes(size) + OWN)
    assert (await client.answer()).status == 200


async def test_a_refused_upload_that_breaks_off_ends_the_connection(door: Door) -> None:
    client = await door.client()
    await client.sends(REFUSED % b"Content-Length: 9\r\n" + b"half")
    assert (await client.answer()).status == 403
    client.shuts()
    await client.ends()
    await door.access(1)


async def test_a_refused_expectation_is_not_waited_for(door: Door) -> None:
    client = await door.client()
    await client.sends(REFUSED % b"Content-Length: 9\r\nExpect: 100-continue\r\n")
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (403, "close")
    await client.ends()


async def test_a_failure_in_the_middle_of_an_upload_reads_the_rest_of_it(door: Door) -> None:
    client = await door.client()
    await client.sends(
        b"POST http://origin.test/ HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc"
    )
    origin = await door.origin.accept()
    await origin.reads_until(b"abc")
    origin.closes()
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (502, None)
    await client.sends(b"def" + OWN)
    assert (await client.answer()).status == 200


async def test_a_client_that_leaves_before_its_refusal_is_recorded_once(door: Door) -> None:
    client = await door.client()
    await client.sends(REFUSED % b"Content-Length: 9\r\n")
    client.resets()
    (record,) = await door.access()
    assert record["verdict"] == "deny"


@pytest.mark.parametrize("answered", [False, True])
async def test_a_client_that_was_too_slow_is_not_waited_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    waits: list[Session] = []

    async def discard_body(session: Session) -> bool:
        waits.append(session)
        await trio.lowlevel.checkpoint()
        return False

    monkeypatch.setattr(Session, "discard_body", discard_body)
    async with open_door(tmp_path, SHORT % "body: 50ms") as door:
        client = await door.client()
        await client.sends(POST % b"Content-Length: 9\r\n" + b"half")
        origin = await door.origin.accept()
        await origin.reads_until(b"half")
        if answered:
            await origin.sends(ANSWER)
            assert (await client.answer()).status == 200
        else:
            assert (await client.answer()).status == 408
        await client.ends()
        (record,) = await door.access()
        assert (record["reason"], record["status"]) == ("timeout", 200 if answered else 408)
        assert waits == []


# ---------------------------------------------------------------- every story, one record each

CONNECT = b"CONNECT origin.test:80 HTTP/1.1\r\nHost: h\r\n\r\n"


async def test_a_tunnel_follows_a_request_and_both_are_recorded_once(door: Door) -> None:
    client = await door.client()
    await client.sends(OWN + CONNECT + b"ping")
    assert (await client.answer()).status == 200
    await client.expects(b"HTTP/1.1 200 Connection established\r\n\r\n")
    target = await door.origin.accept()
    await target.expects(b"ping")
    target.closes()
    client.shuts()
    await client.ends()
    own, tunnel = await door.access(2)
    assert (own["kind"], tunnel["kind"], tunnel["bytes_up"]) == ("own", "connect", 4)
    await door.access(1, event="open")


async def test_an_answer_that_breaks_is_not_followed_by_another(door: Door) -> None:
    client = await door.client()
    await client.sends(GET + OWN)
    origin = await door.origin.accept()
    await origin.reads_until(b"\r\n\r\n")
    await origin.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    origin.closes()
    assert (await client.reads_rest()).endswith(b"\r\n\r\nhalf")
    (record,) = await door.access()
    assert (record["status"], record["closed_by"], record["reason"]) == (200, "upstream", "eof")


@pytest.mark.parametrize(
    ("reply", "by", "reason"),
    [
        (b"nonsense\r\n\r\n", "upstream", "protocol"),
        (b"", "upstream", "eof"),
        (b"HTTP/1.1 200", "upstream", "eof"),
    ],
)
async def test_who_ended_it_and_why_is_recorded(
    door: Door, reply: bytes, by: str, reason: str
) -> None:
    client = await door.client()
    await client.sends(GET)
    origin = await door.origin.accept()
    await origin.reads_until(b"\r\n\r\n")
    await origin.sends(reply)
    origin.closes()
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (502, None)
    (record,) = await door.access()
    assert (record["closed_by"], record["reason"]) == (by, reason)


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("limits", "status"), [("connections: 1", 503), ("connections_per_client: 1", 429)]
)
async def test_a_connection_over_a_limit_is_told_so(
    tmp_path: Path, limits: str, status: int
) -> None:
    config = f"policy: {{default: allow}}\nlimits: {{{limits}}}\n"
    async with open_door(tmp_path, config) as door:
        first = await door.client()
        second = await door.client()
        answer = await second.answer()
        assert (answer.status, answer.field("connection")) == (status, "close")
        assert int(answer.field("retry-after") or 0) >= 1
        assert "error=connection_limit_reached" in (answer.field("proxy-status") or "")
        await second.ends()
        second.closes()
        (record,) = await door.access()
        assert (record["status"], record["reason"]) == (status, "refused")
        await first.sends(OWN)
        assert (await first.answer()).status == 200
        first.closes()
        await door.wait_closed()
        third = await door.client()
        await third.sends(OWN)
        assert (await third.answer()).status == 200


async def test_too_many_over_the_limit_are_recorded_and_closed_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsproxy.proxy.occupancy._MAX_TURNING_AWAY", 0)
    config = "policy: {default: allow}\nlimits: {connections: 1}\n"
    async with open_door(tmp_path, config) as door:
        await door.client()
        second = await door.client()
        await second.ends()
        (record,) = await door.access()
        assert (record["status"], record["error"]) == (None, "connection_limit_reached")


# ---------------------------------------------------------------- stopping


async def test_connections_between_requests_end_when_the_proxy_stops(door: Door) -> None:
    silent, idle = await door.client(), await door.client()
    await idle.sends(OWN)
    await idle.answer()
    await trio.testing.wait_all_tasks_blocked()
    door.runtime.drain.begin()
    await silent.ends()
    await idle.ends()
    _answered, drained = await door.access(2)
    assert (drained["closed_by"], drained["reason"]) == ("proxy", "drained")


async def test_a_request_that_came_in_time_is_the_connections_last(door: Door) -> None:
    client = await door.client()
    door.runtime.drain.begin()
    await client.ends()
    late = await door.client()
    await late.ends()
    await door.access(2)


async def test_a_request_that_is_cut_while_stopping_is_recorded_as_drained(door: Door) -> None:
    near, far = tcp_pair()
    near.setblocking(False)
    client = Wire(far)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(door.handle, near, Peer(ip_address("127.0.0.1"), 1))
        await client.sends(GET)
        await door.origin.accept()
        nursery.cancel_scope.cancel()
    (record,) = await door.access()
    assert (record["closed_by"], record["reason"], record["status"]) == ("proxy", "drained", None)
    client.closes()


# ---------------------------------------------------------------- crashes


@pytest.fixture
def buggy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page about the proxy itself has a bug."""

    async def crash(_session: Session, _request: ProxyRequest, _exchange: Exchange) -> bool:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError("boom in own")

    monkeypatch.setitem(http.STORIES, RequestKind.OWN, crash)


async def test_a_crash_is_a_500_and_touches_no_other_session(
    door: Door, buggy: None, caplog: pytest.LogCaptureFixture
) -> None:
    other = await door.client()
    await other.sends(GET)
    origin = await door.origin.accept()
    await origin.reads_until(b"\r\n\r\n")

    client = await door.client()
    await client.sends(OWN)
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (500, "close")
    assert b"boom" not in answer.body
    await client.ends()
    await trio.testing.wait_all_tasks_blocked()

    (crashed,) = [entry for entry in caplog.records if entry.exc_info]
    assert "boom in own" in (crashed.exc_text or caplog.text)
    assert crashed.levelno == logging.ERROR
    (record,) = await door.access()
    assert (record["status"], record["error"], record["detail"], record["reason"]) == (
        500,
        "proxy_internal_error",
        "internal error",
        "internal",
    )
    await origin.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert (await other.answer()).status == 200
