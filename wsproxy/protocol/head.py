"""Strict heads: which bytes may become a message head at all.

h11 is a good parser and a bad guard: it takes bare LF for a line end, joins
folded lines, accepts control bytes in values and any HTTP version.  Every such
leniency is a way for two parsers to disagree about one message, which is how
requests are smuggled.  So h11 never sees a head that this file has not passed,
and this file repairs nothing: what is odd is refused.

The one exception is a response's white space before a colon, which RFC 9112
§5.1 tells a proxy to remove, and its folded lines, which §5.2 lets it unfold.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from wsproxy.errors import ClientProtocolError, UpstreamProtocolError, WsproxyError
from wsproxy.model import Headers

__all__ = [
    "HEAD_END",
    "MAX_FIELDS",
    "MAX_HEAD_BYTES",
    "MAX_TARGET_BYTES",
    "HeadBuffer",
    "check_request_line",
    "check_status_line",
    "is_field_section",
    "is_plain_head",
    "refuse_request",
    "refuse_response",
    "split_head",
    "tidy_response_head",
]

HEAD_END = re.compile(rb"\n\r?\n")
"""Also with bare line feeds: a head that is over must not be waited for, whoever may refuse it."""

MAX_HEAD_BYTES = 64 * 1024
"""As Squid and g3proxy; a Kerberos token of Windows' MaxTokenSize (48,000 octets) in Base64 fits."""
MAX_FIELDS = 128
"""As `websockets`; h11 has no such limit of its own."""
MAX_TARGET_BYTES = 16 * 1024
"""Twice what RFC 9112 §3 recommends every recipient to support."""
_MAX_START_LINE_BYTES = MAX_TARGET_BYTES + 64

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_FIELD = rb"(?:" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)"
_FIELDS = re.compile(_FIELD + rb"*+\r\n")
_REQUEST_LINE = re.compile(_TOKEN + rb" [\x21-\x7e]++ HTTP/(\d\.\d)")
# All of that in one, for the head that comes in one piece and has nothing odd.
# Bounded so that its start line is never longer than `_MAX_START_LINE_BYTES`.
_WHOLE_REQUEST = re.compile(
    _TOKEN[:-2] + rb"{1,48}+ [\x21-\x7e]{1,16384}+ HTTP/1\.[01]\r\n" + _FIELD + rb"{0,128}+\r\n"
)
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-9]\d\d(?: [\t\x20-\x7e\x80-\xff]*+)?")
# Everything no head may contain: a line feed without its carriage return, a
# carriage return without its line feed (but one at the very end may still get
# it), and the control bytes other than HTAB.
_FORBIDDEN = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

Refuse = Callable[[str, int, str], WsproxyError]


def refuse_request(detail: str, status: int = 400, row: str = "T1") -> WsproxyError:
    """The error for a head that came from the client."""
    return ClientProtocolError(detail, status=status, row=row)


def refuse_response(detail: str, _status: int = 502, _row: str = "T19") -> WsproxyError:
    """The error for a head that came from upstream: always 502."""
    return UpstreamProtocolError(detail)


class HeadBuffer:
    """Collects bytes until one whole head is there, and gives up as early as it can.

    Args:
        check_start_line: called once with the first line, without its CRLF,
            as soon as that line is complete; raises when it is no good.
        refuse: makes the error that is raised for everything else.
    """

    __slots__ = (
        "_buffer",
        "_check_start_line",
        "_empty_line_seen",
        "_line_checked",
        "_lines",
        "_refuse",
        "_scanned",
    )

    def __init__(self, check_start_line: Callable[[bytes], None], refuse: Refuse) -> None:
        self._check_start_line = check_start_line
        self._refuse = refuse
        self._buffer = bytearray()
        self._scanned = 0
        self._lines = 0
        self._line_checked = False
        self._empty_line_seen = False

    def __len__(self) -> int:
        """Octets held."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Adds what was read; may be more than the head."""
        self._buffer += data

    def take_all(self) -> bytes:
        """Empties the buffer, whatever it holds."""
        data = bytes(self._buffer)
        self._reset(len(self._buffer))
        return data

    def take_head(self) -> bytes | None:
        """The head with its blank line, or None while it is not complete.

        What follows the head stays in the buffer.

        Raises:
            ClientProtocolError: or `UpstreamProtocolError`, as `refuse` makes
                it: this can not become an acceptable head any more.
        """
        buffer = self._buffer
        if not self._scanned and self._refuse is refuse_request:
            good = _WHOLE_REQUEST.match(buffer)
            if good is not None and good.end() <= MAX_HEAD_BYTES:
                head = bytes(good[0])
                self._reset(len(head))
                return head
        if not self._empty_line_seen and not self._line_checked and buffer.startswith(b"\r\n"):
            # RFC 9112 §2.2: a server "SHOULD ignore at least one empty line".
            del buffer[:2]
            self._scanned = 0
            self._empty_line_seen = True
        end = buffer.find(b"\r\n\r\n", max(0, self._scanned - 3))
        size = end + 4 if end >= 0 else len(buffer)
        self._check_bytes(size)
        self._check_first_line(size)
        if size > MAX_HEAD_BYTES:
            raise self._refuse(f"head larger than {MAX_HEAD_BYTES} octets", 431, "T3")
        # Counted before lines are unfolded, so that it does not matter in how
        # many pieces the head came; the blank line is one more.
        self._lines += buffer.count(b"\r\n", max(0, self._scanned - 1), size)
        if self._lines > MAX_FIELDS + (1 if end < 0 else 2):
            raise self._refuse(f"more than {MAX_FIELDS} fields", 431, "T3")
        if end < 0:
            self._scanned = size
            return None
        head = bytes(buffer[:size])
        self._reset(size)
        return head

    def _check_bytes(self, size: int) -> None:
        start = max(0, self._scanned - 1)
        found = _FORBIDDEN.search(self._buffer, start, size)
        if found is None:
            return
        octet = found.group()
        if octet == b"\n":
            raise self._refuse("bare LF as a line end", 400, "T1")
        if octet == b"\r":
            raise self._refuse("CR without LF", 400, "T1")
        row = "T2" if found.start() == 0 else "T1"
        raise self._refuse(f"control octet 0x{octet[0]:02x} in the head", 400, row)

    def _check_first_line(self, size: int) -> None:
        if self._line_checked:
            return
        end = self._buffer.find(b"\r\n", 0, size)
        if end < 0 and size < _MAX_START_LINE_BYTES + 2:
            return
        self._check_start_line(bytes(self._buffer[: end if end >= 0 else size]))
        self._line_checked = True

    def _reset(self, size: int) -> None:
        del self._buffer[:size]
        self._scanned = 0
        self._lines = 0
        self._line_checked = False
        self._empty_line_seen = False


def check_request_line(line: bytes) -> None:
    """Passes a request line of HTTP/1.0 or 1.1 (RFC 9112 §3); `line` has no CRLF.

    Raises:
        ClientProtocolError: 400, 414 (target too long) or 505 (another version).
    """
    if len(line) > _MAX_START_LINE_BYTES:
        raise refuse_request(f"request-target longer than {MAX_TARGET_BYTES} octets", 414, "T3")
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise refuse_request("malformed request line")
    if match[1] not in (b"1.1", b"1.0"):
        raise refuse_request(f"HTTP/{match[1].decode()} is not spoken here", 505, "T2")


def check_status_line(line: bytes) -> None:
    """Passes a status line of HTTP/1.0 or 1.1 (RFC 9112 §4); `line` has no CRLF.

    Raises:
        UpstreamProtocolError: anything else, HTTP/0.9 included.
    """
    if len(line) > _MAX_START_LINE_BYTES or _STATUS_LINE.fullmatch(line) is None:
        raise refuse_response("malformed status line")


def split_head(head: bytes, refuse: Refuse) -> tuple[bytes, Headers]:
    """The start line, and the field lines as name and value (RFC 9112 §5).

    Args:
        head: complete, with its blank line; the start line was checked.
        refuse: makes the error.

    Raises:
        ClientProtocolError: or what `refuse` makes: 400.
    """
    start = head.index(b"\r\n") + 2
    if not _FIELDS.fullmatch(head, start):
        raise _field_error(head[start:-4].split(b"\r\n"), refuse)
    lines = head[:-4].split(b"\r\n")
    fields = [line.split(b":", 1) for line in lines[1:]]
    return lines[0], tuple((name, value.strip(b" \t")) for name, value in fields)


def is_plain_head(head: bytes) -> bool:
    """Whether `head` is one whole request head as `HeadBuffer` takes it, without anything odd."""
    return len(head) <= MAX_HEAD_BYTES and _WHOLE_REQUEST.fullmatch(head) is not None


def is_field_section(section: bytes) -> bool:
    """Whether `section` is field lines and a blank line, by the grammar of `split_head`."""
    return _FIELDS.fullmatch(section) is not None


def _field_error(lines: list[bytes], refuse: Refuse) -> WsproxyError:
    for line in lines:
        if line[:1] in (b" ", b"\t"):
            return refuse("folded or indented field line", 400, "T1")
        name = line.partition(b":")[0]
        if name.rstrip(b" \t") != name:
            return refuse("white space before the colon of a field", 400, "T1")
    return refuse("malformed field line", 400, "T1")


_SPACE_BEFORE_COLON = re.compile(rb"(?<=\r\n)(" + _TOKEN + rb")[ \t]+:")
# White space before the line end stays: to look for it costs quadratic time.
_FOLD = re.compile(rb"\r\n[ \t]++")


def tidy_response_head(head: bytes) -> bytes:
    """Removes white space before colons (RFC 9112 §5.1) and unfolds lines (§5.2) of a response."""
    first_field = head.index(b"\r\n") + 2
    if head[first_field : first_field + 1] in (b" ", b"\t"):
        return head
    if b"\r\n " in head or b"\r\n\t" in head:
        head = _FOLD.sub(b" ", head)
    return _SPACE_BEFORE_COLON.sub(rb"\1:", head)
