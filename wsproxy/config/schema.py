"""The settings: one class a section, named as in the file, with their defaults.

Field descriptions are what ``wsproxy schema`` shows in an editor.  What concerns
several settings at once is in `wsproxy.config.checks`; settings that this version
does not have are in `wsproxy.config.absent`.  The sections ``inspection`` and ``limits``
have their own modules, `wsproxy.config.inspection` and `wsproxy.config.limits`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import (
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
)

from wsproxy.config.auth import Auth
from wsproxy.config.dns import Dns, OwnAddress
from wsproxy.config.fields import (
    AccessSink,
    Duration,
    FilePath,
    ListenAddress,
    Many,
    Method,
    Network,
    NetworkText,
    OneOrMany,
    Origin,
    PortRange,
    RuleName,
    SetName,
    Text,
)
from wsproxy.config.hours import Hours
from wsproxy.config.inspection import IfGiven, Inspection
from wsproxy.config.interception import Interception
from wsproxy.config.limits import Limits, RuleLimits
from wsproxy.config.listeners import Listener
from wsproxy.config.section import Section, duration
from wsproxy.config.upstreams import Upstream

__all__ = [
    "Access",
    "Auth",
    "Dns",
    "Limits",
    "Logs",
    "Policy",
    "PrivateNetwork",
    "Rule",
    "Settings",
    "Timeouts",
    "TlsMode",
    "WebSocketMode",
    "When",
]

_LOOPBACK: Final = ListenAddress.parse("127.0.0.1:8080")

WebSocketMode = Literal["off", "metadata", "log", "enforce"]
RuleMode = Literal["enforce", "report"]
TlsMode = Literal["passthrough", "intercept", "intercept_always"]


def _nothing() -> None:
    """A default that the JSON Schema does not show."""


class PrivateNetwork(Section):
    """A zone of addresses that are not public but may be dialled for these hosts."""

    name: RuleName = Field(default_factory=str, description="Unique; zone-1, zone-2 … by default.")
    hosts: OneOrMany[Text] = Field(description="Host patterns that may lead there.")
    networks: OneOrMany[Network] = Field(description="Networks they may lead to.")


class When(Section):
    """Conditions of a rule: all that are given must hold, each by one of its values."""

    users: OneOrMany[Text] = Field(default_factory=tuple, description="Names of users.")
    groups: OneOrMany[Text] = Field(default_factory=tuple, description="Groups the user is in.")
    clients: OneOrMany[NetworkText] = Field(
        default_factory=tuple, description="Where clients come from."
    )
    hosts: OneOrMany[Text] = Field(
        default_factory=tuple,
        description="Host names, '*.example.com' for subdomains, addresses or networks.",
    )
    ports: OneOrMany[PortRange] = Field(default_factory=tuple, description='Ports or "LOW-HIGH".')
    protocols: OneOrMany[Literal["http", "https", "ws", "wss", "tcp"]] = Field(
        default_factory=tuple, description="What is spoken to the target."
    )
    methods: OneOrMany[Method] = Field(default_factory=tuple, description="HTTP methods.")
    paths: OneOrMany[Text] = Field(default_factory=tuple, description="Paths, with * as wildcard.")
    origins: OneOrMany[Text] = Field(
        default_factory=tuple, description="Origins of the pages that open a WebSocket."
    )
    subprotocols: OneOrMany[Text] = Field(
        default_factory=tuple, description="WebSocket subprotocols that the client offers."
    )
    sniff: OneOrMany[Literal["tls", "websocket", "http", "other"]] = Field(
        default_factory=tuple,
        description="What the first octets of a tunnel are; tls and websocket agree with the target.",
    )
    alpn: OneOrMany[Text] = Field(
        default_factory=tuple,
        description="Protocols a TLS client may offer, and no other; none: it offers none.",
    )

    hosts_file: OneOrMany[FilePath] = Field(
        default_factory=tuple,
        description="Files of host names, one a line; each stands for its subdomains, too.",
    )
    hours: IfGiven[Hours] = Field(default_factory=_nothing, description="When it is asked.")

    @field_validator("hours", mode="before")
    @classmethod
    def _given(cls, value: object) -> object:
        if value is None:
            # `hours:` with nothing behind it would be a condition that always holds.
            raise ValueError("there is no value; write one or remove the key")
        return value

    def conditions(self) -> Mapping[str, tuple[str | int, ...]]:
        """The conditions that are given and consist of plain values, by name."""
        others = ("hosts_file", "hours")
        return {name: values for name, values in self if values and name not in others}


class Rule(Section):
    """One rule; the first that matches decides."""

    name: RuleName = Field(default_factory=str, description="Unique; rule-1, rule-2 … by default.")
    when: When = Field(default=When(), description="Conditions; none match everything.")
    action: Literal["allow", "deny"] = Field(description="What happens to what matches.")
    mode: RuleMode = Field(
        default="enforce", description="Decide, or only record what it would have decided."
    )
    message: Text = Field(default_factory=str, description="Shown to the person who is refused.")
    websocket: WebSocketMode = Field(
        default="metadata", description="How closely WebSockets are looked at."
    )
    messages: OneOrMany[SetName] = Field(
        default_factory=tuple,
        description="Sets of inspection.message_rules for the messages; with log or enforce.",
    )
    extensions: Literal["keep", "strip", "no_context_takeover"] = Field(
        default="keep", description="What becomes of the WebSocket extensions the client offers."
    )
    upstream: SetName | None = Field(
        default=None, description="Name in upstreams: go through that proxy; direct by default."
    )
    source_address: OneOrMany[OwnAddress] = Field(
        default_factory=tuple,
        description="Address of this machine to connect from, or one of each family; "
        "policy.source_address by default.",
    )
    limits: RuleLimits = Field(
        default=RuleLimits(), description="How much may be used of what the rule allows."
    )
    tls: TlsMode = Field(
        default="passthrough",
        description="Whether TLS is looked into; intercept_always knows no exception.",
    )

    _line: int = PrivateAttr(0)

    @property
    def line(self) -> int:
        """Line of the file on which the rule begins, from 1; 0 without a file."""
        return self._line


class Policy(Section):
    """What may be reached."""

    default: Literal["allow", "deny"] = Field(default="deny", description="When no rule matches.")
    mode: RuleMode = Field(
        default="enforce", description="Deny, or only record what would have been denied."
    )
    private_networks: tuple[PrivateNetwork, ...] = Field(
        default=(), description="Exceptions from the refusal of every address that is not public."
    )
    source_address: Many[OwnAddress] = Field(
        default=(),
        description="Address of this machine to connect from, or one of each family; "
        "the system's choice by default.",
    )
    rules: tuple[Rule, ...] = Field(default=(), description="The first that matches decides.")
    websocket: WebSocketMode = Field(
        default="metadata",
        description="How closely WebSockets are looked at when no rule matches.",
    )

    @field_validator("rules", "private_networks", mode="before")
    @classmethod
    def _name_entries(cls, entries: object, info: ValidationInfo) -> object:
        if not isinstance(entries, list):
            return entries
        kind = "rule" if info.field_name == "rules" else "zone"
        return [
            {"name": f"{kind}-{number}", **entry} if isinstance(entry, dict) else entry
            for number, entry in enumerate(entries, 1)
        ]

    @field_validator("rules", mode="after")
    @classmethod
    def _place_rules(cls, rules: tuple[Rule, ...], info: ValidationInfo) -> tuple[Rule, ...]:
        origin: Origin = info.context or Origin()
        for rule, line in zip(rules, origin.rule_lines, strict=False):
            rule._line = line
        return rules


class Timeouts(Section):
    """How long to wait for what, in seconds once loaded."""

    request_head: Duration = duration("30s", "For the whole request head.")
    body: Duration = duration("60s", "For the next part of a body.")
    keep_alive: Duration = duration("60s", "For the next request on a connection.")
    tls_handshake: Duration = duration("10s", "For a TLS handshake.")
    sniff: Duration = duration("5s", "For the first octets of a tunnel that rules ask about.")
    connect: Duration = duration("10s", "For a connection to the target.")
    response_head: Duration = duration("60s", "For the target's response head.")
    stalled: Duration = duration("15m", "For a side to take more of what waits for it.")
    idle: Duration = duration("1h", "For the next byte in a tunnel.")
    lifetime: Duration = duration("24h", "For a tunnel as a whole.")
    drain: Duration = duration("30s", "For open sessions when stopping.")


class Access(Section):
    """The access log: one record a request or tunnel."""

    to: AccessSink = Field(
        default="stdout", description="stdout, stderr, syslog, none, or the path of a file."
    )
    format: Literal["json", "squid", "combined"] = Field(
        default="json", description="Form of a record."
    )


class Logs(Section):
    """What is written down."""

    access: Access = Field(default=Access(), description="The access log.")
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level of the messages on stderr."
    )


class Settings(Section):
    """Configuration of wsproxy."""

    listeners: Annotated[tuple[Listener, ...], Field(min_length=1)] = Field(
        default=(Listener(address=_LOOPBACK),), description="Where clients connect."
    )
    auth: Auth = Field(default=Auth(), description="Who may use the proxy.")
    policy: Policy = Field(default=Policy(), description="What may be reached.")
    limits: Limits = Field(default=Limits(), description="How much may be used.")
    timeouts: Timeouts = Field(default=Timeouts(), description="How long to wait.")
    dns: Dns = Field(default=Dns(), description="Name resolution.")
    logs: Logs = Field(default=Logs(), description="What is written down.")
    upstreams: dict[SetName, OneOrMany[Upstream]] = Field(
        default_factory=dict,
        description="Other proxies to go through, by name; of a list, the first that can be reached.",
    )
    interception: Interception | None = Field(default=None, description="How TLS is looked into.")
    inspection: Inspection = Field(
        default=Inspection(), description="What is done with WebSocket messages."
    )

    @field_validator("upstreams", mode="before")
    @classmethod
    def _one_is_a_list_of_one(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {name: [one] if isinstance(one, dict) else one for name, one in value.items()}


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the configuration file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Settings.model_json_schema(),
    }
