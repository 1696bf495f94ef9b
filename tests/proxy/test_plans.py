"""What a rule wants of its WebSockets."""

from __future__ import annotations

import pytest

from wsproxy.observe.lines import Stamps
from wsproxy.policy.messages import MessageRules, MessageRuleSpec, compile_message_rules
from wsproxy.proxy.plans import Mode, Plan, Plans, Recording


def rules(action: str, *, enforce: bool = True) -> MessageRules:
    spec = MessageRuleSpec(name="r", action=action, matches="x", enforce=enforce)
    return compile_message_rules([spec], {})


@pytest.mark.parametrize(
    ("plan", "policy"),
    [
        (Plan("enforce", rules("drop")), "strip"),
        (Plan("enforce", rules("redact"), "no_context_takeover"), "strip"),
        (Plan("enforce", rules("drop", enforce=False)), "keep"),
        (Plan("enforce", rules("close")), "keep"),
        (Plan("log", rules("drop")), "keep"),
        (Plan("log", None, "no_context_takeover"), "no_context_takeover"),
        (Plan("metadata", None, "strip"), "strip"),
    ],
)
def test_what_becomes_of_an_offer(plan: Plan, policy: str) -> None:
    assert plan.offer_policy == policy


@pytest.mark.parametrize(
    ("mode", "with_rules", "kept"),
    [("metadata", False, 64), ("log", False, 10), ("log", True, 99), ("enforce", True, 99)],
)
def test_how_much_of_a_message_is_kept(mode: Mode, kept: int, *, with_rules: bool) -> None:
    recording = Recording(
        put=None, stamps=Stamps(lambda: 0.0), payload_bytes=10, max_message_bytes=99
    )
    plan = Plan(mode, rules("close") if with_rules else None)
    assert recording.keep_bytes(plan) == kept


def test_a_rule_without_a_plan_is_not_looked_into() -> None:
    plan = Plan()
    plans = Plans(Recording(put=None, stamps=Stamps(lambda: 0.0)), {"a": plan})
    assert plans.of("a") is plan
    assert plans.of("b") is None
    assert plans.of(None) is None
