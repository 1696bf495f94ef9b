"""Text that must never be shown: what ``!file PATH`` yields."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Secret"]


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A secret read from a file.  `repr` and `str` are ``<redacted>``.

    Attributes:
        text: the secret itself; hand it only to what must know it.
    """

    text: str = field(repr=False)

    def __repr__(self) -> str:
        """``<redacted>``, whatever the secret is."""
        return "<redacted>"
