"""Which rules can match an ask at all, found without looking at the others.

Theory of operation.  Most rules of a long policy name hosts, users, groups or clients.
Each such rule is filed under the keys of one of these conditions: whatever the rule
matches has one of the keys.  An ask has few keys (its host, the domains above it, its
user …), so a handful of look-ups finds every rule that could match.  The others, those
about ports or hours for instance, are in `Index.rest` and looked at every time.

A rule is found under its keys by just those asks for which the condition holds, so that
one is not asked again; all others are.  Where a rule could be filed in several ways, it is filed where it shares its keys with the
fewest others: ten thousand rules about one host, each for another user, are as quick as
ten thousand about as many hosts.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, summarize_address_range
from typing import Literal

from wsproxy.model import Address
from wsproxy.policy.ask import Ask
from wsproxy.policy.hosts import compile_hosts
from wsproxy.policy.match import Values
from wsproxy.policy.names import NameList
from wsproxy.policy.networks import Networks, compile_networks, parse_unmapped_network, unmapped

__all__ = ["Index", "build_index"]

Positions = tuple[int, ...]
"""Of rules, ascending: the order of the file is the order of precedence."""

Prefix = tuple[int, int, int]
"""A network: version of IP, length of the prefix, and its bits."""

Kind = Literal["host", "target", "client", "user", "group"]
Key = tuple[Kind, str | Prefix]

_FEW = 100
"""Positions that are sorted at once; more are merged one by one, as the first may decide."""
_MAX_FILED_NAMES = 1000
"""Longer lists of names are looked at every time, rather than to be held twice."""


@dataclass(frozen=True, slots=True)
class _Networks:
    """Rules by network.

    Attributes:
        by_prefix: positions.
        lengths: lengths of prefixes that occur, by version of IP.
    """

    by_prefix: Mapping[Prefix, Positions]
    lengths: Mapping[int, tuple[int, ...]]

    def of(self, address: Address) -> list[Positions]:
        """The rules of each network that `address` is in."""
        found: list[Positions] = []
        version = address.version
        if lengths := self.lengths.get(version):
            bits, size = int(address), address.max_prefixlen
            for length in lengths:
                positions = self.by_prefix.get((version, length, bits >> (size - length)))
                if positions is not None:
                    found.append(positions)
        return found


@dataclass(frozen=True, slots=True)
class Index:
    """Rules by what they ask for.  Build it with `build_index`.

    Attributes:
        hosts: by a name that is exactly the host's, or by ``.example.com`` for every host below it.
        users: by name of the user.
        groups: by name of a group.
        targets: by network of a target that is an address.
        clients: by network of the client; None when no rule is.
        rest: those that are filed nowhere.
        implied: for each rule the condition by which it is filed; None in `rest`.
    """

    hosts: Mapping[str, Positions] = field(repr=False)
    users: Mapping[str, Positions] = field(repr=False)
    groups: Mapping[str, Positions] = field(repr=False)
    targets: _Networks = field(repr=False)
    clients: _Networks | None = field(repr=False)
    rest: Positions = field(repr=False)
    implied: tuple[str | None, ...] = field(repr=False)

    def candidates(self, ask: Ask) -> Iterable[int]:
        """Positions of all rules that can match `ask`, ascending; one may occur more than once."""
        found = [self.rest] if self.rest else []
        host, identity = ask.host, ask.identity
        if host.address is not None:
            found.extend(self.targets.of(unmapped(host.address)))
        elif hosts := self.hosts:
            name = host.text
            if name in hosts:
                found.append(hosts[name])
            dot = name.find(".")
            while dot >= 0:
                parent = name[dot:]
                if parent in hosts:
                    found.append(hosts[parent])
                dot = name.find(".", dot + 1)
        if identity is not None:
            if identity.user in self.users:
                found.append(self.users[identity.user])
            if self.groups:
                found.extend(self.groups[name] for name in identity.groups if name in self.groups)
        if self.clients is not None:
            found.extend(self.clients.of(unmapped(ask.client)))
        return found[0] if len(found) == 1 else _in_order(found)


def _in_order(found: Sequence[Positions]) -> Iterable[int]:
    few: Positions = ()
    for positions in found:
        if len(few) + len(positions) > _FEW:
            return heapq.merge(*found)
        few += positions
    return sorted(few)


def build_index(whens: Iterable[Mapping[str, Values]]) -> Index:
    """The index of rules with these conditions, in their order.

    Args:
        whens: what `compile_rule` took, one for each rule.
    """
    filings = [dict(_filings(when)) for when in whens]
    crowd = Counter(key for ways in filings for keys in ways.values() for key in keys)
    filed: defaultdict[Key, list[int]] = defaultdict(list)
    implied: list[str | None] = []
    for position, ways in enumerate(filings):
        best = min(ways, key=lambda name: max(crowd[key] for key in ways[name]), default=None)
        implied.append(best)
        for key in ways[best] if best else ():
            filed[key].append(position)
    clients = _networks(filed, "client")
    return Index(
        hosts=_texts(filed, "host"),
        users=_texts(filed, "user"),
        groups=_texts(filed, "group"),
        targets=_networks(filed, "target"),
        clients=clients if clients.by_prefix else None,
        rest=tuple(position for position, name in enumerate(implied) if name is None),
        implied=tuple(implied),
    )


def _filings(when: Mapping[str, Values]) -> Iterator[tuple[str, frozenset[Key]]]:
    """Each condition by which a rule can be filed, and its keys.

    An ask has one of the keys if the condition holds, and only then.
    """
    if "hosts" in when:
        patterns = compile_hosts(when["hosts"])
        if not patterns.everything:
            names = {*patterns.names, *(f".{suffix}" for suffix in patterns.suffixes)}
            hosts: set[Key] = {("host", name) for name in names}
            yield "hosts", frozenset(hosts | set(_prefixes("target", patterns.networks)))
    if "hosts_file" in when:
        lists = [value for value in when["hosts_file"] if isinstance(value, NameList)]
        if sum(map(len, lists)) <= _MAX_FILED_NAMES:
            listed = {name for names in lists for name in names}
            keys = (key for name in listed for key in (name, f".{name}"))
            yield "hosts_file", frozenset(("host", key) for key in keys)
    if "users" in when:
        yield "users", frozenset(("user", str(name)) for name in when["users"])
    if "groups" in when:
        yield "groups", frozenset(("group", str(name)) for name in when["groups"])
    if "clients" in when:
        networks = compile_networks([parse_unmapped_network(value) for value in when["clients"]])
        yield "clients", frozenset(_prefixes("client", networks))


def _prefixes(kind: Kind, networks: Networks) -> Iterator[Key]:
    for first, last in zip(*networks.v4, strict=True):
        for v4 in summarize_address_range(IPv4Address(first), IPv4Address(last)):
            yield kind, _prefix(v4)
    for first, last in zip(*networks.v6, strict=True):
        for v6 in summarize_address_range(IPv6Address(first), IPv6Address(last)):
            yield kind, _prefix(v6)


def _prefix(network: IPv4Network | IPv6Network) -> Prefix:
    length = network.prefixlen
    bits = int(network.network_address) >> (network.max_prefixlen - length)
    return network.version, length, bits


def _texts(filed: Mapping[Key, list[int]], kind: Kind) -> dict[str, Positions]:
    return {
        key: tuple(positions)
        for (other, key), positions in filed.items()
        if other == kind and isinstance(key, str)
    }


def _networks(filed: Mapping[Key, list[int]], kind: Kind) -> _Networks:
    by_prefix: dict[Prefix, Positions] = {
        key: tuple(positions)
        for (other, key), positions in filed.items()
        if other == kind and not isinstance(key, str)
    }
    lengths: defaultdict[int, set[int]] = defaultdict(set)
    for version, length, _ in by_prefix:
        lengths[version].add(length)
    return _Networks(by_prefix, {version: tuple(found) for version, found in lengths.items()})
