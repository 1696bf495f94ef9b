"""A door behind which WebSockets are looked into, and the two ends of one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.support.door import Door, open_door
from tests.support.wire import Wire
from wsproxy.protocol.frames import encode_frame

__all__ = [
    "ACCEPT",
    "KEY",
    "ConnectedPair",
    "Inspected",
    "client_says",
    "connect",
    "handshake",
    "inspecting",
    "origin_says",
    "switch",
    "switched",
]

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 §1.3
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
MASK = b"\x01\x02\x03\x04"


def handshake(path: bytes = b"/chat", more: bytes = b"") -> bytes:
    """A handshake in origin-form, as it stands inside a tunnel."""
    return (
        b"GET " + path + b" HTTP/1.1\r\nHost: origin.test\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Key: " + KEY + b"\r\n"
        b"Sec-WebSocket-Version: 13\r\n" + more + b"\r\n"
    )


def switch(more: bytes = b"") -> bytes:
    """The origin's 101."""
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n" + more + b"\r\n"
    )


def client_says(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """A frame of the client's."""
    return encode_frame(opcode, payload, fin=fin, rsv=rsv, key=MASK)


def origin_says(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """A frame of the upstream's."""
    return encode_frame(opcode, payload, fin=fin, rsv=rsv)


@dataclass
class Inspected:
    """A door and what it captures."""

    door: Door
    lines: list[bytes] = field(default_factory=list)

    @property
    def records(self) -> list[dict[str, Any]]:
        """All capture records so far."""
        return [json.loads(line) for line in self.lines]

    def of(self, event: str) -> list[dict[str, Any]]:
        """The records of one kind."""
        return [record for record in self.records if record["event"] == event]


@asynccontextmanager
async def inspecting(
    folder: Path,
    mode: str = "log",
    *,
    rules: str = "",
    when: str = "",
    more: str = "",
    inspection: str = "",
) -> AsyncIterator[Inspected]:
    """A door whose only rule has `mode`.

    Args:
        folder: for its files.
        mode: of the rule.
        rules: the message rules of its set, in YAML.
        when: its conditions, in YAML.
        more: other keys of the rule.
        inspection: other keys of the section.
    """
    named = "messages: [set], " if rules else ""
    section = f"message_rules: {{set: [{rules}]}}, " if rules else ""
    config = f"""
policy:
  rules:
    - {{name: seen, action: allow, when: {{{when}}}, websocket: {mode}, {named}{more}}}
    - {{name: tunnels, action: allow, when: {{methods: CONNECT}}, websocket: {mode}, {named}}}
inspection: {{capture: {{directory: {folder}/captures}}, {section}{inspection}}}
"""
    async with open_door(folder, config) as door:
        inspected = Inspected(door)
        plans = door.runtime.plans
        recording = replace(plans.recording, put=inspected.lines.append)
        door.runtime = replace(door.runtime, plans=replace(plans, recording=recording))
        yield inspected


ConnectedPair = tuple[Wire, Wire]


async def connect(one: Inspected) -> ConnectedPair:
    """The two ends of a CONNECT tunnel."""
    client = await one.door.client()
    await client.sends(b"CONNECT origin.test:80 HTTP/1.1\r\nHost: origin.test:80\r\n\r\n")
    origin = await one.door.origin.accept()
    await client.expects(b"HTTP/1.1 200 Connection established\r\n\r\n")
    return client, origin


async def switched(one: Inspected, ask: bytes = b"", answer: bytes = b"") -> ConnectedPair:
    """The two ends of a WebSocket inside a tunnel; the arguments are more fields."""
    client, origin = await connect(one)
    await client.sends(handshake(more=ask))
    await origin.expects(handshake(more=ask))
    await origin.sends(switch(answer))
    await client.expects(switch(answer))
    return client, origin
