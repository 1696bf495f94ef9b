"""Random spellings of hosts against two oracles: what may be dialled is global unicast.

For every spelling: the parser raises nothing but its one exception; what it calls
a name the resolver and ``inet_aton`` do not read as an address; what it calls an
address they read as the same one; and what the policy lets through without zones
the standard library calls global, not multicast, with no IPv4 address inside.
"""

from __future__ import annotations

import random
import socket
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

from wsproxy.errors import ClientProtocolError
from wsproxy.model import Address, Host
from wsproxy.policy.addresses import vet
from wsproxy.protocol.authority import parse_absolute_form, parse_authority, parse_host

INSIDE = (
    "127.0.0.1", "127.1.2.3", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255",
    "192.168.0.1", "169.254.169.254", "169.254.0.1", "100.64.0.1", "100.100.100.200", "0.0.0.0",
    "0.1.2.3", "192.0.0.8", "192.0.0.170", "192.88.99.1", "198.18.0.1", "192.0.2.1", "224.0.0.1",
    "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16",
)  # fmt: skip
OUTSIDE = ("8.8.8.8", "1.1.1.1", "93.184.216.34", "11.0.0.1", "172.32.0.1", "192.169.0.1")
V6_EDGES = (
    "::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
    "100::1", "3fff::1", "5f00::1", "2001::1", "2001:2::1", "2001:10::1", "2001:20::1",
    "4000::1", "2606:4700::1", "2a00:1450::8", "2001:4860:4860::8888",
)  # fmt: skip
V6_CARRIERS: tuple[Callable[[int], int], ...] = (
    lambda v4: v4,
    lambda v4: 0xFFFF << 32 | v4,
    lambda v4: 0xFFFF << 48 | v4,
    lambda v4: 0x64FF9B << 96 | v4,
    lambda v4: 0x64FF9B0001 << 80 | v4,
    lambda v4: 0x2002 << 112 | v4 << 80 | 1,
    lambda v4: 0x20010000 << 96 | v4 ^ 0xFFFFFFFF,
    lambda v4: 0x26064700 << 96 | 0x5EFE << 32 | v4,
    lambda v4: 0x26064700 << 96 | 0x02005EFE << 32 | v4,
)
NOISE = "0123456789abcdefxX.:[]%@/\\#?-_ \t\n\x00oO"
NAMES = ("localhost", "example.com", "metadata.google.internal", "a.b", "xn--bcher-kva.example")


def random_address(rng: random.Random) -> Address:
    """An address, more often than not from the edges of the special ranges."""
    v4 = (
        IPv4Address(rng.choice(INSIDE + OUTSIDE))
        if rng.random() < 0.7
        else (IPv4Address(rng.getrandbits(32)))
    )
    if rng.random() < 0.5:
        return v4
    kind = rng.random()
    if kind < 0.5:
        return IPv6Address(rng.choice(V6_CARRIERS)(int(v4)))
    if kind < 0.75:
        return IPv6Address(rng.choice(V6_EDGES))
    return IPv6Address(rng.getrandbits(128) >> rng.choice((0, 0, 0, 64, 96)))


def spell_number(number: int, rng: random.Random) -> str:
    """One of the ways ``inet_aton`` reads a number, and some it does not."""
    return rng.choice(
        (str(number), hex(number), f"0{number:o}", f"{number:#X}", f"00{number}", str(number + 256))
    )


def spell_v4(number: int, rng: random.Random) -> str:
    """An IPv4 address in one, two, three or four parts."""
    parts = rng.choice((1, 2, 3, 4, 4, 4))
    head = [number >> (24 - 8 * at) & 0xFF for at in range(parts - 1)]
    tail = number & ((1 << (8 * (5 - parts))) - 1)
    plain = rng.random() < 0.5
    return ".".join(str(n) if plain else spell_number(n, rng) for n in (*head, tail))


def spell_v6(address: IPv6Address, rng: random.Random) -> str:
    """An IPv6 address compressed, exploded or with a dotted tail; mostly in brackets."""
    number = int(address)
    head = address.exploded.rsplit(":", 2)[0]
    text = rng.choice(
        (
            str(address),
            address.exploded,
            str(address).upper(),
            f"{head}:{spell_v4(number & 0xFFFFFFFF, rng)}",
            f"{head}:{IPv4Address(number & 0xFFFFFFFF)}",
        )
    )
    zone = rng.choice(("", "", "", "", "%eth0", "%25eth0", "%251"))
    return f"[{text}{zone}]" if rng.random() < 0.9 else text


def disturb(text: str, rng: random.Random) -> str:
    """A few random edits."""
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 5))):
        at = rng.randrange(len(text) + 1)
        edit = rng.random()
        if edit < 0.4:
            text = text[:at] + rng.choice(NOISE) + text[at:]
        elif edit < 0.7:
            text = text[:at] + text[at + 1 :]
        elif edit < 0.8:
            text = text.replace(".", rng.choice(("。", "\uff0e", "%2e", "..")), 1)
        elif edit < 0.9:
            text = "".join(f"%{ord(c):02x}" if c.isdigit() else c for c in text[:60])
        else:
            text += rng.choice((".", "..", "@a.b", "\\", "#", "/", "\x00", " ", ".nip.io"))
    return text


def random_spelling(rng: random.Random) -> bytes:
    """One host as an attacker may write it."""
    address = random_address(rng)
    if rng.random() < 0.1:
        text = rng.choice(NAMES)
    elif isinstance(address, IPv4Address):
        text = spell_v4(int(address), rng)
    else:
        text = spell_v6(address, rng)
    return disturb(text, rng).encode()


def numeric(text: str) -> Address | None:
    """What the resolver reads `text` as without asking anybody; None for a name."""
    try:
        found = socket.getaddrinfo(text, 1, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError, ValueError):
        return None
    return ip_address(found[0][4][0])


def classic(text: str) -> IPv4Address | None:
    """What ``inet_aton`` reads `text` as; None when it does not."""
    try:
        return IPv4Address(socket.inet_aton(text))
    except (OSError, UnicodeError, ValueError):
        return None


def holds_ipv4(address: IPv6Address) -> bool:
    """Whether the standard library sees an IPv4 address inside."""
    return bool(address.ipv4_mapped or address.sixtofour or address.teredo)


def check(raw: bytes) -> str:
    """Assert every promise for one spelling; return what became of it."""
    outcome, host = "refused", None
    try:
        host = parse_host(raw)
    except ClientProtocolError:
        for parse, text in ((parse_authority, raw + b":1"), (parse_absolute_form, b"ws://" + raw)):
            try:
                parse(text)
            except ClientProtocolError:
                continue
            # "host:port" and "host/path" are no hosts; nothing else gets through.
            assert any(separator in raw for separator in b":/?"), raw
        return outcome
    assert parse_host(str(host).encode()) == host, raw
    text = raw.decode("ascii").removeprefix("[").removesuffix("]")
    if host.address is None:
        assert numeric(host.text) is None, raw
        assert classic(host.text) is None, raw
        assert classic(text) is None, raw
        return "name"
    assert numeric(host.text) == host.address, raw
    assert numeric(text) == host.address, raw
    return check_address(host, host.address)


def check_address(host: Host, address: Address) -> str:
    """Assert that what is allowed is global unicast; return the verdict."""
    if not vet(host, address, ()).allow:
        return "denied"
    assert address.is_global, address
    assert not address.is_multicast, address
    assert isinstance(address, IPv4Address) or not holds_ipv4(address), address
    return "allowed"


def run(count: int, seed: int) -> Counter[str]:
    """Check `count` random spellings; return how many ended how."""
    rng = random.Random(seed)
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        outcomes[check(random_spelling(rng))] += 1
        # The same for an address as DNS would give it, under a harmless name.
        outcomes[f"dns {check_address(Host('a.example'), random_address(rng))}"] += 1
    return outcomes
