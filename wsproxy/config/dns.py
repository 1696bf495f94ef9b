"""The section ``dns``: who is asked for the addresses of names, and which nobody is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated, Final

from pydantic import Field, PlainSerializer, PlainValidator, StrictBool, WithJsonSchema

from wsproxy.config.fields import Duration, Many, OneOrMany
from wsproxy.config.section import Section, duration
from wsproxy.errors import ClientProtocolError
from wsproxy.protocol.authority import parse_host

__all__ = ["Dns", "HostPattern", "NameServer", "OwnAddress", "ServerAddress"]

_PORT: Final = 53
_SERVER: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::([1-9][0-9]{0,4}))?")
_SERVER_FORM: Final = "expected an address, with a port if it is not 53: 10.0.0.53:5353, [::1]:53"
_NAME_FORM: Final = "expected a host name, or '*.example.com' for the names below it"


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a name server is.

    Attributes:
        address: never a name.
        port: 1 … 65535.
    """

    address: IPv4Address | IPv6Address
    port: int = _PORT

    def __str__(self) -> str:
        """``address:port``, IPv6 in brackets."""
        text = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{text}:{self.port}"


def _server(value: object) -> ServerAddress:
    if isinstance(value, ServerAddress):
        return value
    if not isinstance(value, str):
        raise ValueError(_SERVER_FORM)
    try:
        match = _SERVER.fullmatch(value)
        if match is None:
            return ServerAddress(_address(value))
        ipv6, ipv4, port = match.groups()
        address = IPv6Address(ipv6) if ipv6 else IPv4Address(ipv4)
    except ValueError:
        raise ValueError(_SERVER_FORM) from None
    if port is not None and int(port) > 65535:
        raise ValueError("expected a port from 1 to 65535")
    return ServerAddress(address, _PORT if port is None else int(port))


def _address(value: object) -> IPv4Address | IPv6Address:
    if isinstance(value, IPv4Address | IPv6Address):
        return value
    try:
        if isinstance(value, str) and "%" not in value:
            return ip_address(value)
    except ValueError:
        pass
    raise ValueError("expected an IP address such as 192.0.2.1 or 2001:db8::1")


def _pattern(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(_NAME_FORM)
    suffix = value.removeprefix("*.")
    try:
        host = parse_host(suffix.encode("ascii"))
    except (ClientProtocolError, UnicodeEncodeError):
        raise ValueError(_NAME_FORM) from None
    if host.address is not None:
        raise ValueError("an address is no name: nobody is asked for it anyway")
    if host.text != suffix:
        raise ValueError(f"write it in its normal form: {value[: -len(suffix)]}{host.text}")
    return value


NameServer = Annotated[
    ServerAddress,
    PlainValidator(_server),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "minLength": 2}),
]
"""``ADDRESS`` or ``ADDRESS:PORT``; IPv6 in brackets where there is a port."""

OwnAddress = Annotated[
    IPv4Address | IPv6Address,
    PlainValidator(_address),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "minLength": 2}),
]
"""One IP address."""

HostPattern = Annotated[
    str,
    PlainValidator(_pattern),
    WithJsonSchema({"type": "string", "minLength": 1}),
]
"""A host name in lower case, or ``*.`` and one for all names below it."""


class Dns(Section):
    """Name resolution."""

    servers: Many[NameServer] = Field(
        default=(), description="Name servers to ask, in this order; the system's resolver if none."
    )
    timeout: Duration = duration("5s", "For one look-up.")
    cache: StrictBool = Field(
        default=True, description="Keep answers for as long as they say, from 1s to 1h."
    )
    hosts: dict[HostPattern, OneOrMany[OwnAddress]] = Field(
        default_factory=dict,
        description="Addresses of names that nobody is asked for; '*.example.com' for those below.",
    )
