"""The vocabulary: frozen values every room speaks in.

Nothing here does I/O, reads a clock or knows a wire format.  Parsing lives in
`wsproxy.protocol`, deciding in `wsproxy.policy`.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

__all__ = [
    "Address",
    "AddressVerdict",
    "Body",
    "BodyKind",
    "Certificate",
    "CloseReason",
    "Headers",
    "Host",
    "Identity",
    "Peer",
    "ProxyRequest",
    "RequestKind",
    "Side",
    "Target",
    "Verdict",
    "spelled",
]

Address = IPv4Address | IPv6Address

spelled: Callable[[Address], str] = lru_cache(maxsize=4096)(str)
"""An address as text; the same few are written down again and again."""

Headers = tuple[tuple[bytes, bytes], ...]
"""Field lines in wire order: names as received, values without surrounding white space."""


class Side(enum.Enum):
    """Who did it."""

    CLIENT = "client"
    UPSTREAM = "upstream"
    PROXY = "proxy"


class CloseReason(enum.Enum):
    """Why a session ended, when nothing was wrong with our own part."""

    EOF = "eof"
    """A side closed its direction in order, and the other followed."""
    RESET = "reset"
    """A side's connection broke: reset, unreachable or timed out by the kernel."""
    IDLE = "idle"
    """No byte in either direction for `timeouts.idle`."""
    LIFETIME = "lifetime"
    """The tunnel reached `timeouts.lifetime`."""
    STALLED = "stalled"
    """A side took nothing of what waited for it, for `timeouts.stalled`."""
    QUOTA = "quota"
    """The user had moved as many bytes as `limits.bytes_per_user` allows."""
    DRAINED = "drained"
    """The proxy is stopping and the drain deadline passed."""
    TIMEOUT = "timeout"
    """Another deadline: head, body, connect, response."""
    POLICY = "policy"
    """A message rule closed it."""
    REVOKED = "revoked"
    """It was allowed, and is so no more: other rules, a user who is gone, credentials that expired."""
    REFUSED = "refused"
    """We answered with a refusal."""
    PROTOCOL = "protocol"
    """A side broke the protocol."""
    INTERNAL = "internal"
    """A fault of ours; the log has the traceback."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host as every rule and every dial sees it: normalised once, at the edge.

    Attributes:
        text: lower-case name without trailing dot, or the canonical spelling
            of an address, IPv6 without brackets.
        address: set when the host is an address literal.
    """

    text: str
    address: Address | None = None

    def __str__(self) -> str:
        """The spelling for an authority: IPv6 in brackets (RFC 3986 §3.2.2)."""
        return f"[{self.text}]" if isinstance(self.address, IPv6Address) else self.text


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request wants to go.

    Attributes:
        scheme: ``http``, ``ws``, inside intercepted TLS ``https``, ``wss`` or, for
            CONNECT, ``tcp``.
        host: never empty.
        port: 1 … 65535.
        path: origin-form request-target (path and query) or ``*``; empty for CONNECT.
    """

    scheme: str
    host: Host
    port: int
    path: bytes = b""

    @property
    def authority(self) -> str:
        """``host:port``, always with the port."""
        return f"{self.host}:{self.port}"

    def __str__(self) -> str:
        """``host:port`` of a tunnel, else the absolute form of the URL."""
        if self.scheme == "tcp":
            return self.authority
        return f"{self.scheme}://{self.authority}{self.path.decode('latin-1')}"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a verified certificate says of its holder; the pairs stand in its own order.

    Attributes:
        subject: attributes of the subject, such as ``("commonName", "alice")``.
        alternatives: the subjectAltName, such as ``("email", "alice@example.com")``, ``("DNS", …)``
            and ``("URI", …)``.
        issuer: the values of the issuer's name.
        serial: its number among the issuer's.
        expires_at: when it ends, in seconds since 1970.
    """

    subject: tuple[tuple[str, str], ...] = ()
    alternatives: tuple[tuple[str, str], ...] = ()
    issuer: tuple[str, ...] = ()
    serial: int = 0
    expires_at: float = math.inf


@dataclass(frozen=True, slots=True)
class Peer:
    """The far end of a client connection.

    Attributes:
        address: where it is; as told in a PROXY header, where that is trusted.
        port: of it.
        certificate: what it has proven to hold; None when it showed none.
    """

    address: Address
    port: int
    certificate: Certificate | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """``address:port``, IPv6 in brackets."""
        text = spelled(self.address)
        return f"[{text}]:{self.port}" if ":" in text else f"{text}:{self.port}"


class RequestKind(enum.Enum):
    """What the client asks the proxy to do."""

    CONNECT = "connect"
    FORWARD = "forward"
    UPGRADE = "upgrade"
    OWN = "own"
    """Addressed to the proxy itself: origin-form or asterisk-form."""


class BodyKind(enum.Enum):
    """How a message body is delimited (RFC 9112 §6.3)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until-close"


@dataclass(frozen=True, slots=True)
class Body:
    """Framing of one message body.

    Attributes:
        kind: how it ends.
        length: octets, for `BodyKind.LENGTH`.
    """

    kind: BodyKind
    length: int = 0


@dataclass(frozen=True, slots=True)
class ProxyRequest:
    """One vetted request head.

    Attributes:
        kind: what it asks for.
        method: as sent; methods are case-sensitive (RFC 9110 §9.1).
        target: where to; for `RequestKind.OWN` the proxy's own path.
        version: ``1.0`` or ``1.1``.
        headers: every field line, in order.
        body: framing of the request's body.
        keep_alive: whether the client lets the connection go on.
        expects_continue: an HTTP/1.1 client waits for 100 before it sends the body.
        sent_target: the request-target as it was sent.
    """

    kind: RequestKind
    method: str
    target: Target
    version: str
    headers: Headers
    body: Body
    keep_alive: bool
    expects_continue: bool = False
    sent_target: bytes = field(default=b"", compare=False)

    def field(self, name: bytes) -> bytes | None:
        """The first value of field `name` (lower-case), or None."""
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking, as proven to the proxy.

    Attributes:
        user: name as in the users file.
        groups: names of the groups the user is in.
        method: what proved it; the name of a type of method in the configuration.
        mark: a number for what it was proven against, such as a password's hash: where that is
            another one now, nothing is proven any more.  Means nothing outside this process.
        expires_at: from when the proof is worth nothing, in seconds since 1970.
    """

    user: str
    groups: frozenset[str] = frozenset()
    method: str = field(default="", compare=False)
    mark: int = field(default=0, compare=False, repr=False)
    expires_at: float = field(default=math.inf, compare=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What policy says of a name, and why.

    Attributes:
        allow: the decision.
        rule: name of the rule that decided, or ``default``.
        reason: one sentence.
        message: what the rule's author wants a refused person to read; may be empty.
        would_deny: names of what only reports and would have denied, in their order.
        would_allow: the same of what would have allowed.
        file: the configuration file in which that rule stands; empty if unknown.
        line: where it begins there, from 1; 0 for what is no rule.
    """

    allow: bool
    rule: str
    reason: str
    message: str = ""
    would_deny: tuple[str, ...] = ()
    would_allow: tuple[str, ...] = ()
    file: str = ""
    line: int = 0


class AddressVerdict(NamedTuple):
    """What policy says of an address that a name leads to, and why.

    Attributes:
        address: the very one that would be dialled.
        allow: whether it may be.
        kind: ``public``, the classes of docs/security.md that it is in, or ``the proxy itself``.
        zone: name of the zone that lets it through although it is not public; of several, which
            it takes where an address is inside another, with a comma between them.
    """

    address: Address
    allow: bool
    kind: str = "public"
    zone: str | None = None
