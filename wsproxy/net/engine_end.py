"""How a relay lets go of its sockets, the same in every engine.

An orderly end is a plain close: the kernel sends what is queued, then FIN.  A
stream that was cut must not look complete to the side that is left, so that
side gets a reset instead (`SO_LINGER` of zero seconds).  But a reset throws
away what our kernel has not sent yet, and RFC 9110 §9.3.6 says: "the
intermediary MUST attempt to send any outstanding data that came from the
closed side to the other side".  Hence `deliver_rest` goes first, within a
bound: Linux still hands out what arrived before a reset.
"""

from __future__ import annotations

import socket
import struct

import trio

from wsproxy.net.progress import unsent_bytes
from wsproxy.net.pump import Pump, Step

__all__ = ["DELIVERY_S", "close_sockets", "deliver_at_once", "deliver_rest"]

DELIVERY_S = 2.0
"""The longest a broken stream's rest is waited for; only a peer that stopped reading needs it."""

_LOOK_AGAIN_S = 0.01

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""`struct linger` that turns close(2) into a reset (socket(7), SO_LINGER)."""


def deliver_at_once(pump: Pump) -> bool:
    """Do what `deliver_rest` does if that needs no waiting; False when it does."""
    pump.source_broken = pump.draining = True
    step = _step(pump)
    return step in (Step.SOURCE_BROKE, Step.SINK_BROKE) and not unsent_bytes(pump.sink)


async def deliver_rest(pump: Pump) -> None:
    """Pass on what arrived before the source of `pump` broke, and see it leave this machine.

    Gives up after `DELIVERY_S`.  The pump is `truncated` afterwards, unless
    its stream had ended before the break.
    """
    if deliver_at_once(pump):
        return
    with trio.move_on_after(DELIVERY_S):
        while not pump.ended:
            step = _step(pump)
            if step is Step.SINK:
                await trio.lowlevel.wait_writable(pump.sink)
            elif step is Step.TURN:
                await trio.lowlevel.checkpoint()
            else:
                break
        # The kernel signals free space, never an empty queue, so that is asked for.
        while unsent_bytes(pump.sink):  # noqa: ASYNC110 (nothing to be woken by)
            await trio.sleep(_LOOK_AGAIN_S)


def _step(pump: Pump) -> Step:
    """One step, seen at once: this may wait, and who says Close meanwhile has to know behind what."""
    step = pump.step(trio.current_time())
    pump.room.catch_up()
    return step


def close_sockets(up: Pump, down: Pump) -> None:
    """Close both sockets of a relay; the sink of a truncated stream sees a reset."""
    for pump in (up, down):
        if pump.truncated:
            pump.sink.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        pump.release()
    up.source.close()
    down.source.close()
