"""Host patterns."""

from __future__ import annotations

import pytest

from wsproxy.policy.hosts import compile_hosts
from wsproxy.protocol.authority import parse_host


@pytest.mark.parametrize(
    ("pattern", "host", "matches"),
    [
        ("example.com", b"example.com", True),
        ("example.com", b"EXAMPLE.com.", True),
        ("example.com", b"www.example.com", False),
        ("example.com", b"notexample.com", False),
        ("example.com", b"example.com.evil", False),
        ("*.example.com", b"www.example.com", True),
        ("*.example.com", b"a.b.c.example.com", True),
        ("*.example.com", b"example.com", False),
        ("*.example.com", b"notexample.com", False),
        ("*.example.com", b"example.com.evil", False),
        ("*.com", b"example.com", True),
        ("*.com", b"com", False),
        ("localhost", b"localhost", True),
        ("under_score.example", b"under_score.example", True),
        ("*", b"anything.example", True),
        ("*", b"10.0.0.1", True),
        ("*", b"[::1]", True),
        ("10.0.0.1", b"10.0.0.1", True),
        ("10.0.0.1", b"10.0.0.2", False),
        ("10.0.0.0/8", b"10.255.255.255", True),
        ("10.0.0.0/8", b"11.0.0.0", False),
        ("10.0.0.0/8", b"10.example", False),
        ("10.0.0.0/8", b"[::ffff:10.1.2.3]", True),
        ("10.0.0.0/8", b"[::ffff:a01:203]", True),
        ("10.0.0.0/8", b"[64:ff9b::10.1.2.3]", False),
        ("::1", b"[0:0::1]", True),
        ("2001:db8::/32", b"[2001:db8:1::]", True),
        ("2001:db8::/32", b"[2001:db9::]", False),
        ("0.0.0.0/0", b"[2001:db9::]", False),
        ("0.0.0.0/0", b"example.com", False),
    ],
)
def test_a_pattern_against_a_host(pattern: str, host: bytes, matches: bool) -> None:
    assert (parse_host(host) in compile_hosts([pattern])) is matches


def test_one_matching_pattern_of_several_is_enough() -> None:
    patterns = compile_hosts(["a.example", "*.b.example", "10.0.0.0/8"])
    hosts = [b"a.example", b"x.b.example", b"10.0.0.1", b"c.example", b"b.example"]
    assert [parse_host(host) in patterns for host in hosts] == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("Example.COM", "'Example.COM' is not in normal form; write 'example.com'"),
        ("example.com.", "'example.com.' is not in normal form; write 'example.com'"),
        ("bücher.example", "'bücher.example' is not in normal form; write 'xn--bcher-kva.example'"),
        ("[::1]", "'[::1]' is not in normal form; write '::1'"),
        ("0:0::1", "'0:0::1' is not in normal form; write '::1'"),
        ("10.1.2.3/8", "'10.1.2.3/8' is not in normal form; write '10.0.0.0/8'"),
        (
            "::ffff:10.0.0.1",
            "'::ffff:10.0.0.1' is an IPv4 network in IPv6 dress; write '10.0.0.1/32'",
        ),
        (
            "*.Example.com",
            "in '*.Example.com': 'Example.com' is not in normal form; write 'example.com'",
        ),
        (
            ".example.com",
            "'.example.com' is not in normal form; write '*.example.com' for the subdomains"
            " and 'example.com' for the name itself",
        ),
        (
            "example.com:443",
            "'example.com:443' has a port; write 'example.com' here and 443 under 'ports'",
        ),
        ("[::1]:443", "'[::1]:443' has a port; write '[::1]' here and 443 under 'ports'"),
        ("127.1", "'127.1' is not an address or CIDR network such as 10.0.0.0/8"),
        (
            "0x7f.1",
            "'0x7f.1' is not a host pattern:"
            " host ends in a number and is not a dotted-quad IPv4 address",
        ),
        ("*.1.2.3", "'*.1.2.3' is no pattern for addresses; write a network: '10.0.0.0/8'"),
        ("*.", "'*.' is no pattern for addresses; write a network: '10.0.0.0/8'"),
        (
            "www*.example.com",
            "'www*.example.com': '*' stands alone (every host) or as '*.' at the start (subdomains)",
        ),
        (
            "*.*.example",
            "in '*.*.example': '*.example':"
            " '*' stands alone (every host) or as '*.' at the start (subdomains)",
        ),
        (
            "http://example.com/",
            "'http://example.com/' is not a host pattern:"
            " host is not a name, an IPv4 or a bracketed IPv6 address",
        ),
        ("", "'' is not a host pattern: host is empty"),
        ("ü" * 80, f"'{'ü' * 80}' is not a host pattern: write its A-labels (xn--…)"),
        (7, "7 is not a host pattern; write it in quotes"),
    ],
)
def test_an_odd_pattern_is_an_error_with_the_right_spelling(
    pattern: str | int, sentence: str
) -> None:
    with pytest.raises(ValueError) as error:
        compile_hosts([pattern])
    assert str(error.value) == sentence
