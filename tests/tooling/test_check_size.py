"""The size check complains about what is too long and about nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.check_size import main, oversized

LONGEST = "def f():\n" + '    """Says\n\n    what.\n    """\n' + "    x = 1\n" * 40
ONE_MORE = LONGEST + "    x = 1\n"


def test_a_function_of_forty_lines_passes_whatever_its_docstring() -> None:
    assert list(oversized("m.py", LONGEST)) == []


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_one_line_more_is_named_with_its_place(kind: str) -> None:
    source = "\n" + ONE_MORE.replace("def", kind, 1)
    assert list(oversized("m.py", source)) == ["m.py:2: f has 41 lines, at most 40"]


def test_a_method_counts_too() -> None:
    source = "class C:\n" + "".join(f"    {line}\n" for line in ONE_MORE.splitlines())
    assert list(oversized("m.py", source)) == ["m.py:2: f has 41 lines, at most 40"]


def test_a_module_has_at_most_four_hundred_lines() -> None:
    assert list(oversized("m.py", "x = 1\n" * 400)) == []
    assert list(oversized("m.py", "x = 1\n" * 401)) == ["m.py:1: module of 401 lines, at most 400"]


def test_a_function_that_is_only_described_has_no_lines() -> None:
    assert list(oversized("m.py", 'def f():\n    """Says what."""\n')) == []


def test_the_exit_status_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "short.py").write_text(LONGEST)
    assert main([str(tmp_path)]) == 0
    (tmp_path / "long.py").write_text(ONE_MORE)
    assert main([str(tmp_path)]) == 1
    complaint = f"{tmp_path}/long.py:1: f has 41 lines, at most 40\n"
    assert capsys.readouterr().err == complaint
