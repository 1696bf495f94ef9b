"""From the settings to the plans by which WebSockets are looked into; a part of `wsproxy.app`."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, cast

from wsproxy.config.inspection import MessageRule
from wsproxy.config.load import Config
from wsproxy.config.problems import KeyPath
from wsproxy.model import Side
from wsproxy.observe.conversation import Redactor
from wsproxy.observe.lines import Stamps
from wsproxy.policy.messages import (
    MessageAsk,
    MessageRuleSpec,
    TimedInspector,
    compile_message_rules,
)
from wsproxy.policy.redact import compile_redactor
from wsproxy.proxy.plans import Plan, Plans, Recording

__all__ = ["INSPECTORS", "NOTHING_CAPTURED", "Captured", "build_plans", "redaction_key"]

INSPECTORS: Final = "wsproxy.inspectors"
"""Group of entry points through which third parties offer inspectors."""

Put = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Captured:
    """What becomes of records of WebSockets.

    Attributes:
        put: takes one line and never blocks; None when nobody wants them.
        key: for the markers that stand in the place of secrets.
        keep: see `Recording`.
    """

    put: Put | None = None
    key: bytes = b""
    keep: Put | None = None


NOTHING_CAPTURED = Captured()
Inspectors = Mapping[str, TimedInspector]

_KEY_FILE = "redaction.key"
_KEY_BYTES = 32


def build_plans(config: Config, captured: Captured, *, clock: Callable[[], float]) -> Plans:
    """The plans of all policy rules.

    Args:
        config: loaded.
        captured: what becomes of capture records.
        clock: wall clock, in seconds since 1970.

    Raises:
        ConfigError: a pattern, path or inspector cannot be used; with its position.
    """
    settings = config.settings
    inspection, capture = settings.inspection, settings.inspection.capture
    recording = Recording(
        put=captured.put,
        keep=captured.keep,
        stamps=Stamps(clock),
        redactor=_redactor(config, captured.key),
        view=capture.view,
        payload_bytes=capture.payload,
        max_message_bytes=inspection.max_message,
    )
    inspectors = _inspectors(config)
    plans: dict[str, Plan] = {}
    if settings.policy.websocket != "off":
        plans["default"] = Plan(settings.policy.websocket)
    for index, rule in enumerate(settings.policy.rules):
        if rule.websocket == "off":
            continue
        rules = None
        if rule.messages:
            specs = [spec for name in rule.messages for spec in _specs(config, name)]
            with _placed(config, ("policy", "rules", index, "messages")):
                rules = compile_message_rules(specs, inspectors)
        plans[rule.name] = Plan(rule.websocket, rules, rule.extensions)
    _check_sets(config, inspectors)
    return Plans(recording, plans)


def redaction_key(directory: Path) -> bytes:
    """The key kept beside the captures, so that equal secrets look equal after a restart, too.

    Raises:
        OSError: it can be neither read nor made.
    """
    path = directory / _KEY_FILE
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as stream:
            stream.write(secrets.token_bytes(_KEY_BYTES))
    return path.read_bytes()


def _redactor(config: Config, key: bytes) -> Redactor:
    redact = config.settings.inspection.redact
    with _placed(config, ("inspection", "redact")):
        return compile_redactor(
            redact.headers, redact.json_, patterns=redact.patterns, query=redact.query, key=key
        )


def _check_sets(config: Config, inspectors: Inspectors) -> None:
    """Every set is compiled, also those that no rule uses yet: a mistake is found when it is made."""
    for name, rules in config.settings.inspection.message_rules.items():
        for index, spec in enumerate(_specs(config, name)):
            with _placed(config, ("inspection", "message_rules", name, index)):
                compile_message_rules([spec], inspectors)
        assert rules


def _specs(config: Config, name: str) -> list[MessageRuleSpec]:
    return [_spec(rule) for rule in config.settings.inspection.message_rules[name]]


def _spec(rule: MessageRule) -> MessageRuleSpec:
    return MessageRuleSpec(
        name=rule.name,
        action=rule.action,
        direction=None if rule.direction is None else Side(rule.direction),
        opcode=tuple(rule.opcode),
        size_over_bytes=rule.larger_than,
        rate=None if rule.rate is None else (rule.rate.count, rule.rate.period_s),
        matches=rule.matches,
        json=rule.json_,
        subprotocol=rule.subprotocol,
        label=rule.label,
        inspector=rule.inspector,
        enforce=rule.mode == "enforce",
    )


def _inspectors(config: Config) -> dict[str, TimedInspector]:
    """Those that some rule names, loaded once: a fault of one counts wherever it is asked."""
    inspection = config.settings.inspection
    loaded: dict[str, TimedInspector] = {}
    for name, rules in inspection.message_rules.items():
        for index, rule in enumerate(rules):
            if rule.inspector is None or rule.inspector in loaded:
                continue
            path: KeyPath = ("inspection", "message_rules", name, index, "inspector")
            loaded[rule.inspector] = TimedInspector(
                _load(config, path, rule.inspector),
                clock=time.monotonic,
                budget_s=inspection.inspector_timeout,
            )
    return loaded


def _load(config: Config, path: KeyPath, name: str) -> Callable[[MessageAsk], object]:
    found = [entry for entry in entry_points(group=INSPECTORS) if entry.name == name]
    if not found:
        raise config.error(path, f"no installed package offers {name!r} under {INSPECTORS!r}")
    try:
        inspect: object = found[0].load()
    except (ImportError, AttributeError) as error:
        raise config.error(path, f"{found[0].value} cannot be loaded: {error}") from error
    if not callable(inspect):
        raise config.error(path, f"{found[0].value} cannot be called")
    return cast("Callable[[MessageAsk], object]", inspect)


@contextlib.contextmanager
def _placed(config: Config, path: KeyPath) -> Iterator[None]:
    """Gives a `ValueError` the position of the setting at `path`."""
    try:
        yield
    except ValueError as error:
        raise config.error(path, str(error)) from error
