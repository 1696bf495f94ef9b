"""Which rules an ask leads to, and that it is few."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

import pytest

from wsproxy.model import Identity
from wsproxy.policy.ask import Ask, tunnel_protocols
from wsproxy.policy.index import Index, build_index
from wsproxy.policy.match import Values
from wsproxy.policy.names import parse_names
from wsproxy.protocol.authority import parse_host

ALICE = Identity("alice", frozenset({"desk", "staff"}))


def found(
    index: Index, host: str, *, user: Identity | None = None, client: str = "::1"
) -> list[int]:
    return list(
        index.candidates(
            Ask(
                client=ip_address(client),
                identity=user,
                host=parse_host(host.encode()),
                port=443,
                protocols=tunnel_protocols(443),
                method="CONNECT",
                at=0.0,
            )
        )
    )


INDEX = build_index(
    [
        {"hosts": ["a.example", "*.b.example"]},  # 0
        {"ports": [443]},  # 1
        {"hosts": ["*.b.example"], "users": ["bob"]},  # 2, one of several about b.example
        {"users": ["alice", "carol"]},  # 3
        {"groups": ["desk", "ops"]},  # 4
        {"clients": ["10.0.0.0/8", "2001:db8::/32"]},  # 5
        {"hosts": ["10.0.0.0/8", "192.0.2.1", "::/0"]},  # 6
        {"hosts": ["a.example", "*"]},  # 7
        {"hosts_file": [parse_names(b"b.example\nc.example", "l")]},  # 8
        {},  # 9
    ]
)


@pytest.mark.parametrize(
    ("host", "user", "client", "expected"),
    [
        ("a.example", None, "192.0.2.9", [0, 1, 7, 9]),
        ("x.a.example", None, "192.0.2.9", [1, 7, 9]),
        ("b.example", None, "192.0.2.9", [1, 7, 8, 9]),
        ("x.y.b.example", None, "192.0.2.9", [0, 1, 7, 8, 9]),
        ("z.test", ALICE, "192.0.2.9", [1, 3, 4, 7, 9]),
        ("z.test", Identity("bob"), "10.1.2.3", [1, 2, 5, 7, 9]),
        ("z.test", None, "::ffff:10.1.2.3", [1, 5, 7, 9]),
        ("z.test", None, "2001:db8:1::1", [1, 5, 7, 9]),
        ("10.1.2.3", None, "192.0.2.9", [1, 6, 7, 9]),
        ("192.0.2.1", None, "192.0.2.9", [1, 6, 7, 9]),
        ("192.0.2.2", None, "192.0.2.9", [1, 7, 9]),
        ("[2001:db8::1]", None, "192.0.2.9", [1, 6, 7, 9]),
        ("[::ffff:192.0.2.1]", None, "192.0.2.9", [1, 6, 7, 9]),
    ],
)
def test_an_ask_leads_to_the_rules_it_may_meet(
    host: str, user: Identity | None, client: str, expected: list[int]
) -> None:
    assert found(INDEX, host, user=user, client=client) == expected


def test_without_rules_there_are_none() -> None:
    assert found(build_index([]), "a.example", user=ALICE) == []


MANY = 5000


@pytest.mark.parametrize(
    ("whens", "host", "user", "client"),
    [
        ([{"hosts": [f"h{n}.example"]} for n in range(MANY)], "h7.example", None, "::1"),
        ([{"hosts": [f"*.h{n}.example"]} for n in range(MANY)], "x.h7.example", None, "::1"),
        ([{"hosts": [f"10.0.{n >> 8}.{n & 255}"]} for n in range(MANY)], "10.0.0.7", None, "::1"),
        ([{"users": [f"u{n}"]} for n in range(MANY)], "a.example", Identity("u7"), "::1"),
        (
            [{"groups": [f"g{n}"]} for n in range(MANY)],
            "a.example",
            Identity("u", frozenset({"g7"})),
            "::1",
        ),
        ([{"clients": [f"2001:db8:{n + 1:x}::/48"]} for n in range(MANY)], "a.example", None, "2001:db8:8::1"),
        (
            [{"hosts": ["a.example"], "users": [f"u{n}"]} for n in range(MANY)],
            "a.example",
            Identity("u7"),
            "::1",
        ),
        (
            [{"groups": ["staff"], "clients": [f"10.0.{n >> 8}.{n & 255}"]} for n in range(MANY)],
            "a.example",
            ALICE,
            "10.0.0.7",
        ),
        (
            [{"hosts_file": [parse_names(b"n%d.example" % n, "l")]} for n in range(MANY)],
            "x.n7.example",
            None,
            "::1",
        ),
    ],
    ids=["name", "suffix", "address", "user", "group", "client", "user-of-one-host",
         "client-of-one-group", "list"],
)  # fmt: skip
def test_other_rules_are_not_looked_at(
    whens: list[Mapping[str, Values]], host: str, user: Identity | None, client: str
) -> None:
    assert found(build_index(whens), host, user=user, client=client) == [7]


def test_long_lists_are_looked_at_every_time() -> None:
    long = parse_names(b"".join(b"n%d.example\n" % n for n in range(1001)), "l")
    index = build_index([{"hosts_file": [long]}, {"hosts_file": [long], "users": ["alice"]}])
    assert found(index, "a.test") == [0]
    assert found(index, "a.test", user=ALICE) == [0, 1]


def test_many_candidates_are_merged_as_they_are_wanted() -> None:
    index = build_index([{"ports": [n]} if n % 2 else {"users": ["alice"]} for n in range(1, 401)])
    assert found(index, "a.test", user=ALICE) == list(range(400))
