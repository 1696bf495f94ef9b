"""What can be said of a file that a setting names, before anything is made of it."""

from __future__ import annotations

import stat
from pathlib import Path

__all__ = ["too_open", "unreadable"]

_OTHERS = stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP


def unreadable(path: Path) -> str | None:
    """Why the file cannot be read, or None.  Nothing but a regular file is opened."""
    if path.exists() and not path.is_file():
        return f"{path} is not a file"
    try:
        path.open("rb").close()
    except OSError as error:
        return f"cannot read {path}: {error.strerror}"
    return None


def too_open(key: Path) -> str | None:
    """Why the file of a private key is none any more, or None; it can be read."""
    if key.stat().st_mode & _OTHERS:
        return f"others can read or change this key; run: chmod 600 {key}"
    return None
