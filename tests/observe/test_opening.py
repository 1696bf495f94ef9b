"""The record of a handshake."""

from __future__ import annotations

from tests.observe.talks import OPENING, Blotter
from wsproxy.observe.opening import open_fields


def test_all_of_a_handshake_is_recorded() -> None:
    fields = open_fields(OPENING, None)
    assert fields["url"] == "ws://chat.example/room?token=abc"
    assert fields["request"] == [("Cookie", "secret"), ("Origin", "http://page.example")]
    assert (fields["user"], fields["rule"], fields["mode"]) == ("alice", "chat", "log")
    assert (fields["subprotocol"], fields["extensions"]) == ("chat", None)


def test_but_for_what_is_secret() -> None:
    fields = open_fields(OPENING, Blotter())
    assert fields["url"] == "ws://chat.example/room"
    assert fields["request"] == [("Cookie", "<r>"), ("Origin", "http://page.example")]
