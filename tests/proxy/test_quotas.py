"""What clients, users and rules may have."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.support.door import ORIGIN, credentials, open_door, write_users
from wsproxy.errors import LimitReached, QuotaSpent
from wsproxy.model import Identity, Peer, Verdict
from wsproxy.observe.exchange import Exchange
from wsproxy.policy import rates as module
from wsproxy.proxy.quotas import Allotment, Quotas
from wsproxy.proxy.shares import ShareSettings

CLIENT, OTHER = ip_address("192.0.2.1"), ip_address("192.0.2.2")


def exchange(user: str | None, rule: str) -> Exchange:
    made = Exchange(Peer(CLIENT, 1), 0.0)
    if user is not None:
        made.identify(Identity(user))
    made.judge(Verdict(True, rule, ""))
    return made


def test_a_user_has_so_many_places_and_they_are_given_back() -> None:
    quotas = Quotas(Allotment(per_user=2))
    held = [exchange("alice", "r") for _ in range(2)]
    for one in held:
        quotas.enter(one, 0.0)
    with pytest.raises(LimitReached, match="this user has 2") as caught:
        quotas.enter(exchange("alice", "r"), 0.0)
    assert caught.value.status == 429
    quotas.enter(exchange("bob", "r"), 0.0)
    quotas.enter(exchange(None, "r"), 0.0)
    quotas.leave(held[0])
    quotas.leave(held[0])  # once only
    quotas.enter(exchange("alice", "r"), 0.0)
    with pytest.raises(LimitReached):
        quotas.enter(exchange("alice", "r"), 0.0)


def test_a_rule_has_so_many_places() -> None:
    quotas = Quotas(Allotment(per_rule={"r": 1}, per_user=5))
    one = exchange("alice", "r")
    quotas.enter(one, 0.0)
    refused = exchange("alice", "r")
    with pytest.raises(LimitReached, match="rule 'r' allows 1"):
        quotas.enter(refused, 0.0)
    assert refused.counted_user is None
    quotas.enter(exchange("alice", "other"), 0.0)
    quotas.leave(one)
    quotas.enter(exchange("alice", "r"), 0.0)


def test_requests_have_a_rate() -> None:
    quotas = Quotas(Allotment(requests=(2, 1.0)))
    quotas.take(CLIENT, 0.0)
    quotas.take(CLIENT, 0.0)
    with pytest.raises(LimitReached, match="2 requests in 1 s") as caught:
        quotas.take(CLIENT, 0.1)
    assert (caught.value.status, caught.value.retry_after_s) == (429, 1)
    quotas.take(OTHER, 0.1)
    quotas.take(CLIENT, 0.5)
    Quotas().take(CLIENT, 0.0)


def test_shares_that_a_reload_brings_count_from_then_on_and_until_they_are_lifted() -> None:
    quotas, settings = Quotas(), ShareSettings(bytes_per_user=(1000, 60.0))
    alice = exchange("alice", "r")
    quotas.enter(alice, 0.0)
    for _ in range(2):
        assert quotas.shares.lifted
        quotas.adopt(Allotment(shares=settings))
        assert not quotas.shares.lifted
        ways = quotas.shares.allowances(alice, 1.0, None)
        assert ways
        ways[0].spend(1000, 1.0)
        with pytest.raises(QuotaSpent):
            quotas.enter(exchange("alice", "r"), 2.0)
        quotas.adopt(Allotment())
        quotas.enter(exchange("alice", "r"), 2.0)


def test_few_clients_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_KEPT", 1)
    quotas = Quotas(Allotment(requests=(1, 100.0)))
    quotas.take(CLIENT, 0.0)
    quotas.take(OTHER, 0.0)
    quotas.take(CLIENT, 0.0)


def test_places_survive_other_limits() -> None:
    quotas = Quotas(Allotment(per_user=2, per_rule={"r": 5}, requests=(2, 1.0)))
    held = [exchange("alice", "r") for _ in range(2)]
    for one in held:
        quotas.enter(one, 0.0)
    quotas.take(CLIENT, 0.0)
    quotas.take(CLIENT, 0.0)
    quotas.adopt(Allotment(per_user=3, per_rule={"r": 2}, requests=(1, 10.0)))
    with pytest.raises(LimitReached, match="1 requests in 10 s"):
        quotas.take(CLIENT, 0.0)
    with pytest.raises(LimitReached, match="rule 'r' allows 2"):
        quotas.enter(exchange("alice", "r"), 0.0)
    quotas.enter(exchange("alice", "other"), 0.0)
    with pytest.raises(LimitReached, match="this user has 3"):
        quotas.enter(exchange("alice", "other"), 0.0)
    quotas.adopt(Allotment())
    quotas.take(CLIENT, 0.0)
    quotas.enter(exchange("alice", "r"), 0.0)
    for one in held:
        quotas.leave(one)
    quotas.adopt(Allotment(per_user=2, per_rule={"r": 1}))
    quotas.enter(exchange("alice", "r"), 0.0)


CONFIG = """
policy: {rules: [{name: all, action: allow, limits: {connections: %d}}]}
limits: {connections_per_user: 1}
auth: {methods: [{type: basic, users: users}]}
"""


async def test_a_tunnel_holds_a_place_until_it_ends(tmp_path: Path) -> None:
    write_users(tmp_path, alice="pw")
    ask = b"CONNECT origin.test:443 HTTP/1.1\r\nHost: x\r\n" + credentials("alice", "pw") + b"\r\n"
    async with open_door(tmp_path, CONFIG % 5) as door:
        door.network.hosts[ORIGIN, 443] = door.origin
        first = await door.client()
        await first.sends(ask)
        await first.expects(b"HTTP/1.1 200")
        target = await door.origin.accept()
        second = await door.client()
        await second.sends(ask)
        answer = await second.reads_rest()
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b"Retry-After: 1" in answer
        first.shuts()
        await target.ends()
        target.shuts()
        await first.reads_rest()
        await door.access(2)
        third = await door.client()
        await third.sends(ask)
        await third.expects(b"HTTP/1.1 200")
        again = await door.origin.accept()
        third.shuts()
        await again.ends()
        again.shuts()
