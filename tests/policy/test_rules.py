"""Rules in order: verdict and reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsproxy.model import Identity, Verdict
from wsproxy.policy import index
from wsproxy.policy.hours import Hours
from wsproxy.policy.match import Values
from wsproxy.policy.names import parse_names
from wsproxy.policy.rules import Ask, Rule, Rules, compile_rule, decide, tunnel_protocols
from wsproxy.protocol.authority import parse_host

ALICE = Identity("alice", frozenset({"desk"}))


def ask(
    host: str,
    port: int = 443,
    *,
    identity: Identity | None = None,
    path: str | None = None,
    at: float = 0.0,
) -> Ask:
    return Ask(
        client=ip_address("10.1.2.3"),
        identity=identity,
        host=parse_host(host.encode()),
        port=port,
        protocols=tunnel_protocols(port) if path is None else frozenset({"http"}),
        method="CONNECT" if path is None else "GET",
        at=at,
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
        (ask("api.example", 80, path="/v2/x"), Verdict(True, "api", "rule 'api' allows", line=12)),
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
            " known are users, groups, clients, hosts, hosts_file, ports, protocols, methods, paths,"
            " origins, subprotocols, sniff, alpn, hours",
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
    at=st.sampled_from([0.0, 12 * 3600.0, 4 * 86400.0]),
)
CONDITIONS: dict[str, Values] = {
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
    "hosts_file": [parse_names(b"a.example", "l"), parse_names(b"example\na.example", "l")],
    "hours": [
        Hours(frozenset({3}), 0, 60, UTC),  # 1970 began on a Thursday
        Hours(frozenset(range(7)), 12 * 60, 0, UTC),
    ],
}
WHENS = st.fixed_dictionaries(
    {},
    optional={
        name: st.lists(st.sampled_from(values), min_size=1) for name, values in CONDITIONS.items()
    },
)


def rules_that(allow: bool, *, report: bool = False) -> st.SearchStrategy[Rule]:
    return st.builds(
        compile_rule, st.text(max_size=3), WHENS, allow=st.just(allow), report=st.just(report)
    )


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


# ---------------------------------------------------------------- the index


def first_match(rules: Rules, question: Ask) -> Verdict:
    """What the file says, rule by rule."""
    would: dict[bool, list[str]] = {True: [], False: []}
    for rule in rules.rules:
        if not all(condition(question) for condition in rule.conditions):
            continue
        if not rule.report and (rule.allow or not rules.report):
            return replace(
                rule.verdict, would_deny=tuple(would[False]), would_allow=tuple(would[True])
            )
        would[rule.allow].append(rule.name)
    allow, reason = rules.default_allow, "default allow" if rules.default_allow else "default deny"
    if rules.report and not allow:
        would[False].append("default")
        allow, reason = True, "default deny is only reported"
    reason = f"no rule matched; {reason}"
    return Verdict(allow, "default", reason, "", tuple(would[False]), tuple(would[True]))


PLACES = st.sampled_from(
    ["a.example", "*.a.example", "*.example", "example", "b.example", "10.0.0.0/8", "10.0.0.1",
     "10.0.0.0/31", "::1", "::/0", "*"]
)  # fmt: skip
MORE_WHENS = st.fixed_dictionaries(
    {},
    optional={
        "hosts": st.lists(PLACES, min_size=1, max_size=3),
        "users": st.lists(st.sampled_from(["alice", "bob", "carol"]), min_size=1, max_size=2),
        "groups": st.lists(st.sampled_from(["desk", "staff"]), min_size=1, max_size=2),
        "clients": st.lists(
            st.sampled_from(["10.0.0.0/8", "10.1.2.3", "192.0.2.0/24", "::/0"]), min_size=1
        ),
        "ports": st.lists(st.sampled_from([80, "400-500"]), min_size=1, max_size=2),
        "hosts_file": st.lists(
            st.sampled_from(list(CONDITIONS["hosts_file"])), min_size=1, max_size=2
        ),
        "hours": st.lists(st.sampled_from(list(CONDITIONS["hours"])), min_size=1, max_size=1),
    },
)
MORE_HOSTS = st.sampled_from(
    ["a.example", "x.y.a.example", "example", "b.example", "c.test", "10.0.0.1", "10.9.9.9",
     "192.0.2.1", "[::1]", "[::ffff:10.0.0.1]"]
)  # fmt: skip
MORE_ASKS = st.builds(
    ask,
    MORE_HOSTS,
    st.sampled_from([80, 443]),
    identity=st.sampled_from([None, ALICE, Identity("bob"), Identity("eve", frozenset({"staff"}))]),
    at=st.sampled_from([0.0, 12 * 3600.0, 4 * 86400.0]),
)


@st.composite
def policies(draw: st.DrawFn, *, most: int = 30) -> Rules:
    rules = [
        compile_rule(f"r{number}", when, allow=draw(st.booleans()), report=draw(st.booleans()))
        for number, when in enumerate(draw(st.lists(MORE_WHENS, max_size=most)))
    ]
    return Rules(draw(st.booleans()), tuple(rules), draw(st.booleans()))


@settings(deadline=None)
@given(policies(), st.lists(MORE_ASKS, min_size=1, max_size=5), st.integers(0, 40))
def test_the_index_changes_nothing(rules: Rules, questions: list[Ask], few: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "_FEW", few)
        for question in questions:
            assert decide(rules, question) == first_match(rules, question)


@settings(deadline=None)
@given(policies(most=8), MORE_ASKS, st.data())
def test_the_order_is_that_of_the_file(rules: Rules, question: Ask, data: st.DataObject) -> None:
    shuffled = replace(rules, rules=tuple(data.draw(st.permutations(rules.rules))))
    assert decide(shuffled, question) == first_match(shuffled, question)


@settings(deadline=None)
@given(policies(most=8), MORE_ASKS, MORE_WHENS, st.booleans(), st.data())
def test_adding_a_denying_rule_never_allows_whatever_else_only_reports(
    rules: Rules, question: Ask, when: dict[str, Values], report: bool, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(rules.rules)))
    denying = compile_rule("more", when, allow=False, report=report)
    more = replace(rules, rules=(*rules.rules[:at], denying, *rules.rules[at:]))
    before, after = decide(rules, question), decide(more, question)
    assert before.allow or not after.allow
    if report or rules.report:
        assert (after.allow, after.rule) == (before.allow, before.rule)


# ---------------------------------------------------------------- rules that only report


REPORTING = Rules(
    False,
    (
        compile_rule("no-b", {"hosts": ["b.example"]}, allow=False, report=True),
        compile_rule("b", {"hosts": ["b.example", "c.example"]}, allow=True, report=True),
        compile_rule("none", {"hosts": ["c.example"]}, allow=False, message="No!"),
        compile_rule("late", {"hosts": ["c.example"]}, allow=False, report=True),
        compile_rule("no-80", {"ports": [80]}, allow=False, report=True),
        compile_rule("all", {"ports": [80]}, allow=True),
    ),
)


@pytest.mark.parametrize(
    ("question", "verdict"),
    [
        (
            ask("b.example", 80),
            Verdict(True, "all", "rule 'all' allows", "", ("no-b", "no-80"), ("b",)),
        ),
        (
            ask("b.example"),
            Verdict(False, "default", "no rule matched; default deny", "", ("no-b",), ("b",)),
        ),
        (ask("c.example"), Verdict(False, "none", "rule 'none' denies", "No!", (), ("b",))),
        (ask("d.example"), Verdict(False, "default", "no rule matched; default deny")),
    ],
)
def test_a_rule_that_reports_does_not_decide(question: Ask, verdict: Verdict) -> None:
    assert decide(REPORTING, question) == verdict


@pytest.mark.parametrize(
    ("question", "verdict"),
    [
        (
            ask("a.social.example", identity=ALICE),
            Verdict(True, "desk", "rule 'desk' allows", "", ("no-social",)),
        ),
        (ask("api.example", 80, path="/v2/x"), Verdict(True, "api", "rule 'api' allows", line=12)),
        (
            ask("www.example", 80, path="/admin"),
            Verdict(True, "www", "rule 'www' allows", "", ("no-admin",)),
        ),
        (
            ask("b.social.example"),
            Verdict(
                True,
                "default",
                "no rule matched; default deny is only reported",
                "",
                ("no-social", "default"),
            ),
        ),
    ],
)
def test_a_policy_that_reports_denies_nothing(question: Ask, verdict: Verdict) -> None:
    assert decide(replace(RULES, report=True), question) == verdict


@settings(deadline=None)
@given(policies(), MORE_ASKS)
def test_a_policy_that_reports_says_what_it_would_deny(rules: Rules, question: Ask) -> None:
    enforced = tuple(rule for rule in rules.rules if not rule.report)
    found = decide(Rules(rules.default_allow, enforced, report=True), question)
    told = decide(Rules(rules.default_allow, enforced), question)
    assert found.allow
    assert bool(found.would_deny) is not told.allow
    if not told.allow:
        assert found.would_deny[0] == told.rule


@settings(deadline=None)
@given(ASKS, RULE_LISTS, st.booleans(), st.booleans(), st.data())
def test_adding_a_rule_that_reports_changes_no_decision(
    question: Ask, rules: list[Rule], default: bool, allow: bool, data: st.DataObject
) -> None:
    more = data.draw(rules_that(allow, report=True))
    at = data.draw(st.integers(0, len(rules)))
    before = decide(Rules(default, tuple(rules)), question)
    after = decide(Rules(default, (*rules[:at], more, *rules[at:])), question)
    assert replace(after, would_deny=(), would_allow=()) == before


def test_what_is_not_known_yet_is_not_reported() -> None:
    tunnel = ask("a.example")
    for name in ("sniff", "alpn"):
        when = {name: ["tls" if name == "sniff" else "h2"]}
        rules = Rules(True, (compile_rule("r", when, allow=True, report=True),))
        assert rules.peek
        assert decide(rules, tunnel).would_allow == ()
        known = tunnel._replace(sniffed=frozenset({"tls"}), alpn=("h2",))
        assert decide(rules, known).would_allow == ("r",)
