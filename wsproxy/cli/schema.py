"""``wsproxy schema``: the configuration's JSON Schema."""

from __future__ import annotations

import json

import click

from wsproxy.config.schema import json_schema

__all__ = ["schema"]


@click.command(epilog="Example: wsproxy schema > wsproxy.schema.json")
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
