"""Sets of addresses given as CIDR networks, searched in logarithmic time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_network,
)

from wsproxy.model import Address

__all__ = [
    "Networks",
    "compile_networks",
    "parse_network",
    "parse_unmapped_network",
    "unmapped",
]

_MAPPED = IPv6Network("::ffff:0:0/96")


Ranges = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Networks:
    """A set of IPv4 and IPv6 addresses; `address in networks`.

    Build it with `compile_networks`.

    Attributes:
        v4: disjoint ranges in ascending order: the first addresses, the last ones.
        v6: the same for IPv6.
    """

    v4: Ranges
    v6: Ranges

    def __contains__(self, address: Address) -> bool:
        """Whether `address` is in one of the networks; an IPv4-mapped one counts as IPv6."""
        first, last = self.v4 if isinstance(address, IPv4Address) else self.v6
        number = int(address)
        at = bisect_right(first, number) - 1
        return at >= 0 and number <= last[at]


def parse_network(value: object) -> IPv4Network | IPv6Network:
    """Read an address or a CIDR network in its normal spelling.

    Raises:
        ValueError: not a network, or one spelled otherwise; the sentence has the
            right spelling.
    """
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not an address or CIDR network; write it in quotes")
    try:
        # A zone id would be kept, and no address of a packet has one.
        network = ip_network(value if "%" not in value else "", strict=False)
    except ValueError:
        raise ValueError(
            f"{value!r} is not an address or CIDR network such as 10.0.0.0/8"
        ) from None
    whole = network.prefixlen == network.max_prefixlen
    right = str(network.network_address) if whole else str(network)
    # How an IPv4-mapped network is spelled changed between Python 3.12 and 3.13.
    mapped = isinstance(network, IPv6Network) and network.subnet_of(_MAPPED)
    if value not in (right, str(network)) and not mapped:
        raise ValueError(f"{value!r} is not in normal form; write {right!r}")
    return network


def parse_unmapped_network(value: object) -> IPv4Network | IPv6Network:
    """Read a network that is matched against addresses after `unmapped`.

    Raises:
        ValueError: as `parse_network`; or an IPv4-mapped network, which no such
            address is in.
    """
    network = parse_network(value)
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        inner = ip_address(int(network.network_address) & 0xFFFF_FFFF)
        raise ValueError(
            f"{value!r} is an IPv4 network in IPv6 dress; write '{inner}/{network.prefixlen - 96}'"
        )
    return network


def compile_networks(networks: Sequence[IPv4Network | IPv6Network]) -> Networks:
    """Merge `networks` into one searchable set."""
    v4 = collapse_addresses(n for n in networks if isinstance(n, IPv4Network))
    v6 = collapse_addresses(n for n in networks if isinstance(n, IPv6Network))
    return Networks(_ranges(list(v4)), _ranges(list(v6)))


def unmapped(address: Address) -> Address:
    """The IPv4 address behind an IPv4-mapped one (RFC 4291 §2.5.5.2): the kernel dials that."""
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address
    return address


def _ranges(
    networks: Sequence[IPv4Network] | Sequence[IPv6Network],
) -> Ranges:
    return (
        tuple(int(n.network_address) for n in networks),
        tuple(int(n.broadcast_address) for n in networks),
    )
