"""What a YAML parser's complaint becomes; the same for both parsers of PyYAML."""

import pytest
import yaml

from wsproxy.config.syntax import syntax_error, text_error


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def loader(request: pytest.FixtureRequest) -> object:
    return getattr(yaml, request.param)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a:\n\t- b\n", "f:2:1: a tab cannot indent YAML; use spaces"),
        ("a: [*.x]\n", "f:1:6: a text that begins with * needs quotes; put the text in quotes"),
        ("a: @x\n", "f:1:4: a text cannot begin with this character; put the text in quotes"),
        ("a: %x\n", "f:1:4: a text cannot begin with this character; put the text in quotes"),
        ("a: [::]:80\n", "f:1:5: put an address with brackets in quotes"),
        ("a: [${X}]\n", "f:1:6: inside {…} or […], put ${NAME} in quotes"),
        (
            "m: Use: x\n",
            "f:1:7: unexpected ': '; check brackets and indentation, or quote the text",
        ),
        ("a: 'half\nb: 1\n", "f:1:4: this is never closed; is the file complete?"),
        ("a: {b: c\n", "f:1:4: this is never closed; is the file complete?"),
        ("a: b\nfoo\nbar: 1\n", "f:3:1: not valid YAML: could not find expected ':'"),
    ],
)
def test_common_slips_get_a_sentence_of_their_own(loader: object, text: str, line: str) -> None:
    with pytest.raises(yaml.MarkedYAMLError) as caught:
        list(yaml.parse(text, Loader=loader))  # type: ignore[arg-type]
    assert str(syntax_error(caught.value, text, "f")) == line


def test_a_complaint_without_a_place_names_the_file() -> None:
    assert str(syntax_error(yaml.MarkedYAMLError(problem="odd"), "", "f")) == (
        "f: not valid YAML: odd"
    )


def test_characters_that_yaml_does_not_allow_are_placed() -> None:
    error = text_error("a: b\nc: d\x00\n", "f")
    assert str(error) == "f:2:5: character U+0000 cannot stand in YAML; remove it"


def test_ordinary_text_has_no_such_character() -> None:
    assert text_error("a: ä \U0001f600\tb\r\n", "f") is None
