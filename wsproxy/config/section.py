"""What every section of the file is, and fields whose default is written as people write it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from wsproxy.config.units import parse_duration, parse_size

__all__ = ["Section", "duration", "size"]


class Section(BaseModel):
    """A mapping of the file: no key but the declared ones, nothing changes later."""

    # A key that pydantic needs itself, `json`, has a field of another name and an alias.
    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)


def duration(default: str, description: str) -> Any:
    """A field of kind `Duration`; its default is seconds here and text in the JSON Schema.

    Args:
        default: as in the file, ``30s``.
        description: what an editor shows.
    """
    return Field(
        default=parse_duration(default),
        description=description,
        json_schema_extra={"default": default},
    )


def size(default: str, description: str) -> Any:
    """A field of kind `Size`; its default is bytes here and text in the JSON Schema.

    Args:
        default: as in the file, ``64KiB``.
        description: what an editor shows.
    """
    return Field(
        default=parse_size(default),
        description=description,
        json_schema_extra={"default": default},
    )
