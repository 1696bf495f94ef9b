"""Sets of networks."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.model import Address
from wsproxy.policy.networks import (
    compile_networks,
    parse_network,
    parse_unmapped_network,
    unmapped,
)

NETWORKS = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(0, 32)),
    st.tuples(st.ip_addresses(v=6), st.integers(0, 128)),
).map(lambda pair: ip_network(pair, strict=False))


@given(st.lists(NETWORKS, max_size=6), st.ip_addresses())
def test_membership_is_what_the_standard_library_says(
    networks: list[IPv4Network | IPv6Network], address: Address
) -> None:
    compiled = compile_networks(networks)
    assert (address in compiled) == any(address in network for network in networks)
    for network in networks:
        assert network.network_address in compiled
        assert network.broadcast_address in compiled


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("192.0.2.1", "192.0.2.1/32"),
        ("192.0.2.1/32", "192.0.2.1/32"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
    ],
)
def test_a_network_in_normal_form(text: str, expected: str) -> None:
    assert parse_network(text) == ip_network(expected)


@pytest.mark.parametrize("text", ["::ffff:0:0/96", "::ffff:0.0.0.0/96"])
def test_both_spellings_of_the_mapped_network_are_read(text: str) -> None:
    assert parse_network(text) == ip_network("::ffff:0:0/96")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("10.1.2.3/8", "'10.1.2.3/8' is not in normal form; write '10.0.0.0/8'"),
        ("10.0.0.0/255.0.0.0", "'10.0.0.0/255.0.0.0' is not in normal form; write '10.0.0.0/8'"),
        ("FD00::/8", "'FD00::/8' is not in normal form; write 'fd00::/8'"),
        ("0:0::1", "'0:0::1' is not in normal form; write '::1'"),
        ("010.0.0.0/8", "'010.0.0.0/8' is not an address or CIDR network such as 10.0.0.0/8"),
        ("10.0/8", "'10.0/8' is not an address or CIDR network such as 10.0.0.0/8"),
        ("10.0.0.0/33", "'10.0.0.0/33' is not an address or CIDR network such as 10.0.0.0/8"),
        ("localhost", "'localhost' is not an address or CIDR network such as 10.0.0.0/8"),
        ("fe80::1%eth0", "'fe80::1%eth0' is not an address or CIDR network such as 10.0.0.0/8"),
        ("", "'' is not an address or CIDR network such as 10.0.0.0/8"),
        (10, "10 is not an address or CIDR network; write it in quotes"),
    ],
)
def test_an_odd_network_is_an_error_with_the_right_spelling(
    value: str | int, sentence: str
) -> None:
    with pytest.raises(ValueError) as error:
        parse_network(value)
    assert str(error.value) == sentence


def test_a_mapped_network_is_an_error_where_addresses_are_unmapped() -> None:
    with pytest.raises(ValueError) as error:
        parse_unmapped_network("::ffff:10.0.0.0/104")
    assert str(error.value) == (
        "'::ffff:10.0.0.0/104' is an IPv4 network in IPv6 dress; write '10.0.0.0/8'"
    )
    assert parse_unmapped_network("::/0") == ip_network("::/0")


def test_unmapped_takes_the_dress_off_mapped_addresses_only() -> None:
    assert unmapped(ip_address("::ffff:10.0.0.1")) == IPv4Address("10.0.0.1")
    assert unmapped(ip_address("64:ff9b::10.0.0.1")) == ip_address("64:ff9b::a00:1")
    assert unmapped(ip_address("10.0.0.1")) == IPv4Address("10.0.0.1")
