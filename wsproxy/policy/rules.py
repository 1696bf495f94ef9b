"""Rules in order, and the decision: the first that matches wins."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

from wsproxy.model import Verdict
from wsproxy.policy.ask import Ask, tunnel_protocols
from wsproxy.policy.match import ALLOWING_MATCHERS, MATCHERS, Matcher, Values

__all__ = ["Ask", "Rule", "Rules", "compile_rule", "decide", "tunnel_protocols"]

_OF_FIRST_OCTETS = frozenset({"sniff", "alpn"})

_DEFAULT_VERDICTS = {
    True: Verdict(True, "default", "no rule matched; default allow"),
    False: Verdict(False, "default", "no rule matched; default deny"),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, compiled.  Build it with `compile_rule`.

    Attributes:
        name: unique among the rules.
        conditions: all must hold; none at all always holds.
        allow: what happens then.
        message: what a refused person gets to read; may be empty.
        line: where the rule starts in the configuration file, from 1; 0 if unknown.
        peeks: a condition is about a tunnel's first octets.
        verdict: the answer, made once.
    """

    name: str
    conditions: tuple[Matcher, ...]
    allow: bool
    message: str = ""
    line: int = 0
    peeks: bool = False
    verdict: Verdict = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make the verdict."""
        reason = f"rule '{self.name}' {'allows' if self.allow else 'denies'}"
        verdict = Verdict(self.allow, self.name, reason, self.message)
        object.__setattr__(self, "verdict", verdict)


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules.

    Attributes:
        default_allow: what happens when none matches.
        rules: in order of precedence.
    """

    default_allow: bool
    rules: tuple[Rule, ...] = ()

    @property
    def peek(self) -> bool:
        """Whether what a tunnel's first octets are may change a decision."""
        return any(rule.peeks for rule in self.rules)


def compile_rule(
    name: str, when: Mapping[str, Values], *, allow: bool, message: str = "", line: int = 0
) -> Rule:
    """Compile one rule.

    Args:
        name: unique among the rules.
        when: condition name, a key of `MATCHERS`, to its values.
        allow: whether the rule allows or denies.
        message: what a refused person gets to read.
        line: where the rule starts in the configuration file, from 1.

    Raises:
        ValueError: an unknown condition, a condition without values, or a value that
            cannot be used; a helpful sentence that starts with the condition's name.
    """
    builders = ALLOWING_MATCHERS if allow else MATCHERS
    conditions = []
    for condition, values in when.items():
        if condition not in builders:
            near = difflib.get_close_matches(condition, builders, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(builders)}"
            raise ValueError(f"{condition}: unknown condition; {hint}")
        if not values:
            raise ValueError(f"{condition}: give at least one value or leave it out")
        try:
            conditions.append(builders[condition](values))
        except ValueError as error:
            raise ValueError(f"{condition}: {error}") from None
    peeks = not _OF_FIRST_OCTETS.isdisjoint(when)
    return Rule(name, tuple(conditions), allow, message, line, peeks)


def decide(rules: Rules, ask: Ask) -> Verdict:
    """Say whether `ask` is allowed, by which rule and why.

    The first rule of which every condition holds decides; if there is none, the
    default does.
    """
    for rule in rules.rules:
        for condition in rule.conditions:
            if not condition(ask):
                break
        else:
            return rule.verdict
    return _DEFAULT_VERDICTS[rules.default_allow]
