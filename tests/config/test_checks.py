"""What must hold between settings."""

from pathlib import Path
from typing import Any

import pytest

from wsproxy.config.checks import problems_of
from wsproxy.config.schema import Settings


def problems(**sections: Any) -> list[tuple[tuple[str | int, ...], str]]:
    return list(problems_of(Settings.model_validate(sections)))


def test_the_defaults_are_in_order() -> None:
    assert problems() == []


def test_requiring_credentials_needs_a_method() -> None:
    assert problems(auth={"required": True}) == [
        (("auth", "required"), "credentials are required but auth.methods is empty; add one")
    ]


def test_a_users_file_must_be_a_file_that_can_be_read(tmp_path: Path) -> None:
    users = tmp_path / "users"
    method = {"type": "basic", "users": users}
    path = ("auth", "methods", 0, "users")
    assert problems(auth={"methods": [method]}) == [
        (path, f"cannot read {users}: No such file or directory")
    ]
    users.mkdir()
    assert problems(auth={"methods": [method]}) == [(path, f"{users} is not a file")]
    users.rmdir()
    users.touch()
    assert problems(auth={"methods": [method]}) == []


def test_a_list_of_hosts_must_be_a_file_that_can_be_read(tmp_path: Path) -> None:
    names = tmp_path / "names"
    policy = {"rules": [{"action": "deny", "when": {"hosts_file": [tmp_path, names]}}]}
    place = ("policy", "rules", 0, "when", "hosts_file")
    assert problems(policy=policy) == [
        ((*place, 0), f"{tmp_path} is not a file"),
        ((*place, 1), f"cannot read {names}: No such file or directory"),
    ]


def test_there_is_one_digest_file(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.touch()
    method = {"type": "digest", "users": users}
    assert problems(auth={"methods": [method, method]}) == [
        (("auth", "methods", 1), "one digest method is enough; put all in one file")
    ]


def test_a_certificate_takes_no_file() -> None:
    found = problems(auth={"methods": [{"type": "certificate", "users": "/dev/null"}]})
    place = ("auth", "methods", 0, "users")
    assert (place, "this is no key of certificate; it has user_from, groups") in found


def test_there_is_one_certificate(tmp_path: Path) -> None:
    for name in ("c", "k"):
        (tmp_path / name).touch(0o600)
    tls = {"certificate": tmp_path / "c", "key": tmp_path / "k", "client_ca": [tmp_path / "c"]}
    listeners = [{"address": "127.0.0.1:1", "tls": tls}]
    assert problems(auth={"methods": [{"type": "certificate"}] * 2}, listeners=listeners) == [
        (
            ("auth", "methods", 1),
            "a connection has one certificate; one such method is enough",
        )
    ]


@pytest.mark.parametrize(
    ("method", "key", "sentence"),
    [
        ({"type": "basic"}, (), "basic takes either users or ldap"),
        ({"type": "digest"}, (), "digest takes users"),
        ({"type": "negotiate"}, (), "negotiate takes keytab"),
        ({"type": "bearer"}, (), "bearer takes jwks"),
        (
            {"type": "digest", "users": "/dev/null", "keytab": "/dev/null"},
            ("keytab",),
            "this is no key of digest; it has users",
        ),
        ({"type": "negotiate", "keytab": "/none/k"}, ("keytab",), "cannot read"),
    ],
)
def test_what_a_method_takes(method: dict[str, str], key: tuple[str, ...], sentence: str) -> None:
    found = problems(auth={"methods": [method]})
    assert found[0][0] == ("auth", "methods", 0, *key)
    assert sentence in found[0][1] or "there is no file" in found[0][1]


@pytest.mark.parametrize(
    ("upstream", "key", "sentence"),
    [
        ({"url": "http://p:1", "username": "a", "token": "b"}, "token", "exclude each other"),
        ({"url": "socks5://p:1", "token": "b"}, "token", "SOCKS5 knows no tokens"),
        ({"url": "http://p:1", "tls": {"ca": "x"}}, "tls", "there is no TLS to http"),
    ],
)
def test_what_an_upstream_takes(upstream: dict[str, object], key: str, sentence: str) -> None:
    ((path, told),) = problems(upstreams={"p": upstream})
    assert path == ("upstreams", "p", 0, key)
    assert sentence in told


def test_what_tickets_for_an_upstream_take(tmp_path: Path) -> None:
    keytab = tmp_path / "k"
    upstream = {
        "url": "socks5://p:1",
        "token": "t",
        "negotiate": {"keytab": keytab, "principal": "s"},
    }
    path = ("upstreams", "p", 0, "negotiate")
    found = problems(upstreams={"p": upstream})
    assert [place for place, _told in found] == [
        ("upstreams", "p", 0, "token"),
        path,
        path,
        (*path, "keytab"),
    ]
    assert "SOCKS5 to a parent knows no tickets" in found[1][1]
    assert "tickets exclude a username and a token" in found[2][1]
    assert "cannot read" in found[3][1]
    keytab.touch()
    upstream = {"url": "http://p:1", "negotiate": {"keytab": keytab, "principal": "s"}}
    assert problems(upstreams={"p": upstream}) == []


def test_a_directory_may_have_the_groups_of_tickets_and_tokens() -> None:
    ldap = {"url": "ldaps://ldap", "base": "dc=corp"}
    methods = [
        {"type": "negotiate", "keytab": "/dev/null", "ldap": ldap},
        {"type": "bearer", "jwks": "https://idp/jwks", "ldap": ldap},
    ]
    assert "this is no key of" not in str(problems(auth={"methods": methods}))
    digest = {"type": "digest", "users": "/dev/null", "ldap": ldap}
    assert "this is no key of digest" in str(problems(auth={"methods": [digest]}))


def test_an_upstream_that_is_not_there() -> None:
    rules = [{"action": "allow", "upstream": "parnet"}]
    assert problems(policy={"rules": rules}, upstreams={"parent": {"url": "http://p:1"}}) == [
        (
            ("policy", "rules", 0, "upstream"),
            "no such name in upstreams; did you mean 'parent'?",
        )
    ]


def test_one_source_address_of_each_family_is_enough() -> None:
    both = ["192.0.2.1", "2001:db8::1"]
    assert problems(policy={"source_address": both}) == []
    rules = [{"action": "allow", "source_address": [*both, "192.0.2.2"]}]
    assert problems(policy={"rules": rules, "source_address": [*both[1:], both[1]]}) == [
        (
            ("policy", "source_address", 1),
            "there is an IPv6 address already; write one of each family",
        ),
        (
            ("policy", "rules", 0, "source_address", 2),
            "there is an IPv4 address already; write one of each family",
        ),
    ]


def test_rule_names_are_unique_even_against_given_ones() -> None:
    rules = [{"name": "rule-2", "action": "deny"}, {"action": "deny"}]
    assert problems(policy={"rules": rules}) == [
        (
            ("policy", "rules", 1, "name"),
            "policy.rules[0] is named 'rule-2' already; rename one",
        )
    ]


def test_zone_names_are_unique_even_against_given_ones() -> None:
    zones = [{"name": name, "hosts": "*", "networks": "10.0.0.0/8"} for name in ("zone-2", "b")]
    del zones[1]["name"]
    assert problems(policy={"private_networks": zones}) == [
        (
            ("policy", "private_networks", 1, "name"),
            "policy.private_networks[0] is named 'zone-2' already; rename one",
        )
    ]


@pytest.mark.parametrize("name", ["users", "groups"])
def test_a_rule_about_people_needs_a_method_to_know_them(name: str, tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.touch()
    policy = {"rules": [{"action": "deny", "when": {name: "alice"}}]}
    assert problems(policy=policy) == [
        (
            ("policy", "rules", 0, "when", name),
            "nobody can be known without auth.methods; add one or remove this condition",
        )
    ]
    assert problems(policy=policy, auth={"methods": [{"type": "basic", "users": users}]}) == []


CAPTURE = {"capture": {"directory": "captures"}}
CLOSE = {"action": "close"}


def test_messages_are_looked_into_only_when_the_mode_says_so() -> None:
    inspection = {"message_rules": {"no-cards": [CLOSE]}, **CAPTURE}
    rules = [
        {"action": "allow", "websocket": mode, "messages": "no-cards"}
        for mode in ("off", "metadata", "log", "enforce")
    ]
    assert problems(policy={"rules": rules}, inspection=inspection) == [
        (
            ("policy", "rules", index, "messages"),
            f"with websocket: {mode} no message is looked into; "
            "write websocket: enforce, or log to see what the rules find",
        )
        for index, mode in enumerate(("off", "metadata"))
    ]


@pytest.mark.parametrize(
    ("sets", "sentence"),
    [
        ({}, "it is empty"),
        ({"no-cards": [CLOSE], "size": [CLOSE]}, "did you mean 'no-cards'?"),
        ({"size": [CLOSE], "chatter": [CLOSE]}, "there are: chatter, size"),
    ],
)
def test_a_set_that_a_rule_names_is_there(sets: dict[str, Any], sentence: str) -> None:
    rule = {"action": "allow", "websocket": "enforce", "messages": ["no-card"]}
    assert problems(policy={"rules": [rule]}, inspection={"message_rules": sets}) == [
        (
            ("policy", "rules", 0, "messages", 0),
            f"no such set in inspection.message_rules; {sentence}",
        )
    ]


def test_names_of_message_rules_are_unique_in_all_sets() -> None:
    sets = {"a": [CLOSE, {"name": "x", **CLOSE}], "b": [{"name": "x", **CLOSE}, CLOSE]}
    assert problems(inspection={"message_rules": sets}) == [
        (
            ("inspection", "message_rules", "b", 0, "name"),
            "inspection.message_rules.a[1] is named 'x' already; rename one",
        )
    ]


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({"action": "throttle"}, "to throttle, a rule needs a rate such as 10/s"),
        (
            {"action": "redact", "opcode": "text"},
            "to redact, a rule needs matches or json: they say what",
        ),
    ],
)
def test_an_action_needs_what_it_works_with(rule: dict[str, Any], sentence: str) -> None:
    assert problems(inspection={"message_rules": {"a": [rule]}}) == [
        (("inspection", "message_rules", "a", 0, "action"), sentence)
    ]


@pytest.mark.parametrize(
    "rule",
    [
        {"action": "throttle", "rate": "10/s"},
        {"action": "redact", "matches": "x"},
        {"action": "redact", "json": {"$.type": "login"}},
        *({"action": action} for action in ("allow", "drop", "close")),
    ],
)
def test_an_action_that_has_it_is_in_order(rule: dict[str, Any]) -> None:
    assert problems(inspection={"message_rules": {"a": [rule]}}) == []


def test_what_records_messages_needs_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log = {"action": "allow", "websocket": "log"}
    sections: dict[str, Any] = {
        "policy": {"websocket": "log", "rules": [{"action": "deny"}, log]},
    }
    sets = {"message_rules": {"a": [CLOSE, {"action": "log"}]}}
    assert problems(**sections, inspection=sets) == [
        (path, f"{setting}: log needs inspection.capture; add a directory")
        for path, setting in [
            (("policy", "websocket"), "websocket"),
            (("policy", "rules", 1, "websocket"), "websocket"),
            (("inspection", "message_rules", "a", 1, "action"), "action"),
        ]
    ]
    assert problems(**sections, inspection=sets | CAPTURE) == []


def test_a_capture_without_a_directory_is_an_oversight_unless_it_is_written_out() -> None:
    assert problems(inspection={"capture": {"keep": "1d"}}) == [
        (("inspection", "capture"), "nothing is captured without a directory; add one")
    ]
    assert problems(inspection={"capture": {}}) == []
    assert problems(inspection={"capture": {"keep": "1d", "directory": None}}) == []


def test_the_directory_of_captures_can_be_made_or_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sentences(directory: Path) -> list[str]:
        found = problems(inspection={"capture": {"directory": directory}})
        assert {path for path, _ in found} <= {("inspection", "capture", "directory")}
        return [sentence for _, sentence in found]

    (tmp_path / "file").touch()
    assert sentences(tmp_path) == []
    assert sentences(tmp_path / "new") == []
    assert sentences(tmp_path / "no" / "new") == [f"there is no folder {tmp_path / 'no'}"]
    assert sentences(tmp_path / "file") == [f"{tmp_path / 'file'} is not a folder"]
    assert sentences(tmp_path / "file" / "new") == [f"{tmp_path / 'file'} is not a folder"]
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert sentences(tmp_path / "new") == [f"the folder {tmp_path} cannot be written to"]
