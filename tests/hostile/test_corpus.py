"""G1: the corpus against the running proxy, whole, octet by octet, with and without credentials.

After the last test of a proxy its fixture checks that the process is alive, wrote no
traceback, has no descriptor left over, and wrote exactly one record per answer.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain

import pytest

from tests.hostile.case import Case
from tests.hostile.corpus import (
    auth,
    chunks,
    connect,
    framing,
    grammar,
    hops,
    limits,
    ssrf,
    targets,
    upgrade,
)
from tests.hostile.room import Room

GROUPS: dict[str, list[Case]] = {
    "grammar": grammar.CASES,
    "limits": limits.CASES,
    "framing": framing.CASES,
    "chunks": chunks.CASES,
    "targets": targets.CASES,
    "connect": connect.CASES,
    "upgrade": upgrade.CASES,
    "hops": hops.CASES,
}
by_group = pytest.mark.parametrize("group", GROUPS)


def _lines(problems: list[str]) -> str:
    return "\n" + "\n".join(problems)


@by_group
async def test_no_octet_of_it_is_unsafe(open_proxy: Room, group: str) -> None:
    problems = await open_proxy.run(GROUPS[group])
    assert not problems, _lines(problems)


@by_group
async def test_one_octet_a_segment_changes_nothing(open_proxy: Room, group: str) -> None:
    problems = await open_proxy.run(GROUPS[group], bytewise=True)
    assert not problems, _lines(problems)


@by_group
async def test_credentials_change_nothing(auth_proxy: Room, group: str) -> None:
    problems = await auth_proxy.run(GROUPS[group])
    assert not problems, _lines(problems)


@by_group
async def test_without_credentials_nothing_passes(auth_proxy: Room, group: str) -> None:
    problems = await auth_proxy.run(GROUPS[group], anonymous=True)
    assert not problems, _lines(problems)


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
async def test_only_good_credentials_pass_and_none_leak(auth_proxy: Room, bytewise: bool) -> None:
    problems = await auth_proxy.run(auth.CASES, bytewise=bytewise)
    assert not problems, _lines(problems)


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
async def test_no_spelling_of_a_private_address_is_dialled(
    closed_proxy: Room, bytewise: bool
) -> None:
    problems = await closed_proxy.run(ssrf.CASES, bytewise=bytewise)
    assert not problems, _lines(problems)


def test_the_corpus_is_as_large_as_promised_and_no_case_hides_another() -> None:
    cases = [*chain.from_iterable(GROUPS.values()), *auth.CASES, *ssrf.CASES]
    names = Counter(case.id for case in cases)
    assert [name for name, count in names.items() if count > 1] == []
    assert len(cases) >= 300
    assert {case.row for case in cases} >= {
        *(f"T{n}" for n in range(1, 17) if n != 12),  # T12 needs a resolver of its own
    }
