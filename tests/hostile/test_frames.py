"""T22, T23: every rule of RFC 6455 §5 broken by either peer, in every mode of inspection.

Looked into or not, what is sent arrives octet for octet; enforced, nothing that is wrong
arrives, and both peers are told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pytest
import trio

from tests.hostile.corpus import frames, messages
from tests.hostile.judge_talk import judge_record, judge_talk
from tests.hostile.room import AT_ONCE
from tests.hostile.talk import Talk
from tests.hostile.talking import ADDRESSES, Heard, Watched, Way, converse, open_watched
from tests.support.proxy_process import Record

_CASES = [*frames.CASES, *messages.CASES]
_SHORT = 200
"""Talks of fewer octets are sent octet by octet, too."""

WAYS = {
    f"{mode}, {form}, {delivery}": Way(mode, form, delivery)
    for mode, form, delivery in [
        ("off", "absolute", "apart"),
        ("off", "connect", "glued"),
        ("metadata", "absolute", "glued"),
        ("metadata", "connect", "apart"),
        ("log", "absolute", "apart"),
        ("log", "connect", "glued"),
        ("log", "connect", "bytewise"),
        ("enforce", "absolute", "glued"),
        ("enforce", "connect", "apart"),
        ("enforce", "absolute", "bytewise"),
        ("hold", "absolute", "apart"),
        ("hold", "connect", "glued"),
        ("hold", "connect", "bytewise"),
    ]
}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A proxy with every mode of inspection."""
    directory: Path = tmp_path_factory.mktemp("frames")
    with open_watched(directory) as watched:
        yield watched


async def run_talks(watched: Watched, cases: Sequence[Talk], way: Way) -> list[str]:
    heard: list[Heard] = []
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def one(talk: Talk) -> None:
        async with limiter:
            heard.append(await converse(watched.room, talk, way))

    watched.room.check_bystander()
    async with trio.open_nursery() as nursery:
        for talk in cases:
            nursery.start_soon(one, talk)
    watched.room.check_bystander()
    return _report(watched, heard)


def _report(watched: Watched, heard: Sequence[Heard]) -> list[str]:
    access = _access_records(watched, {each.source for each in heard})
    looked = [record for records in access.values() for record in records if "websocket" in record]
    missing = watched.wait_for_close([record["id"] for record in looked])
    problems = [f"session {session} has no end in the capture" for session in missing]
    for each in heard:
        records = access[each.source]
        captured = watched.captured.get(records[0]["id"], []) if records else []
        found = judge_talk(each) or judge_record(each, records, captured)
        problems += [f"{each.name}: {problem}" for problem in found]
    return sorted(problems)


def _access_records(watched: Watched, sources: Collection[str]) -> dict[str, list[Record]]:
    """The access records of these clients, once there is one of each."""
    found: dict[str, list[Record]] = {}

    def all_are_there(records: list[Record]) -> bool:
        found.update({source: [] for source in sources})
        for record in records:
            source = str(record["client"]).rpartition(":")[0]
            if record["event"] == "access" and source in found:
                found[source].append(record)
        return all(found.values())

    watched.room.proxy.wait_until_logged(all_are_there)
    return found


@pytest.mark.parametrize("way", WAYS)
async def test_no_wrong_octet_passes_unless_all_do(watched: Watched, way: str) -> None:
    bytewise = WAYS[way].delivery == "bytewise"
    cases = [case for case in _CASES if not bytewise or len(case.sent) < _SHORT]
    problems = await run_talks(watched, cases, WAYS[way])
    assert not problems, "\n" + "\n".join(problems)
    watched.room.check_descriptors()


def test_the_corpus_is_as_large_as_promised_and_no_case_hides_another() -> None:
    names = Counter(case.name for case in [*_CASES, *messages.BOMBS])
    assert [name for name, count in names.items() if count > 1] == []
    assert len(names) >= 300
    assert {way.mode for way in WAYS.values()} == set(ADDRESSES)
