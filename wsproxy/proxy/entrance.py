"""What a listener has between accept and HTTP: a PROXY header, a TLS handshake, both or neither."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from wsproxy.model import Address
from wsproxy.policy.networks import Networks

__all__ = ["Entrance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """One listener, but for its socket; what is accepted from now on may get another.

    Attributes:
        tls: our side of TLS; None: in clear.
        handshake_s: for a handshake, the wait for its first octet included.
        trusted: who begins with a PROXY header.
    """

    tls: ssl.SSLContext | None = None
    handshake_s: float = 10.0
    trusted: Networks | None = None

    def expects_header(self, address: Address) -> bool:
        """Whether connections from `address` begin with a PROXY header."""
        return self.trusted is not None and address in self.trusted
