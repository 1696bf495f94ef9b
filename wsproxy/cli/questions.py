"""Who asks, in questions about a policy, and what is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from wsproxy import app
from wsproxy.auth.digest_users import load_digest_users
from wsproxy.auth.users_file import load_users
from wsproxy.config.load import Config
from wsproxy.model import Identity
from wsproxy.proxy.runtime import Runtime

__all__ = ["People", "at_time", "parse_time", "runtime_of"]


class People:
    """The users that a configuration's files know; they are read when the first is asked for.

    Args:
        config: loaded.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._known: dict[str, Identity] | None = None

    def identity_of(self, user: str | None, groups: Sequence[str] = ()) -> Identity | None:
        """A user with the groups that are given, else with those of the users files.

        Raises:
            ConfigError: a users file cannot be read.
        """
        if not user:
            return None
        if groups:
            return Identity(user, frozenset(groups))
        if self._known is None:
            self._known = self._read()
        return self._known.get(user) or Identity(user)

    def _read(self) -> dict[str, Identity]:
        known: dict[str, Identity] = {}
        for method in self._config.settings.auth.methods:
            if method.users is not None:
                # The first file that has somebody says who it is.
                known = self._in_file(method.users, digest=method.type == "digest") | known
        return known

    def _in_file(self, path: Path, *, digest: bool) -> dict[str, Identity]:
        if digest:
            realm = self._config.settings.auth.realm
            people = load_digest_users(path, realm=realm).by_name
            return {name: one.identity for name, one in people.items()}
        return {name: one.identity for name, one in load_users(path).by_name.items()}


def runtime_of(config: Config) -> Runtime:
    """What decides, as if it served where the configuration says.

    Raises:
        ConfigError: a setting cannot be used.
    """
    addresses = [listener.address for listener in config.settings.listeners]
    return app.build(config, own=[(one.address, one.port) for one in addresses])


def parse_time(text: str) -> float:
    """A moment in RFC 3339, in seconds since 1970.

    Raises:
        ValueError: it is none; one sentence.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"{text!r} is no time such as 2026-03-04T12:00:00+01:00")
    return moment.timestamp()


def at_time(runtime: Runtime, at: float) -> Runtime:
    """What decides as it would at another time, in seconds since 1970."""
    return replace(runtime, gate=replace(runtime.gate, clock=lambda: at))
