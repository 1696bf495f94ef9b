"""pydantic's errors as ``FILE:LINE:COL: key.path: plain sentence``.

The place is that of the offending value, of the key when the key itself is
wrong, and of the mapping when something is missing in it.  What stands in the file
is quoted as it was typed, variables not replaced: they may hold secrets.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator
from typing import get_args, get_origin

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
_KEY_MARK = "[key]"  # pydantic's last step where a key that the author chose is wrong

# By pydantic's type of error; the names in braces are from its context.
_SENTENCES: dict[str, str] = {
    "bool_type": "expected true or false",
    "dict_type": "expected a mapping of 'key: value'",
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
    """The keys of every section, by the section's dotted path.

    In it ``[]`` stands for any index, and ``NAME`` for a key that the author chooses.
    """
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
    if path[-1] == _KEY_MARK:
        place = document.key_place(path[:-1])
        return _error(document, _sentence(details), place=place, path=path[:-1])
    found, node = document.find(path)
    if isinstance(node.content, str) and (_pattern(found), node.content) in ABSENT_VALUES:
        return positioned(document, path, _ABSENT_VALUE)
    if node.content is None:
        return positioned(document, path, "there is no value; write one or remove the key")
    return positioned(document, path, _sentence(details) + _quoted(node))


def _unknown_key(path: KeyPath, document: Document) -> ConfigError:
    place = document.key_place(path)
    if _pattern(path) in ABSENT_KEYS:
        return _error(document, _ABSENT_KEY, place=place, path=path)
    valid = valid_keys()[_pattern(path[:-1])]
    near = difflib.get_close_matches(str(path[-1]), valid, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"valid here: {', '.join(valid)}"
    return _error(document, f"unknown key; {hint}", place=place, path=path)


def _sentence(details: ErrorDetails) -> str:
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
    pattern = ""
    for step in path:
        if isinstance(step, int):
            pattern += "[]"
        else:
            pattern += ".NAME" if pattern in _with_names() else f".{step}"
        pattern = pattern.removeprefix(".")
    return pattern


@functools.cache
def _with_names() -> frozenset[str]:
    """The mappings of sections whose keys the author chooses."""
    return frozenset(key.partition(".NAME")[0] for key in valid_keys() if ".NAME" in key)


def _keys(section: type[BaseModel], prefix: str) -> dict[str, list[str]]:
    fields = {info.alias or name: info for name, info in section.model_fields.items()}
    keys = {prefix: list(fields)}
    for name, info in fields.items():
        path = f"{prefix}.{name}".removeprefix(".")
        for kind, steps in _sections(info.annotation):
            keys |= _keys(kind, f"{path}{steps}")
    return keys


def _sections(annotation: object) -> Iterator[tuple[type[BaseModel], str]]:
    """The sections in a type, and the steps from its value to theirs."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, ""
    origin = get_origin(annotation)
    steps = "[]" if origin is tuple else ".NAME" if origin is dict else ""
    for argument in get_args(annotation):
        yield from ((kind, steps + inner) for kind, inner in _sections(argument))
