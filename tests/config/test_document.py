"""YAML to plain data with positions; every test runs with both parsers of PyYAML."""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from wsproxy.config import document
from wsproxy.config.document import MAX_DEPTH, MAX_NODES, Document, Place, parse_document
from wsproxy.config.secret import Secret
from wsproxy.errors import ConfigError

Parse = Callable[..., Document]


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def parse(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Parse:
    monkeypatch.setattr(document, "_LOADER", getattr(yaml, request.param))

    def parse(text: str, environment: Mapping[str, str] | None = None) -> Document:
        return parse_document(text, file="f", folder=tmp_path, environment=environment or {})

    return parse


def lines_of(parse: Parse, text: str, environment: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, environment)
    return str(caught.value).split("\n")


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("8080", 8080),
        ("-1", -1),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("No", "No"),
        ("010", "010"),
        ("0x1f", "0x1f"),
        ("1.5", "1.5"),
        ("22:30", "22:30"),
        ("2020-01-01", "2020-01-01"),
        ("9" * 5000, "9" * 5000),
        ("'8080'", "8080"),
        ('"true"', "true"),
        ("''", ""),
    ],
)
def test_scalars_follow_yaml_1_2_and_keep_what_was_typed(
    parse: Parse, scalar: str, value: object
) -> None:
    data = parse(f"a: {scalar}\n").data()
    assert data == {"a": value}
    assert isinstance(data, dict)
    assert type(data["a"]) is type(value)


def test_every_value_and_key_knows_its_place(parse: Parse) -> None:
    parsed = parse("a:\n  b: [x, {c: 1}]\n")
    assert parsed.find(("a", "b", 1, "c"))[1].place == Place(2, 14)
    assert parsed.key_place(("a", "b", 1, "c")) == Place(2, 11)
    assert parsed.key_place(("a", "b", 0)) == Place(2, 7)


def test_a_path_that_is_not_there_is_found_as_far_as_it_goes(parse: Parse) -> None:
    parsed = parse("a:\n  b: [x]\n")
    for path in [("a", "b", 3, "c"), ("a", "b", "c")]:
        found, node = parsed.find(path)
        assert (found, node.place) == (("a", "b"), Place(2, 6))
    assert parsed.find(("nope",))[0] == ()


def test_an_alias_is_the_value_it_names_and_stands_where_that_stands(parse: Parse) -> None:
    parsed = parse("a: &x [1]\nb: *x\n")
    assert parsed.data() == {"a": [1], "b": [1]}
    assert parsed.find(("b", 0))[1].place == Place(1, 8)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${PORT}", 80),
        ("'${PORT}'", "80"),
        ("host:${PORT}", "host:80"),
        ("${NONE:-90}", 90),
        ("${NONE:-}", None),
        ("${EMPTY}", None),
        ("${EMPTY:-x}", "x"),
        ("$$", "$"),
        ("$${PORT}", "${PORT}"),
        ("pa$word", "pa$word"),
        ("$.password", "$.password"),
        ("${TRICK}", "x\nb: 1"),
    ],
)
def test_variables_are_replaced_inside_scalars(parse: Parse, text: str, value: object) -> None:
    environment = {"PORT": "80", "EMPTY": "", "TRICK": "x\nb: 1"}
    assert parse(f"a: {text}\n", environment).data() == {"a": value}


def test_the_source_of_a_scalar_does_not_show_the_variable(parse: Parse) -> None:
    assert parse("a: ${KEY}\n", {"KEY": "hunter2"}).find(("a",))[1].source == "${KEY}"


def test_a_secret_file_is_read_without_its_last_newline(parse: Parse, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"hunter2\r\n")
    parsed = parse("a: !file key\nb: !file ${NAME}\n", {"NAME": "key"})
    assert parsed.data() == {"a": Secret("hunter2"), "b": Secret("hunter2")}
    assert "hunter2" not in repr(parsed)


def test_everything_wrong_is_reported_at_once(parse: Parse, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "long").write_text("x" * 65537)
    (tmp_path / "latin").write_bytes(b"\xe4")
    text = (
        "a: 1\na: 2\nb: !!str 5\nc: !!python/object:os.system {}\nd: ${NONE}\ne: ${1}\n"
        "f: !file none\ng: !file .\nh: !file empty\ni: !file long\nj: !file latin\n<<: 1\n"
        "k: !x [1]\nl: ${BAD}\n"
    )
    assert lines_of(parse, text, {"BAD": "\udcff"}) == [
        "f:2:1: a: duplicate key; the first is on line 1",
        "f:3:4: b: unknown tag 'tag:yaml.org,2002:str'; only !file PATH exists",
        "f:4:4: c: unknown tag 'tag:yaml.org,2002:python/object:os.system'; only !file PATH exists",
        "f:5:4: d: environment variable NONE is not set; set it or write ${NONE:-default}",
        "f:6:4: e: expected ${NAME} or ${NAME:-default}; $$ is a single $",
        "f:7:4: f: cannot read the secret file: No such file or directory",
        "f:8:4: g: cannot read the secret file: Is a directory",
        "f:9:4: h: the secret file is empty or longer than 64 KiB",
        "f:10:4: i: the secret file is empty or longer than 64 KiB",
        "f:11:4: j: the secret file is not UTF-8 text, or its path is none",
        "f:12:1: <<: merge keys are not supported; repeat the keys",
        "f:13:4: k: unknown tag '!x'; only !file PATH exists",
        "f:14:4: l: contains a character that is not Unicode text",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "f: the file is empty; see config/default.yaml"),
        ("# nothing\n", "f: the file is empty; see config/default.yaml"),
        ("---\n", "f: the file is empty; see config/default.yaml"),
        ("- 1\n", "f:1:1: expected 'key: value' lines at the top level"),
        ("5\n", "f:1:1: expected 'key: value' lines at the top level"),
        ("a: 1\n---\nb: 1\n", "f:2:1: a second document begins here; keep one"),
        ("? [a]\n: 1\n", "f:1:3: a key must be plain text"),
        ("!file a: 1\n", "f:1:1: a key must be plain text"),
        ("a: *x\n", "f:1:4: a: no anchor '&x' above; a text that begins with * needs quotes"),
        (
            "a: &x [*x]\n",
            "f:1:8: a[0]: no anchor '&x' above; a text that begins with * needs quotes",
        ),
        ("a: \x01\n", "f: this is no YAML text"),
        ("a: 'half\n", "f:1:4: this is never closed; is the file complete?"),
    ],
)
def test_what_is_not_one_mapping_is_refused(parse: Parse, text: str, line: str) -> None:
    assert lines_of(parse, text) == [line]


def test_brackets_without_end_are_refused_at_the_bound(parse: Parse) -> None:
    line = f"f:1:{MAX_DEPTH + 3}: a: nested more than {MAX_DEPTH} levels deep"
    assert lines_of(parse, "a: " + "[" * 100_000) == [line]


def test_the_deepest_nesting_is_accepted_and_one_more_is_not(parse: Parse) -> None:
    levels = MAX_DEPTH - 2
    parse("a: " + "[" * levels + "x" + "]" * levels)
    assert lines_of(parse, "a: " + "[" * (levels + 1) + "x" + "]" * (levels + 1)) == [
        f"f:1:{MAX_DEPTH + 3}: a: nested more than {MAX_DEPTH} levels deep"
    ]


def test_aliases_cannot_nest_deeper_than_brackets(parse: Parse) -> None:
    half = MAX_DEPTH // 2
    text = f"a: &x {'[' * half}{']' * half}\nb: {'[' * half}*x{']' * half}\n"
    assert lines_of(parse, text) == [f"f:2:{4 + half}: b: nested more than {MAX_DEPTH} levels deep"]


def test_an_alias_bomb_is_refused_where_it_passes_the_bound(parse: Parse) -> None:
    names = "abcdefghijkl"
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
        for before, name in itertools.pairwise(names)
    )
    assert lines_of(parse, bomb) == [
        f"f:6:4: f: more than {MAX_NODES} values when aliases are written out"
    ]
