"""``wsproxy check``: everything ``run`` would load, without binding."""

from __future__ import annotations

import json

import click

from wsproxy import app
from wsproxy.cli.console import complain
from wsproxy.cli.policy_tests import load_cases, run_case
from wsproxy.cli.questions import runtime_of
from wsproxy.config.load import load
from wsproxy.config.problems import each_error
from wsproxy.errors import ConfigError

__all__ = ["check"]


@click.command(epilog="Example: wsproxy check --config wsproxy.yaml --tests policy-tests.yaml")
@click.option("--config", "file", metavar="FILE", required=True, help="Configuration file.")
@click.option("--tests", metavar="FILE", help="Policy tests to run as well, in YAML.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def check(file: str, tests: str | None, as_json: bool) -> int:
    """Say whether a configuration is right, and each place where it is not.

    With --tests, also whether its policy decides as the file of tests says; exit status 1 if not.
    """
    errors = _errors_in(file)
    if tests is not None and not errors:
        try:
            return _run_tests(file, tests, as_json=as_json)
        except ConfigError as wrong:
            errors = each_error(wrong)
    if as_json:
        result = {"ok": not errors, "errors": [_as_dict(error) for error in errors]}
        click.echo(json.dumps(result, indent=2))
    elif errors:
        for error in errors:
            complain(str(error))
    else:
        click.echo(f"{file}: ok")
    return 2 if errors else 0


def _run_tests(file: str, tests: str, *, as_json: bool) -> int:
    config = load(file)
    cases = load_cases(tests, config)
    runtime = runtime_of(config)
    found = [run_case(runtime, case) for case in cases]
    wrong = [(case, why) for case, whys in zip(cases, found, strict=True) for why in whys]
    if as_json:
        failures = [
            {"file": tests, "line": case.line, "url": case.url, "why": why, "because": case.because}
            for case, why in wrong
        ]
        result = {"ok": not wrong, "errors": [], "cases": len(cases), "failures": failures}
        click.echo(json.dumps(result, indent=2))
    else:
        for case, why in wrong:
            because = f" ({case.because})" if case.because else ""
            complain(f"{tests}:{case.line}: {case.url}: {why}{because}")
        click.echo(f"{file}: ok; {tests}: {len(cases) - len(wrong)} of {len(cases)} as expected")
    return 1 if wrong else 0


def _errors_in(file: str) -> tuple[ConfigError, ...]:
    try:
        app.build(load(file))
    except ConfigError as error:
        return each_error(error)
    return ()


def _as_dict(error: ConfigError) -> dict[str, object]:
    return {
        "file": error.file,
        "line": error.line,
        "column": error.column,
        "key": error.key,
        "message": error.detail,
    }
