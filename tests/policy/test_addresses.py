"""Address classes, zones and the proxy's own listeners."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.model import Address, Host
from wsproxy.policy.addresses import (
    Zone,
    classify,
    compile_zone,
    embedded,
    is_own_listener,
    vet,
)
from wsproxy.protocol.authority import parse_host

NAME = Host("host.corp.example")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("0.0.0.0", "unspecified"),
        ("0.255.255.255", "unspecified"),
        ("1.0.0.0", None),
        ("9.255.255.255", None),
        ("10.0.0.0", "private"),
        ("10.255.255.255", "private"),
        ("11.0.0.0", None),
        ("100.63.255.255", None),
        ("100.64.0.0", "cgnat"),
        ("100.100.100.199", "cgnat"),
        ("100.100.100.200", "metadata"),
        ("100.100.100.201", "cgnat"),
        ("100.127.255.255", "cgnat"),
        ("100.128.0.0", None),
        ("126.255.255.255", None),
        ("127.0.0.0", "loopback"),
        ("127.255.255.255", "loopback"),
        ("128.0.0.0", None),
        ("168.63.129.15", None),
        ("168.63.129.16", "metadata"),
        ("168.63.129.17", None),
        ("169.253.255.255", None),
        ("169.254.0.0", "link-local"),
        ("169.254.169.253", "link-local"),
        ("169.254.169.254", "metadata"),
        ("169.254.170.2", "metadata"),
        ("169.254.170.23", "metadata"),
        ("169.254.255.255", "link-local"),
        ("169.255.0.0", None),
        ("172.15.255.255", None),
        ("172.16.0.0", "private"),
        ("172.31.255.255", "private"),
        ("172.32.0.0", None),
        ("191.255.255.255", None),
        ("192.0.0.0", "ietf-protocol"),
        ("192.0.0.8", "ietf-protocol"),
        ("192.0.0.9", "ietf-protocol"),
        ("192.0.0.170", "ietf-protocol"),
        ("192.0.0.192", "metadata"),
        ("192.0.0.255", "ietf-protocol"),
        ("192.0.1.0", None),
        ("192.0.2.0", "documentation"),
        ("192.0.2.255", "documentation"),
        ("192.0.3.0", None),
        ("192.88.98.255", None),
        ("192.88.99.0", "6to4-relay"),
        ("192.88.99.255", "6to4-relay"),
        ("192.88.100.0", None),
        ("192.167.255.255", None),
        ("192.168.0.0", "private"),
        ("192.168.255.255", "private"),
        ("192.169.0.0", None),
        ("198.17.255.255", None),
        ("198.18.0.0", "benchmarking"),
        ("198.19.255.255", "benchmarking"),
        ("198.20.0.0", None),
        ("198.51.99.255", None),
        ("198.51.100.0", "documentation"),
        ("198.51.100.255", "documentation"),
        ("198.51.101.0", None),
        ("203.0.112.255", None),
        ("203.0.113.0", "documentation"),
        ("203.0.113.255", "documentation"),
        ("203.0.114.0", None),
        ("223.255.255.255", None),
        ("224.0.0.0", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.0", "reserved"),
        ("255.255.255.254", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::2", "ipv4-compatible unspecified"),
        ("::8.8.8.8", "ipv4-compatible"),
        ("::127.0.0.1", "ipv4-compatible loopback"),
        ("::1:0:0", "not-global-unicast"),
        ("::fffe:127.0.0.1", "not-global-unicast"),
        ("::ffff:8.8.8.8", "ipv4-mapped"),
        ("::ffff:169.254.169.254", "ipv4-mapped metadata"),
        ("::ffff:0:10.0.0.1", "ipv4-translated private"),
        ("64:ff9b::8.8.8.8", "nat64"),
        ("64:ff9b::192.168.0.1", "nat64 private"),
        ("64:ff9b:0:0:0:1::", "not-global-unicast"),
        ("64:ff9b:1::8.8.8.8", "nat64"),
        ("64:ff9b:1:ffff::10.0.0.1", "nat64 private"),
        ("64:ff9b:2::", "not-global-unicast"),
        ("100::1", "discard"),
        ("100:0:0:1::1", "dummy"),
        ("1fff:ffff::", "not-global-unicast"),
        ("2000::", None),
        ("2000::5efe:8.8.8.8", "isatap"),
        ("2606:4700:1:2:200:5efe:10.0.0.1", "isatap private"),
        ("2606:4700:1:2:100:5efe:10.0.0.1", None),
        ("2001::", "teredo broadcast"),
        ("2001:0:1:2:3:4:5601:fefe", "teredo link-local"),
        ("2001:0:1:2:3:4:80ff:fffe", "teredo loopback"),
        ("2001:0:1:2:3:4:f7f7:f7f7", "teredo"),
        ("2001:1::1", "ietf-protocol"),
        ("2001:2::1", "benchmarking"),
        ("2001:3::1", "ietf-protocol"),
        ("2001:4:112::1", "ietf-protocol"),
        ("2001:10::1", "orchid"),
        ("2001:20::1", "orchid"),
        ("2001:30::1", "ietf-protocol"),
        ("2001:1ff:ffff::", "ietf-protocol"),
        ("2001:200::", None),
        ("2001:4860:4860::8888", None),
        ("2001:db7:ffff::", None),
        ("2001:db8::1", "documentation"),
        ("2001:db9::", None),
        ("2002::", "6to4 unspecified"),
        ("2002:7f00:1::", "6to4 loopback"),
        ("2002:808:808::1", "6to4"),
        ("2003::", None),
        ("2606:4700::1", None),
        ("3ffe:ffff::", None),
        ("3fff::1", "documentation"),
        ("3fff:fff:ffff::", "documentation"),
        ("3fff:1000::", None),
        ("3fff:ffff::", None),
        ("4000::", "not-global-unicast"),
        ("5f00::1", "segment-routing"),
        ("fc00::1", "unique-local"),
        ("fd00:ec2::254", "metadata"),
        ("fd20:ce::254", "metadata"),
        ("fd00:ec2::253", "unique-local"),
        ("fdff:ffff::", "unique-local"),
        ("fe00::", "not-global-unicast"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("fec0::1", "site-local"),
        ("feff::1", "site-local"),
        ("ff02::1", "multicast"),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "multicast"),
    ],
)
def test_the_class_of_an_address(address: str, expected: str | None) -> None:
    assert classify(ip_address(address)) == expected
    said = vet(NAME, ip_address(address), ())
    assert said == (ip_address(address), expected is None, expected or "public", None)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.0.0.1", None),
        ("2606:4700::1", None),
        ("::1", None),
        ("::", None),
        ("::10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::ffff:0:10.0.0.1", "10.0.0.1"),
        ("64:ff9b::10.0.0.1", "10.0.0.1"),
        ("64:ff9b:1:2:3:4:10.0.0.1", "10.0.0.1"),
        ("2002:a00:1::99", "10.0.0.1"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.2.45"),
        ("2606:4700::5efe:10.0.0.1", "10.0.0.1"),
        ("fe80::5efe:10.0.0.1", None),
    ],
)
def test_the_ipv4_address_inside(address: str, expected: str | None) -> None:
    assert embedded(ip_address(address)) == (expected and IPv4Address(expected))


CORP = compile_zone(["*.corp.example"], ["10.0.0.0/8", "fd00::/8"], name="corp")
LITERALS = compile_zone(["192.168.1.0/24"], ["192.168.1.0/24"], name="literals")
NAT64 = compile_zone(["*"], ["64:ff9b::/96"], name="nat64")
EVERYTHING = compile_zone(["*"], ["0.0.0.0/0", "::/0"], name="everything")


@pytest.mark.parametrize(
    ("host", "address", "zones", "zone", "refused"),
    [
        (b"a.corp.example", "10.1.2.3", [CORP], "corp", None),
        (b"a.corp.example", "fd00::1", [CORP], "corp", None),
        (b"a.corp.example", "8.8.8.8", [CORP], None, None),
        (b"a.corp.example", "192.168.1.1", [CORP], None, "private"),
        (b"corp.example", "10.1.2.3", [CORP], None, "private"),
        (b"evil.example", "10.1.2.3", [CORP], None, "private"),
        (b"10.1.2.3", "10.1.2.3", [CORP], None, "private"),
        (b"192.168.1.1", "192.168.1.1", [CORP, LITERALS], "literals", None),
        (b"a.corp.example", "192.168.1.1", [CORP, LITERALS], None, "private"),
        (b"[::ffff:192.168.1.1]", "::ffff:192.168.1.1", [LITERALS], None, "ipv4-mapped private"),
        (b"a.corp.example", "::ffff:10.1.2.3", [CORP], None, "ipv4-mapped private"),
        (b"a.corp.example", "2002:a01:203::", [CORP], None, "6to4 private"),
        (b"a.example", "64:ff9b::8.8.8.8", [NAT64], "nat64", None),
        (b"a.corp.example", "64:ff9b::10.1.2.3", [NAT64], None, "nat64 private"),
        (b"a.corp.example", "64:ff9b::10.1.2.3", [NAT64, CORP], "nat64, corp", None),
        (b"a.example", "64:ff9b::10.1.2.3", [NAT64, CORP], None, "nat64 private"),
        (b"a.example", "64:ff9b::10.1.2.3", [EVERYTHING], "everything", None),
        (b"a.example", "127.0.0.1", [EVERYTHING], "everything", None),
        (b"a.example", "240.0.0.1", [EVERYTHING], "everything", None),
        (b"a.example", "169.254.169.254", [EVERYTHING], "everything", None),
        (b"a.example", "0.0.0.0", [EVERYTHING], None, "unspecified"),
        (b"a.example", "0.1.2.3", [EVERYTHING], None, "unspecified"),
        (b"a.example", "::", [EVERYTHING], None, "unspecified"),
        (b"a.example", "224.0.0.1", [EVERYTHING], None, "multicast"),
        (b"a.example", "ff02::1", [EVERYTHING], None, "multicast"),
        (b"a.example", "255.255.255.255", [EVERYTHING], None, "broadcast"),
        (b"a.example", "::ffff:0.0.0.0", [EVERYTHING], None, "ipv4-mapped unspecified"),
        (b"a.example", "64:ff9b::255.255.255.255", [EVERYTHING], None, "nat64 broadcast"),
        (b"a.example", "2002:e000:1::", [EVERYTHING], None, "6to4 multicast"),
    ],
)
def test_a_zone_binds_names_to_networks(
    host: bytes, address: str, zones: list[Zone], zone: str | None, refused: str | None
) -> None:
    dialled = ip_address(address)
    said = vet(parse_host(host), dialled, zones)
    assert said == (dialled, refused is None, refused or classify(dialled) or "public", zone)


@pytest.mark.parametrize(
    ("hosts", "networks", "sentence"),
    [
        ([], ["10.0.0.0/8"], "a zone needs at least one host pattern and one network"),
        (["*"], [], "a zone needs at least one host pattern and one network"),
        (["*"], ["10.0.0.1/8"], "'10.0.0.1/8' is not in normal form; write '10.0.0.0/8'"),
        (["A.example"], ["10.0.0.0/8"], "'A.example' is not in normal form; write 'a.example'"),
    ],
)
def test_a_zone_that_cannot_be_meant_is_an_error(
    hosts: list[str], networks: list[str], sentence: str
) -> None:
    with pytest.raises(ValueError) as error:
        compile_zone(hosts, networks)
    assert str(error.value) == sentence


SPECIAL = st.sampled_from(
    ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.0.0.0/8", "224.0.0.0/3", "::/90", "::/64",
     "64:ff9b::/32", "100::/32", "2001::/16", "2002::/16", "3ff0::/12", "f000::/4"]
).flatmap(
    lambda text: st.integers(
        int(ip_network(text).network_address), int(ip_network(text).broadcast_address)
    ).map(IPv4Address if "." in text else IPv6Address)
)  # fmt: skip


@given(st.one_of(st.ip_addresses(), SPECIAL))
def test_what_passes_without_zones_is_global_unicast_to_the_standard_library(
    address: Address,
) -> None:
    if vet(NAME, address, ()).allow:
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_reserved
        assert embedded(address) is None


@given(st.one_of(st.ip_addresses(), SPECIAL))
def test_what_passes_a_zone_was_public_or_in_its_networks(address: Address) -> None:
    if vet(NAME, address, [CORP]).allow:
        assert classify(address) is None or any(
            address in ip_network(network) for network in ("10.0.0.0/8", "fd00::/8")
        )


def never_local(address: Address) -> bool:
    raise AssertionError(f"asked about {address}")


@pytest.mark.parametrize(
    ("address", "port", "listener", "expected"),
    [
        ("127.0.0.1", 8080, "127.0.0.1", True),
        ("127.0.0.1", 8081, "127.0.0.1", False),
        ("127.0.0.2", 8080, "127.0.0.1", False),
        ("::ffff:127.0.0.1", 8080, "127.0.0.1", True),
        ("127.0.0.1", 8080, "::ffff:127.0.0.1", True),
        ("0.0.0.0", 8080, "127.0.0.1", True),
        ("::", 8080, "::1", True),
        ("::", 8080, "127.0.0.1", False),
        ("10.0.0.1", 8080, "10.0.0.1", True),
        ("10.0.0.2", 8080, "10.0.0.1", False),
        ("127.0.0.1", 8080, "10.0.0.1", False),
        ("2001:db8::1", 8080, "2001:db8::1", True),
        ("127.0.0.1", 8080, "0.0.0.0", True),
        ("127.9.9.9", 8080, "0.0.0.0", True),
        ("::1", 8080, "0.0.0.0", True),
        ("127.0.0.1", 8080, "::", True),
        ("0.0.0.0", 8080, "0.0.0.0", True),
        ("8.8.8.8", 8081, "0.0.0.0", False),
    ],
)
def test_own_listeners_are_known_without_asking_the_machine(
    address: str, port: int, listener: str, expected: bool
) -> None:
    listeners = [(ip_address(listener), 8080), (ip_address("203.0.113.1"), 1)]
    own = is_own_listener(ip_address(address), port, listeners, is_local=never_local)
    assert own is expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [("10.0.0.1", True), ("::ffff:10.0.0.1", True), ("10.0.0.2", False), ("8.8.8.8", False)],
)
def test_a_wildcard_listener_is_at_every_local_address(address: str, expected: bool) -> None:
    local = ip_address("10.0.0.1")
    listeners = {(ip_address("0.0.0.0"), 8080)}
    own = is_own_listener(ip_address(address), 8080, listeners, is_local=local.__eq__)
    assert own is expected
