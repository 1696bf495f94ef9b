"""Hosts, authorities and request-targets: bytes to values, once, at the edge.

Server-side request forgery lives on spelling: ``0177.0.0.1``, ``2130706433``,
``127.1`` and ``[::ffff:7f00:1%25lo]`` are all loopback to some library, and a
filter that reads a host differently from the resolver behind it can be talked
past.  So there is one parser, and it refuses what it would have to repair.  What
it lets through is either an address in the one spelling RFC 3986 §3.2.2 has for
it or a name that no resolver can read as an address.

Decided here, where the RFCs leave room:

- A name is letters, digits, hyphen and underscore, with no hyphen at either end
  of a label (RFC 5890 §2.3.1).  Underscores are no host names but are in use.
- One trailing dot on a name is removed; on an address it is refused.
- A name whose last label is a number, decimal or ``0x`` hexadecimal, is refused:
  that is the test by which the WHATWG URL standard tells addresses from names,
  and it covers every form ``inet_aton`` reads.
- A port is written without leading zeros and an empty port is no port:
  ``example.com:`` is refused even where RFC 3986 §3.2.3 would let it pass.
- Path and query go on byte for byte.  Browsers and curl send ``|``, ``[``, ``]``,
  ``{``, ``}``, ``^``, `````, ``"`` and bad percent triplets raw, so these pass;
  ``<``, ``>``, backslash, space, control and non-ASCII bytes do not.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from wsproxy.errors import ClientProtocolError
from wsproxy.model import Host, Target

__all__ = ["parse_absolute_form", "parse_authority", "parse_host", "parse_host_field"]

# RFC 1035 §2.3.4: labels of 63 octets; 255 octets on the wire are 253 as text.
_LABEL = rb"[a-zA-Z0-9_](?:[a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?"
_NUMBER_LABEL = rb"(?:[0-9]+|0[xX][0-9a-fA-F]*)"
_NAME = re.compile(
    rb"(?=.{1,253}\.?\Z)(?:" + _LABEL + rb"\.)*(?!" + _NUMBER_LABEL + rb"\.?\Z)" + _LABEL + rb"\.?"
)
_OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_DOTTED_QUAD = re.compile(_OCTET + rb"(?:\." + _OCTET + rb"){3}")
_IPV6 = re.compile(rb"\[([0-9a-fA-F:.]{2,45})\]")
_AUTHORITY = re.compile(rb"([^:\[\]]*|\[[^\[\]]*\])(?::([0-9]*))?")
_PORT = re.compile(rb"[1-9][0-9]{0,4}")
_MAX_PORT = 65535

_HOST_FAULTS = tuple(
    (re.compile(pattern, re.DOTALL), row, detail)
    for pattern, row, detail in (
        (rb"", "T8", "host is empty"),
        (rb".*@.*", "T8", "userinfo in a target is refused"),
        (rb".*%.*", "T11", "percent-encoding or a zone id in a host is refused"),
        (rb".*[^\x00-\x7f].*", "T11", "host is not ASCII; write it as A-labels (xn--…)"),
        (rb"\[.*", "T11", "host is not an IPv6 address"),
        (
            rb"(?:.*\.)?" + _NUMBER_LABEL + rb"\.*",
            "T11",
            "host ends in a number and is not a dotted-quad IPv4 address",
        ),
        (rb".{255,}|.{253}[^.]", "T8", "host name is longer than 253 octets"),
        (rb".*", "T8", "host is not a name, an IPv4 or a bracketed IPv6 address"),
    )
)
"""What a refused host breaks, first match first; the last matches everything."""

_ABSOLUTE_FORM = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?]*)([^?]*)(.*)")
_URI_BYTES = re.compile(rb"""[A-Za-z0-9\-._~!$&'()*+,;=:@/?%|\[\]{}^`"]*""")


def parse_host(raw: bytes) -> Host:
    """Read a uri-host (RFC 3986 §3.2.2): a name, a dotted quad or ``[IPv6]``.

    Args:
        raw: the host without port, as received.

    Returns:
        The host in the one form every rule and every dial sees.

    Raises:
        ClientProtocolError: anything else, row T8, or T11 where the spelling is
            one that hides an address.
    """
    if _NAME.fullmatch(raw):
        return Host(raw.removesuffix(b".").lower().decode("ascii"))
    if _DOTTED_QUAD.fullmatch(raw):
        text = raw.decode("ascii")
        return Host(text, IPv4Address(text))
    if match := _IPV6.fullmatch(raw):
        try:
            address = IPv6Address(match[1].decode("ascii"))
        except ValueError:
            raise ClientProtocolError("host is not an IPv6 address", row="T11") from None
        mapped = address.ipv4_mapped
        # RFC 5952 §5; Python writes these in hexadecimal before 3.13.
        return Host(f"::ffff:{mapped}" if mapped else str(address), address)
    raise _host_error(raw)


def parse_authority(raw: bytes, *, default_port: int | None = None) -> tuple[Host, int]:
    """Read ``host[:port]``, the authority-form of CONNECT (RFC 9112 §3.2.3) among others.

    Args:
        raw: the authority as received.
        default_port: 1 … 65535, for an authority without port; None means that
            the port is required.

    Returns:
        The host, and the port from 1 to 65535.

    Raises:
        ClientProtocolError: not an authority; userinfo; a port that is missing,
            empty or out of range (RFC 9110 §9.3.6 has CONNECT refuse the last two).
    """
    match = _AUTHORITY.fullmatch(raw)
    if match is None:
        raise _authority_error(raw)
    host, port = match.groups()
    if port is None:
        if default_port is None:
            # The host first: "user@host" deserves the better sentence.
            parse_host(host)
            raise ClientProtocolError("authority has no port", row="T8")
        return parse_host(host), default_port
    return parse_host(host), _parse_port(port)


def parse_absolute_form(raw: bytes) -> Target:
    """Read the absolute-form of a request-target (RFC 9112 §3.2.2).

    An empty path becomes ``/``.  Whoever forwards OPTIONS and needs to tell
    ``http://host`` from ``http://host/`` (RFC 9112 §3.2.4) looks at the
    received bytes: the first has only two slashes and no ``?``.

    Args:
        raw: the request-target as received.

    Returns:
        Target with scheme ``http`` or ``ws``, port (80 unless given), and path
        and query byte for byte.

    Raises:
        ClientProtocolError: no URI, another scheme, userinfo, a fragment, an
            empty or odd host, a byte no URI can have.
    """
    match = _ABSOLUTE_FORM.fullmatch(raw)
    if match is None or not _URI_BYTES.fullmatch(raw):
        raise _target_error(raw)
    scheme = match[1].lower().decode("ascii")
    if scheme in ("https", "wss"):
        raise ClientProtocolError(
            f"a proxy reaches {scheme} targets by CONNECT host:port only", row="T8"
        )
    if scheme not in ("http", "ws"):
        raise ClientProtocolError("request-target has a scheme other than http or ws", row="T8")
    host, port = parse_authority(match[2], default_port=80)
    return Target(scheme, host, port, (match[3] or b"/") + match[4])


@lru_cache(maxsize=4096)
def parse_host_field(raw: bytes) -> tuple[Host, int | None] | None:
    """Read the value of the Host field (RFC 9110 §7.2, RFC 9112 §3.2).

    Args:
        raw: the value without surrounding white space.

    Returns:
        Host and port, the latter None when not given; None for an empty value,
        which RFC 9112 §3.2 has clients send when the target has no authority.

    Raises:
        ClientProtocolError: an invalid value; "A server MUST respond with a 400".
    """
    if not raw:
        return None
    host, port = parse_authority(raw, default_port=0)
    return host, port or None


def _parse_port(raw: bytes) -> int:
    if _PORT.fullmatch(raw) and (port := int(raw)) <= _MAX_PORT:
        return port
    raise ClientProtocolError(
        "port is not a number from 1 to 65535 without leading zeros", row="T8"
    )


def _host_error(raw: bytes) -> ClientProtocolError:
    """Say which rule `raw` breaks, without repeating it: it may hold a password."""
    row, detail = next((row, detail) for fault, row, detail in _HOST_FAULTS if fault.fullmatch(raw))
    return ClientProtocolError(detail, row=row)


def _authority_error(raw: bytes) -> ClientProtocolError:
    if b"@" in raw:
        return ClientProtocolError("userinfo in a target is refused", row="T8")
    if raw.count(b":") > 1 and b"[" not in raw and b"/" not in raw:
        return ClientProtocolError("an IPv6 address is written in brackets", row="T11")
    return ClientProtocolError("authority is not host:port", row="T8")


def _target_error(raw: bytes) -> ClientProtocolError:
    if b"#" in raw:
        return ClientProtocolError("request-target has a fragment", row="T8")
    if not _URI_BYTES.fullmatch(raw):
        return ClientProtocolError("request-target has a byte that no URI can have", row="T8")
    return ClientProtocolError("request-target is not in absolute-form", row="T8")
