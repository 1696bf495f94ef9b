"""Every engine keeps the same promise: the fixture `engine` is each of them in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wsproxy.net.engine_epoll import EpollEngine
from wsproxy.net.engine_trio import TrioEngine

if TYPE_CHECKING:
    import trio

    from wsproxy.net.engine import Engine


@pytest.fixture(params=[EpollEngine, TrioEngine], ids=["epoll", "trio"])
async def engine(request: pytest.FixtureRequest, nursery: trio.Nursery) -> Engine:
    """A running engine."""
    made: Engine = request.param()
    await nursery.start(made.run)
    return made


@pytest.fixture
async def epoll_engine(nursery: trio.Nursery) -> EpollEngine:
    """The running engine of Linux."""
    made = EpollEngine()
    await nursery.start(made.run)
    return made


@pytest.fixture
def small_reads(monkeypatch: pytest.MonkeyPatch) -> int:
    """Reads of 8 KiB, so that "several full reads in a row" depends on no kernel's windows."""
    monkeypatch.setattr("wsproxy.net.pump.BUFFER_BYTES", 8 * 1024)
    return 8 * 1024
