"""The section ``listeners``: where clients connect, and what comes there before HTTP."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wsproxy.config.fields import FilePath, Listening, Network, OneOrMany
from wsproxy.config.section import Section

__all__ = ["Listener", "ListenerTls", "ProxyProtocol"]


class ListenerTls(Section):
    """TLS between clients and the proxy."""

    certificate: FilePath = Field(description="PEM file: certificate and chain.")
    key: FilePath = Field(
        description="PEM file of its key, not encrypted; only its owner may read it."
    )
    client_ca: OneOrMany[FilePath] = Field(
        default_factory=tuple,
        description="PEM files of authorities for the certificates of clients, which are asked for one then.",
    )
    client_crl: OneOrMany[FilePath] = Field(
        default_factory=tuple,
        description="PEM files of revocation lists; with any, every issuer of a client's chain needs one.",
    )


class ProxyProtocol(Section):
    """Balancers that say whose connections they pass on."""

    trust: OneOrMany[Network] = Field(
        description="Peers whose connections begin with a PROXY header, version 1 or 2."
    )


class Listener(Section):
    """A socket on which clients are served."""

    address: Listening = Field(
        description="HOST:PORT; an IPv6 address stands in brackets, all of it in quotes."
    )
    protocol: Literal["http"] = Field(default="http", description="What clients speak on it.")
    tls: ListenerTls | None = Field(
        default=None, description="Clients speak it over TLS: an https proxy."
    )
    proxy_protocol: ProxyProtocol | None = Field(
        default=None, description="Balancers in front of it, and how they name clients."
    )

    @property
    def scheme(self) -> str:
        """Of the URL by which clients name this proxy."""
        return "http" if self.tls is None else "https"
