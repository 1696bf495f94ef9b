"""What was agreed on when a WebSocket was opened, and its capture record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from wsproxy.observe.payloads import Redactor

__all__ = ["Opening", "open_fields"]


@dataclass(frozen=True, slots=True)
class Opening:
    """The handshake of a WebSocket and the decision about it.

    Every string can be written as UTF-8: octets of the wire are decoded as latin-1.

    Attributes:
        session: id, the same as in the access record.
        client: address and port.
        user: as authenticated.
        host: of the URL.
        port: of the URL.
        url: with its query.
        rule: name of the rule that decided.
        mode: how much is recorded, and whether message rules act.
        request: header fields of the request, in order.
        response: header fields of the 101, in order.
        subprotocol: as the 101 says.
        extensions: as the 101 says.
    """

    session: str
    client: str
    user: str | None
    host: str
    port: int
    url: str
    rule: str | None
    mode: Literal["metadata", "log", "enforce"]
    request: Sequence[tuple[str, str]] = ()
    response: Sequence[tuple[str, str]] = ()
    subprotocol: str | None = None
    extensions: str | None = None


def open_fields(opening: Opening, redactor: Redactor | None) -> dict[str, object]:
    """The fields of the capture record, after redaction."""
    url, request, response = opening.url, list(opening.request), list(opening.response)
    if redactor is not None:
        url = redactor.url(url)
        request, response = redactor.headers(request), redactor.headers(response)
    return {
        "client": opening.client,
        "user": opening.user,
        "host": opening.host,
        "port": opening.port,
        "url": url,
        "rule": opening.rule,
        "mode": opening.mode,
        "request": request,
        "response": response,
        "subprotocol": opening.subprotocol,
        "extensions": opening.extensions,
    }
