"""The conditions a rule can have: from configured values to a function of the ask.

Values within one condition are alternatives; a rule's conditions must all hold.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence

from wsproxy.policy.ask import HALF_TLS, PROTOCOLS, SNIFFED, Ask
from wsproxy.policy.hosts import compile_hosts
from wsproxy.policy.hours import Hours
from wsproxy.policy.names import NameList
from wsproxy.policy.networks import compile_networks, parse_unmapped_network, unmapped
from wsproxy.policy.origins import compile_origins
from wsproxy.policy.paths import compile_paths

__all__ = ["ALLOWING_MATCHERS", "MATCHERS", "Builder", "Matcher", "Values"]

Values = Sequence[str | int | NameList | Hours]
Matcher = Callable[[Ask], bool]
Builder = Callable[[Values], Matcher]

_PORT_RANGE = re.compile(r"([1-9][0-9]{0,4})-([1-9][0-9]{0,4})")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
)
_MAX_PORT = 65535


def _users(values: Values) -> Matcher:
    names = _texts(values, "user")

    def matches(ask: Ask) -> bool:
        return ask.identity is not None and ask.identity.user in names

    return matches


def _groups(values: Values) -> Matcher:
    names = _texts(values, "group")

    def matches(ask: Ask) -> bool:
        return ask.identity is not None and not names.isdisjoint(ask.identity.groups)

    return matches


def _clients(values: Values) -> Matcher:
    networks = compile_networks([parse_unmapped_network(value) for value in values])

    def matches(ask: Ask) -> bool:
        return unmapped(ask.client) in networks

    return matches


def _hosts(values: Values) -> Matcher:
    patterns = compile_hosts(values)

    def matches(ask: Ask) -> bool:
        return ask.host in patterns

    return matches


def _hosts_file(values: Values) -> Matcher:
    lists = tuple(value for value in values if isinstance(value, NameList))
    if len(lists) < len(values):
        raise ValueError("give lists that were read")

    def matches(ask: Ask) -> bool:
        return any(ask.host in names for names in lists)

    return matches


def _hours(values: Values) -> Matcher:
    windows = tuple(value for value in values if isinstance(value, Hours))
    if len(windows) < len(values):
        raise ValueError("give hours with their time zone")

    def matches(ask: Ask) -> bool:
        return any(ask.at in window for window in windows)

    return matches


def _ports(values: Values) -> Matcher:
    parsed = [_parse_ports(value) for value in values]
    single = frozenset(ports[0] for ports in parsed if len(ports) == 1)
    ranges = tuple(ports for ports in parsed if len(ports) > 1)

    def matches(ask: Ask) -> bool:
        return ask.port in single or any(ask.port in ports for ports in ranges)

    return matches


def _protocols(values: Values) -> Matcher:
    names = _texts(values, "protocol")
    for name in sorted(names - PROTOCOLS):
        near = difflib.get_close_matches(name.lower(), sorted(PROTOCOLS), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(PROTOCOLS))}"
        raise ValueError(f"{name!r} is not a protocol; {hint}")

    def matches(ask: Ask) -> bool:
        return not names.isdisjoint(ask.protocols)

    return matches


def _methods(values: Values) -> Matcher:
    names = _texts(values, "method")
    for name in sorted(names):
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is not a request method")
        if name not in _METHODS and name.upper() in _METHODS:
            raise ValueError(f"methods are case-sensitive: write {name.upper()!r}, not {name!r}")

    def matches(ask: Ask) -> bool:
        return ask.method in names

    return matches


def _paths_any_reading(values: Values) -> Matcher:
    patterns = compile_paths(values)

    def matches(ask: Ask) -> bool:
        return ask.path is not None and patterns.match_any(ask.path)

    return matches


def _paths_every_reading(values: Values) -> Matcher:
    patterns = compile_paths(values)

    def matches(ask: Ask) -> bool:
        return ask.path is not None and patterns.match_every(ask.path)

    return matches


def _origins_in_doubt(values: Values) -> Matcher:
    return _origins(values, unreadable=True)


def _origins_for_certain(values: Values) -> Matcher:
    return _origins(values, unreadable=False)


def _origins(values: Values, *, unreadable: bool) -> Matcher:
    patterns = compile_origins(values)

    def matches(ask: Ask) -> bool:
        if not ask.handshake or ask.origin is None:
            return False
        return patterns.match(ask.origin, unreadable=unreadable)

    return matches


def _subprotocols_any(values: Values) -> Matcher:
    names = _subprotocol_names(values)

    def matches(ask: Ask) -> bool:
        return ask.handshake and not names.isdisjoint(ask.subprotocols)

    return matches


def _subprotocols_every(values: Values) -> Matcher:
    names = _subprotocol_names(values)

    def matches(ask: Ask) -> bool:
        # The origin may choose any of those that are offered.
        return ask.handshake and bool(ask.subprotocols) and names.issuperset(ask.subprotocols)

    return matches


def _sniff_known(values: Values) -> Matcher:
    return _sniff(values, in_doubt=False)


def _sniff_or_unknown(values: Values) -> Matcher:
    return _sniff(values, in_doubt=True)


def _sniff(values: Values, *, in_doubt: bool) -> Matcher:
    """Before a tunnel's first octets have come, nobody knows; who asks then asks again."""
    names = _texts(values, "sniff")
    for name in sorted(names - SNIFFED):
        near = difflib.get_close_matches(name.lower(), sorted(SNIFFED), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(SNIFFED))}"
        raise ValueError(f"{name!r} is nothing that can be told by first octets; {hint}")

    if "tls" in names and not in_doubt:
        names |= {HALF_TLS}

    def matches(ask: Ask) -> bool:
        return in_doubt if ask.sniffed is None else not names.isdisjoint(ask.sniffed)

    return matches


def _alpn_known(values: Values) -> Matcher:
    return _alpn(values, in_doubt=False)


def _alpn_or_unknown(values: Values) -> Matcher:
    return _alpn(values, in_doubt=True)


def _alpn(values: Values, *, in_doubt: bool) -> Matcher:
    """All that is offered must be among the names; ``none`` stands for no offer."""
    names = _texts(values, "ALPN protocol")

    def matches(ask: Ask) -> bool:
        if ask.sniffed is None:
            return in_doubt
        return names.issuperset(ask.alpn or ("none",))

    return matches


MATCHERS: Mapping[str, Builder] = {
    "users": _users,
    "groups": _groups,
    "clients": _clients,
    "hosts": _hosts,
    "hosts_file": _hosts_file,
    "ports": _ports,
    "protocols": _protocols,
    "methods": _methods,
    "paths": _paths_any_reading,
    "origins": _origins_in_doubt,
    "subprotocols": _subprotocols_any,
    "sniff": _sniff_known,
    "alpn": _alpn_known,
    "hours": _hours,
}
"""Condition name to builder, for rules that deny: in doubt they match.

But for what first octets are to tell: until they do, the tunnel is open, nothing is
relayed, and the last word is not spoken.

A builder takes the configured values, never none, and raises ValueError with a
sentence that says what to write instead.
"""

ALLOWING_MATCHERS: Mapping[str, Builder] = {
    **MATCHERS,
    "paths": _paths_every_reading,
    "origins": _origins_for_certain,
    "subprotocols": _subprotocols_every,
    "sniff": _sniff_or_unknown,
    "alpn": _alpn_or_unknown,
}
"""The same for rules that allow: in doubt they do not match."""


def _texts(values: Values, what: str) -> frozenset[str]:
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not a {what} name; write it in quotes")
        if not value:
            raise ValueError(f"a {what} name is empty")
    return frozenset(value for value in values if isinstance(value, str))


def _subprotocol_names(values: Values) -> frozenset[str]:
    names = _texts(values, "subprotocol")
    for name in sorted(names):
        if not _TOKEN.fullmatch(name):  # RFC 6455 §4.1
            raise ValueError(f"{name!r} is not the name of a subprotocol")
    return names


def _parse_ports(value: object) -> range:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MAX_PORT:
        return range(value, value + 1)
    if isinstance(value, str):
        if value.isdecimal():
            raise ValueError(f"{value!r}: write a single port as a number without quotes")
        if match := _PORT_RANGE.fullmatch(value):
            low, high = int(match[1]), int(match[2])
            if low <= high <= _MAX_PORT:
                return range(low, high + 1)
    raise ValueError(f"{value!r} is neither a port from 1 to 65535 nor a range like '8000-8999'")
