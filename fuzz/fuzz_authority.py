"""Invariant: any bytes are refused by ClientProtocolError or read to a value that parses back to itself."""

from __future__ import annotations

import socket
import sys
from ipaddress import ip_address

from driver import run

from wsproxy.errors import ClientProtocolError
from wsproxy.model import Host
from wsproxy.policy.addresses import vet
from wsproxy.policy.paths import readings
from wsproxy.protocol.authority import (
    parse_absolute_form,
    parse_authority,
    parse_host,
    parse_host_field,
)

SEEDS = [
    b"example.com:443",
    b"127.0.0.1:8080",
    b"[2001:db8::1]:443",
    b"[::ffff:127.0.0.1]:80",
    b"http://user:pw@example.com:80/a/b;c=d/%2e%2e/?q=%20#f",
    b"ws://[::1]:81/chat?x={y}|z",
    b"0x7f.0.0.01",
    b"xn--bcher-kva.example.",
]


def fuzz(data: bytes) -> None:
    """Try `data` in every role it could have in a request."""
    try:
        check_host(parse_host(data))
    except ClientProtocolError:
        pass
    try:
        host, port = parse_authority(data)
        check_host(host)
        assert parse_authority(f"{host}:{port}".encode()) == (host, port)
    except ClientProtocolError:
        pass
    try:
        target = parse_absolute_form(data)
        check_host(target.host)
        assert target.path[:1] == b"/"
        assert parse_absolute_form(str(target).encode("latin-1")) == target
        readings(target.path.decode("latin-1"))
    except ClientProtocolError:
        pass
    try:
        parse_host_field(data)
    except ClientProtocolError:
        pass
    for reading in readings(data.decode("latin-1")):
        reading.decode("utf-8")


def check_host(host: Host) -> None:
    """A host parses back to itself, and the resolver reads it as we do."""
    assert parse_host(str(host).encode()) == host
    try:
        found = socket.getaddrinfo(host.text, None, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        assert host.address is None
        return
    assert host.address == ip_address(found[0][4][0])
    assert host.address is not None
    assert not vet(host, host.address, ()).allow or host.address.is_global


if __name__ == "__main__":
    run(fuzz, SEEDS, sys.argv[1:])
