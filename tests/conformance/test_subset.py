"""Goal G3 in small; `make conformance` plays all cases in all modes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.room import MODES, Keys, count_inspected, start_echo, start_way
from tests.conformance.verdict import Verdict, compare, run_cases

# Of every group: framing, control frames, RSV, opcodes, fragments, UTF-8, closing, limits,
# big messages, compression with every set of parameters; those that wait are left out.
CASES = [
    "1.1.1",
    "1.1.4",
    "1.1.8",
    "1.2.2",
    "1.2.8",
    "2.1",
    "2.4",
    "2.5",
    "2.6",
    "2.9",
    "2.11",
    "3.1",
    "3.2",
    "3.3",
    "3.4",
    "3.7",
    "4.1.1",
    "4.1.3",
    "4.1.5",
    "4.2.2",
    "4.2.5",
    "5.1",
    "5.3",
    "5.6",
    "5.8",
    "5.9",
    "5.15",
    "5.18",
    "6.1.2",
    "6.2.3",
    "6.3.1",
    "6.3.2",
    "6.4.1",
    "6.6.5",
    "6.8.1",
    "6.12.3",
    "6.21.1",
    "7.1.1",
    "7.1.5",
    "7.1.6",
    "7.3.2",
    "7.3.6",
    "7.5.1",
    "7.7.1",
    "7.9.1",
    "7.9.8",
    "7.13.1",
    "9.1.2",
    "9.2.3",
    "9.3.4",
    "9.5.2",
    "9.7.1",
    "10.1.1",
    "12.1.1",
    "12.2.2",
    "13.1.1",
    "13.2.1",
    "13.3.1",
    "13.4.1",
    "13.5.1",
    "13.6.1",
    "13.7.1",
]


@pytest.fixture(scope="module")
def origin() -> Iterator[int]:
    with start_echo() as port:
        yield port


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def tls_origin(keys: Keys) -> Iterator[int]:
    with start_echo(keys) as port:
        yield port


@pytest.fixture(scope="module")
def direct(origin: int) -> dict[str, Verdict]:
    return _play(origin)


def _play(port: int) -> dict[str, Verdict]:
    return run_cases(port, CASES, at_a_time=8)


def test_the_origin_itself_is_judged(direct: dict[str, Verdict]) -> None:
    assert set(direct) == set(CASES)
    assert sum(v[:2] == ("OK", "OK") for v in direct.values()) == len(CASES) - 3


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("way", ["absolute", "connect"])
def test_through_the_proxy_every_verdict_is_the_same(
    way: str, mode: str, origin: int, direct: dict[str, Verdict], tmp_path: Path
) -> None:
    with start_way(way, mode, origin, tmp_path) as port:
        assert compare(direct, _play(port)) == []
    assert count_inspected(tmp_path) == (0 if mode == "off" else len(CASES))


@pytest.mark.parametrize("mode", MODES)
def test_through_interception_every_verdict_is_the_same(
    mode: str, keys: Keys, tls_origin: int, direct: dict[str, Verdict], tmp_path: Path
) -> None:
    with start_way("tls", mode, tls_origin, tmp_path, keys) as port:
        assert compare(direct, _play(port)) == []
    assert count_inspected(tmp_path) == (0 if mode == "off" else len(CASES))


def test_a_verdict_that_differs_is_noticed(direct: dict[str, Verdict]) -> None:
    changed = {**direct, "1.1.1": direct["1.1.1"]._replace(behavior="FAILED")}
    del changed["2.1"]
    assert [case for case, _, _ in compare(direct, changed)] == ["1.1.1", "2.1"]
