"""pydantic's errors as ``FILE:LINE:COL: key.path: plain sentence``.

The place is that of the offending value, of the key when the key itself is
wrong, and of the mapping when something is missing in it.  What stands in the file
is quoted as it was typed, variables not replaced: they may hold secrets.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from wsproxy.config.absent import ABSENT_KEYS, ABSENT_VALUES
from wsproxy.config.document import Document, Node, Place
from wsproxy.config.problems import KeyPath, dotted
from wsproxy.config.schema import Settings
from wsproxy.config.secret import Secret
from wsproxy.errors import ConfigError

__all__ = ["positioned", "translate", "valid_keys"]

_ABSENT_KEY = "this version of wsproxy does not have this setting yet; remove it"
_ABSENT_VALUE = "this version of wsproxy does not have this value yet; remove it"
_MAX_QUOTED = 60

_INDEX = re.compile(r"\[\d+\]")

# By pydantic's type of error; the names in braces are from its context.
_SENTENCES: dict[str, str] = {
    "bool_type": "expected true or false",
    "greater_than_equal": "expected at least {ge}",
    "int_type": "expected a whole number without quotes",
    "less_than_equal": "expected at most {le}",
    "literal_error": "expected {expected}",
    "model_type": "expected a mapping of 'key: value'",
    "too_short": "the list is empty; give at least one entry",
    "tuple_type": "expected a list",
    "value_error": "{error}",
}


def translate(error: ValidationError, document: Document) -> list[ConfigError]:
    """Each of the errors that pydantic found in the data of `document`."""
    return [
        _translate(details, document)
        for details in error.errors(include_url=False, include_input=False)
        if not _is_echo(details, document)
    ]


def positioned(document: Document, path: KeyPath, sentence: str) -> ConfigError:
    """An error about the value at `path`, or the nearest part of the path that is there."""
    found, node = document.find(path)
    return _error(document, sentence, place=node.place, path=found)


def valid_keys() -> dict[str, list[str]]:
    """The keys of every section, by the section's dotted path, ``[]`` for any index."""
    return _keys(Settings, "")


def _is_echo(details: ErrorDetails, document: Document) -> bool:
    """Whether a list counts as too short only because its entries are wrong."""
    return details["type"] == "too_short" and document.find(details["loc"])[1].content != ()


def _translate(details: ErrorDetails, document: Document) -> ConfigError:
    path: KeyPath = details["loc"]
    match details["type"]:
        case "extra_forbidden":
            return _unknown_key(path, document)
        case "missing":
            place = document.find(path[:-1])[1].place
            return _error(document, "missing; this key is required", place=place, path=path)
    found, node = document.find(path)
    if isinstance(node.content, str) and (_pattern(found), node.content) in ABSENT_VALUES:
        return positioned(document, path, _ABSENT_VALUE)
    return positioned(document, path, _sentence(details, node) + _quoted(node))


def _unknown_key(path: KeyPath, document: Document) -> ConfigError:
    place = document.key_place(path)
    if _pattern(path) in ABSENT_KEYS:
        return _error(document, _ABSENT_KEY, place=place, path=path)
    valid = valid_keys()[_pattern(path[:-1])]
    near = difflib.get_close_matches(str(path[-1]), valid, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"valid here: {', '.join(valid)}"
    return _error(document, f"unknown key; {hint}", place=place, path=path)


def _sentence(details: ErrorDetails, node: Node) -> str:
    if node.content is None:
        return "there is no value; write one or remove the key"
    template = _SENTENCES.get(details["type"], "{msg}")
    return template.format(msg=details["msg"], **details.get("ctx", {}))


def _quoted(node: Node) -> str:
    match node.content:
        case Secret():
            return "; got the text of a file, which cannot stand here"
        case dict():
            return "; got a mapping"
        case tuple(items):
            return "; got a list" if items else ""
        case None:
            return ""
        case _:
            shown = node.source[:_MAX_QUOTED]
            return f"; got {shown!r}" if shown == node.source else f"; got {shown!r}…"


def _error(document: Document, sentence: str, *, place: Place, path: KeyPath) -> ConfigError:
    return ConfigError(
        sentence,
        file=document.file,
        line=place.line,
        column=place.column,
        key=dotted(path),
    )


def _pattern(path: KeyPath) -> str:
    return _INDEX.sub("[]", dotted(path))


def _keys(section: type[BaseModel], prefix: str) -> dict[str, list[str]]:
    keys = {prefix: list(section.model_fields)}
    for name, info in section.model_fields.items():
        path = f"{prefix}.{name}".removeprefix(".")
        for kind, is_list in _sections(info.annotation):
            keys |= _keys(kind, f"{path}[]" if is_list else path)
    return keys


def _sections(annotation: object) -> Iterator[tuple[type[BaseModel], bool]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, False
    for argument in get_args(annotation):
        yield from ((kind, True) for kind, _ in _sections(argument))
