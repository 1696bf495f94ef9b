"""What a request brings to prove who is asking, and what its connection remembers of that."""

from __future__ import annotations

from dataclasses import dataclass, field

from wsproxy.model import Certificate, Identity

__all__ = ["Bond", "Proof", "Remembered"]


@dataclass(frozen=True, slots=True)
class Bond:
    """Whose a client connection is, as proven by a scheme that authenticates connections.

    Attributes:
        scheme: lower-case.
        identity: without what others add to it, such as groups.
        ends_at: monotonic seconds from which it counts no more.
    """

    scheme: str
    identity: Identity
    ends_at: float


@dataclass(slots=True)
class Proof:
    """The credentials of one request.

    Attributes:
        credentials: the field's value behind the scheme.
        method: of the request.
        target: its request-target, as sent.
        now: seconds, monotonic.
        legs: what this client connection remembers between the legs of one exchange, for
            the method to use as it likes; emptied by any request that does not go on with it.
        bond: what the connection has proven before, where the request brings no credentials;
            a method leaves here what the connection is to remember.
        certificate: of the client connection, verified; None when it has none.
    """

    credentials: bytes = field(repr=False)
    method: str = "CONNECT"
    target: bytes = b""
    now: float = 0.0
    legs: dict[str, object] = field(default_factory=dict)
    bond: Bond | None = None
    certificate: Certificate | None = None


@dataclass(slots=True)
class Remembered:
    """What one client connection remembers of its authentication.

    Attributes:
        legs: see `Proof`.
        bond: whose it is; None: each request has to say.
    """

    legs: dict[str, object] = field(default_factory=dict)
    bond: Bond | None = None

    def answer(self) -> list[tuple[bytes, bytes]]:
        """The field by which the client knows the proxy: a success may carry it (RFC 4559 §4.2)."""
        token = self.legs.get("answer")
        return [(b"Proxy-Authenticate", token)] if isinstance(token, bytes) else []
