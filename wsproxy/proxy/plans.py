"""How closely the WebSockets of each policy rule are looked at, and what is done with what is seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from wsproxy.observe.conversation import Redactor
from wsproxy.observe.lines import Stamps
from wsproxy.policy.messages import MessageRules

__all__ = ["Mode", "Plan", "Plans", "Recording"]

Mode = Literal["metadata", "log", "enforce"]

_LABEL_BYTES = 64
"""Of a message whose content is not recorded: enough to tell what is spoken."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one policy rule wants of its WebSockets.

    Attributes:
        mode: how closely they are looked at.
        rules: for their messages; None without any.
        extensions: what becomes of the client's offer, see `limit_offer`.
    """

    mode: Mode = "metadata"
    rules: MessageRules | None = None
    extensions: str = "keep"

    @property
    def enforces(self) -> bool:
        """Whether messages are held until they were judged."""
        return self.mode == "enforce"

    @property
    def offer_policy(self) -> str:
        """``strip`` where messages are altered or left out.

        What a compressed message means depends on those before it (RFC 7692
        §7.1.1), so one that the receiver never got would garble all others.
        """
        alters = self.enforces and self.rules is not None and self.rules.alters
        return "strip" if alters else self.extensions


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Where records of WebSockets go, and in what shape.

    Attributes:
        put: takes one line and never blocks; None when nothing is recorded.
        keep: the same for lines that must not be dropped among too many; `put` by default.
        stamps: the wall clock.
        redactor: what is never written; None for nothing.
        view: whole messages, or parts as they pass.
        payload_bytes: how much of a message is recorded.
        max_message_bytes: the largest message that is decoded.
    """

    put: Callable[[bytes], None] | None
    keep: Callable[[bytes], None] | None = None
    stamps: Stamps
    redactor: Redactor | None = None
    view: Literal["message", "stream"] = "message"
    payload_bytes: int = 64 * 1024
    max_message_bytes: int = 16 * 1024 * 1024

    def keep_bytes(self, plan: Plan) -> int:
        """How much of a message its reader keeps: all that rules may look at, else what is recorded."""
        if plan.rules is not None:
            return self.max_message_bytes
        return _LABEL_BYTES if plan.mode == "metadata" else self.payload_bytes


@dataclass(frozen=True, slots=True)
class Plans:
    """All plans, by the name of the rule; a rule that is not there is not looked into."""

    recording: Recording
    by_rule: Mapping[str, Plan] = field(default_factory=dict)

    def of(self, rule: str | None) -> Plan | None:
        """The plan for what `rule` allowed; None when nobody looks."""
        return None if rule is None else self.by_rule.get(rule)
