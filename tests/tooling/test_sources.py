"""Goal G22: the product evaluates no text, unpickles nothing, starts no shell, loads no YAML object."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SOURCES = sorted((PROJECT / "wsproxy").rglob("*.py"))

BUILTINS = {"eval", "exec", "compile", "__import__"}
MODULES = {"pickle", "marshal", "shelve", "dill", "code", "codeop", "pty", "telnetlib", "crypt"}
OS_CALLS = {"system", "popen", "spawnl", "spawnv", "spawnlp", "spawnvp", "execl", "execv", "execvp"}
YAML_NAMES = {
    *("load", "load_all", "full_load", "full_load_all", "unsafe_load", "unsafe_load_all"),
    *("Loader", "FullLoader", "UnsafeLoader", "CLoader", "CFullLoader", "CUnsafeLoader"),
}


def findings(source: str) -> Iterator[str]:
    """What `source` does that no part of the product may do."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name) if name in BUILTINS:
                yield name
            case ast.Import(names=names):
                yield from (n.name for n in names if n.name.split(".")[0] in MODULES)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in MODULES:
                yield module
            case ast.ImportFrom(module="yaml" | "os" as module, names=names):
                banned = YAML_NAMES if module == "yaml" else OS_CALLS
                yield from (f"{module}.{n.name}" for n in names if n.name in banned)
            case ast.Attribute(value=ast.Name(id="yaml"), attr=name) if name in YAML_NAMES:
                yield f"yaml.{name}"
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in OS_CALLS:
                yield f"os.{name}"
            case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=name), *_]):
                if name in YAML_NAMES | OS_CALLS | BUILTINS:
                    yield f"getattr {name}"
            case ast.keyword(arg="shell", value=value):
                if not (isinstance(value, ast.Constant) and value.value is False):
                    yield "shell="


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_a_module_does_nothing_of_the_kind(path: Path) -> None:
    assert list(findings(path.read_text(encoding="utf-8"))) == []


def test_there_are_modules_to_look_at() -> None:
    assert {"app.py", "model.py", "errors.py"} <= {path.name for path in SOURCES}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("eval('1')", ["eval"]),
        ("exec(text)", ["exec"]),
        ("run = compile", ["compile"]),
        ("import pickle", ["pickle"]),
        ("from marshal import loads", ["marshal"]),
        ("import os; os.system('ls')", ["os.system"]),
        ("from os import popen", ["os.popen"]),
        ("yaml.load(text)", ["yaml.load"]),
        ("yaml.parse(text, Loader=yaml.UnsafeLoader)", ["yaml.UnsafeLoader"]),
        ("getattr(yaml, 'CLoader', None)", ["getattr CLoader"]),
        ("from yaml import full_load", ["yaml.full_load"]),
        ("subprocess.run('ls', shell=True)", ["shell="]),
        ("subprocess.run('ls', shell=wish)", ["shell="]),
        ("subprocess.run(['ls'], shell=False)", []),
        ("yaml.parse(text, Loader=yaml.SafeLoader)", []),
        ("re.compile('x'); os.path.join('a')", []),
    ],
)
def test_the_search_finds_what_it_looks_for(source: str, found: list[str]) -> None:
    assert list(findings(source)) == found
