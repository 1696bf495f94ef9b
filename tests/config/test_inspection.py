"""The section ``inspection``: what is taken, what it becomes, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from wsproxy.config.inspection import Capture, Inspection, MessageRule, Redact
from wsproxy.config.load import load
from wsproxy.config.secret import Secret
from wsproxy.config.units import Rate


def sentence_of(section: type[Any], data: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        section.model_validate(data)
    (error,) = caught.value.errors()
    return str(error["ctx"]["error"])


def test_a_rule_is_for_every_message_unless_it_says_otherwise() -> None:
    rule = MessageRule.model_validate({"name": "all", "action": "drop"})
    assert rule.model_dump() == {
        "name": "all",
        "direction": None,
        "opcode": (),
        "larger_than": None,
        "rate": None,
        "matches": None,
        "json": {},
        "subprotocol": (),
        "label": (),
        "inspector": None,
        "action": "drop",
        "mode": "enforce",
    }


def test_every_condition_becomes_its_type() -> None:
    rule = MessageRule.model_validate(
        {
            "direction": "client",
            "opcode": ["text", "binary"],
            "larger_than": "1MiB",
            "rate": "10/m",
            "matches": r"\b4\d{15}\b",
            "json": {"$.type": "order", "$.lots": 5, "$.test": False, "$.note": None},
            "subprotocol": "chat",
            "label": ["json-rpc"],
            "inspector": "orders",
            "action": "throttle",
            "mode": "report",
        }
    )
    assert (rule.direction, rule.opcode) == ("client", ("text", "binary"))
    assert (rule.larger_than, rule.rate) == (1024**2, Rate(10, 60))
    assert rule.matches == r"\b4\d{15}\b"
    assert rule.json_ == {"$.type": "order", "$.lots": 5, "$.test": False, "$.note": None}
    assert (rule.subprotocol, rule.label, rule.inspector) == (("chat",), ("json-rpc",), "orders")
    assert (rule.action, rule.mode) == ("throttle", "report")
    written = rule.model_dump()
    assert (written["larger_than"], written["rate"]) == ("1MiB", "10/m")


def test_a_rate_made_in_code_is_taken() -> None:
    rule = MessageRule.model_validate({"action": "throttle", "rate": Rate(2, 1)})
    assert rule.rate == Rate(2, 1)


CONDITIONS = sorted({*MessageRule.model_fields, "json"} - {"json_"})


@pytest.mark.parametrize("key", CONDITIONS)
def test_a_condition_that_is_left_empty_is_not_one_that_always_holds(key: str) -> None:
    rule = {"action": "close", key: None}
    assert sentence_of(MessageRule, rule) == "there is no value; write one or remove the key"


@pytest.mark.parametrize("key", ["opcode", "subprotocol", "label"])
def test_a_list_of_alternatives_has_one(key: str) -> None:
    with pytest.raises(ValidationError, match="too_short"):
        MessageRule.model_validate({"action": "close", key: []})


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("json", {}, "expected at least one path and its value"),
        ("json", {"a": 1}, "expected a path into JSON such as $.user.password"),
        ("json", {"$\n": 1}, "expected a path into JSON such as $.user.password"),
        ("json", {"$.a": 1.5}, "expected text, a whole number, true, false or null"),
        ("json", {"$.a": Secret("x")}, "expected text, a whole number, true, false or null"),
        ("rate", 5, "expected a rate such as 100/s, 10/m or 500/h"),
        ("rate", "5", "expected a rate such as 100/s, 10/m or 500/h"),
        ("larger_than", ">1MiB", "expected a size such as 512B, 64KiB, 16MiB or 1GiB"),
        ("matches", "", "expected text without control characters"),
    ],
)
def test_a_wrong_condition_gets_a_plain_sentence(key: str, value: object, sentence: str) -> None:
    assert sentence_of(MessageRule, {"action": "close", key: value}) == sentence


def test_rules_get_a_name_from_their_set() -> None:
    close = {"action": "close"}
    sets = {"a": [close, {"name": "b", **close}, close], "no-cards": [close]}
    inspection = Inspection.model_validate({"message_rules": sets})
    assert {
        key: [rule.name for rule in rules] for key, rules in inspection.message_rules.items()
    } == {
        "a": ["a-1", "b", "a-3"],
        "no-cards": ["no-cards-1"],
    }


@pytest.mark.parametrize("sets", [5, {"a": 5}, {"a": [5]}, {"a": []}, {"a b": []}, None])
def test_sets_of_another_shape_are_refused(sets: object) -> None:
    with pytest.raises(ValidationError):
        Inspection.model_validate({"message_rules": sets})


def test_sizes_and_times_are_bytes_and_seconds() -> None:
    inspection = Inspection()
    assert (inspection.max_message, inspection.inspector_timeout) == (16 * 1024**2, 0.05)
    capture = inspection.capture
    assert (capture.payload, capture.rotate, capture.keep) == (
        64 * 1024,
        256 * 1024**2,
        7 * 24 * 60 * 60,
    )


def test_a_directory_starts_at_the_folder_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "wsproxy.yaml"
    file.write_text("inspection: {capture: {directory: captures}}\n")
    assert load(file).settings.inspection.capture.directory == tmp_path / "captures"
    assert Capture().directory is None


def test_an_unquoted_off_is_the_word(tmp_path: Path) -> None:
    file = tmp_path / "wsproxy.yaml"
    file.write_text("policy: {websocket: off, rules: [{action: allow, websocket: off}]}\n")
    policy = load(file).settings.policy
    assert (policy.websocket, policy.rules[0].websocket) == ("off", "off")


def test_names_of_fields_are_compared_in_lower_case() -> None:
    redact = Redact.model_validate({"headers": ["X-API-Key", "cookie"], "query": "token"})
    assert (redact.headers, redact.query) == (("x-api-key", "cookie"), ("token",))


def test_all_query_values_or_none_can_be_redacted() -> None:
    assert Redact().query is None
    assert Redact.model_validate({"query": [], "headers": []}) == Redact(query=(), headers=())


@pytest.mark.parametrize("name", ["", "a b", "a:", 5])
def test_a_field_has_a_name_that_can_occur(name: object) -> None:
    assert sentence_of(Redact, {"headers": [name]}) == (
        "expected the name of a header field such as authorization"
    )


def test_the_json_schema_shows_no_null_where_none_is_taken() -> None:
    schema = Inspection.model_json_schema()
    rule = schema["$defs"]["MessageRule"]["properties"]
    assert [name for name, value in rule.items() if "default" in value] == ["mode"]
    assert rule["direction"]["type"] == "string"
    assert rule["json"]["additionalProperties"] is False
    sets = schema["properties"]["message_rules"]
    (pattern,) = sets["patternProperties"]
    assert (sets["additionalProperties"], pattern[0], pattern[-1]) == (False, "^", "$")
