"""The gate: who may go where, what is asked of the network for it, and how often."""

from __future__ import annotations

import json
import socket
from ipaddress import ip_address
from pathlib import Path

import pytest
import trio

from tests.support.door import ORIGIN, Door, credentials, open_door, write_users
from tests.support.wire import Answer
from wsproxy.app import build
from wsproxy.config.load import load
from wsproxy.errors import ConnectRefused
from wsproxy.model import Host, Peer, Target
from wsproxy.net import resolve
from wsproxy.observe.exchange import Exchange
from wsproxy.proxy.route import Route

AUTH = "auth: {required: %s, methods: [{type: basic, users: users}]}\npolicy: {default: allow}\n"


async def ask(door: Door, url: str, fields: bytes = b"", *, method: str = "GET") -> Answer:
    """One request on a connection of its own; an origin answers 204."""
    client = await door.client()
    head = f"{method} {url} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n".encode()
    await client.sends(head + fields + b"\r\n")

    async def be_origin() -> None:
        wire = await door.origin.accept()
        await wire.reads_until(b"\r\n\r\n")
        await wire.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(be_origin)
        answer = await client.answer()
        nursery.cancel_scope.cancel()
    client.closes()
    return answer


# ---------------------------------------------------------------- who


@pytest.mark.parametrize(
    ("fields", "status", "user"),
    [
        (b"", 407, None),
        (credentials("alice", "wrong"), 407, None),
        (credentials("mallory", "secret"), 407, None),
        (credentials("alice", "secret"), 200, "alice"),
        (b"Proxy-Authorization: Digest x\r\n", 407, None),
        (b"Proxy-Authorization: Basic !!\r\n", 407, None),
        (b"Proxy-Authorization: \r\n", 407, None),
    ],
)
async def test_credentials_decide_before_anything_else(
    tmp_path: Path, fields: bytes, status: int, user: str | None
) -> None:
    write_users(tmp_path, alice="secret")
    async with open_door(tmp_path, AUTH % "true") as door:
        answer = await ask(door, "http://origin.test/", fields)
        assert answer.status == status
        challenge = 'Basic realm="wsproxy", charset="UTF-8"' if status == 407 else None
        assert answer.field("proxy-authenticate") == challenge
        (record,) = await door.access()
        assert (record["user"], record["status"]) == (user, status)
        assert len(door.network.asked) == len(door.network.dialled) == (status == 200)
        assert "secret" not in str(record)


async def test_credentials_are_optional_when_they_are_not_required(tmp_path: Path) -> None:
    write_users(tmp_path, alice="secret")
    async with open_door(tmp_path, AUTH % "false") as door:
        assert (await ask(door, "http://origin.test/")).status == 200
        wrong = credentials("alice", "wrong")
        assert (await ask(door, "http://origin.test/", wrong)).status == 407


async def test_credentials_mean_nothing_where_no_method_is_configured(door: Door) -> None:
    fields = credentials("alice", "wrong")
    assert (await ask(door, "http://origin.test/", fields)).status == 200
    (record,) = await door.access()
    assert (record["user"], record["durations_ms"]["authenticate"]) == (None, None)


async def test_every_request_of_a_connection_proves_who_asks(tmp_path: Path) -> None:
    write_users(tmp_path, alice="secret")
    async with open_door(tmp_path, AUTH % "true") as door:
        client = await door.client()
        head = b"GET http://origin.test/ HTTP/1.1\r\nHost: h\r\n"
        await client.sends(head + credentials("alice", "secret") + b"\r\n")
        origin = await door.origin.accept()
        seen = await origin.reads_until(b"\r\n\r\n")
        assert b"Proxy-Authorization" not in seen
        await origin.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert (await client.answer()).status == 200
        await client.sends(head + b"\r\n")
        answer = await client.answer()
        assert (answer.status, answer.field("connection")) == (407, None)
        await client.sends(head + credentials("alice", "secret") + b"\r\n")
        # On the same connection: who is in the middle of NTLM with the origin goes on.
        await origin.reads_until(b"\r\n\r\n")


# ---------------------------------------------------------------- whether

RULES = """
policy:
  default: deny
  rules:
    - {name: api, action: allow, when: {hosts: [origin.test], methods: [GET], paths: ["/v1/*"]}}
    - {name: talk, action: deny, when: {hosts: [bad.test]}, message: "Ask <b>IT</b>"}
"""


@pytest.mark.parametrize(
    ("method", "url", "rule", "allowed"),
    [
        ("GET", "http://origin.test/v1/x", "api", True),
        ("POST", "http://origin.test/v1/x", "default", False),
        ("GET", "http://origin.test/v2/x", "default", False),
        ("GET", "http://bad.test/", "talk", False),
        ("CONNECT", "origin.test:80", "default", False),
    ],
)
async def test_rules_decide_on_the_name_before_it_is_looked_up(
    tmp_path: Path, method: str, url: str, rule: str, allowed: bool
) -> None:
    async with open_door(tmp_path, RULES) as door:
        answer = await ask(door, url, method=method)
        assert answer.status == (200 if allowed else 403)
        (record,) = await door.access()
        assert (record["rule"], record["verdict"]) == (rule, "allow" if allowed else "deny")
        assert len(door.network.asked) == len(door.network.dialled) == int(allowed)


# ---------------------------------------------------------------- where to


@pytest.mark.parametrize(
    ("answers", "dialled"),
    [
        (["127.0.0.1"], []),
        (["10.0.0.1", "::1", "169.254.169.254"], []),
        (["10.0.0.1", ORIGIN], [f"{ORIGIN}:80"]),
        ([ORIGIN, "10.0.0.1"], [f"{ORIGIN}:80"]),
        (["::ffff:127.0.0.1"], []),
    ],
)
async def test_only_addresses_that_were_vetted_are_dialled(
    door: Door, answers: list[str], dialled: list[str]
) -> None:
    door.network.names["mixed.test"] = list(answers)
    answer = await ask(door, "http://mixed.test/")
    assert answer.status == (200 if dialled else 403)
    assert (door.network.asked, door.network.dialled) == (["mixed.test"], dialled)
    (record,) = await door.access()
    if not dialled:
        assert (record["rule"], record["verdict"], record["error"]) == (
            "private-networks",
            "deny",
            "destination_ip_prohibited",
        )
        assert not any(address in answer.body.decode() for address in answers)


async def test_the_network_is_asked_nothing_about_an_address_that_is_refused(door: Door) -> None:
    for url in ("http://127.0.0.1/", "http://[::1]/", "http://0.0.0.0/", "http://10.1.2.3:8080/"):
        assert (await ask(door, url)).status == 403
    assert (door.network.asked, door.network.dialled) == ([], [])


@pytest.mark.parametrize("most", [1, 4096])
async def test_an_address_in_a_zone_may_be_dialled_for_its_names_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("wsproxy.proxy.gate._MAX_VETTED", most)
    config = (
        "policy:\n  default: allow\n"
        "  private_networks: [{hosts: [in.test], networks: [10.0.0.0/8]}]\n"
    )
    async with open_door(tmp_path, config) as door:
        door.network.hosts["10.0.0.1", 80] = door.origin
        door.network.names |= {"in.test": ["10.0.0.1"], "rebound.test": ["10.0.0.1"]}
        for _ in range(2):  # what is remembered decides no other way
            assert (await ask(door, "http://in.test/")).status == 200
            assert (await ask(door, "http://rebound.test/")).status == 403
        assert door.network.dialled == ["10.0.0.1:80"] * 2
        assert len(door.runtime.gate._vetted) == min(most, 2)


ZONES = """
policy:
  default: deny
  private_networks:
    - {name: lab, hosts: ["*.in.test"], networks: [10.0.0.0/8]}
    - {hosts: ["*.in.test"], networks: [192.168.0.0/16]}
  rules:
    - name: inside
      when: {hosts: ["*.test"]}
      action: allow
"""


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("a.in.test", ["10.0.0.1 allow private lab", "192.168.0.1 allow private zone-2"]),
        ("out.test", ["10.0.0.1 deny private None", "192.168.0.1 deny private None"]),
        ("192.168.0.1", []),
    ],
)
async def test_a_record_says_what_was_decided_by_name_and_by_address(
    tmp_path: Path, host: str, said: list[str]
) -> None:
    async with open_door(tmp_path, ZONES) as door:
        door.network.hosts["10.0.0.1", 80] = door.origin
        door.network.names |= {
            one: ["10.0.0.1", "192.168.0.1"] for one in ("a.in.test", "out.test")
        }
        answer = await ask(door, f"http://{host}/", b"Accept: application/json\r\n")
        (record,) = await door.access()
        file = str(tmp_path / "wsproxy.yaml")
    decision = record["decision"]
    found = [" ".join(str(one[key]) for key in one) for one in decision["addresses"]]
    assert found == said
    rule = {"verdict": "allow", "rule": "inside", "file": file, "line": 8}
    default = {"verdict": "deny", "rule": "default", "file": None, "line": None}
    assert decision["name"] == (rule if said else default)
    assert decision["route"] == ("direct" if answer.status == 200 else None)
    if answer.status == 403:
        # A client gets the rule and the id by which the rest is found, and no path of ours.
        page = json.loads(answer.body)
        assert (page["id"], page["rule"]) == (record["id"], record["rule"])
        status = answer.field("proxy-status") or ""
        assert f'rule="{record["rule"]}"; id="{record["id"]}"' in status
        assert file not in answer.body.decode() + status


async def test_the_proxy_does_not_lead_to_itself(tmp_path: Path) -> None:
    config = (
        "policy:\n  default: allow\n  private_networks: [{hosts: ['*'], networks: [127.0.0.0/8]}]\n"
    )
    async with open_door(tmp_path, config, own=True) as door:
        answer = await ask(door, f"http://127.0.0.1:{door.port}/")
        assert answer.status == 403
        assert b"the proxy itself" in answer.body
        assert door.network.dialled == []


@pytest.mark.parametrize("own", [True, False])
async def test_nor_where_it_has_led_to_its_own_address_before(tmp_path: Path, own: bool) -> None:
    """Neither another port there nor a time before it listened counts for what is vetted now."""
    config = (
        "policy:\n  default: allow\n  private_networks: [{hosts: ['*'], networks: [127.0.0.0/8]}]\n"
    )
    async with open_door(tmp_path, config, own=own) as door:
        door.network.hosts["127.0.0.1", 81] = door.origin
        assert (await ask(door, "http://127.0.0.1:81/")).status == 200
        listeners, port = door.runtime.gate.listeners, door.port if own else 81
        assert isinstance(listeners, list)
        if not own:
            listeners.append((ip_address("127.0.0.1"), port))
        answer = await ask(door, f"http://127.0.0.1:{port}/")
        assert (answer.status, b"the proxy itself" in answer.body) == (403, True)
        assert door.network.dialled == ["127.0.0.1:81"]


async def test_a_connection_that_is_used_again_is_vetted_again_but_not_looked_up(
    door: Door,
) -> None:
    client = await door.client()
    for _ in range(2):
        await client.sends(b"GET http://origin.test/ HTTP/1.1\r\nHost: h\r\n\r\n")
        if not door.network.dialled:
            origin = await door.origin.accept()
        await origin.reads_until(b"\r\n\r\n")
        await origin.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await client.answer()
    _first, record = await door.access(2)
    durations = record["durations_ms"]
    assert (durations["resolve"], durations["connect"]) == (None, None)
    assert (record["address"], door.network.asked) == (f"{ORIGIN}:80", ["origin.test"])


async def test_a_route_dials_for_real(tmp_path: Path) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    loopback = ip_address("127.0.0.1")
    route = Route(Target("tcp", Host("x.test"), port), [loopback], 5.0)
    exchange = Exchange(Peer(loopback, 1), trio.current_time())
    sock, address, parent = await route.connect(exchange)
    assert isinstance(sock, socket.socket)
    assert (sock.getpeername(), address, parent) == (("127.0.0.1", port), loopback, None)
    assert exchange.dialled == Peer(loopback, port)
    assert exchange.connect_ms is not None
    sock.close()
    await listener.aclose()


async def test_the_configured_gate_asks_the_systems_resolver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "_look_up", lambda name: [ip_address(ORIGIN)])
    (tmp_path / "c.yaml").write_text("policy: {default: allow}")
    gate = build(load(tmp_path / "c.yaml")).gate
    assert await gate.resolver.resolve(Host("origin.test")) == (ip_address(ORIGIN),)


async def test_what_failed_has_its_duration_too(tmp_path: Path) -> None:
    write_users(tmp_path, alice="secret")
    async with open_door(tmp_path, AUTH % "true") as door:
        await ask(door, "http://origin.test/", credentials("alice", "wrong"))
        await ask(door, "http://nowhere.test/", credentials("alice", "secret"))
        refused, unresolved = await door.access(2)
    assert (refused["status"], refused["durations_ms"]["resolve"]) == (407, None)
    assert refused["durations_ms"]["authenticate"] > 0
    assert (unresolved["error"], unresolved["durations_ms"]["connect"]) == ("dns_error", None)
    assert unresolved["durations_ms"]["resolve"] >= 0


async def test_a_refused_connection_has_its_duration() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    loopback = ip_address("127.0.0.1")
    exchange = Exchange(Peer(loopback, 1), trio.current_time())
    with pytest.raises(ConnectRefused):
        await Route(Target("tcp", Host("x.test"), port), [loopback], 5.0).connect(exchange)
    assert (exchange.dialled, exchange.connect_ms is None) == (None, False)
