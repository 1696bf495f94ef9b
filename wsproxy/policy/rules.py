"""Rules in order, and the decision: the first that matches wins.

A rule that only reports is no decision: that it matches is noted, and the search goes
on.  Where the whole policy only reports, this is so of everything that denies.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wsproxy.model import Verdict
from wsproxy.policy.ask import Ask, tunnel_protocols
from wsproxy.policy.index import Index, build_index
from wsproxy.policy.match import ALLOWING_MATCHERS, MATCHERS, Matcher, Values

__all__ = ["Ask", "Rule", "Rules", "compile_rule", "decide", "tunnel_protocols"]

_OF_FIRST_OCTETS = frozenset({"sniff", "alpn"})

_DEFAULT = "default"
_DEFAULT_ALLOWS = Verdict(True, _DEFAULT, "no rule matched; default allow")
_DEFAULT_DENIES = Verdict(False, _DEFAULT, "no rule matched; default deny")
_DEFAULT_WOULD_DENY = Verdict(True, _DEFAULT, "no rule matched; default deny is only reported")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, compiled.  Build it with `compile_rule`.

    Attributes:
        name: unique among the rules.
        conditions: all must hold; none at all always holds.
        allow: what happens then.
        message: what a refused person gets to read; may be empty.
        line: where the rule starts in the configuration file, from 1; 0 if unknown.
        report: it does not decide; that it would have is noted.
        file: the configuration file; empty if unknown.
        when: what the conditions were compiled from, in the same order.
        peeks: a condition is about a tunnel's first octets.
        verdict: the answer, made once.
    """

    name: str
    conditions: tuple[Matcher, ...]
    allow: bool
    message: str = ""
    line: int = 0
    report: bool = False
    file: str = ""
    when: Mapping[str, Values] = field(kw_only=True, repr=False, compare=False)
    peeks: bool = field(init=False)
    verdict: Verdict = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make what follows from the rest."""
        reason = f"rule '{self.name}' {'allows' if self.allow else 'denies'}"
        verdict = Verdict(
            self.allow, self.name, reason, self.message, file=self.file, line=self.line
        )
        object.__setattr__(self, "verdict", verdict)
        object.__setattr__(self, "peeks", not _OF_FIRST_OCTETS.isdisjoint(self.when))


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules.

    Attributes:
        default_allow: what happens when none matches.
        rules: in order of precedence.
        report: nothing is denied; what would have been is noted.
        index: finds the rules that can match, made once.
        remaining: for each rule the conditions that do not follow from its being found.
    """

    default_allow: bool
    rules: tuple[Rule, ...] = ()
    report: bool = False
    index: Index = field(init=False, repr=False, compare=False)
    remaining: tuple[tuple[Matcher, ...], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make the index."""
        index = build_index(rule.when for rule in self.rules)
        remaining = (
            tuple(
                condition
                for name, condition in zip(rule.when, rule.conditions, strict=True)
                if name != implied
            )
            for rule, implied in zip(self.rules, index.implied, strict=True)
        )
        object.__setattr__(self, "index", index)
        object.__setattr__(self, "remaining", tuple(remaining))

    @property
    def timed(self) -> bool:
        """Whether the time of day may change a decision."""
        return any("hours" in rule.when for rule in self.rules)

    @property
    def peek(self) -> bool:
        """Whether what a tunnel's first octets are may change a decision."""
        return any(rule.peeks for rule in self.rules)


def compile_rule(
    name: str,
    when: Mapping[str, Values],
    *,
    allow: bool,
    message: str = "",
    file: str = "",
    line: int = 0,
    report: bool = False,
) -> Rule:
    """Compile one rule.

    Args:
        name: unique among the rules.
        when: condition name, a key of `MATCHERS`, to its values.
        allow: whether the rule allows or denies.
        message: what a refused person gets to read.
        file: the configuration file.
        line: where the rule starts in it, from 1.
        report: whether it is only noted what the rule would have decided.

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
    return Rule(
        name, tuple(conditions), allow, message, line, report=report, file=file, when=dict(when)
    )


def decide(rules: Rules, ask: Ask) -> Verdict:
    """Say whether `ask` is allowed, by which rule and why.

    The first rule of which every condition holds decides; if there is none, the
    default does.  How long it takes does not depend on rules about other hosts, users,
    groups or clients.
    """
    noted: list[Rule] = []
    for position in rules.index.candidates(ask):
        for condition in rules.remaining[position]:
            if not condition(ask):
                break
        else:
            rule = rules.rules[position]
            if not (rule.report or (rules.report and not rule.allow)):
                return _noting(noted, rule.verdict) if noted else rule.verdict
            if not (rule.peeks and ask.sniffed is None):  # who asks then asks again
                noted.append(rule)
    if rules.default_allow:
        return _noting(noted, _DEFAULT_ALLOWS)
    if rules.report:
        return _noting(noted, _DEFAULT_WOULD_DENY, default=(_DEFAULT,))
    return _noting(noted, _DEFAULT_DENIES)


def _noting(noted: Sequence[Rule], verdict: Verdict, *, default: tuple[str, ...] = ()) -> Verdict:
    """`verdict`, and what the rules that only report would have said, each once."""
    if not noted and not default:
        return verdict
    denying: dict[str, None] = {}
    allowing: dict[str, None] = {}
    for rule in noted:
        (allowing if rule.allow else denying)[rule.name] = None
    # `replace` would cost as much as the whole decision.
    return Verdict(
        verdict.allow,
        verdict.rule,
        verdict.reason,
        verdict.message,
        (*denying, *default),
        tuple(allowing),
        verdict.file,
        verdict.line,
    )
