"""What is asked inside an intercepted tunnel."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wsproxy.errors import ClientProtocolError, Denied
from wsproxy.model import BodyKind, Host, ProxyRequest, RequestKind, Target
from wsproxy.protocol.authority import parse_host
from wsproxy.protocol.inside import check_host_inside, interpret_inside
from wsproxy.protocol.request import interpret_request

TUNNEL = Target("tcp", Host("origin.test"), 8443)
HANDSHAKE = (
    (b"Upgrade", b"websocket"),
    (b"Connection", b"Upgrade"),
    (b"Sec-WebSocket-Version", b"13"),
    (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
)


def asked(line: bytes, *fields: tuple[bytes, bytes], host: bytes = b"origin.test") -> ProxyRequest:
    return interpret_request(line, ((b"Host", host), *fields))


@pytest.mark.parametrize(
    "host", [b"origin.test", b"ORIGIN.test.", b"origin.test:8443", b"origin.test:9", b""]
)
def test_origin_form_goes_to_the_tunnels_target(host: bytes) -> None:
    request = interpret_inside(asked(b"GET /a?b HTTP/1.1", host=host), TUNNEL)
    check_host_inside(request, TUNNEL)
    assert request.kind is RequestKind.FORWARD
    assert str(request.target) == "https://origin.test:8443/a?b"


def test_without_host_in_http_1_0() -> None:
    request = interpret_inside(interpret_request(b"GET / HTTP/1.0", ()), TUNNEL)
    assert str(request.target) == "https://origin.test:8443/"


def test_options_of_the_server_itself() -> None:
    request = interpret_inside(asked(b"OPTIONS * HTTP/1.1"), TUNNEL)
    assert request.target.path == b"*"


def test_a_handshake_is_wss() -> None:
    request = interpret_inside(asked(b"GET /chat HTTP/1.1", *HANDSHAKE), TUNNEL)
    assert (request.kind, request.body.kind) == (RequestKind.UPGRADE, BodyKind.NONE)
    assert str(request.target) == "wss://origin.test:8443/chat"


def test_an_incomplete_handshake_is_refused() -> None:
    with pytest.raises(ClientProtocolError, match="Sec-WebSocket-Key"):
        interpret_inside(asked(b"GET / HTTP/1.1", *HANDSHAKE[:-1]), TUNNEL)


def test_http_1_0_upgrades_to_nothing() -> None:
    request = asked(b"GET / HTTP/1.0", *HANDSHAKE)
    assert interpret_inside(request, TUNNEL).kind is RequestKind.FORWARD


@pytest.mark.parametrize("host", [b"other.test", b"origin.test.evil", b"192.0.2.1", b"[::1]"])
def test_another_host_is_fronting(host: bytes) -> None:
    with pytest.raises(Denied) as caught:
        check_host_inside(asked(b"GET / HTTP/1.1", host=host), TUNNEL)
    assert caught.value.rule == "host-mismatch"


def test_an_address_is_compared_as_an_address() -> None:
    tunnel = replace(TUNNEL, host=parse_host(b"[::1]"))
    check_host_inside(asked(b"GET / HTTP/1.1", host=b"[0:0::1]"), tunnel)


@pytest.mark.parametrize(
    "line", [b"GET http://origin.test/ HTTP/1.1", b"CONNECT origin.test:443 HTTP/1.1"]
)
def test_other_forms_of_target_are_refused(line: bytes) -> None:
    with pytest.raises(ClientProtocolError, match="origin-form"):
        interpret_inside(asked(line), TUNNEL)
