"""The record of an opening."""

from __future__ import annotations

from tests.observe.hiding import Hider
from wsproxy.observe.opening import Opening, open_fields

OPENING = Opening(
    session="5f2c",
    client="192.0.2.1:5000",
    user="alice",
    host="example.com",
    port=80,
    url="ws://example.com/chat?token=1",
    rule="chat",
    mode="log",
    request=(("Host", "example.com"), ("Cookie", "a=b")),
    response=(("Upgrade", "websocket"),),
    subprotocol="chat",
    extensions="permessage-deflate",
)


class Cautious(Hider):
    """Hides cookies and queries."""

    def headers(self, headers: list[tuple[str, str]], /) -> list[tuple[str, str]]:
        return [(name, "***" if name == "Cookie" else value) for name, value in headers]

    def url(self, url: str, /) -> str:
        return url.partition("?")[0]


def test_an_opening_is_recorded_as_it_is() -> None:
    assert open_fields(OPENING, None) == {
        "client": "192.0.2.1:5000",
        "user": "alice",
        "host": "example.com",
        "port": 80,
        "url": "ws://example.com/chat?token=1",
        "rule": "chat",
        "mode": "log",
        "request": [("Host", "example.com"), ("Cookie", "a=b")],
        "response": [("Upgrade", "websocket")],
        "subprotocol": "chat",
        "extensions": "permessage-deflate",
    }


def test_headers_and_the_url_are_redacted() -> None:
    fields = open_fields(OPENING, Cautious())
    assert fields["url"] == "ws://example.com/chat"
    assert fields["request"] == [("Host", "example.com"), ("Cookie", "***")]
