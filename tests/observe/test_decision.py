"""What a record says of the decision, beside rule and verdict."""

from __future__ import annotations

import json
from ipaddress import ip_address

from wsproxy.errors import Denied
from wsproxy.model import AddressVerdict, Peer, Verdict
from wsproxy.observe.decision import MAX_ADDRESSES, decision_fields
from wsproxy.observe.exchange import Exchange
from wsproxy.observe.records import format_json

WEB = Verdict(True, "web", "rule 'web' allows", file="/etc/wsproxy.yaml", line=7)
PUBLIC = AddressVerdict(ip_address("93.184.216.34"), True)


def judged(verdict: Verdict) -> Exchange:
    exchange = Exchange(Peer(ip_address("192.0.2.1"), 5000), 0.0)
    exchange.judge(verdict)
    return exchange


def test_without_a_decision_there_is_none() -> None:
    exchange = Exchange(Peer(ip_address("192.0.2.1"), 5000), 0.0)
    assert decision_fields(exchange) is None
    assert "decision" not in json.loads(format_json("access", exchange, 0.0, 0.0))


def test_the_rule_has_its_place_and_every_address_its_reason() -> None:
    exchange = judged(WEB)
    exchange.addresses = (PUBLIC, AddressVerdict(ip_address("::1"), True, "loopback", "lab"))
    exchange.upstream, exchange.inspection = "far", "log"
    record = json.loads(format_json("access", exchange, 0.0, 0.0))
    assert record["decision"] == decision_fields(exchange)
    assert record["decision"] == {
        "name": {"verdict": "allow", "rule": "web", "file": "/etc/wsproxy.yaml", "line": 7},
        "addresses": [
            {"address": "93.184.216.34", "verdict": "allow", "class": "public", "zone": None},
            {"address": "::1", "verdict": "allow", "class": "loopback", "zone": "lab"},
        ],
        "route": "far",
        "websocket": "log",
    }


def test_an_address_that_is_refused_leaves_the_verdict_on_the_name() -> None:
    exchange = judged(WEB)
    exchange.addresses = (AddressVerdict(ip_address("10.0.0.1"), False, "private"),)
    exchange.fail(Denied("inside", rule="private-networks"))
    fields = decision_fields(exchange)
    assert fields is not None
    assert (exchange.rule, exchange.verdict, fields["route"]) == ("private-networks", "deny", None)
    assert fields["name"] == {
        "verdict": "allow",
        "rule": "web",
        "file": "/etc/wsproxy.yaml",
        "line": 7,
    }
    assert fields["addresses"] == [
        {"address": "10.0.0.1", "verdict": "deny", "class": "private", "zone": None}
    ]


def test_the_default_stands_on_no_line() -> None:
    fields = decision_fields(judged(Verdict(True, "default", "no rule matched; default allow")))
    assert fields == {
        "name": {"verdict": "allow", "rule": "default", "file": None, "line": None},
        "addresses": [],
        "route": "direct",
        "websocket": None,
    }


def test_a_name_with_many_addresses_does_not_fill_the_log() -> None:
    exchange = judged(WEB)
    exchange.addresses = (PUBLIC,) * 1000
    fields = decision_fields(exchange)
    assert fields is not None
    assert (
        fields["addresses"]
        == [{"address": "93.184.216.34", "verdict": "allow", "class": "public", "zone": None}]
        * MAX_ADDRESSES
    )
