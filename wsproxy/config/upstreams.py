"""The section ``upstreams``: other proxies to go through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema

from wsproxy.config.fields import FilePath, OneOrMany, Text
from wsproxy.config.secret import Secret
from wsproxy.config.section import Section
from wsproxy.errors import ClientProtocolError
from wsproxy.model import Host
from wsproxy.protocol.authority import parse_authority

__all__ = ["ParentUrl", "SecretText", "Upstream", "UpstreamNegotiate", "UpstreamTls"]

_PORTS: Final = {"http": 3128, "https": 443, "socks5": 1080}
_HINT: Final = "expected http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT"


def _secret(value: object) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError("expected text, or !file PATH")
    return Secret(value)


SecretText = Annotated[
    Secret,
    PlainValidator(_secret),
    PlainSerializer(lambda _secret: "<redacted>", return_type=str),
    WithJsonSchema({"type": "string"}),
]
"""What is never shown; better ``!file PATH`` than the text itself."""


@dataclass(frozen=True, slots=True)
class ParentUrl:
    """Where a parent is and what it speaks.

    Attributes:
        kind: scheme of the URL.
        host: of it.
        port: of it.
    """

    kind: Literal["http", "https", "socks5"]
    host: Host
    port: int

    def __str__(self) -> str:
        """As a URL."""
        return f"{self.kind}://{self.host}:{self.port}"


def _url(value: object) -> ParentUrl:
    if isinstance(value, ParentUrl):
        return value
    parts = urlsplit(value) if isinstance(value, str) else None
    if parts is None or parts.scheme not in _PORTS or parts.path not in ("", "/"):
        raise ValueError(_HINT)
    if "@" in parts.netloc:
        raise ValueError("credentials do not stand in the URL; write username and password")
    kind: Literal["http", "https", "socks5"] = parts.scheme  # type: ignore[assignment]  # one of them
    try:
        host, port = parse_authority(parts.netloc.encode(), default_port=_PORTS[kind])
    except (ClientProtocolError, UnicodeEncodeError):
        raise ValueError(_HINT) from None
    return ParentUrl(kind, host, port)


class UpstreamTls(Section):
    """How a parent that is spoken to over TLS is verified."""

    ca: OneOrMany[FilePath] = Field(
        default_factory=tuple, description="PEM files of authorities beside the system's."
    )


class UpstreamNegotiate(Section):
    """Kerberos tickets for a parent."""

    keytab: FilePath = Field(description="Client keytab with the key of principal.")
    principal: Text = Field(description="Who this proxy is, such as svc@CORP.EXAMPLE.")
    hostname: Text | None = Field(
        default=None, description="The parent's host in its tickets, where not the one of url."
    )


class Upstream(Section):
    """A proxy behind this one."""

    url: Annotated[
        ParentUrl,
        PlainValidator(_url),
        PlainSerializer(str, return_type=str),
        WithJsonSchema({"type": "string", "pattern": "^(http|https|socks5)://"}),
    ] = Field(description="http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT.")
    username: Text = Field(default_factory=str, description="For Basic, or of SOCKS5.")
    password: SecretText | None = Field(default=None, description="Goes with username.")
    token: SecretText | None = Field(default=None, description="For Bearer, in place of the two.")
    negotiate: UpstreamNegotiate | None = Field(
        default=None, description="For Negotiate (Kerberos), in place of these."
    )
    tls: UpstreamTls = Field(default=UpstreamTls(), description="Of https.")
