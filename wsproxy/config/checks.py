"""What must hold between settings, and that the files they name can be read.

These run on settings whose every value is in order by itself.  What only building
can find out (patterns, the lines of a users file, the access log's folder) is found by
`wsproxy.app.build`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wsproxy.config.problems import KeyPath
from wsproxy.config.schema import Policy, Settings

__all__ = ["problems_of"]

Problem = tuple[KeyPath, str]


def problems_of(settings: Settings) -> Iterator[Problem]:
    """Each thing that is wrong, with the path of the value to change."""
    yield from _listeners(settings)
    yield from _auth(settings)
    yield from _rule_names(settings.policy)
    if not settings.auth.methods:
        yield from _rules_without_users(settings.policy)


def _listeners(settings: Settings) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, listener in enumerate(settings.listeners):
        text = str(listener.address)
        if listener.address.port and text in seen:
            yield (
                ("listeners", index, "address"),
                f"listeners[{seen[text]}] has this address already",
            )
        seen.setdefault(text, index)


def _auth(settings: Settings) -> Iterator[Problem]:
    if settings.auth.required and not settings.auth.methods:
        yield ("auth", "required"), "credentials are required but auth.methods is empty; add one"
    for index, method in enumerate(settings.auth.methods):
        if index:
            yield (
                ("auth", "methods", index),
                "one basic method is enough; put all users in one file",
            )
        sentence = _unreadable(method.users)
        if sentence:
            yield ("auth", "methods", index, "users"), sentence


def _rule_names(policy: Policy) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, rule in enumerate(policy.rules):
        if rule.name in seen:
            yield (
                ("policy", "rules", index, "name"),
                f"policy.rules[{seen[rule.name]}] is named '{rule.name}' already; rename one",
            )
        seen.setdefault(rule.name, index)


def _rules_without_users(policy: Policy) -> Iterator[Problem]:
    for index, rule in enumerate(policy.rules):
        for name in ("users", "groups"):
            if name in rule.when.conditions():
                yield (
                    ("policy", "rules", index, "when", name),
                    "nobody can be known without auth.methods; add one or remove this condition",
                )


def _unreadable(path: Path) -> str | None:
    """Why the file cannot be read, or None.  Nothing but a regular file is opened."""
    if path.exists() and not path.is_file():
        return f"{path} is not a file"
    try:
        path.open("rb").close()
    except OSError as error:
        return f"cannot read {path}: {error.strerror}"
    return None
