"""Whole files: what loads, and that nothing but a positioned error comes of the rest."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsproxy.config.fields import ListenAddress
from wsproxy.config.load import EMBEDDED, MAX_FILE_BYTES, default, load, override_listen
from wsproxy.config.problems import each_error
from wsproxy.errors import ConfigError

FULL = """\
listeners:
  - address: ${HOST:-127.0.0.1}:0
auth:
  methods: [{type: basic, users: users}]
policy:
  rules:
    - name: feed
      when: {groups: desk, hosts: ["*.example.com"], ports: [443, "8000-8999"]}
      action: allow

    - action: deny
      message: Not here.
timeouts: {idle: 2h}
logs: {access: {to: ./access.log, format: squid}}
"""

same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "users").touch()
    return tmp_path / "wsproxy.yaml"


def error_of(file: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(file, environment={})
    return caught.value


def test_a_file_becomes_settings_with_positions(file: Path) -> None:
    file.write_text(FULL)
    config = load(file, environment={"HOST": "0.0.0.0"})
    assert (config.file, str(config.settings.listeners[0].address)) == (str(file), "0.0.0.0:0")
    assert config.settings.auth.required
    assert config.settings.auth.methods[0].users == file.parent / "users"
    assert config.settings.logs.access.to == str(file.parent / "access.log")
    assert config.settings.timeouts.idle == 7200.0
    assert [(rule.name, rule.line) for rule in config.settings.policy.rules] == [
        ("feed", 7),
        ("rule-2", 11),
    ]
    assert config.position(("auth", "methods", 0, "users")) == (4, 34)


def test_a_file_without_a_policy_denies(file: Path) -> None:
    file.write_text("dns: {timeout: 1s}\n")
    assert load(file).settings.policy.default == "deny"


def test_variables_come_from_the_process_by_default(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSPROXY_REALM", "corp")
    file.write_text("auth: {realm: '${WSPROXY_REALM}'}\n")
    assert load(file).settings.auth.realm == "corp"


def test_only_its_user_can_find_some_errors_and_they_get_a_place_too(file: Path) -> None:
    file.write_text(FULL)
    error = load(file).error(("auth", "methods", 0, "users"), "line 3 is odd")
    assert str(error) == f"{file}:4:34: auth.methods[0].users: line 3 is odd"


def test_without_a_file_there_are_no_lines() -> None:
    config = default()
    assert (config.file, config.position(("policy",))) == (EMBEDDED, (0, 0))
    error = config.error(("listeners", 0, "address"), "in use")
    assert str(error) == f"{EMBEDDED}: listeners[0].address: in use"


def test_the_default_allows_public_addresses_to_loopback_clients() -> None:
    config = default().settings
    assert [str(listener.address) for listener in config.listeners] == ["127.0.0.1:8080"]
    assert (config.policy.default, config.policy.private_networks) == ("allow", ())
    assert not config.auth.required


def test_listen_replaces_every_listener(file: Path) -> None:
    file.write_text("listeners: [{address: '127.0.0.1:1'}, {address: '127.0.0.1:2'}]\n")
    config = override_listen(load(file), "[::1]:3")
    assert [listener.address for listener in config.settings.listeners] == [
        ListenAddress.parse("[::1]:3")
    ]
    assert config.file == str(file)


def test_listen_must_be_an_address() -> None:
    with pytest.raises(ConfigError) as caught:
        override_listen(default(), "8080")
    assert str(caught.value) == (
        "--listen: expected HOST:PORT, HOST an IP address, [IPv6 address] or localhost; got '8080'"
    )


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", ": the file is empty; see config/default.yaml"),
        (b"a: b\nc: \xff\n", ":2:4: this byte is not UTF-8 text; save the file as UTF-8"),
        ("a: b".encode("utf-16"), ":1:1: this byte is not UTF-8 text; save the file as UTF-8"),
        (b"a: \x00", ":1:4: character U+0000 cannot stand in YAML; remove it"),
        (b"x" * (MAX_FILE_BYTES + 1), ": the file is longer than 4 MiB"),
        (b"logs: {access: {to: std", ":1:16: this is never closed; is the file complete?"),
        (
            b"auth: {required: true}",
            ":1:18: auth.required: credentials are required but auth.methods is empty; add one",
        ),
    ],
)
def test_a_wrong_file_is_one_line(file: Path, content: bytes, line: str) -> None:
    file.write_bytes(content)
    assert str(error_of(file)) == f"{file}{line}"


def test_every_wrong_value_is_reported_in_the_order_of_the_file(file: Path) -> None:
    file.write_text("logs: {level: loud}\ndns: {timeout: 0s}\nlimits: {connections: -1}\n")
    errors = each_error(error_of(file))
    assert [(error.line, error.key) for error in errors] == [
        (1, "logs.level"),
        (2, "dns.timeout"),
        (3, "limits.connections"),
    ]


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    assert str(error_of(missing)) == f"{missing}: cannot read the file: No such file or directory"
    assert str(error_of(tmp_path)) == f"{tmp_path}: cannot read the file: Is a directory"


def test_a_byte_order_mark_is_no_mistake(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfdns: {timeout: 1s}\n")
    assert load(file).settings.dns.timeout == 1.0


def only_config_errors(file: Path) -> None:
    """Loads, or fails with errors that all name the file."""
    try:
        named = {load(file, environment={}).file}
    except ConfigError as error:
        named = {single.file for single in each_error(error)}
    assert named == {str(file)}


@same_folder
@given(content=st.binary(max_size=200))
def test_any_bytes_load_or_are_a_config_error(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    only_config_errors(file)


@same_folder
@given(
    content=st.lists(
        st.sampled_from(
            [
                *"abxyz0189 \n\t:-[]{},&*!|>'\"#%@`$~?.=\\\ufeff\x85\u2028\U0001f600",
                *("a: ", "\n  ", "- ", "${A}", "${", "!file ", "&a ", "*a", "<<: ", "!!"),
                *("listeners", "policy", "rules", "when", "---\n", "...\n", "%YAML 1.1\n"),
            ]
        ),
        max_size=60,
    ).map("".join)
)
def test_any_yaml_like_text_loads_or_is_a_config_error(file: Path, content: str) -> None:
    file.write_bytes(content.encode())
    only_config_errors(file)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
SECTIONS = {
    "listeners": st.lists(st.fixed_dictionaries({}, optional={"address": VALUES, "tls": VALUES})),
    "auth": st.fixed_dictionaries({}, optional={"methods": VALUES, "realm": VALUES}),
    "policy": st.fixed_dictionaries(
        {},
        optional={
            "rules": st.lists(
                st.fixed_dictionaries({}, optional={"when": VALUES, "action": VALUES}) | VALUES
            ),
            "private_networks": VALUES,
        },
    ),
    "timeouts": VALUES,
    "logs": VALUES,
    "inspection": st.fixed_dictionaries(
        {},
        optional={
            "capture": VALUES,
            "redact": st.fixed_dictionaries({}, optional={"headers": VALUES, "json": VALUES}),
            "message_rules": VALUES
            | st.dictionaries(
                st.text(max_size=8),
                st.lists(
                    st.fixed_dictionaries(
                        {}, optional={"action": VALUES, "json": VALUES, "mach": VALUES}
                    )
                    | VALUES,
                    max_size=2,
                ),
                max_size=2,
            ),
        },
    ),
}


@same_folder
@given(data=st.fixed_dictionaries({}, optional=SECTIONS))
def test_any_value_in_any_place_loads_or_is_a_config_error(file: Path, data: Any) -> None:
    file.write_text(yaml.safe_dump(data, allow_unicode=False))
    only_config_errors(file)
