"""One hostile conversation, as data: what the client sends and what may come of it.

Markers in the octets to send, replaced for each run:

- ``@O@``: the origin's authority, ``127.0.0.1:PORT``; ``@P@``: its port alone.
- ``@S@``: the authority of the proxy's own listener; ``@SP@``: its port alone.
- ``@A@``: a Proxy-Authorization line, or nothing where the proxy asks for none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.support.rawnet import Behaviour

__all__ = [
    "GET",
    "Case",
    "aborted",
    "either",
    "fill",
    "head",
    "passed",
    "refused",
    "tunnelled",
]

GET = b"GET http://@O@/ HTTP/1.1\r\n@A@Host: @O@\r\n"
"""A good request but for its end: fields and the blank line follow."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is sent, and everything that may happen then.

    Attributes:
        name: unique within its row.
        row: of docs/security.md.
        send: pieces, each in a write of its own.
        answers: for every final response, in order, the statuses it may have.
        lines: method and target of the requests the origin must have received, in order;
            None when any number of them may have arrived, each of them safe.
        closes: the proxy ends the connection though the client has not.
        is_cut: the last request at the origin must be incomplete, and its connection over.
        may_be_silent: closing without any response is right too.
        has, lacks: octets, lower-case, that the origin must, must not have received.
        body: of the last request at the origin, decoded; None when it does not matter.
        tunnel: octets that must cross a tunnel unchanged and come back; None: no tunnel.
        classes: acceptable `class` of the access record; empty when it does not matter.
        behaviour: of the origin; None for the default.
        bytewise: also sent in segments of one octet.
    """

    name: str
    row: str
    send: tuple[bytes, ...]
    answers: tuple[frozenset[int], ...]
    lines: tuple[bytes, ...] | None = ()
    closes: bool = True
    is_cut: bool = False
    may_be_silent: bool = False
    has: tuple[bytes, ...] = ()
    lacks: tuple[bytes, ...] = ()
    body: bytes | None = None
    tunnel: bytes | None = None
    classes: frozenset[str] = frozenset()
    behaviour: Behaviour | None = None
    bytewise: bool = True

    @property
    def method(self) -> str:
        """Method of the first request, for reading its response."""
        return self.send[0].lstrip().split(b" ", 1)[0].decode("latin-1")

    @property
    def id(self) -> str:
        """Name for reports."""
        return f"{self.row} {self.name}"


def head(line: bytes, *fields: bytes) -> bytes:
    """A complete head: the request line, credentials, Host of the origin, and more fields."""
    lines = [b"Host: @O@", *fields]
    return line + b"\r\n@A@" + b"\r\n".join(lines) + b"\r\n\r\n"


def fill(data: bytes, marks: dict[bytes, bytes]) -> bytes:
    """Replaces the markers."""
    for mark, value in marks.items():
        data = data.replace(mark, value)
    return data


def _pieces(data: bytes | tuple[bytes, ...]) -> tuple[bytes, ...]:
    return data if isinstance(data, tuple) else (data,)


def _statuses(status: int | tuple[int, ...]) -> frozenset[int]:
    return frozenset(status if isinstance(status, tuple) else (status,))


def refused(
    row: str,
    name: str,
    data: bytes | tuple[bytes, ...],
    status: int | tuple[int, ...] = 400,
    *,
    classes: str | None = None,
    closes: bool = True,
) -> Case:
    """Must be answered once, and nothing of it may reach any origin.

    Args:
        row: the threat.
        name: of the case.
        data: what to send.
        status: what the answer may be.
        classes: rows the record may name, separated by spaces; `row` when None.
        closes: whether the proxy must close.
    """
    return Case(
        name,
        row,
        _pieces(data),
        (_statuses(status),),
        closes=closes,
        classes=frozenset((row if classes is None else classes).split()),
        bytewise=sum(map(len, _pieces(data))) < 2048,
    )


def passed(
    row: str,
    name: str,
    data: bytes | tuple[bytes, ...],
    *lines: bytes,
    body: bytes | None = None,
    has: tuple[bytes, ...] = (),
    lacks: tuple[bytes, ...] = (),
) -> Case:
    """Must be forwarded, every request of it answered 200 by the origin.

    Args:
        row: the threat.
        name: of the case.
        data: what to send.
        lines: method and target of each request as the origin must see it.
        body: of the last request.
        has: what the origin must have received, lower-case.
        lacks: what it must not have received, lower-case.
    """
    lines = lines or (b"GET /",)
    return Case(
        name,
        row,
        _pieces(data),
        (frozenset((200,)),) * len(lines),
        lines=lines,
        closes=False,
        body=body,
        has=has,
        lacks=lacks,
        bytewise=sum(map(len, _pieces(data))) < 2048,
    )


def either(
    row: str,
    name: str,
    data: bytes | tuple[bytes, ...],
    status: int | tuple[int, ...] = (200, 400),
    *,
    lacks: tuple[bytes, ...] = (),
) -> Case:
    """May be refused or forwarded, but in one answer and without a byte that is not safe."""
    return Case(
        name,
        row,
        _pieces(data),
        (_statuses(status),),
        lines=None,
        closes=False,
        lacks=lacks,
        bytewise=sum(map(len, _pieces(data))) < 2048,
    )


def aborted(
    row: str,
    name: str,
    data: bytes | tuple[bytes, ...],
    *,
    status: int | tuple[int, ...] = 400,
    closes: bool = True,
    may_be_silent: bool = False,
) -> Case:
    """The head was good and may have gone on; the body is not, and must never look complete.

    With `closes` false the client ends the connection itself, inside the message.
    """
    return Case(
        name,
        row,
        _pieces(data),
        (_statuses(status),),
        lines=None,
        closes=closes,
        is_cut=True,
        may_be_silent=may_be_silent,
        classes=frozenset((row,)),
        bytewise=sum(map(len, _pieces(data))) < 2048,
    )


def tunnelled(row: str, name: str, data: bytes | tuple[bytes, ...], payload: bytes = b"") -> Case:
    """A CONNECT that must succeed, and carry `payload` (the last octets sent) both ways."""
    case = passed(row, name, data)
    return replace(case, lines=(), tunnel=payload)
