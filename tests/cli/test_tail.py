"""``wsproxy tail``: one line a message, across files, safe for a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.observe.talks import Talk, text
from wsproxy.cli import main, tail
from wsproxy.cli.tail import Follower, line_for
from wsproxy.model import Side
from wsproxy.protocol.messages import Message, Trouble

ROOT = Path(__file__).parents[2]


def talked() -> Talk:
    talk = Talk()
    talk.says(Side.CLIENT, text("hello\x1b[31m\u202e"))
    talk.says(
        Side.UPSTREAM,
        Message(2, b"\xff", 1, 1),
        verdicts=[{"rule": "r", "action": "drop", "mode": "report"}],
    )
    talk.conversation.trouble(Side.CLIENT, Trouble(1002, "an unmasked frame"), 101.0)
    talk.says(Side.CLIENT, Message(8, b"\x03\xe8bye", 5, 5))
    talk.ends()
    return talk


def test_one_line_a_record_and_none_a_terminal_obeys() -> None:
    lines = [line_for(record) for record in talked().records]
    assert lines == [
        "22:13:20.250 5f2c chat.example open  ws://chat.example/room?token=abc rule chat (log)",
        "22:13:20.250 5f2c chat.example -> text 13 hello\\x1b[31m\\u202e",
        "22:13:20.250 5f2c chat.example <- binary 1 [drop: r] /w==",
        "22:13:20.250 5f2c  trouble from client: 1002 an unmasked frame",
        "22:13:20.250 5f2c chat.example -> close 5 1000 bye",
        "22:13:20.250 5f2c chat.example close 1000 bye by client (eof), 1 messages up, 1 down",
    ]
    assert line_for({"event": "dropped", "count": 7}) == "   dropped 7"
    assert len(line_for({"event": "message", "text": "x" * 9999})) < 600


def test_files_are_followed_as_they_grow_and_to_the_next(tmp_path: Path) -> None:
    first, second = tmp_path / "capture-1.jsonl", tmp_path / "capture-2.jsonl"
    first.write_bytes(b'{"event":"old"}\n')
    follower = Follower(tmp_path, from_start=False)
    assert list(follower.read()) == []
    with first.open("ab") as stream:
        stream.write(b'{"event":"a"}\n{"ev')
    assert [record["event"] for record in follower.read()] == ["a"]
    with first.open("ab") as stream:
        stream.write(b'ent":"b"}\n')
    second.write_bytes(b'{"event":"c"}\n')
    assert [record["event"] for record in follower.read()] == ["b", "c"]
    whole = Follower(first, from_start=True)
    assert [record["event"] for record in whole.read()] == ["old", "a", "b"]


def test_a_line_that_is_half_written_at_the_start_is_read_in_whole(tmp_path: Path) -> None:
    path = tmp_path / "capture-1.jsonl"
    half = b'{"event":"b","text":"' + b"x" * 200_000
    for before in (b"", b'{"event":"a"}\n'):
        path.write_bytes(before + half)
        follower = Follower(tmp_path, from_start=False)
        with path.open("ab") as stream:
            stream.write(b'"}\n')
        assert [record["event"] for record in follower.read()] == ["b"]


def test_a_file_in_the_place_of_another_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "capture-1.jsonl"
    path.write_bytes(b'{"event":"old"}\n')
    follower = Follower(path, from_start=False)
    path.write_bytes(b'{"event":"a"}\n')
    assert [record["event"] for record in follower.read()] == ["a"]


def test_files_that_are_deleted_are_no_longer_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "capture-1.jsonl", tmp_path / "capture-2.jsonl"
    second.write_bytes(b'{"event":"a"}\n')
    follower = Follower(tmp_path, from_start=True)
    # Deleted after it was listed.
    monkeypatch.setattr(tail, "capture_files", lambda _source: [first, second])
    assert [record["event"] for record in follower.read()] == ["a"]
    monkeypatch.undo()
    second.unlink()
    assert list(follower.read()) == []
    second.write_bytes(b'{"event":"b"}\n')
    assert [record["event"] for record in follower.read()] == ["b"]


def test_a_folder_without_files_is_waited_for(tmp_path: Path) -> None:
    follower = Follower(tmp_path, from_start=False)
    assert list(follower.read()) == []
    (tmp_path / "capture-1.jsonl").write_bytes(b'{"event":"a"}\n')
    assert [record["event"] for record in follower.read()] == ["a"]


def test_what_is_there_is_shown_once_filtered_or_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "capture-1.jsonl").write_bytes(b"".join(talked().lines))
    arguments = ["tail", "--from", str(tmp_path), "--once", "--filter", "direction:upstream"]
    assert main(arguments) == 0
    assert capsys.readouterr().out == "22:13:20.250 5f2c chat.example <- binary 1 [drop: r] /w==\n"
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["opcode"] == "binary"


def test_it_goes_on_until_it_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "capture-1.jsonl"
    path.write_bytes(b"")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt
        path.write_bytes(b"".join(talked().lines))

    monkeypatch.setattr(tail.time, "sleep", pause)
    assert main(["tail", "--from", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("\n") == 6


def test_json_is_safe_for_a_terminal_and_means_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "ü \x1b \x7f \x9b31m \u202e \U000e0041 \U0001f600"
    record = {"event": "message", "text": said}
    (tmp_path / "capture-1.jsonl").write_text(json.dumps(record, ensure_ascii=False) + "\n")
    assert main(["tail", "--from", str(tmp_path), "--once", "--json"]) == 0
    shown = capsys.readouterr().out.removesuffix("\n")
    assert shown.isprintable()
    assert "ü" in shown
    assert json.loads(shown) == record


@pytest.mark.parametrize("no_color", ["", "1"])
def test_colours_are_for_terminals_and_honour_no_color(tmp_path: Path, no_color: str) -> None:
    (tmp_path / "capture-1.jsonl").write_bytes(b"".join(talked().lines))
    terminal, end = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "wsproxy", "tail", "--from", str(tmp_path), "--once"],
        stdout=end,
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": no_color},
        timeout=30,
        check=True,
    )
    os.close(end)
    shown = os.read(terminal, 10_000)
    os.close(terminal)
    assert b"-> text 13 hello" in shown
    assert (b"\x1b[36m" in shown) is (no_color == "")
    assert b"\x1b[31m" not in shown
