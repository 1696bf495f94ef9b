"""permessage-deflate, and what a handshake says of extensions (RFC 7692, RFC 6455 §9.1)."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from wsproxy.protocol.frames import FrameError

__all__ = [
    "Agreement",
    "Compression",
    "Extension",
    "Inflater",
    "limit_offer",
    "parse_agreement",
    "parse_extensions",
]

_NAME: Final = "permessage-deflate"
_TAIL: Final = b"\x00\x00\xff\xff"  # RFC 7692 §7.2.1
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_EXTENSION = re.compile(
    rf"{_WORD}(?:[ \t]*;[ \t]*{_WORD}(?:[ \t]*=[ \t]*(?:{_WORD}|\"{_WORD}\"))?)*"
)
_STEP_BYTES: Final = 1024
"""Octets behind a BFINAL given to zlib at a time: it copies what it leaves at each BFINAL."""
_BITS = re.compile(r"[89]|1[0-5]")


class Extension(NamedTuple):
    """One extension as a handshake names it."""

    name: str
    parameters: tuple[tuple[str, str | None], ...]


class Compression(NamedTuple):
    """What was agreed on about compression.

    Attributes:
        client_takeover: the client's messages share one context.
        server_takeover: the upstream's do.
        client_bits: base-2 logarithm of the client's window, 8 … 15.
        server_bits: the same of the upstream's.
    """

    client_takeover: bool
    server_takeover: bool
    client_bits: int
    server_bits: int


class Agreement(NamedTuple):
    """The extensions in use.

    Attributes:
        compression: None without.
        unknown: names of those that are not understood here.
    """

    compression: Compression | None
    unknown: tuple[str, ...]


def parse_extensions(values: Sequence[bytes]) -> list[Extension]:
    """The extensions that Sec-WebSocket-Extensions `values` name, in order.

    Raises:
        ValueError: not the grammar of RFC 6455 §9.1.
    """
    found = []
    for value in values:
        for member in value.decode("latin-1").split(","):
            text = member.strip(" \t")
            if not text:
                continue
            if not _EXTENSION.fullmatch(text):
                raise ValueError("not a list of extensions")
            name, *parameters = (part.strip(" \t") for part in text.split(";"))
            found.append(Extension(name.lower(), tuple(map(_parameter, parameters))))
    return found


def _parameter(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    return name.strip(" \t").lower(), value.strip(' \t"') if equals else None


def parse_agreement(values: Sequence[bytes]) -> Agreement:
    """What a 101 with these Sec-WebSocket-Extensions `values` agrees on.

    Raises:
        ValueError: malformed, or compression agreed on twice or with odd parameters.
    """
    compression: Compression | None = None
    unknown = []
    for extension in parse_extensions(values):
        if extension.name != _NAME:
            unknown.append(extension.name)
        elif compression is not None:
            raise ValueError("permessage-deflate twice")
        else:
            compression = _compression(extension)
    return Agreement(compression, tuple(unknown))


def _compression(extension: Extension) -> Compression:
    given = dict(extension.parameters)
    if len(given) != len(extension.parameters):
        raise ValueError("a parameter of permessage-deflate twice")
    for name, value in given.items():
        takeover = name in ("client_no_context_takeover", "server_no_context_takeover")
        bits = name in ("client_max_window_bits", "server_max_window_bits")
        if not (takeover and value is None) and not (bits and value and _BITS.fullmatch(value)):
            raise ValueError(f"odd parameter {name} of permessage-deflate")
    return Compression(
        client_takeover="client_no_context_takeover" not in given,
        server_takeover="server_no_context_takeover" not in given,
        client_bits=int(given.get("client_max_window_bits") or 15),
        server_bits=int(given.get("server_max_window_bits") or 15),
    )


def limit_offer(values: Sequence[bytes], policy: str) -> list[bytes]:
    """A client's offer of extensions as it may go on.

    Args:
        values: of its Sec-WebSocket-Extensions fields.
        policy: ``keep``, ``strip`` (all of it) or ``no_context_takeover``
            (compression only without shared contexts).
    """
    if policy == "keep":
        return list(values)
    if policy == "strip":
        return []
    members = [member.strip(b" \t") for value in values for member in value.split(b",")]
    return (
        [b", ".join(_without_takeover(member for member in members if member))] if members else []
    )


def _without_takeover(members: Iterable[bytes]) -> Iterable[bytes]:
    for member in members:
        limited = member
        if member.partition(b";")[0].strip(b" \t").lower() == _NAME.encode():
            for name in (b"client_no_context_takeover", b"server_no_context_takeover"):
                if name not in member.lower():
                    limited += b"; " + name
        yield limited


class Inflater:
    """Decompresses the messages of one direction (RFC 7692 §7.2.2).

    A block with BFINAL ends a stream for zlib, but no message: what follows it in the
    message counts (§7.2.3.4), and zlib would put it aside, all of it, for ever.  So a new
    stream begins there, with an empty window, as in browsers.

    Args:
        bits: base-2 logarithm of the window; a larger window inflates all the same.
        takeover: whether a message may refer to those before it.
    """

    __slots__ = ("_bits", "_inflate", "_rest", "takeover")

    def __init__(self, bits: int, *, takeover: bool) -> None:
        self._bits = max(bits, 9)  # zlib knows no raw window of 2**8
        self.takeover = takeover
        self._inflate = zlib.decompressobj(-self._bits)
        self._rest = b""
        """Input behind a BFINAL that waits because its output would have been too much."""

    @property
    def pending(self) -> bytes:
        """Input that waits because its output would have been too much."""
        return self._rest or self._inflate.unconsumed_tail

    def inflate(self, data: bytes, max_bytes: int) -> bytes:
        """Up to `max_bytes` of output; call again with ``b""`` for more while it gives any.

        Raises:
            FrameError: 1007: no deflate data.
        """
        inflate = self._inflate
        try:
            if not self._rest:
                out = inflate.decompress(inflate.unconsumed_tail + data, max_bytes)
                if not inflate.eof:
                    return out
                data = inflate.unused_data
                self._inflate = zlib.decompressobj(-self._bits)
            else:
                out, data = b"", self._rest + data
            return self._inflate_behind(out, data, max_bytes)
        except zlib.error as error:
            raise FrameError(1007, f"a compressed message cannot be inflated: {error}") from None

    def _inflate_behind(self, out: bytes, data: bytes, max_bytes: int) -> bytes:
        """Goes on with `data` behind a BFINAL, step by step: each may end with another one."""
        gathered, at, self._rest = bytearray(out), 0, b""
        while at < len(data) and len(gathered) < max_bytes:
            inflate = self._inflate
            step = data[at : at + _STEP_BYTES]
            gathered += inflate.decompress(step, max_bytes - len(gathered))
            at += len(step) - len(inflate.unconsumed_tail) - len(inflate.unused_data)
            if inflate.eof:
                self._inflate = zlib.decompressobj(-self._bits)
        self._rest = data[at:]
        return bytes(gathered)

    def end_message(self, max_bytes: int) -> bytes:
        """Like `inflate`, for the octets the sender has left out at the end of a message."""
        return self.inflate(_TAIL, max_bytes)

    def start_message(self) -> None:
        """Before each message."""
        if not self.takeover:
            self._inflate = zlib.decompressobj(-self._bits)
            self._rest = b""
