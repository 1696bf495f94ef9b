r"""Long lists of names, such as block lists, a million and more in one file.

Theory of operation.  A `frozenset` of a million names takes some 150 MB, most of it the
heads of a million objects.  Here all names are one text, ``\nads.example\nbad.example\n…``,
ordered by their hash; a table says where in it the names of each bucket begin.  To look a
name up is to hash it and to search for ``\nNAME\n`` between two places that are a few dozen
octets apart, which is as quick as the set and takes 20 octets a name.  `hash` is keyed anew
in every process (PEP 456), so nobody can write a list whose names share a bucket.

A name in a list covers its subdomains, so a host is looked up once for each of its labels.
"""

from __future__ import annotations

import io
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

from wsproxy.errors import ClientProtocolError, ConfigError
from wsproxy.model import Host
from wsproxy.protocol.authority import parse_host

__all__ = ["MAX_LIST_BYTES", "NameList", "parse_names"]

MAX_LIST_BYTES = 256 * 1024 * 1024
"""Some twelve million names; a bound against pointing the key at the wrong file."""

# Names that need no second look; `parse_host` has the last word on all others.
_PLAIN = re.compile(
    rb"(?=.{1,253}\n)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+"
    rb"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?\n",
    re.IGNORECASE,
)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MAX_QUOTED = 60


@dataclass(frozen=True, slots=True, eq=False)
class NameList:
    r"""A set of names and all their subdomains; `host in names`.  Build it with `parse_names`.

    Attributes:
        text: ``\n``, then every name and ``\n``, the names of a bucket together.
        starts: where the names of each bucket begin; the last entry is the end of `text`.
        count: number of names.
    """

    text: bytes = field(repr=False)
    starts: array[int] = field(repr=False)
    count: int

    def __contains__(self, host: Host) -> bool:
        """Whether `host` or a domain above it is in the list; an address never is."""
        if host.address is not None:
            return False
        text, starts = self.text, self.starts
        mask = len(starts) - 2
        tail = host.text.encode("ascii") + b"\n"
        while tail:
            bucket = hash(tail) & mask
            begin, end = starts[bucket], starts[bucket + 1]
            if begin != end and text.find(b"\n" + tail, begin - 1, end) >= 0:
                return True
            tail = tail.partition(b".")[2]
        return False

    def __len__(self) -> int:
        """Number of names."""
        return self.count

    def __iter__(self) -> Iterator[str]:
        """The names, in no order."""
        return iter(self.text[1:-1].decode("ascii").split("\n"))


def parse_names(data: bytes, file: str) -> NameList:
    """The names in `data`, the content of the list named `file`.

    One name a line, lines ending in LF or CRLF; ``#`` begins a comment.  Case and one
    trailing dot do not matter.

    Raises:
        ConfigError: with its line, what is no name: an address, a pattern, a line of two
            words, a name that is not written in A-labels; a list without names; one
            larger than `MAX_LIST_BYTES`.
    """
    if len(data) > MAX_LIST_BYTES:
        raise ConfigError("the list is larger than 256 MiB", file=file)
    lines, count = io.BytesIO(), 0
    for number, line in enumerate(io.BytesIO(data.removeprefix(_BYTE_ORDER_MARK)), 1):
        if _PLAIN.fullmatch(line):
            lines.write(line.lower())
        elif written := line.partition(b"#")[0].strip():
            try:
                lines.write(_parse_name(written).lower())
            except ValueError as error:
                raise ConfigError(str(error), file=file, line=number, column=1) from None
        else:
            continue
        count += 1
    if not count:
        raise ConfigError("there are no names in the list", file=file)
    return _arrange(lines, count)


def _arrange(lines: io.BytesIO, count: int) -> NameList:
    """Put `count` lines, each one a name and its line feed, in the order of their buckets."""
    buckets = 1 << (count.bit_length() - 1)  # one or two names in each
    mask = buckets - 1
    starts = array("I", bytes(4 * (buckets + 1)))
    lines.seek(0)
    for line in lines:
        starts[hash(line) & mask] += len(line)
    begin = 1
    for bucket, size in enumerate(starts):
        starts[bucket] = begin
        begin += size
    free = starts[:]
    text = bytearray(begin)
    text[0] = ord("\n")
    lines.seek(0)
    for line in lines:
        bucket = hash(line) & mask
        at = free[bucket]
        free[bucket] = end = at + len(line)
        text[at:end] = line
    lines.close()  # before the last copy
    return NameList(bytes(text), starts, count)


def _parse_name(written: bytes) -> bytes:
    """One line's name, with its line feed.

    Raises:
        ValueError: it is none; a sentence that says what to write instead.
    """
    if _PLAIN.fullmatch(written + b"\n"):
        return written + b"\n"
    shown = repr(written[:_MAX_QUOTED].decode("utf-8", "replace"))
    if written.startswith((b"*.", b".")):
        raise ValueError(f"{shown}: write the name alone, it covers its subdomains")
    if len(written.split()) > 1:
        raise ValueError(f"{shown}: write one name a line and nothing else")
    if not written.isascii():
        raise ValueError(f"{shown}: write it in A-labels (xn--…){_a_labels(written)}")
    try:
        host = parse_host(written)
    except ClientProtocolError as error:
        raise ValueError(f"{shown} is not a host name: {error.detail}") from None
    if host.address is not None:
        raise ValueError(f"{shown}: addresses and networks stand under 'hosts', not in a list")
    return host.text.encode("ascii") + b"\n"


def _a_labels(written: bytes) -> str:
    """The right spelling, where the codec, which knows IDNA 2003 only, finds it."""
    try:
        return f", as {written.decode('utf-8').encode('idna').decode('ascii').lower()!r}"
    except UnicodeError:
        return ""
