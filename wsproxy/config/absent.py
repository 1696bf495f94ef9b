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
        "auth.lockout",
        "auth.methods[].audience",
        "auth.methods[].groups_claim",
        "auth.methods[].issuer",
        "auth.methods[].jwks",
        "auth.methods[].keytab",
        "auth.methods[].ldap",
        "dns.cache",
        "dns.servers",
        "limits.connections_per_user",
        "limits.requests_per_client",
        "listeners[].proxy_protocol",
        "listeners[].tls",
        "policy.rules[].limits",
        "policy.rules[].mode",
        "policy.rules[].upstream",
        "policy.rules[].when.hosts_file",
        "policy.rules[].when.hours",
        "shared_state",
        "tunnel",
        "upstreams",
        "workers",
    }
)
"""Dotted paths, ``[]`` for any index."""

ABSENT_VALUES: Final = frozenset(
    {
        ("auth.methods[].type", "bearer"),
        ("auth.methods[].type", "certificate"),
        ("auth.methods[].type", "digest"),
        ("auth.methods[].type", "negotiate"),
        ("listeners[].protocol", "socks5"),
    }
)
"""Dotted path and value, where the key exists and the value does not."""
