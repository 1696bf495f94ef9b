"""Heads in short for h11, and what h11 made of them written out in full.

h11 needs few fields of a head to settle framing, keep-alive and switching; the
others it would only match against its own, slower grammar, whose cost in time
and memory grows with the words of a value.  They have passed ours
(`wsproxy.protocol.head`), so they go past it.
"""

from __future__ import annotations

from wsproxy.model import Headers
from wsproxy.protocol.head import is_field_section

__all__ = ["Fields", "abridged", "abridged_head", "completed"]

Fields = list[tuple[bytes, bytes]]

_SETTLING = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect"}
)
"""All that h11 looks at."""


def abridged(fields: Fields | Headers) -> Fields:
    """The fields h11 needs, in order."""
    return [field for field in fields if field[0].lower() in _SETTLING]


def abridged_head(line: bytes, headers: Headers) -> bytes:
    """A received head, start line `line`, as h11 gets to read it."""
    lines = [line, *(b"%b: %b" % field for field in abridged(headers)), b"\r\n"]
    return b"\r\n".join(lines)


def completed(head: bytes, fields: Fields) -> bytes:
    """A head that h11 wrote for the abridged `fields`, with all of `fields` in their places.

    What h11 dropped stays out; what it added comes last.

    Raises:
        ValueError: a field that our own grammar does not have: a bug, caught
            before it can split a message.
    """
    start, *settled = head[:-4].split(b"\r\n")
    lines = []
    for name, value in fields:
        line = b"%b: %b" % (name, value)
        if name.lower() in _SETTLING:
            if line not in settled:
                continue
            settled.remove(line)
        lines.append(line)
    lines += settled
    section = b"".join(b"%b\r\n" % line for line in lines) + b"\r\n"
    if not is_field_section(section) or section.count(b"\n") != len(lines) + 1:
        raise ValueError("a field that would break the message it stands in")
    return b"%b\r\n%b" % (start, section)
