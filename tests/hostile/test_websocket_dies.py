"""G11 for a WebSocket that is looked into: its origin dies at every octet from the 101 on.

What was sent before arrives, whoever looks; nothing that was not sent does.  Without a Close
frame the end is abnormal, and is recorded so (RFC 6455 §7.1.5).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.hostile.corpus.inner import ACCEPT
from tests.hostile.dying import Deaths, sweep
from tests.hostile.judge import CONNECTED
from tests.hostile.talk import UPSTREAM, close, frame, frames, text
from tests.hostile.talking import ADDRESSES, Watched, handshake, open_watched
from tests.support.proxy_process import Record
from tests.support.rawnet import Exchange, open_origin

_HEAD = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n\r\n"
)
_TALK = (
    text(UPSTREAM, "hello")
    + frame(UPSTREAM, 0x01, "caf\u00e9 ".encode() * 3)
    + frame(UPSTREAM, 0x89, b"ping")
    + frame(UPSTREAM, 0x80, b"fragments")
    + frame(UPSTREAM, 0x82, bytes(range(0x80, 0x80 + 40)))
    + frame(UPSTREAM, 0x81)
    + frame(UPSTREAM, 0x82, bytes(33))
    + close(UPSTREAM, 1000, b"bye")
)
_MESSAGE = _HEAD + _TALK


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A proxy with every mode of inspection."""
    with open_watched(tmp_path_factory.mktemp("dies")) as watched:
        yield watched


@pytest.mark.parametrize("death", ["fin", "half", "rst"])
@pytest.mark.parametrize(
    ("mode", "form"),
    [("log", "connect"), ("log", "absolute"), ("enforce", "connect"), ("hold", "absolute")],
)
async def test_what_was_sent_arrives_and_an_abnormal_end_stays_abnormal(
    watched: Watched, mode: str, form: str, death: str
) -> None:
    deaths, host = Deaths(), ADDRESSES[mode].encode()
    async with open_origin(deaths.dying(_MESSAGE, death), host=host.decode()) as origin:
        authority = b"%b:%d" % (host, origin.port)
        connect = b"CONNECT %b HTTP/1.1\r\nHost: x\r\n\r\n" % authority
        requests = [
            [connect * (form == "connect") + handshake(form, authority, path=b"/%d" % offset)]
            for offset in range(len(_MESSAGE) + 1)
        ]
        seen = await sweep(watched.room, requests, deaths)
    for offset, outcome in enumerate(seen):
        _check(outcome, offset, mode=mode, form=form, death=death)
    ends = _ends(watched, authority.decode(), len(requests))
    for offset, end in ends.items():
        _check_end(end, offset, mode=mode, death=death)
    if death != "rst":
        assert sorted(ends) == list(range(len(_HEAD), len(_MESSAGE) + 1))
    watched.room.check_descriptors()


def _check(outcome: Exchange, offset: int, *, mode: str, form: str, death: str) -> None:
    got = outcome.received.removeprefix(CONNECTED) if form == "connect" else outcome.received
    if form == "absolute":
        if got.startswith(b"HTTP/1.1 502 "):
            assert death == "rst" or offset < len(_HEAD)
            return
        assert got.startswith(b"HTTP/1.1 101 ")
        head, sent = b"", _MESSAGE[len(_HEAD) : offset]
        got = got.partition(b"\r\n\r\n")[2]
    else:
        head, sent = _HEAD, _MESSAGE[:offset]
    if mode == "hold":
        _check_held(got, sent, is_all=death != "rst")
        return
    assert (offset, got) == (offset, sent[: len(got)])
    if death == "rst":
        return
    assert (offset, outcome.ended) == (offset, "eof")
    if mode == "log" or offset < len(_HEAD):
        assert (offset, got) == (offset, sent)
        return
    # Of the header of the frame that was cut, nothing passes before it can be judged.
    whole, _rest = frames(sent.removeprefix(head))
    assert len(got) >= len(head) + sum(len(each.raw) for each in whole)


def _check_held(got: bytes, sent: bytes, *, is_all: bool) -> None:
    """Whole messages only; control frames do not wait for them."""
    passed, left = frames(got)
    assert left == b""
    whole, _rest = frames(sent)
    for of_control in (True, False):
        came = [each.raw for each in passed if (each.opcode >= 8) is of_control]
        due = [each for each in whole if (each.opcode >= 8) is of_control]
        while due and due[-1].first < 0x80:
            due.pop()
        assert came == [each.raw for each in due][: None if is_all else len(came)]


def _ends(watched: Watched, authority: str, count: int) -> dict[int, dict[str, Any]]:
    """The last records of all WebSockets with an origin, by offset, once all are there."""

    def of_origin(records: list[Record]) -> list[Record]:
        return [r for r in records if r["event"] == "access" and authority in str(r["target"])]

    watched.room.proxy.wait_until_logged(lambda records: len(of_origin(records)) >= count)
    found = of_origin(watched.room.proxy.records())
    assert len(found) == count
    sessions = [record["id"] for record in found if "websocket" in record]
    assert watched.wait_for_close(sessions) == []
    ends = {}
    for session in sessions:
        opened, *others, end = watched.captured[session]
        assert opened["event"] == "open"
        assert others == []
        ends[int(opened["url"].rpartition("/")[2])] = end
    return ends


def _check_end(end: dict[str, Any], offset: int, *, mode: str, death: str) -> None:
    assert end["event"] == "close"
    if offset < len(_MESSAGE):
        assert (offset, end["code"], end["clean"]) == (offset, 1006, False)
        assert end["closed_by"] == "upstream"
    elif death != "rst":
        assert (end["code"], end["close_reason"]) == (1000, "bye")
