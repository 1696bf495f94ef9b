"""``wsproxy run``: the main job."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from wsproxy.app_serve import serve
from wsproxy.config.load import Config, default, load, override_listen

__all__ = ["run"]


@click.command(
    epilog="Example: wsproxy run --config wsproxy.yaml",
)
@click.option(
    "--config",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path, readable=False),
    help="YAML file; without it, the embedded default for one machine.",
)
@click.option("--listen", metavar="HOST:PORT", help="Listen here instead of where the file says.")
def run(file: Path | None, listen: str | None) -> None:
    """Run the proxy until SIGTERM or Ctrl-C."""

    def read() -> Config:
        config = load(file) if file else default()
        return override_listen(config, listen) if listen else config

    config = read()
    level = config.settings.logs.level.upper()
    logging.basicConfig(
        stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(message)s"
    )
    serve(config, _announce, reread=read)


def _announce(urls: list[str]) -> None:
    """The first lines a user sees; on stderr, so that stdout has records only."""
    for url in urls:
        click.echo(f"wsproxy listening on {url}", err=True)
    reachable = urls[0].replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    click.echo(f"try: curl --proxy {reachable} https://example.com/", err=True)
