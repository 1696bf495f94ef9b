"""One condition at a time: what it matches and which values it refuses."""

from __future__ import annotations

from datetime import UTC
from ipaddress import ip_address

import pytest

from wsproxy.model import Identity
from wsproxy.policy.ask import Ask
from wsproxy.policy.hours import Hours
from wsproxy.policy.match import ALLOWING_MATCHERS, MATCHERS, Values
from wsproxy.policy.names import parse_names
from wsproxy.protocol.authority import parse_host

ALICE = Identity("alice", frozenset({"desk", "staff"}))
ASK = Ask(
    client=ip_address("10.1.2.3"),
    identity=ALICE,
    host=parse_host(b"www.example.com"),
    port=443,
    protocols=frozenset({"tcp", "https", "wss"}),
    method="CONNECT",
    at=1_000_000_000.0,  # Sunday 2001-09-09 01:46:40 UTC
    path=None,
)


def with_path(path: str) -> Ask:
    return ASK._replace(method="GET", protocols=frozenset({"http"}), port=80, path=path)


def handshake(origin: str | None = None, *subprotocols: str) -> Ask:
    return with_path("/chat")._replace(
        protocols=frozenset({"ws"}), origin=origin, subprotocols=subprotocols, handshake=True
    )


@pytest.mark.parametrize(
    ("condition", "values", "ask", "expected"),
    [
        ("users", ["alice"], ASK, True),
        ("users", ["bob", "alice"], ASK, True),
        ("users", ["Alice"], ASK, False),
        ("users", ["alice"], ASK._replace(identity=None), False),
        ("groups", ["desk"], ASK, True),
        ("groups", ["admins", "staff"], ASK, True),
        ("groups", ["admins"], ASK, False),
        ("groups", ["desk"], ASK._replace(identity=None), False),
        ("groups", ["desk"], ASK._replace(identity=Identity("bob")), False),
        ("clients", ["10.0.0.0/8"], ASK, True),
        ("clients", ["10.1.2.3"], ASK, True),
        ("clients", ["10.1.2.4", "::/0"], ASK, False),
        ("clients", ["10.0.0.0/8"], ASK._replace(client=ip_address("::ffff:10.1.2.3")), True),
        ("clients", ["fd00::/8"], ASK._replace(client=ip_address("fd00::1")), True),
        ("hosts", ["*.example.com"], ASK, True),
        ("hosts", ["example.com"], ASK, False),
        ("hosts_file", [parse_names(b"example.com\n", "l")], ASK, True),
        ("hosts_file", [parse_names(name, "l") for name in (b"a.example", b"com")], ASK, True),
        ("hosts_file", [parse_names(b"a.www.example.com", "l")], ASK, False),
        ("hours", [Hours(frozenset({6}), 60, 120, UTC)], ASK, True),
        (
            "hours",
            [Hours(frozenset({6}), 0, 60, UTC), Hours(frozenset({6}), 106, 107, UTC)],
            ASK,
            True,
        ),
        ("hours", [Hours(frozenset({5}), 60, 120, UTC)], ASK, False),
        ("ports", [443], ASK, True),
        ("ports", [80, "400-500"], ASK, True),
        ("ports", ["443-443"], ASK, True),
        ("ports", ["444-500"], ASK, False),
        ("ports", ["400-442", 444], ASK, False),
        ("ports", ["1-65535"], ASK, True),
        ("protocols", ["wss"], ASK, True),
        ("protocols", ["http", "ws"], ASK, False),
        ("protocols", ["http", "tcp"], ASK, True),
        ("methods", ["CONNECT"], ASK, True),
        ("methods", ["GET", "POST"], ASK, False),
        ("methods", ["PROPFIND"], ASK._replace(method="PROPFIND"), True),
        ("methods", ["PROPFIND"], ASK._replace(method="propfind"), False),
        ("paths", ["*"], ASK, False),
        ("paths", ["/v2/*"], with_path("/v2/x?y"), True),
        ("paths", ["/v1/*", "/v2/*"], with_path("/v2/x"), True),
        ("paths", ["/v2/*"], with_path("/v1/x"), False),
        ("origins", ["*", "null"], ASK, False),
        ("origins", ["*"], with_path("/chat")._replace(origin="https://a.example"), False),
        ("origins", ["*", "null"], handshake(None), False),
        ("origins", ["https://a.example"], handshake("https://a.example"), True),
        ("origins", ["https://*.example", "null"], handshake("https://a.example"), True),
        ("origins", ["https://b.example"], handshake("https://a.example"), False),
        ("origins", ["null"], handshake("null"), True),
        ("subprotocols", ["chat"], ASK, False),
        ("subprotocols", ["chat"], ASK._replace(subprotocols=("chat",)), False),
        ("subprotocols", ["chat"], handshake(), False),
        ("subprotocols", ["chat", "mqtt"], handshake(None, "mqtt"), True),
        ("subprotocols", ["chat", "mqtt"], handshake(None, "mqtt", "chat"), True),
        ("subprotocols", ["chat"], handshake(None, "Chat"), False),
    ],
)
def test_a_condition(condition: str, values: Values, ask: Ask, expected: bool) -> None:
    assert MATCHERS[condition](values)(ask) is expected
    assert ALLOWING_MATCHERS[condition](values)(ask) is expected


def test_a_path_in_doubt_is_denied_and_not_allowed() -> None:
    ask = with_path("/v1/../v2/x")
    assert MATCHERS["paths"](["/v2/*"])(ask) is True
    assert ALLOWING_MATCHERS["paths"](["*"])(ask) is False
    assert ALLOWING_MATCHERS["paths"](["*"])(ASK) is False


def test_an_origin_in_doubt_is_denied_and_not_allowed() -> None:
    for origin in ("", "https://a.example/path", "https://a.example, https://b.example"):
        assert MATCHERS["origins"](["https://b.example"])(handshake(origin)) is True
        assert ALLOWING_MATCHERS["origins"](["*"])(handshake(origin)) is False


def test_one_subprotocol_is_enough_to_deny_and_all_it_takes_to_allow() -> None:
    ask = handshake(None, "chat", "tunnel")
    for values in (["chat"], ["tunnel", "other"]):
        assert MATCHERS["subprotocols"](values)(ask) is True
        assert ALLOWING_MATCHERS["subprotocols"](values)(ask) is False


def test_both_kinds_of_rule_know_the_same_conditions() -> None:
    known = {
        "users", "groups", "clients", "hosts", "ports", "protocols", "methods", "paths",
        "origins", "subprotocols", "sniff", "alpn", "hosts_file", "hours",
    }  # fmt: skip
    assert set(MATCHERS) == set(ALLOWING_MATCHERS) == known


@pytest.mark.parametrize(
    ("condition", "value", "sentence"),
    [
        ("users", 7, "7 is not a user name; write it in quotes"),
        ("users", "", "a user name is empty"),
        ("groups", True, "True is not a group name; write it in quotes"),
        ("clients", "10.0.0.1/8", "'10.0.0.1/8' is not in normal form; write '10.0.0.0/8'"),
        (
            "clients",
            "::ffff:10.0.0.0/104",
            "'::ffff:10.0.0.0/104' is an IPv4 network in IPv6 dress; write '10.0.0.0/8'",
        ),
        ("hosts_file", "list.txt", "give lists that were read"),
        ("hours", "09:00", "give hours with their time zone"),
        ("hosts", "A.example", "'A.example' is not in normal form; write 'a.example'"),
        ("ports", "443", "'443': write a single port as a number without quotes"),
        ("ports", 0, "0 is neither a port from 1 to 65535 nor a range like '8000-8999'"),
        ("ports", 65536, "65536 is neither a port from 1 to 65535 nor a range like '8000-8999'"),
        ("ports", True, "True is neither a port from 1 to 65535 nor a range like '8000-8999'"),
        ("ports", "9-8", "'9-8' is neither a port from 1 to 65535 nor a range like '8000-8999'"),
        ("ports", "0-8", "'0-8' is neither a port from 1 to 65535 nor a range like '8000-8999'"),
        (
            "ports",
            "1-65536",
            "'1-65536' is neither a port from 1 to 65535 nor a range like '8000-8999'",
        ),
        ("protocols", "HTTPS", "'HTTPS' is not a protocol; did you mean 'https'?"),
        (
            "protocols",
            "ftp",
            "'ftp' is not a protocol; did you mean 'tcp'?",
        ),
        ("protocols", "quic", "'quic' is not a protocol; known are http, https, tcp, ws, wss"),
        ("methods", "get", "methods are case-sensitive: write 'GET', not 'get'"),
        ("methods", "GET /", "'GET /' is not a request method"),
        ("origins", 1, "1 is not an origin; write it in quotes"),
        (
            "origins",
            "a.example",
            "'a.example' is not an origin: it has a scheme, as in 'https://a.example'",
        ),
        ("subprotocols", 1, "1 is not a subprotocol name; write it in quotes"),
        ("subprotocols", "", "a subprotocol name is empty"),
        ("subprotocols", "a b", "'a b' is not the name of a subprotocol"),
        ("paths", "v2", "'v2' is not a path pattern: it starts with '/' or '*'"),
    ],
)
def test_an_unusable_value_is_an_error(condition: str, value: str | int, sentence: str) -> None:
    for matchers in (MATCHERS, ALLOWING_MATCHERS):
        with pytest.raises(ValueError) as error:
            matchers[condition]([value])
        assert str(error.value) == sentence
