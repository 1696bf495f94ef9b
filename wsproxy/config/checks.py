"""What must hold between settings, and that the files they name can be read.

These run on settings whose every value is in order by itself.  What only building
can find out (patterns, the lines of a users file, the access log's folder) is found by
`wsproxy.app.build`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from wsproxy.config.inspection import Inspection, MessageRule
from wsproxy.config.problems import KeyPath, dotted
from wsproxy.config.schema import Policy, Settings

__all__ = ["problems_of"]

Problem = tuple[KeyPath, str]

_NOT_LOOKED_INTO: Final = (
    "with websocket: {mode} no message is looked into; "
    "write websocket: enforce, or log to see what the rules find"
)


def problems_of(settings: Settings) -> Iterator[Problem]:
    """Each thing that is wrong, with the path of the value to change."""
    yield from _listeners(settings)
    yield from _auth(settings)
    yield from _rule_names(settings.policy)
    if not settings.auth.methods:
        yield from _rules_without_users(settings.policy)
    yield from _message_sets(settings)
    yield from _message_rules(settings.inspection)
    yield from _captures(settings)
    yield from _interception(settings)


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


def _message_sets(settings: Settings) -> Iterator[Problem]:
    known = sorted(settings.inspection.message_rules)
    for index, rule in enumerate(settings.policy.rules):
        path: KeyPath = ("policy", "rules", index, "messages")
        if rule.messages and rule.websocket not in ("log", "enforce"):
            yield path, _NOT_LOOKED_INTO.format(mode=rule.websocket)
        for at, name in enumerate(rule.messages):
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known)}"
                yield (
                    (*path, at),
                    "no such set in inspection.message_rules; "
                    + (hint if known else "it is empty"),
                )


def _message_rules(inspection: Inspection) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for set_name, rules in inspection.message_rules.items():
        for index, rule in enumerate(rules):
            path: KeyPath = ("inspection", "message_rules", set_name, index)
            if rule.name in seen:
                yield (
                    (*path, "name"),
                    f"{seen[rule.name]} is named '{rule.name}' already; rename one",
                )
            seen.setdefault(rule.name, dotted(path))
            if sentence := _incomplete(rule):
                yield (*path, "action"), sentence


def _incomplete(rule: MessageRule) -> str | None:
    """What the action lacks, or None."""
    match rule.action:
        case "throttle" if rule.rate is None:
            return "to throttle, a rule needs a rate such as 10/s"
        case "redact" if rule.matches is None and not rule.json_:
            return "to redact, a rule needs matches or json: they say what"
    return None


def _interception(settings: Settings) -> Iterator[Problem]:
    for index, rule in enumerate(settings.policy.rules):
        path: KeyPath = ("policy", "rules", index, "tls")
        if rule.tls == "passthrough":
            continue
        if settings.interception is None:
            yield path, f"tls: {rule.tls} needs the section interception; see 'wsproxy ca init'"
        if rule.action == "deny":
            yield path, "what is denied is not looked into; remove this key"


def _captures(settings: Settings) -> Iterator[Problem]:
    capture = settings.inspection.capture
    directory = capture.directory
    if directory is None:
        if capture.model_fields_set and "directory" not in capture.model_fields_set:
            yield ("inspection", "capture"), "nothing is captured without a directory; add one"
        for path, why in _recording(settings):
            yield path, f"{why} needs inspection.capture; add a directory"
    elif sentence := _unwritable(directory):
        yield ("inspection", "capture", "directory"), sentence


def _recording(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    """Each setting that asks for messages to be kept, and its words."""
    if settings.policy.websocket == "log":
        yield ("policy", "websocket"), "websocket: log"
    for index, rule in enumerate(settings.policy.rules):
        if rule.websocket == "log":
            yield ("policy", "rules", index, "websocket"), "websocket: log"
    for name, message_rules in settings.inspection.message_rules.items():
        for index, message_rule in enumerate(message_rules):
            if message_rule.action == "log":
                yield ("inspection", "message_rules", name, index, "action"), "action: log"


def _unwritable(directory: Path) -> str | None:
    """Why nothing can be written in `directory`, which is made at start; or None."""
    if directory.exists():
        folder = directory
    elif not (folder := directory.parent).exists():
        return f"there is no folder {folder}"
    if not folder.is_dir():
        return f"{folder} is not a folder"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"the folder {folder} cannot be written to"
    return None


def _unreadable(path: Path) -> str | None:
    """Why the file cannot be read, or None.  Nothing but a regular file is opened."""
    if path.exists() and not path.is_file():
        return f"{path} is not a file"
    try:
        path.open("rb").close()
    except OSError as error:
        return f"cannot read {path}: {error.strerror}"
    return None
