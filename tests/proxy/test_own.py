"""What the proxy answers about itself, and as the last recipient of a trace."""

from __future__ import annotations

import pytest

from tests.support.door import Door, credentials


@pytest.mark.parametrize(
    ("line", "status", "allow"),
    [
        (b"GET /", 200, None),
        (b"GET /?x=1", 200, None),
        (b"GET /elsewhere?token=1", 404, None),
        (b"POST /", 405, "GET, HEAD"),
        (b"OPTIONS *", 200, "GET, HEAD, OPTIONS, CONNECT"),
    ],
)
async def test_only_the_help_page_is_there_and_the_connection_goes_on(
    door: Door, line: bytes, status: int, allow: str | None
) -> None:
    client = await door.client()
    request = line + b" HTTP/1.1\r\nHost: proxy:8080\r\n\r\n"
    await client.sends(request + request)
    for _ in range(2):
        answer = await client.answer()
        assert (answer.status, answer.field("allow")) == (status, allow)
        assert answer.field("connection") is None
    record, _again = await door.access(2)
    path = line.split()[1].partition(b"?")[0].decode()
    assert (record["kind"], record["target"], record["verdict"]) == ("own", path, None)
    assert door.network.asked == []


async def test_head_gets_the_head_of_the_help_page_only(door: Door) -> None:
    client = await door.client()
    await client.sends(b"HEAD / HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n\r\n")
    answer = await client.answer(head=True)
    assert int(answer.field("content-length") or 0) > 100
    await client.ends()


async def test_a_body_is_read_before_the_next_request(door: Door) -> None:
    client = await door.client()
    await client.sends(
        b"POST / HTTP/1.1\r\nHost: p\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: p\r\n\r\n"
    )
    assert [(await client.answer()).status for _ in range(2)] == [405, 200]


async def test_a_client_that_waits_for_100_gets_its_answer_and_the_end(door: Door) -> None:
    client = await door.client()
    await client.sends(
        b"POST / HTTP/1.1\r\nHost: p\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    )
    answer = await client.answer()
    assert (answer.status, answer.field("connection")) == (405, "close")
    await client.ends()


async def test_a_trace_that_ends_here_shows_the_request_without_its_secrets(door: Door) -> None:
    client = await door.client()
    await client.sends(
        b"TRACE http://origin.test/p HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\nX-Mine: yes\r\n"
        b"Authorization: Bearer a\r\nCookie: b=c\r\n" + credentials("u", "p") + b"\r\n"
    )
    answer = await client.answer()
    assert (answer.status, answer.field("content-type")) == (200, "message/http")
    assert answer.body == (
        b"TRACE http://origin.test:80/p HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n"
        b"X-Mine: yes\r\n\r\n"
    )
    assert door.network.dialled == []


async def test_options_that_end_here_are_answered(door: Door) -> None:
    client = await door.client()
    await client.sends(b"OPTIONS http://origin.test HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n")
    assert (await client.answer()).body == b"wsproxy\n"
