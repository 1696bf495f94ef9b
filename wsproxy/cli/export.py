"""``wsproxy export``: captured WebSockets for other programs."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

import click
import orjson

from wsproxy import __version__
from wsproxy.cli.captures import capture_files, filter_option
from wsproxy.observe.har import HarWriter, read_records

__all__ = ["export"]

Wanted = Callable[[Mapping[str, object]], bool]


@click.command(
    epilog="Example: wsproxy export --from captures --to out.har --filter 'host:*.example.com'",
)
@click.option(
    "--from",
    "source",
    required=True,
    metavar="CAPTURE",
    type=click.Path(path_type=Path),
    help="Capture file, or the folder of them; one that is still being written will do.",
)
@click.option(
    "--to",
    "out",
    required=True,
    metavar="OUT",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write: .har for HAR 1.2, .jsonl for the records themselves.",
)
@click.option(
    "--filter",
    "wanted",
    default="",
    metavar="EXPR",
    callback=filter_option,
    help="Only what matches, such as 'direction:client size>1KiB'; see docs/inspection.md.",
)
def export(source: Path, out: Path, wanted: Wanted) -> None:
    """Write captured WebSockets as HAR 1.2 or JSON Lines."""
    if out.suffix not in _WRITERS:
        raise click.UsageError(f"--to {out}: the name must end in {' or '.join(_WRITERS)}")
    files = capture_files(source)
    try:
        sessions, messages = _replace(
            out, lambda stream: _WRITERS[out.suffix](files, stream, wanted)
        )
    except OSError as error:
        raise click.ClickException(f"{error.filename or out}: {error.strerror}") from None
    click.echo(f"{out}: {sessions} WebSockets, {messages} messages", err=True)
    if not sessions:
        raise click.ClickException("nothing matched")


def _records(files: list[Path]) -> Iterator[dict[str, object]]:
    for path in files:
        with path.open("rb") as stream:
            yield from read_records(stream)


def _write_har(files: list[Path], out: IO[bytes], wanted: Wanted) -> tuple[int, int]:
    with contextlib.closing(HarWriter(__version__, wanted)) as writer:
        for record in _records(files):
            writer.add(record)
        counts = writer.sessions, writer.messages
        writer.write(out)
    return counts


def _write_lines(files: list[Path], out: IO[bytes], wanted: Wanted) -> tuple[int, int]:
    sessions: set[object] = set()
    messages = 0
    for record in _records(files):
        if wanted(record):
            sessions.update([record["session"]] if "session" in record else [])
            messages += record.get("event") == "message"
            out.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
    return len(sessions), messages


_WRITERS = {".har": _write_har, ".jsonl": _write_lines}


def _replace(out: Path, write: Callable[[IO[bytes]], tuple[int, int]]) -> tuple[int, int]:
    """Puts what `write` writes in the place of `out`, at once or not at all; mode 0600."""
    descriptor, temporary = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
    try:
        with open(descriptor, "wb") as stream:
            counts = write(stream)
        os.replace(temporary, out)
    except BaseException:
        os.unlink(temporary)
        raise
    return counts
