"""Hosts, authorities and absolute-form targets: what is read, what is refused and why."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsproxy.errors import ClientProtocolError
from wsproxy.model import Host, Target
from wsproxy.protocol.authority import (
    parse_absolute_form,
    parse_authority,
    parse_host,
    parse_host_field,
)

LABEL_63 = b"a" * 63
NAME_253 = b".".join([b"a" * 61] * 4) + b".aaaaa"

USERINFO = "userinfo in a target is refused"
PERCENT = "percent-encoding or a zone id in a host is refused"
NON_ASCII = "host is not ASCII; write it as A-labels (xn--…)"
NO_IPV6 = "host is not an IPv6 address"
NUMBER = "host ends in a number and is not a dotted-quad IPv4 address"
TOO_LONG = "host name is longer than 253 octets"
NO_HOST = "host is not a name, an IPv4 or a bracketed IPv6 address"
BARE_IPV6 = "an IPv6 address is written in brackets"
NO_AUTHORITY = "authority is not host:port"
BAD_PORT = "port is not a number from 1 to 65535 without leading zeros"
BAD_BYTE = "request-target has a byte that no URI can have"
FRAGMENT = "request-target has a fragment"


def refusal(error: pytest.ExceptionInfo[ClientProtocolError]) -> tuple[int, str, str]:
    return error.value.status, error.value.row, error.value.detail


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"example.com", "example.com"),
        (b"EXAMPLE.Com", "example.com"),
        (b"example.com.", "example.com"),
        (b"localhost", "localhost"),
        (b"a", "a"),
        (b"_dmarc.example.com", "_dmarc.example.com"),
        (b"under_score", "under_score"),
        (b"r3---sn-x.example", "r3---sn-x.example"),
        (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
        (b"127.0.0.1.nip.io", "127.0.0.1.nip.io"),
        (b"1.2.3.4x", "1.2.3.4x"),
        (b"0xyz", "0xyz"),
        (b"1e3", "1e3"),
        (b"127.0.0.0x1g", "127.0.0.0x1g"),
        (LABEL_63, "a" * 63),
        (NAME_253, NAME_253.decode()),
        (NAME_253 + b".", NAME_253.decode()),
    ],
)
def test_a_name_is_lower_case_without_trailing_dot(raw: bytes, text: str) -> None:
    assert parse_host(raw) == Host(text)


@pytest.mark.parametrize(
    ("raw", "text", "address"),
    [
        (b"0.0.0.0", "0.0.0.0", "0.0.0.0"),
        (b"127.0.0.1", "127.0.0.1", "127.0.0.1"),
        (b"255.255.255.255", "255.255.255.255", "255.255.255.255"),
        (b"[::]", "::", "::"),
        (b"[::1]", "::1", "::1"),
        (b"[2001:DB8:0:0::0:1]", "2001:db8::1", "2001:db8::1"),
        (b"[0:0:0:0:0:0:0:1]", "::1", "::1"),
        (b"[::ffff:127.0.0.1]", "::ffff:127.0.0.1", "::ffff:7f00:1"),
        (b"[::FFFF:7F00:1]", "::ffff:127.0.0.1", "::ffff:7f00:1"),
        (b"[64:ff9b::10.0.0.1]", "64:ff9b::a00:1", "64:ff9b::a00:1"),
    ],
)
def test_an_address_has_one_canonical_text(raw: bytes, text: str, address: str) -> None:
    assert parse_host(raw) == Host(text, ip_address(address))


@pytest.mark.parametrize(
    ("raw", "row", "detail"),
    [
        (b"", "T8", "host is empty"),
        (b".", "T8", NO_HOST),
        (b"..", "T8", NO_HOST),
        (b"example.com..", "T8", NO_HOST),
        (b".example.com", "T8", NO_HOST),
        (b"a..b", "T8", NO_HOST),
        (b"-a.example", "T8", NO_HOST),
        (b"a-.example", "T8", NO_HOST),
        (b"a b", "T8", NO_HOST),
        (b"a\x00b", "T8", NO_HOST),
        (b"a\n", "T8", NO_HOST),
        (b"a.\n", "T8", NO_HOST),
        (b"a\r\nb", "T8", NO_HOST),
        (b"a,b", "T8", NO_HOST),
        (b"a/b", "T8", NO_HOST),
        (b"a\\b", "T8", NO_HOST),
        (b"a:1", "T8", NO_HOST),
        (b"*.example.com", "T8", NO_HOST),
        (b"a" + LABEL_63, "T8", NO_HOST),
        (NAME_253 + b"a", "T8", TOO_LONG),
        (NAME_253 + b"..", "T8", TOO_LONG),
        (b"user@host", "T8", USERINFO),
        (b"%6c%6f", "T11", PERCENT),
        (b"127.0.0.1%00", "T11", PERCENT),
        ("bücher.example".encode(), "T11", NON_ASCII),
        ("①②⑦.⓪.⓪.①".encode(), "T11", NON_ASCII),
        (b"\xff", "T11", NON_ASCII),
        (b"127.0.0.1.", "T11", NUMBER),
        (b"127.1", "T11", NUMBER),
        (b"127.0.1", "T11", NUMBER),
        (b"2130706433", "T11", NUMBER),
        (b"0", "T11", NUMBER),
        (b"0x7f.1", "T11", NUMBER),
        (b"0X7F000001", "T11", NUMBER),
        (b"0x", "T11", NUMBER),
        (b"example.0x", "T11", NUMBER),
        (b"example.1", "T11", NUMBER),
        (b"017700000001", "T11", NUMBER),
        (b"0177.0.0.1", "T11", NUMBER),
        (b"127.0.0.01", "T11", NUMBER),
        (b"127.0.0.1..", "T11", NUMBER),
        (b"256.0.0.1", "T11", NUMBER),
        (b"1.2.3.4.5", "T11", NUMBER),
        (b"127.0.0.0x1", "T11", NUMBER),
        (b"1" * 300, "T11", NUMBER),
        (b"::1", "T8", NO_HOST),
        (b"[]", "T11", NO_IPV6),
        (b"[", "T11", NO_IPV6),
        (b"[::1", "T11", NO_IPV6),
        (b"[::1]]", "T11", NO_IPV6),
        (b"[[::1]]", "T11", NO_IPV6),
        (b"[::1].", "T11", NO_IPV6),
        (b"[:::1]", "T11", NO_IPV6),
        (b"[1::2::3]", "T11", NO_IPV6),
        (b"[12345::]", "T11", NO_IPV6),
        (b"[1:2:3:4:5:6:7]", "T11", NO_IPV6),
        (b"[1:2:3:4:5:6:7:8:9]", "T11", NO_IPV6),
        (b"[::127.1]", "T11", NO_IPV6),
        (b"[::ffff:127.0.0.01]", "T11", NO_IPV6),
        (b"[127.0.0.1]", "T11", NO_IPV6),
        (b"[localhost]", "T11", NO_IPV6),
        (b"[v1.fe80]", "T11", NO_IPV6),
        (b"[fe80::1%eth0]", "T11", PERCENT),
        (b"[fe80::1%25eth0]", "T11", PERCENT),
    ],
)
def test_a_host_that_would_need_repair_is_refused(raw: bytes, row: str, detail: str) -> None:
    with pytest.raises(ClientProtocolError) as error:
        parse_host(raw)
    assert refusal(error) == (400, row, detail)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"example.com:443", (Host("example.com"), 443)),
        (b"example.com:1", (Host("example.com"), 1)),
        (b"example.com:65535", (Host("example.com"), 65535)),
        (b"10.0.0.1:80", (Host("10.0.0.1", IPv4Address("10.0.0.1")), 80)),
        (b"[::1]:8080", (Host("::1", IPv6Address("::1")), 8080)),
    ],
)
def test_an_authority_with_port(raw: bytes, expected: tuple[Host, int]) -> None:
    assert parse_authority(raw) == expected
    assert parse_authority(raw, default_port=80) == expected


def test_the_default_port_stands_in_for_none() -> None:
    assert parse_authority(b"example.com", default_port=80) == (Host("example.com"), 80)
    assert parse_authority(b"[::1]", default_port=80) == (Host("::1", IPv6Address("::1")), 80)


@pytest.mark.parametrize(
    ("raw", "row", "detail"),
    [
        (b"example.com", "T8", "authority has no port"),
        (b"[::1]", "T8", "authority has no port"),
        (b"", "T8", "host is empty"),
        (b":", "T8", "host is empty"),
        (b":443", "T8", "host is empty"),
        (b"example.com:", "T8", BAD_PORT),
        (b"example.com:0", "T8", BAD_PORT),
        (b"example.com:00", "T8", BAD_PORT),
        (b"example.com:0443", "T8", BAD_PORT),
        (b"example.com:65536", "T8", BAD_PORT),
        (b"example.com:99999", "T8", BAD_PORT),
        (b"example.com:4294967739", "T8", BAD_PORT),
        (b"example.com:" + b"1" * 5000, "T8", BAD_PORT),
        (b"example.com:+443", "T8", NO_AUTHORITY),
        (b"example.com:-1", "T8", NO_AUTHORITY),
        (b"example.com: 443", "T8", NO_AUTHORITY),
        (b"example.com:443 ", "T8", NO_AUTHORITY),
        (b"example.com:443\n", "T8", NO_AUTHORITY),
        (b"example.com:0x1bb", "T8", NO_AUTHORITY),
        (b"example.com:https", "T8", NO_AUTHORITY),
        ("example.com:४४३".encode(), "T8", NO_AUTHORITY),
        (b"example.com:443/", "T8", NO_AUTHORITY),
        (b"example.com:443?x", "T8", NO_AUTHORITY),
        (b"example.com:443#x", "T8", NO_AUTHORITY),
        (b"https://example.com:443", "T8", NO_AUTHORITY),
        (b"example.com/:443", "T8", NO_HOST),
        (b"user@example.com", "T8", USERINFO),
        (b"user@example.com:443", "T8", USERINFO),
        (b"user:pw@example.com:443", "T8", USERINFO),
        (b"127.0.0.1:80@example.com:443", "T8", USERINFO),
        (b"::1:443", "T11", BARE_IPV6),
        (b"[::1]443", "T8", NO_AUTHORITY),
        (b"[::1]:443]", "T8", NO_AUTHORITY),
        (b"a[::1]:443", "T8", NO_AUTHORITY),
        (b"[::1%25lo]:443", "T11", PERCENT),
        (b"0x7f000001:443", "T11", NUMBER),
    ],
)
def test_an_odd_authority_of_connect_is_refused(raw: bytes, row: str, detail: str) -> None:
    with pytest.raises(ClientProtocolError) as error:
        parse_authority(raw)
    assert refusal(error) == (400, row, detail)


@pytest.mark.parametrize(
    ("raw", "scheme", "host", "port", "path"),
    [
        (b"http://example.com", "http", "example.com", 80, b"/"),
        (b"http://example.com/", "http", "example.com", 80, b"/"),
        (b"HTTP://EXAMPLE.com./A", "http", "example.com", 80, b"/A"),
        (b"ws://example.com/chat", "ws", "example.com", 80, b"/chat"),
        (b"Ws://example.com:8080", "ws", "example.com", 8080, b"/"),
        (b"http://example.com?x", "http", "example.com", 80, b"/?x"),
        (b"http://example.com:81?x=http://y/", "http", "example.com", 81, b"/?x=http://y/"),
        (b"http://[::1]:81/x", "http", "::1", 81, b"/x"),
        (b"http://example.com//a//../b", "http", "example.com", 80, b"//a//../b"),
        (b"http://example.com/%zz%2f%?%&", "http", "example.com", 80, b"/%zz%2f%?%&"),
        (b'http://e/a|b[]{}^`"?c|d[]{}^`"\'', "http", "e", 80, b'/a|b[]{}^`"?c|d[]{}^`"\''),
        (b"http://e/@:;,!$&'()*+=~-._?/?@:", "http", "e", 80, b"/@:;,!$&'()*+=~-._?/?@:"),
    ],
)
def test_an_absolute_form_keeps_path_and_query(
    raw: bytes, scheme: str, host: str, port: int, path: bytes
) -> None:
    target = parse_absolute_form(raw)
    assert (target.scheme, target.host.text, target.port, target.path) == (scheme, host, port, path)


@pytest.mark.parametrize(
    ("raw", "row", "detail"),
    [
        (b"https://e/", "T8", "a proxy reaches https targets by CONNECT host:port only"),
        (b"WSS://e/", "T8", "a proxy reaches wss targets by CONNECT host:port only"),
        (b"ftp://e/", "T8", "request-target has a scheme other than http or ws"),
        (b"gopher://e:70/_x", "T8", "request-target has a scheme other than http or ws"),
        (b"file:///etc/passwd", "T8", "request-target has a scheme other than http or ws"),
        (b"", "T8", "request-target is not in absolute-form"),
        (b"/", "T8", "request-target is not in absolute-form"),
        (b"*", "T8", "request-target is not in absolute-form"),
        (b"http:/e/", "T8", "request-target is not in absolute-form"),
        (b"http:e", "T8", "request-target is not in absolute-form"),
        (b"//e/", "T8", "request-target is not in absolute-form"),
        (b"://e/", "T8", "request-target is not in absolute-form"),
        (b"1http://e/", "T8", "request-target is not in absolute-form"),
        (b"http://", "T8", "host is empty"),
        (b"http:///path", "T8", "host is empty"),
        (b"http://?x", "T8", "host is empty"),
        (b"http://:80/", "T8", "host is empty"),
        (b"http://e:/", "T8", BAD_PORT),
        (b"http://e:0/", "T8", BAD_PORT),
        (b"http://e:99999999/", "T8", BAD_PORT),
        (b"http://u@e/", "T8", USERINFO),
        (b"http://u:p@e/", "T8", USERINFO),
        (b"http://e:80@127.0.0.1/", "T8", USERINFO),
        (b"http://e#@f/", "T8", FRAGMENT),
        (b"http://e/#", "T8", FRAGMENT),
        (b"http://e/?#x", "T8", FRAGMENT),
        (b"http://e\\@f/", "T8", BAD_BYTE),
        (b"http://e/a\\b", "T8", BAD_BYTE),
        (b"http://e/?a\\b", "T8", BAD_BYTE),
        (b"http://e/a b", "T8", BAD_BYTE),
        (b"http://e/<", "T8", BAD_BYTE),
        (b"http://e/>", "T8", BAD_BYTE),
        (b"http://e/?<", "T8", BAD_BYTE),
        (b"http://e/?>", "T8", BAD_BYTE),
        (b"http://e/\x00", "T8", BAD_BYTE),
        (b"http://e/\x7f", "T8", BAD_BYTE),
        (b"http://e/\n", "T8", BAD_BYTE),
        (b"\thttp://e/", "T8", BAD_BYTE),
        ("http://e/ü".encode(), "T8", BAD_BYTE),
        (b"http://127.1/", "T11", NUMBER),
        (b"http://127.0.0.1%2f/", "T11", PERCENT),
        (b"http://[::1%25lo]/", "T11", PERCENT),
        (b"http://::1/", "T11", BARE_IPV6),
        (b"http://a,b/", "T8", NO_HOST),
    ],
)
def test_an_odd_absolute_form_is_refused(raw: bytes, row: str, detail: str) -> None:
    with pytest.raises(ClientProtocolError) as error:
        parse_absolute_form(raw)
    assert refusal(error) == (400, row, detail)


def test_a_refusal_does_not_repeat_the_password() -> None:
    with pytest.raises(ClientProtocolError) as error:
        parse_absolute_form(b"http://user:secret@example.com/")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", None),
        (b"example.com", (Host("example.com"), None)),
        (b"EXAMPLE.com.:8080", (Host("example.com"), 8080)),
        (b"[::1]:80", (Host("::1", IPv6Address("::1")), 80)),
    ],
)
def test_a_host_field(raw: bytes, expected: tuple[Host, int | None] | None) -> None:
    assert parse_host_field(raw) == expected


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (b"a/b@c, d", USERINFO),
        (b"a, b", NO_HOST),
        (b"a:0", BAD_PORT),
        (b"a:", BAD_PORT),
        (b"http://a", NO_AUTHORITY),
        (b"127.1", NUMBER),
        (b"a b", NO_HOST),
    ],
)
def test_an_invalid_host_field_is_refused(raw: bytes, detail: str) -> None:
    with pytest.raises(ClientProtocolError) as error:
        parse_host_field(raw)
    assert (error.value.status, error.value.detail) == (400, detail)


ADDRESS_LIKE = st.text("0123456789abcdefxX.:[]%", max_size=40).map(str.encode)
QUAD_PART = st.one_of(
    st.integers(0, 300).map(str),
    st.integers(0, 2**32).map(hex),
    st.integers(0, 2**32).map(lambda number: f"0{number:o}"),
)
QUAD_LIKE = st.lists(QUAD_PART, min_size=1, max_size=5).map(".".join).map(str.encode)
ANYTHING = st.one_of(st.binary(max_size=300), ADDRESS_LIKE, QUAD_LIKE)
HOSTS = st.one_of(
    st.ip_addresses(v=4).map(lambda address: Host(str(address), address)),
    st.ip_addresses(v=6).map(lambda address: parse_host(f"[{address}]".encode())),
    st.from_regex(
        r"[a-z_]([a-z0-9_-]{0,10}[a-z_])?(\.[a-z]([a-z0-9-]{0,9}[a-z])?){0,4}", fullmatch=True
    )
    .filter(lambda text: not text.startswith("-"))
    .map(Host),
)


@given(ANYTHING)
@example(b"[" * 1000)
@example(b"0x" * 1000)
def test_only_the_documented_exception_is_raised(raw: bytes) -> None:
    for parse in (parse_host, parse_authority, parse_absolute_form, parse_host_field):
        try:
            parse(raw)
        except ClientProtocolError as error:
            assert error.row in {"T8", "T11"}
            assert error.status == 400


@given(HOSTS, st.integers(1, 65535))
def test_serialising_and_parsing_gives_the_same_authority(host: Host, port: int) -> None:
    assert parse_host(str(host).encode()) == host
    target = Target("tcp", host, port)
    assert parse_authority(target.authority.encode()) == (host, port)


@given(
    st.sampled_from(["http", "ws"]),
    HOSTS,
    st.integers(1, 65535),
    st.from_regex(rb"/[a-z%|{}^`\"/.;]{0,20}(\?[a-z?/&%]{0,10})?", fullmatch=True),
)
def test_serialising_and_parsing_gives_the_same_target(
    scheme: str, host: Host, port: int, path: bytes
) -> None:
    target = Target(scheme, host, port, path)
    assert parse_absolute_form(str(target).encode()) == target


@given(st.one_of(ADDRESS_LIKE, QUAD_LIKE))
@example(b"0177.0.0.1")
@example(b"127.1")
@example(b"4294967295")
def test_what_inet_aton_reads_is_refused_or_the_same_address(raw: bytes) -> None:
    try:
        packed = socket.inet_aton(raw.decode())
    except OSError:
        return
    try:
        host = parse_host(raw)
    except ClientProtocolError:
        return
    assert host.address == IPv4Address(packed)


@given(ANYTHING)
def test_a_name_is_never_an_address_to_the_resolver(raw: bytes) -> None:
    try:
        host = parse_host(raw)
    except ClientProtocolError:
        return
    if host.address is None:
        with pytest.raises(socket.gaierror):
            socket.getaddrinfo(host.text, None, flags=socket.AI_NUMERICHOST)
    else:
        found = socket.getaddrinfo(
            host.text, 1, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
        assert [ip_address(entry[4][0]).packed for entry in found] == [host.address.packed]
