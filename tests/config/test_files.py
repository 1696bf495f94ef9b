"""What is said of files before anything is made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsproxy.config.files import too_open, unreadable


def test_a_file_that_can_be_read_is_in_order(tmp_path: Path) -> None:
    file = tmp_path / "f"
    assert unreadable(file) == f"cannot read {file}: No such file or directory"
    assert unreadable(tmp_path) == f"{tmp_path} is not a file"
    file.touch()
    assert unreadable(file) is None


@pytest.mark.parametrize(
    ("mode", "open_"), [(0o600, False), (0o640, False), (0o644, True), (0o602, True), (0o620, True)]
)
def test_a_key_is_for_its_owner_and_may_be_for_a_group(
    tmp_path: Path, mode: int, *, open_: bool
) -> None:
    key = tmp_path / "key"
    key.touch()
    key.chmod(mode)
    sentence = f"others can read or change this key; run: chmod 600 {key}"
    assert too_open(key) == (sentence if open_ else None)
