"""The drain: waits that lose nothing are interrupted."""

from __future__ import annotations

import trio

from wsproxy.proxy.runtime import Drain


async def wait(drain: Drain, ended: list[str], name: str) -> None:
    with trio.CancelScope() as scope, drain.interrupting(scope):
        await trio.sleep_forever()
    ended.append(name)


async def test_every_wait_is_interrupted_when_the_proxy_stops(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    drain, ended = Drain(), list[str]()
    for name in "ab":
        nursery.start_soon(wait, drain, ended, name)
    await trio.testing.wait_all_tasks_blocked()
    assert (drain.draining, ended) == (False, [])
    drain.begin()
    await trio.testing.wait_all_tasks_blocked()
    assert (drain.draining, sorted(ended)) == (True, ["a", "b"])


async def test_a_wait_that_begins_afterwards_ends_at_once() -> None:
    drain, ended = Drain(), list[str]()
    drain.begin()
    with trio.fail_after(5):
        await wait(drain, ended, "late")
    assert ended == ["late"]


async def test_a_wait_that_is_over_is_not_cancelled_later() -> None:
    drain = Drain()
    with trio.CancelScope() as scope:
        with drain.interrupting(scope):
            pass
        drain.begin()
        await trio.lowlevel.checkpoint()
    assert not scope.cancelled_caught
