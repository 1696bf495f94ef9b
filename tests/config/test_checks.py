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


def test_two_listeners_cannot_share_an_address() -> None:
    listeners = [{"address": "localhost:80"}, {"address": "[::1]:80"}, {"address": "127.0.0.1:80"}]
    assert problems(listeners=listeners) == [
        (("listeners", 2, "address"), "listeners[0] has this address already")
    ]


def test_two_listeners_may_both_let_the_system_choose() -> None:
    assert problems(listeners=[{"address": "127.0.0.1:0"}] * 2) == []


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


def test_there_is_one_users_file(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.touch()
    method = {"type": "basic", "users": users}
    assert problems(auth={"methods": [method, method]}) == [
        (("auth", "methods", 1), "one basic method is enough; put all users in one file")
    ]


def test_rule_names_are_unique_even_against_given_ones() -> None:
    rules = [{"name": "rule-2", "action": "deny"}, {"action": "deny"}]
    assert problems(policy={"rules": rules}) == [
        (
            ("policy", "rules", 1, "name"),
            "policy.rules[0] is named 'rule-2' already; rename one",
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
