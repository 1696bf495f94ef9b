"""Message rules in order: verdicts, the decisive one, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.model import Side
from wsproxy.policy.messages import (
    ACTIONS,
    OPCODES,
    Inspector,
    Judgement,
    MessageAsk,
    MessageRules,
    MessageRuleSpec,
    MessageVerdict,
    TimedInspector,
    compile_message_rules,
)

Spec = MessageRuleSpec
NOTHING = Judgement((), None)


def ask(
    payload: bytes = b"hello",
    *,
    sender: Side = Side.CLIENT,
    opcode: int = 1,
    size: int | None = None,
    subprotocol: str | None = None,
    label: str | None = None,
    now: float = 0.0,
) -> MessageAsk:
    size = len(payload) if size is None else size
    return MessageAsk(sender, opcode, size, payload, subprotocol, label, now)


def rules(*specs: Spec, **inspectors: Inspector) -> MessageRules:
    return compile_message_rules(specs, inspectors)


def judge(message: MessageAsk, *specs: Spec, **inspectors: Inspector) -> Judgement:
    compiled = rules(*specs, **inspectors)
    return compiled.judge(message, compiled.new_state())


def named(judgement: Judgement) -> tuple[list[str], str | None]:
    """The names of the rules that matched, and of the one that decides."""
    decisive = judgement.decisive
    return [verdict.rule for verdict in judgement.verdicts], decisive and decisive.rule


@pytest.mark.parametrize(
    ("spec", "message", "reason"),
    [
        (Spec("r", "drop"), ask(), "rule 'r' drops"),
        (Spec("r", "allow"), ask(), "rule 'r' allows"),
        (Spec("r", "close", direction=Side.CLIENT), ask(), "rule 'r' closes"),
        (Spec("r", "close", direction=Side.UPSTREAM), ask(), None),
        (Spec("r", "close", direction=Side.UPSTREAM), ask(sender=Side.UPSTREAM), "rule 'r' closes"),
        (Spec("r", "close", opcode="text"), ask(), "rule 'r' closes"),
        (Spec("r", "close", opcode="binary"), ask(), None),
        (Spec("r", "close", opcode=("binary", "text")), ask(), "rule 'r' closes"),
        (Spec("r", "close", opcode=()), ask(opcode=10), "rule 'r' closes"),
        (Spec("r", "close"), ask(opcode=0), None),
        (Spec("r", "close", size_over_bytes=5), ask(), None),
        (Spec("r", "close", size_over_bytes=4), ask(), "rule 'r' closes"),
        (Spec("r", "close", size_over_bytes=0), ask(b""), None),
        (Spec("r", "close", matches="l+"), ask(), "rule 'r' closes"),
        (Spec("r", "close", matches="L+"), ask(), None),
        (Spec("r", "redact", matches="l+"), ask(), "rule 'r' redacts"),
        (Spec("r", "close", json={"$.a": 1}), ask(b'{"a":1}'), "rule 'r' closes"),
        (Spec("r", "close", json={"$.a": 1}), ask(b'{"a":2}'), None),
        (Spec("r", "close", subprotocol="chat"), ask(subprotocol="chat"), "rule 'r' closes"),
        (Spec("r", "close", subprotocol="chat"), ask(), None),
        (Spec("r", "close", label=("mqtt", "stomp")), ask(label="stomp"), "rule 'r' closes"),
        (Spec("r", "close", label="mqtt"), ask(label="stomp"), None),
        (Spec("r", "close", label="a", matches="x"), ask(label="a"), None),
    ],
)
def test_a_rule(spec: Spec, message: MessageAsk, reason: str | None) -> None:
    if reason is None:
        assert judge(message, spec) == NOTHING
        return
    verdict = MessageVerdict("r", spec.action, True, reason)
    assert judge(message, spec) == Judgement((verdict,), verdict)


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_a_rule_that_reports_does_not_decide(action: str) -> None:
    spec = Spec("r", action, enforce=False, matches="l", rate=None)
    if action == "throttle":
        spec = Spec("r", action, enforce=False, rate=(1, 1))
        compiled = rules(spec)
        state = compiled.new_state()
        assert compiled.judge(ask(), state) == NOTHING
        found = compiled.judge(ask(), state)
        assert found.verdicts[0].delay_s == 1.0
        # It is not held back, so it takes nothing from the next.
        assert compiled.judge(ask(), state) == found
    else:
        found = judge(ask(), spec)
    assert found.decisive is None
    assert found.verdicts[0][:4] == ("r", action, False, f"rule 'r' would {action}")
    assert named(judge(ask(), spec, Spec("s", "drop")))[1] == "s"


@pytest.mark.parametrize(
    ("specs", "matched", "decisive"),
    [
        ([Spec("a", "drop"), Spec("b", "close")], ["a"], "a"),
        ([Spec("a", "allow"), Spec("b", "close")], ["a"], "a"),
        ([Spec("a", "log"), Spec("b", "close")], ["a", "b"], "b"),
        ([Spec("a", "log"), Spec("b", "log")], ["a", "b"], None),
        ([Spec("a", "close", enforce=False), Spec("b", "drop")], ["a", "b"], "b"),
        (
            [Spec("a", "close", enforce=False), Spec("b", "allow"), Spec("c", "drop")],
            ["a", "b"],
            "b",
        ),
        ([Spec("a", "allow", enforce=False), Spec("b", "drop")], ["a", "b"], "b"),
        ([Spec("a", "drop", matches="x"), Spec("b", "log", matches="h")], ["b"], None),
        ([], [], None),
    ],
)
def test_the_first_enforced_rule_that_matches_decides(
    specs: list[Spec], matched: list[str], decisive: str | None
) -> None:
    assert named(judge(ask(), *specs)) == (matched, decisive)


@pytest.mark.parametrize(
    ("action", "enforce", "matches"),
    [
        ("drop", True, True), ("close", True, True), ("redact", True, True),
        ("allow", True, False), ("log", True, False),
        ("drop", False, False), ("allow", False, False),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_stopped_and_never_let_pass(
    action: str, enforce: bool, matches: bool
) -> None:
    for conditions in ({"matches": "secret"}, {"json": {"$.a": "secret"}}):
        spec = Spec("r", action, enforce=enforce, **conditions)  # type: ignore[arg-type]
        assert bool(judge(ask(b'{"a":', size=99), spec).verdicts) is matches
        assert bool(judge(ask(b"", opcode=2, size=99), spec).verdicts) is matches


def test_a_repeated_key_is_not_let_pass_and_does_not_get_around_a_rule() -> None:
    message = ask(b'{"m":"ok","m":"delete"}')
    for value in ("ok", "delete"):
        assert judge(message, Spec("r", "close", json={"$.m": value})).decisive
        assert not judge(message, Spec("r", "allow", json={"$.m": value})).decisive


def test_a_rate_counts_what_meets_the_other_conditions() -> None:
    compiled = rules(Spec("r", "close", matches="a", rate=(2, 1)))
    state = compiled.new_state()
    found = [
        compiled.judge(ask(payload, sender=sender, now=now), state).decisive is not None
        for payload, sender, now in [
            (b"a", Side.CLIENT, 0.0), (b"b", Side.CLIENT, 0.0), (b"a", Side.CLIENT, 0.0),
            (b"b", Side.CLIENT, 0.0), (b"a", Side.UPSTREAM, 0.0), (b"a", Side.CLIENT, 0.0),
            (b"a", Side.CLIENT, 0.5), (b"a", Side.CLIENT, 0.5),
        ]
    ]  # fmt: skip
    assert found == [False, False, False, False, False, True, False, True]
    assert compiled.judge(ask(b"a"), compiled.new_state()) == NOTHING


def test_throttling_spreads_messages_over_time() -> None:
    compiled = rules(Spec("r", "throttle", rate=(2, 1)))
    state = compiled.new_state()
    now, sent = 0.0, []
    for _ in range(5):
        decisive = compiled.judge(ask(now=now), state).decisive
        now += decisive.delay_s if decisive else 0.0
        sent.append(now)
    assert sent == [0.0, 0.0, 0.5, 1.0, 1.5]


@pytest.mark.parametrize(
    ("below", "matched", "action"),
    [
        (Spec("b", "close", matches="h"), ["a", "b"], "close"),
        (Spec("b", "redact", matches="h"), ["a", "b"], "redact"),
        (Spec("b", "allow"), ["a", "b"], "throttle"),
        (Spec("b", "log"), ["a", "b"], "throttle"),
        (Spec("b", "close", enforce=False), ["a", "b"], "throttle"),
        (Spec("b", "close", matches="x"), ["a"], "throttle"),
    ],
)
def test_a_flood_does_not_open_the_way_past_the_rules_below(
    below: Spec, matched: list[str], action: str
) -> None:
    compiled = rules(Spec("a", "throttle", rate=(1, 2)), below)
    state = compiled.new_state()
    compiled.judge(ask(), state)
    found = compiled.judge(ask(), state)
    assert named(found)[0] == matched
    assert found.decisive is not None
    assert (found.decisive.action, found.decisive.delay_s) == (action, 2.0)
    assert found.decisive in found.verdicts


def test_the_longest_of_two_delays_counts() -> None:
    compiled = rules(Spec("a", "throttle", rate=(1, 9)), Spec("b", "throttle", rate=(1, 1)))
    state = compiled.new_state()
    compiled.judge(ask(), state)
    found = compiled.judge(ask(), state)
    assert [verdict.delay_s for verdict in found.verdicts] == [9.0, 9.0]
    assert found.decisive is not None and found.decisive.rule == "b"


def test_an_inspector_gives_its_reason() -> None:
    spec = Spec("r", "close", inspector="i")
    found = judge(ask(), spec, i=lambda message: f"{message.size} octets").decisive
    assert found == MessageVerdict("r", "close", True, "rule 'r' closes: 5 octets")
    found = judge(ask(), spec, i=lambda message: True).decisive
    assert found == MessageVerdict("r", "close", True, "rule 'r' closes")
    assert judge(ask(), spec, i=lambda message: False) == NOTHING
    assert judge(ask(), spec, i=lambda message: "") == NOTHING


def test_an_inspector_is_asked_after_the_other_conditions() -> None:
    asked: list[MessageAsk] = []
    inspect: Callable[[MessageAsk], bool] = lambda message: asked.append(message) is None  # noqa: E731  # typed
    spec = Spec("r", "close", inspector="i", matches="x", rate=(1, 1))
    assert judge(ask(), spec, i=inspect) == NOTHING
    assert asked == []
    assert judge(ask(b"x"), spec, i=inspect) == NOTHING
    assert asked == [ask(b"x")]


@pytest.mark.parametrize(
    ("action", "enforce", "reason"),
    [
        ("close", True, "rule 'r' closes: inspector failed"),
        ("drop", True, "rule 'r' drops: inspector failed"),
        ("log", True, "rule 'r' logs: inspector failed"),
        ("allow", True, None),
        ("close", False, None),
    ],
)
def test_an_inspector_that_fails_closes(action: str, enforce: bool, reason: str | None) -> None:
    def broken(message: MessageAsk) -> bool:
        raise RuntimeError("broken")

    inspector = TimedInspector(broken, clock=float, budget_s=0.05)
    spec = Spec("r", action, enforce=enforce, inspector="i")
    for _ in range(5):
        found = judge(ask(), spec, i=inspector)
        assert [verdict.reason for verdict in found.verdicts] == ([reason] if reason else [])
    assert inspector.is_off


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (Spec("r", "close", opcode="text", direction=Side.CLIENT), {(Side.CLIENT, 1)}),
        (Spec("r", "throttle", opcode="ping", rate=(1, 1)), {(Side.CLIENT, 9), (Side.UPSTREAM, 9)}),
        (Spec("r", "drop", direction=Side.UPSTREAM),
         {(Side.UPSTREAM, opcode) for opcode in OPCODES.values()}),
        (Spec("r", "allow"), set()),
        (Spec("r", "log"), set()),
        (Spec("r", "close", enforce=False), set()),
    ],
)  # fmt: skip
def test_what_rules_may_apply_to(spec: Spec, expected: set[tuple[Side, int]]) -> None:
    compiled = rules(spec)
    every = [(side, opcode) for side in (Side.CLIENT, Side.UPSTREAM) for opcode in range(16)]
    assert {
        (side, opcode) for side, opcode in every if compiled.may_apply(side, opcode)
    } == expected


@pytest.mark.parametrize(
    ("specs", "alters"),
    [
        ([Spec("r", "drop")], True),
        ([Spec("r", "redact", matches="a")], True),
        ([Spec("r", "close"), Spec("s", "throttle", rate=(1, 1)), Spec("t", "log")], False),
        (
            [Spec("r", "drop", enforce=False), Spec("s", "redact", matches="a", enforce=False)],
            False,
        ),
        ([], False),
    ],
)
def test_whether_rules_alter_what_is_sent(specs: list[Spec], alters: bool) -> None:
    assert rules(*specs).alters is alters


def test_what_a_rule_takes_out() -> None:
    compiled = rules(
        Spec("card", "redact", matches=r"\d{4}"), Spec("pin", "redact", json={"$.pin": "*"})
    )
    assert compiled.redact(b"a 1234", "card") == b"a <redacted>"
    assert compiled.redact(b'{"pin":1}', "pin") == b'{"pin":"<redacted>"}'
    assert compiled.redact(b"\xff1234", "card", opcode=2) == b"\xff<redacted>"


@pytest.mark.parametrize(
    ("conditions", "sentence"),
    [
        ({"action": "deny"}, "'deny' is not an action; known are "
         "allow, log, redact, drop, close, throttle"),
        ({"opcode": "frame"}, "'frame' is not an opcode; known are text, binary, close, ping, pong"),
        ({"direction": Side.PROXY}, "direction: messages come from the client or the upstream"),
        ({"size_over_bytes": -1}, "a size is at least 0"),
        ({"rate": (0, 1)}, "rate: expected a count from 1 in a time above 0 s"),
        ({"rate": (1, 0)}, "rate: expected a count from 1 in a time above 0 s"),
        ({"rate": (float("inf"), 1)}, "rate: expected a count from 1 in a time above 0 s"),
        ({"rate": (1, float("nan"))}, "rate: expected a count from 1 in a time above 0 s"),
        ({"action": "throttle"}, "to throttle takes a rate; add 'rate'"),
        ({"action": "redact"}, "to redact takes something to find; add 'matches' or 'json'"),
        ({"action": "redact", "matches": "a*"},
         "'a*' matches the empty text, so it would match everywhere"),
        ({"matches": "("}, "'(' is not an RE2 pattern: missing ): ("),
        ({"json": {"a": 1}}, "'a' is not a path into JSON: it starts with '$'"),
        ({"inspector": "dlp"}, "'dlp' is not an inspector; known are none"),
        ({"name": "first"}, "there is another rule of that name"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_used_is_named(conditions: dict[str, Any], sentence: str) -> None:
    spec = Spec(**{"name": "r", "action": "close", **conditions})
    with pytest.raises(ValueError) as error:
        rules(Spec("first", "log"), spec)
    assert str(error.value) == f"rule '{spec.name}': {sentence}"


SPECS = st.builds(
    Spec,
    name=st.just("r"),
    action=st.sampled_from(["allow", "log", "drop", "close", "throttle"]),
    direction=st.sampled_from([None, Side.CLIENT, Side.UPSTREAM]),
    opcode=st.sampled_from([None, "text", ("binary", "ping")]),
    size_over_bytes=st.sampled_from([None, 0, 2]),
    rate=st.just((1, 1)),
    matches=st.sampled_from([None, "a", "b"]),
    json=st.sampled_from([{}, {"$[0]": "a"}]),
    enforce=st.booleans(),
)
MESSAGES = st.lists(
    st.builds(
        ask,
        st.sampled_from([b"", b"a", b"ab", b'["a"]']),
        sender=st.sampled_from([Side.CLIENT, Side.UPSTREAM]),
        opcode=st.sampled_from(sorted(OPCODES.values())),
    ),
    min_size=1,
    max_size=6,
)


def named_apart(specs: list[Spec]) -> list[Spec]:
    return [replace(spec, name=f"r{number}") for number, spec in enumerate(specs)]


@given(st.lists(SPECS, max_size=5), SPECS, MESSAGES, st.data())
def test_adding_a_rule_that_reports_changes_no_judgement(
    specs: list[Spec], more: Spec, messages: list[MessageAsk], data: st.DataObject
) -> None:
    before = named_apart(specs)
    at = data.draw(st.integers(0, len(specs)))
    after = [*before[:at], replace(more, name="more", enforce=False), *before[at:]]
    compiled, reporting = rules(*before), rules(*after)
    state, other_state = compiled.new_state(), reporting.new_state()
    for message in messages:
        told, found = compiled.judge(message, state), reporting.judge(message, other_state)
        assert found.decisive == told.decisive
        assert tuple(one for one in found.verdicts if one.rule != "more") == told.verdicts


@given(st.lists(SPECS, max_size=5), MESSAGES)
def test_a_judgement_holds_together(specs: list[Spec], messages: list[MessageAsk]) -> None:
    compiled = rules(*named_apart(specs))
    state = compiled.new_state()
    for message in messages:
        found = compiled.judge(message, state)
        assert all(verdict.enforce or verdict is not found.decisive for verdict in found.verdicts)
        if found.decisive is not None:
            assert found.decisive in found.verdicts
            assert found.decisive.action != "log"
            if found.decisive.action != "allow":
                assert compiled.may_apply(message.sender, message.opcode)
