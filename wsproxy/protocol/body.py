"""Where a message body ends, decided before h11 sees a byte of it.

h11 decodes bodies, but takes chunk sizes of 80 bits and extensions with any
octet in them, and would read on into the next message.  A `BodyFramer` hands
out exactly the octets that belong to the body, after checking the chunk
framing strictly, so that whatever is left over is known to be the next
message, a tunnel's first bytes, or garbage.

It also sews small chunks together.  A sender of one-octet chunks would
otherwise buy an h11 event and a system call of ours with six octets of its own.
"""

from __future__ import annotations

import re

from wsproxy.model import Body, BodyKind
from wsproxy.protocol.head import MAX_FIELDS, Refuse

__all__ = ["MAX_CHUNK_LINE_BYTES", "BodyFramer"]

MAX_CHUNK_LINE_BYTES = 1024
"""Size and extensions of one chunk; extensions have no known use beyond a few octets."""
_MAX_TRAILER_BYTES = 16 * 1024
# RFC 9112 §7.1; 16 digits are 64 bits, and RFC 9110 §8.6 asks for no overflow.
# White space before the line end is what some old servers write; before an
# extension, h11 does not take it.
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t\x20-\x7e\x80-\xff]*+|[ \t]*+)\r\n")
_TRAILER_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t\x20-\x7e\x80-\xff]*+\r\n")


class BodyFramer:
    """Follows one message body through the octets of a connection.

    Args:
        body: the framing its head announced.
        refuse: makes the error for broken chunk framing.
    """

    __slots__ = (
        "_fields",
        "_in_trailers",
        "_kind",
        "_left",
        "_line",
        "_needs_crlf",
        "_payload",
        "_refuse",
        "_trailer_bytes",
        "_trailers",
        "complete",
    )

    def __init__(self, body: Body, refuse: Refuse) -> None:
        self._kind = body.kind
        self._left = body.length
        self._refuse = refuse
        self._line = b""
        self._needs_crlf = False
        self._in_trailers = False
        self._trailer_bytes = 0
        self._fields = 0
        self._payload: list[bytes] = []
        self._trailers = b""
        self.complete = body.kind is BodyKind.NONE or (
            body.kind is BodyKind.LENGTH and body.length == 0
        )

    @property
    def ends_with_connection(self) -> bool:
        """Whether only the end of the connection ends this body."""
        return self._kind is BodyKind.UNTIL_CLOSE

    def take(self, data: bytes) -> int:
        """How many of the first octets of `data` belong to this body.

        All earlier octets of the body must have been given before.  For a
        chunked body an incomplete framing line counts as taken.

        Raises:
            ClientProtocolError: or what `refuse` makes, on broken chunk framing.
        """
        if self.complete:
            return 0
        if self._kind is BodyKind.UNTIL_CLOSE:
            return len(data)
        if self._kind is BodyKind.LENGTH:
            taken = min(self._left, len(data))
            self._left -= taken
            self.complete = self._left == 0
            return taken
        return self._take_chunked(data)

    def feed(self, data: bytes) -> tuple[int, bytes]:
        """What `take` says, and the taken octets for h11: all complete data in one chunk.

        Raises:
            ClientProtocolError: as `take` does.
        """
        taken = self.take(data)
        if self._kind is not BodyKind.CHUNKED:
            return taken, data[:taken]
        payload = b"".join(self._payload)
        self._payload.clear()
        octets = b"%x\r\n%b\r\n" % (len(payload), payload) if payload else b""
        if self.complete:
            octets += b"0\r\n" + self._trailers + b"\r\n"
        return taken, octets

    def _take_chunked(self, data: bytes) -> int:
        position, end = 0, len(data)
        while position < end and not self.complete:
            if self._left:
                piece = data[position : position + self._left]
                self._payload.append(piece)
                self._left -= len(piece)
                self._needs_crlf = not self._left
                position += len(piece)
            elif self._line or self._needs_crlf or self._in_trailers:
                position = self._take_line(data, position)
            else:
                whole = self._take_whole_chunks(data, position)
                position = whole if whole > position else self._take_line(data, position)
        return position

    def _take_whole_chunks(self, data: bytes, position: int) -> int:
        """Takes the chunks that are all there, from size to CRLF; many small ones in little time."""
        while match := _CHUNK_LINE.match(data, position):
            begin = match.end()
            stop = begin + int(match[1], 16)
            if begin == stop or begin - position > MAX_CHUNK_LINE_BYTES:
                break
            if data[stop : stop + 2] != b"\r\n":
                break
            self._payload.append(data[begin:stop])
            position = stop + 2
        return position

    def _take_line(self, data: bytes, position: int) -> int:
        end = data.find(b"\n", position)
        stop = end + 1 if end >= 0 else len(data)
        self._line += data[position:stop]
        limit = _MAX_TRAILER_BYTES if self._in_trailers else MAX_CHUNK_LINE_BYTES
        if len(self._line) > limit:
            raise self._refuse("chunk line or trailer too long", 400, "T5")
        if end >= 0:
            line, self._line = self._line, b""
            self._accept_line(line)
        elif self._needs_crlf and self._line != b"\r":
            raise self._refuse("chunk data without its CRLF", 400, "T5")
        return stop

    def _accept_line(self, line: bytes) -> None:
        if self._needs_crlf:
            if line != b"\r\n":
                raise self._refuse("chunk data without its CRLF", 400, "T5")
            self._needs_crlf = False
        elif self._in_trailers:
            self._accept_trailer(line)
        else:
            match = _CHUNK_LINE.fullmatch(line)
            if match is None:
                raise self._refuse("malformed chunk size", 400, "T5")
            self._left = int(match[1], 16)
            self._in_trailers = self._left == 0

    def _accept_trailer(self, line: bytes) -> None:
        if line == b"\r\n":
            self.complete = True
            return
        self._fields += 1
        self._trailer_bytes += len(line)
        if self._fields > MAX_FIELDS or self._trailer_bytes > _MAX_TRAILER_BYTES:
            raise self._refuse("too many trailer fields", 431, "T5")
        if _TRAILER_LINE.fullmatch(line) is None:
            raise self._refuse("malformed trailer field", 400, "T5")
        self._trailers += line
