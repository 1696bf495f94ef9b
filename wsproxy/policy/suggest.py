"""From traffic that was seen to rules that would allow it, and as little else as can be.

One rule a service (port and protocols), since a list of ports beside a list of protocols
would allow every pair.  Names are put together into ``*.suffix`` only where that many names
below one suffix were seen, and never above what looks like a registrable domain: without the
public suffix list a short label before a country (``co.uk``) is taken for a part of the suffix.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import NamedTuple

from wsproxy.model import Address, Host

__all__ = ["HostCount", "SuggestedRule", "Suggestion", "Visit", "as_yaml", "suggest"]

_Service = tuple[int, tuple[str, ...]]

_PLAIN_USER = re.compile(r"[A-Za-z0-9_.@-]{1,32}")
_SHOWN_NAMES = 3
_GLOBAL_UNICAST = IPv6Network("2000::/3")


class Visit(NamedTuple):
    """One request that was seen.

    Attributes:
        host: of the target.
        port: of it.
        protocols: what it was, or may have been.
        user: who asked; None for nobody.
        would_deny: a rule or the default that only reports would have refused it.
    """

    host: Host
    port: int
    protocols: tuple[str, ...]
    user: str | None = None
    would_deny: bool = False


@dataclass(slots=True)
class HostCount:
    """A host pattern and what speaks for it.

    Attributes:
        pattern: for ``hosts`` of a rule.
        requests: how many.
        would_deny: how many of them the present policy would deny.
        names: those that were seen.
    """

    pattern: str
    requests: int = 0
    would_deny: int = 0
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SuggestedRule:
    """A rule that allows.

    Attributes:
        name: unique.
        hosts: most requests first.
        port: the only one.
        protocols: of which it was one.
        users: who may; empty for everybody.
    """

    name: str
    hosts: tuple[HostCount, ...]
    port: int
    protocols: tuple[str, ...]
    users: tuple[str, ...] = ()

    @property
    def requests(self) -> int:
        """How many it stands for."""
        return _requests(self.hosts)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What to allow.

    Attributes:
        rules: most requests first.
        requests: how many they stand for.
        private: how many went to a literal address that is not public, which no rule suggests.
    """

    rules: tuple[SuggestedRule, ...]
    requests: int
    private: int


_Seen = dict[tuple[_Service, str | None], dict[str, HostCount]]
_Shared = tuple[_Service, frozenset[str], bool]


def suggest(visits: Iterable[Visit], *, at_least: int = 3, by_user: bool = False) -> Suggestion:
    """An allow-list for `visits`.

    Args:
        visits: what was seen.
        at_least: how many labels must have been seen below a suffix for it to become a pattern.
        by_user: whether everybody gets only what they asked for themselves.
    """
    seen: _Seen = {}
    private = requests = 0
    for visit in visits:
        if visit.host.address is not None and not _is_public(visit.host.address):
            private += 1
            continue
        requests += 1
        service = visit.port, visit.protocols
        hosts = seen.setdefault((service, visit.user if by_user else None), {})
        count = hosts.setdefault(visit.host.text, HostCount(visit.host.text))
        count.requests += 1
        count.would_deny += visit.would_deny
    return Suggestion(tuple(_rules(seen, at_least)), requests, private)


def _rules(seen: _Seen, at_least: int) -> Iterator[SuggestedRule]:
    # Those who asked for the same share a rule.
    shared: dict[_Shared, tuple[list[str], dict[str, HostCount]]] = {}
    for (service, user), hosts in seen.items():
        patterns = dict(_patterns(hosts, at_least))
        users, counts = shared.setdefault((service, frozenset(patterns), user is None), ([], {}))
        users += [] if user is None else [user]
        for pattern, names in patterns.items():
            count = counts.setdefault(pattern, HostCount(pattern))
            count.requests += sum(hosts[name].requests for name in names)
            count.would_deny += sum(hosts[name].would_deny for name in names)
            count.names = tuple(sorted({*count.names, *names}))
    taken: set[str] = set()
    for key in sorted(shared, key=lambda key: -_requests(shared[key][1].values())):
        ((port, protocols), _, _), (users, counts) = key, shared[key]
        ordered = sorted(counts.values(), key=lambda one: (-one.requests, one.pattern))
        name = _name(f"{protocols[0]}-{port}", users, taken)
        yield SuggestedRule(name, tuple(ordered), port, protocols, tuple(sorted(users)))


def _requests(counts: Iterable[HostCount]) -> int:
    return sum(count.requests for count in counts)


def _name(service: str, users: Sequence[str], taken: set[str]) -> str:
    name = service
    if len(users) == 1 and _PLAIN_USER.fullmatch(users[0]):
        name = f"{service} {users[0]}"
    number = 1
    while (unique := name if number == 1 else f"{service} {number}") in taken:
        number += 1
    taken.add(unique)
    return unique


def _patterns(hosts: Collection[str], at_least: int) -> Iterator[tuple[str, list[str]]]:
    """Patterns that cover `hosts`, each with those that it covers."""
    below: dict[str, set[str]] = {}
    for host in hosts:
        below.setdefault(_domain(host), set()).add(host)
    for domain, names in below.items():
        yield from _cover(domain, names, at_least)


def _cover(suffix: str, names: Collection[str], at_least: int) -> Iterator[tuple[str, list[str]]]:
    if suffix in names:
        yield suffix, [suffix]
    children: dict[str, set[str]] = {}
    for name in names:
        if name != suffix:
            label = name.removesuffix(f".{suffix}").rpartition(".")[2]
            children.setdefault(f"{label}.{suffix}", set()).add(name)
    if len(children) >= at_least:
        yield f"*.{suffix}", sorted({*names} - {suffix})
        return
    for child, inside in children.items():
        yield from _cover(child, inside, at_least)


def _domain(host: str) -> str:
    """What looks registrable in a name; a literal address, or a name too short, is itself."""
    labels = host.split(".")
    if ":" in host or labels[-1].isdecimal():
        return host
    is_long = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3
    return ".".join(labels[-3 if is_long else -2 :])


def _is_public(address: Address) -> bool:
    """Whether nobody's inside can be meant; of IPv6 only what has no IPv4 address in it."""
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast
    assert isinstance(address, IPv6Address)
    is_plain = address.sixtofour is None and address.teredo is None
    return address in _GLOBAL_UNICAST and address.is_global and is_plain


def as_yaml(found: Suggestion, *, remarks: Sequence[str] = ()) -> str:
    """A configuration with the rules of `found`, each with its counts.

    Args:
        found: what to allow.
        remarks: one line each, for the head.
    """
    lines = [f"# {remark}" for remark in remarks]
    if any(rule.users for rule in found.rules):
        lines += [
            "# Rules about users need a method that knows them; put yours in the place of this one.",
            "auth: {methods: [{type: basic, users: users}]}",
        ]
    lines += ["policy:", "  default: deny"]
    lines.append("  rules:" if found.rules else "  rules: []")
    for rule in found.rules:
        lines += _rule_lines(rule)
    return "\n".join(lines) + "\n"


def _rule_lines(rule: SuggestedRule) -> Iterator[str]:
    yield f"    - name: {rule.name}  # {rule.requests} requests"
    yield "      when:"
    if rule.users:
        yield f"        users: [{', '.join(map(_quoted, rule.users))}]"
    yield "        hosts:"
    for host in rule.hosts:
        yield f"          - {_quoted(host.pattern)}  # {_evidence(host)}"
    yield f"        ports: {rule.port}"
    yield f"        protocols: [{', '.join(rule.protocols)}]"
    yield "      action: allow"


def _evidence(host: HostCount) -> str:
    text = f"{host.requests} requests"
    if host.would_deny:
        text += f", {host.would_deny} of them would be denied"
    if host.pattern in host.names:
        return text
    shown = ", ".join(host.names[:_SHOWN_NAMES])
    more = len(host.names) - _SHOWN_NAMES
    return f"{text}: {shown}" + (f" and {more} more" if more > 0 else "")


def _quoted(text: str) -> str:
    """`text` as a YAML scalar in double quotes, in which no variable is replaced."""
    quoted = json.dumps(text, ensure_ascii=False).replace("$", "$$")
    return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in quoted)
