"""What h11 gets to see of a head, and what becomes of what it wrote."""

from __future__ import annotations

import h11
import pytest

from wsproxy.protocol.abridge import abridged, abridged_head, completed

FIELDS = [
    (b"Host", b"origin.example"),
    (b"X-Words", b"many words here"),
    (b"content-LENGTH", b"5"),
    (b"Via", b"1.1 a"),
    (b"Connection", b"close"),
]


def test_h11_sees_only_what_settles_framing_and_manners() -> None:
    assert abridged(FIELDS) == [FIELDS[0], FIELDS[2], FIELDS[4]]


def test_a_received_head_is_read_by_h11_as_the_whole_one_would_be() -> None:
    head = abridged_head(b"POST http://origin.example/ HTTP/1.1", tuple(FIELDS))
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(head)
    parsed = reader.next_event()
    assert isinstance(parsed, h11.Request)
    assert (parsed.method, parsed.headers.raw_items()) == (b"POST", abridged(FIELDS))
    assert reader.next_event() is h11.NEED_DATA


def test_every_field_comes_back_in_its_place() -> None:
    written = (
        b"HTTP/1.1 200 OK\r\nHost: origin.example\r\ncontent-LENGTH: 5\r\nConnection: close\r\n\r\n"
    )
    assert completed(written, FIELDS) == (
        b"HTTP/1.1 200 OK\r\nHost: origin.example\r\nX-Words: many words here\r\n"
        b"content-LENGTH: 5\r\nVia: 1.1 a\r\nConnection: close\r\n\r\n"
    )


def test_what_h11_dropped_stays_out_and_what_it_added_comes_last() -> None:
    written = b"HTTP/1.1 200 \r\ntransfer-encoding: chunked\r\n\r\n"
    assert completed(written, FIELDS[1:4]) == (
        b"HTTP/1.1 200 \r\nX-Words: many words here\r\nVia: 1.1 a\r\ntransfer-encoding: chunked\r\n\r\n"
    )


@pytest.mark.parametrize(
    "field", [(b"X", b"a\r\nY: b"), (b"X", b"a\nb"), (b"X Y", b""), (b"X", b"\x00"), (b"", b"")]
)
def test_no_field_can_split_the_message(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="break the message"):
        completed(b"HTTP/1.1 200 \r\n\r\n", [field])
