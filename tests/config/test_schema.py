"""The settings: defaults, what is derived, and the JSON Schema."""

import re
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest
from pydantic import ValidationError

from wsproxy.config.fields import ListenAddress, Origin
from wsproxy.config.schema import Auth, Policy, Rule, Settings, When, json_schema


def test_defaults_are_those_of_the_interface() -> None:
    settings = Settings()
    assert [listener.address for listener in settings.listeners] == [
        ListenAddress(IPv4Address("127.0.0.1"), 8080)
    ]
    assert settings.model_dump(exclude={"listeners"}) == {
        "auth": {"required": False, "realm": "wsproxy", "methods": (), "lockout": None},
        "policy": {
            "default": "deny",
            "mode": "enforce",
            "private_networks": (),
            "source_address": (),
            "rules": (),
            "websocket": "metadata",
        },
        "limits": {
            "connections": 20000,
            "connections_per_client": None,
            "connections_per_user": None,
            "requests_per_client": None,
            "bandwidth_per_connection": None,
            "bandwidth_per_user": None,
            "messages_per_user": None,
            "bytes_per_user": None,
        },
        "timeouts": {
            "request_head": "30s",
            "body": "1m",
            "keep_alive": "1m",
            "tls_handshake": "10s",
            "sniff": "5s",
            "connect": "10s",
            "response_head": "1m",
            "stalled": "15m",
            "idle": "1h",
            "lifetime": "1d",
            "drain": "30s",
        },
        "dns": {"servers": (), "timeout": "5s", "cache": True, "hosts": {}},
        "upstreams": {},
        "interception": None,
        "logs": {"access": {"to": "stdout", "format": "json"}, "level": "info"},
        "inspection": {
            "max_message": "16MiB",
            "capture": {
                "directory": None,
                "payload": "64KiB",
                "rotate": "256MiB",
                "keep": "7d",
                "view": "message",
            },
            "redact": {
                "headers": ("authorization", "cookie", "proxy-authorization", "set-cookie"),
                "query": None,
                "json": (),
                "patterns": (),
            },
            "message_rules": {},
            "inspector_timeout": "50ms",
        },
    }


def test_timeouts_are_seconds() -> None:
    timeouts = Settings().timeouts
    assert (timeouts.connect, timeouts.idle, timeouts.lifetime) == (10.0, 3600.0, 86400.0)


def test_credentials_are_required_as_soon_as_there_is_a_method() -> None:
    method = {"type": "basic", "users": "u"}
    assert Auth.model_validate({"methods": [method]}).required
    assert not Auth.model_validate({"methods": [method], "required": False}).required
    assert not Auth.model_validate({"methods": []}).required


def test_rules_get_a_name_and_know_their_line() -> None:
    rules = [{"action": "deny"}, {"name": "b", "action": "allow"}, {"action": "deny"}]
    policy = Policy.model_validate({"rules": rules}, context=Origin(rule_lines=(4, 9, 12)))
    assert [(rule.name, rule.line) for rule in policy.rules] == [
        ("rule-1", 4),
        ("b", 9),
        ("rule-3", 12),
    ]
    assert Policy.model_validate({"rules": rules}).rules[1].line == 0


def test_zones_get_a_name() -> None:
    zone = {"hosts": "*", "networks": "10.0.0.0/8"}
    policy = Policy.model_validate({"private_networks": [zone, {"name": "b", **zone}, zone]})
    assert [zone.name for zone in policy.private_networks] == ["zone-1", "b", "zone-3"]


def test_only_given_conditions_count() -> None:
    when = When.model_validate({"hosts": "a.example", "ports": [80, "8000-8999"]})
    assert when.conditions() == {"hosts": ("a.example",), "ports": (80, "8000-8999")}
    assert When().conditions() == {}


def test_a_rule_looks_at_metadata_and_keeps_extensions_by_default() -> None:
    rule = Rule.model_validate({"action": "allow"})
    assert (rule.websocket, rule.messages, rule.extensions) == ("metadata", (), "keep")


def test_a_rule_says_how_closely_it_looks() -> None:
    rule = Rule.model_validate(
        {
            "action": "allow",
            "websocket": "enforce",
            "messages": "no-cards",
            "extensions": "no_context_takeover",
            "when": {"origins": "https://app.example", "subprotocols": ["chat", "mqtt"]},
        }
    )
    assert (rule.websocket, rule.messages, rule.extensions) == (
        "enforce",
        ("no-cards",),
        "no_context_takeover",
    )
    assert rule.when.conditions() == {
        "origins": ("https://app.example",),
        "subprotocols": ("chat", "mqtt"),
    }


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().policy.default = "allow"  # type: ignore[misc]


def properties(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    sections = {"Settings": schema, **schema["$defs"]}
    for section, content in sections.items():
        for name, value in content["properties"].items():
            yield f"{section}.{name}", value


def test_the_json_schema_describes_every_setting() -> None:
    schema = json_schema()
    described = dict(properties(schema))
    assert len(described) == 174
    # A description that only repeats that of the section referred to is left out by pydantic.
    bare = [name for name, value in described.items() if not {"description", "$ref"} & set(value)]
    assert bare == []
    assert [name for name, value in schema["$defs"].items() if not value["description"]] == []


def test_the_json_schema_refuses_unknown_keys_everywhere() -> None:
    schema = json_schema()
    sections = [schema, *schema["$defs"].values()]
    assert [section["title"] for section in sections if section["additionalProperties"]] == []


def test_durations_are_strings_with_a_pattern_that_their_defaults_match() -> None:
    timeouts = json_schema()["$defs"]["Timeouts"]["properties"]
    for value in timeouts.values():
        assert value["type"] == "string"
        assert re.search(value["pattern"], value["default"])
    assert not re.search(timeouts["idle"]["pattern"], "30")


def test_the_json_schema_lets_a_single_condition_stand_without_brackets() -> None:
    hosts = json_schema()["$defs"]["When"]["properties"]["hosts"]
    text = {"type": "string", "minLength": 1}
    assert hosts["anyOf"] == [text, {"type": "array", "items": text, "minItems": 1}]
