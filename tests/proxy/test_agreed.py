"""What a handshake offers and agrees on."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from tests.proxy.inspected import ACCEPT, KEY, handshake
from wsproxy.errors import UpstreamProtocolError
from wsproxy.model import Headers, Host, Identity, Peer, ProxyRequest, RequestKind, Target
from wsproxy.observe.exchange import Exchange
from wsproxy.protocol.head import refuse_request, split_head
from wsproxy.protocol.request import interpret_request
from wsproxy.proxy.agreed import agreed_on, limited_fields, limited_offer
from wsproxy.proxy.plans import Plan

SWITCH: Headers = (
    (b"Upgrade", b"websocket"),
    (b"Connection", b"Upgrade"),
    (b"Sec-WebSocket-Accept", ACCEPT),
)
OFFER = (b"sec-websocket-extensions", b"permessage-deflate")


def request() -> ProxyRequest:
    line, headers = split_head(
        handshake(more=b"Sec-WebSocket-Protocol: chat, v2\r\n"), refuse_request
    )
    read = interpret_request(line, headers)
    target = Target("ws", Host("origin.test"), 80, b"/chat?t=1")
    return ProxyRequest(
        RequestKind.UPGRADE, "GET", target, "1.1", headers, read.body, keep_alive=True
    )


def exchange() -> Exchange:
    one = Exchange(Peer(ip_address("192.0.2.7"), 5000), 0.0)
    one.identify(Identity("alice"))
    one.rule = "seen"
    return one


def test_all_of_it_is_noted() -> None:
    headers = (*SWITCH, (b"Sec-WebSocket-Protocol", b"chat"), OFFER)
    opening, agreement, labeller = agreed_on(exchange(), request(), headers, Plan("log"))
    assert (opening.url, opening.host, opening.port) == (
        "ws://origin.test:80/chat?t=1",
        "origin.test",
        80,
    )
    assert (opening.user, opening.rule, opening.mode) == ("alice", "seen", "log")
    assert (opening.subprotocol, opening.extensions) == ("chat", "permessage-deflate")
    assert ("Sec-WebSocket-Key", KEY.decode()) in opening.request
    assert agreement.compression is not None
    assert labeller.label is None


def test_without_subprotocol_and_extensions() -> None:
    opening, agreement, _labeller = agreed_on(exchange(), request(), SWITCH, Plan("enforce"))
    assert (opening.subprotocol, opening.extensions) == (None, None)
    assert agreement == (None, ())


@pytest.mark.parametrize(
    ("headers", "plan", "detail"),
    [
        (SWITCH[1:], Plan(), "without Upgrade"),
        (SWITCH[:2], Plan(), "does not fit the key"),
        ((*SWITCH, (OFFER[0], b"a b")), Plan("enforce"), "odd extensions"),
        ((*SWITCH, OFFER), Plan("enforce", extensions="strip"), "was not offered"),
        ((*SWITCH, (OFFER[0], b"x-a, x-b")), Plan("enforce"), "cannot be judged: x-a, x-b"),
    ],
)
def test_what_is_no_switch_or_cannot_be_enforced(headers: Headers, plan: Plan, detail: str) -> None:
    with pytest.raises(UpstreamProtocolError, match=detail):
        agreed_on(exchange(), request(), headers, plan)


def test_an_unknown_extension_does_not_matter_where_nothing_is_enforced() -> None:
    for said in (b"x-a", b"a b"):
        headers = (*SWITCH, (OFFER[0], said))
        agreed = agreed_on(exchange(), request(), headers, Plan("log"))
        assert agreed.agreement == (None, (said.decode(),))


def test_fields_keep_their_places_but_for_the_offer() -> None:
    fields = [(b"A", b"1"), OFFER, (b"B", b"2")]
    assert limited_fields(fields, "keep") is fields
    assert limited_fields(fields[:1], "strip") == fields[:1]
    assert limited_fields(fields, "strip") == [(b"A", b"1"), (b"B", b"2")]
    assert limited_fields(fields, "no_context_takeover")[-1][1].startswith(b"permessage-deflate; ")


def test_a_head_goes_on_as_it_came_unless_its_offer_is_limited() -> None:
    head = b"GET / HTTP/1.1\r\nA:1\r\nSec-WebSocket-Extensions: x\r\n\r\n"
    headers = ((b"A", b"1"), (b"Sec-WebSocket-Extensions", b"x"))
    assert limited_offer(head, headers, "keep") == head
    assert limited_offer(head, headers, "strip") == b"GET / HTTP/1.1\r\nA: 1\r\n\r\n"
