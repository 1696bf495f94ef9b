"""Who asks, in questions about a policy."""

from __future__ import annotations

from collections.abc import Sequence

from wsproxy.auth.users_file import load_users
from wsproxy.config.load import Config
from wsproxy.model import Identity

__all__ = ["identity_of"]


def identity_of(config: Config, user: str | None, groups: Sequence[str] = ()) -> Identity | None:
    """A user with the groups that are given, else with those of the users files.

    Raises:
        ConfigError: a users file cannot be read.
    """
    if not user:
        return None
    if groups:
        return Identity(user, frozenset(groups))
    for method in config.settings.auth.methods:
        if method.type == "basic" and method.users is not None:
            found = load_users(method.users).by_name.get(user)
            if found is not None:
                return found.identity
    return Identity(user)
