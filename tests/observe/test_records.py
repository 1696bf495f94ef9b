"""The three spellings of an access record, to the octet."""

from __future__ import annotations

import json
import re
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.model import CloseReason, Peer, Side
from wsproxy.observe.exchange import Exchange
from wsproxy.observe.records import FORMATS, format_combined, format_json, format_squid
from wsproxy.observe.summary import Summary

AT, NOW = 1_700_000_000.1239, 12.5
KEYS = [
    "event",
    "time",
    "id",
    "client",
    "user",
    "kind",
    "method",
    "target",
    "address",
    "rule",
    "verdict",
    "status",
    "error",
    "detail",
    "class",
    "bytes_up",
    "bytes_down",
    "durations_ms",
    "closed_by",
    "reason",
]


def bare() -> Exchange:
    """A connection that never said anything."""
    exchange = Exchange(Peer(ip_address("192.0.2.1"), 5000), 10.0)
    exchange.id = "00000000000000ff"
    return exchange


def full() -> Exchange:
    """A tunnel of which everything is known."""
    exchange = bare()
    exchange.user, exchange.kind, exchange.method = "alice", "connect", "CONNECT"
    exchange.target, exchange.version, exchange.user_agent = "x.test:443", "1.1", 'c/1 "q"'
    exchange.dialled = Peer(ip_address("2001:db8::1"), 443)
    exchange.rule, exchange.verdict, exchange.status = "r1", "allow", 200
    exchange.error, exchange.detail, exchange.threat = "connection_terminated", "it broke", "T4"
    exchange.bytes_up, exchange.bytes_down = 3, 4
    exchange.closed_by, exchange.reason = Side.UPSTREAM, CloseReason.RESET
    exchange.head_ms, exchange.authenticate_ms, exchange.resolve_ms = 0.1004, 0.2, 0.3
    exchange.connect_ms, exchange.first_byte_ms = 0.4, 0.5
    return exchange


# ---------------------------------------------------------------- JSON


def test_json_is_one_line_with_every_field_in_its_order() -> None:
    assert format_json("access", full(), AT, NOW) == (
        b'{"event":"access","time":"2023-11-14T22:13:20.123Z","id":"00000000000000ff",'
        b'"client":"192.0.2.1:5000","user":"alice","kind":"connect","method":"CONNECT",'
        b'"target":"x.test:443","address":"[2001:db8::1]:443","rule":"r1","verdict":"allow",'
        b'"status":200,"error":"connection_terminated","detail":"it broke","class":"T4",'
        b'"bytes_up":3,"bytes_down":4,"durations_ms":{"head":0.1,"authenticate":0.2,'
        b'"resolve":0.3,"connect":0.4,"first_byte":0.5,"total":2500.0},'
        b'"closed_by":"upstream","reason":"reset"}\n'
    )


def test_json_has_null_for_what_is_not_known() -> None:
    record = json.loads(format_json("open", bare(), AT, NOW))
    assert list(record) == KEYS
    known = {key for key, value in record.items() if value is not None}
    assert known == {"event", "time", "id", "client", "bytes_up", "bytes_down", "durations_ms"}
    durations = record["durations_ms"]
    assert {key for key, value in durations.items() if value is not None} == {"total"}
    assert (record["event"], record["bytes_up"], record["bytes_down"]) == ("open", 0, 0)


def test_json_says_where_a_connection_was_made_to_come_from() -> None:
    exchange = full()
    exchange.source = ip_address("192.0.2.10")
    record = json.loads(format_json("access", exchange, AT, NOW))
    assert (list(record), record["source"]) == ([*KEYS, "source"], "192.0.2.10")


@pytest.mark.parametrize("inner", [None, "ws://x.test:443/chat"])
def test_json_says_how_a_websocket_went(inner: str | None) -> None:
    exchange = full()
    exchange.inner = inner
    exchange.websocket = Summary(
        messages_up=1,
        messages_down=2,
        code=1008,
        clean=False,
        closed_by=Side.PROXY,
        pings_unanswered=3,
        label="json-rpc",
        trouble=None,
    )
    record = json.loads(format_json("access", exchange, AT, NOW))
    assert list(record) == [*KEYS, "websocket"]
    assert record["websocket"] == {
        "url": inner,
        "messages_up": 1,
        "messages_down": 2,
        "code": 1008,
        "clean": False,
        "closed_by": "proxy",
        "pings_unanswered": 3,
        "label": "json-rpc",
        "trouble": None,
    }


def test_json_says_what_would_have_been() -> None:
    exchange = bare()
    exchange.would_deny, exchange.would_allow = ("a", "default"), ("b",)
    record = json.loads(format_json("access", exchange, AT, NOW))
    assert list(record) == [*KEYS, "would_deny", "would_allow"]
    assert (record["would_deny"], record["would_allow"]) == (["a", "default"], ["b"])


@given(st.text(), st.text(), st.text())
def test_json_is_one_line_whatever_is_in_it(target: str, user: str, detail: str) -> None:
    exchange = full()
    exchange.target, exchange.user, exchange.detail = target, user, detail
    line = format_json("access", exchange, AT, NOW)
    assert line.count(b"\n") == 1
    assert not re.search(rb"[\x00-\x1f]", line[:-1])
    record = json.loads(line)
    assert (record["target"], record["user"], record["detail"]) == (target, user, detail)


# ---------------------------------------------------------------- squid and combined


def test_squids_format_is_squids() -> None:
    assert format_squid("access", full(), AT, NOW) == (
        b"1700000000.124   2500 192.0.2.1 TCP_TUNNEL/200 4 CONNECT x.test:443 alice "
        b"HIER_DIRECT/2001:db8::1 -\n"
    )
    assert format_squid("access", bare(), AT, NOW) == (
        b"1700000000.124   2500 192.0.2.1 TCP_MISS/000 0 - - - HIER_NONE/- -\n"
    )


@pytest.mark.parametrize(
    ("verdict", "status", "kind", "result"),
    [
        ("deny", 403, "connect", b" TCP_DENIED/403 "),
        (None, 407, "forward", b" TCP_DENIED/407 "),
        ("allow", 200, "connect", b" TCP_TUNNEL/200 "),
        ("allow", 502, "connect", b" TCP_MISS/502 "),
        ("allow", 200, "forward", b" TCP_MISS/200 "),
        ("allow", 101, "upgrade", b" TCP_MISS/101 "),
    ],
)
def test_squids_result_code_says_what_became_of_it(
    verdict: str | None, status: int, kind: str, result: bytes
) -> None:
    exchange = full()
    exchange.verdict, exchange.status, exchange.kind = verdict, status, kind
    assert result in format_squid("access", exchange, AT, NOW)


def test_the_combined_format_is_apaches() -> None:
    assert format_combined("access", full(), AT, NOW) == (
        b"192.0.2.1 - alice [14/Nov/2023:22:13:20 +0000] "
        b'"CONNECT x.test:443 HTTP/1.1" 200 4 "-" "c/1%20%22q%22"\n'
    )
    assert format_combined("access", bare(), AT, NOW) == (
        b'192.0.2.1 - - [14/Nov/2023:22:13:20 +0000] "- - HTTP/1.1" 000 0 "-" "-"\n'
    )


@pytest.mark.parametrize("name", ["squid", "combined"])
def test_only_json_has_opening_records(name: str) -> None:
    assert FORMATS[name]("open", full(), AT, NOW) == b""


SQUID = re.compile(rb"\d+\.\d{3} +\d+ \S+ \S+/\d{3} \d+ \S+ \S+ \S+ \S+/\S+ -\n")
COMBINED = re.compile(rb'\S+ - \S+ \[[^]"]+\] "\S+ \S+ HTTP/1\.1" \d{3} \d+ "-" "[^" \\]+"\n')


@given(st.text(), st.text(), st.text())
def test_nothing_escapes_from_its_word(target: str, user: str, agent: str) -> None:
    exchange = full()
    exchange.target, exchange.user, exchange.user_agent = target, user, agent
    assert SQUID.fullmatch(format_squid("access", exchange, AT, NOW))
    assert COMBINED.fullmatch(format_combined("access", exchange, AT, NOW))


def test_escapes_are_those_of_urls() -> None:
    exchange = full()
    exchange.target, exchange.user = 'a b"c\\d%\r\n\x00é', "ü"
    line = format_squid("access", exchange, AT, NOW)
    assert b" a%20b%22c%5Cd%25%0D%0A%00%C3%A9 %C3%BC " in line


def test_every_format_of_the_configuration_is_here() -> None:
    assert list(FORMATS) == ["json", "squid", "combined"]
