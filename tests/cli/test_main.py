"""The command line as a whole: names, exit statuses, one line an error."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import click
import pytest

from wsproxy.cli import COMMANDS, group, main

ROOT = Path(__file__).parents[2]


def test_every_command_is_there_and_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        assert main([name, "--help"]) == 0
        assert f"Example: wsproxy {name}" in capsys.readouterr().out


def test_shells_can_complete_the_names_of_commands() -> None:
    context = click.Context(group)
    assert group.list_commands(context) == list(COMMANDS)
    assert group.get_command(context, "zzz") is None


def test_help_lists_every_command_with_its_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    for name, purpose in COMMANDS.items():
        assert [name, purpose] in listed


def test_no_command_at_all_shows_the_help_and_is_bad_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.splitlines()[0]) == (
        "",
        "Usage: wsproxy [OPTIONS] COMMAND [ARGS]...",
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["chekc"], "wsproxy: no command 'chekc'; did you mean 'check'?; see 'wsproxy --help'"),
        (
            ["zzz"],
            "wsproxy: no command 'zzz'; there are: run, check, explain, policy, passwd, ca, tail, export, health, schema, version; "
            "see 'wsproxy --help'",
        ),
        (
            ["check"],
            "wsproxy check: Missing option '--config'; see 'wsproxy check --help'",
        ),
        (
            ["run", "--listen", "8080"],
            (
                "--listen: expected HOST:PORT, HOST an IP address, [IPv6 address] or localhost; "
                "got '8080'"
            ),
        ),
    ],
)
def test_bad_usage_is_one_line_and_status_2(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"{line}\n")


def test_a_configuration_error_of_any_command_is_status_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["run", "--config", "/nowhere/wsproxy.yaml"]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (
        "",
        "/nowhere/wsproxy.yaml: cannot read the file: No such file or directory\n",
    )


def test_an_interruption_is_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(ctx: click.Context) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(group, "invoke", interrupted)
    assert main(["version"]) == 1
    assert capsys.readouterr().err.split() == ["wsproxy:", "interrupted"]


def wsproxy(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wsproxy", *arguments]
    return subprocess.run(command, text=True, timeout=30, check=False, cwd=ROOT, **options)  # type: ignore[call-overload, no-any-return]


def test_the_module_is_the_command() -> None:
    done = wsproxy("chekc", capture_output=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "wsproxy: no command 'chekc'; did you mean 'check'?; see 'wsproxy --help'\n"
    )


def test_a_reader_that_leaves_early_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    done = wsproxy("schema", stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("no_color", ["", "1"])
def test_errors_are_red_on_a_terminal_unless_no_color_is_set(no_color: str) -> None:
    terminal, end = pty.openpty()
    wsproxy("zzz", stderr=end, env={**os.environ, "NO_COLOR": no_color})
    os.close(end)
    shown = os.read(terminal, 1000)
    os.close(terminal)
    assert (b"\x1b[31m" in shown) is (no_color == "")


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["version"], {"trio", "pydantic", "yaml", "h11"}),
        (["--help"], {"trio", "pydantic", "yaml", "h11"}),
        (["schema"], {"trio", "h11"}),
    ],
)
def test_a_command_imports_only_what_it_needs(arguments: list[str], unwanted: set[str]) -> None:
    program = (
        "import sys, wsproxy.cli as cli; cli.main(sys.argv[1:]); "
        "print(*sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True, cwd=ROOT)
    assert unwanted & set(done.stderr.split()) == set()
