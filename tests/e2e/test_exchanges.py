"""What a patient observer sees on both wires: framing, timing and who shares what."""

from __future__ import annotations

import pytest

from .observed import ALICE, ObservedProxy
from .wire import RawOrigin, Wire, fields, read_chunked, start_line

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def request(origin: RawOrigin, *, path: str = "/", method: str = "GET", more: str = "") -> bytes:
    """A request head in absolute form; `more` is further field lines."""
    lines = [
        f"{method} http://{origin.authority}{path} HTTP/1.1",
        f"Host: {origin.authority}",
        *more.splitlines(),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(client: Wire) -> bytes:
    """The status line of the next response, whose body must be ``ok``."""
    head = client.read_head()
    assert client.read_exactly(2) == b"ok"
    return start_line(head)


def test_requests_on_one_client_connection_share_one_upstream_connection(
    origin: RawOrigin, proxy: ObservedProxy
) -> None:
    with Wire.connect(proxy.port) as client:
        client.send(request(origin, path="/0"))
        with origin.accept() as upstream:
            for number in range(4):
                if number:
                    client.send(request(origin, path=f"/{number}"))
                line = f"GET /{number} HTTP/1.1".encode()
                assert start_line(upstream.read_head()) == line
                upstream.send(OK)
                assert answer(client) == b"HTTP/1.1 200 OK"
        assert not origin.has_waiting()
    for number in range(4):
        record = proxy.access(
            client=client.name, target=f"http://{origin.authority}/{number}", status=200
        )
        assert record["bytes_down"] == 2


def test_pipelined_requests_are_answered_in_order(origin: RawOrigin, proxy: ObservedProxy) -> None:
    with Wire.connect(proxy.port) as client:
        client.send(b"".join(request(origin, path=f"/{number}") for number in range(5)))
        with origin.accept() as upstream:
            for number in range(5):
                line = f"GET /{number} HTTP/1.1".encode()
                assert start_line(upstream.read_head()) == line
                upstream.send(b"HTTP/1.1 200 %d\r\nContent-Length: 2\r\n\r\nok" % number)
            for number in range(5):
                assert answer(client) == b"HTTP/1.1 200 %d" % number


def test_two_clients_never_share_an_upstream_connection(
    origin: RawOrigin, proxy: ObservedProxy
) -> None:
    challenge = (
        b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM TlRMTVNTUAACAAAA\r\n"
        b"Content-Length: 2\r\n\r\nok"
    )
    with Wire.connect(proxy.port) as first, Wire.connect(proxy.port) as second:
        first.send(request(origin, path="/first", more="Authorization: NTLM leg1"))
        with origin.accept() as of_first:
            of_first.read_head()
            of_first.send(challenge)
            assert answer(first) == b"HTTP/1.1 401 Unauthorized"
            # An idle, reusable upstream connection exists now; it belongs to the first client.
            second.send(request(origin, path="/second", more="Authorization: NTLM leg1"))
            with origin.accept() as of_second:
                assert start_line(of_second.read_head()) == b"GET /second HTTP/1.1"
                of_second.send(challenge)
                assert answer(second) == b"HTTP/1.1 401 Unauthorized"
                for client, upstream in ((first, of_first), (second, of_second)):
                    client.send(request(origin, path="/leg3", more="Authorization: NTLM leg3"))
                    arrived = fields(upstream.read_head())
                    assert arrived[b"authorization"] == b"NTLM leg3"
                    upstream.send(OK)
                    assert answer(client) == b"HTTP/1.1 200 OK"
        assert not origin.has_waiting()


def test_an_upstream_connection_that_the_origin_ends_is_replaced(
    origin: RawOrigin, proxy: ObservedProxy
) -> None:
    with Wire.connect(proxy.port) as client:
        for number in range(2):
            client.send(request(origin, path=f"/{number}"))
            with origin.accept() as upstream:
                upstream.read_head()
                upstream.send(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert answer(client) == b"HTTP/1.1 200 OK"


def test_a_get_is_repeated_when_the_origin_just_ended_the_idle_connection(
    origin: RawOrigin, proxy: ObservedProxy
) -> None:
    with Wire.connect(proxy.port) as client:
        client.send(request(origin, path="/0"))
        with origin.accept() as first:
            first.read_head()
            first.send(OK)
            assert answer(client) == b"HTTP/1.1 200 OK"
            client.send(request(origin, path="/1"))
            first.read_head()
        with origin.accept() as second:
            assert start_line(second.read_head()) == b"GET /1 HTTP/1.1"
            second.send(OK)
            assert answer(client) == b"HTTP/1.1 200 OK"
        record = proxy.access(client=client.name, target=f"http://{origin.authority}/1")
    assert (record["status"], record["error"], record["bytes_down"]) == (200, None, 2)


def test_a_post_is_never_repeated(origin: RawOrigin, proxy: ObservedProxy) -> None:
    with Wire.connect(proxy.port) as client:
        client.send(request(origin, path="/0"))
        with origin.accept() as first:
            first.read_head()
            first.send(OK)
            assert answer(client) == b"HTTP/1.1 200 OK"
            client.send(request(origin, method="POST", more="Content-Length: 4") + b"body")
            first.read_head()
            assert first.read_exactly(4) == b"body"
        assert start_line(client.read_head())[:12] == b"HTTP/1.1 502"
        assert not origin.has_waiting()
        record = proxy.access(client=client.name, method="POST")
    assert (record["status"], record["error"]) == (502, "connection_terminated")
    assert (record["closed_by"], record["bytes_up"]) == ("upstream", 4)


def test_a_client_that_asks_to_close_is_closed_after_the_answer(
    origin: RawOrigin, proxy: ObservedProxy
) -> None:
    with Wire.connect(proxy.port) as client:
        client.send(request(origin, more="Connection: close"))
        with origin.accept() as upstream:
            upstream.read_head()
            upstream.send(OK)
            head = client.read_head()
            assert fields(head)[b"connection"].lower() == b"close"
            assert client.read_to_end() == b"ok"


def test_an_http_1_0_client_gets_one_answer_and_the_end(
    origin: RawOrigin, proxy: ObservedProxy
) -> None:
    with Wire.connect(proxy.port) as client:
        client.send(
            f"GET http://{origin.authority}/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".encode()
        )
        with origin.accept() as upstream:
            head = upstream.read_head()
            assert start_line(head) == b"GET / HTTP/1.1"
            assert fields(head)[b"host"] == origin.authority.encode()
            # No 1xx for an HTTP/1.0 client (RFC 9110 §15.2).
            upstream.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
            assert start_line(client.read_head()) == b"HTTP/1.1 200 OK"
            assert client.read_to_end() == b"ok"


def test_trailers_pass_in_both_directions(origin: RawOrigin, proxy: ObservedProxy) -> None:
    with Wire.connect(proxy.port) as client:
        framing = "Transfer-Encoding: chunked\nTrailer: X-Digest\nTE: trailers"
        client.send(request(origin, method="POST", more=framing))
        client.send(b"5\r\nhello\r\n0\r\nX-Digest: up\r\n\r\n")
        with origin.accept() as upstream:
            assert fields(upstream.read_head())[b"transfer-encoding"] == b"chunked"
            assert upstream.read_until(b"up\r\n\r\n") == b"5\r\nhello\r\n0\r\nX-Digest: up\r\n\r\n"
            upstream.send(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Digest\r\n\r\n"
                b"3\r\nbye\r\n0\r\nX-Digest: down\r\n\r\n"
            )
            assert fields(client.read_head())[b"transfer-encoding"] == b"chunked"
            got = client.read_until(b"down\r\n\r\n")
            assert got == b"3\r\nbye\r\n0\r\nX-Digest: down\r\n\r\n"
        record = proxy.access(client=client.name)
    assert (record["bytes_up"], record["bytes_down"]) == (5, 3)


@pytest.mark.parametrize(
    "framing", ["Content-Length: 67108864", "Transfer-Encoding: chunked"], ids=["length", "chunked"]
)
def test_an_early_answer_reaches_a_client_that_is_still_uploading(
    framing: str, origin: RawOrigin, proxy: ObservedProxy
) -> None:
    block = b"x" * 1024 * 1024
    body = block * 64
    if framing.startswith("T"):
        body = (b"%x\r\n%b\r\n" % (len(block), block)) * 64 + b"0\r\n\r\n"
    with Wire.connect(proxy.port) as client:
        client.send(request(origin, method="POST", more=framing))
        client.send_aside(body)
        with origin.accept() as upstream:
            upstream.read_head()
            # The body is never read: only an answer that overtakes it ends the exchange.
            upstream.send(
                b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n"
                b"Content-Length: 7\r\n\r\ntoo big"
            )
            assert start_line(client.read_head()) == b"HTTP/1.1 413 Content Too Large"
            assert client.read_exactly(7) == b"too big"
            record = proxy.access(client=client.name)
    assert (record["status"], record["bytes_down"]) == (413, 7)
    assert record["bytes_up"] < 64 * len(block)


def test_expect_waits_for_the_origins_100(origin: RawOrigin, proxy: ObservedProxy) -> None:
    with Wire.connect(proxy.port) as client:
        client.send(request(origin, method="PUT", more="Content-Length: 4\nExpect: 100-continue"))
        with origin.accept() as upstream:
            assert fields(upstream.read_head())[b"expect"] == b"100-continue"
            assert client.is_quiet()  # the 100 is the origin's to say
            upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert start_line(client.read_head()) == b"HTTP/1.1 100 Continue"
            client.send(b"body")
            assert upstream.read_exactly(4) == b"body"
            upstream.send(OK)
            assert answer(client) == b"HTTP/1.1 200 OK"
            # The exchange was clean, so the same pair of connections serves the next one.
            client.send(request(origin, path="/next"))
            assert start_line(upstream.read_head()) == b"GET /next HTTP/1.1"


def test_expect_and_an_origin_that_answers_without_100(
    origin: RawOrigin, proxy: ObservedProxy
) -> None:
    with Wire.connect(proxy.port) as client:
        client.send(request(origin, method="PUT", more="Content-Length: 4\nExpect: 100-continue"))
        with origin.accept() as upstream:
            upstream.read_head()
            upstream.send(
                b"HTTP/1.1 417 Expectation Failed\r\nConnection: close\r\n"
                b"Content-Length: 2\r\n\r\nok"
            )
            assert answer(client) == b"HTTP/1.1 417 Expectation Failed"
        assert proxy.access(client=client.name)["bytes_up"] == 0


def test_a_client_that_does_not_wait_for_the_100_is_served(
    origin: RawOrigin, proxy: ObservedProxy
) -> None:
    with Wire.connect(proxy.port) as client:
        head = request(origin, method="PUT", more="Content-Length: 4\nExpect: 100-continue")
        client.send(head + b"body")
        with origin.accept() as upstream:
            upstream.read_head()
            assert upstream.read_exactly(4) == b"body"
            upstream.send(OK)
            assert answer(client) == b"HTTP/1.1 200 OK"
        assert proxy.access(client=client.name)["bytes_up"] == 4


def test_early_hints_arrive_before_the_answer_exists(
    origin: RawOrigin, proxy: ObservedProxy
) -> None:
    with Wire.connect(proxy.port) as client:
        client.send(request(origin))
        with origin.accept() as upstream:
            upstream.read_head()
            for name in (b"</style.css>", b"</script.js>"):
                upstream.send(b"HTTP/1.1 103 Early Hints\r\nLink: %b\r\n\r\n" % name)
                hints = client.read_head()
                assert start_line(hints) == b"HTTP/1.1 103 Early Hints"
                assert fields(hints)[b"link"] == name
            upstream.send(OK)
            assert answer(client) == b"HTTP/1.1 200 OK"
        assert proxy.access(client=client.name)["status"] == 200


def test_every_event_of_a_stream_arrives_when_it_is_sent(
    origin: RawOrigin, proxy: ObservedProxy
) -> None:
    with Wire.connect(proxy.port) as client:
        client.send(request(origin, more="Accept: text/event-stream"))
        with origin.accept() as upstream:
            upstream.read_head()
            upstream.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
            assert start_line(client.read_head()) == b"HTTP/1.1 200 OK"
            for number in range(3):
                event = b"data: %d\n\n" % number
                upstream.send(b"%x\r\n%b\r\n" % (len(event), event))
                assert read_chunked(client, until=len(event)) == event
            upstream.send(b"0\r\n\r\n")
            assert client.read_exactly(5) == b"0\r\n\r\n"


def test_every_piece_of_an_upload_arrives_when_it_is_sent(
    origin: RawOrigin, proxy: ObservedProxy
) -> None:
    with Wire.connect(proxy.port) as client:
        client.send(request(origin, method="POST", more="Transfer-Encoding: chunked"))
        with origin.accept() as upstream:
            upstream.read_head()
            for number in range(3):
                piece = b"piece %d" % number
                client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
                assert read_chunked(upstream, until=len(piece)) == piece
            client.send(b"0\r\n\r\n")
            assert upstream.read_exactly(5) == b"0\r\n\r\n"
            upstream.send(OK)
            assert answer(client) == b"HTTP/1.1 200 OK"


def test_an_answer_that_breaks_off_is_never_completed(
    origin: RawOrigin, proxy: ObservedProxy
) -> None:
    with Wire.connect(proxy.port) as client:
        client.send(request(origin))
        with origin.accept() as upstream:
            upstream.read_head()
            upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
            assert start_line(client.read_head()) == b"HTTP/1.1 200 OK"
            assert client.read_exactly(9) == b"4\r\nhalf\r\n"
        try:
            assert client.read_to_end() == b""
        except ConnectionResetError:
            pass  # as good a sign that the answer is not whole
        record = proxy.access(client=client.name)
    assert (record["status"], record["error"]) == (200, "connection_terminated")
    assert (record["closed_by"], record["bytes_down"]) == ("upstream", 4)


def test_a_challenge_is_read_even_by_a_client_that_sends_its_whole_body_first(
    origin: RawOrigin, secured: ObservedProxy
) -> None:
    body = b"x" * 1024 * 1024
    with Wire.connect(secured.port) as client:
        client.send(request(origin, method="POST", more=f"Content-Length: {len(body)}") + body)
        head = client.read_head()
        assert start_line(head) == b"HTTP/1.1 407 Proxy Authentication Required"
        page = client.read_exactly(int(fields(head)[b"content-length"]))
        first = secured.access(client=client.name)
        assert first["id"].encode() in page
        assert first["status"] == 407
        # .NET and the JDK answer the challenge on the same connection.
        basic = ALICE.basic()
        client.send(
            request(
                origin,
                method="POST",
                more=f"Content-Length: {len(body)}\nProxy-Authorization: {basic}",
            )
            + body
        )
        with origin.accept() as upstream:
            assert b"proxy-authorization" not in fields(upstream.read_head())
            assert upstream.read_exactly(len(body)) == body
            upstream.send(OK)
            assert answer(client) == b"HTTP/1.1 200 OK"
        assert secured.access(client=client.name, status=200)["user"] == "alice"


def test_a_refused_tunnel_is_one_write_with_its_page_and_then_the_end(
    origin: RawOrigin, secured: ObservedProxy
) -> None:
    with Wire.connect(secured.port) as client:
        authority = origin.authority.encode()
        optimistic = b"GET /never HTTP/1.1\r\n\r\n"
        client.send(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (authority, authority))
        client.send(optimistic)
        head, _, page = client.read_to_end().partition(b"\r\n\r\n")
        told = fields(head + b"\r\n\r\n")
        assert start_line(head) == b"HTTP/1.1 407 Proxy Authentication Required"
        assert told[b"connection"].lower() == b"close"
        assert int(told[b"content-length"]) == len(page)
        assert secured.access(client=client.name)["status"] == 407
    assert not origin.has_waiting()
