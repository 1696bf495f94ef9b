"""The section ``interception``: with which CA TLS is looked into, and whom it does not concern.

Which connections are looked into is said by ``policy``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictInt

from wsproxy.config.fields import Duration, FilePath, OneOrMany, Text
from wsproxy.config.section import Section, duration

__all__ = ["ClientCertificate", "Interception", "Passthrough", "Upstream"]


class Passthrough(Section):
    """TLS that is not looked into although its rule says intercept."""

    hosts: OneOrMany[Text] = Field(
        default_factory=tuple, description="Host patterns; not looked into, whatever a rule says."
    )
    after_failures: Annotated[StrictInt, Field(ge=1, le=1000)] | None = Field(
        default=None,
        description="Handshakes that a client breaks off with our certificate for a host, "
        "until it is taken for one that has the host's own pinned; off by default.",
    )
    for_: Duration = Field(
        default=3600.0,
        alias="for",
        description="How long it is passed through then.",
        json_schema_extra={"default": "1h"},
    )


class ClientCertificate(Section):
    """Who we are for some origins."""

    hosts: OneOrMany[Text] = Field(description="Host patterns of these origins.")
    certificate: FilePath = Field(description="PEM file: certificate and chain.")
    key: FilePath = Field(description="PEM file of its key, not encrypted.")


class Upstream(Section):
    """How origins are verified."""

    ca: OneOrMany[FilePath] = Field(
        default_factory=tuple, description="PEM files of authorities beside the system's."
    )
    crl: OneOrMany[FilePath] = Field(
        default_factory=tuple,
        description="PEM files of revocation lists; with any, every issuer of an origin's chain needs one.",
    )
    client_certificates: tuple[ClientCertificate, ...] = Field(
        default=(), description="Certificates for origins that ask for one."
    )


class Interception(Section):
    """How TLS is looked into."""

    ca_certificate: FilePath = Field(description="PEM file, as written by 'wsproxy ca init'.")
    ca_key: FilePath = Field(description="PEM file of its key; only its owner may read it.")
    passthrough: Passthrough = Field(
        default=Passthrough(), description="What is not looked into all the same."
    )
    fronting: Literal["refuse", "passthrough"] = Field(
        default="refuse",
        description="What becomes of TLS whose server name is not the target's.",
    )
    upstream: Upstream = Field(default=Upstream(), description="How origins are verified.")
    leaf_lifetime: Duration = duration("7d", "How long a certificate for a host is valid.")
    key_log: FilePath | None = Field(
        default=None,
        description="File for session keys, for debugging: whoever has it can read everything.",
    )
