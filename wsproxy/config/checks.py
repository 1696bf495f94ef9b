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

from wsproxy.config.auth import Method
from wsproxy.config.files import unreadable
from wsproxy.config.inspection import Inspection, MessageRule
from wsproxy.config.listener_checks import listener_problems
from wsproxy.config.problems import KeyPath, dotted
from wsproxy.config.schema import Policy, Rule, Settings
from wsproxy.config.upstreams import Upstream

__all__ = ["problems_of"]

Problem = tuple[KeyPath, str]

_NOT_LOOKED_INTO: Final = (
    "with websocket: {mode} no message is looked into; "
    "write websocket: enforce, or log to see what the rules find"
)


def problems_of(settings: Settings) -> Iterator[Problem]:
    """Each thing that is wrong, with the path of the value to change."""
    yield from listener_problems(settings)
    yield from _auth(settings)
    yield from _policy_names(settings.policy)
    yield from _host_lists(settings.policy)
    if not settings.auth.methods:
        yield from _rules_without_users(settings.policy)
    yield from _message_sets(settings)
    yield from _message_rules(settings.inspection)
    yield from _captures(settings)
    yield from _interception(settings)
    yield from _upstreams(settings)
    yield from _source_addresses(settings.policy)


def _auth(settings: Settings) -> Iterator[Problem]:
    if settings.auth.required and not settings.auth.methods:
        yield ("auth", "required"), "credentials are required but auth.methods is empty; add one"
    for index, method in enumerate(settings.auth.methods):
        path: KeyPath = ("auth", "methods", index)
        yield from _method(method, path)
        earlier = {one.type for one in settings.auth.methods[:index]}
        if method.type in ("digest", "negotiate") and method.type in earlier:
            yield path, f"one {method.type} method is enough; put all in one file"
        if method.type == "certificate" and method.type in earlier:
            yield path, "a connection has one certificate; one such method is enough"


_BELONGS: Final = {
    "basic": ("users", "ldap"),
    "digest": ("users",),
    "negotiate": ("keytab", "hostname", "realms", "ldap"),
    "bearer": ("jwks", "issuer", "audience", "groups_claim", "user_claim", "algorithms", "ldap"),
    "certificate": ("user_from", "groups"),
}
_NEEDED: Final = {"digest": "users", "negotiate": "keytab", "bearer": "jwks"}


def _method(method: Method, path: KeyPath) -> Iterator[Problem]:
    """What a method lacks, or has and has no use for."""
    for name in sorted(method.model_fields_set - {"type", *_BELONGS[method.type]}):
        known = ", ".join(_BELONGS[method.type])
        yield (*path, name), f"this is no key of {method.type}; it has {known}"
    if method.type == "basic" and (method.users is None) is (method.ldap is None):
        yield path, "basic takes either users or ldap"
    needed = _NEEDED.get(method.type)
    if needed is not None and getattr(method, needed) is None:
        yield path, f"{method.type} takes {needed}"
    for name in ("users", "keytab"):
        file = getattr(method, name)
        if file is not None and (sentence := unreadable(file)):
            yield (*path, name), sentence


def _policy_names(policy: Policy) -> Iterator[Problem]:
    """Names that stand in records must say which is meant."""
    for key, names in (
        ("private_networks", [zone.name for zone in policy.private_networks]),
        ("rules", [rule.name for rule in policy.rules]),
    ):
        seen: dict[str, int] = {}
        for index, name in enumerate(names):
            if name in seen:
                yield (
                    ("policy", key, index, "name"),
                    f"policy.{key}[{seen[name]}] is named '{name}' already; rename one",
                )
            seen.setdefault(name, index)


def _host_lists(policy: Policy) -> Iterator[Problem]:
    for index, rule in enumerate(policy.rules):
        for at, file in enumerate(rule.when.hosts_file):
            sentence = unreadable(file)
            if sentence:
                yield ("policy", "rules", index, "when", "hosts_file", at), sentence


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


def _upstreams(settings: Settings) -> Iterator[Problem]:
    known = sorted(settings.upstreams)
    for index, rule in enumerate(settings.policy.rules):
        if rule.upstream is not None and rule.upstream not in known:
            near = difflib.get_close_matches(rule.upstream, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known)}"
            yield (
                ("policy", "rules", index, "upstream"),
                "no such name in upstreams; " + (hint if known else "it is empty"),
            )
    for name, upstreams in settings.upstreams.items():
        for index, upstream in enumerate(upstreams):
            path: KeyPath = ("upstreams", name, index)
            if upstream.token is not None and upstream.username:
                yield (*path, "token"), "a token and a username exclude each other; remove one"
            if upstream.token is not None and upstream.url.kind == "socks5":
                yield (*path, "token"), "SOCKS5 knows no tokens; use username and password"
            yield from _negotiate(upstream, path)
            if upstream.tls.ca and upstream.url.kind != "https":
                yield (*path, "tls"), f"there is no TLS to {upstream.url.kind}; write https"


def _negotiate(upstream: Upstream, path: KeyPath) -> Iterator[Problem]:
    if upstream.negotiate is None:
        return
    path = (*path, "negotiate")
    if upstream.url.kind == "socks5":
        yield path, "SOCKS5 to a parent knows no tickets; use username and password"
    if upstream.username or upstream.token is not None:
        yield path, "tickets exclude a username and a token; remove one"
    if sentence := unreadable(upstream.negotiate.keytab):
        yield (*path, "keytab"), sentence


def _source_addresses(policy: Policy) -> Iterator[Problem]:
    places: list[tuple[KeyPath, Policy | Rule]] = [(("policy",), policy)]
    places += [(("policy", "rules", index), rule) for index, rule in enumerate(policy.rules)]
    for path, place in places:
        families = [address.version for address in place.source_address]
        for index, family in enumerate(families):
            if family in families[:index]:
                yield (
                    (*path, "source_address", index),
                    f"there is an IPv{family} address already; write one of each family",
                )


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
