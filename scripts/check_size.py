"""Holds the sizes of the house: a module has at most 400 lines, a function at most 40.

    check_size.py DIRECTORY...

The lines of a function are those of its body from the first statement to the
last; its decorators, signature and docstring do not count, for they are read
as reference and not as story.  Exit status 1 when anything is longer.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 40


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement after the docstring to the end, both included."""
    body = function.body
    if ast.get_docstring(function, clean=False) is not None:
        body = body[1:]
    if not body:
        return 0
    last = body[-1].end_lineno
    return (last or body[-1].lineno) - body[0].lineno + 1


def oversized(path: str, source: str) -> Iterator[str]:
    """One line of complaint for everything in `source` that is too long."""
    lines = source.count("\n")
    if lines > MAX_MODULE_LINES:
        yield f"{path}:1: module of {lines} lines, at most {MAX_MODULE_LINES}"
    for node in ast.walk(ast.parse(source, path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = body_lines(node)
            if length > MAX_FUNCTION_LINES:
                yield (
                    f"{path}:{node.lineno}: {node.name} has {length} lines, "
                    f"at most {MAX_FUNCTION_LINES}"
                )


def main(roots: list[str]) -> int:
    """Complains on stderr about every file below `roots`; the number of complaints, at most 1."""
    complaints = [
        complaint
        for root in roots
        for path in sorted(Path(root).rglob("*.py"))
        for complaint in oversized(str(path), path.read_text(encoding="utf-8"))
    ]
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return min(len(complaints), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["wsproxy"]))
