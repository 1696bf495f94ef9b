"""Content on its way, in as many pieces as it takes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.wire import Wire, tcp_pair
from wsproxy.errors import QuotaSpent
from wsproxy.net.allowance import Allowance
from wsproxy.net.http1 import UpstreamChannel
from wsproxy.net.streams import TcpStream, tune
from wsproxy.policy.rates import Bucket, Window
from wsproxy.proxy.content import ContentWriter

if TYPE_CHECKING:
    from trio.testing import MockClock

Ends = tuple[UpstreamChannel, Wire]


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    """A channel whose request is announced as chunked, and what gets it."""
    near, far = tcp_pair()
    tune(near)
    channel, wire = UpstreamChannel(TcpStream(near)), Wire(far)
    channel.http.send_request("POST", b"/", [(b"Host", b"o"), (b"Transfer-Encoding", b"chunked")])
    yield channel, wire
    channel.close()
    wire.closes()


async def test_without_a_limit_it_goes_as_it_comes(ends: Ends) -> None:
    channel, wire = ends
    moved: list[int] = []
    await ContentWriter(channel, None, moved=moved.append).send(b"abcde", timeout_s=5)
    await wire.expects(b"5\r\nabcde\r\n")
    assert moved == [5]


async def test_with_one_it_goes_in_portions_and_says_how_long_that_takes(
    ends: Ends, autojump_clock: MockClock
) -> None:
    channel, wire = ends
    bucket = Bucket((3, 1))
    moved: list[int] = []
    waits: list[float] = []
    writer = ContentWriter(channel, Allowance([bucket], 3), moved=moved.append, waits=waits.append)
    await writer.send(b"abcde", timeout_s=5)
    await wire.expects(b"3\r\nabc\r\n2\r\nde\r\n")
    assert (moved, waits) == ([3, 2], pytest.approx([1.0]))
    # One of the second portion was not needed: it is there for others.
    assert bucket.take(trio.current_time(), 1.0) == 0.0


async def test_what_went_before_the_quota_was_spent_is_counted(ends: Ends) -> None:
    channel, wire = ends
    moved: list[int] = []
    writer = ContentWriter(channel, Allowance((), 3, Window((4, 60))), moved=moved.append)
    with pytest.raises(QuotaSpent):
        await writer.send(b"abcde", timeout_s=5)
    await wire.expects(b"3\r\nabc\r\n1\r\nd\r\n")
    assert moved == [3, 1]
