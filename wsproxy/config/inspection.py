"""The section ``inspection``: what is done with WebSocket messages.

Which WebSockets are looked at, and how closely, is said by ``policy``.  Patterns are
compiled, and paths into JSON read, where they are used: `wsproxy.app.build` finds
what is wrong with them.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, TypeVar

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    field_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from wsproxy.config.fields import (
    Duration,
    FilePath,
    Many,
    OneOrMany,
    RuleName,
    SetName,
    Size,
    Text,
)
from wsproxy.config.section import Section, duration, size
from wsproxy.config.units import RATE_PATTERN, Rate, format_rate, parse_rate

__all__ = [
    "Capture",
    "Inspection",
    "JsonPath",
    "JsonScalar",
    "MessageRate",
    "MessageRule",
    "MessageRules",
    "Redact",
]

T = TypeVar("T")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_SECRET_FIELDS: Final = ("authorization", "cookie", "proxy-authorization", "set-cookie")


class _NullNotTaken:
    """Keeps the ``null`` of a key that was left out from being offered for one that is there."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return next(kind for kind in handler(core_schema)["anyOf"] if kind != {"type": "null"})


# Every key of a `MessageRule` refuses null itself.
IfGiven = Annotated[T | None, _NullNotTaken()]


def _nothing() -> None:
    """A default that the JSON Schema does not show."""


def _json_path(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("$") or not value.isprintable():
        raise ValueError("expected a path into JSON such as $.user.password")
    return value


def _json_scalar(value: object) -> str | int | bool | None:
    if value is not None and not isinstance(value, str | int):
        raise ValueError("expected text, a whole number, true, false or null")
    return value


def _field_name(value: object) -> str:
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise ValueError("expected the name of a header field such as authorization")
    return value.lower()


def _rate(value: object) -> Rate:
    if isinstance(value, Rate):
        return value
    if not isinstance(value, str):
        raise ValueError("expected a rate such as 100/s, 10/m or 500/h")
    return parse_rate(value)


JsonPath = Annotated[
    str, PlainValidator(_json_path), WithJsonSchema({"type": "string", "pattern": r"^\$"})
]
"""Begins with ``$``, the whole message."""

JsonScalar = Annotated[
    str | int | bool | None,
    PlainValidator(_json_scalar),
    WithJsonSchema({"type": ["string", "integer", "boolean", "null"]}),
]
"""What stands at a path; a number with a fraction cannot be written in the file."""

FieldName = Annotated[str, PlainValidator(_field_name), WithJsonSchema({"type": "string"})]

MessageRate = Annotated[
    Rate,
    PlainValidator(_rate),
    PlainSerializer(format_rate),
    WithJsonSchema({"type": "string", "pattern": RATE_PATTERN}),
]
"""Messages in a time; written ``10/s``."""


class Capture(Section):
    """Files in which the messages of WebSockets with ``websocket: log`` or ``enforce`` are kept."""

    directory: FilePath | None = Field(
        default=None, description="Where capture files are made; off by default."
    )
    payload: Size = size("64KiB", "What is kept of each message; the rest is counted and hashed.")
    rotate: Size = size("256MiB", "Size at which a file is closed and the next one begun.")
    keep: Duration = duration("7d", "Age at which a closed file is deleted.")
    view: Literal["message", "stream"] = Field(
        default="message", description="One record a message, or its parts as they pass."
    )


class Redact(Section):
    """What is blotted out of everything that is written down."""

    headers: Many[FieldName] = Field(
        default=_SECRET_FIELDS, description="Header fields whose values are not recorded."
    )
    query: Many[Text] | None = Field(
        default=None,
        description="Names of query parameters whose values are not recorded; all by default.",
    )
    json_: Many[JsonPath] = Field(
        default=(),
        alias="json",
        description="Paths into messages of JSON whose values are not recorded.",
    )
    patterns: Many[Text] = Field(
        default=(), description="RE2 patterns; what they match in messages is not recorded."
    )


class MessageRule(Section):
    """One rule for messages: all conditions that are given must hold."""

    name: RuleName = Field(default_factory=str, description="Unique; SET-1, SET-2 … by default.")
    direction: IfGiven[Literal["client", "upstream"]] = Field(
        default_factory=_nothing, description="Who sends the message."
    )
    opcode: OneOrMany[Literal["text", "binary", "ping", "pong", "close"]] = Field(
        default_factory=tuple, description="Kinds of messages."
    )
    larger_than: IfGiven[Size] = Field(
        default_factory=_nothing, description="The decoded message is larger."
    )
    rate: IfGiven[MessageRate] = Field(
        default_factory=_nothing, description="Such messages come faster than this."
    )
    matches: IfGiven[Text] = Field(
        default_factory=_nothing, description="RE2 pattern found in the payload."
    )
    json_: dict[JsonPath, JsonScalar] = Field(
        default_factory=dict,
        alias="json",
        description="Values at paths into the message, which is JSON.",
        json_schema_extra={"additionalProperties": False, "minProperties": 1},
    )
    subprotocol: OneOrMany[Text] = Field(
        default_factory=tuple, description="Subprotocols that were agreed on."
    )
    label: OneOrMany[Text] = Field(
        default_factory=tuple, description="What was recognised in the WebSocket, such as mqtt."
    )
    inspector: IfGiven[Text] = Field(
        default_factory=_nothing, description="Name of an inspector that decides."
    )
    action: Literal["allow", "log", "redact", "drop", "close", "throttle"] = Field(
        description="What happens to a message that meets the conditions."
    )
    mode: Literal["enforce", "report"] = Field(
        default="enforce", description="Do it, or only record what would have been done."
    )

    @field_validator("*", mode="before")
    @classmethod
    def _given(cls, value: object) -> object:
        if value is None:
            # `matches:` with nothing behind it would be a rule for every message.
            raise ValueError("there is no value; write one or remove the key")
        if value == {}:
            raise ValueError("expected at least one path and its value")
        return value


MessageRules = Annotated[tuple[MessageRule, ...], Field(min_length=1)]


class Inspection(Section):
    """What is done with WebSocket messages."""

    max_message: Size = size(
        "16MiB", "Largest decoded message; beyond it a record is cut, and enforce closes with 1009."
    )
    capture: Capture = Field(default=Capture(), description="Files of recorded messages.")
    redact: Redact = Field(default=Redact(), description="What is never recorded.")
    message_rules: dict[SetName, MessageRules] = Field(
        default_factory=dict,
        description="Sets of rules, by the name that policy.rules refer to.",
        json_schema_extra={"additionalProperties": False},
    )
    inspector_timeout: Duration = duration("50ms", "For one answer of an inspector.")

    @field_validator("message_rules", mode="before")
    @classmethod
    def _name_rules(cls, sets: object) -> object:
        if not isinstance(sets, dict):
            return sets
        return {
            name: [
                {"name": f"{name}-{number}", **rule} if isinstance(rule, dict) else rule
                for number, rule in enumerate(rules, 1)
            ]
            if isinstance(rules, list)
            else rules
            for name, rules in sets.items()
        }
