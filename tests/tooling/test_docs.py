"""The pages for people say what the code does: every name exists, every number and key is right."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import json
import re
from collections.abc import Mapping
from functools import cache
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from tests.support.doorkeeper import Doorkeeper
from wsproxy import app, errors
from wsproxy.cli import main
from wsproxy.config.absent import ABSENT_KEYS
from wsproxy.config.auth import Lockout
from wsproxy.config.interception import Interception
from wsproxy.config.load import load
from wsproxy.config.schema import Settings
from wsproxy.config.translate import valid_keys
from wsproxy.config.units import DURATION_PATTERN, parse_duration
from wsproxy.model import AddressVerdict, CloseReason, Peer, Side, Verdict
from wsproxy.observe.exchange import Exchange
from wsproxy.observe.records import format_json
from wsproxy.observe.summary import Summary
from wsproxy.policy import addresses
from wsproxy.policy.ask import tunnel_protocols
from wsproxy.policy.paths import readings

PROJECT = Path(__file__).parents[2]
ROOMS = sorted(path.stem for path in (PROJECT / "wsproxy").iterdir() if path.stem[0] != "_")
CODE = re.compile(rf"(?:{'|'.join(ROOMS)})(?:\.\w+)+")
TEST = re.compile(r"((?:[\w/]+/)?test_\w+\.py)::(test_\w+)(?:\[([^]]+)\])?")
UNITS = {"": 1, " KiB": 1024, " MiB": 1024**2, " s": 1, " ms": 0.001}
UNTIL_NEXT_HEADING = re.compile(r"^## ", re.M)


def page(name: str) -> str:
    return (PROJECT / "docs" / name).read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """What stands under the heading `title` of `text`."""
    _, found, rest = text.partition(f"## {title}\n")
    assert found, f"no section {title!r}"
    return UNTIL_NEXT_HEADING.split(rest, maxsplit=1)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of every line of every table in `text`, without heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = {at - 1 for at, row in enumerate(cells) if set("".join(row)) == {"-"}}
    return [row for at, row in enumerate(cells) if at not in heads and at - 1 not in heads]


def quoted(text: str) -> list[str]:
    """What stands between backquotes, code blocks left out."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", text, flags=re.M | re.S)


def leaf(settings: Mapping[str, Any], key: str) -> object:
    value: Any = settings
    for step in key.split("."):
        if value is None and key.startswith("auth.lockout."):
            return leaf(Lockout().model_dump(mode="json"), key.removeprefix("auth.lockout."))
        if value is None and key.startswith("interception."):
            section = Interception.model_validate({"ca_certificate": "ca.pem", "ca_key": "ca.key"})
            return leaf({"interception": section.model_dump(mode="json")}, key)
        value = value[step]
    return value


# ---------------------------------------------------------------- code and tests


def find(name: str) -> object:
    """The module, class, function, method or constant `name`, read from the room on."""
    parts = name.split(".")
    value: object = importlib.import_module("wsproxy")
    path = "wsproxy"
    for at, part in enumerate(parts):
        path = f"{path}.{part}"
        if hasattr(value, part):
            value = getattr(value, part)
            if dataclasses.is_dataclass(value) and isinstance(value, type) and parts[at + 1 :]:
                fields = {field.name: field.default for field in dataclasses.fields(value)}
                if parts[at + 1] in fields:
                    return fields[parts[at + 1]]
        else:
            value = importlib.import_module(path)
    return value


@cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((PROJECT / "tests" / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


def is_key(name: str) -> bool:
    section_of, _, last = name.rpartition(".")
    return last in valid_keys().get(section_of, ())


@pytest.mark.parametrize("name", ["rfc.md", "security.md"])
def test_every_function_that_is_named_exists(name: str) -> None:
    named = {text for text in quoted(page(name)) if CODE.fullmatch(text)}
    assert len(named) > 20
    for text in sorted(named):
        if not is_key(text):
            find(text)


@pytest.mark.parametrize("name", ["rfc.md", "security.md"])
def test_every_test_that_is_named_exists(name: str) -> None:
    found = [match for text in quoted(page(name)) if (match := TEST.fullmatch(text))]
    assert len(found) > 30
    missing = {f"{m[1]}::{m[2]}" for m in found if m[2] not in functions(m[1])}
    assert missing == set()
    parameters = {(m[1], m[3]) for m in found if m[3]}
    unknown = {
        (file, parameter)
        for file, parameter in parameters
        if f'"{parameter}"' not in (PROJECT / "tests" / file).read_text(encoding="utf-8")
    }
    assert unknown == set()


@pytest.mark.parametrize("name", ["rfc.md", "security.md"])
def test_nothing_that_looks_like_a_test_or_a_name_goes_unchecked(name: str) -> None:
    strange = [
        text
        for text in quoted(page(name))
        if ("test_" in text or ".py" in text) and not TEST.fullmatch(text)
    ]
    assert strange == []


def test_a_name_that_does_not_exist_is_noticed() -> None:
    assert find("protocol.head.HeadBuffer.take_head")
    assert find("auth.basic.BasicBounds.max_pending") == 64
    with pytest.raises(ImportError):
        find("protocol.head.no_such_function")
    assert "test_no_such_test" not in functions("tooling/test_docs.py")


# ---------------------------------------------------------------- rfc.md


def test_every_duty_has_its_row_with_a_function_and_a_test_or_says_that_it_is_absent() -> None:
    duties = rows(page("rfc.md"))
    assert [row[0] for row in duties] == [str(number) for number in range(1, 70)]
    for number, _duty, where, function, test in duties:
        assert re.search(r"\d{4}", where), number
        if "not in this version" not in function:
            assert any(CODE.fullmatch(text) for text in quoted(function)), number
            assert any(TEST.fullmatch(text) for text in quoted(test)), number


def test_no_failure_is_answered_with_421() -> None:
    # RFC 9110 §15.5.20: "A proxy MUST NOT generate a 421 response."
    assert 421 not in {look.status for look in errors._FACES.values()}
    sources = (PROJECT / "wsproxy").rglob("*.py")
    assert [path for path in sources if "421" in path.read_text(encoding="utf-8")] == []


# ---------------------------------------------------------------- security.md


def test_every_threat_has_its_row_with_code_and_tests_or_says_that_it_is_absent() -> None:
    threats = rows(section(page("security.md"), "Threats"))
    assert [row[0] for row in threats] == [f"T{number}" for number in range(1, 33)]
    for number, _attack, answer, code, tests in threats:
        if code or tests:
            assert any(CODE.fullmatch(text) for text in quoted(code)), number
            assert any(TEST.fullmatch(text) for text in quoted(tests)), number
        else:
            assert "not in this version" in answer, number


def test_the_values_of_class_are_those_the_code_can_give() -> None:
    source = "".join(
        path.read_text(encoding="utf-8")
        for path in sorted((PROJECT / "wsproxy" / "protocol").glob("*.py"))
    )
    given = set(re.findall(r'"(T\d+)"', source)) - {"T19"}  # of an upstream, no class
    _, _, told = page("security.md").partition("`class` in records takes the values ")
    assert set(re.findall(r"T\d+", told.partition("(")[0])) == given


def test_every_number_is_that_of_the_code() -> None:
    bounds = rows(section(page("security.md"), "Bounds"))
    assert len(bounds) >= 30
    for what, number, constant, _beyond in bounds:
        match = re.fullmatch(r"(\d+)( KiB| MiB| s| ms|)", number)
        assert match, what
        value = find(constant.strip("`"))
        assert isinstance(value, int | float), what
        assert int(match[1]) * UNITS[match[2]] == pytest.approx(value), what


def test_every_class_of_addresses_is_on_the_page_and_no_other() -> None:
    table = rows(section(page("security.md"), "Addresses that are refused"))
    told = {name for row in table for name in quoted(row[0])}
    classes = {*addresses._CLASSES_V4.values(), *addresses._CLASSES_V6.values(), "isatap"}
    assert told == classes - {None}


def test_every_refused_network_stands_beside_its_class() -> None:
    table = rows(section(page("security.md"), "Addresses that are refused"))
    told = {name: row[1] for row in table for name in quoted(row[0])}
    for network, name in (addresses._CLASSES_V4 | addresses._CLASSES_V6).items():
        if name is not None and network != "::/0":
            single = network.removesuffix("/32" if "." in network else "/128")
            assert single in re.split(r"[`,; ]+", told[name]), f"{network} {name}"


# ---------------------------------------------------------------- operations.md


def test_every_field_of_a_record_is_on_the_page_and_no_other() -> None:
    exchange = Exchange(Peer(IPv4Address("192.0.2.1"), 1), 0.0)
    exchange.websocket = Summary(0, 0, 1006, False, Side.CLIENT, 0, None, None, {"r": 1})
    exchange.judge(Verdict(True, "r", "because"))
    exchange.addresses = (AddressVerdict(IPv4Address("192.0.2.1"), True),)
    exchange.upstream = "u"
    exchange.tls, exchange.tunnel = {}, "1"
    exchange.source, exchange.upstream = IPv4Address("192.0.2.2"), "u"
    exchange.would_deny = exchange.would_allow = ("r",)
    record = json.loads(format_json("access", exchange, 0.0, 0.0))
    text, _, _ = section(page("operations.md"), "Access records").partition("### ")
    told = {name for row in rows(text) for name in quoted(row[0])}
    reasons = {reason.value for reason in CloseReason}
    decision = record["decision"]
    places = {f"name.{key}" for key in decision.pop("name")}
    vetted = {f"addresses[].{key}" for key in decision.pop("addresses")[0]}
    fields = {*record, *record["durations_ms"], *record["websocket"], *reasons}
    assert told == fields | {*decision} | places | vetted


def test_every_error_token_and_its_status_are_on_the_page() -> None:
    _, _, text = page("operations.md").partition("### Error tokens\n")
    told: dict[str, set[int]] = {}
    for row in rows(text.partition("\n## ")[0]):
        statuses = {int(status) for status in re.findall(r"\d{3}", row[1])}
        told.setdefault(row[0].strip("`"), set()).update(statuses)
    unsent = {errors.ClientGone, errors.ClientTlsError, errors.ConfigError}
    for kind, look in errors._FACES.items():
        assert look.token in told, look.token
        if kind not in unsent:
            assert look.status in told[look.token], look
    assert set(told) == {look.token for look in errors._FACES.values()} | {
        "destination_ip_prohibited",
        "tls_alert_received",
        "tls_certificate_error",
    }


def test_every_timeout_says_what_it_bounds() -> None:
    told = {row[0].strip("`") for row in rows(section(page("operations.md"), "Timeouts"))}
    assert told == {*valid_keys()["timeouts"], "dns.timeout"}


# ---------------------------------------------------------------- configuration.md


def key_rows() -> dict[str, list[str]]:
    tables = rows(section(page("configuration.md"), "All keys"))
    return {row[0].strip("`"): row for row in tables}


def test_every_key_has_its_row_and_no_other() -> None:
    leaves = {
        f"{prefix}.{key}".removeprefix(".") for prefix, keys in valid_keys().items() for key in keys
    }
    sections = {key.removesuffix("[]") for key in valid_keys()} - {""}
    lists = {key.removesuffix("[]") for key in valid_keys() if key.endswith("[]")}
    mappings = sections - lists - {"policy.rules[].when"}
    assert set(key_rows()) == leaves - mappings


def test_defaults_are_those_of_the_code() -> None:
    settings = Settings().model_dump(mode="json")
    checked = 0
    for key, row in key_rows().items():
        if "[]" in key or isinstance(leaf(settings, key), list):
            continue
        default = row[1] if key.startswith("timeouts.") else row[2]
        value = leaf(settings, key)
        if default == "*required*":
            continue
        told = quoted(default)[0]
        if re.fullmatch(DURATION_PATTERN, told):
            assert parse_duration(told) == parse_duration(value), key
        else:
            assert told == (value if isinstance(value, str) else json.dumps(value)), key
        checked += 1
    assert checked > 15


def test_a_key_that_is_called_absent_is() -> None:
    _, _, told = page("configuration.md").partition("not in this version, such as ")
    assert set(quoted(told.partition(", are")[0])) <= ABSENT_KEYS


EXAMPLES = blocks(page("configuration.md"), "yaml")
WRONG = list(
    zip(
        blocks(page("configuration.md"), "yaml wrong"),
        blocks(page("configuration.md"), "text"),
        strict=True,
    )
)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_a_configuration_that_can_run(example: str, tmp_path: Path) -> None:
    (tmp_path / "users").touch(mode=0o600)
    keeper = Doorkeeper(tmp_path)
    files = {"tls.crt": keeper.server.certificate, "tls.key": keeper.server.key}
    for name, made in {**files, "clients.pem": keeper.ca}.items():
        made.rename(tmp_path / name)
    file = tmp_path / "wsproxy.yaml"
    file.write_text(example, encoding="utf-8")
    runtime = app.build(load(file, environment={}))
    assert runtime.timeouts.request_head_s > 0


@pytest.mark.parametrize(("example", "told"), WRONG)
def test_a_wrong_example_gets_the_lines_on_the_page(
    example: str,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wsproxy.yaml").write_text(example, encoding="utf-8")
    assert main(["check", "--config", "wsproxy.yaml"]) == 2
    assert capsys.readouterr().err == told


def test_there_are_examples_of_both_kinds() -> None:
    assert len(EXAMPLES) >= 9
    assert len(WRONG) >= 5


def test_the_readings_of_a_path_are_those_on_the_page() -> None:
    told = rows(section(page("configuration.md"), "Paths"))
    assert len(told) >= 7
    for wire, meaning in told:
        for path in quoted(wire):
            expected = [] if meaning.startswith("none") else quoted(meaning)
            assert [reading.decode() for reading in readings(path)] == expected, path


def test_the_protocols_of_a_tunnel_are_those_on_the_page() -> None:
    table = rows(section(page("configuration.md"), "Protocols"))
    told = {row[0]: set(quoted(row[1].partition("(")[0])) for row in table}
    assert told["CONNECT to port 443"] == tunnel_protocols(443)
    assert told["CONNECT to port 80"] == tunnel_protocols(80)
    assert told["CONNECT to any other port"] == tunnel_protocols(8080)


# ---------------------------------------------------------------- links


@pytest.mark.parametrize("name", ["configuration.md", "operations.md", "security.md", "rfc.md"])
def test_every_link_leads_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page(name)):
        file, _, anchor = target.partition("#")
        path = (PROJECT / "docs" / file) if file else PROJECT / "docs" / name
        assert path.is_file(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.M)
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors, target
