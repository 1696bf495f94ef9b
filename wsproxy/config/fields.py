"""The kinds of values that settings have, each with its check and its JSON Schema.

pydantic's unions report one error per member and put the member's name into the
path, so there are none here: a value of two shapes has one function that knows
both.  The sentences say what is expected; what stands in the file is added by
`wsproxy.config.translate`, so nothing that came from the environment is repeated
(but for the right spelling of a network, which is no secret).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from pathlib import Path
from typing import Annotated, Final, TypeVar

from pydantic import (
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from wsproxy.config.units import (
    DURATION_PATTERN,
    SIZE_PATTERN,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)

__all__ = [
    "AccessSink",
    "Duration",
    "FilePath",
    "ListenAddress",
    "Listening",
    "Many",
    "Method",
    "Network",
    "NetworkText",
    "OneOrMany",
    "Origin",
    "PortRange",
    "Realm",
    "RuleName",
    "SetName",
    "Size",
    "Text",
]

T = TypeVar("T")
IPNetwork = IPv4Network | IPv6Network

_SINKS: Final = ("stdout", "stderr", "syslog", "none")
_LISTEN = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)|(localhost)):([0-9]{1,5})")
_LISTEN_FORM: Final = "expected HOST:PORT, HOST an IP address, [IPv6 address] or localhost"
_PORTS = re.compile(r"([1-9][0-9]{0,4})(?:-([1-9][0-9]{0,4}))?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_REALM = re.compile(r"[ !#-\[\]-~]{1,100}")  # quotable without escapes, RFC 9110 §5.6.4
_RULE_NAME = re.compile(r"[!-~](?:[ -~]{0,62}[!-~])?")
_SET_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?")
_LOG_FILE = re.compile(r"[./]")


@dataclass(frozen=True, slots=True)
class Origin:
    """What validation knows about the file the settings come from; pydantic's context.

    Attributes:
        folder: where relative paths start.
        rule_lines: the line of each entry of ``policy.rules``; empty without a file.
    """

    folder: Path = Path()
    rule_lines: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where to listen.

    Attributes:
        address: never a name; ``localhost`` means 127.0.0.1.
        port: 0 … 65535; 0 lets the system choose.
    """

    address: IPv4Address | IPv6Address
    port: int

    @classmethod
    def parse(cls, text: str) -> ListenAddress:
        """The address that `text`, ``HOST:PORT``, stands for.

        Raises:
            ValueError: it is not of that form, or HOST is a name other than localhost.
        """
        match = _LISTEN.fullmatch(text)
        if match is None:
            raise ValueError(_LISTEN_FORM)
        ipv6, ipv4, _, port = match.groups()
        if int(port) > 65535:
            raise ValueError("expected a port from 0 to 65535")
        try:
            address = IPv6Address(ipv6) if ipv6 else IPv4Address(ipv4 or "127.0.0.1")
        except ValueError:
            raise ValueError(_LISTEN_FORM) from None
        return cls(address, int(port))

    def __str__(self) -> str:
        """``address:port``, IPv6 in brackets."""
        text = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{text}:{self.port}"


def _text(
    value: object, sentence: str = "expected text; put a number, true and false in quotes"
) -> str:
    if not isinstance(value, str):
        raise ValueError(sentence)
    return value


# A float, a network, a path or a listen address never comes from a file: YAML yields
# text and whole numbers only.  Settings made in code may have them ready.  A size is a
# whole number once loaded, but a bare number in a file is a slip.


def _duration(value: object) -> float:
    if isinstance(value, float):
        return value
    seconds = parse_duration(_text(value, "expected a duration such as 250ms, 30s, 15m or 1h"))
    if seconds <= 0:
        raise ValueError("expected a duration longer than zero")
    return seconds


def _size(value: object) -> int:
    size = parse_size(_text(value, "expected a size such as 512B, 64KiB, 16MiB or 1GiB"))
    if size <= 0:
        raise ValueError("expected a size of at least 1B")
    return size


def _listening(value: object) -> ListenAddress:
    if isinstance(value, ListenAddress):
        return value
    return ListenAddress.parse(_text(value, _LISTEN_FORM))


def _network(value: object) -> IPNetwork:
    if isinstance(value, IPNetwork):
        return value
    text = _text(value, "expected an address or a network such as 10.0.0.0/8")
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError("expected an address or a network such as 10.0.0.0/8") from None
    if "/" in text and ip_address(text.partition("/")[0]) != network.network_address:
        raise ValueError(f"bits are set beyond the prefix length; write {network}")
    return network


def _ports(value: object) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError('expected a port or a range such as "8000-8999"')
    match = _PORTS.fullmatch(str(value))
    if match is None:
        raise ValueError('expected a port or a range such as "8000-8999"')
    low, high = int(match[1]), int(match[2] or match[1])
    if high > 65535:
        raise ValueError("expected ports from 1 to 65535")
    if high < low:
        raise ValueError("the range ends before it begins")
    return f"{low}-{high}" if match[2] else low


def _method(value: object) -> str:
    text = _text(value)
    if not _TOKEN.fullmatch(text):
        raise ValueError("expected an HTTP method such as GET")
    if text.upper() != text:
        # "The method token is case-sensitive" (RFC 9110 §9.1): `get` would match nothing.
        raise ValueError("methods are case-sensitive; write it in capital letters")
    return text


def _realm(value: object) -> str:
    if not _REALM.fullmatch(text := _text(value)):
        raise ValueError("expected 1 to 100 printable ASCII characters without quotes or \\")
    return text


def _rule_name(value: object) -> str:
    text = _text(value)
    if not _RULE_NAME.fullmatch(text):
        raise ValueError("expected a name of up to 64 printable ASCII characters")
    if text == "default":
        raise ValueError("the name 'default' is taken by policy.default")
    return text


def _set_name(value: object) -> str:
    text = _text(value)
    if not _SET_NAME.fullmatch(text):
        raise ValueError("expected a name of up to 64 letters, digits, '-', '_' and '.'")
    return text


def _printable(value: object) -> str:
    text = _text(value)
    if not text or not all(character.isprintable() or character == "\n" for character in text):
        raise ValueError("expected text without control characters")
    return text


def _path(value: object, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return value
    text = _text(value, "expected the path of a file")
    if not text or not text.isprintable():
        raise ValueError("expected the path of a file")
    origin: Origin = info.context or Origin()
    return origin.folder / text


def _sink(value: object, info: ValidationInfo) -> str:
    if isinstance(value, str) and value in _SINKS:
        return value
    if isinstance(value, str) and not _LOG_FILE.search(value):
        # A bare word is more often a slip of `stdout` than the name of a file.
        raise ValueError(f"expected {', '.join(_SINKS)} or a path such as access.log")
    return str(_path(value, info))


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str | int) else value


class _OneOrManySchema:
    """Lets a list of one be written without brackets."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        return {"anyOf": [schema["items"], schema]}


_TEXT_SCHEMA: Final = {"type": "string", "minLength": 1}

Duration = Annotated[
    float,
    PlainValidator(_duration),
    PlainSerializer(format_duration),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN}),
]
"""Seconds, more than zero; written ``30s``."""

Size = Annotated[
    int,
    PlainValidator(_size),
    PlainSerializer(format_size),
    WithJsonSchema({"type": "string", "pattern": SIZE_PATTERN}),
]
"""Bytes, at least one; written ``64KiB``."""

Listening = Annotated[
    ListenAddress,
    PlainValidator(_listening),
    PlainSerializer(str),
    WithJsonSchema(
        {"type": "string", "pattern": r"^(\[[0-9A-Fa-f:.]+\]|[0-9.]+|localhost):[0-9]+$"}
    ),
]
"""Written ``HOST:PORT``."""

Network = Annotated[
    IPNetwork, PlainValidator(_network), PlainSerializer(str), WithJsonSchema(_TEXT_SCHEMA)
]
"""An address or a CIDR network; an address is a network of one."""

NetworkText = Annotated[
    str, PlainValidator(lambda value: str(_network(value))), WithJsonSchema(_TEXT_SCHEMA)
]
"""As `Network`, in its canonical spelling, always with a prefix length."""

PortRange = Annotated[
    int | str,
    PlainValidator(_ports),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 65535},
                {"type": "string", "pattern": "^[0-9]+(-[0-9]+)?$"},
            ]
        }
    ),
]
"""A port, 1 … 65535, or ``"LOW-HIGH"``."""

Method = Annotated[str, PlainValidator(_method), WithJsonSchema({"type": "string"})]
Realm = Annotated[str, PlainValidator(_realm), WithJsonSchema({"type": "string", "maxLength": 100})]
RuleName = Annotated[
    str,
    PlainValidator(_rule_name),
    WithJsonSchema({"type": "string", "pattern": f"^{_RULE_NAME.pattern}$"}),
]
SetName = Annotated[
    str,
    PlainValidator(_set_name),
    WithJsonSchema({"type": "string", "pattern": f"^{_SET_NAME.pattern}$"}),
]
"""Name of a set of rules, referred to from elsewhere in the file."""

Text = Annotated[str, PlainValidator(_printable), WithJsonSchema(_TEXT_SCHEMA)]
FilePath = Annotated[Path, PlainValidator(_path), WithJsonSchema(_TEXT_SCHEMA)]
"""Starts at the configuration file's folder unless absolute."""

AccessSink = Annotated[
    str,
    PlainValidator(_sink),
    WithJsonSchema(
        {"anyOf": [{"enum": list(_SINKS)}, {"type": "string", "pattern": _LOG_FILE.pattern}]}
    ),
]
"""A name of a stream, or the path of a file."""

OneOrMany = Annotated[
    tuple[T, ...], Field(min_length=1), BeforeValidator(_as_list), _OneOrManySchema()
]
"""A list that is not empty, or its only entry."""

Many = Annotated[tuple[T, ...], BeforeValidator(_as_list), _OneOrManySchema()]
"""A list, which may be empty, or its only entry."""
