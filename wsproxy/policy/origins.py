"""Web origins: patterns, and what a handshake says.

An ``Origin`` field is written by browsers only, and in one form (RFC 6454 §6.2).  A
value in another form, from a client that may mean to be misread, is *unreadable*: every
denying rule with origins matches it and no allowing one does, as with paths.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from wsproxy.errors import ClientProtocolError
from wsproxy.model import Host
from wsproxy.policy.hosts import HostPatterns, compile_hosts
from wsproxy.protocol.authority import parse_host

__all__ = ["OriginPatterns", "compile_origins"]

_FORM = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(\[[^\]]*\]|[^/?#@:\[\]\s]+)(?::([0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_MAX_PORT = 65535
_OPAQUE = "null"  # RFC 6454 §6.1

Place = tuple[str, int | None]
"""Scheme in lower case and port, the default one written out; None when there is none."""


@dataclass(frozen=True, slots=True)
class OriginPatterns:
    """A set of origins.  Build it with `compile_origins`.

    Attributes:
        everything: a plain ``*`` was among the patterns.
        opaque: ``null`` was.
        hosts: for each scheme and port.
    """

    everything: bool
    opaque: bool
    hosts: tuple[tuple[Place, HostPatterns], ...]

    def match(self, origin: str, *, unreadable: bool) -> bool:
        """Whether a pattern covers `origin`; `unreadable` is the answer when it is that."""
        if origin == _OPAQUE:
            return self.opaque or self.everything
        try:
            place, host = _parse_origin(origin)
        except ValueError:
            return unreadable
        if self.everything:
            return True
        return any(place == other and host in patterns for other, patterns in self.hosts)


def compile_origins(values: Sequence[object]) -> OriginPatterns:
    """Compile origin patterns.

    Args:
        values: each one of ``*`` (every origin), ``null``, ``https://app.example.com``,
            ``https://app.example.com:8443`` or ``https://*.example.com`` (all
            subdomains, not the name itself); case does not matter.

    Raises:
        ValueError: a pattern no origin can match; a helpful sentence.
    """
    places: dict[Place, list[str]] = {}
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not an origin; write it in quotes")
        if value not in ("*", _OPAQUE):
            place, host = _parse_pattern(value)
            places.setdefault(place, []).append(host)
    compiled = tuple((place, compile_hosts(hosts)) for place, hosts in places.items())
    return OriginPatterns("*" in values, _OPAQUE in values, compiled)


def _parse_pattern(pattern: str) -> tuple[Place, str]:
    if "://" not in pattern:
        raise ValueError(
            f"{pattern!r} is not an origin: it has a scheme, as in 'https://{pattern}'"
        )
    match = _FORM.fullmatch(pattern)
    if match is None:
        scheme, _, rest = pattern.partition("://")
        authority = re.split(r"[/?#]", rest)[0]
        if authority != rest and _FORM.fullmatch(f"{scheme}://{authority}"):
            raise ValueError(f"{pattern!r}: an origin has no path; write '{scheme}://{authority}'")
        raise ValueError(f"{pattern!r} is not an origin such as 'https://app.example.com'")
    host = match[2].lower()
    if host.startswith("*."):
        compile_hosts([host])  # says what is wrong with it
        return _place(match), host
    if "*" in host:
        raise ValueError(f"{pattern!r}: '*' is for subdomains, as in 'https://*.example.com'")
    try:
        return _place(match), parse_host(host.encode()).text
    except ClientProtocolError as error:
        raise ValueError(f"{pattern!r} is not an origin: {error.detail}") from None


def _parse_origin(origin: str) -> tuple[Place, Host]:
    match = _FORM.fullmatch(origin)
    if match is None:
        raise ValueError("not an origin")
    try:
        return _place(match), parse_host(match[2].encode())
    except ClientProtocolError:
        raise ValueError("not an origin") from None


def _place(match: re.Match[str]) -> Place:
    scheme = match[1].lower()
    if match[3] is None:
        return scheme, _DEFAULT_PORTS.get(scheme)
    port = int(match[3])
    if not 1 <= port <= _MAX_PORT:
        raise ValueError(f"{match[0]!r}: a port is from 1 to 65535")
    return scheme, port
