"""YAML text to plain data in which every value knows its line.

Theory of operation.  PyYAML would happily build objects, resolve ``off`` to
False and ``010`` to 8, expand a kilobyte of aliases to gigabytes and recurse as
deep as the brackets go.  So only its *parser* is used: it yields events, and the
composer below builds the few things a configuration consists of.

* Scalars follow the YAML 1.2 core schema, not 1.1: plain ``true`` and ``false``
  are booleans, plain decimal digits are whole numbers, ``~``, ``null`` and
  nothing at all are null; *everything else is text*.  ``on``, ``off``, ``yes``,
  ``no``, ``010``, ``0x1f``, ``1.5`` and ``22:30`` stay what was typed.
* An alias is the node it names; nothing is copied.  Each node knows how many
  nodes it would be written out, so an alias bomb is refused where it passes the
  bound, in time proportional to the file.  Merge keys (``<<``) are refused.
* Depth is bounded while the events arrive: the parser itself needs seconds
  for 100 000 opening brackets when it is asked for all events at once.
* ``${NAME}`` and ``${NAME:-default}`` are replaced inside scalars only, after
  parsing, so a variable cannot add structure; ``$$`` is a single ``$``.  A plain
  scalar is resolved after replacing, so ``${PORT}`` can be a number.  The default
  is taken when the variable is unset or empty, as in the shell.
* ``!file PATH`` is the text of that file as a `Secret`.  Any other tag is refused.

Problems that do not stop the parser are collected and reported together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import yaml

from wsproxy.config.problems import ConfigErrors, KeyPath, dotted
from wsproxy.config.secret import Secret
from wsproxy.config.syntax import syntax_error
from wsproxy.errors import ConfigError

__all__ = ["MAX_DEPTH", "MAX_NODES", "Document", "Node", "Place", "Plain", "parse_document"]

MAX_DEPTH: Final = 24
"""Nesting of the deepest setting is 7; aliases count with what they name."""

MAX_NODES: Final = 500_000
"""Keys and values with every alias written out: about 30 000 rules."""

_MAX_SECRET_BYTES: Final = 64 * 1024

# The same events from libyaml, 18 times faster, where PyYAML was built with it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_VARIABLE = re.compile(r"\$(?:(\$)|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|(\{))")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}

Plain = str | int | bool | Secret | None
"""What a scalar can be."""


@dataclass(frozen=True, slots=True)
class Place:
    """A position in the file; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands.

    Attributes:
        content: entries by key, items, or a scalar.
        place: where the value begins.
        keys: for a mapping, where each key begins.
        source: for a scalar, its text as in the file, variables not replaced.
        size: how many nodes this is with every alias written out.
        height: levels of nesting, 1 for a scalar.
    """

    content: dict[str, Node] | tuple[Node, ...] | Plain = field(repr=False)
    place: Place
    keys: dict[str, Place] = field(default_factory=dict)
    source: str = ""
    size: int = 1
    height: int = 1


@dataclass(frozen=True, slots=True)
class Document:
    """One parsed file.

    Attributes:
        file: path, as the user would type it.
        root: always a mapping.
    """

    file: str
    root: Node

    def data(self) -> object:
        """The plain dictionaries, lists and scalars."""
        return _plain(self.root)

    def find(self, path: KeyPath) -> tuple[KeyPath, Node]:
        """The longest part of `path` that stands in the file, and the value there.

        A value written through an alias is found where the anchor stands.
        """
        node = self.root
        for depth, step in enumerate(path):
            match node.content, step:
                case dict() as entries, str() if step in entries:
                    node = entries[step]
                case tuple() as items, int() if step < len(items):
                    node = items[step]
                case _:
                    return path[:depth], node
        return path, node

    def key_place(self, path: KeyPath) -> Place:
        """Where the last key of `path` stands; its value's place for an item of a list."""
        parent, step = self.find(path[:-1])[1], path[-1]
        return parent.keys.get(str(step), self.find(path)[1].place)


def parse_document(
    text: str, *, file: str, folder: Path, environment: Mapping[str, str], is_list: bool = False
) -> Document:
    """The single YAML document in `text`.

    Args:
        text: the whole file.
        file: its path for messages.
        folder: what the relative paths of ``!file`` start at.
        environment: what ``${NAME}`` is taken from.
        is_list: it must be a list, and not a mapping.

    Raises:
        ConfigError: not YAML, or nothing or something else than one mapping or list.
        ConfigErrors: duplicate keys, unknown tags, unset variables, unreadable
            secret files; all of them.
    """
    composer = _Composer(text, file=file, folder=folder, environment=environment, is_list=is_list)
    root = composer.compose()
    if composer.problems:
        raise ConfigErrors(composer.problems)
    return Document(file, root)


def _plain(node: Node) -> object:
    match node.content:
        case dict() as entries:
            return {key: _plain(value) for key, value in entries.items()}
        case tuple() as items:
            return [_plain(item) for item in items]
        case scalar:
            return scalar


def _resolve(text: str) -> Plain:
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if _INTEGER.fullmatch(text) else text


class _Composer:
    """Builds nodes from parser events; the state is what was seen so far."""

    def __init__(
        self,
        text: str,
        *,
        file: str,
        folder: Path,
        environment: Mapping[str, str],
        is_list: bool,
    ) -> None:
        self._is_list = is_list
        self.problems: list[ConfigError] = []
        self._text = text
        self._file = file
        self._folder = folder
        self._environment = environment
        self._events = yaml.parse(text, Loader=_LOADER)
        self._anchors: dict[str, Node] = {}

    def compose(self) -> Node:
        try:
            return self._document()
        except yaml.MarkedYAMLError as error:
            raise syntax_error(error, self._text, self._file) from None
        except yaml.YAMLError:
            raise ConfigError("this is no YAML text", file=self._file) from None

    def _document(self) -> Node:
        next(self._events)  # the stream starts
        first = next(self._events)
        if isinstance(first, yaml.StreamEndEvent):
            raise ConfigError("the file is empty; see config/default.yaml", file=self._file)
        root = self._node(next(self._events), ())
        next(self._events)  # the document ends
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise self._error("a second document begins here; keep one", _place(after), ())
        if root.content is None:
            raise ConfigError("the file is empty; see config/default.yaml", file=self._file)
        if not isinstance(root.content, tuple if self._is_list else dict):
            wanted = "a list, '- …' lines," if self._is_list else "'key: value' lines"
            raise self._error(f"expected {wanted} at the top level", root.place, ())
        return root

    def _node(self, event: yaml.Event, path: KeyPath) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        if len(path) >= MAX_DEPTH:
            raise self._too_deep(event, path)
        if isinstance(event, yaml.MappingStartEvent):
            node = self._mapping(event, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, path)
        else:
            assert isinstance(event, yaml.ScalarEvent)
            node = self._scalar(event, path)
        if node.size > MAX_NODES:
            sentence = f"more than {MAX_NODES} values when aliases are written out"
            raise self._error(sentence, _place(event), path)
        anchor: str | None = event.anchor
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _alias(self, event: yaml.AliasEvent, path: KeyPath) -> Node:
        name = str(event.anchor)
        node = self._anchors.get(name)
        if node is None:
            # An alias inside the value that its own anchor names ends here too.
            sentence = f"no anchor '&{name}' above; a text that begins with * needs quotes"
            raise self._error(sentence, _place(event), path)
        if len(path) + node.height > MAX_DEPTH:
            raise self._too_deep(event, path)
        return node

    def _sequence(self, event: yaml.SequenceStartEvent, path: KeyPath) -> Node:
        self._refuse_tag(event, path)
        items: list[Node] = []
        while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(item, (*path, len(items))))
        size, height = _extent(items)
        return Node(tuple(items), _place(event), size=size, height=height)

    def _mapping(self, event: yaml.MappingStartEvent, path: KeyPath) -> Node:
        self._refuse_tag(event, path)
        entries: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        while not isinstance(key_event := next(self._events), yaml.MappingEndEvent):
            key = self._key(key_event, path)
            place = _place(key_event)
            if key in entries:
                sentence = f"duplicate key; the first is on line {keys[key].line}"
                self._report(sentence, place, (*path, key))
            elif key == "<<":
                self._report("merge keys are not supported; repeat the keys", place, (*path, key))
            entries[key] = self._node(next(self._events), (*path, key))
            keys[key] = place
        size, height = _extent(entries.values())
        return Node(entries, _place(event), keys=keys, size=size, height=height)

    def _key(self, event: yaml.Event, path: KeyPath) -> str:
        if not isinstance(event, yaml.ScalarEvent) or event.tag is not None:
            raise self._error("a key must be plain text", _place(event), path)
        return str(event.value)

    def _scalar(self, event: yaml.ScalarEvent, path: KeyPath) -> Node:
        place, source = _place(event), str(event.value)
        text = self._expand(source, place, path)
        content: Plain
        if event.tag == "!file":
            content = self._secret(text, place, path)
        else:
            self._refuse_tag(event, path)
            plain = not event.style
            content = _resolve(text) if plain else text
        if _SURROGATE.search(text):
            self._report("contains a character that is not Unicode text", place, path)
        return Node(content, place, source=source)

    def _expand(self, text: str, place: Place, path: KeyPath) -> str:
        def replacement(match: re.Match[str]) -> str:
            dollar, name, default, malformed = match.groups()
            if dollar:
                return "$"
            if malformed:
                self._report("expected ${NAME} or ${NAME:-default}; $$ is a single $", place, path)
                return ""
            value = self._environment.get(name)
            if value is None and default is None:
                hint = f"set it or write ${{{name}:-default}}"
                self._report(f"environment variable {name} is not set; {hint}", place, path)
            return value or default or ""

        return _VARIABLE.sub(replacement, text)

    def _secret(self, text: str, place: Place, path: KeyPath) -> Secret:
        try:
            with (self._folder / text).open("rb") as stream:
                raw = stream.read(_MAX_SECRET_BYTES + 1)
            secret = raw.decode().removesuffix("\n").removesuffix("\r")
        except OSError as error:
            self._report(f"cannot read the secret file: {error.strerror}", place, path)
        except ValueError:
            self._report("the secret file is not UTF-8 text, or its path is none", place, path)
        else:
            if not secret or len(raw) > _MAX_SECRET_BYTES:
                self._report("the secret file is empty or longer than 64 KiB", place, path)
            return Secret(secret)
        return Secret("")

    def _refuse_tag(self, event: yaml.NodeEvent, path: KeyPath) -> None:
        tag: str | None = getattr(event, "tag", None)
        if tag is not None:
            self._report(f"unknown tag {tag!r}; only !file PATH exists", _place(event), path)

    def _report(self, sentence: str, place: Place, path: KeyPath) -> None:
        self.problems.append(self._error(sentence, place, path))

    def _too_deep(self, event: yaml.Event, path: KeyPath) -> ConfigError:
        # The path itself would be as long as the nesting is deep.
        sentence = f"nested more than {MAX_DEPTH} levels deep"
        return self._error(sentence, _place(event), path[:1])

    def _error(self, sentence: str, place: Place, path: KeyPath) -> ConfigError:
        return ConfigError(
            sentence, file=self._file, line=place.line, column=place.column, key=dotted(path)
        )


def _place(event: yaml.Event) -> Place:
    mark = event.start_mark
    assert mark is not None
    return Place(mark.line + 1, mark.column + 1)


def _extent(children: Iterable[Node]) -> tuple[int, int]:
    sizes = [(child.size, child.height) for child in children]
    return 1 + sum(size for size, _ in sizes), 1 + max((height for _, height in sizes), default=0)
