"""Tests of a policy: what should become of requests, said in a file and asked of the live code.

- {who: alice, from: 10.1.0.3, url: "https://example.com/", expect: allow, because: she works there}
- {url: "ws://169.254.169.254/", expect: deny, rule: private-networks}
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from wsproxy.cli.questions import identity_of
from wsproxy.config.document import Document, parse_document
from wsproxy.config.load import Config
from wsproxy.config.problems import KeyPath
from wsproxy.config.translate import positioned
from wsproxy.errors import ConfigError
from wsproxy.model import Address
from wsproxy.proxy.explain import Question, ask_about, explain, parse_question_url
from wsproxy.proxy.runtime import Runtime

__all__ = ["Case", "load_cases", "run_case"]

_KEYS = frozenset(
    {"who", "groups", "from", "url", "method", "origin", "subprotocols", "resolve", "expect"}
    | {"rule", "because"}
)


@dataclass(frozen=True, slots=True)
class Case:
    """One expectation.

    Attributes:
        question: the request.
        addresses: of names, where they matter.
        expect: ``allow`` or ``deny``.
        rule: name of the rule that must decide; None for any.
        because: why it should be so.
        line: of the file.
        url: as written.
    """

    question: Question
    addresses: dict[str, Address]
    expect: str
    rule: str | None
    because: str
    line: int
    url: str


def load_cases(path: str, config: Config) -> list[Case]:
    """The cases in the file at `path`.

    Raises:
        ConfigError: with the place of what is wrong.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the file: {error}", file=path) from None
    document = parse_document(
        text, file=path, folder=Path(path).parent, environment={}, is_list=True
    )
    data = document.data()
    assert isinstance(data, list)
    return [_case(document, config, index, one) for index, one in enumerate(data)]


def _case(document: Document, config: Config, index: int, data: object) -> Case:
    path: KeyPath = (index,)
    if not isinstance(data, dict):
        raise positioned(document, path, "expected a mapping with url and expect")
    for key in data:
        if key not in _KEYS:
            known = ", ".join(sorted(_KEYS))
            raise positioned(document, (*path, key), f"unknown key; valid here: {known}")
    expect = data.get("expect")
    if expect not in ("allow", "deny"):
        raise positioned(document, (*path, "expect"), "expected allow or deny")
    place = document.find(path)[1].place
    try:
        question, addresses = _question(config, data)
    except ValueError as error:
        raise positioned(document, path, str(error)) from None
    rule, because = data.get("rule"), str(data.get("because", ""))
    url = str(data.get("url"))
    return Case(question, addresses, str(expect), rule, because, place.line, url)


def _question(config: Config, data: dict[str, object]) -> tuple[Question, dict[str, Address]]:
    who = data.get("who")
    resolve = data.get("resolve", {})
    if not isinstance(resolve, dict):
        raise ValueError("resolve: expected a mapping of names to addresses")
    question = Question(
        target=parse_question_url(str(data.get("url", ""))),
        client=ip_address(str(data.get("from", "127.0.0.1"))),
        identity=identity_of(config, None if who is None else str(who), _list(data, "groups")),
        method=str(data.get("method", "GET")),
        origin=None if data.get("origin") is None else str(data["origin"]),
        subprotocols=_list(data, "subprotocols"),
    )
    return question, {str(name): ip_address(str(one)) for name, one in resolve.items()}


def _list(data: dict[str, object], key: str) -> tuple[str, ...]:
    value = data.get(key, ())
    return tuple(map(str, value)) if isinstance(value, list | tuple) else (str(value),)


async def run_case(runtime: Runtime, case: Case) -> list[str]:
    """What is not as expected, in sentences; none when all is.

    Names are not looked up: what they lead to is asked only where the case says it.
    """
    question = case.question
    host = question.target.host
    if host.address is not None or host.text in case.addresses:
        said = await explain(runtime, question, known=case.addresses)
    else:
        said = ask_about(runtime, question)
    problems = []
    if said.verdict != case.expect:
        problems.append(f"expected {case.expect}, got {said.verdict} by rule '{said.rule}'")
    elif case.rule is not None and said.rule != case.rule:
        problems.append(f"expected rule '{case.rule}', but '{said.rule}' decides")
    return problems
