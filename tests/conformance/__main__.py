"""Goal G3: Autobahn says of the origin behind the proxy what it says of the origin itself.

    python -m tests.conformance [--cases 1.*,2.*] [--ways absolute,connect]
                                [--modes off,metadata,log,enforce] [--write]

One run straight to the origin, then one for each mode and way.  The two ways of a mode run
at the same time, each through a proxy of its own.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from tests.conformance.room import MODES, Keys, count_inspected, start_echo, start_way
from tests.conformance.verdict import Verdict, compare, count, run_cases
from tests.conformance.way import WAYS
from tests.support.proxy_process import PROJECT_ROOT

_PAGE = PROJECT_ROOT / "docs/conformance.md"
_MARK = "<!-- `make conformance ARGS=--write` writes everything below. -->\n"
_AT_A_TIME = 4
_MAX_SHOWN = 20


class _Run(NamedTuple):
    name: str
    verdicts: dict[str, Verdict]
    took_s: float
    inspected: int = 0
    """WebSockets that the proxy looked into: none when off, or else one a case."""


def _play(name: str, port: int, cases: Sequence[str], *, at_a_time: int) -> _Run:
    began_at = time.monotonic()
    verdicts = run_cases(port, cases, at_a_time=at_a_time)
    return _Run(name, verdicts, time.monotonic() - began_at)


def _play_mode(
    mode: str, origins: Mapping[str, tuple[int, Keys | None]], cases: Sequence[str]
) -> list[_Run]:
    """All ways through proxies in one mode, at the same time; what they wrote is thrown away."""
    ways = list(origins)
    names = [f"{way}, {mode}" for way in ways]
    at_a_time = max(1, _AT_A_TIME // len(ways))
    with tempfile.TemporaryDirectory(prefix="conformance-") as directory:
        rooms = [Path(directory, way) for way in ways]
        with ExitStack() as stack:
            ports = [
                stack.enter_context(start_way(way, mode, origins[way][0], room, origins[way][1]))
                for way, room in zip(ways, rooms, strict=True)
            ]
            pool = stack.enter_context(ThreadPoolExecutor(len(ways)))
            plays = [
                pool.submit(_play, name, port, cases, at_a_time=at_a_time)
                for name, port in zip(names, ports, strict=True)
            ]
            runs = [play.result() for play in plays]
        return [
            run._replace(inspected=count_inspected(room))
            for run, room in zip(runs, rooms, strict=True)
        ]


def _show(run: _Run, direct: Mapping[str, Verdict]) -> bool:
    """Prints a run and what differs from the direct one; whether nothing does and it was what it says."""
    different = compare(direct, run.verdicts)
    print(
        f"{run.name:<20} {len(run.verdicts)} cases, {run.inspected} inspected,"
        f" {run.took_s:.0f} s, {len(different)} differ"
    )
    for case, expected, found in different[:_MAX_SHOWN]:
        print(f"    {case}: direct {expected}; here {found}")
    sys.stdout.flush()
    inspected = 0 if run.name.endswith("off") else len(direct)
    return not different and bool(direct) and run.inspected == inspected


def _report(direct: _Run, runs: Sequence[_Run], took_s: float) -> str:
    """The part of the page that a run writes."""
    kinds = sorted(count(direct.verdicts).items(), key=lambda item: -item[1])
    odd = [(c, v) for c, v in direct.verdicts.items() if (v[0], v[1]) != ("OK", "OK")]
    return "\n".join(
        [
            f"{datetime.now(UTC):%Y-%m-%d}: {len(direct.verdicts)} cases, {len(runs) + 1} runs,"
            f" {took_s / 60:.1f} minutes. wsproxy {version('wsproxy')}, Python"
            f" {platform.python_version()}, kosoku {version('kosoku')}, websockets"
            f" {version('websockets')}.",
            "",
            "| run | cases | inspected | verdicts that differ from the direct ones | seconds |",
            "|---|---|---|---|---|",
            f"| direct | {len(direct.verdicts)} | | | {direct.took_s:.0f} |",
            *(
                f"| {run.name} | {len(run.verdicts)} | {run.inspected}"
                f" | {len(compare(direct.verdicts, run.verdicts))} | {run.took_s:.0f} |"
                for run in runs
            ),
            "",
            "| messages | close | cases, direct |",
            "|---|---|---|",
            *(f"| {behavior} | {close} | {number} |" for (behavior, close), number in kinds),
            "",
            "The cases that are not OK and OK, direct:",
            "",
            *(f"- {case}: {verdict}" for case, verdict in odd),
            "",
        ]
    )


def _write(report: str) -> None:
    head = _PAGE.read_text(encoding="utf-8").partition(_MARK)[0]
    _PAGE.write_text(f"{head}{_MARK}\n{report}", encoding="utf-8")


def _some_of(choices: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := set(names) - set(choices):
            raise argparse.ArgumentTypeError(f"no {', '.join(unknown)} among {', '.join(choices)}")
        return names

    return parse


def _run(options: argparse.Namespace) -> int:
    began_at = time.monotonic()
    runs: list[_Run] = []
    same = True
    with (
        tempfile.TemporaryDirectory(prefix="conformance-keys-") as directory,
        start_echo() as port,
        start_echo(keys := Keys(Path(directory))) as tls_port,
    ):
        origins = {way: (tls_port, keys) if way == "tls" else (port, None) for way in options.ways}
        direct = _play("direct", port, options.cases, at_a_time=_AT_A_TIME)
        print(f"{direct.name:<20} {len(direct.verdicts)} cases, {direct.took_s:.0f} s")
        for (behavior, close), number in count(direct.verdicts).items():
            print(f"    {behavior}, close {close}: {number}")
        for mode in options.modes:
            for run in _play_mode(mode, origins, options.cases):
                same &= _show(run, direct.verdicts)
                runs.append(run)
    took_s = time.monotonic() - began_at
    print(f"{'the same' if same else 'NOT THE SAME'}, {took_s:.0f} s")
    if options.write:
        _write(_report(direct, runs, took_s))
    return 0 if same else 1


def main(arguments: list[str]) -> int:
    """Plays, prints and compares; 1 when any verdict differs from the direct one."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance")
    parser.add_argument("--cases", type=lambda text: text.split(","), default=[])
    parser.add_argument("--ways", type=_some_of(WAYS), default=list(WAYS))
    parser.add_argument("--modes", type=_some_of(MODES), default=list(MODES))
    parser.add_argument("--write", action="store_true", help=f"into {_PAGE.name}")
    return _run(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
