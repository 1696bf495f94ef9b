"""The section ``dns``, and addresses of this machine."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from wsproxy.config.dns import Dns, HostPattern, NameServer, OwnAddress, ServerAddress

SERVER = "expected an address, with a port if it is not 53: 10.0.0.53:5353, [::1]:53"
NAME = "expected a host name, or '*.example.com' for the names below it"
ADDRESS = "expected an IP address such as 192.0.2.1 or 2001:db8::1"


def sentence_of(kind: Any, value: object) -> str:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    (error,) = caught.value.errors()
    return str(error["ctx"]["error"])


@pytest.mark.parametrize(
    ("written", "address", "port", "shown"),
    [
        ("10.0.0.53", "10.0.0.53", 53, "10.0.0.53:53"),
        ("10.0.0.53:5353", "10.0.0.53", 5353, "10.0.0.53:5353"),
        ("[2001:db8::53]:54", "2001:db8::53", 54, "[2001:db8::53]:54"),
        ("[2001:db8::53]", "2001:db8::53", 53, "[2001:db8::53]:53"),
        ("2001:db8::53", "2001:db8::53", 53, "[2001:db8::53]:53"),
        ("::1", "::1", 53, "[::1]:53"),
        ("10.0.0.53:65535", "10.0.0.53", 65535, "10.0.0.53:65535"),
    ],
)
def test_a_name_server_is_an_address_and_perhaps_a_port(
    written: str, address: str, port: int, shown: str
) -> None:
    server = TypeAdapter(NameServer).validate_python(written)
    assert server == ServerAddress(ip_address(address), port)
    assert TypeAdapter(NameServer).dump_python(server) == shown
    assert TypeAdapter(NameServer).validate_python(server) is server


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("dns.example", SERVER),
        ("localhost", SERVER),
        ("10.0.0.53:", SERVER),
        ("10.0.0.53:0", SERVER),
        ("10.0.0.053", SERVER),
        ("[10.0.0.53]:53", SERVER),
        ("fe80::1%eth0", SERVER),
        ("https://dns.example/dns-query", SERVER),
        ("", SERVER),
        (53, SERVER),
        ("10.0.0.53:65536", "expected a port from 1 to 65535"),
    ],
)
def test_what_is_no_name_server_is_told(written: object, sentence: str) -> None:
    assert sentence_of(NameServer, written) == sentence


@pytest.mark.parametrize(
    "written", ["feed.example.com", "*.test.corp", "intranet", "xn--bcher-kva.test"]
)
def test_a_name_has_addresses(written: str) -> None:
    assert TypeAdapter(HostPattern).validate_python(written) == written


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("*", NAME),
        ("*.", NAME),
        ("a.*.corp", NAME),
        ("*.*.corp", NAME),
        ("bücher.test", NAME),
        ("a b", NAME),
        ("", NAME),
        (5, NAME),
        ("192.0.2.1", "an address is no name: nobody is asked for it anyway"),
        ("Feed.example.com", "write it in its normal form: feed.example.com"),
        ("*.corp.", "write it in its normal form: *.corp"),
    ],
)
def test_what_is_no_name_is_told(written: object, sentence: str) -> None:
    assert sentence_of(HostPattern, written) == sentence


@pytest.mark.parametrize(
    "written", ["x", "192.0.2.0/24", "192.0.2.1:80", "fe80::1%eth0", "", 1, None]
)
def test_what_is_no_address_is_told(written: object) -> None:
    assert sentence_of(OwnAddress, written) == ADDRESS


def test_one_entry_needs_no_brackets() -> None:
    section = Dns.model_validate({"servers": "::1", "hosts": {"x.test": "192.0.2.1"}})
    assert section.servers == (ServerAddress(ip_address("::1")),)
    assert section.hosts == {"x.test": (ip_address("192.0.2.1"),)}
    assert section.model_dump() == {
        "servers": ("[::1]:53",),
        "timeout": "5s",
        "cache": True,
        "hosts": {"x.test": ("192.0.2.1",)},
    }


def test_a_name_without_addresses_is_an_error() -> None:
    with pytest.raises(ValidationError):
        Dns.model_validate({"hosts": {"x.test": []}})
