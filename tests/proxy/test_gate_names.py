"""Names at the gate: what is remembered of them changes nothing about where anybody may go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import dns.message
import pytest
import trio

from tests.support.fakedns import answer, run_fake_dns
from wsproxy.app import build
from wsproxy.config.load import load
from wsproxy.errors import Denied, ResolveFailed
from wsproxy.model import Body, BodyKind, Host, Peer, ProxyRequest, RequestKind, Target
from wsproxy.observe.exchange import Exchange
from wsproxy.policy.addresses import compile_zone
from wsproxy.proxy.gate import Gate

PUBLIC, OTHER = "93.184.216.34", "93.184.216.35"
OPEN = "policy: {default: allow}\n"


def gate_of(folder: Path, config: str) -> Gate:
    (folder / "wsproxy.yaml").write_text(config)
    return build(load(folder / "wsproxy.yaml")).gate


def connect(name: str, port: int = 443) -> ProxyRequest:
    return ProxyRequest(
        kind=RequestKind.CONNECT,
        method="CONNECT",
        target=Target("tcp", Host(name), port),
        version="1.1",
        headers=(),
        body=Body(BodyKind.NONE),
        keep_alive=True,
    )


def notebook() -> Exchange:
    return Exchange(Peer(ip_address("127.0.0.1"), 1), trio.current_time())


async def admitted(gate: Gate, name: str) -> list[str]:
    """The addresses that may be dialled; the express lane says the same, or nothing."""
    route = await gate.admit(connect(name), notebook())
    at_once = gate.admit_nowait(connect(name), notebook(), None, now=0.0)
    assert at_once is None or at_once.addresses == route.addresses
    return [str(address) for address in route.addresses]


async def test_a_name_is_asked_for_once_and_then_needs_no_waiting(tmp_path: Path) -> None:
    with run_fake_dns(lambda query, _tcp: [answer(query, PUBLIC)]) as server:
        gate = gate_of(tmp_path, OPEN + f"dns: {{servers: ['127.0.0.1:{server.port}']}}")
        assert gate.admit_nowait(connect("x.test"), notebook(), None, now=0.0) is None
        asking, knowing = notebook(), notebook()
        await gate.admit(connect("x.test"), asking)
        await gate.admit(connect("x.test"), knowing)
        route = gate.admit_nowait(connect("x.test"), notebook(), None, now=0.0)
        assert route is not None
        assert [str(address) for address in route.addresses] == [PUBLIC]
    assert sorted(server.asked) == ["A x.test", "AAAA x.test"]
    assert asking.resolve_ms is not None
    assert knowing.resolve_ms is None


async def test_without_a_cache_every_request_asks_once(tmp_path: Path) -> None:
    with run_fake_dns(lambda query, _tcp: [answer(query, PUBLIC)]) as server:
        dns = f"dns: {{servers: ['127.0.0.1:{server.port}'], cache: false}}"
        gate = gate_of(tmp_path, OPEN + dns)
        for count in (1, 2, 3):
            assert await admitted(gate, "x.test") == [PUBLIC]
            assert sorted(server.asked) == ["A x.test"] * count + ["AAAA x.test"] * count


async def test_a_rebinding_name_leads_inside_neither_fresh_nor_remembered(tmp_path: Path) -> None:
    turn = [PUBLIC, "127.0.0.1", OTHER, "169.254.169.254"]

    def say(query: dns.message.Message, _tcp: bool) -> Sequence[bytes]:
        return [answer(query, turn[(server.asked.count("A rebind.test") - 1) % 4])]

    with run_fake_dns(say) as server:
        dns = f"dns: {{servers: ['127.0.0.1:{server.port}'], cache: false}}"
        gate = gate_of(tmp_path, OPEN + dns)
        fared = []
        for _ in range(8):
            try:
                fared.append((await admitted(gate, "rebind.test"))[0])
            except Denied as error:
                fared.append(error.token)
    refused = "destination_ip_prohibited"
    assert fared == [PUBLIC, refused, OTHER, refused] * 2

    with run_fake_dns(lambda query, _tcp: [answer(query, "127.0.0.1", ttl_s=3600)]) as server:
        gate = gate_of(tmp_path, OPEN + f"dns: {{servers: ['127.0.0.1:{server.port}']}}")
        for _ in range(3):
            with pytest.raises(Denied) as caught:
                await gate.admit(connect("inside.test"), notebook())
            assert caught.value.token == "destination_ip_prohibited"
        with pytest.raises(Denied):
            gate.admit_nowait(connect("inside.test"), notebook(), None, now=0.0)
    assert sorted(server.asked) == ["A inside.test", "AAAA inside.test"]


async def test_what_is_remembered_is_vetted_for_every_request(tmp_path: Path) -> None:
    """The same memory, asked under one policy after the other."""
    with run_fake_dns(lambda query, _tcp: [answer(query, "10.0.0.1", PUBLIC)]) as server:
        closed = gate_of(tmp_path, OPEN + f"dns: {{servers: ['127.0.0.1:{server.port}']}}")
        opened = replace(closed, zones=[compile_zone(["x.test"], ["10.0.0.0/8"])])
        elsewhere = replace(closed, zones=[compile_zone(["y.test"], ["10.0.0.0/8"])])
        listening = replace(closed, listeners=[(ip_address(PUBLIC), 443)])
        assert sorted(await admitted(opened, "x.test")) == ["10.0.0.1", PUBLIC]
        assert await admitted(closed, "x.test") == [PUBLIC]
        assert await admitted(elsewhere, "x.test") == [PUBLIC]
        with pytest.raises(Denied):
            await listening.admit(connect("x.test"), notebook())
        with pytest.raises(Denied):
            listening.admit_nowait(connect("x.test"), notebook(), None, now=0.0)
    assert sorted(server.asked) == ["A x.test", "AAAA x.test"]


LOCAL = """
dns:
  hosts: {feed.test: [93.184.216.34, "2606:2800:220:1::1"], "*.corp.test": 10.0.0.1}
"""
ZONED = 'policy: {default: allow, private_networks: [{hosts: ["a.corp.test"], networks: [10.0.0.0/8]}]}\n'


async def test_names_of_the_configuration_are_vetted_like_all_others(tmp_path: Path) -> None:
    gate = gate_of(tmp_path, ZONED + LOCAL)
    assert await admitted(gate, "feed.test") == [PUBLIC, "2606:2800:220:1::1"]
    assert await admitted(gate, "a.corp.test") == ["10.0.0.1"]
    with pytest.raises(Denied):
        await admitted(gate, "b.corp.test")


async def test_a_refusal_says_what_dns_said(tmp_path: Path) -> None:
    with run_fake_dns(lambda query, _tcp: [answer(query, rcode="SERVFAIL")]) as server:
        gate = gate_of(tmp_path, OPEN + f"dns: {{servers: ['127.0.0.1:{server.port}']}}")
        with pytest.raises(ResolveFailed) as caught:
            await gate.admit(connect("x.test"), notebook())
    assert (caught.value.detail, caught.value.rcode) == (
        "no address for x.test: SERVFAIL",
        "SERVFAIL",
    )


async def test_nothing_is_asked_about_a_name_that_a_rule_refuses(tmp_path: Path) -> None:
    with run_fake_dns(lambda query, _tcp: [answer(query, PUBLIC)]) as server:
        dns = f"dns: {{servers: ['127.0.0.1:{server.port}']}}"
        gate = gate_of(tmp_path, "policy: {default: deny}\n" + dns)
        with pytest.raises(Denied):
            await gate.admit(connect("x.test"), notebook())
    assert server.asked == []


# ---------------------------------------------------------------- where from

SOURCES = """
policy:
  default: allow
  source_address: 127.0.0.5
  rules:
    - {name: feed, action: allow, when: {hosts: [feed.test]}, source_address: [127.0.0.6, "::1"]}
    - {name: rest, action: allow, when: {hosts: [rest.test]}}
dns: {hosts: {"*.test": 93.184.216.34}}
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("feed.test", {4: "127.0.0.6", 6: "::1"}),
        ("rest.test", {4: "127.0.0.5"}),
        ("other.test", {4: "127.0.0.5"}),
    ],
)
async def test_a_rule_says_where_its_connections_come_from(
    tmp_path: Path, name: str, expected: dict[int, str]
) -> None:
    gate = gate_of(tmp_path, SOURCES)
    for route in (
        await gate.admit(connect(name), notebook()),
        gate.admit_nowait(connect(name), notebook(), None, now=0.0),
    ):
        assert route is not None
        assert {version: str(one) for version, one in route.sources.items()} == expected


async def test_a_rule_may_have_both_a_parent_and_a_source(tmp_path: Path) -> None:
    config = SOURCES.replace("{name: rest,", "{name: rest, upstream: out,")
    gate = gate_of(tmp_path, config + "upstreams: {out: {url: 'http://192.0.2.1:3128'}}\n")
    route = await gate.admit(connect("rest.test"), notebook())
    assert route.parents is not None
    assert (route.addresses, route.sources) == ([], {4: ip_address("127.0.0.5")})
