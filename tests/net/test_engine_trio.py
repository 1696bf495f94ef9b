"""What only the fallback has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsproxy.net.engine_trio import TrioEngine

if TYPE_CHECKING:
    import trio


async def test_the_fallback_has_no_pipes(nursery: trio.Nursery) -> None:
    engine = TrioEngine()
    await nursery.start(engine.run)
    assert engine.statistics().pipes_in_use == 0
