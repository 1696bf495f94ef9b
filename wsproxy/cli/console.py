"""Words for the person at the terminal."""

from __future__ import annotations

import os

import click

__all__ = ["complain"]


def complain(text: str) -> None:
    """Writes each line of `text` to stderr; red on a terminal unless NO_COLOR is set."""
    # click drops colours where stderr is no terminal; it does not know NO_COLOR.
    colour = None if not os.environ.get("NO_COLOR") else False
    for line in text.splitlines():
        click.secho(line, fg="red", err=True, color=colour)
