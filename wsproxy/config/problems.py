"""Several configuration errors raised as one, and each in its place."""

from __future__ import annotations

from collections.abc import Sequence

from wsproxy.errors import ConfigError

__all__ = ["ConfigErrors", "KeyPath", "dotted", "each_error"]

KeyPath = tuple[str | int, ...]
"""Where a value stands: ``("policy", "rules", 0, "when")``."""


class ConfigErrors(ConfigError):
    """Everything found wrong with one file, in the order of its lines.

    File, line, column and key are those of the first error.

    Args:
        errors: at least one.
    """

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        self.errors = tuple(sorted(errors, key=lambda error: (error.line, error.column)))
        first = self.errors[0]
        super().__init__(
            first.detail, file=first.file, line=first.line, column=first.column, key=first.key
        )

    def __str__(self) -> str:
        """One line an error."""
        return "\n".join(str(error) for error in self.errors)


def each_error(error: ConfigError) -> tuple[ConfigError, ...]:
    """The single errors of which `error` consists; itself when it is a single one."""
    return error.errors if isinstance(error, ConfigErrors) else (error,)


def dotted(path: KeyPath) -> str:
    """``policy.rules[0].when`` for a path of keys and indexes."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")
