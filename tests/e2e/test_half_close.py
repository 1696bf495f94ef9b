"""Either end shuts down its sending direction early, and still gets everything it is owed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .observed import ObservedProxy
from .test_upgrade import REQUEST_FIELDS, SWITCHING
from .wire import RawOrigin, Wire, fields, read_chunked, start_line

BULK = bytes(range(256)) * 16 * 1024  # 4 MiB, more than the buffers on the way hold
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
Way = Callable[[ObservedProxy, RawOrigin], tuple[Wire, Wire]]


def open_tunnel(proxy: ObservedProxy, origin: RawOrigin) -> tuple[Wire, Wire]:
    """Both ends of a new CONNECT tunnel."""
    client = Wire.connect(proxy.port)
    authority = origin.authority.encode()
    client.send(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (authority, authority))
    assert client.read_head() == ESTABLISHED
    return client, origin.accept()


def open_websocket(proxy: ObservedProxy, origin: RawOrigin) -> tuple[Wire, Wire]:
    """Both ends of a new tunnel behind an absolute-form Upgrade."""
    client = Wire.connect(proxy.port)
    client.send(b"GET ws://%b/ HTTP/1.1\r\n" % origin.authority.encode() + REQUEST_FIELDS)
    upstream = origin.accept()
    upstream.read_head()
    upstream.send(SWITCHING)
    assert start_line(client.read_head()) == b"HTTP/1.1 101 Switching Protocols"
    return client, upstream


TUNNELS = pytest.mark.parametrize(
    ("way", "kind"),
    [
        pytest.param(open_tunnel, "connect", id="CONNECT"),
        pytest.param(open_websocket, "upgrade", id="Upgrade"),
    ],
)
SIZES = pytest.mark.parametrize(
    "payload", [pytest.param(b"ping", id="small"), pytest.param(BULK, id="4MiB")]
)


@TUNNELS
@SIZES
def test_a_client_that_ends_first_still_gets_the_answer(
    way: Way, kind: str, payload: bytes, origin: RawOrigin, proxy: ObservedProxy
) -> None:
    client, upstream = way(proxy, origin)
    with client, upstream:
        sending = client.send_aside(payload)
        assert upstream.read_exactly(len(payload)) == payload
        sending.join()
        client.half_close()
        assert upstream.read_to_end() == b""  # the end of the client's direction, no more
        answering = upstream.send_aside(payload * 2)
        assert client.read_exactly(2 * len(payload)) == payload * 2
        answering.join()
        assert client.is_quiet()
        upstream.half_close()
        assert client.read_to_end() == b""
        record = proxy.access(client=client.name)
    assert (record["kind"], record["closed_by"], record["reason"]) == (kind, "client", "eof")
    assert (record["bytes_up"], record["bytes_down"]) == (len(payload), 2 * len(payload))


@TUNNELS
@SIZES
def test_an_origin_that_ends_first_still_gets_the_rest(
    way: Way, kind: str, payload: bytes, origin: RawOrigin, proxy: ObservedProxy
) -> None:
    client, upstream = way(proxy, origin)
    with client, upstream:
        answering = upstream.send_aside(payload)
        assert client.read_exactly(len(payload)) == payload
        answering.join()
        upstream.half_close()
        assert client.read_to_end() == b""
        sending = client.send_aside(payload * 2)
        assert upstream.read_exactly(2 * len(payload)) == payload * 2
        sending.join()
        assert upstream.is_quiet()
        client.half_close()
        assert upstream.read_to_end() == b""
        record = proxy.access(client=client.name)
    assert (record["kind"], record["closed_by"], record["reason"]) == (kind, "upstream", "eof")
    assert (record["bytes_up"], record["bytes_down"]) == (2 * len(payload), len(payload))


def test_both_directions_of_a_tunnel_at_full_speed(origin: RawOrigin, proxy: ObservedProxy) -> None:
    client, upstream = open_tunnel(proxy, origin)
    with client, upstream:
        senders = [client.send_aside(BULK * 4), upstream.send_aside(BULK * 4)]
        for _ in range(16):
            part = len(BULK) // 4
            expected = BULK[:part]
            assert client.read_exactly(part) == expected
            assert upstream.read_exactly(part) == expected
        for sender in senders:
            sender.join()


def test_a_whole_conversation_in_the_same_write_as_the_connect(
    origin: RawOrigin, proxy: ObservedProxy
) -> None:
    authority = origin.authority.encode()
    with Wire.connect(proxy.port) as client:
        client.send(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\nearly" % (authority, authority))
        client.half_close()
        with origin.accept() as upstream:
            assert upstream.read_to_end() == b"early"
            upstream.send(b"answer")
        assert client.read_to_end() == ESTABLISHED + b"answer"
        record = proxy.access(client=client.name)
    assert (record["bytes_up"], record["bytes_down"]) == (5, 6)


@TUNNELS
def test_a_reset_by_the_client_reaches_the_origin(
    way: Way, kind: str, origin: RawOrigin, proxy: ObservedProxy
) -> None:
    client, upstream = way(proxy, origin)
    name = client.name
    with upstream:
        client.reset()
        with pytest.raises(ConnectionResetError):
            upstream.read_to_end()
    record = proxy.access(client=name)
    assert (record["kind"], record["closed_by"], record["reason"]) == (kind, "client", "reset")


@TUNNELS
def test_a_reset_by_the_origin_reaches_the_client(
    way: Way, kind: str, origin: RawOrigin, proxy: ObservedProxy
) -> None:
    client, upstream = way(proxy, origin)
    with client:
        upstream.reset()
        with pytest.raises(ConnectionResetError):
            client.read_to_end()
        record = proxy.access(client=client.name)
    assert (record["kind"], record["closed_by"], record["reason"]) == (kind, "upstream", "reset")


def test_a_client_that_ends_behind_its_get_still_gets_the_answer(
    origin: RawOrigin, proxy: ObservedProxy
) -> None:
    authority = origin.authority.encode()
    with Wire.connect(proxy.port) as client:
        client.send(b"GET http://%b/slow HTTP/1.1\r\nHost: %b\r\n\r\n" % (authority, authority))
        client.half_close()
        with origin.accept() as upstream:
            assert start_line(upstream.read_head()) == b"GET /slow HTTP/1.1"
            upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nfirst ")
            assert start_line(client.read_head()) == b"HTTP/1.1 200 OK"
            assert client.read_exactly(6) == b"first "
            upstream.send(b"later")
            assert client.read_to_end() == b"later"
        record = proxy.access(client=client.name)
    assert (record["status"], record["error"], record["bytes_down"]) == (200, None, 11)


def test_a_client_that_ends_behind_its_post_still_gets_the_answer(
    origin: RawOrigin, proxy: ObservedProxy
) -> None:
    authority = origin.authority.encode()
    with Wire.connect(proxy.port) as client:
        client.send(
            b"POST http://%b/ HTTP/1.1\r\nHost: %b\r\nContent-Length: 4\r\n\r\nbody"
            % (authority, authority)
        )
        client.half_close()
        with origin.accept() as upstream:
            upstream.read_head()
            assert upstream.read_exactly(4) == b"body"
            upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            assert client.read_to_end().endswith(b"\r\n\r\nok")


def test_a_body_that_the_client_cuts_short_is_never_completed(
    origin: RawOrigin, proxy: ObservedProxy
) -> None:
    authority = origin.authority.encode()
    with Wire.connect(proxy.port) as client:
        client.send(
            b"POST http://%b/ HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n"
            % (authority, authority)
        )
        with origin.accept() as upstream:
            upstream.read_head()
            assert upstream.read_until(b"body\r\n").endswith(b"4\r\nbody\r\n")
            client.half_close()
            try:
                assert upstream.read_to_end() == b""
            except ConnectionResetError:
                pass  # as good a sign that the body is not whole
        record = proxy.access(client=client.name)
    assert (record["closed_by"], record["bytes_up"]) == ("client", 4)


def test_an_answer_that_ends_with_the_connection_arrives_whole(
    origin: RawOrigin, proxy: ObservedProxy
) -> None:
    authority = origin.authority.encode()
    with Wire.connect(proxy.port) as client:
        client.send(b"GET http://%b/ HTTP/1.1\r\nHost: %b\r\n\r\n" % (authority, authority))
        with origin.accept() as upstream:
            upstream.read_head()
            upstream.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n")
            sending = upstream.send_aside(BULK)
            head = client.read_head()
            if fields(head).get(b"transfer-encoding") == b"chunked":
                body = read_chunked(client, until=len(BULK))
                sending.join()
                upstream.half_close()
                assert client.read_exactly(5) == b"0\r\n\r\n"
            else:
                body = client.read_exactly(len(BULK))
                sending.join()
                upstream.half_close()
                assert client.read_to_end() == b""
            assert body == BULK
        record = proxy.access(client=client.name)
    assert (record["status"], record["bytes_down"]) == (200, len(BULK))
