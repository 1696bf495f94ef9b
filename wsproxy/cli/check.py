"""``wsproxy check``: everything ``run`` would load, without binding."""

from __future__ import annotations

import json

import click

from wsproxy import app
from wsproxy.cli.console import complain
from wsproxy.config.load import load
from wsproxy.config.problems import each_error
from wsproxy.errors import ConfigError

__all__ = ["check"]


@click.command(epilog="Example: wsproxy check --config wsproxy.yaml")
@click.option("--config", "file", metavar="FILE", required=True, help="Configuration file.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def check(file: str, as_json: bool) -> int:
    """Say whether a configuration is right, and each place where it is not."""
    errors = _errors_in(file)
    if as_json:
        result = {"ok": not errors, "errors": [_as_dict(error) for error in errors]}
        click.echo(json.dumps(result, indent=2))
    elif errors:
        for error in errors:
            complain(str(error))
    else:
        click.echo(f"{file}: ok")
    return 2 if errors else 0


def _errors_in(file: str) -> tuple[ConfigError, ...]:
    try:
        app.build(load(file))
    except ConfigError as error:
        return each_error(error)
    return ()


def _as_dict(error: ConfigError) -> dict[str, object]:
    return {
        "file": error.file,
        "line": error.line,
        "column": error.column,
        "key": error.key,
        "message": error.detail,
    }
