"""Rules in order: verdict and reason."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.model import Identity, Verdict
from wsproxy.policy.match import Values
from wsproxy.policy.rules import Ask, Rule, Rules, compile_rule, decide, tunnel_protocols
from wsproxy.protocol.authority import parse_host

ALICE = Identity("alice", frozenset({"desk"}))


def ask(
    host: str, port: int = 443, *, identity: Identity | None = None, path: str | None = None
) -> Ask:
    return Ask(
        client=ip_address("10.1.2.3"),
        identity=identity,
        host=parse_host(host.encode()),
        port=port,
        protocols=tunnel_protocols(port) if path is None else frozenset({"http"}),
        method="CONNECT" if path is None else "GET",
        path=path,
    )


RULES = Rules(
    False,
    (
        compile_rule("no-social", {"hosts": ["*.social.example"]}, allow=False, message="Work!"),
        compile_rule("desk", {"groups": ["desk"], "ports": [443]}, allow=True),
        compile_rule("api", {"hosts": ["api.example"], "paths": ["/v2/*"]}, allow=True, line=12),
        compile_rule("no-admin", {"hosts": ["www.example"], "paths": ["/admin*"]}, allow=False),
        compile_rule("www", {"hosts": ["www.example"]}, allow=True),
        compile_rule("feed", {"hosts": ["feed.example"], "protocols": ["wss"]}, allow=True),
    ),
)


@pytest.mark.parametrize(
    ("question", "verdict"),
    [
        (
            ask("a.social.example", identity=ALICE),
            Verdict(False, "no-social", "rule 'no-social' denies", "Work!"),
        ),
        (ask("any.example", identity=ALICE), Verdict(True, "desk", "rule 'desk' allows")),
        (
            ask("any.example", 80, identity=ALICE),
            Verdict(False, "default", "no rule matched; default deny"),
        ),
        (ask("any.example"), Verdict(False, "default", "no rule matched; default deny")),
        (ask("api.example", 80, path="/v2/x"), Verdict(True, "api", "rule 'api' allows")),
        (
            ask("api.example", 80, path="/v1/../v2/x"),
            Verdict(False, "default", "no rule matched; default deny"),
        ),
        (ask("api.example"), Verdict(False, "default", "no rule matched; default deny")),
        (
            ask("www.example", 80, path="/x/..;/admin"),
            Verdict(False, "no-admin", "rule 'no-admin' denies"),
        ),
        (ask("www.example", 80, path="/x"), Verdict(True, "www", "rule 'www' allows")),
        (ask("www.example"), Verdict(True, "www", "rule 'www' allows")),
        (ask("feed.example"), Verdict(True, "feed", "rule 'feed' allows")),
        (ask("feed.example", 80), Verdict(False, "default", "no rule matched; default deny")),
    ],
)
def test_the_first_rule_that_matches_decides(question: Ask, verdict: Verdict) -> None:
    assert decide(RULES, question) == verdict


def test_without_rules_the_default_decides() -> None:
    question = ask("a.example")
    assert decide(Rules(True), question) == Verdict(
        True, "default", "no rule matched; default allow"
    )
    assert decide(Rules(False), question) == Verdict(
        False, "default", "no rule matched; default deny"
    )


def test_a_rule_without_conditions_matches_everything() -> None:
    rules = Rules(True, (compile_rule("closed", {}, allow=False),))
    assert decide(rules, ask("a.example")) == Verdict(False, "closed", "rule 'closed' denies")


def test_a_rule_remembers_where_it_stands() -> None:
    rule = RULES.rules[2]
    assert (rule.name, rule.allow, rule.message, rule.line) == ("api", True, "", 12)


@pytest.mark.parametrize(
    ("when", "sentence"),
    [
        ({"host": ["a"]}, "host: unknown condition; did you mean 'hosts'?"),
        (
            {"xyzzy": ["a"]},
            "xyzzy: unknown condition;"
            " known are users, groups, clients, hosts, ports, protocols, methods, paths,"
            " origins, subprotocols, sniff, alpn",
        ),
        ({"hosts": []}, "hosts: give at least one value or leave it out"),
        ({"hosts": ["A"]}, "hosts: 'A' is not in normal form; write 'a'"),
        (
            {"users": ["u"], "ports": [0]},
            "ports: 0 is neither a port from 1 to 65535 nor a range like '8000-8999'",
        ),
    ],
)
def test_a_rule_that_cannot_be_compiled_names_the_condition(
    when: dict[str, Values], sentence: str
) -> None:
    for allow in (True, False):
        with pytest.raises(ValueError) as error:
            compile_rule("r", when, allow=allow)
        assert str(error.value) == sentence


HOSTS = st.sampled_from(["a.example", "www.a.example", "b.example", "10.0.0.1", "[::1]"])
PATHS = st.sampled_from([None, "/", "/v1/x", "/v1/../v2", "/v1%2fx", "//v2", "/v2;x/y"])
ASKS = st.builds(
    ask,
    HOSTS,
    st.sampled_from([80, 443, 8080]),
    identity=st.sampled_from([None, ALICE, Identity("bob")]),
    path=PATHS,
)
CONDITIONS: dict[str, list[str | int]] = {
    "users": ["alice", "bob"],
    "groups": ["desk", "staff"],
    "clients": ["10.0.0.0/8", "::/0"],
    "hosts": ["*", "a.example", "*.a.example", "10.0.0.0/8", "::1"],
    "ports": [80, "81-9000"],
    "protocols": ["http", "https", "ws", "wss", "tcp"],
    "methods": ["GET", "CONNECT"],
    "paths": ["*", "/v1/*", "/v2*"],
    "origins": ["*", "null", "https://a.example", "https://*.a.example"],
    "subprotocols": ["chat", "mqtt"],
}
WHENS = st.fixed_dictionaries(
    {},
    optional={
        name: st.lists(st.sampled_from(values), min_size=1) for name, values in CONDITIONS.items()
    },
)


def rules_that(allow: bool) -> st.SearchStrategy[Rule]:
    return st.builds(compile_rule, st.text(max_size=3), WHENS, allow=st.just(allow))


RULE_LISTS = st.lists(st.one_of(rules_that(True), rules_that(False)), max_size=5)


@given(ASKS, RULE_LISTS, rules_that(False), st.booleans(), st.data())
def test_adding_a_denying_rule_never_allows(
    question: Ask, rules: list[Rule], denying: Rule, default: bool, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(rules)))
    before = decide(Rules(default, tuple(rules)), question)
    after = decide(Rules(default, (*rules[:at], denying, *rules[at:])), question)
    assert before.allow or not after.allow


@given(ASKS, RULE_LISTS, rules_that(True), st.booleans(), st.data())
def test_adding_an_allowing_rule_never_denies(
    question: Ask, rules: list[Rule], allowing: Rule, default: bool, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(rules)))
    before = decide(Rules(default, tuple(rules)), question)
    after = decide(Rules(default, (*rules[:at], allowing, *rules[at:])), question)
    assert after.allow or not before.allow


@given(ASKS, WHENS)
def test_what_an_allowing_rule_matches_a_denying_one_matches_too(
    question: Ask, when: dict[str, Values]
) -> None:
    allowing = decide(Rules(False, (compile_rule("r", when, allow=True),)), question)
    denying = decide(Rules(True, (compile_rule("r", when, allow=False),)), question)
    assert not (allowing.allow and denying.allow)


def test_identity_matters_only_where_a_rule_asks_for_it() -> None:
    rules = Rules(False, (compile_rule("alice", {"users": ["alice"]}, allow=True),))
    question = ask("a.example")
    assert decide(rules, question).allow is False
    assert decide(rules, question._replace(identity=ALICE)).allow is True
