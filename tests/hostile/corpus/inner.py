"""T9, T10: handshakes inside a tunnel that are none, and answers to good ones that switch nothing."""

from __future__ import annotations

from dataclasses import dataclass

from tests.hostile.corpus.replies import SWITCHES
from tests.hostile.corpus.upgrade import BAD_HANDSHAKES, HANDSHAKE

__all__ = ["ACCEPT", "ANSWERS", "HEAD", "QUESTIONS", "Answer", "Question"]

ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The accept key for the key of all these handshakes (RFC 6455 §1.3)."""
HEAD = b"\r\n".join([b"GET /ws HTTP/1.1", b"Host: @O@", *HANDSHAKE, b"", b""])


@dataclass(frozen=True, slots=True)
class Question:
    """What a client says in a tunnel, where it might have been a handshake.

    Attributes:
        name: unique.
        send: octets; markers as in `tests.hostile.case`.
        statuses: that an enforcing proxy may answer itself; empty where it lets it pass, for
            no origin that keeps to HTTP can take it for a handshake.
        ahead: how much of `send` may reach the origin all the same.
    """

    name: str
    send: bytes
    statuses: tuple[int, ...] = ()
    ahead: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What an origin says to a good handshake in a tunnel.

    Attributes:
        name: unique.
        send: octets.
        statuses: that an enforcing proxy may answer instead, 101 for the origin's own with a
            Close behind it; empty where it passes.
    """

    name: str
    send: bytes
    statuses: tuple[int, ...] = ()


def _questions() -> list[Question]:
    cases = []
    for name, absolute in BAD_HANDSHAKES.items():
        if name.startswith("ws"):
            continue  # says by its scheme alone what it is
        send = absolute.replace(b" http://@O@/", b" /").replace(b"@A@", b"")
        is_get = send.startswith(b"GET ")
        cases.append(Question(name, send, (400, 426) if is_get else ()))
    padding = b"X-Padding: " + b"p" * 70_000 + b"\r\n"
    large = HEAD.replace(b"Upgrade: websocket", padding + b"Upgrade: websocket")
    fields = HEAD.replace(b"Upgrade: websocket", b"X-A: b\r\n" * 200 + b"Upgrade: websocket")
    ahead = HEAD + b"\x82\xff" + (70_000).to_bytes(8, "big") + bytes(70_004)
    folded = HEAD.replace(b"Upgrade: websocket", b"Upgrade:\r\n websocket")
    spaced = HEAD.replace(b"Upgrade: websocket", b"Upgrade : websocket")
    old = HEAD.replace(b"HTTP/1.1", b"HTTP/1.0")
    two = (400, 426, 431)
    return [
        *cases,
        Question("a head of 70 KB", large, two),
        Question("200 fields", fields, two),
        Question("folded Upgrade", folded, two),
        Question("space before a colon", spaced, two),
        Question("70 KB ahead of the answer", ahead, (400,), ahead=len(HEAD)),
        Question("handshake in HTTP/1.0", old),
        Question("no handshake at all", b"GET / HTTP/1.1\r\nHost: @O@\r\n\r\n"),
        Question("TLS", b"\x16\x03\x01\x00\x04GET "),
        Question("half a method", b"GE"),
    ]


def _answers() -> list[Answer]:
    cases = []
    for switch in SWITCHES:
        send = switch.send.replace(b"@ACCEPT@", ACCEPT)
        if switch.name == "nothing":
            continue  # nothing is no answer in any mode
        refused = switch.statuses if 502 in switch.statuses else ()
        cases.append(Answer(switch.name, send, refused))
    start = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    start += b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n"
    extensions = {
        "unknown": b"x-odd",
        "unknown besides a known one": b"permessage-deflate, x-odd",
        "malformed": b"permessage-deflate; =",
        "of an odd window": b"permessage-deflate; server_max_window_bits=16",
        "of a small window": b"permessage-deflate; server_max_window_bits=7",
        "of an odd parameter": b"permessage-deflate; odd",
        "twice": b"permessage-deflate, permessage-deflate",
    }
    cases += [
        Answer(
            f"extension {name}",
            start + b"Sec-WebSocket-Extensions: " + value + b"\r\n\r\n\x81\x01x",
            (502,),
        )
        for name, value in extensions.items()
    ]
    good = start + b"\r\n\x81\x01x"
    return [
        *cases,
        Answer("a frame ahead of the 101", b"\x81\x01x" + good, (502,)),
        Answer("an SSH greeting ahead of the 101", b"SSH-2.0-smuggled\r\n" + good, (502,)),
        Answer("NUL ahead of the 101", b"\x00" + good, (502,)),
        Answer("a head of 70 KB", start + b"X: " + b"x" * 70_000 + b"\r\n\r\n", (502,)),
        Answer("3000 interim responses", b"HTTP/1.1 100 C\r\n\r\n" * 3000 + good, (502,)),
        Answer("garbage right behind the 101", start + b"\r\n" + b"\xff" * 40, (101,)),
    ]


QUESTIONS = _questions()
ANSWERS = _answers()
