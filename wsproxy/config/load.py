"""From a path to a configuration that is known to be right, or to all its errors.

Three looks, each complete: the text (YAML, variables, secret files), every value by
itself, and what must hold between values.  A look is taken only when the one before
found nothing, because its findings would follow from those.  Nothing is bound, started
or written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from wsproxy.config.checks import problems_of
from wsproxy.config.document import Document, parse_document
from wsproxy.config.fields import ListenAddress, Origin
from wsproxy.config.listeners import Listener
from wsproxy.config.problems import ConfigErrors, KeyPath, dotted
from wsproxy.config.schema import Policy, Settings, json_schema
from wsproxy.config.syntax import text_error
from wsproxy.config.translate import positioned, translate
from wsproxy.errors import ConfigError

__all__ = ["EMBEDDED", "Config", "default", "json_schema", "load", "override_listen"]

EMBEDDED: Final = "(embedded default)"
"""What stands for the path where there is no file."""

MAX_FILE_BYTES: Final = 4 * 1024 * 1024
"""Some 40 000 rules; what is longer is not a configuration."""


@dataclass(frozen=True, slots=True)
class Config:
    """One loaded configuration.

    Attributes:
        settings: every setting, defaults filled in.
        file: path, as the user typed it; `EMBEDDED` without a file.
        document: the parsed file; None without a file.
    """

    settings: Settings
    file: str
    document: Document | None = None

    def position(self, path: KeyPath) -> tuple[int, int]:
        """Line and column, from 1, of the value at `path`; (0, 0) without a file.

        A value that is not in the file (a default) is placed where the part
        of its path that is there begins.
        """
        if self.document is None:
            return 0, 0
        place = self.document.find(path)[1].place
        return place.line, place.column

    @contextmanager
    def at(self, path: KeyPath) -> Iterator[None]:
        """Gives a `ValueError` of the block the position of the setting at `path`.

        Raises:
            ConfigError: in its place.
        """
        try:
            yield
        except ValueError as error:
            raise self.error(path, str(error)) from error

    def error(self, path: KeyPath, sentence: str) -> ConfigError:
        """An error about the value at `path`, for what only its user can find wrong."""
        if self.document is None:
            return ConfigError(sentence, file=self.file, key=dotted(path))
        return positioned(self.document, path, sentence)


def load(path: str | Path, *, environment: Mapping[str, str] | None = None) -> Config:
    """The configuration in the file at `path`.

    Args:
        path: of a YAML file.
        environment: what ``${NAME}`` is taken from; the process's own by default.

    Raises:
        ConfigErrors: everything that the first look with findings found.
        ConfigError: the file cannot be read, or is not YAML text.
    """
    file = os.fspath(path)
    folder = Path(path).parent
    document = parse_document(
        _read(Path(path), file),
        file=file,
        folder=folder,
        environment=os.environ if environment is None else environment,
    )
    settings = _validate(document, folder)
    problems = [positioned(document, key, sentence) for key, sentence in problems_of(settings)]
    if problems:
        raise ConfigErrors(problems)
    return Config(settings, file, document)


def default() -> Config:
    """The embedded default: loopback only, no credentials, every public address."""
    return Config(Settings(policy=Policy(default="allow")), EMBEDDED)


def override_listen(config: Config, text: str) -> Config:
    """`config` with the single listener `text`, ``HOST:PORT``, instead of its own.

    Raises:
        ConfigError: `text` is no such address; its file is ``--listen``.
    """
    try:
        address = ListenAddress.parse(text)
    except ValueError as error:
        raise ConfigError(f"{error}; got {text!r}", file="--listen") from None
    listeners = (Listener(address=address),)
    return replace(config, settings=config.settings.model_copy(update={"listeners": listeners}))


def _read(path: Path, file: str) -> str:
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the file: {error.strerror}", file=file) from None
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError("the file is longer than 4 MiB", file=file)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        sentence = "this byte is not UTF-8 text; save the file as UTF-8"
        raise ConfigError(sentence, file=file, line=line, column=column) from None
    if (error_in_text := text_error(text, file)) is not None:
        raise error_in_text
    return text


def _validate(document: Document, folder: Path) -> Settings:
    found, rules = document.find(("policy", "rules"))
    lines: tuple[int, ...] = ()
    if len(found) == 2 and isinstance(rules.content, tuple):
        lines = tuple(rule.place.line for rule in rules.content)
    try:
        return Settings.model_validate(document.data(), context=Origin(folder, lines))
    except ValidationError as error:
        raise ConfigErrors(translate(error, document)) from None
