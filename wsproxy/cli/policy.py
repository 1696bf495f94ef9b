"""``wsproxy policy``: what another policy would have made of the traffic that was seen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import click

from wsproxy.cli.access_log import AccessLog, Asked, Record
from wsproxy.cli.console import complain
from wsproxy.cli.questions import People, at_time, runtime_of
from wsproxy.config.load import load
from wsproxy.model import Address
from wsproxy.policy.suggest import Suggestion, Visit, as_yaml, suggest
from wsproxy.proxy.explain import Explanation, Question, explain_nowait

__all__ = ["policy"]


@click.group(epilog="Example: wsproxy policy diff old.yaml new.yaml --against access.log")
def policy() -> None:
    """Compare policies, and propose one, by the access records of real traffic."""


# ---------------------------------------------------------------- diff


class _Who(NamedTuple):
    """What is asked once."""

    client: Address
    user: str | None
    method: str
    target: str


@dataclass(slots=True)
class _Case:
    """How often it was asked, and for the last time when and how."""

    count: int
    at: float
    asked: Asked


class _Difference(NamedTuple):
    """A request that fares differently."""

    who: _Who
    times: int
    old: Explanation
    new: Explanation


class _Side:
    """One of the two configurations."""

    def __init__(self, file: str, groups: dict[str, list[str]]) -> None:
        config = load(file)
        self.file = file
        self._runtime = runtime_of(config)
        self._people = People(config)
        self._groups = groups

    def ask(self, who: _Who, case: _Case) -> Explanation:
        """What becomes of it, at the time at which it was asked."""
        question = Question(
            target=case.asked.target,
            client=who.client,
            identity=self._people.identity_of(who.user, self._groups.get(who.user or "", ())),
            method=who.method,
        )
        runtime = at_time(self._runtime, case.at)
        return explain_nowait(runtime, question, inside=case.asked.inside)

    def place(self, said: Explanation) -> str:
        """The rule that decided, and where it stands."""
        return f"{said.rule} ({self.file}:{said.line})" if said.line else said.rule


@policy.command(
    epilog="Example: wsproxy policy diff old.yaml new.yaml --against access.log",
)
@click.option(
    "--against", "log", metavar="ACCESS_LOG", required=True, help="Records in JSON; - for stdin."
)
@click.option(
    "--group",
    "groups",
    metavar="USER=NAME",
    multiple=True,
    help="Group of a user whom no users file knows.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON.")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
def diff(log: str, groups: Sequence[str], as_json: bool, old: str, new: str) -> int:
    """Say which requests of ACCESS_LOG would fare differently with NEW than with OLD.

    Nothing is looked up: where private_networks differ is seen for literal addresses only. Not seen
    is what depends on a query, an Origin or subprotocols, which no record holds.

    Exit status: 0 nothing differs, 1 something does.
    """
    known = _groups(groups)
    sides = _Side(old, known), _Side(new, known)
    records = AccessLog(log)
    cases: dict[_Who, _Case] = {}
    for record in records.read():
        for asked in record.asked:
            who = _Who(record.client, record.user, asked.method, asked.text)
            count = cases[who].count if who in cases else 0
            cases[who] = _Case(count + 1, record.at, asked)
    _say_skipped(records)
    found = sorted(_differences(cases, *sides), key=lambda one: (-one.times, _shown_who(one.who)))
    if as_json:
        click.echo(json.dumps(_diff_as_dict(records, cases, found, sides), indent=2))
    else:
        for one in found:
            _print_difference(one, *sides)
        click.echo(f"{len(found)} of {len(cases)} distinct requests would fare differently")
    return 1 if found else 0


def _groups(options: Sequence[str]) -> dict[str, list[str]]:
    known: dict[str, list[str]] = {}
    for option in options:
        user, equals, name = option.partition("=")
        if not user or not equals or not name:
            raise click.UsageError(f"--group {option}: expected USER=NAME")
        known.setdefault(user, []).append(name)
    return known


def _differences(cases: dict[_Who, _Case], old: _Side, new: _Side) -> Iterator[_Difference]:
    for who, case in cases.items():
        before, after = old.ask(who, case), new.ask(who, case)
        if _fate(before) != _fate(after):
            yield _Difference(who, case.count, before, after)


def _fate(said: Explanation) -> tuple[object, ...]:
    """What the one who asks, or who looks at it later, can tell."""
    source = " ".join(map(str, said.source)) or "-"
    return (said.route, source, said.tls, said.websocket) if said.allow else ("deny",)


def _print_difference(one: _Difference, old: _Side, new: _Side) -> None:
    changes = f"{one.old.verdict} -> {one.new.verdict}"
    if one.old.allow and one.new.allow:
        pairs = zip(
            ("route", "source", "tls", "websocket"), _fate(one.old), _fate(one.new), strict=True
        )
        changes = ", ".join(f"{name} {a} -> {b}" for name, a, b in pairs if a != b)
    click.echo(f"{one.times:>6}  {changes}  {_shown_who(one.who)}")
    click.echo(f"        old: {old.place(one.old)}")
    click.echo(f"        new: {new.place(one.new)}")


def _shown_who(who: _Who) -> str:
    """On one line that no terminal obeys."""
    text = f"{who.client} {who.user or '-'} {who.method} {who.target}"
    return "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text)


def _diff_as_dict(
    records: AccessLog,
    cases: dict[_Who, _Case],
    found: Sequence[_Difference],
    sides: tuple[_Side, _Side],
) -> dict[str, object]:
    def side(said: Explanation, file: str) -> dict[str, object]:
        return {
            "decision": said.verdict,
            "rule": said.rule,
            "file": file if said.line else None,
            "line": said.line or None,
            "route": said.route if said.allow else None,
            "source": [str(one) for one in said.source] if said.allow else [],
            "tls": said.tls if said.allow else None,
            "websocket": said.websocket,
        }

    return {
        "requests": sum(case.count for case in cases.values()),
        "distinct": len(cases),
        "skipped_lines": records.skipped,
        "differences": [
            {
                "count": one.times,
                **one.who._asdict(),
                "client": str(one.who.client),
                "old": side(one.old, sides[0].file),
                "new": side(one.new, sides[1].file),
            }
            for one in found
        ],
    }


# ---------------------------------------------------------------- suggest


@dataclass(slots=True)
class _LeftOut:
    """How many requests were not taken for a reason to allow anything."""

    denied: int = 0
    undecided: int = 0
    unknown_names: int = 0


@policy.command(
    "suggest",
    epilog="Example: wsproxy policy suggest access.log > proposal.yaml",
)
@click.option(
    "--at-least",
    type=click.IntRange(min=2),
    default=3,
    show_default=True,
    metavar="N",
    help="Subdomains that must have been seen for a '*.' pattern.",
)
@click.option("--by", type=click.Choice(["user"]), help="Give everybody only what they asked for.")
@click.option("--json", "as_json", is_flag=True, help="Print the rules as JSON.")
@click.argument("log", metavar="ACCESS_LOG")
def propose(at_least: int, by: str | None, as_json: bool, log: str) -> None:
    """Propose an allow-list for the traffic in ACCESS_LOG, a log of records in JSON; - for stdin.

    Taken is what was allowed, also what a policy that only reports would have denied.
    """
    records, left_out = AccessLog(log), _LeftOut()
    visits = _visits(records.read(), left_out)
    found = suggest(visits, at_least=at_least, by_user=by == "user")
    _say_skipped(records)
    if as_json:
        click.echo(json.dumps(_suggestion_as_dict(found, left_out, records), indent=2))
        return
    remarks = [
        f"Proposed by 'wsproxy policy suggest' from {found.requests} requests; read it well."
    ]
    if left_out.denied or left_out.undecided:
        remarks.append(
            f"Left out: {left_out.denied} that were refused, "
            f"{left_out.undecided} that came to no decision."
        )
    if left_out.unknown_names:
        remarks.append(f"Left out: {left_out.unknown_names} for names without an address.")
    if found.private:
        remarks.append(f"Left out: {found.private} to literal addresses that are not public.")
    click.echo(as_yaml(found, remarks=remarks), nl=False)


def _visits(records: Iterator[Record], left_out: _LeftOut) -> Iterator[Visit]:
    for record in records:
        asked = record.asked[-1]
        if record.verdict is None:
            left_out.undecided += 1
        elif record.verdict == "deny":
            left_out.denied += 1
        elif record.error == "dns_error":
            left_out.unknown_names += 1
        elif not asked.inside:  # the tunnel is counted
            target = asked.target
            protocols = _protocols(target.scheme, target.port)
            yield Visit(target.host, target.port, protocols, record.user, record.would_deny)


def _protocols(scheme: str, port: int) -> tuple[str, ...]:
    if scheme in ("https", "wss"):
        return ("https", "wss")
    return ("ws",) if scheme == "tcp" and port == 80 else (scheme,)


def _suggestion_as_dict(
    found: Suggestion, left_out: _LeftOut, records: AccessLog
) -> dict[str, object]:
    return {
        "requests": found.requests,
        "left_out": {**asdict(left_out), "private_addresses": found.private},
        "skipped_lines": records.skipped,
        "rules": [{**asdict(rule), "requests": rule.requests} for rule in found.rules],
    }


def _say_skipped(records: AccessLog) -> None:
    if records.skipped:
        complain(f"{records.skipped} of {records.lines} lines are no access records")
