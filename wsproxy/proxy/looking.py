"""Which tunnels are looked into before they are relayed, and with what."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from wsproxy.model import Host
from wsproxy.policy.hosts import HostPatterns
from wsproxy.proxy.pins import Pins

if TYPE_CHECKING:
    from wsproxy.proxy.minter import Minter

__all__ = ["Interception", "Looking"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interception:
    """What it takes to stand between two ends of TLS.

    Attributes:
        minter: makes us the host, for clients.
        exempt: hosts that are never looked into.
        pins: who is not, for a while; None when nobody is.
        fronting: what becomes of a server name that is not the target's.
        handshake_s: for each of the two handshakes.
        default_context: towards origins.
        contexts: towards some of them, by who they are; the first that matches.
        ca_pem: what clients have to trust.
    """

    minter: Minter
    exempt: HostPatterns
    pins: Pins | None
    fronting: Literal["refuse", "passthrough"]
    handshake_s: float
    default_context: ssl.SSLContext
    contexts: Sequence[tuple[HostPatterns, ssl.SSLContext]] = ()
    ca_pem: bytes

    def context(self, host: Host) -> ssl.SSLContext:
        """Our side of TLS towards `host`."""
        for patterns, context in self.contexts:
            if host in patterns:
                return context
        return self.default_context


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """What is looked at in a tunnel beside its target.

    Attributes:
        everywhere: a rule asks what the first octets are, so every tunnel's are looked at.
        always: by the name of a rule that intercepts, whether it knows no exception.
        sniff_s: for the first octets.
        interception: None when no rule intercepts.
    """

    everywhere: bool = False
    always: Mapping[str, bool] = field(default_factory=dict)
    sniff_s: float = 5.0
    interception: Interception | None = None

    def concerns(self, rule: str | None) -> bool:
        """Whether a tunnel that `rule` allows is looked at before it is relayed."""
        return self.everywhere or (rule is not None and rule in self.always)
