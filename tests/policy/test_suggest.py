"""From visits to rules: what is put together, what never is, and that the YAML says the same."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from wsproxy.model import Host
from wsproxy.policy.suggest import Suggestion, Visit, as_yaml, suggest


def visit(host: str, port: int = 443, *protocols: str, user: str | None = None) -> Visit:
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    return Visit(Host(host, address), port, protocols or ("https", "wss"), user)


def hosts(found: Suggestion) -> list[list[str]]:
    return [[host.pattern for host in rule.hosts] for rule in found.rules]


@pytest.mark.parametrize(
    ("names", "patterns"),
    [
        (["a.example.com", "b.example.com"], ["a.example.com", "b.example.com"]),
        (["a.example.com", "b.example.com", "c.example.com"], ["*.example.com"]),
        (
            ["example.com", "a.example.com", "b.example.com", "c.example.com"],
            ["*.example.com", "example.com"],
        ),
        # As narrow as can be.
        (
            ["www.example.com", "a.cdn.example.com", "b.cdn.example.com", "c.cdn.example.com"],
            ["*.cdn.example.com", "www.example.com"],
        ),
        (["a.x.e.com", "b.x.e.com", "c.y.e.com"], ["a.x.e.com", "b.x.e.com", "c.y.e.com"]),
        # Never above what looks registrable.
        (["a.com", "b.com", "c.com"], ["a.com", "b.com", "c.com"]),
        (["a.co.uk", "b.co.uk", "c.co.uk"], ["a.co.uk", "b.co.uk", "c.co.uk"]),
        (["a.b.co.uk", "c.b.co.uk", "d.b.co.uk"], ["*.b.co.uk"]),
        (["one", "two", "three"], ["one", "three", "two"]),
    ],
)
def test_names_are_put_together_only_where_enough_were_seen(
    names: list[str], patterns: list[str]
) -> None:
    (found,) = hosts(suggest([visit(name) for name in names]))
    assert sorted(found) == patterns


def test_how_many_are_enough_can_be_said() -> None:
    visits = [visit("a.example.com"), visit("b.example.com")]
    assert hosts(suggest(visits, at_least=2)) == [["*.example.com"]]


def test_ports_and_protocols_stay_together() -> None:
    visits = [
        visit("a.test"),
        visit("a.test"),
        visit("a.test", 80, "http"),
        visit("a.test", 80, "ws"),
    ]
    rules = suggest(visits).rules
    assert [(rule.name, rule.port, rule.protocols, rule.requests) for rule in rules] == [
        ("https-443", 443, ("https", "wss"), 2),
        ("http-80", 80, ("http",), 1),
        ("ws-80", 80, ("ws",), 1),
    ]


@pytest.mark.parametrize(
    ("address", "suggested"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        *(
            (address, False)
            for address in (
                *("10.0.0.1", "127.0.0.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "0.0.0.0"),
                *("::1", "fd00::1", "fe80::1", "::ffff:10.0.0.1", "2002:a00:1::", "64:ff9b::a00:1"),
                *("2001:0:4136:e378:8000:63bf:3fff:fdd2", "ff02::1"),
            )
        ),
    ],
)
def test_literal_addresses_are_suggested_only_when_public(address: str, suggested: bool) -> None:
    found = suggest([visit(address)])
    assert hosts(found) == ([[address]] if suggested else [])
    assert (found.requests, found.private) == (suggested, not suggested)


def test_by_user_everybody_gets_what_they_asked_for() -> None:
    visits = [
        visit("a.test", user="alice"),
        visit("b.test", user="bob"),
        visit("b.test", user="carl"),
        visit("c.test"),
        visit("d.test", user="ä" * 40),
        visit("e.test", user="ö"),
    ]
    rules = suggest(visits, by_user=True).rules
    told = {rule.name: (rule.users, [host.pattern for host in rule.hosts]) for rule in rules}
    assert told == {
        "https-443": (("bob", "carl"), ["b.test"]),
        "https-443 alice": (("alice",), ["a.test"]),
        "https-443 2": ((), ["c.test"]),
        "https-443 3": (("ä" * 40,), ["d.test"]),
        "https-443 4": (("ö",), ["e.test"]),
    }


def test_the_yaml_has_its_reasons_beside_it() -> None:
    visits = [visit(f"{name}.example.com") for name in "abcde"]
    visits += [Visit(Host("git.test"), 22, ("tcp",), None, would_deny=True)] * 2
    assert as_yaml(suggest(visits), remarks=["Read it."]) == (
        "# Read it.\n"
        "policy:\n"
        "  default: deny\n"
        "  rules:\n"
        "    - name: https-443  # 5 requests\n"
        "      when:\n"
        "        hosts:\n"
        '          - "*.example.com"  # 5 requests: a.example.com, b.example.com, c.example.com and 2 more\n'
        "        ports: 443\n"
        "        protocols: [https, wss]\n"
        "      action: allow\n"
        "    - name: tcp-22  # 2 requests\n"
        "      when:\n"
        "        hosts:\n"
        '          - "git.test"  # 2 requests, 2 of them would be denied\n'
        "        ports: 22\n"
        "        protocols: [tcp]\n"
        "      action: allow\n"
    )


def test_where_nothing_was_seen_nothing_is_allowed() -> None:
    assert as_yaml(suggest([])) == "policy:\n  default: deny\n  rules: []\n"


def test_users_are_quoted_for_yaml_and_variables() -> None:
    text = as_yaml(suggest([visit("a.test", user='a"${HOME}\x7f')], by_user=True))
    assert '        users: ["a\\"$${HOME}\\U0000007f"]\n' in text
