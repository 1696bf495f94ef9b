"""Questions under way: equal ones are asked once, few at a time, and nobody waits in vain."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from wsproxy.auth.flights import Flights
from wsproxy.errors import AuthOverloaded, AuthUnavailable
from wsproxy.model import Identity

ALICE = Identity("alice")


class Oracle:
    """Answers when it is let."""

    def __init__(self, answer: Identity | AuthUnavailable | None) -> None:
        self.answer = answer
        self.asked = 0
        self.gate = trio.Event()

    async def __call__(self) -> Identity | None:
        self.asked += 1
        await self.gate.wait()
        if isinstance(self.answer, AuthUnavailable):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("answer", [ALICE, None])
async def test_equal_questions_are_asked_once(
    answer: Identity | None, nursery: trio.Nursery
) -> None:
    flights, oracle = Flights(1), Oracle(answer)
    answers: list[Identity | None] = []

    async def ask() -> None:
        answers.append(await flights.ask(b"alice", oracle))

    for _ in range(3):
        nursery.start_soon(ask)
    await wait_all_tasks_blocked()
    oracle.gate.set()
    await wait_all_tasks_blocked()
    assert (answers, oracle.asked) == ([answer] * 3, 1)
    assert await flights.ask(b"alice", oracle) == answer
    assert oracle.asked == 2  # nothing is remembered


async def test_no_answer_is_no_answer_for_all(nursery: trio.Nursery) -> None:
    flights, oracle = Flights(1), Oracle(AuthUnavailable("gone"))
    details: list[str] = []

    async def ask() -> None:
        with pytest.raises(AuthUnavailable) as unavailable:
            await flights.ask(b"alice", oracle)
        details.append(unavailable.value.detail)

    nursery.start_soon(ask)
    nursery.start_soon(ask)
    await wait_all_tasks_blocked()
    oracle.gate.set()
    await wait_all_tasks_blocked()
    assert (details, oracle.asked) == (["gone"] * 2, 1)


async def test_who_follows_a_cancelled_leader_takes_its_place(nursery: trio.Nursery) -> None:
    flights, oracle = Flights(1), Oracle(ALICE)
    answers: list[Identity | None] = []
    scope = trio.CancelScope()

    async def lead() -> None:
        with scope:
            await flights.ask(b"alice", oracle)

    async def follow() -> None:
        answers.append(await flights.ask(b"alice", oracle))

    nursery.start_soon(lead)
    await wait_all_tasks_blocked()
    nursery.start_soon(follow)
    await wait_all_tasks_blocked()
    scope.cancel()
    await wait_all_tasks_blocked()
    oracle.gate.set()
    await wait_all_tasks_blocked()
    assert (answers, oracle.asked) == ([ALICE], 2)


async def test_more_than_allowed_are_refused_at_once(nursery: trio.Nursery) -> None:
    flights, oracle = Flights(1), Oracle(ALICE)
    nursery.start_soon(flights.ask, b"alice", oracle)
    await wait_all_tasks_blocked()
    with pytest.raises(AuthOverloaded):
        await flights.ask(b"bob", oracle)
    oracle.gate.set()
