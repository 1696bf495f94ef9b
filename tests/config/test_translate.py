"""One line for each mistake, with the place where to mend it."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from wsproxy.config.document import Document, parse_document
from wsproxy.config.schema import Settings
from wsproxy.config.translate import positioned, translate, valid_keys

ABSENT = "this version of wsproxy does not have this setting yet; remove it"
ABSENT_VALUE = "this version of wsproxy does not have this value yet; remove it"
BOOLEAN = "expected true or false"
TEXT = "expected text; put a number, true and false in quotes"


def parsed(text: str, tmp_path: Path) -> Document:
    (tmp_path / "secret").write_text("hunter2\n")
    environment = {"KEY": "hunter2"}
    return parse_document(text, file="f", folder=tmp_path, environment=environment)


def lines_of(text: str, tmp_path: Path) -> list[str]:
    document = parsed(text, tmp_path)
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(document.data())
    return [str(error) for error in translate(caught.value, document)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("listner: []", "f:1:1: listner: unknown key; did you mean 'listeners'?"),
        (
            "zzz: 1",
            "f:1:1: zzz: unknown key; valid here: listeners, auth, policy, limits, timeouts, "
            "dns, logs, upstreams, interception, inspection",
        ),
        ("workers: 2", f"f:1:1: workers: {ABSENT}"),
        (
            "upstreams: {a: b}",
            "f:1:16: upstreams.a: expected a mapping of 'key: value'; got 'b'",
        ),
        (
            "upstreams: {a: {url: 'http://u:p@h'}}",
            "f:1:16: upstreams.a: credentials do not stand in the URL; write username and "
            "password; got a mapping",
        ),
        (
            "listeners:\n  - address: 127.0.0.1:1\n    tls: {certificate: a}",
            "f:3:10: listeners[0].tls.key: missing; this key is required",
        ),
        (
            "listeners:\n  - address: 127.0.0.1:1\n    proxy_protocol: {trust: lb.corp.example}",
            "f:3:29: listeners[0].proxy_protocol.trust: expected an address or a network such "
            "as 10.0.0.0/8; got 'lb.corp.example'",
        ),
        (
            "listeners:\n  - address: 127.0.0.1:1\n    protocol: socks5",
            f"f:3:15: listeners[0].protocol: {ABSENT_VALUE}",
        ),
        (
            "listeners: [{address: '127.0.0.1:1', protocol: spdy}]",
            "f:1:48: listeners[0].protocol: expected 'http'; got 'spdy'",
        ),
        (
            "auth: {methods: [{type: certificate, user_from: ou}]}",
            "f:1:49: auth.methods[0].user_from: expected 'cn', 'email', 'dns' or 'uri'; got 'ou'",
        ),
        (
            "auth: {methods: [{users: u}]}",
            "f:1:18: auth.methods[0].type: missing; this key is required",
        ),
        (
            "listeners:\n  - protocol: http",
            "f:2:5: listeners[0].address: missing; this key is required",
        ),
        ("listeners: []", "f:1:12: listeners: the list is empty; give at least one entry"),
        ("listeners: 8080", "f:1:12: listeners: expected a list; got '8080'"),
        (
            "policy:\n  rules:\n    - name: a\n",
            "f:3:7: policy.rules[0].action: missing; this key is required",
        ),
        (
            "policy: {rules: [{action: alow}]}",
            "f:1:27: policy.rules[0].action: expected 'allow' or 'deny'; got 'alow'",
        ),
        (
            "policy: {rules: [5]}",
            "f:1:18: policy.rules[0]: expected a mapping of 'key: value'; got '5'",
        ),
        ("policy: {rules: {a: 1}}", "f:1:17: policy.rules: expected a list; got a mapping"),
        (
            "policy: {rules: [{action: deny, when: {host: a}}]}",
            "f:1:40: policy.rules[0].when.host: unknown key; did you mean 'hosts'?",
        ),
        (
            "policy: {rules: [{action: deny, when: {hours: a}}]}",
            "f:1:47: policy.rules[0].when.hours: expected a mapping of 'key: value'; got 'a'",
        ),
        (
            "policy: {rules: [{action: deny, when: {hours: }}]}",
            "f:1:47: policy.rules[0].when.hours: there is no value; write one or remove the key",
        ),
        (
            "policy: {rules: [{action: deny, when: {hours: {timezone: Mars, from: 07:00}}}]}",
            "f:1:58: policy.rules[0].when.hours.timezone: no such time zone; write one such as "
            "Europe/Berlin, or UTC; got 'Mars'",
        ),
        (
            "policy: {rules: [{action: deny, when: {users: }}]}",
            "f:1:47: policy.rules[0].when.users: there is no value; write one or remove the key",
        ),
        (
            "policy: {rules: [{action: deny, when: {users: []}}]}",
            "f:1:47: policy.rules[0].when.users: the list is empty; give at least one entry",
        ),
        (
            "policy: {rules: [{action: deny, when: {ports: 0}}]}",
            "f:1:47: policy.rules[0].when.ports: "
            "expected a port or a range such as \"8000-8999\"; got '0'",
        ),
        (
            "policy: {rules: [{action: deny, when: {protocols: [wss, quic]}}]}",
            "f:1:57: policy.rules[0].when.protocols[1]: "
            "expected 'http', 'https', 'ws', 'wss' or 'tcp'; got 'quic'",
        ),
        (
            "policy: {rules: [{action: allow, websocket: false}]}",
            "f:1:45: policy.rules[0].websocket: "
            "expected 'off', 'metadata', 'log' or 'enforce'; got 'false'",
        ),
        (
            "inspection: {message_rules: {a: [{action: close, mach: x}]}}",
            "f:1:50: inspection.message_rules.a[0].mach: unknown key; did you mean 'matches'?",
        ),
        (
            "inspection: {message_rules: {a: [{action: close, json_: {}}]}}",
            "f:1:50: inspection.message_rules.a[0].json_: unknown key; did you mean 'json'?",
        ),
        (
            "inspection: {message_rules: {a: [{matches: x}]}}",
            "f:1:34: inspection.message_rules.a[0].action: missing; this key is required",
        ),
        (
            "inspection: {message_rules: {a: [{action: close, matches: }]}}",
            "f:1:59: inspection.message_rules.a[0].matches: "
            "there is no value; write one or remove the key",
        ),
        (
            "inspection: {message_rules: {a: [{action: close, json: {}}]}}",
            "f:1:56: inspection.message_rules.a[0].json: "
            "expected at least one path and its value; got a mapping",
        ),
        (
            "inspection: {message_rules: {a: [{action: close, json: {type: x}}]}}",
            "f:1:57: inspection.message_rules.a[0].json.type: "
            "expected a path into JSON such as $.user.password",
        ),
        (
            "inspection: {message_rules: {a: [{action: close, json: {$.a: [1]}}]}}",
            "f:1:62: inspection.message_rules.a[0].json.$.a: "
            "expected text, a whole number, true, false or null; got a list",
        ),
        (
            "inspection: {message_rules: {a: [{action: close, rate: 10}]}}",
            "f:1:56: inspection.message_rules.a[0].rate: "
            "expected a rate such as 100/s, 10/m or 500/h; got '10'",
        ),
        (
            "inspection: {message_rules: {a b: [{action: close}]}}",
            "f:1:30: inspection.message_rules.a b: "
            "expected a name of up to 64 letters, digits, '-', '_' and '.'",
        ),
        (
            "inspection: {message_rules: {a: []}}",
            "f:1:33: inspection.message_rules.a: the list is empty; give at least one entry",
        ),
        (
            "inspection: {message_rules: [a]}",
            "f:1:29: inspection.message_rules: expected a mapping of 'key: value'; got a list",
        ),
        (
            "inspection: {message_rules: {a: close}}",
            "f:1:33: inspection.message_rules.a: expected a list; got 'close'",
        ),
        (
            "inspection: {message_rules: {a: [close]}}",
            "f:1:34: inspection.message_rules.a[0]: expected a mapping of 'key: value'; "
            "got 'close'",
        ),
        (
            "inspection: {redact: {headers: 'a b'}}",
            "f:1:32: inspection.redact.headers: "
            "expected the name of a header field such as authorization; got 'a b'",
        ),
        (
            "inspection: {redact: {json: [$.a, b]}}",
            "f:1:35: inspection.redact.json[1]: "
            "expected a path into JSON such as $.user.password; got 'b'",
        ),
        ("auth: {required: yes}", f"f:1:18: auth.required: {BOOLEAN}; got 'yes'"),
        ("auth: {required: 'true'}", f"f:1:18: auth.required: {BOOLEAN}; got 'true'"),
        ("auth: {required: 1}", f"f:1:18: auth.required: {BOOLEAN}; got '1'"),
        ("auth: {realm: 5}", f"f:1:15: auth.realm: {TEXT}; got '5'"),
        ("auth: {realm: [a]}", f"f:1:15: auth.realm: {TEXT}; got a list"),
        (
            "auth: {realm: !file secret}",
            f"f:1:15: auth.realm: {TEXT}; got the text of a file, which cannot stand here",
        ),
        (
            "limits:\n  connections: ${KEY}",
            "f:2:16: limits.connections: expected a whole number without quotes; got '${KEY}'",
        ),
        (
            "limits: {connections: '5'}",
            "f:1:23: limits.connections: expected a whole number without quotes; got '5'",
        ),
        (
            "limits: {connections: true}",
            "f:1:23: limits.connections: expected a whole number without quotes; got 'true'",
        ),
        ("limits: {connections: 0}", "f:1:23: limits.connections: expected at least 1; got '0'"),
        (
            "limits: {connections: 99999999}",
            "f:1:23: limits.connections: expected at most 10000000; got '99999999'",
        ),
        (
            "timeouts: {idle: 30}",
            "f:1:18: timeouts.idle: expected a duration such as 250ms, 30s, 15m or 1h; got '30'",
        ),
        ("policy:", "f:1:8: policy: there is no value; write one or remove the key"),
        ("policy: deny", "f:1:9: policy: expected a mapping of 'key: value'; got 'deny'"),
        (
            "logs: {access: {format: off}}",
            "f:1:25: logs.access.format: expected 'json', 'squid' or 'combined'; got 'off'",
        ),
        (
            "logs: {access: off}",
            "f:1:16: logs.access: expected a mapping of 'key: value'; got 'off'",
        ),
        (
            f"logs: {{level: {'x' * 61}}}",
            "f:1:15: logs.level: expected 'debug', 'info', 'warning' or 'error'; "
            f"got '{'x' * 60}'…",
        ),
        (
            'logs: {level: "\\e[31m"}',
            "f:1:15: logs.level: expected 'debug', 'info', 'warning' or 'error'; got '\\x1b[31m'",
        ),
    ],
)
def test_a_mistake_is_one_line_where_it_stands(text: str, line: str, tmp_path: Path) -> None:
    assert lines_of(text, tmp_path) == [line]


def test_a_list_of_wrong_entries_is_not_called_empty_as_well(tmp_path: Path) -> None:
    assert lines_of("listeners: [{address: '127.0.0.1:99999'}]", tmp_path) == [
        "f:1:23: listeners[0].address: expected a port from 0 to 65535; got '127.0.0.1:99999'"
    ]


def test_a_value_behind_an_alias_is_placed_where_it_is_written(tmp_path: Path) -> None:
    text = "logs: {level: &x bad}\npolicy: {default: *x}\n"
    assert [line[:6] for line in lines_of(text, tmp_path)] == ["f:1:15", "f:1:15"]


def test_an_error_of_a_later_look_gets_its_place_too(tmp_path: Path) -> None:
    document = parsed("auth: {realm: x}", tmp_path)
    assert str(positioned(document, ("auth", "realm"), "no")) == "f:1:15: auth.realm: no"
    assert str(positioned(document, ("auth", "methods", 0), "no")) == "f:1:7: auth: no"


def test_valid_keys_are_listed_by_section() -> None:
    keys = valid_keys()
    assert keys["policy.rules[]"] == [
        "name",
        "when",
        "action",
        "mode",
        "message",
        "websocket",
        "messages",
        "extensions",
        "upstream",
        "source_address",
        "limits",
        "tls",
    ]
    assert keys["inspection.redact"] == ["headers", "query", "json", "patterns"]
    assert "json" in keys["inspection.message_rules.NAME[]"]
    assert keys["logs.access"] == ["to", "format"]
    assert keys["listeners[]"] == ["address", "protocol", "tls", "proxy_protocol"]
