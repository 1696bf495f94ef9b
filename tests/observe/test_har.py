"""HAR files: what Chrome's developer tools import, from a capture that may still be growing."""

from __future__ import annotations

import io
import json
from typing import Any

from tests.observe.talks import Talk, text
from wsproxy.model import Side
from wsproxy.observe.har import HarWriter, read_records
from wsproxy.protocol.messages import Message


def har(lines: list[bytes], wanted: Any = lambda _record: True) -> dict[str, Any]:
    writer = HarWriter("1.2.3", wanted)
    for record in read_records(lines):
        writer.add(record)
    out = io.BytesIO()
    writer.write(out)
    log: dict[str, Any] = json.loads(out.getvalue())["log"]
    return log


def captured() -> list[bytes]:
    talk = Talk()
    talk.says(Side.CLIENT, text("hello"))
    talk.says(Side.UPSTREAM, Message(2, b"\x00\xff", 2, 2))
    talk.says(Side.UPSTREAM, Message(1, b"cut", 900, 900, 1, False, "ab"))
    talk.says(Side.CLIENT, Message(8, b"\x03\xe8bye", 5, 5))
    talk.ends()
    return talk.lines


def test_a_websocket_is_an_entry_with_its_messages() -> None:
    log = har(captured())
    assert log["version"] == "1.2"
    assert log["creator"] == {"name": "wsproxy", "version": "1.2.3"}
    (entry,) = log["entries"]
    assert entry["_resourceType"] == "websocket"
    assert entry["startedDateTime"] == "2023-11-14T22:13:20.250000Z"
    request, response = entry["request"], entry["response"]
    assert (request["method"], request["url"]) == ("GET", "ws://chat.example/room?token=abc")
    assert request["queryString"] == [{"name": "token", "value": "abc"}]
    assert request["headers"][1] == {"name": "Origin", "value": "http://page.example"}
    assert (response["status"], response["content"]["mimeType"]) == (101, "x-unknown")
    assert entry["cache"] == {}
    assert entry["timings"].keys() == {"send", "wait", "receive"}
    at = 1_700_000_000.25
    assert entry["_webSocketMessages"] == [
        {"type": "send", "time": at, "opcode": 1, "data": "hello"},
        {"type": "receive", "time": at, "opcode": 2, "data": "AP8="},
        {
            "type": "receive",
            "time": at,
            "opcode": 1,
            "data": "cut",
            "_size": 900,
            "_truncated": True,
            "_sha256": "ab",
        },
        {"type": "send", "time": at, "opcode": 8, "data": "1000 bye"},
    ]
    assert entry["_close"] == {
        "closed_by": "client",
        "reason": "eof",
        "code": 1000,
        "close_reason": "bye",
        "clean": False,
    }


def test_a_capture_that_is_still_written_is_read_as_far_as_it_goes() -> None:
    lines = captured()
    log = har([*lines[:2], b"not json\n", b"[]\n", lines[2][:-5]])
    (entry,) = log["entries"]
    assert [message["data"] for message in entry["_webSocketMessages"]] == ["hello"]
    assert "_close" not in entry


def test_only_what_is_wanted_with_the_handshake_it_belongs_to() -> None:
    log = har(captured(), lambda record: record.get("opcode") == "binary")
    (entry,) = log["entries"]
    assert entry["request"]["url"] == "ws://chat.example/room?token=abc"
    assert [message["data"] for message in entry["_webSocketMessages"]] == ["AP8="]
    assert har(captured(), lambda _record: False)["entries"] == []


def test_a_capture_without_the_beginning() -> None:
    log = har(captured()[1:])
    assert log["entries"][0]["request"]["url"] == "ws://chat.example/"
    assert har([b'{"event":"message","session":"x","time":"odd"}\n'])["entries"][0]["time"] == 0.0


def test_messages_of_many_at_once_come_apart_again_in_order() -> None:
    names, count = ["a", "b", "c"], 500
    lines = [
        json.dumps({"event": "message", "session": name, "text": f"{name}{number} " + "x" * 100})
        for number in range(count)
        for name in names
    ]
    log = har([line.encode() + b"\n" for line in lines])
    assert [entry["_session"] for entry in log["entries"]] == names
    for name, entry in zip(names, log["entries"], strict=True):
        data = [message["data"].partition(" ")[0] for message in entry["_webSocketMessages"]]
        assert data == [f"{name}{number}" for number in range(count)]


def test_a_websocket_whose_end_is_wanted_has_an_entry() -> None:
    log = har(captured(), lambda record: record.get("event") == "close")
    (entry,) = log["entries"]
    assert entry["request"]["url"] == "ws://chat.example/room?token=abc"
    assert (entry["_webSocketMessages"], entry["_close"]["code"]) == ([], 1000)


def test_counts_and_an_empty_capture() -> None:
    writer = HarWriter("1")
    for record in read_records(captured()):
        writer.add(record)
    assert (writer.sessions, writer.messages) == (1, 4)
    writer.close()
    assert har([])["entries"] == []
