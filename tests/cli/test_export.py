"""``wsproxy export``: files for other programs, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import IO

import pytest

from tests.observe.talks import Talk, text
from wsproxy.cli import main
from wsproxy.model import Side
from wsproxy.observe.har import HarWriter


@pytest.fixture
def captures(tmp_path: Path) -> Path:
    talk = Talk()
    talk.says(Side.CLIENT, text("hello"))
    talk.says(Side.UPSTREAM, text("a longer answer"))
    talk.ends()
    folder = tmp_path / "captures"
    folder.mkdir()
    (folder / "capture-1.jsonl").write_bytes(b"".join(talk.lines))
    return folder


def export(source: Path, out: Path, *more: str) -> int:
    return main(["export", "--from", str(source), "--to", str(out), *more])


def test_a_har_file(captures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.har"
    assert export(captures, out) == 0
    (entry,) = json.loads(out.read_text())["log"]["entries"]
    assert [each["data"] for each in entry["_webSocketMessages"]] == ["hello", "a longer answer"]
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert capsys.readouterr().err == f"{out}: 1 WebSockets, 2 messages\n"


def test_json_lines_of_what_matches(captures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert export(captures / "capture-1.jsonl", out, "--filter", "direction:client") == 0
    (record,) = map(json.loads, out.read_text().splitlines())
    assert record["text"] == "hello"


def test_nothing_that_matches_is_a_failure(
    captures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(captures, tmp_path / "out.har", "--filter", "label:nope") == 1
    assert "nothing matched" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "more", "complaint"),
    [
        ("out.txt", [], "must end in .har or .jsonl"),
        ("out.har", ["--filter", "size>"], "--filter"),
    ],
)
def test_bad_usage(
    captures: Path,
    tmp_path: Path,
    name: str,
    more: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert export(captures, tmp_path / name, *more) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
    assert not (tmp_path / name).exists()


def test_a_file_that_cannot_be_written_is_left_as_it_was(
    captures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(captures, tmp_path / "missing" / "out.har") == 1
    assert "No such file" in capsys.readouterr().err


def test_a_half_written_export_is_taken_away(
    captures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.har"
    out.write_text("before")

    def no_room(_writer: HarWriter, stream: IO[bytes]) -> None:
        stream.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(HarWriter, "write", no_room)
    assert export(captures, out) == 1
    assert f"{out}: No space left on device" in capsys.readouterr().err
    assert out.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["captures", "out.har"]
