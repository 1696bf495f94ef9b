"""Tests of a policy: what should become of requests, said in a file and asked of the live code.

- {who: alice, from: 10.1.0.3, url: "https://example.com/", expect: allow, because: she works there}
- {url: "ws://169.254.169.254/", expect: deny, rule: private-networks}
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from wsproxy.cli.questions import People, at_time, parse_time
from wsproxy.config.document import Document, parse_document
from wsproxy.config.load import Config
from wsproxy.config.problems import KeyPath, dotted
from wsproxy.config.translate import positioned
from wsproxy.errors import ConfigError
from wsproxy.model import Address
from wsproxy.proxy.explain import Question, explain_nowait, parse_question_url
from wsproxy.proxy.runtime import Runtime

__all__ = ["Case", "load_cases", "run_case"]

_KEYS = frozenset(
    {"who", "groups", "from", "at", "url", "method", "origin", "subprotocols", "resolve", "expect"}
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
        at: when it is asked, in seconds since 1970; None for now.
    """

    question: Question
    addresses: dict[str, list[Address]]
    expect: str
    rule: str | None
    because: str
    line: int
    url: str
    at: float | None


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
    people = People(config)
    return [_case(_Reader(document, index, one), people) for index, one in enumerate(data)]


class _Reader:
    """One entry of the file, whose mistakes are told with their place."""

    def __init__(self, document: Document, index: int, data: object) -> None:
        self._document = document
        self._path: KeyPath = (index,)
        if not isinstance(data, dict):
            raise positioned(document, self._path, "expected a mapping with url and expect")
        for key in data:
            if key not in _KEYS:
                place = document.key_place((*self._path, key))
                known = ", ".join(sorted(_KEYS))
                raise ConfigError(
                    f"unknown key; valid here: {known}",
                    file=document.file,
                    line=place.line,
                    column=place.column,
                    key=dotted((*self._path, key)),
                )
        self.data: dict[str, object] = data
        self.line = document.find(self._path)[1].place.line

    @contextmanager
    def at(self, key: str) -> Iterator[None]:
        """Gives a `ValueError` of the block the position of `key`."""
        try:
            yield
        except ValueError as error:
            raise positioned(self._document, (*self._path, key), str(error)) from None

    def text(self, key: str, default: str = "") -> str:
        """A plain value."""
        value = self.data.get(key, default)
        with self.at(key):
            if not isinstance(value, str | int):
                raise ValueError("expected text")
        return str(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """One plain value, or a list of them."""
        value = self.data.get(key, ())
        values = value if isinstance(value, list | tuple) else (value,)
        with self.at(key):
            if not all(isinstance(one, str | int) for one in values):
                raise ValueError("expected text, or a list of texts")
        return tuple(map(str, values))

    def addresses(self, key: str, value: object) -> list[Address]:
        """One address of an entry, or a list of them."""
        values = value if isinstance(value, list | tuple) and value else (value,)
        return [self.address(key, one) for one in values]

    def address(self, key: str, text: object) -> Address:
        """An address of an entry."""
        with self.at(key):
            try:
                return ip_address(str(text))
            except ValueError:
                raise ValueError(f"{text!r} is no IP address") from None


def _case(reader: _Reader, people: People) -> Case:
    data, url = reader.data, reader.text("url")
    with reader.at("url"):
        target = parse_question_url(url)
    expect = data.get("expect")
    with reader.at("expect"):
        if expect not in ("allow", "deny"):
            raise ValueError("expected 'expect: allow' or 'expect: deny'")
    with reader.at("at"):
        at = parse_time(str(data["at"])) if "at" in data else None
    resolve = data.get("resolve", {})
    with reader.at("resolve"):
        if not isinstance(resolve, dict):
            raise ValueError("expected a mapping of names to addresses or lists of them")
    question = Question(
        target=target,
        client=reader.address("from", data.get("from", "127.0.0.1")),
        identity=people.identity_of(reader.text("who"), reader.texts("groups")),
        method=reader.text("method", "GET"),
        origin=reader.text("origin") if "origin" in data else None,
        subprotocols=reader.texts("subprotocols"),
    )
    return Case(
        question,
        {name.lower(): reader.addresses("resolve", one) for name, one in resolve.items()},
        str(expect),
        reader.text("rule") if "rule" in data else None,
        reader.text("because"),
        reader.line,
        url,
        at,
    )


def run_case(runtime: Runtime, case: Case) -> list[str]:
    """What is not as expected, in sentences; none when all is.

    Names are not looked up: what they lead to is asked only where the case says it.
    """
    question = case.question
    if case.at is not None:
        runtime = at_time(runtime, case.at)
    said = explain_nowait(runtime, question, known=case.addresses)
    problems = []
    if said.verdict != case.expect:
        problems.append(f"expected {case.expect}, got {said.verdict} by rule '{said.rule}'")
    elif case.rule is not None and said.rule != case.rule:
        problems.append(f"expected rule '{case.rule}', but '{said.rule}' decides")
    return problems
