"""T9, T10: switching protocols, asked for in ways nobody should."""

from __future__ import annotations

from dataclasses import replace

from tests.hostile.case import Case, either, head, passed, refused
from tests.hostile.origins import accept_websocket

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
_LINE = b"GET http://@O@/ws HTTP/1.1"
_UPGRADE = b"Upgrade: websocket"
_CONNECTION = b"Connection: Upgrade"
_VERSION = b"Sec-WebSocket-Version: 13"
_KEY = b"Sec-WebSocket-Key: " + KEY
HANDSHAKE = (_UPGRADE, _CONNECTION, _VERSION, _KEY)
_SMUGGLED = b"GET http://@O@/smuggled HTTP/1.1\r\n@A@Host: @O@\r\n\r\n"


def _bad_handshakes() -> dict[str, bytes]:
    def key(value: bytes) -> bytes:
        return head(_LINE, _UPGRADE, _CONNECTION, _VERSION, b"Sec-WebSocket-Key: " + value)

    def version(value: bytes) -> bytes:
        field = b"Sec-WebSocket-Version: " + value
        return head(_LINE, _UPGRADE, _CONNECTION, field, _KEY)

    return {
        "no key": head(_LINE, _UPGRADE, _CONNECTION, _VERSION),
        "empty key": key(b""),
        "key of 15 octets": key(b"dGhlIHNhbXBsZSBub25j"),
        "key of 17 octets": key(b"dGhlIHNhbXBsZSBub25jZXh4"),
        "key not Base64": key(b"!!!!!!!!!!!!!!!!!!!!!!=="),
        "key without padding": key(b"dGhlIHNhbXBsZSBub25jZQ"),
        "key with junk": key(KEY + b"x"),
        "key with space inside": key(b"dGhlIHNhbXBs ZSBub25jZQ=="),
        "key in quotes": key(b'"' + KEY + b'"'),
        "key in a list": key(KEY + b", " + KEY),
        "key in URL Base64": key(b"__79_P_6-fj39vX08_Lx8A=="),
        "two keys alike": head(_LINE, *HANDSHAKE, _KEY),
        "two keys unlike": head(_LINE, *HANDSHAKE, b"Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw=="),
        "no version": head(_LINE, _UPGRADE, _CONNECTION, _KEY),
        "version 8": version(b"8"),
        "version 0": version(b"0"),
        "version 013": version(b"013"),
        "version 130": version(b"130"),
        "version empty": version(b""),
        "version list": version(b"13, 8"),
        "version letters": version(b"x"),
        "two versions": head(_LINE, *HANDSHAKE, _VERSION),
        "POST": head(b"POST http://@O@/ws HTTP/1.1", *HANDSHAKE),
        "HEAD": head(b"HEAD http://@O@/ws HTTP/1.1", *HANDSHAKE),
        "PUT with body": head(b"PUT http://@O@/ws HTTP/1.1", *HANDSHAKE, b"Content-Length: 5")
        + b"hello",
        "get": head(b"get http://@O@/ws HTTP/1.1", *HANDSHAKE),
        "with a body": head(_LINE, *HANDSHAKE, b"Content-Length: 5") + b"hello" + _SMUGGLED,
        "with chunks": head(_LINE, *HANDSHAKE, b"Transfer-Encoding: chunked")
        + b"0\r\n\r\n"
        + _SMUGGLED,
        "with both framings": head(
            _LINE, *HANDSHAKE, b"Content-Length: 5", b"Transfer-Encoding: chunked"
        )
        + b"0\r\n\r\n",
        "with a bad length": head(_LINE, *HANDSHAKE, b"Content-Length: x") + _SMUGGLED,
        "ws without a handshake": head(b"GET ws://@O@/ws HTTP/1.1"),
        "ws with an incomplete one": head(
            b"GET ws://@O@/ws HTTP/1.1", _UPGRADE, _CONNECTION, _VERSION
        ),
        "ws and POST": head(b"POST ws://@O@/ws HTTP/1.1", *HANDSHAKE),
        "wss": head(b"GET wss://@O@/ws HTTP/1.1", *HANDSHAKE),
        "ws in HTTP/1.0": head(b"GET ws://@O@/ws HTTP/1.0", *HANDSHAKE),
        "ws with userinfo": head(b"GET ws://user:pw@@O@/ws HTTP/1.1", *HANDSHAKE),
        "ws with fragment": head(b"GET ws://@O@/ws#x HTTP/1.1", *HANDSHAKE),
    }


BAD_HANDSHAKES = _bad_handshakes()
"""Requests that look like an opening handshake, by what is wrong with them."""


def _handshakes() -> list[Case]:
    return [
        refused("T9", f"handshake: {name}", data, (400, 426), classes="T4 T8 T9")
        for name, data in BAD_HANDSHAKES.items()
    ]


def _not_websocket() -> list[Case]:
    lacks = (b"upgrade", b"http2-settings")
    settings = b"HTTP2-Settings: AAMAAABkAAQAAP__"
    tokens = {
        "h2c": b"h2c",
        "h2": b"h2",
        "TLS/1.0": b"TLS/1.0",
        "HTTP/2.0": b"HTTP/2.0",
        "websockets": b"websockets",
        "xwebsocket": b"xwebsocket",
        "connect-udp": b"connect-udp",
        "empty": b"",
        "websocket with version": b"websocket/13",
        "quoted": b'"websocket"',
    }
    cases = [
        replace(
            either(
                "T9",
                f"Upgrade: {name}",
                head(
                    b"GET http://@O@/ HTTP/1.1",
                    b"Upgrade: " + token,
                    b"Connection: Upgrade, HTTP2-Settings",
                    settings,
                ),
                (200, 400, 501),
            ),
            lacks=lacks,
        )
        for name, token in tokens.items()
    ]
    old = head(b"GET http://@O@/ HTTP/1.0", *HANDSHAKE)
    return cases + [
        either(
            "T9",
            "h2c with the preface behind it",
            head(
                b"GET http://@O@/ HTTP/1.1",
                b"Upgrade: h2c",
                b"Connection: Upgrade, HTTP2-Settings, close",
                settings,
            )
            + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            (200, 400, 501),
            lacks=(*lacks, b"pri *"),
        ),
        either("T9", "handshake in HTTP/1.0", old, (200, 400), lacks=(b"upgrade",)),
        either(
            "T9",
            "Upgrade that Connection does not name",
            head(_LINE, _UPGRADE, _VERSION, _KEY),
            (200, 400),
            lacks=(b"upgrade",),
        ),
        either(
            "T9",
            "Connection: upgrade without Upgrade",
            head(_LINE, _CONNECTION, _VERSION, _KEY),
            (200, 400),
            lacks=(b"upgrade",),
        ),
        passed(
            "T9",
            "upgrade of a POST to h2c",
            head(b"POST http://@O@/ HTTP/1.1", b"Upgrade: h2c", _CONNECTION, b"Content-Length: 5")
            + b"hello",
            b"POST /",
            body=b"hello",
            lacks=lacks,
        ),
    ]


def _refused_by_origin() -> list[Case]:
    """The default origin answers 200 to a handshake: no switch, and what follows is void."""
    cases = []
    behind = {
        "nothing": b"",
        "a frame": b"\x81\x85\x00\x00\x00\x00hello",
        "a request": _SMUGGLED,
        "garbage": b"\x00\x00\r\n\r\n",
    }
    for name, data in behind.items():
        case = passed(
            "T10",
            f"handshake answered 200, {name} behind it",
            head(_LINE, *HANDSHAKE) + data,
            b"GET /ws",
            lacks=(b"hello", b"smuggled"),
        )
        cases.append(replace(case, has=(b"upgrade: websocket\r\n", b"connection: upgrade\r\n")))
    return cases


def _switched() -> list[Case]:
    frames = b"\x81\x85\x00\x00\x00\x00hello" + bytes(range(256))

    def good(name: str, data: bytes | tuple[bytes, ...], payload: bytes = b"") -> Case:
        case = passed("T10", f"switch: {name}", data, b"GET /ws")
        return replace(
            case, answers=(frozenset((101,)),), tunnel=payload, behaviour=accept_websocket
        )

    ok = head(_LINE, *HANDSHAKE)
    return [
        good("nothing behind it", ok),
        good("frames behind it", ok + frames, frames),
        good("frames in the next write", (ok, frames), frames),
        good(
            "a request behind it is payload",
            ok + b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
        ),
        good("ws scheme", head(b"GET ws://@O@/ws HTTP/1.1", *HANDSHAKE) + frames, frames),
        good(
            "fields in odd case",
            head(
                _LINE,
                b"uPGRADE: WebSocket",
                b"cONNECTION: keep-alive, uPGRADE",
                b"sEC-WEBSOCKET-vERSION: 13",
                _KEY,
            )
            + frames,
            frames,
        ),
        good(
            "several protocols proposed",
            head(_LINE, b"Upgrade: h2c, websocket", _CONNECTION, _VERSION, _KEY) + frames,
            frames,
        ),
        good(
            "nominated handshake fields",
            head(
                _LINE,
                _UPGRADE,
                b"Connection: Upgrade, Sec-WebSocket-Key, Sec-WebSocket-Version",
                _VERSION,
                _KEY,
            )
            + frames,
            frames,
        ),
        good("length zero", head(_LINE, *HANDSHAKE, b"Content-Length: 0") + frames, frames),
        good("another Host", ok.replace(b"Host: @O@", b"Host: evil.example") + frames, frames),
    ]


CASES = [*_handshakes(), *_not_websocket(), *_refused_by_origin(), *_switched()]
