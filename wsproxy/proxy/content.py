"""The content of a message on its way to one side, no faster than it may go."""

from __future__ import annotations

from collections.abc import Callable

import trio

from wsproxy.net.allowance import Allowance
from wsproxy.net.http1 import ClientChannel, UpstreamChannel

__all__ = ["ContentWriter"]


class ContentWriter:
    """Sends the content of one message.

    Args:
        channel: to the side that gets it.
        allowance: what may go; None: all there is.
        moved: hears of octets that have gone.
        waits: hears of the seconds in which nothing may go, ahead of them.
    """

    def __init__(
        self,
        channel: ClientChannel | UpstreamChannel,
        allowance: Allowance | None,
        *,
        moved: Callable[[int], None],
        waits: Callable[[float], None] | None = None,
    ) -> None:
        self._channel = channel
        self._allowance = allowance
        self._moved = moved
        self._waits = waits

    async def send(self, data: bytes, *, timeout_s: float) -> None:
        """Sends a piece of it, in as many as it takes.

        Args:
            data: at least one octet.
            timeout_s: see `Channel.send`.

        Raises:
            WsproxyError: see `Channel.send`.
            QuotaSpent: the user has moved all that is allowed; part of it may have gone.
        """
        channel, allowance = self._channel, self._allowance
        if allowance is None:
            await channel.send(channel.http.send_data(data), timeout_s=timeout_s)
            self._moved(len(data))
            return
        try:
            while data:
                size = min(await allowance.wait_claim(self._waits), len(data))
                await channel.send(channel.http.send_data(data[:size]), timeout_s=timeout_s)
                allowance.spend(size, trio.current_time())
                self._moved(size)
                data = data[size:]
        finally:
            allowance.give_back()
