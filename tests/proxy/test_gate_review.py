"""What is decided again is decided as a fresh request would be: `Gate.review` against `Gate.admit`."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.door import credentials, write_users
from tests.support.fakenet import FakeNetwork
from wsproxy.app import build
from wsproxy.config.load import load
from wsproxy.errors import AuthRequired, Denied, WsproxyError
from wsproxy.model import Identity, Peer, ProxyRequest
from wsproxy.observe.exchange import Exchange
from wsproxy.protocol.http1 import ServerConnection
from wsproxy.proxy.gate import Gate

NAMES = {"public.test": "93.184.216.34", "inside.test": "10.0.0.1", "deep.test": "10.9.0.1"}
HOSTS = st.sampled_from([*NAMES, "10.0.0.1"])
USERS = st.sampled_from(["", "alice", "bob"])


def flow(items: list[str]) -> str:
    return "[" + ", ".join(items) + "]"


@st.composite
def rules(draw: st.DrawFn, *, asked: bool) -> str:
    """One rule but for its name; users only where they are `asked` for."""
    when = [f"hosts: {draw(HOSTS)}"] if draw(st.booleans()) else ["hosts: '*'"]
    if asked and draw(st.booleans()):
        when.append(f"users: {draw(st.sampled_from(['alice', 'bob']))}")
    if draw(st.booleans()):
        when.append(f"ports: {draw(st.sampled_from([80, 443]))}")
    action = draw(st.sampled_from(["allow", "deny"]))
    more = draw(st.sampled_from(["", ", mode: report"]))
    return f"action: {action}{more}, when: {{{', '.join(when)}}}"


@st.composite
def configs(draw: st.DrawFn) -> str:
    """A configuration: who is asked, which rules, which private networks."""
    auth = draw(st.sampled_from(["", "required: true", "required: false"]))
    drawn = draw(st.lists(rules(asked=bool(auth)), max_size=4))
    made = [f"{{name: r{n}, {rule}}}" for n, rule in enumerate(drawn)]
    zones = draw(st.lists(st.sampled_from(["10.0.0.0/16", "10.9.0.0/16"]), max_size=2))
    private = [f"{{hosts: '*', networks: {zone}}}" for zone in zones]
    methods = f"auth: {{methods: [{{type: basic, users: users}}], {auth}}}\n" if auth else ""
    default = draw(st.sampled_from(["allow", "deny"]))
    mode = draw(st.sampled_from(["enforce", "report"]))
    return (
        f"{methods}policy: {{default: {default}, mode: {mode}, rules: {flow(made)}, "
        f"private_networks: {flow(private)}}}\n"
    )


def make_gate(folder: Path, config: str) -> Gate:
    (folder / "wsproxy.yaml").write_text(config)
    network = FakeNetwork()
    network.names.update({name: [address] for name, address in NAMES.items()})
    return replace(build(load(folder / "wsproxy.yaml")).gate, resolver=network)


def a_request(host: str, port: int, user: str) -> ProxyRequest:
    http = ServerConnection()
    fields = credentials(user, "secret") if user else b""
    head = f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n".encode()
    http.receive_data(head + fields + b"\r\n")
    request = http.next_event()
    assert isinstance(request, ProxyRequest)
    return request


async def admitted(gate: Gate, request: ProxyRequest) -> Exchange | None:
    """What is known of a request that passes; None of one that does not."""
    exchange = Exchange(Peer(ip_address("192.0.2.7"), 7), trio.current_time())
    try:
        route = await gate.admit(request, exchange)
    except WsproxyError:
        return None
    exchange.dial(route.addresses[0], request.target.port)
    return exchange


def stands(gate: Gate, exchange: Exchange) -> bool:
    try:
        gate.review(exchange)
    except WsproxyError:
        return False
    return True


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(before=configs(), after=configs(), host=HOSTS, port=st.sampled_from([80, 443]), user=USERS)
def test_review_agrees_with_what_would_be_admitted(
    tmp_path: Path, before: str, after: str, host: str, port: int, user: str
) -> None:
    async def main() -> None:
        request = a_request(host, port, user)
        exchange = await admitted(make_gate(tmp_path, before), request)
        if exchange is None:
            return
        # Of whoever was asked for nothing nothing is known: only the same identity can be compared.
        known = "" if exchange.user is None else user
        gate = make_gate(tmp_path, after)
        fresh = await admitted(gate, a_request(host, port, known))
        assert stands(gate, exchange) == (fresh is not None)
        if fresh is not None:
            assert (exchange.rule, exchange.verdict) == (fresh.rule, fresh.verdict)

    if not (tmp_path / "users").exists():
        write_users(tmp_path, alice="secret", bob="secret")
    trio.run(main)


def an_exchange(gate: Gate, host: str) -> Exchange:
    exchange = Exchange(Peer(ip_address("192.0.2.7"), 7), 0.0)
    gate.decide(a_request(host, 80, ""), exchange)
    return exchange


def test_an_address_behind_a_parent_has_to_be_allowed_still(tmp_path: Path) -> None:
    gate = make_gate(tmp_path, "policy: {default: allow}")
    exchange = an_exchange(gate, "10.0.0.1")
    exchange.upstream = "parent"
    with pytest.raises(Denied, match="no public address"):
        gate.review(exchange)
    exchange = an_exchange(gate, "inside.test")
    exchange.upstream = "parent"
    exchange.dial(ip_address("10.0.0.1"), 3128)
    gate.review(exchange)


def test_what_has_expired_may_go_on_where_nobody_is_asked(tmp_path: Path) -> None:
    write_users(tmp_path, alice="secret")
    expired = Identity("alice", frozenset(), "bearer", expires_at=1.0)
    gate = make_gate(tmp_path, "policy: {default: allow}")
    exchange = an_exchange(gate, "public.test")
    exchange.identify(expired)
    gate.review(exchange)
    gate = make_gate(tmp_path, "auth: {methods: [{type: basic, users: users}], required: false}")
    exchange.identify(expired)
    with pytest.raises(AuthRequired, match="expired"):
        gate.review(exchange)
