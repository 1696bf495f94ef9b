"""A browser's own WebSockets in the capture, and the capture as HAR, read by Chromium again."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support.proxy_process import PROJECT_ROOT

from .chromium import run_chromium
from .har import import_har, read_har
from .inspected import Conversation, InspectingProxy, payload
from .origins import EchoServer, Nginx
from .wire import PATIENCE_S

KEPT_BYTES = 64 * 1024
BYTES = 100_000
BINARY = bytes(index % 251 for index in range(BYTES))  # what `converse` in pages/script.js sends
OPCODES = {1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}


def converse(home: Path, inspecting: InspectingProxy, nginx: Nginx, url: str) -> None:
    """A page's `new WebSocket()` says two messages, gets them back and closes."""
    with run_chromium(home, inspecting.url) as page:
        assert page.visit(f"{nginx.http}/page.html") == ""
        told = page.evaluate(f"converse({json.dumps(url)}, {BYTES})")
    assert told["code"] == 1000, told
    assert (told["text"], told["intact"]) == ("grüße", True)


def export_har(inspecting: InspectingProxy, to: Path) -> dict[str, Any]:
    """The capture as a valid HAR file, made by the product's own command."""
    command = ("export", "--from", str(inspecting.captures), "--to", str(to))
    done = subprocess.run(
        [sys.executable, "-m", "wsproxy", *command],
        cwd=PROJECT_ROOT,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return read_har(to)


def test_messages_of_a_page(
    tmp_path: Path, nginx: Nginx, echo: EchoServer, inspecting: InspectingProxy
) -> None:
    url = f"ws://127.0.0.1:{echo.port}/socket?secret=1"
    converse(tmp_path, inspecting, nginx, url)
    said = inspecting.conversation()
    assert said.opening["url"].startswith(url.partition("?")[0])
    assert said.opening["subprotocol"] == "chat"
    assert said.opening["extensions"].startswith("permessage-deflate")
    sent = {name.lower(): value for name, value in said.opening["request"]}
    assert "Chrome" in sent["user-agent"]
    assert sent["origin"] == nginx.http
    for direction in ("client", "upstream"):
        assert said.said_by(direction, "text") == ["grüße".encode()]
        assert said.said_by(direction, "binary") == [BINARY[:KEPT_BYTES]]
    for record in said.messages:
        if record["opcode"] == "binary":
            assert (record["size"], record["truncated"]) == (BYTES, True)
            assert record["sha256"] == hashlib.sha256(BINARY).hexdigest()
            assert (record["compressed"], record["wire"] < BYTES) == (True, True)
    closes = [record for record in said.messages if record["opcode"] == "close"]
    assert [(one["direction"], one["code"], one["reason"]) for one in closes] == [
        ("client", 1000, "done"),
        ("upstream", 1000, "done"),
    ]
    assert (said.closing["closed_by"], said.closing["clean"]) == ("client", True)
    assert (said.closing["code"], said.closing["close_reason"]) == (1000, "done")


def seconds(record: dict[str, Any]) -> float:
    """When a record was made, since 1970."""
    return datetime.fromisoformat(record["time"]).timestamp()


def assert_messages_imported(frames: list[dict[str, Any]], said: Conversation) -> None:
    """The network panel shows every text and binary message of the capture, and nothing else."""
    shown = [frame for frame in frames if frame["opCode"] in (1, 2)]
    recorded = [record for record in said.messages if record["opcode"] in ("text", "binary")]
    assert len(shown) == len(recorded)
    for frame, record in zip(shown, recorded, strict=True):
        assert OPCODES[frame["opCode"]] == record["opcode"]
        assert frame["type"] == ("send" if record["direction"] == "client" else "receive")
        assert abs(frame["time"] - seconds(record)) < 0.001
        data = frame["text"].encode()
        octets = data if record["opcode"] == "text" else base64.b64decode(data, validate=True)
        assert octets == payload(record)


def test_the_exported_har_is_what_chromium_imports(
    tmp_path: Path, nginx: Nginx, echo: EchoServer, inspecting: InspectingProxy
) -> None:
    converse(tmp_path, inspecting, nginx, f"ws://127.0.0.1:{echo.port}/socket")
    said = inspecting.conversation()
    har = export_har(inspecting, tmp_path / "out.har")
    assert har["log"]["version"] == "1.2"
    (entry,) = har["log"]["entries"]
    assert entry["_resourceType"] == "websocket"
    with run_chromium(tmp_path, inspecting.url) as page:
        (shown,) = import_har(page, har)
    assert shown["url"] == said.opening["url"]
    assert (shown["type"], shown["method"], shown["status"]) == ("websocket", "GET", 101)
    assert shown["request"] == said.opening["request"]
    assert shown["response"] == said.opening["response"]
    assert abs(shown["began"] - seconds(said.opening)) < 0.001
    # Not `duration_ms`: that is of the monotonic clock, and begins with the batch of the 101.
    assert abs(shown["ended"] - seconds(said.closing)) < 0.001
    assert_messages_imported(shown["messages"], said)
