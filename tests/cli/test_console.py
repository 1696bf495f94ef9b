"""Words for the person at the terminal."""

import pytest

from wsproxy.cli.console import complain


def test_each_line_goes_to_stderr_without_colour_where_that_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    complain("one\ntwo")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "one\ntwo\n")
