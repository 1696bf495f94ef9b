"""The notebook of a request: what gets in, and what never does."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from wsproxy.errors import ClientProtocolError, ConnectRefused, Denied
from wsproxy.model import (
    Body,
    BodyKind,
    CloseReason,
    Host,
    Identity,
    Peer,
    ProxyRequest,
    RequestKind,
    Side,
    Target,
    Verdict,
)
from wsproxy.observe.exchange import Exchange, milliseconds

PEER = Peer(ip_address("192.0.2.1"), 5000)


def request(kind: RequestKind, target: Target, *headers: tuple[bytes, bytes]) -> ProxyRequest:
    return ProxyRequest(kind, "GET", target, "1.1", headers, Body(BodyKind.NONE), keep_alive=True)


@pytest.mark.parametrize(
    ("kind", "target", "text"),
    [
        (RequestKind.FORWARD, Target("http", Host("x.test"), 80, b"/p"), "http://x.test:80/p"),
        (
            RequestKind.FORWARD,
            Target("http", Host("x.test"), 80, b"/p?token=1?2"),
            "http://x.test:80/p?…",
        ),
        (RequestKind.FORWARD, Target("http", Host("x.test"), 80, b"/?"), "http://x.test:80/?…"),
        (RequestKind.UPGRADE, Target("ws", Host("x.test"), 8080, b"/p"), "ws://x.test:8080/p"),
        (RequestKind.CONNECT, Target("tcp", Host("x.test"), 443), "x.test:443"),
        (RequestKind.OWN, Target("http", Host("wsproxy"), 80, b"/p?token=1"), "/p"),
    ],
)
def test_what_was_asked_is_noted_without_its_query(
    kind: RequestKind, target: Target, text: str
) -> None:
    exchange = Exchange(PEER, 10.0)
    exchange.begin(request(kind, target), 10.25)
    assert (exchange.kind, str(exchange.target), exchange.head_ms) == (kind.value, text, 250.0)
    assert (exchange.method, exchange.version, exchange.user_agent) == ("GET", "1.1", None)


def test_no_secret_of_a_request_is_kept() -> None:
    exchange = Exchange(PEER, 0.0)
    fields = [
        (name, b"hush")
        for name in (b"Proxy-Authorization", b"Authorization", b"Cookie", b"X-Token", b"Referer")
    ]
    target = Target("http", Host("x.test"), 80, b"/?hush")
    exchange.begin(request(RequestKind.FORWARD, target, *fields, (b"User-Agent", b"c/1")), 1.0)
    exchange.identify(Identity("alice", frozenset({"desk"})))
    assert "hush" not in str(vars(exchange))
    assert (exchange.user, exchange.user_agent) == ("alice", "c/1")


def test_decisions_and_addresses_are_noted() -> None:
    exchange = Exchange(PEER, 0.0)
    exchange.judge(Verdict(True, "r1", "because"))
    exchange.dial(ip_address("2001:db8::1"), 443)
    assert (exchange.verdict, exchange.rule) == ("allow", "r1")
    assert str(exchange.dialled) == "[2001:db8::1]:443"
    assert exchange.source is None
    exchange.dial(ip_address("192.0.2.9"), 443, ip_address("192.0.2.10"))
    assert str(exchange.source) == "192.0.2.10"
    exchange.judge(Verdict(False, "r2", "because"))
    assert (exchange.verdict, exchange.rule) == ("deny", "r2")


def test_a_request_inside_a_tunnel_knows_what_its_tunnel_knows() -> None:
    outer, inner = Exchange(PEER, 0.0), Exchange(PEER, 1.0)
    outer.upstream, outer.sniffed, outer.alpn = "far", frozenset({"tls"}), ("http/1.1",)
    inner.enter(outer)
    assert (inner.tunnel, inner.upstream, inner.user) == (outer.id, "far", None)
    assert (inner.sniffed, inner.alpn) == (frozenset({"tls"}), ("http/1.1",))
    outer.identify(Identity("alice"))
    inner.enter(outer)
    assert (inner.user, inner.identity) == ("alice", Identity("alice"))


def test_what_only_reports_is_added_up_while_the_last_word_counts() -> None:
    exchange = Exchange(PEER, 0.0)
    exchange.judge(Verdict(True, "r1", "because", would_deny=("a", "b")))
    exchange.judge(Verdict(True, "r2", "because", would_deny=("b", "c"), would_allow=("d",)))
    exchange.judge(Verdict(True, "r3", "because"))
    assert (exchange.rule, exchange.would_deny) == ("r3", ("a", "b", "c"))
    assert exchange.would_allow == ("d",)


@pytest.mark.parametrize(
    ("error", "token", "detail", "threat", "rule"),
    [
        (ConnectRefused("no"), "connection_refused", "no", None, "r1"),
        (ClientProtocolError("odd", row="T4"), "http_request_error", "odd", "T4", "r1"),
        (
            Denied("inside", rule="zone", token="destination_ip_prohibited"),
            "destination_ip_prohibited",
            "inside",
            None,
            "zone",
        ),
        (ValueError("password=1"), "proxy_internal_error", "internal error", None, "r1"),
    ],
)
def test_a_failure_is_noted_and_its_status_only_when_it_is_sent(
    error: Exception, token: str, detail: str, threat: str | None, rule: str
) -> None:
    exchange = Exchange(PEER, 0.0)
    exchange.judge(Verdict(True, "r1", "because"))
    exchange.fail(error)
    assert (exchange.error, exchange.detail, exchange.threat) == (token, detail, threat)
    assert (exchange.rule, exchange.status) == (rule, None)
    assert exchange.verdict == ("deny" if rule == "zone" else "allow")


def test_the_first_reason_to_end_stays() -> None:
    exchange = Exchange(PEER, 0.0)
    exchange.end(Side.UPSTREAM, CloseReason.RESET)
    exchange.end(Side.CLIENT, CloseReason.EOF)
    assert (exchange.closed_by, exchange.reason) == (Side.UPSTREAM, CloseReason.RESET)


def test_every_exchange_has_an_id_of_its_own() -> None:
    ids = {Exchange(PEER, 0.0).id for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(number) == 16 and int(number, 16) >= 0 for number in ids)


def test_seconds_of_the_clock_become_milliseconds() -> None:
    assert milliseconds(10.0, 10.125) == 125.0
