"""A notebook's cell, run by Jupyter Server behind the proxy, and its traffic in the capture."""

from __future__ import annotations

import json
import urllib.request
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from .inspected import InspectingProxy
from .servers import run_jupyter
from .wire import PATIENCE_S

TOKEN = "0123456789abcdef-secret"
FIELDS = {"Authorization": f"token {TOKEN}"}
V1 = "v1.kernel.websocket.jupyter.org"
CELL = "print(6*7)"


def execute_request() -> dict[str, Any]:
    """The message that runs `CELL`."""
    header = {
        "msg_id": "request-1",
        "msg_type": "execute_request",
        "session": "session-1",
        "username": "alice",
        "date": "2026-01-01T00:00:00Z",
        "version": "5.3",
    }
    content = {"code": CELL, "silent": False, "store_history": True, "allow_stdin": False}
    parts = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
    return {**parts, "channel": "shell", "buffers": []}


def encode_v1(message: dict[str, Any]) -> bytes:
    """A message in the binary form: a count, that many offsets, then what they divide."""
    names = ("header", "parent_header", "metadata", "content")
    parts = [message["channel"].encode(), *(json.dumps(message[name]).encode() for name in names)]
    count = len(parts) + 1
    offsets = [8 * (1 + count)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    numbers = (count, *offsets)
    return b"".join(number.to_bytes(8, "little") for number in numbers) + b"".join(parts)


def decode(message: str | bytes) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Type, parent header and content of a message in either form."""
    if isinstance(message, str):
        told = json.loads(message)
        return told["header"]["msg_type"], told["parent_header"], told["content"]
    count = int.from_bytes(message[:8], "little")
    offsets = [int.from_bytes(message[8 * n : 8 * n + 8], "little") for n in range(1, count + 1)]
    parts = [json.loads(message[start:end]) for start, end in list(pairwise(offsets))[1:5]]
    return parts[0]["msg_type"], parts[1], parts[3]


def start_kernel(port: int, inspecting: InspectingProxy) -> str:
    """Asks the server, through the proxy, for a kernel; its id."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": inspecting.url}))
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/kernels", data=b"{}", headers=FIELDS, method="POST"
    )
    with opener.open(request, timeout=PATIENCE_S) as response:
        assert response.status == 201
        kernel: str = json.load(response)["id"]
        return kernel


def run_cell(connection: ClientConnection) -> str:
    """What the cell prints."""
    request = execute_request()
    connection.send(encode_v1(request) if connection.subprotocol == V1 else json.dumps(request))
    printed, finished = "", {"replied": False, "idle": False}
    while not all(finished.values()):
        kind, parent, content = decode(connection.recv(PATIENCE_S))
        if parent.get("msg_id") != "request-1":
            continue
        if kind == "stream":
            printed += content["text"]
        elif kind == "execute_reply":
            assert content["status"] == "ok", content
            finished["replied"] = True
        elif kind == "status":
            finished["idle"] = content["execution_state"] == "idle"
    return printed


@pytest.mark.parametrize("subprotocol", [None, V1], ids=["json", "v1"])
def test_a_cell_and_what_it_prints(
    subprotocol: str | None, tmp_path: Path, inspecting: InspectingProxy
) -> None:
    with run_jupyter(tmp_path, TOKEN) as port:
        kernel = start_kernel(port, inspecting)
        path = f"ws://127.0.0.1:{port}/api/kernels/{kernel}/channels"
        with connect(
            f"{path}?session_id=session-1&token={TOKEN}",
            proxy=inspecting.url,
            subprotocols=[subprotocol] if subprotocol else None,  # type: ignore[list-item]
            additional_headers=FIELDS,
        ) as connection:
            assert run_cell(connection) == "42\n"
    said = inspecting.conversation()
    assert said.opening["url"].startswith(path + "?")
    assert said.opening["subprotocol"] == subprotocol
    assert said.closing["label"] == "jupyter"
    opcode = "binary" if subprotocol else "text"
    (request,) = said.said_by("client", opcode)
    assert decode(request if subprotocol else request.decode())[2]["code"] == CELL
    told = [decode(m if subprotocol else m.decode()) for m in said.said_by("upstream", opcode)]
    assert [content["text"] for kind, _, content in told if kind == "stream"] == ["42\n"]
    assert [kind for kind, *_ in told].count("execute_reply") == 1
    # Neither the field nor the query parameter that lets people in is written down.
    assert not [line for line in inspecting.lines() if TOKEN in line]
