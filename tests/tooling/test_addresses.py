"""No file of the repository names a package registry: that is a matter of the machine it is used on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]

# Written in pieces, or this file would be the first one found.
HOSTS = (
    "pypi" + ".org",
    "pythonhosted" + ".org",
    "npmjs" + ".org",
    "npmjs" + ".com",
    "yarnpkg" + ".com",
)
HOSTS += ("deb.debian" + ".org", "proxy.golang" + ".org", "crates" + ".io", "ghcr" + ".io")
REGISTRY = re.compile(
    "|".join(
        [
            *(re.escape(host) for host in HOSTS),
            r"(?:https?|file)://[^\s\"'<>)]*/(?:simple|wheels)\b",
        ]
    ),
    re.IGNORECASE,
)


def files() -> list[Path]:
    """Every file that is tracked, or would be by `git add --all`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        check=True,
    )
    names = sorted(filter(None, listed.stdout.decode().split("\0")))
    return [PROJECT / name for name in names if (PROJECT / name).is_file()]


def test_no_file_names_a_registry() -> None:
    paths = files()
    assert PROJECT / "pyproject.toml" in paths
    found = [
        f"{path.relative_to(PROJECT)}: {match.group()}"
        for path in paths
        for match in REGISTRY.finditer(path.read_bytes().decode("utf-8", "replace"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "https://" + HOSTS[0] + "/project/h11",
        "--extra-index-url https://mirror.example/pip" + "/simple",
        "--find-links file:///opt" + "/wheels",
        "https://registry." + HOSTS[2] + "/ws/-/ws-8.tgz",
    ],
)
def test_the_search_finds_what_it_looks_for(text: str) -> None:
    assert REGISTRY.search(text)


def test_the_search_lets_other_addresses_be() -> None:
    assert not REGISTRY.search(
        "https://example.com/simpler http://127.0.0.1:8080/ feed.example.org"
    )
