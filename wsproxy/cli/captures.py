"""Where capture files are, for the commands that read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import click

__all__ = ["capture_files", "filter_option"]


def capture_files(source: Path) -> list[Path]:
    """The capture files that `source`, a file or a folder of them, stands for; oldest first.

    Raises:
        click.BadParameter: there is none.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise click.BadParameter(f"{source} is neither a capture file nor a folder of them")
    found = sorted(path for path in source.iterdir() if path.suffix == ".jsonl" and path.is_file())
    if not found:
        raise click.BadParameter(f"there are no capture files (*.jsonl) in {source}")
    return found


def filter_option(
    _context: click.Context, _parameter: click.Parameter, value: str
) -> Callable[[Mapping[str, object]], bool]:
    """What ``--filter`` stands for; a click callback."""
    from wsproxy.policy.filters import compile_filter

    try:
        return compile_filter(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
