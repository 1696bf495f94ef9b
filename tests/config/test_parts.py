"""What a reload takes over from the configuration before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.door import write_users
from wsproxy.app import build
from wsproxy.config.load import load
from wsproxy.config.parts import Parts, files_in, signature
from wsproxy.proxy.runtime import Runtime


class Thing:
    """Made, and never the same."""


def test_what_has_not_changed_is_taken_over(tmp_path: Path) -> None:
    file = tmp_path / "list"
    file.write_text("a")
    first = Parts()
    made = first.take("thing", ("settings", 1), Thing, files=[file])
    first.seal()
    second = Parts(first)
    assert second.take("thing", ("settings", 1), Thing, files=[file]) is made
    second.seal()
    third = Parts(second)
    assert third.take("thing", ("settings", 2), Thing, files=[file]) is not made
    assert third.take("other", ("settings", 1), Thing, files=[file]) is not made
    assert third.take("thing", ("settings", 1), Thing) is not made
    file.write_text("ab")
    assert third.take("thing", ("settings", 1), Thing, files=[file]) is not made


def test_what_was_not_taken_is_forgotten() -> None:
    first = Parts()
    made = first.take("thing", 1, Thing)
    second = Parts(first)
    second.seal()
    assert Parts(second).take("thing", 1, Thing) is not made


def test_a_file_that_was_replaced_or_is_not_there_is_another_one(tmp_path: Path) -> None:
    file, new = tmp_path / "file", tmp_path / "new"
    missing = signature([file])
    file.write_text("a")
    before, times = signature([file]), file.stat().st_mtime_ns
    assert missing != before == signature([file])
    new.write_text("b")
    os.utime(new, ns=(times, times))
    new.rename(file)
    assert signature([file]) != before


CONFIG = """
auth: {{methods: [{{type: basic, users: users}}], lockout: {{failures: {failures}}}}}
policy: {{rules: [{{action: allow, when: {{hosts_file: names}}}}]}}
"""


def built(folder: Path, earlier: Runtime | None = None, *, failures: int = 3) -> Runtime:
    (folder / "c.yaml").write_text(CONFIG.format(failures=failures))
    return build(load(folder / "c.yaml"), earlier=earlier)


@pytest.mark.parametrize("changed", ["nothing", "users", "names", "settings"])
def test_what_remembers_goes_on_where_nothing_about_it_has_changed(
    tmp_path: Path, changed: str
) -> None:
    write_users(tmp_path, alice="secret")
    (tmp_path / "names").write_text("origin.test\n")
    first = built(tmp_path)
    if changed == "users":
        write_users(tmp_path, alice="secret", bob="secret")
    if changed == "names":
        (tmp_path / "names").write_text("origin.test\nother.test\n")
    second = built(tmp_path, first, failures=4 if changed == "settings" else 3)
    (one,), (other,) = first.gate.authenticators["basic"], second.gate.authenticators["basic"]
    assert (one is other) == (changed != "users")
    names = [runtime.gate.rules.rules[0].when["hosts_file"][0] for runtime in (first, second)]
    assert (names[0] is names[1]) == (changed != "names")
    assert (first.gate.lockout is second.gate.lockout) == (changed != "settings")


def test_every_path_of_a_section_is_found(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "interception: {ca_certificate: ca.pem, ca_key: ca.key,"
        " upstream: {ca: [one.pem, two.pem], client_certificates:"
        " [{hosts: a.test, certificate: c.pem, key: c.key}]}}\n"
    )
    section = load(tmp_path / "c.yaml").settings.interception
    found = {path.name for path in files_in(section)}
    assert found == {"ca.pem", "ca.key", "one.pem", "two.pem", "c.pem", "c.key"}
