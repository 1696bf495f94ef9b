"""Every configuration that is shipped loads, and the default says what it does."""

from pathlib import Path

import pytest

from wsproxy.cli import main
from wsproxy.config.load import default, load

FOLDER = Path(__file__).parents[2] / "config"

FILES = ("users", "users.htpasswd", "secret")
"""What the examples name by the variables below; each test makes them."""

ENVIRONMENT = {"WSPROXY_USERS": "users"}
"""Variables for the examples; those that name a file get the path of one of `FILES`."""


TESTS = sorted(FOLDER.glob("*.tests.yaml"))
"""Tests of the policy in the configuration beside them."""

EXAMPLES = sorted(set(FOLDER.glob("*.yaml")) - set(TESTS))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_loads(example: Path, tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).touch()
    environment = {key: str(tmp_path / name) for key, name in ENVIRONMENT.items()}
    assert load(example, environment=environment).settings.listeners


@pytest.mark.parametrize("tests", TESTS, ids=lambda path: path.name)
def test_an_example_decides_as_its_tests_say(
    tests: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in FILES:
        (tmp_path / name).touch()
    for key, name in ENVIRONMENT.items():
        monkeypatch.setenv(key, str(tmp_path / name))
    example = FOLDER / tests.name.replace(".tests.yaml", ".yaml")
    assert main(["check", "--config", str(example), "--tests", str(tests)]) == 0, (
        capsys.readouterr()
    )
    count = tests.read_text(encoding="utf-8").count("\n- {")
    assert count >= 15
    assert f"{count} of {count} as expected" in capsys.readouterr().out


def test_what_is_made_for_many_has_tests() -> None:
    assert [path.name for path in TESTS] == ["agent-sandbox.tests.yaml", "corporate.tests.yaml"]


def test_the_written_out_default_is_the_embedded_one() -> None:
    assert load(FOLDER / "default.yaml", environment={}).settings == default().settings


def test_the_written_out_default_shows_every_setting() -> None:
    settings = load(FOLDER / "default.yaml", environment={}).settings
    sections = [settings, settings.auth, settings.policy, settings.limits, settings.timeouts]
    sections += [settings.dns, settings.logs, settings.logs.access, *settings.listeners]
    unset = [
        f"{type(section).__name__}.{name}"
        for section in sections
        for name in type(section).model_fields
        if name not in section.model_fields_set
    ]
    assert unset == ["Settings.interception"]  # for it takes a CA
