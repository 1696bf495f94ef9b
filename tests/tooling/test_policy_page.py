"""docs/policy.md does what it says: its files load, its commands print what stands below them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tooling.test_docs import PROJECT, page, quoted, rows
from wsproxy import app
from wsproxy.cli import main
from wsproxy.cli.policy_tests import _KEYS
from wsproxy.config.load import load

PAGE = page("policy.md")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, flags=re.M | re.S)
FILE = re.compile(r"# (\S+\.yaml)\n")


def files() -> dict[str, str]:
    """The files on the page, by name."""
    texts = [text for kind, text in BLOCKS if kind == "yaml"]
    named = {match[1]: text for text in texts if (match := FILE.match(text))}
    assert len(named) == len(texts), "every block has a name of its own"
    return named


def steps() -> Iterator[tuple[str, str]]:
    """Each command on the page and what it prints, in order."""
    for kind, text in BLOCKS:
        if kind == "console":
            for step in re.split(r"^\$ ", text, flags=re.M)[1:]:
                command, _, output = step.partition("\n")
                yield command, output


def traffic() -> Iterator[dict[str, object]]:
    """The week that the page tells of."""

    def record(target: str, number: int, **more: object) -> dict[str, object]:
        kind = "forward" if "://" in target else "connect"
        method = "GET" if kind == "forward" else "CONNECT"
        return {
            "event": "access",
            "id": f"{target}{number}",
            "time": "2026-03-04T12:00:00.000Z",
            "client": "10.0.0.7:40000",
            "user": None,
            "kind": kind,
            "method": method,
            "target": target,
            "rule": "default",
            "verdict": "allow",
            "error": None,
            "would_deny": ["default"],
            **more,
        }

    for number in range(40):
        yield record("git.example:443", number, client=f"10.0.0.{7 + number % 2}:40000")
    for number in range(30):
        yield record(f"{'abc'[number % 3]}.packages.example:443", number)
    yield record("video.example:443", 0)
    for number in range(2):
        yield record("http://updates.example:80/stable/x", number)
    yield record("http://updates.example:80/beta/x", 0, client="10.0.0.9:40000")
    yield record("http://10.0.0.1:80/", 0, verdict="deny", rule="private-networks")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in files().items():
        Path(name).write_text(text, encoding="utf-8")
    Path("users").touch(mode=0o600)
    Path("access.log").write_text("".join(f"{json.dumps(one)}\n" for one in traffic()))
    return tmp_path


def test_every_configuration_on_the_page_loads(folder: Path) -> None:
    configurations = [name for name in files() if not name.endswith(".tests.yaml")]
    assert len(configurations) >= 7
    for name in configurations:
        app.build(load(folder / name, environment={}))


def test_every_command_prints_what_stands_below_it(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, ran = 0, []
    capsys.readouterr()
    for command, expected in steps():
        if command == "echo $?":
            said = f"{status}\n"
        elif command.startswith("cat "):
            said = Path(command.removeprefix("cat ")).read_text(encoding="utf-8")
        else:
            line, _, target = command.partition(" > ")
            name, *arguments = shlex.split(line)
            assert name == "wsproxy"
            ran.append(arguments[0])
            status = main(arguments)
            captured = capsys.readouterr()
            said = captured.err + captured.out
            if target:
                Path(target).write_text(said, encoding="utf-8")
                said = ""
        assert said == expected, command
    assert {"explain", "policy", "check"} == set(ran)


def test_every_key_of_a_test_is_on_the_page() -> None:
    assert {name for row in rows(PAGE) for name in quoted(row[0])} == _KEYS


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        file, _, anchor = target.partition("#")
        path = PROJECT / "docs" / file
        assert path.is_file(), target
        titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.M)
        slugs = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
        assert not anchor or anchor in slugs, target
