"""``wsproxy version``."""

import importlib.metadata
import json
import platform

import pytest

from wsproxy import __version__
from wsproxy.cli import main
from wsproxy.cli.version import LIBRARIES

PYTHON = f"{platform.python_implementation()} {platform.python_version()}"


def test_version_names_the_program_python_and_every_library(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["version"]) == 0
    lines = [f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES]
    assert capsys.readouterr().out.splitlines() == [f"wsproxy {__version__}", PYTHON, *lines]


def test_version_as_json_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "wsproxy": __version__,
        "python": PYTHON,
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }
