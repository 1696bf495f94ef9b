"""Host patterns: exact names, ``*.suffix``, addresses and networks, in one look-up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from wsproxy.errors import ClientProtocolError
from wsproxy.model import Host
from wsproxy.policy.networks import (
    Networks,
    compile_networks,
    parse_unmapped_network,
    unmapped,
)
from wsproxy.protocol.authority import parse_host

__all__ = ["HostPatterns", "compile_hosts"]


@dataclass(frozen=True, slots=True)
class HostPatterns:
    """A set of hosts; `host in patterns`.  Build it with `compile_hosts`.

    Names are matched as asked for: a name that resolves into one of the networks
    is no match, since the names a client uses and the addresses behind them are
    two questions (the second is `wsproxy.policy.addresses.vet`).

    Attributes:
        everything: a plain ``*`` was among the patterns.
        names: exact names.
        suffixes: ``example.com`` for the pattern ``*.example.com``.
        networks: addresses of targets that are literals.
    """

    everything: bool
    names: frozenset[str]
    suffixes: frozenset[str]
    networks: Networks

    def __contains__(self, host: Host) -> bool:
        """Whether a pattern covers `host`; an IPv4-mapped literal is its IPv4 address."""
        if self.everything:
            return True
        if host.address is not None:
            return unmapped(host.address) in self.networks
        if host.text in self.names:
            return True
        if self.suffixes:
            _, dot, parent = host.text.partition(".")
            while dot:
                if parent in self.suffixes:
                    return True
                _, dot, parent = parent.partition(".")
        return False


def compile_hosts(patterns: Sequence[object]) -> HostPatterns:
    """Compile host patterns.

    Args:
        patterns: each one of ``*`` (every host), ``*.example.com`` (its
            subdomains, not itself), ``example.com``, ``192.0.2.1``, ``2001:db8::1``,
            ``10.0.0.0/8``, ``fd00::/8``; in the form in which `parse_host` gives hosts.

    Raises:
        ValueError: a pattern is something else or spelled otherwise; the
            sentence has the right spelling where there is one.
    """
    everything = False
    names: set[str] = set()
    suffixes: set[str] = set()
    networks: list[IPv4Network | IPv6Network] = []
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise ValueError(f"{pattern!r} is not a host pattern; write it in quotes")
        if pattern == "*":
            everything = True
        elif pattern.startswith("*."):
            suffixes.add(_parse_suffix(pattern))
        elif _looks_like_network(pattern):
            networks.append(parse_unmapped_network(pattern))
        else:
            names.add(_parse_name(pattern))
    return HostPatterns(
        everything, frozenset(names), frozenset(suffixes), compile_networks(networks)
    )


def _looks_like_network(pattern: str) -> bool:
    """Whether only an address can be meant: these go where they are read strictly."""
    address = pattern.partition("/")[0]
    if address.startswith("["):
        return False
    return address.count(":") > 1 or (bool(address) and not address.strip("0123456789."))


def _parse_suffix(pattern: str) -> str:
    suffix = pattern[2:]
    if not suffix.strip("0123456789."):
        raise ValueError(f"{pattern!r} is no pattern for addresses; write a network: '10.0.0.0/8'")
    try:
        return _parse_name(suffix)
    except ValueError as error:
        raise ValueError(f"in {pattern!r}: {error}") from None


def _parse_name(pattern: str) -> str:
    if "*" in pattern:
        raise ValueError(
            f"{pattern!r}: '*' stands alone (every host) or as '*.' at the start (subdomains)"
        )
    if pattern.startswith("."):
        raise ValueError(
            f"{pattern!r} is not in normal form; write '*{pattern}' for the subdomains"
            f" and {pattern[1:]!r} for the name itself"
        )
    name, colon, port = pattern.rpartition(":")
    if colon and port.isdecimal():
        raise ValueError(f"{pattern!r} has a port; write {name!r} here and {port} under 'ports'")
    right = _normal_form(pattern)
    if pattern != right:
        raise ValueError(f"{pattern!r} is not in normal form; write {right!r}")
    return right


def _normal_form(pattern: str) -> str:
    try:
        # The codec is IDNA 2003; it only has to find the spelling for the message.
        raw = pattern.encode("ascii" if pattern.isascii() else "idna")
        return parse_host(raw).text
    except ClientProtocolError as error:
        raise ValueError(f"{pattern!r} is not a host pattern: {error.detail}") from None
    except UnicodeError:
        raise ValueError(f"{pattern!r} is not a host pattern: write its A-labels (xn--…)") from None
