"""Several errors in one."""

from wsproxy.config.problems import ConfigErrors, dotted, each_error
from wsproxy.errors import ConfigError

LATER = ConfigError("b", file="f", line=9, column=1, key="x")
EARLIER = ConfigError("a", file="f", line=2, column=7, key="y")


def test_several_errors_read_in_the_order_of_their_lines() -> None:
    error = ConfigErrors([LATER, EARLIER])
    assert str(error) == "f:2:7: y: a\nf:9:1: x: b"
    assert (error.detail, error.file, error.line, error.column, error.key) == ("a", "f", 2, 7, "y")


def test_each_error_takes_several_apart_and_leaves_one_alone() -> None:
    assert each_error(ConfigErrors([LATER, EARLIER])) == (EARLIER, LATER)
    assert each_error(LATER) == (LATER,)


def test_a_path_is_written_with_dots_and_brackets() -> None:
    assert dotted(("policy", "rules", 0, "when")) == "policy.rules[0].when"
    assert dotted(()) == ""
