"""``wsproxy check``: exit status, lines, JSON; and that it looks at what ``run`` would load."""

import json
from pathlib import Path

import pytest

from wsproxy.cli import main


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "wsproxy.yaml"


def test_a_right_file_is_ok(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("policy: {default: allow}\n")
    assert main(["check", "--config", str(file)]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (f"{file}: ok\n", "")


def test_every_mistake_is_a_line_on_stderr(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("listner: []\nworkers: 2\n")
    assert main(["check", "--config", str(file)]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.splitlines()) == (
        "",
        [
            f"{file}:1:1: listner: unknown key; did you mean 'listeners'?",
            f"{file}:2:1: workers: this version of wsproxy does not have this setting yet; "
            "remove it",
        ],
    )


def test_what_only_building_finds_out_is_positioned_too(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("policy:\n  rules:\n    - {action: deny, when: {hosts: ['a..b']}}\n")
    assert main(["check", "--config", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{file}:3:28: policy.rules[0].when: ")


def test_a_wrong_users_file_is_found(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file.parent / "users").write_text("alice\n")
    file.write_text("auth: {methods: [{type: basic, users: users}]}\n")
    assert main(["check", "--config", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{file.parent / 'users'}:1:")


def test_json_says_ok(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("policy: {default: allow}\n")
    assert main(["check", "--json", "--config", str(file)]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "errors": []}


def test_json_lists_the_errors_on_stdout(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("logs: {level: loud}\n")
    assert main(["check", "--json", "--config", str(file)]) == 2
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out) == {
        "ok": False,
        "errors": [
            {
                "file": str(file),
                "line": 1,
                "column": 15,
                "key": "logs.level",
                "message": "expected 'debug', 'info', 'warning' or 'error'; got 'loud'",
            }
        ],
    }
