"""Every story is told in front of a door."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.door import Door, open_door


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    """A proxy that lets everybody go everywhere public."""
    async with open_door(tmp_path) as opened:
        yield opened
