"""Settings of the documented interface that this version does not have.

Using one is an error that says so, instead of "unknown key": the author has
read the documentation and must learn that the proxy would not do it.  A line
moves from here to `wsproxy.config.schema` when the setting comes to exist.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ABSENT_KEYS", "ABSENT_VALUES"]

ABSENT_KEYS: Final = frozenset(
    {
        "admin",
        "shared_state",
        "tunnel",
        "workers",
    }
)
"""Dotted paths, ``[]`` for any index."""

ABSENT_VALUES: Final = frozenset(
    {
        ("listeners[].protocol", "socks5"),
    }
)
"""Dotted path and value, where the key exists and the value does not."""
