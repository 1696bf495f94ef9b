"""``wsproxy tail``: WebSocket messages as they pass, one line each."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click
import orjson

from wsproxy.cli.captures import capture_files, filter_option
from wsproxy.observe.har import read_records

__all__ = ["Follower", "line_for", "tail"]

Record = Mapping[str, object]
Wanted = Callable[[Record], bool]

_PAUSE_S = 0.2
_CLOCK_TIME = slice(11, 23)
_ARROWS = {"client": "->", "upstream": "<-"}
_COLOURS = {"client": "cyan", "upstream": "green"}
_STEP_BYTES = 64 * 1024
_MAX_SHOWN = 500


@click.command(epilog="Example: wsproxy tail --from captures --filter 'host:*.example.com'")
@click.option(
    "--from",
    "source",
    required=True,
    metavar="DIRECTORY",
    type=click.Path(path_type=Path, exists=True),
    help="Folder of capture files, inspection.capture.directory; or one file.",
)
@click.option(
    "--filter",
    "wanted",
    default="",
    metavar="EXPR",
    callback=filter_option,
    help="Only what matches, such as 'direction:client text:token'; see docs/inspection.md.",
)
@click.option("--json", "as_json", is_flag=True, help="The records themselves, one a line.")
@click.option("--since-start", is_flag=True, help="Begin with what is there already.")
@click.option("--once", is_flag=True, help="End at the end of what is there.")
def tail(source: Path, wanted: Wanted, *, as_json: bool, since_start: bool, once: bool) -> None:
    """Show WebSocket messages as they are recorded; Ctrl-C ends it."""
    follower = Follower(source, from_start=since_start or once)
    colour = None if not os.environ.get("NO_COLOR") else False
    try:
        while True:
            for record in follower.read():
                if wanted(record):
                    click.echo(_shown(record, as_json=as_json), color=colour)
            sys.stdout.flush()
            if once:
                return
            time.sleep(_PAUSE_S)  # noqa: TID251 - no loop here: this is a program of its own
    except KeyboardInterrupt:
        return


def _shown(record: Record, *, as_json: bool) -> str:
    if as_json:
        return _escaped(orjson.dumps(record).decode(), _json_escape)
    return click.style(line_for(record), fg=_COLOURS.get(str(record.get("direction"))))


class Follower:
    """Reads the capture files of a folder as they grow, and the ones that follow them.

    No file stays open, for there may be many and old ones are deleted meanwhile.

    Args:
        source: the folder, or one file.
        from_start: whether what is there already is read, too.
    """

    def __init__(self, source: Path, *, from_start: bool) -> None:
        self._source = source
        self._read_to: dict[Path, int] = {}
        if not from_start:
            self._read_to = {path: _end_of_last_line(path) for path in self._paths()}

    def read(self) -> Iterator[dict[str, object]]:
        """What was written since the last call, whole lines only."""
        paths = self._paths()
        self._read_to = {path: self._read_to.get(path, 0) for path in paths}
        for path in paths:
            try:
                yield from self._read(path)
            except FileNotFoundError:
                continue  # deleted since it was listed

    def _read(self, path: Path) -> Iterator[dict[str, object]]:
        size = path.stat().st_size
        if size < self._read_to[path]:
            self._read_to[path] = 0  # another file has its name now
        if size == self._read_to[path]:
            return
        with path.open("rb") as stream:
            stream.seek(self._read_to[path])
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                self._read_to[path] += len(line)
                yield from read_records([line])

    def _paths(self) -> list[Path]:
        try:
            return capture_files(self._source)
        except click.BadParameter:
            return []  # not yet, or not any more


def _end_of_last_line(path: Path) -> int:
    """Where the line begins in `path` that is being written."""
    with path.open("rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - _STEP_BYTES)
            stream.seek(start)
            newline = stream.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0


def line_for(record: Record) -> str:
    """One line for a person; nothing in it that a terminal would obey."""
    clock = str(record.get("time", ""))[_CLOCK_TIME]
    session = str(record.get("session", ""))[-8:]
    match record.get("event"):
        case "message" | "chunk":
            rest = _message(record)
        case "open":
            rest = f"open  {record.get('url')} rule {record.get('rule')} ({record.get('mode')})"
        case "close":
            rest = (
                f"close {record.get('code')} {record.get('close_reason') or ''} by "
                f"{record.get('closed_by')} ({record.get('reason')}), "
                f"{record.get('messages_up')} messages up, {record.get('messages_down')} down"
            )
        case "trouble":
            rest = f"trouble from {record.get('direction')}: {record.get('code')} {record.get('detail')}"
        case _:
            rest = f"{record.get('event')} {record.get('count', '')}"
    host = record.get("host") or ""
    return _printable(f"{clock} {session} {host} {rest}")


def _message(record: Record) -> str:
    arrow = _ARROWS.get(str(record.get("direction")), "--")
    text = record.get("text")
    if text is None:
        text = f"{record['code']} {record.get('reason') or ''}" if "code" in record else ""
        text = str(record.get("undecodable") or record.get("binary") or text)
    verdicts = record.get("verdicts")
    marks = ""
    if isinstance(verdicts, list):
        marks = "".join(f" [{each.get('action')}: {each.get('rule')}]" for each in verdicts)
    size = record.get("size", record.get("offset"))
    return f"{arrow} {record.get('opcode')} {size}{marks} {text}"


def _printable(text: str) -> str:
    shown = text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"
    return _escaped(shown, lambda found: repr(found)[1:-1])


def _escaped(text: str, escape: Callable[[str], str]) -> str:
    """`text` without what a terminal obeys or does not show, such as marks of writing direction."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else escape(each) for each in text)


def _json_escape(character: str) -> str:
    """The same character as RFC 8259 §7 has it, in units of UTF-16."""
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
