"""The command line: one file a command, imported when it is called.

``wsproxy version`` must not pay for trio, nor ``wsproxy --help`` for pydantic, so
the table below names the commands and says what they do without importing them.

Exit status: 0 done, 1 the thing asked about failed, 2 bad usage or bad
configuration.  Commands let `ConfigError` rise; it is written out here.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from typing import Final

import click

from wsproxy.cli.console import complain
from wsproxy.config.problems import each_error
from wsproxy.errors import ConfigError

__all__ = ["COMMANDS", "group", "main"]

COMMANDS: Final[dict[str, str]] = {
    "run": "Serve: the main job.",
    "check": "Say whether a configuration is right, and where not.",
    "explain": "Say what would happen to a request, and why.",
    "policy": "Compare policies, and propose one, by real traffic.",
    "passwd": "Add or change a user in a users file.",
    "ca": "Make, show and export the CA that interception signs with.",
    "tail": "Show WebSocket messages as they are recorded.",
    "export": "Write captured WebSockets as HAR or JSON Lines.",
    "health": "Ask a running proxy whether it serves.",
    "schema": "Print the JSON Schema of the configuration.",
    "version": "Print versions.",
}
"""Name and purpose; command ``x`` is the object ``x`` in ``wsproxy.cli.x``."""

_EXAMPLE: Final = "Example: wsproxy run --listen 127.0.0.1:8080"


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"wsproxy.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS:
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command '{name}'; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_Commands,
    epilog=_EXAMPLE,
    context_settings={"help_option_names": ["-h", "--help"]},
)
def group() -> None:
    """HTTP and WebSocket forward proxy."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns the exit status.

    Args:
        arguments: without the program's name; those of the process by default.
    """
    try:
        status = group.main(arguments, prog_name="wsproxy", standalone_mode=False)
    except ConfigError as error:
        for single in each_error(error):
            complain(str(single))
        return 2
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        complain(_one_line(error))
        return error.exit_code
    except click.Abort:
        complain("wsproxy: interrupted")
        return 1
    except BrokenPipeError:
        # Whoever read our output has left; the interpreter must not try to flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status if isinstance(status, int) else 0


def _one_line(error: click.ClickException) -> str:
    text = " ".join(error.format_message().split())
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context is not None else "wsproxy"
    return f"{path}: {text.removesuffix('.')}; see '{path} --help'"
