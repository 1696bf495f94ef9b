"""Which addresses a proxy may dial for somebody else.

Theory of operation.  `ipaddress.is_global` is not the judge: what it says
changed between Python releases (CVE-2024-4032), it calls 6to4 and multicast
global, and it has no word for a cloud's metadata service.  The table below is
the project's own, from the IANA IPv4 and IPv6 special-purpose address
registries.  It is searched by longest prefix, so an entry may carve a piece out
of another.  IPv6 starts from refusal: only 2000::/3 is assigned for global
unicast, and the exceptions inside it follow.

An IPv6 address with an IPv4 address inside ends, through the kernel or some
translator, at that IPv4 address.  All such forms are refused classes of their
own, and the address inside is classified as well.

A refused class is let through where a zone of the configuration says so.  A
zone binds names to networks: the host asked for must match *and* the address
must be inside, so a name under an attacker's control does not lead into a zone
(DNS rebinding).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from wsproxy.model import Address, AddressVerdict, Host
from wsproxy.policy.hosts import HostPatterns, compile_hosts
from wsproxy.policy.networks import Networks, compile_networks, parse_network, unmapped

__all__ = ["Zone", "classify", "compile_zone", "embedded", "is_own_listener", "vet"]

_CLASSES_V4: dict[str, str | None] = {
    "0.0.0.0/0": None,
    "0.0.0.0/8": "unspecified",  # RFC 791 §3.2 "this network"; Linux dials 0.0.0.0 as loopback
    "10.0.0.0/8": "private",  # RFC 1918
    "100.64.0.0/10": "cgnat",  # RFC 6598
    "100.100.100.200/32": "metadata",  # Alibaba Cloud
    "127.0.0.0/8": "loopback",  # RFC 1122 §3.2.1.3
    "168.63.129.16/32": "metadata",  # Azure: a public address that only the platform answers
    "169.254.0.0/16": "link-local",  # RFC 3927
    "169.254.169.254/32": "metadata",  # AWS, Azure, Google, OpenStack and others
    "169.254.170.2/32": "metadata",  # AWS ECS task credentials
    "169.254.170.23/32": "metadata",  # AWS EKS pod credentials
    "172.16.0.0/12": "private",  # RFC 1918
    "192.0.0.0/24": "ietf-protocol",  # RFC 6890
    "192.0.0.192/32": "metadata",  # Oracle Cloud (classic)
    "192.0.2.0/24": "documentation",  # RFC 5737
    "192.88.99.0/24": "6to4-relay",  # RFC 7526
    "192.168.0.0/16": "private",  # RFC 1918
    "198.18.0.0/15": "benchmarking",  # RFC 2544
    "198.51.100.0/24": "documentation",  # RFC 5737
    "203.0.113.0/24": "documentation",  # RFC 5737
    "224.0.0.0/4": "multicast",  # RFC 5771
    "240.0.0.0/4": "reserved",  # RFC 1112 §4
    "255.255.255.255/32": "broadcast",  # RFC 8190
}

_CLASSES_V6: dict[str, str | None] = {
    "::/0": "not-global-unicast",  # RFC 4291 §2.4 and the IANA IPv6 address space registry
    "::/96": "ipv4-compatible",  # RFC 4291 §2.5.5.1
    "::/128": "unspecified",
    "::1/128": "loopback",
    "::ffff:0:0/96": "ipv4-mapped",  # RFC 4291 §2.5.5.2
    "::ffff:0:0:0/96": "ipv4-translated",  # RFC 2765 §2.1
    "64:ff9b::/96": "nat64",  # RFC 6052
    "64:ff9b:1::/48": "nat64",  # RFC 8215
    "100::/64": "discard",  # RFC 6666
    "100:0:0:1::/64": "dummy",  # RFC 9780
    "2000::/3": None,
    "2001::/23": "ietf-protocol",  # RFC 2928; includes benchmarking, AMT, AS112, DRIP
    "2001::/32": "teredo",  # RFC 4380
    "2001:2::/48": "benchmarking",  # RFC 5180
    "2001:10::/28": "orchid",  # RFC 4843
    "2001:20::/28": "orchid",  # RFC 7343
    "2001:db8::/32": "documentation",  # RFC 3849
    "2002::/16": "6to4",  # RFC 3056
    "3fff::/20": "documentation",  # RFC 9637
    "5f00::/16": "segment-routing",  # RFC 9602
    "fc00::/7": "unique-local",  # RFC 4193
    "fd00:ec2::254/128": "metadata",  # AWS
    "fd20:ce::254/128": "metadata",  # Google
    "fe80::/10": "link-local",  # RFC 4291 §2.5.6
    "fec0::/10": "site-local",  # RFC 3879
    "ff00::/8": "multicast",  # RFC 4291 §2.7
}

_NEVER = frozenset({"unspecified", "multicast", "broadcast"})
"""No connection to these is meant by anyone, so no zone allows them."""

_LOW_32 = 0xFFFF_FFFF
_IN_LOW_32 = frozenset({"ipv4-compatible", "ipv4-mapped", "ipv4-translated", "nat64", "isatap"})
_ISATAP_IDS = frozenset({0x0000_5EFE, 0x0200_5EFE})  # RFC 5214 §6.1


@dataclass(frozen=True, slots=True)
class Zone:
    """An exception: these hosts may be at these addresses although the class is refused.

    Attributes:
        hosts: what the client may have asked for.
        networks: where that may lead.
        name: stands in records.
    """

    hosts: HostPatterns
    networks: Networks
    name: str = ""


def compile_zone(
    hosts: Sequence[str | int], networks: Sequence[str | int], *, name: str = ""
) -> Zone:
    """Build a zone from configuration values.

    Args:
        hosts: patterns as `compile_hosts` takes them.
        networks: addresses or CIDR networks.
        name: of the zone.

    Raises:
        ValueError: a list is empty or a value cannot be used; a helpful sentence.
    """
    if not hosts or not networks:
        raise ValueError("a zone needs at least one host pattern and one network")
    return Zone(compile_hosts(hosts), compile_networks([parse_network(n) for n in networks]), name)


def classify(address: Address) -> str | None:
    """Name the reason why `address` is not public unicast.

    Returns:
        A class name such as ``private``; None for a public unicast address.  An
        IPv6 form with a refused IPv4 address inside has both: ``nat64 metadata``.
    """
    outer = _class_of(address)
    inner = _embedded(address, outer)
    inner_class = _class_of(inner) if inner is not None else None
    return f"{outer} {inner_class}" if inner_class else outer


def embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address inside an IPv6 one, where packets to it end; None if there is none.

    For 64:ff9b:1::/48 (RFC 8215), where the operator chooses the layout, the
    usual one is read: a /96 prefix.  A zone for it should name that prefix in full.
    """
    return _embedded(address, _class_of(address))


def vet(host: Host, address: Address, zones: Sequence[Zone]) -> AddressVerdict:
    """Decide whether `address` may be dialled for a client that asked for `host`.

    Every address of an answer is vetted alone and only those that pass are dialled.

    Args:
        host: what the client asked for: a name, or the literal that `address` is.
        address: the very address that would be dialled.
        zones: exceptions.

    Returns:
        The verdict; its `kind` is the class name as of `classify`.
    """
    outer = _class_of(address)
    if outer is None:
        return AddressVerdict(address, True)
    parts: list[tuple[Address, str]] = [(address, outer)]
    inner = _embedded(address, outer)
    if inner is not None and (inner_class := _class_of(inner)):
        parts.append((inner, inner_class))
    kind = " ".join(name for _, name in parts)
    matching = [zone for zone in zones if host in zone.hosts]
    through: dict[str, None] = {}
    for part, name in parts:
        zone = None if name in _NEVER else _zone_of(part, matching)
        if zone is None:
            return AddressVerdict(address, False, kind)
        through[zone.name] = None
    return AddressVerdict(address, True, kind, ", ".join(through))


def _zone_of(address: Address, zones: Sequence[Zone]) -> Zone | None:
    for zone in zones:
        if address in zone.networks:
            return zone
    return None


def is_own_listener(
    address: Address,
    port: int,
    listeners: Collection[tuple[Address, int]],
    *,
    is_local: Callable[[Address], bool],
) -> bool:
    """Whether dialling `address` and `port` would reach one of the proxy's own listeners.

    Args:
        address: the address that would be dialled.
        port: 1 … 65535.
        listeners: bound address and port of every listener.
        is_local: tells whether an address is one of this machine's; asked only
            about listeners bound to a wildcard, which counts for both families.

    Returns:
        True for the listener's own address; for a wildcard listener also for
        every loopback, unspecified or local address.
    """
    bound = [unmapped(at) for at, at_port in listeners if at_port == port]
    if not bound:
        return False
    target = unmapped(address)
    if target.is_unspecified:
        # The kernel connects 0.0.0.0 and :: to its own loopback.
        target = IPv4Address("127.0.0.1") if isinstance(target, IPv4Address) else IPv6Address("::1")
    return target in bound or (
        any(at.is_unspecified for at in bound) and (target.is_loopback or is_local(target))
    )


def _flatten(
    classes: dict[str, str | None],
) -> tuple[list[int], list[str | None]]:
    """Cut nested networks into disjoint ranges: where each starts, and its class."""
    networks = sorted(
        ((ip_network(text), name) for text, name in classes.items()),
        key=lambda entry: -entry[0].prefixlen,
    )
    cuts = {int(n.network_address) for n, _ in networks}
    cuts |= {int(n.broadcast_address) + 1 for n, _ in networks}
    starts = sorted(cuts)[:-1]  # the last cut is behind the highest address
    return starts, [_longest_match(start, networks) for start in starts]


def _longest_match(
    number: int, networks: Sequence[tuple[IPv4Network | IPv6Network, str | None]]
) -> str | None:
    return next(
        name
        for network, name in networks
        if int(network.network_address) <= number <= int(network.broadcast_address)
    )


_STARTS_V4, _NAMES_V4 = _flatten(_CLASSES_V4)
_STARTS_V6, _NAMES_V6 = _flatten(_CLASSES_V6)


def _class_of(address: Address) -> str | None:
    """The class of `address` itself, whatever is inside."""
    number = int(address)
    if isinstance(address, IPv4Address):
        return _NAMES_V4[bisect_right(_STARTS_V4, number) - 1]
    name = _NAMES_V6[bisect_right(_STARTS_V6, number) - 1]
    if name is None and (number >> 32) & _LOW_32 in _ISATAP_IDS:
        return "isatap"
    return name


def _embedded(address: Address, outer: str | None) -> IPv4Address | None:
    number = int(address)
    if outer in _IN_LOW_32:
        return IPv4Address(number & _LOW_32)
    if outer == "6to4":
        return IPv4Address((number >> 80) & _LOW_32)
    if outer == "teredo":
        # RFC 4380 §4: the client's address with every bit inverted.
        return IPv4Address(~number & _LOW_32)
    return None
