"""Goal G16: spellings of inside addresses and DNS answers that lead inside, all refused."""

from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import ip_address

import pytest

from tests.ssrf import spellings, zones
from wsproxy.errors import ClientProtocolError
from wsproxy.model import Host
from wsproxy.policy.addresses import vet
from wsproxy.protocol.authority import parse_absolute_form, parse_authority

# Host as spelled, and what refuses it: a threat row at parsing, or a class at vetting.
SPELLINGS = [
    # loopback, IPv4
    ("127.0.0.1", "loopback"),
    ("127.0.0.2", "loopback"),
    ("127.255.255.254", "loopback"),
    ("127.0.0.1.", "T11"),
    ("127.0.0.1..", "T11"),
    ("127.1", "T11"),
    ("127.0.1", "T11"),
    ("127.000.000.001", "T11"),
    ("127.0.0.01", "T11"),
    ("0127.0.0.1", "T11"),
    ("0177.0.0.1", "T11"),
    ("0177.0.0.01", "T11"),
    ("0177.0.1", "T11"),
    ("0177.1", "T11"),
    ("017700000001", "T11"),
    ("00000177.0.0.1", "T11"),
    ("0x7f.0.0.1", "T11"),
    ("0x7f.0x0.0x0.0x1", "T11"),
    ("0X7F.0.0.1", "T11"),
    ("0x7f.1", "T11"),
    ("0x7f000001", "T11"),
    ("0X7F000001", "T11"),
    ("0x0000007f000001", "T11"),
    ("2130706433", "T11"),
    ("02130706433", "T11"),
    ("4294967296", "T11"),
    ("6425673729", "T11"),
    ("383.0.0.1", "T11"),
    ("127.0.0.257", "T11"),
    ("127.0.0.0x1", "T11"),
    ("127.0x1", "T11"),
    ("127.0.0.1:80", "T11"),
    ("127.0.0.1%00", "T11"),
    ("127.0.0.1%20", "T11"),
    ("127.0.0.1%0a", "T11"),
    ("127%2e0%2e0%2e1", "T11"),
    ("%31%32%37.0.0.1", "T11"),
    ("127。0。0。1", "T11"),
    ("127\uff0e0\uff0e0\uff0e1", "T11"),
    ("①②⑦.⓪.⓪.①", "T11"),
    ("\uff11\uff12\uff17.0.0.1", "T11"),
    ("١٢٧.0.0.1", "T11"),
    ("127.0.0.1\u200b", "T11"),
    ("127.0.0.1\u00ad", "T11"),
    ("127 .0.0.1", "T11"),
    (" 127.0.0.1", "T11"),
    ("127.0.0.1 ", "T8"),
    ("127.0.0.1\t", "T8"),
    ("127.0.0.1\r\n", "T8"),
    ("127.0.0.1\x00", "T8"),
    ("127.0.0.1\x00.example.com", "T8"),
    ("127.0.0.1,example.com", "T8"),
    ("127.0.0.1;", "T8"),
    ("127..0.0.1", "T11"),
    (".127.0.0.1", "T11"),
    ("127.0.0.-1", "T8"),
    ("+127.0.0.1", "T11"),
    ("(127.0.0.1)", "T8"),
    ("[127.0.0.1]", "T11"),
    # parser disagreements
    ("example.com@127.0.0.1", "T8"),
    ("user:pw@127.0.0.1", "T8"),
    ("127.0.0.1@example.com", "T8"),
    ("127.0.0.1\\@example.com", "T8"),
    ("example.com\\@127.0.0.1", "T8"),
    ("example.com\\.127.0.0.1", "T11"),
    ("example.com#127.0.0.1", "T11"),
    ("example.com?127.0.0.1", "T11"),
    ("example.com/@127.0.0.1", "T8"),
    ("127.0.0.1#.example.com", "T8"),
    ("127.0.0.1%23.example.com", "T11"),
    ("127.0.0.1%2523.example.com", "T11"),
    ("%", "T11"),
    ("", "T8"),
    (".", "T8"),
    ("..", "T8"),
    ("*", "T8"),
    # unspecified
    ("0.0.0.0", "unspecified"),
    ("0.0.0.1", "unspecified"),
    ("0.255.0.0", "unspecified"),
    ("0", "T11"),
    ("00", "T11"),
    ("0x0", "T11"),
    ("0x", "T11"),
    ("0.0", "T11"),
    ("0.0.0.0.", "T11"),
    # loopback and unspecified, IPv6
    ("[::]", "unspecified"),
    ("[0:0:0:0:0:0:0:0]", "unspecified"),
    ("[::0.0.0.0]", "unspecified"),
    ("[::1]", "loopback"),
    ("[0:0:0:0:0:0:0:1]", "loopback"),
    ("[0000:0000:0000:0000:0000:0000:0000:0001]", "loopback"),
    ("[::0.0.0.1]", "loopback"),
    ("[::127.0.0.1]", "ipv4-compatible loopback"),
    ("[::7f00:1]", "ipv4-compatible loopback"),
    ("[::ffff:127.0.0.1]", "ipv4-mapped loopback"),
    ("[::ffff:7f00:1]", "ipv4-mapped loopback"),
    ("[::FFFF:127.0.0.1]", "ipv4-mapped loopback"),
    ("[0:0:0:0:0:ffff:7f00:0001]", "ipv4-mapped loopback"),
    ("[::ffff:0.0.0.0]", "ipv4-mapped unspecified"),
    ("[::ffff:0:127.0.0.1]", "ipv4-translated loopback"),
    ("[64:ff9b::127.0.0.1]", "nat64 loopback"),
    ("[64:ff9b:1::127.0.0.1]", "nat64 loopback"),
    ("[2002:7f00:1::]", "6to4 loopback"),
    ("[2002:7f00:0001::1]", "6to4 loopback"),
    ("[2001:0:1:2:3:4:80ff:fffe]", "teredo loopback"),
    ("[2606:4700::5efe:127.0.0.1]", "isatap loopback"),
    ("[2606:4700::200:5efe:127.0.0.1]", "isatap loopback"),
    ("[::ffff:127.1]", "T11"),
    ("[::ffff:0177.0.0.1]", "T11"),
    ("[::ffff:127.0.0.1.]", "T11"),
    ("[::1%lo]", "T11"),
    ("[::1%25lo]", "T11"),
    ("[::1%251]", "T11"),
    ("[::1]]", "T8"),
    ("[[::1]]", "T8"),
    ("[::1", "T8"),
    ("[::1 ]", "T11"),
    ("[ ::1]", "T11"),
    ("[::1].", "T8"),
    ("[::1]x", "T8"),
    ("[::00001]", "T11"),
    ("[:1]", "T11"),
    ("[1]", "T11"),
    ("[]", "T11"),
    ("[v1.::1]", "T11"),
    ("::1", "T11"),
    ("0:0:0:0:0:0:0:1", "T11"),
    # private
    ("10.0.0.1", "private"),
    ("10.255.255.255", "private"),
    ("10.1", "T11"),
    ("167772161", "T11"),
    ("012.0.0.1", "T11"),
    ("0xa.0.0.1", "T11"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.168.0.1", "private"),
    ("192.168.257", "T11"),
    ("3232235521", "T11"),
    ("0300.0250.0.1", "T11"),
    ("0xc0.0xa8.0.1", "T11"),
    ("0xC0A80001", "T11"),
    ("[::ffff:10.0.0.1]", "ipv4-mapped private"),
    ("[::ffff:c0a8:1]", "ipv4-mapped private"),
    ("[64:ff9b::a00:1]", "nat64 private"),
    ("[2002:c0a8:1::]", "6to4 private"),
    ("[fc00::1]", "unique-local"),
    ("[fd12:3456:789a::1]", "unique-local"),
    ("[fec0::1]", "site-local"),
    # link-local and metadata
    ("169.254.0.1", "link-local"),
    ("169.254.169.254", "metadata"),
    ("169.254.169.254.", "T11"),
    ("169.254.43518", "T11"),
    ("169.16689662", "T11"),
    ("2852039166", "T11"),
    ("0xa9fea9fe", "T11"),
    ("0xa9.0xfe.0xa9.0xfe", "T11"),
    ("0251.0376.0251.0376", "T11"),
    ("425.510.425.510", "T11"),
    ("7147006462", "T11"),
    ("[::ffff:169.254.169.254]", "ipv4-mapped metadata"),
    ("[::ffff:a9fe:a9fe]", "ipv4-mapped metadata"),
    ("[::169.254.169.254]", "ipv4-compatible metadata"),
    ("[64:ff9b::a9fe:a9fe]", "nat64 metadata"),
    ("[2002:a9fe:a9fe::]", "6to4 metadata"),
    ("[2001:0:0:0:0:0:5601:5601]", "teredo metadata"),
    ("[fd00:ec2::254]", "metadata"),
    ("[fd20:ce::254]", "metadata"),
    ("[fe80::1]", "link-local"),
    ("[fe80::a9fe:a9fe]", "link-local"),
    ("[fe80::1%eth0]", "T11"),
    ("100.100.100.200", "metadata"),
    ("168.63.129.16", "metadata"),
    ("192.0.0.192", "metadata"),
    # the rest of the registries
    ("100.64.0.1", "cgnat"),
    ("100.127.255.255", "cgnat"),
    ("192.0.0.8", "ietf-protocol"),
    ("192.0.0.170", "ietf-protocol"),
    ("192.0.2.1", "documentation"),
    ("198.51.100.1", "documentation"),
    ("203.0.113.1", "documentation"),
    ("192.88.99.1", "6to4-relay"),
    ("198.18.0.1", "benchmarking"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.250", "multicast"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "broadcast"),
    ("[ff02::1]", "multicast"),
    ("[2001:db8::1]", "documentation"),
    ("[3fff::1]", "documentation"),
    ("[100::1]", "discard"),
    ("[5f00::1]", "segment-routing"),
    ("[2001:2::1]", "benchmarking"),
    ("[2001:20::1]", "orchid"),
    ("[4000::1]", "not-global-unicast"),
    ("[1::1]", "not-global-unicast"),
    ("[::ffff:8.8.8.8]", "ipv4-mapped"),
    ("[64:ff9b::8.8.8.8]", "nat64"),
]

# Answers of a resolver to the harmless name "rebind.example", and what is left to dial.
ANSWERS = [
    (["127.0.0.1"], []),
    (["::1"], []),
    (["0.0.0.0"], []),
    (["::"], []),
    (["169.254.169.254"], []),
    (["fd00:ec2::254"], []),
    (["::ffff:127.0.0.1"], []),
    (["::ffff:8.8.8.8"], []),
    (["64:ff9b::7f00:1"], []),
    (["2002:7f00:1::"], []),
    (["192.0.0.8"], []),
    (["fe80::1%2"], []),
    (["10.0.0.1", "10.0.0.2"], []),
    (["8.8.8.8", "127.0.0.1"], ["8.8.8.8"]),
    (["127.0.0.1", "8.8.8.8"], ["8.8.8.8"]),
    (["8.8.8.8", "::1", "2606:4700::1", "fc00::1"], ["8.8.8.8", "2606:4700::1"]),
    (["8.8.8.8", "::ffff:8.8.4.4"], ["8.8.8.8"]),
    ([], []),
]


def refused_by(spelling: str) -> str | None:
    """The threat row or address class that keeps CONNECT to `spelling` from being dialled."""
    try:
        host, _ = parse_authority(spelling.encode() + b":443")
    except ClientProtocolError as error:
        assert error.status == 400
        return error.row
    assert host.address is not None
    said = vet(host, host.address, ())
    return None if said.allow else said.kind


def test_there_are_enough_cases() -> None:
    assert len({spelling for spelling, _ in SPELLINGS}) + len(ANSWERS) >= 140
    assert len({spelling for spelling, _ in SPELLINGS}) == len(SPELLINGS)


@pytest.mark.parametrize(("spelling", "refusal"), SPELLINGS)
def test_a_spelling_of_an_inside_address_is_refused(spelling: str, refusal: str) -> None:
    assert refused_by(spelling) == refusal


@pytest.mark.parametrize("spelling", [spelling for spelling, _ in SPELLINGS])
@pytest.mark.parametrize("scheme", ["http", "ws"])
def test_the_same_spelling_in_a_url_reaches_nothing_inside(scheme: str, spelling: str) -> None:
    try:
        target = parse_absolute_form(f"{scheme}://{spelling}/".encode())
    except ClientProtocolError as error:
        assert error.row in {"T8", "T11"}
        return
    # "/" and "?" end a URL's host: what is left names no address, or a refused one.
    if target.host.address is None:
        assert target.host.text == "example.com"
    else:
        assert not vet(target.host, target.host.address, ()).allow


@pytest.mark.parametrize(("answer", "left"), ANSWERS)
def test_only_public_addresses_of_an_answer_are_left(answer: list[str], left: list[str]) -> None:
    host = Host("rebind.example")
    dialled = [text for text in answer if vet(host, ip_address(text), ()).allow]
    assert dialled == left


# ---------------------------------------------------------------- past a gate with zones

# Host, what DNS answers, and what is left to dial where zones.ZONES are open.
WITH_ZONES = [
    ("a.corp.example", ["10.0.0.1", "fd00::1"], ["10.0.0.1", "fd00::1"]),
    ("A.B.Corp.Example.", ["10.0.0.1"], ["10.0.0.1"]),
    ("a.corp.example", ["10.0.0.1", "192.168.0.1", "8.8.8.8"], ["10.0.0.1", "8.8.8.8"]),
    ("a.corp.example", ["172.16.0.1"], []),
    ("a.corp.example", ["169.254.169.254"], []),
    ("a.corp.example", ["127.0.0.1"], []),
    ("a.corp.example", ["::ffff:10.0.0.1"], []),
    ("a.corp.example", ["64:ff9b::10.0.0.1"], ["64:ff9b::10.0.0.1"]),
    ("a.corp.example", ["64:ff9b::192.168.0.1"], []),
    ("a.corp.example", ["64:ff9b::8.8.8.8", "2002:a00:1::"], ["64:ff9b::8.8.8.8", "2002:a00:1::"]),
    ("a.corp.example", ["2001:0:1:2:3:4:f5ff:fffe"], []),
    ("corp.example", ["10.0.0.1"], []),
    ("xcorp.example", ["10.0.0.1"], []),
    ("a.corp.example.evil.test", ["10.0.0.1"], []),
    ("evil.test", ["10.0.0.1", "fd00::1", "192.168.0.1", "169.254.169.254", "127.0.0.9"], []),
    ("evil.test", ["64:ff9b::10.0.0.1"], []),
    ("10.corp.example", ["10.0.0.1"], ["10.0.0.1"]),
    ("lab.example", ["192.168.7.7", "169.254.169.254"], ["192.168.7.7", "169.254.169.254"]),
    ("lab.example", ["10.0.0.1", "169.254.169.253"], []),
    ("www.lab.example", ["192.168.7.7"], []),
    ("x.dev.example", ["127.0.0.1", "::1", "::", "0.0.0.0"], ["127.0.0.1", "::1"]),
    ("wide.example", ["10.0.0.1", "::1", "0.0.0.0", "::", "0.1.2.3"], ["10.0.0.1", "::1"]),
    ("wide.example", ["224.0.0.1", "ff02::1", "255.255.255.255", "::ffff:0.0.0.0"], []),
    ("192.168.7.7", [], ["192.168.7.7"]),
    ("127.0.0.1", [], ["127.0.0.1"]),
    ("[::1]", [], ["::1"]),
    ("10.0.0.1", [], []),
    ("169.254.169.254", [], []),
    ("0.0.0.0", [], []),
    ("[::ffff:192.168.7.7]", [], ["::ffff:192.168.7.7"]),
    ("[::ffff:10.0.0.1]", [], []),
    ("[::ffff:0.0.0.0]", [], []),
    ("[64:ff9b::10.0.0.1]", [], []),
    ("[64:ff9b::8.8.8.8]", [], ["64:ff9b::8.8.8.8"]),
    ("[64:ff9b::224.0.0.1]", [], []),
]  # fmt: skip


@pytest.mark.parametrize(("spelling", "answer", "dialled"), WITH_ZONES)
@pytest.mark.parametrize("tunnel", [True, False])
async def test_a_zone_lets_through_what_it_names_and_no_more(
    spelling: str, answer: list[str], dialled: list[str], tunnel: bool
) -> None:
    answers = zones.Answers()
    answers.addresses = tuple(map(ip_address, answer))
    gate = zones.open_gate(answers)
    with zones.unconnected():
        said = await zones.admit(gate, spelling.encode(), tunnel=tunnel)
    assert answers.asked == bool(answer)
    if dialled:
        assert not isinstance(said, str)
        assert list(said[1]) == list(map(ip_address, dialled))
        assert all(zones.is_right(said[0], address) for address in said[1])
    else:
        assert said == "private-networks"


@pytest.mark.parametrize("tunnel", [True, False])
async def test_every_spelling_and_answer_is_refused_without_a_connection(tunnel: bool) -> None:
    answers = zones.Answers()
    gate = replace(zones.open_gate(answers), zones=())
    refused = 0
    with zones.unconnected():
        for spelling, _ in SPELLINGS:
            said = await zones.admit(gate, spelling.encode(), tunnel=tunnel)
            # "/" and "?" end a URL's host: nothing that leads inside is left of these.
            refused += isinstance(said, str) or said[0].text == "example.com"
        assert answers.asked == (0 if tunnel else 2)
        for answer, left in ANSWERS:
            answers.addresses = tuple(ip_address(text) for text in answer)
            said = await zones.admit(gate, b"rebind.example", tunnel=tunnel)
            assert left == ([] if isinstance(said, str) else list(map(str, said[1])))
    assert refused == len(SPELLINGS)


def test_random_requests_past_zones_lead_nowhere_else() -> None:
    outcomes = zones.run(20_000, seed=16)
    assert sum(outcomes.values()) == 20_000
    assert set(outcomes) == {"spelling", "private-networks", "public", "zone"}
    assert min(outcomes.values()) > 200


def test_what_watches_the_network_sees_it() -> None:
    with pytest.raises(AssertionError), zones.unconnected():
        socket.getaddrinfo("127.0.0.1", 1)
    with socket.socket() as sock, pytest.raises(AssertionError), zones.unconnected():
        sock.connect_ex(("127.0.0.1", 1))


def test_random_spellings_lead_nowhere_inside() -> None:
    outcomes = spellings.run(20_000, seed=16)
    assert (
        outcomes["refused"] + outcomes["name"] + outcomes["denied"] + outcomes["allowed"] == 20_000
    )
    # A generator that only makes rubbish, or nothing but safe addresses, would prove nothing.
    assert min(outcomes.values()) > 200
