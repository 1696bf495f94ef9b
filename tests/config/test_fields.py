"""Kinds of values: what is taken, what it becomes, and the sentence otherwise."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from wsproxy.config import fields
from wsproxy.config.fields import ListenAddress, Origin
from wsproxy.config.secret import Secret

LISTEN = "expected HOST:PORT, HOST an IP address, [IPv6 address] or localhost"
NETWORK = "expected an address or a network such as 10.0.0.0/8"
PORTS = 'expected a port or a range such as "8000-8999"'
SIZE = "expected a size such as 512B, 64KiB, 16MiB or 1GiB"
SET_NAME = "expected a name of up to 64 letters, digits, '-', '_' and '.'"
DURATION = "expected a duration such as 250ms, 30s, 15m, 1h or 7d"


def value_of(kind: Any, value: object) -> object:
    return TypeAdapter(kind).validate_python(value, context=Origin(Path("/etc/wsproxy")))


def sentence_of(kind: Any, value: object) -> str:
    with pytest.raises(ValidationError) as caught:
        value_of(kind, value)
    (error,) = caught.value.errors()
    return str(error["ctx"]["error"])


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        (fields.Duration, "250ms", 0.25),
        (fields.Duration, 1.5, 1.5),
        (fields.Size, "1B", 1),
        (fields.Size, "64KiB", 65536),
        (fields.SetName, "no-cards_2.v1", "no-cards_2.v1"),
        (fields.Many[fields.Text], [], ()),
        (fields.Many[fields.Text], "one", ("one",)),
        (fields.Many[fields.Text], ["one", "two"], ("one", "two")),
        (fields.Listening, "127.0.0.1:0", ListenAddress(IPv4Address("127.0.0.1"), 0)),
        (fields.Listening, "0.0.0.0:8080", ListenAddress(IPv4Address("0.0.0.0"), 8080)),
        (fields.Listening, "[::]:65535", ListenAddress(IPv6Address("::"), 65535)),
        (fields.Listening, "localhost:1", ListenAddress(IPv4Address("127.0.0.1"), 1)),
        (
            fields.Listening,
            ListenAddress(IPv6Address("::1"), 1),
            ListenAddress(IPv6Address("::1"), 1),
        ),
        (fields.Network, "10.0.0.0/8", IPv4Network("10.0.0.0/8")),
        (fields.Network, "10.1.2.3", IPv4Network("10.1.2.3/32")),
        (fields.Network, "fc00::/7", IPv6Network("fc00::/7")),
        (fields.Network, IPv4Network("10.0.0.0/8"), IPv4Network("10.0.0.0/8")),
        (fields.NetworkText, "10.1.2.3", "10.1.2.3/32"),
        (fields.NetworkText, "FC00:0::/7", "fc00::/7"),
        (fields.PortRange, 1, 1),
        (fields.PortRange, 65535, 65535),
        (fields.PortRange, "443", 443),
        (fields.PortRange, "8000-8999", "8000-8999"),
        (fields.PortRange, "80-80", "80-80"),
        (fields.Method, "M-SEARCH", "M-SEARCH"),
        (fields.Realm, "Corp proxy (Berlin)", "Corp proxy (Berlin)"),
        (fields.RuleName, "no-social.2", "no-social.2"),
        (fields.RuleName, "No social media", "No social media"),
        (fields.Text, "Two\nlines, ä", "Two\nlines, ä"),
        (fields.FilePath, "users", Path("/etc/wsproxy/users")),
        (fields.FilePath, "/run/users", Path("/run/users")),
        (fields.FilePath, Path("users"), Path("users")),
        (fields.AccessSink, "none", "none"),
        (fields.AccessSink, "syslog", "syslog"),
        (fields.AccessSink, "./access.log", "/etc/wsproxy/access.log"),
        (fields.AccessSink, "/var/log/wsproxy", "/var/log/wsproxy"),
        (fields.OneOrMany[fields.Text], "one", ("one",)),
        (fields.OneOrMany[fields.Text], ["one", "two"], ("one", "two")),
        (fields.OneOrMany[fields.PortRange], 80, (80,)),
    ],
)
def test_a_right_value_becomes_its_type(kind: Any, written: object, value: object) -> None:
    assert value_of(kind, written) == value


@pytest.mark.parametrize(
    ("kind", "written", "sentence"),
    [
        (fields.Duration, "soon", DURATION),
        (fields.Duration, 30, "expected a duration such as 250ms, 30s, 15m or 1h"),
        (fields.Duration, "0s", "expected a duration longer than zero"),
        (fields.Size, "big", SIZE),
        (fields.Size, 65536, SIZE),
        (fields.Size, "0KiB", "expected a size of at least 1B"),
        (fields.SetName, "", SET_NAME),
        (fields.SetName, "two words", SET_NAME),
        (fields.SetName, "-a", SET_NAME),
        (fields.SetName, "a" * 65, SET_NAME),
        (fields.SetName, 5, "expected text; put a number, true and false in quotes"),
        (fields.Listening, 8080, LISTEN),
        (fields.Listening, "8080", LISTEN),
        (fields.Listening, ":8080", LISTEN),
        (fields.Listening, "example.com:80", LISTEN),
        (fields.Listening, "::1:80", LISTEN),
        (fields.Listening, "[1.2.3.4]:80", LISTEN),
        (fields.Listening, "[fe80::1%eth0]:80", LISTEN),
        (fields.Listening, "127.1:80", LISTEN),
        (fields.Listening, "010.0.0.1:80", LISTEN),
        (fields.Listening, "127.0.0.1:65536", "expected a port from 0 to 65535"),
        (fields.Network, "10.0.0.0/33", NETWORK),
        (fields.Network, "corp", NETWORK),
        (fields.Network, 10, NETWORK),
        (
            fields.Network,
            "10.1.0.0/8",
            "bits are set beyond the prefix length; write 10.0.0.0/8",
        ),
        (fields.PortRange, 0, PORTS),
        (fields.PortRange, -1, PORTS),
        (fields.PortRange, True, PORTS),
        (fields.PortRange, "80-", PORTS),
        (fields.PortRange, "080", PORTS),
        (fields.PortRange, None, PORTS),
        (fields.PortRange, 65536, "expected ports from 1 to 65535"),
        (fields.PortRange, "9-1", "the range ends before it begins"),
        (fields.Method, "get", "methods are case-sensitive; write it in capital letters"),
        (fields.Method, "GE T", "expected an HTTP method such as GET"),
        (
            fields.Realm,
            'a"b',
            "expected 1 to 100 printable ASCII characters without quotes or \\",
        ),
        (
            fields.Realm,
            "a\r\nb",
            "expected 1 to 100 printable ASCII characters without quotes or \\",
        ),
        (fields.Realm, Secret("x"), "expected text; put a number, true and false in quotes"),
        (fields.RuleName, " a", "expected a name of up to 64 printable ASCII characters"),
        (fields.RuleName, "a\nb", "expected a name of up to 64 printable ASCII characters"),
        (fields.RuleName, "default", "the name 'default' is taken by policy.default"),
        (fields.Text, "", "expected text without control characters"),
        (fields.Text, "a\x1b[31m", "expected text without control characters"),
        (fields.FilePath, "", "expected the path of a file"),
        (fields.FilePath, "a\0b", "expected the path of a file"),
        (fields.FilePath, 5, "expected the path of a file"),
        (fields.AccessSink, 5, "expected the path of a file"),
        (
            fields.AccessSink,
            "stduot",
            "expected stdout, stderr, syslog, none or a path such as access.log",
        ),
    ],
)
def test_a_wrong_value_gets_a_plain_sentence(kind: Any, written: object, sentence: str) -> None:
    assert sentence_of(kind, written) == sentence


@pytest.mark.parametrize("text", ["127.0.0.1:8080", "[::1]:0", "[2001:db8::1]:443"])
def test_a_listen_address_is_written_as_it_is_read(text: str) -> None:
    assert str(ListenAddress.parse(text)) == text


@given(st.text(max_size=30))
def test_any_text_is_a_listen_address_or_a_value_error(text: str) -> None:
    try:
        address = ListenAddress.parse(text)
    except ValueError:
        return
    assert ListenAddress.parse(str(address)) == address


def test_a_path_without_a_file_around_it_is_taken_as_it_is() -> None:
    assert TypeAdapter(fields.FilePath).validate_python("users") == Path("users")
