"""From a response head to a `Response`: how it goes on, and whether it may."""

from __future__ import annotations

from dataclasses import dataclass

from wsproxy.errors import UpstreamProtocolError
from wsproxy.model import Body, BodyKind, Headers
from wsproxy.protocol.fields import (
    content_length,
    framing,
    has_token,
    transfer_codings,
    values,
)
from wsproxy.protocol.head import refuse_response

__all__ = ["Response", "announced_framing", "interpret_response"]


@dataclass(frozen=True, slots=True)
class Response:
    """One vetted response head.

    Attributes:
        status: 100 … 999; codes without a meaning pass, as some sites use them.
        reason: the reason phrase, maybe empty.
        version: ``1.0`` or ``1.1``.
        headers: every field line, in order.
        body: framing of the response's body.
        keep_alive: whether the connection may be used again after it.
    """

    status: int
    reason: bytes
    version: str
    headers: Headers
    body: Body
    keep_alive: bool

    @property
    def is_interim(self) -> bool:
        """A 1xx other than 101: another response follows (RFC 9110 §15.2)."""
        return self.status < 200 and self.status != 101


def interpret_response(line: bytes, headers: Headers, method: str) -> Response:
    """What upstream answers to a request with `method`.

    Args:
        line: a status line that has passed `wsproxy.protocol.head`.
        headers: the field lines, from `split_head`.
        method: of the request.

    Raises:
        UpstreamProtocolError: framing, status or version that cannot be relayed.
    """
    raw_version, raw_status, *reason = line.split(b" ", 2)
    version = "1.1" if raw_version == b"HTTP/1.1" else "1.0"
    status = int(raw_status)
    body = _read_framing(headers, version, status, method)
    persistent = version == "1.1" and not has_token(headers, b"connection", b"close")
    return Response(
        status=status,
        reason=reason[0] if reason else b"",
        version=version,
        headers=headers,
        body=body,
        keep_alive=persistent and body.kind is not BodyKind.UNTIL_CLOSE,
    )


def _read_framing(headers: Headers, version: str, status: int, method: str) -> Body:
    """RFC 9112 §6.3, in its order; what is ambiguous there is refused here."""
    codings = transfer_codings(headers)
    has_coding = bool(values(headers, b"transfer-encoding"))
    length = content_length(headers, refuse_response, row="T19")
    if has_coding and version == "1.0":
        raise UpstreamProtocolError("Transfer-Encoding in HTTP/1.0")
    if has_coding and length is not None:
        raise UpstreamProtocolError("Transfer-Encoding together with Content-Length")
    if has_coding and codings != [b"chunked"]:
        raise UpstreamProtocolError("Transfer-Encoding other than chunked")
    if method == "HEAD" or status in (204, 304) or status < 200:
        return Body(BodyKind.NONE)
    if has_coding:
        return Body(BodyKind.CHUNKED)
    if length is not None:
        return Body(BodyKind.LENGTH, length)
    return Body(BodyKind.UNTIL_CLOSE)


def announced_framing(response: Response, method: str) -> list[tuple[bytes, bytes]]:
    """The framing field for the client, written by us like every other.

    The answer to HEAD and a 304 have no body, but may say how long it would be
    (RFC 9110 §8.6); a 204 must not.  `method` is the request's.
    """
    describes = response.status == 304 or (method == "HEAD" and response.status != 204)
    if response.body.kind is not BodyKind.NONE or not describes:
        return framing(response.body)
    length = content_length(response.headers, refuse_response, row="T19")
    return [] if length is None else framing(Body(BodyKind.LENGTH, length))
