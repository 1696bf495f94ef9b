"""What a capture record says of a payload, after redaction."""

from __future__ import annotations

from binascii import b2a_base64
from typing import Protocol

from wsproxy.protocol.frames import Opcode
from wsproxy.protocol.messages import Chunk, Message

__all__ = ["Redactor", "chunk_fields", "close_code", "payload_fields"]

_NO_CODE = 1005
"""Stands for a Close without a code (RFC 6455 §7.4.1)."""


class Redactor(Protocol):
    """Takes out what must not be recorded."""

    @property
    def touches_text(self) -> bool:
        """Whether `text` and `binary` ever change anything."""

    def headers(self, headers: list[tuple[str, str]], /) -> list[tuple[str, str]]:
        """The header fields to record."""

    def url(self, url: str, /) -> str:
        """The URL to record."""

    def text(self, text: str, /) -> str:
        """The text to record; what it is given may be the beginning of a longer text."""

    def binary(self, data: bytes, /) -> bytes | None:
        """The octets to record; None when they are those of `data`."""


def payload_fields(message: Message, redactor: Redactor | None) -> dict[str, object]:
    """The fields of a message's record that hold its payload, or say that it was cut.

    A Close has its ``reason``; any other message ``text`` or ``binary``.  One that could
    not be decoded has none.  The hash of a text that was redacted is left out: it would
    tell whoever guesses what was redacted that he is right.
    """
    payload, opcode = message.payload, message.opcode
    if message.undecodable is not None:
        return {}
    if opcode == Opcode.CLOSE:
        return {"reason": _redacted(payload[2:].decode("utf-8", "replace"), redactor)}
    is_cut = len(payload) < message.size
    fields: dict[str, object] = {}
    whole = _whole_characters(payload) if is_cut and opcode == Opcode.TEXT else payload
    text = None if opcode == Opcode.BINARY else _decoded(whole)
    if text is not None:
        fields["text"] = _redacted(text, redactor)
    else:
        changed = None if redactor is None else redactor.binary(payload)
        fields["binary"] = _base64(payload if changed is None else changed)
    if is_cut:
        fields["truncated"] = True
        if message.sha256 is not None and (redactor is None or not redactor.touches_text):
            fields["sha256"] = message.sha256
    return fields


def chunk_fields(chunk: Chunk, redactor: Redactor | None) -> dict[str, object]:
    """The fields of a chunk's record that hold its data.

    None when a redactor touches text: what it looks for may begin in one chunk and end in
    the next.
    """
    if redactor is not None and redactor.touches_text:
        return {}
    # A chunk ends where the octets did that came, which may be inside a character.
    text = _decoded(chunk.data) if chunk.opcode == Opcode.TEXT else None
    return {"binary": _base64(chunk.data)} if text is None else {"text": text}


def close_code(payload: bytes) -> int:
    """The code of a Close with `payload`; 1005 when it has none."""
    return int.from_bytes(payload[:2], "big") if len(payload) >= 2 else _NO_CODE


def _redacted(text: str, redactor: Redactor | None) -> str:
    return text if redactor is None else redactor.text(text)


def _decoded(data: bytes) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _whole_characters(data: bytes) -> bytes:
    """`data` without the character it ends inside of, if any."""
    for back in range(1, min(4, len(data)) + 1):
        octet = data[-back]
        if octet & 0xC0 != 0x80:  # the first octet of a character (RFC 3629 §3)
            length = 1 if octet < 0x80 else 2 if octet < 0xE0 else 3 if octet < 0xF0 else 4
            return data if length <= back else data[:-back]
    return data


def _base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode("ascii")
