"""A YAML parser's complaint in words that say what to do.

The two parsers of PyYAML word the same complaint differently and place some of
them at the end of the file.  The slips that people really make are recognised by
what stands in the text, so both get the same sentence; the rest is passed on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from wsproxy.errors import ConfigError

__all__ = ["syntax_error", "text_error"]

_CONTROL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_QUOTE = "put the text in quotes"

# What stands at the complaint, or anywhere in its line, and the sentence for it.
_AT_MARK: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\t"), "a tab cannot indent YAML; use spaces"),
    (re.compile(r"[@`%]"), f"a text cannot begin with this character; {_QUOTE}"),
    (re.compile(r":(\s|$)"), "unexpected ': '; check brackets and indentation, or quote the text"),
)
_IN_LINE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\[[0-9A-Fa-f:.]*\]:[0-9$]"), "put an address with brackets in quotes"),
    (re.compile(r"[\[{].*\$\{"), "inside {…} or […], put ${NAME} in quotes"),
)


def text_error(text: str, file: str) -> ConfigError | None:
    """The first character that YAML does not allow, as an error; None when there is none."""
    match = _CONTROL.search(text)
    if match is None:
        return None
    line = text.count("\n", 0, match.start()) + 1
    column = match.start() - (text.rfind("\n", 0, match.start()) + 1) + 1
    sentence = f"character U+{ord(match[0]):04X} cannot stand in YAML; remove it"
    return ConfigError(sentence, file=file, line=line, column=column)


def syntax_error(error: yaml.MarkedYAMLError, text: str, file: str) -> ConfigError:
    """`error` as a `ConfigError` with its place in `text`."""
    mark, context = error.problem_mark, error.context_mark
    lines = text.splitlines()
    if context is not None and (mark is None or mark.line >= len(lines)):
        mark = context  # the end of the file says nothing; what was left open does
        sentence = "this is never closed; is the file complete?"
    else:
        sentence = f"not valid YAML: {error.problem}"
    if mark is None:
        return ConfigError(sentence, file=file)
    line = lines[mark.line] if mark.line < len(lines) else ""
    if error.context == "while scanning an alias":
        sentence = f"a text that begins with * needs quotes; {_QUOTE}"
    hint = next(_hints(line, mark.column), sentence)
    return ConfigError(hint, file=file, line=mark.line + 1, column=mark.column + 1)


def _hints(line: str, column: int) -> Iterator[str]:
    yield from (hint for pattern, hint in _IN_LINE if pattern.search(line))
    yield from (hint for pattern, hint in _AT_MARK if pattern.match(line, column))
