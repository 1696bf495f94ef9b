"""Where capture files are looked for."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from wsproxy.cli.captures import capture_files, filter_option


def test_a_folder_stands_for_its_files_in_the_order_they_were_made(tmp_path: Path) -> None:
    names = ["capture-2-9-000001.jsonl", "capture-1-9-000002.jsonl", "capture-1-9-000001.jsonl"]
    for name in [*names, "redaction.key"]:
        (tmp_path / name).write_text("")
    found = [path.name for path in capture_files(tmp_path)]
    assert found == sorted(names)
    assert capture_files(tmp_path / "redaction.key") == [tmp_path / "redaction.key"]


def test_nothing_to_read_is_bad_usage(tmp_path: Path) -> None:
    with pytest.raises(click.BadParameter, match="no capture files"):
        capture_files(tmp_path)
    with pytest.raises(click.BadParameter, match="neither"):
        capture_files(tmp_path / "missing")


def test_a_filter_that_cannot_be_read_is_bad_usage() -> None:
    context, parameter = click.Context(click.Command("x")), click.Option(["--filter"])
    assert filter_option(context, parameter, "opcode:text")({"opcode": "text"})
    with pytest.raises(click.BadParameter):
        filter_option(context, parameter, "(")
