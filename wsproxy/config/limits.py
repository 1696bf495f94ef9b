"""The section ``limits``, and that of the same name in a rule."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, PlainSerializer, PlainValidator, StrictInt, WithJsonSchema

from wsproxy.config.inspection import MessageRate
from wsproxy.config.section import Section
from wsproxy.config.units import VOLUME_PATTERN, Volume, format_volume, parse_volume

__all__ = ["Bandwidth", "ByteQuota", "Count", "Limits", "RuleLimits"]

_LEAST_PER_SECOND: Final = 1024
"""Less is a slip, or a way of saying no that nobody understands."""

Count = Annotated[StrictInt, Field(ge=1, le=10_000_000)]


def _byte_quota(value: object) -> Volume:
    if isinstance(value, Volume):
        return value
    if not isinstance(value, str):
        raise ValueError("expected bytes in a time such as 10MiB/s or 10GiB/24h")
    return parse_volume(value)


def _bandwidth(value: object) -> Volume:
    volume = _byte_quota(value)
    if volume.per_second < _LEAST_PER_SECOND:
        raise ValueError("expected at least 1KiB/s")
    return volume


_SCHEMA: Final = WithJsonSchema({"type": "string", "pattern": VOLUME_PATTERN})
_WRITTEN: Final = PlainSerializer(format_volume)

Bandwidth = Annotated[Volume, PlainValidator(_bandwidth), _WRITTEN, _SCHEMA]
"""Written ``10MiB/s``."""
ByteQuota = Annotated[Volume, PlainValidator(_byte_quota), _WRITTEN, _SCHEMA]
"""Written ``10GiB/24h``."""


class RuleLimits(Section):
    """Bounds on what one rule allows."""

    connections: Count | None = Field(
        default=None, description="Requests and tunnels that are under way; off by default."
    )
    bandwidth: Bandwidth | None = Field(
        default=None,
        description="Each way, shared by everything the rule allows; off by default.",
    )


class Limits(Section):
    """Bounds on what clients can take."""

    connections: Count = Field(default=20_000, description="Client connections at a time.")
    connections_per_client: Count | None = Field(
        default=None, description="Connections at a time from one address; off by default."
    )
    connections_per_user: Count | None = Field(
        default=None,
        description="Requests and tunnels of one user that are under way; off by default.",
    )
    requests_per_client: MessageRate | None = Field(
        default=None, description="Requests of one address in a time; off by default."
    )
    bandwidth_per_connection: Bandwidth | None = Field(
        default=None, description="Each way, of one connection; off by default."
    )
    bandwidth_per_user: Bandwidth | None = Field(
        default=None, description="Each way, shared by all of one user; off by default."
    )
    messages_per_user: MessageRate | None = Field(
        default=None,
        description="Messages of a user's WebSockets that are looked into; off by default.",
    )
    bytes_per_user: ByteQuota | None = Field(
        default=None, description="Both ways together, of one user; off by default."
    )
