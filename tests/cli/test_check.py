"""``wsproxy check``: exit status, lines, JSON; and that it looks at what ``run`` would load."""

import json
from pathlib import Path

import bcrypt
import pytest

from wsproxy.cli import main


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "wsproxy.yaml"


def test_a_right_file_is_ok(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("policy: {default: allow}\n")
    assert main(["check", "--config", str(file)]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (f"{file}: ok\n", "")


def test_every_mistake_is_a_line_on_stderr(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("listner: []\nworkers: 2\n")
    assert main(["check", "--config", str(file)]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.splitlines()) == (
        "",
        [
            f"{file}:1:1: listner: unknown key; did you mean 'listeners'?",
            f"{file}:2:1: workers: this version of wsproxy does not have this setting yet; "
            "remove it",
        ],
    )


def test_what_only_building_finds_out_is_positioned_too(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("policy:\n  rules:\n    - {action: deny, when: {hosts: ['a..b']}}\n")
    assert main(["check", "--config", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{file}:3:28: policy.rules[0].when: ")


def test_a_wrong_users_file_is_found(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file.parent / "users").write_text("alice\n")
    file.write_text("auth: {methods: [{type: basic, users: users}]}\n")
    assert main(["check", "--config", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{file.parent / 'users'}:1:")


def test_json_says_ok(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("policy: {default: allow}\n")
    assert main(["check", "--json", "--config", str(file)]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "errors": []}


def test_json_lists_the_errors_on_stdout(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("logs: {level: loud}\n")
    assert main(["check", "--json", "--config", str(file)]) == 2
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out) == {
        "ok": False,
        "errors": [
            {
                "file": str(file),
                "line": 1,
                "column": 15,
                "key": "logs.level",
                "message": "expected 'debug', 'info', 'warning' or 'error'; got 'loud'",
            }
        ],
    }


# ---------------------------------------------------------------- tests of the policy

POLICY = """\
auth: {required: false, methods: [{type: basic, users: users}]}
policy:
  rules:
    - {name: desk, when: {groups: desk}, action: allow}
    - {name: pages, when: {hosts: a.test, clients: 10.0.0.0/8, methods: GET}, action: allow}
    - {name: chat, when: {hosts: chat.test, origins: "https://app.test", subprotocols: x}, action: allow}
    - {name: lan, when: {hosts: lan.test}, action: allow}
    - {name: wednesdays, when: {hours: {days: wed, timezone: UTC}}, action: allow}
"""

CASES = """\
- {url: "https://b.test/", who: alice, expect: allow, rule: desk, because: she is at the desk}
- {url: "https://b.test/", who: bob, groups: desk, expect: allow, rule: desk}
- {url: "https://b.test/", who: bob, groups: [ops, desk], expect: allow}
- {url: "https://b.test/", at: "2026-03-05T12:00:00Z", expect: deny, rule: default}
- {url: "https://b.test/", at: "2026-03-05T00:30:00+01:00", expect: allow, rule: wednesdays}
- {url: "http://a.test/", from: 10.1.2.3, expect: allow, rule: pages}
- {url: "http://a.test/", from: 10.1.2.3, method: POST, at: "2026-03-05T12:00:00Z", expect: deny}
- {url: "ws://chat.test/", origin: "https://app.test", subprotocols: [x], expect: allow}
- {url: "http://lan.test/", expect: allow}
- {url: "http://LAN.test/", resolve: {Lan.test: 10.0.0.1}, expect: deny, rule: private-networks}
- {url: "http://127.0.0.1/", who: alice, expect: deny, rule: private-networks}
"""


@pytest.fixture
def tests(file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(file.parent)
    hashed = bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode()
    Path("users").write_text(f"alice:{hashed}:desk\n")
    Path("users").chmod(0o600)
    Path("wsproxy.yaml").write_text(POLICY)
    return Path("tests.yaml")


def checked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, list[str]]:
    status = main(["check", "--config", "wsproxy.yaml", "--tests", "tests.yaml", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err.splitlines()


def test_a_policy_that_decides_as_expected_is_ok(
    tests: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tests.write_text(CASES)
    told = "wsproxy.yaml: ok; tests.yaml: 11 of 11 as expected\n"
    assert checked(capsys) == (0, told, [])
    assert json.loads(checked(capsys, "--json")[1]) == {
        "ok": True,
        "errors": [],
        "cases": 11,
        "failures": [],
    }


def test_each_expectation_that_fails_is_a_line_with_its_place(
    tests: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tests.write_text(
        '- {url: "https://b.test/", at: "2026-03-05T12:00:00Z", expect: allow, because: everybody reads it}\n'
        '- {url: "http://lan.test/", expect: allow}\n'
        "\n"
        '- url: "https://b.test/"\n'
        "  who: alice\n"
        "  expect: allow\n"
        "  rule: pages\n"
    )
    first = "expected allow, got deny by rule 'default'"
    second = "expected rule 'pages', but 'desk' decides"
    assert checked(capsys) == (
        1,
        "wsproxy.yaml: ok; tests.yaml: 1 of 3 as expected\n",
        [
            f"tests.yaml:1: https://b.test/: {first} (everybody reads it)",
            f"tests.yaml:4: https://b.test/: {second}",
        ],
    )
    status, out, err = checked(capsys, "--json")
    assert (status, err) == (1, [])
    common = {"file": "tests.yaml", "url": "https://b.test/"}
    assert json.loads(out) == {
        "ok": False,
        "errors": [],
        "cases": 3,
        "failures": [
            {**common, "line": 1, "why": first, "because": "everybody reads it"},
            {**common, "line": 4, "why": second, "because": ""},
        ],
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "tests.yaml: the file is empty; see config/default.yaml"),
        ("a: b\n", "tests.yaml:1:1: expected a list, '- …' lines, at the top level"),
        ("- x\n", "tests.yaml:1:3: [0]: expected a mapping with url and expect"),
        (
            "- {expect: deny}\n",
            "tests.yaml:1:3: [0]: expected a URL with http, https, ws, wss or tcp",
        ),
        (
            '- {expect: deny,\n   url: "ftp://a"}\n',
            "tests.yaml:2:9: [0].url: expected a URL with http, https, ws, wss or tcp",
        ),
        (
            '- {url: "http://a.test/"}\n',
            "tests.yaml:1:3: [0]: expected 'expect: allow' or 'expect: deny'",
        ),
        (
            '- {url: "http://a.test/", expect: maybe}\n',
            "tests.yaml:1:35: [0].expect: expected 'expect: allow' or 'expect: deny'",
        ),
        (
            '- {url: "http://a.test/", expect: deny, from: x}\n',
            "tests.yaml:1:47: [0].from: 'x' is no IP address",
        ),
        (
            '- {url: "http://a.test/", expect: deny, at: "12:00"}\n',
            "tests.yaml:1:45: [0].at: '12:00' is no time such as 2026-03-04T12:00:00+01:00",
        ),
        (
            '- {url: "http://a.test/", expect: deny, resolve: x}\n',
            "tests.yaml:1:50: [0].resolve: expected a mapping of names to addresses or lists of them",
        ),
        (
            '- {url: "http://a.test/", expect: deny, resolve: {a.test: x}}\n',
            "tests.yaml:1:50: [0].resolve: 'x' is no IP address",
        ),
        (
            '- {url: "http://a.test/", expect: deny, who: [alice]}\n',
            "tests.yaml:1:46: [0].who: expected text",
        ),
        (
            '- {url: "http://a.test/", expect: deny, groups: [[x]]}\n',
            "tests.yaml:1:49: [0].groups: expected text, or a list of texts",
        ),
        (
            '- {url: "http://a.test/", expect: deny}\n- {use: x}\n',
            "tests.yaml:2:4: [1].use: unknown key; valid here: at, because, expect, from, groups,"
            " method, origin, resolve, rule, subprotocols, url, who",
        ),
    ],
)
def test_a_mistake_in_the_tests_is_told_with_its_place(
    tests: Path, capsys: pytest.CaptureFixture[str], text: str, line: str
) -> None:
    tests.write_text(text)
    assert checked(capsys) == (2, "", [line])
    status, out, err = checked(capsys, "--json")
    told = json.loads(out)
    assert (status, err, told["ok"]) == (2, [], False)
    assert line.endswith(told["errors"][0]["message"])


def test_tests_that_are_not_there_are_status_2(
    tests: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not tests.exists()
    status, out, (line,) = checked(capsys)
    assert (status, out) == (2, "")
    assert line.startswith("tests.yaml: cannot read the file: ")


def test_a_wrong_configuration_is_told_before_its_tests(
    tests: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("wsproxy.yaml").write_text("listner: []\n")
    status, _out, (line,) = checked(capsys)
    assert (status, line[:17]) == (2, "wsproxy.yaml:1:1:")
