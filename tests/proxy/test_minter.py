"""Certificates on demand: one for each name, however many ask."""

from __future__ import annotations

import ssl
import threading
from datetime import UTC, datetime

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from wsproxy.model import Host
from wsproxy.protocol.x509 import create_authority, load_authority, mint
from wsproxy.proxy import minter as module
from wsproxy.proxy.minter import Minter

NOW = datetime(2026, 11, 26, tzinfo=UTC)


@pytest.fixture
def minter() -> Minter:
    authority = load_authority(*create_authority("test", now=NOW), now=NOW)
    return Minter(authority, clock=NOW.timestamp, lifetime_s=7 * 86_400)


@pytest.fixture
def minted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that were minted for."""
    names: list[str] = []

    def count(authority: object, host: str, **rest: object) -> bytes:
        names.append(host)
        return mint(authority, host, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "mint", count)
    return names


async def test_a_name_is_minted_for_once(minter: Minter, minted: list[str]) -> None:
    first = await minter.context(Host("a.test"))
    assert await minter.context(Host("a.test")) is first
    assert await minter.context(Host("b.test")) is not first
    assert minted == ["a.test", "b.test"]


async def test_a_stampede_is_one_mint(
    minter: Minter, minted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, real = threading.Event(), module.leaf_context

    def slowly(*args: object, **rest: object) -> ssl.SSLContext:
        assert go_on.wait(20)
        return real(*args, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "leaf_context", slowly)
    contexts: list[ssl.SSLContext] = []

    async def ask() -> None:
        contexts.append(await minter.context(Host("a.test")))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        go_on.set()
    assert (len(contexts), len(set(contexts)), minted) == (50, 1, ["a.test"])


async def test_a_failure_is_everybodys_own_and_is_tried_again(
    minter: Minter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "leaf_context", lambda *_args, **_rest: 1 / 0)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await minter.context(Host("a.test"))
    assert isinstance(await minter.context(Host("a.test")), ssl.SSLContext)


async def test_who_gives_up_waiting_leaves_the_rest_in_peace(
    minter: Minter, minted: list[str]
) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await minter.context(Host("a.test"))
    await minter.context(Host("a.test"))
    assert set(minted) <= {"a.test"}


async def test_a_leaf_is_made_anew_at_half_its_life(
    minter: Minter, minted: list[str], autojump_clock: MockClock
) -> None:
    await minter.context(Host("a.test"))
    await trio.sleep(3.4 * 86_400)
    await minter.context(Host("a.test"))
    assert minted == ["a.test"]
    await trio.sleep(0.2 * 86_400)
    await minter.context(Host("a.test"))
    assert minted == ["a.test", "a.test"]


async def test_only_the_latest_are_kept(
    minter: Minter, minted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST", 2)
    for name in ("a.test", "b.test", "a.test", "c.test", "a.test", "b.test"):
        await minter.context(Host(name))
    assert minted == ["a.test", "b.test", "c.test", "b.test"]
