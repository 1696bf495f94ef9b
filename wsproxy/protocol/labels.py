"""What is spoken inside a WebSocket: a label for the record, the filter and the rule.

Theory of operation.  The handshake often says it: a subprotocol, or a path that only one
library uses.  Where it does not, the first messages do, by what they begin with; nothing is
parsed, and after `MESSAGES` messages nothing is looked at any more.

A label is a hint, never a proof: whoever wants to can speak anything under any label.  What
the octets say wins over what the handshake says only where they are of a tunnel, because
tunnels are what hides behind another name: TLS behind ``mqtt``, SSH behind ``binary``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

__all__ = ["LABELS", "MESSAGES", "Labeller", "label_of_handshake", "sniff_label"]

MESSAGES: Final = 6
"""Messages of text or binary that are looked at, of both directions together: whatever is
recognised shows in a first message, and one side may greet before."""

_LOOKED_AT_BYTES: Final = 256
"""Room for the header of a Jupyter message, the longest of the beginnings."""

_TEXT: Final = 1  # opcodes, RFC 6455 §5.2
_BINARY: Final = 2

# From the "WebSocket Subprotocol Name Registry" of IANA, and what is in use beside it.
_SUBPROTOCOLS: Final[dict[str, str]] = {
    "graphql-transport-ws": "graphql-ws",
    "graphql-ws": "graphql-ws",
    "mqtt": "mqtt",
    "mqttv3.1": "mqtt",
    "v1.kernel.websocket.jupyter.org": "jupyter",
    "v10.stomp": "stomp",
    "v11.stomp": "stomp",
    "v12.stomp": "stomp",
}
_SUBPROTOCOL_STARTS: Final = (("wamp.2.", "wamp"), ("chisel-v", "chisel"))

_PATHS: Final = (
    (re.compile(r"/socket\.io/|[?&]EIO=[0-9]"), "socket.io"),
    (re.compile(r"/api/kernels/[^/?]+/channels(?:\?|\Z)"), "jupyter"),
)

# wstunnel asks for `v1, authorization.bearer.TOKEN` at `/PREFIX/events`, and is given `v1`.
_WSTUNNEL_TOKEN: Final = "authorization.bearer."  # noqa: S105 - what a token begins with
_WSTUNNEL_PATH = re.compile(r"/events(?:\?|\Z)")

_BINARY_STARTS: Final = (
    (re.compile(rb"RFB [0-9]{3}\.[0-9]{3}\n"), "vnc"),  # RFC 6143 §7.1.1
    (re.compile(rb"SSH-chisel-v"), "chisel"),
    (re.compile(rb"SSH-(?:2\.0|1\.99)-"), "ssh"),  # RFC 4253 §4.2, §5.1
    # A record of type handshake that begins a ClientHello (RFC 8446 §4, §5.1).
    (re.compile(rb"\x16\x03[\x00-\x04]..\x01", re.S), "tls"),
    # The fixed header of CONNECT, its remaining length, the protocol's name (MQTT 5.0 §3.1).
    (re.compile(rb"\x10[\x80-\xff]{0,3}[\x00-\x7f]\x00(?:\x04MQTT|\x06MQIsdp)"), "mqtt"),
)

_TEXT_STARTS: Final = (
    # Engine.IO's "open" and its probes, and in an Engine.IO message Socket.IO's "connect" and
    # "event", where a namespace and the number of an acknowledgement may stand between.
    (re.compile(rb'0\{"sid":|40\{|40/[^\s,]*(?:,|\Z)|42(?:/[^\s,]*,)?[0-9]*\["'), "socket.io"),
    (re.compile(rb"[23]probe\Z"), "socket.io"),
    # Both ends of the handshake of a hub, and a ping: JSON that ends with a record separator.
    (re.compile(rb'\{(?=[^{}]*"protocol"\s*:)(?=[^{}]*"version"\s*:)[^{}]*\}\x1e'), "signalr"),
    (re.compile(rb'\{\}\x1e|\{"type":6\}\x1e'), "signalr"),
    (re.compile(rb'\s*\{[^{}]*"type"\s*:\s*"connection_(?:init|ack)"'), "graphql-ws"),
    (re.compile(rb"(?:CONNECT|STOMP|CONNECTED)\r?\n"), "stomp"),
    (re.compile(rb'\s*\[\s*1\s*,\s*"[^"\\]*"\s*,\s*\{'), "wamp"),  # HELLO
    (re.compile(rb'\s*[\[{].*"jsonrpc"\s*:\s*"2\.0"', re.S), "json-rpc"),
    (re.compile(rb'\s*\{(?=.*"header"\s*:).*"msg_type"\s*:', re.S), "jupyter"),
)

# Text may come in a binary message and a greeting in a text: both tables for both, but
# first what is usual.
_STARTS: Final = {_TEXT: _TEXT_STARTS + _BINARY_STARTS, _BINARY: _BINARY_STARTS + _TEXT_STARTS}

_TUNNELS: Final = frozenset({"chisel", "ssh", "tls", "vnc", "wstunnel"})

LABELS: Final = _TUNNELS | {
    "graphql-ws",
    "json-rpc",
    "jupyter",
    "mqtt",
    "signalr",
    "socket.io",
    "stomp",
    "wamp",
}
"""Every label there is."""


def label_of_handshake(
    subprotocol: str | None, target: bytes | str, *, offered: Sequence[str] = ()
) -> str | None:
    """What the opening handshake says is spoken; None when it says nothing.

    Never raises.

    Args:
        subprotocol: the one that was agreed on.
        target: path and query of the request.
        offered: the subprotocols that the client asked for.  wstunnel shows only there.
    """
    text = target.decode("latin-1") if isinstance(target, bytes) else target
    name = (subprotocol or "").lower()
    if label := _SUBPROTOCOLS.get(name):
        return label
    for start, label in _SUBPROTOCOL_STARTS:
        if name.startswith(start):
            return label
    asked = (name, *(each.lower() for each in offered))
    if any(each.startswith(_WSTUNNEL_TOKEN) for each in asked) and _WSTUNNEL_PATH.search(text):
        return "wstunnel"
    return next((label for path, label in _PATHS if path.search(text)), None)


def sniff_label(opcode: int, payload: bytes) -> str | None:
    """What a message that is one of the first says is spoken; None when it says nothing.

    Never raises, whatever the payload is, and looks at its first 256 octets only.

    Args:
        opcode: of the message; only text and binary can tell.
        payload: decoded; its beginning is enough.
    """
    start = payload[:_LOOKED_AT_BYTES]
    for pattern, label in _STARTS.get(opcode, ()):
        if pattern.match(start):
            return label
    return None


class Labeller:
    """Finds the label of one WebSocket from its handshake and its first messages.

    Args:
        subprotocol: the one that was agreed on.
        target: path and query of the request.
        offered: the subprotocols that the client asked for.

    Attributes:
        label: what is known so far; None as long as nothing is recognised.
    """

    __slots__ = ("_left", "label")

    def __init__(
        self, subprotocol: str | None, target: bytes | str, *, offered: Sequence[str] = ()
    ) -> None:
        """Takes what the handshake says."""
        self.label = label_of_handshake(subprotocol, target, offered=offered)
        self._left = 0 if self.label in _TUNNELS else MESSAGES

    @property
    def is_done(self) -> bool:
        """Whether the label cannot change any more, so that `see` need not be called."""
        return not self._left

    def see(self, opcode: int, payload: bytes) -> None:
        """Looks at the next message, of either direction; never raises.

        Args:
            opcode: of the message; control frames do not count.
            payload: decoded; its beginning is enough.
        """
        if not self._left or opcode not in _STARTS:
            return
        self._left -= 1
        found = sniff_label(opcode, payload)
        if found in _TUNNELS:
            self.label, self._left = found, 0
        elif self.label is None:
            self.label = found
