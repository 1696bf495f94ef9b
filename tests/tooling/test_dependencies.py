"""Goal G22: every dependency is named with its reason, pinned and hashed, in one list that all files share."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
REQUIREMENTS = PROJECT / "requirements"
PINNED = sorted(REQUIREMENTS.glob("*.txt"))

PIN = re.compile(
    r"(?P<name>[a-z0-9-]+)(\[[a-z0-9,-]+\])?==(?P<version>[\w.]+)(?P<marker> ; .*?)?(?P<hashes>( --hash=sha256:[0-9a-f]{64})+)"
)


def normalised(name: str) -> str:
    """The one spelling of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> list[str]:
    """The requirements `pip install wsproxy` would have."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["dependencies"])


def name_of(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found
    return normalised(found.group())


def entries(path: Path) -> list[str]:
    """The logical lines of a requirements file, without comments and continuations."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = (re.sub(r"\s+", " ", line).strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def pins(path: Path) -> dict[str, str]:
    """Name → version of everything `path` pins."""
    found = [PIN.fullmatch(line) for line in entries(path)]
    return {pin["name"]: pin["version"] for pin in found if pin}


def section(title: str) -> dict[str, str]:
    """First column → the rest, of the tables below one heading of docs/dependencies.md."""
    page = (PROJECT / "docs/dependencies.md").read_text(encoding="utf-8")
    body = re.split(r"^## ", page, flags=re.MULTILINE)
    text = next(part for part in body if part.startswith(title))
    rows = [line.strip("|").split("|", 1) for line in text.splitlines() if line.startswith("| ")]
    return {
        normalised(name.strip()): reason.strip()
        for names, reason in rows
        for name in names.split(",")
        if name.strip() != "name"
    }


def test_every_runtime_dependency_has_its_reason() -> None:
    reasons = section("To run")
    columns = {name: reasons.get(name, "").split("|") for name in map(name_of, declared())}
    assert [
        name for name, cells in columns.items() if len(list(filter(str.strip, cells))) != 2
    ] == []


def test_everything_installed_at_run_time_is_on_the_page_and_nothing_else() -> None:
    assert sorted(section("To run")) == sorted(pins(REQUIREMENTS / "run.txt") | {"colorama": ""})


def test_the_input_for_the_pins_is_what_the_project_declares() -> None:
    assert entries(REQUIREMENTS / "run.in") == declared()


def test_every_direct_tool_has_its_reason() -> None:
    reasons = section("To test and check") | section("To build and to compare") | section("Extras")
    inputs = [
        line for name in ("dev", "build", "bench") for line in entries(REQUIREMENTS / f"{name}.in")
    ]
    tools = [name_of(line) for line in inputs if not line.startswith("-r")]
    assert sorted(set(tools) - set(reasons)) == []


@pytest.mark.parametrize("path", PINNED, ids=lambda path: path.name)
def test_a_requirements_file_holds_hashed_pins_and_nothing_else(path: Path) -> None:
    assert [line for line in entries(path) if not PIN.fullmatch(line)] == []
    assert len(entries(path)) > 0


def test_each_input_has_its_pins() -> None:
    assert sorted(path.stem for path in PINNED) == sorted(
        path.stem for path in REQUIREMENTS.glob("*.in")
    )


def test_what_tests_run_with_is_what_users_run_with() -> None:
    run, dev = pins(REQUIREMENTS / "run.txt"), pins(REQUIREMENTS / "dev.txt")
    assert {name: dev.get(name) for name in run} == run


@pytest.mark.parametrize(
    "line",
    [
        "h11==0.16.0",
        "h11>=0.16 --hash=sha256:" + "0" * 64,
        "--index-url https://mirror.example/ ",
        "h11 @ https://example.com/h11.whl --hash=sha256:" + "0" * 64,
        "h11==0.16.0 --hash=md5:" + "0" * 32,
    ],
)
def test_a_line_that_pins_too_little_is_noticed(line: str) -> None:
    assert PIN.fullmatch(line) is None
