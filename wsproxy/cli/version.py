"""``wsproxy version``: what is running, for a bug report."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from typing import Final

import click

from wsproxy import __version__

__all__ = ["LIBRARIES", "version"]

LIBRARIES: Final = (
    "argon2-cffi",
    "bcrypt",
    "click",
    "cryptography",
    "google-re2",
    "h11",
    "libpass",
    "orjson",
    "pydantic",
    "PyYAML",
    "trio",
)
"""The distributions whose versions matter."""


@click.command(epilog="Example: wsproxy version --json")
@click.option("--json", "as_json", is_flag=True, help="Print the versions as JSON.")
def version(as_json: bool) -> None:
    """Print the versions of wsproxy, Python and the libraries."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    libraries = {name: importlib.metadata.version(name) for name in LIBRARIES}
    if as_json:
        versions = {"wsproxy": __version__, "python": python, "libraries": libraries}
        click.echo(json.dumps(versions, indent=2))
        return
    click.echo(f"wsproxy {__version__}")
    click.echo(python)
    for name, number in libraries.items():
        click.echo(f"{name} {number}")
