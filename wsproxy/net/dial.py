"""Connects to one of several vetted addresses (RFC 8305).

`dial` takes addresses, never names: what was vetted is what is dialled.

Happy Eyeballs in short: the families take turns, starting with the one the
system prefers; each attempt gets a head start of 250 ms (§5), or until it
fails; the first connection wins and the others are closed.  Left out: §3's
asynchronous DNS answers, since all addresses must be vetted before the first
is dialled; the resolver keeps §3's Resolution Delay (`wsproxy.net.nameservers`).

Where a connection has to come from an address of ours, only the families of which
there is one are tried.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest

import trio

from wsproxy.errors import (
    ConnectFailed,
    ConnectRefused,
    ConnectTimeout,
    DescriptorsExhausted,
    SourceUnavailable,
    WsproxyError,
)
from wsproxy.model import Address, spelled
from wsproxy.net.streams import is_exhausted, tune

__all__ = [
    "ANY_SOURCE",
    "ATTEMPT_DELAY_S",
    "Attempt",
    "Sources",
    "begin",
    "dial",
    "fitting",
    "interleave",
]

Sources = Mapping[int, Address]
"""The address of this machine to connect from, by its IP version; of none: the system chooses."""

ANY_SOURCE: Sources = {}

ATTEMPT_DELAY_S = 0.250
"""RFC 8305 §5: "One recommended value for a default delay is 250 milliseconds"."""

_BIND_ADDRESS_NO_PORT = 24 if sys.platform == "linux" else None
"""ip(7), which Python does not name: the port is chosen when it is known where to, so that
connections to different places can share one."""


class Attempt:
    """A socket on its way to an address.

    Args:
        sock: connecting; the attempt's own until somebody takes it.
        address: where to.
    """

    __slots__ = ("address", "sock")

    def __init__(self, sock: socket.socket, address: Address) -> None:
        self.sock = sock
        self.address = address

    def stands(self) -> bool:
        """Whether the connection stands already, as it often does on the same machine."""
        try:
            self.sock.getpeername()
        except OSError:
            return False
        return True


def fitting(addresses: Sequence[Address], sources: Sources) -> Sequence[Address]:
    """Those of `addresses` that can be reached from `sources`."""
    return [one for one in addresses if one.version in sources] if sources else addresses


def interleave(addresses: Sequence[Address]) -> list[Address]:
    """The addresses with the families taking turns, the first one's family first (RFC 8305 §4)."""
    if not addresses:
        return []
    first = [a for a in addresses if a.version == addresses[0].version]
    other = [a for a in addresses if a.version != addresses[0].version]
    return [a for a in chain.from_iterable(zip_longest(first, other)) if a is not None]


async def dial(
    addresses: Sequence[Address],
    port: int,
    *,
    timeout_s: float,
    begun: Attempt | None = None,
    sources: Sources = ANY_SOURCE,
) -> tuple[socket.socket, Address]:
    """A connected socket, and the address it is connected to.

    Args:
        addresses: at least one, every one vetted.
        port: 1 … 65535.
        timeout_s: for all attempts together.
        begun: an attempt that is under way already, to one of `addresses`.
        sources: where from.

    Raises:
        ConnectTimeout: no address answered in time.
        ConnectRefused: the last failure was a refusal.
        ConnectFailed: another failure of the network.
        DescriptorsExhausted: the system has no socket left.
        SourceUnavailable: this machine has not the address to connect from.
    """
    addresses = fitting(addresses, sources)
    if not addresses:
        raise ConnectFailed("the target has no address of the family to connect from")
    if begun is None and len(addresses) == 1:
        begun = begin(addresses[0], port, sources)
    if begun is not None and begun.stands():
        return begun.sock, begun.address
    with trio.move_on_after(timeout_s):
        if begun is not None:
            return await _complete(begun.sock), begun.address
        return await _race(interleave(addresses), port, sources)
    raise ConnectTimeout(f"no answer within {timeout_s:g} s")


async def _race(
    addresses: list[Address], port: int, sources: Sources
) -> tuple[socket.socket, Address]:
    connected: list[tuple[socket.socket, Address]] = []
    failures: list[WsproxyError] = []

    async def attempt(address: Address, failed: trio.Event) -> None:
        try:
            sock = await _complete(begin(address, port, sources).sock)
            connected.append((sock, address))
            nursery.cancel_scope.cancel()
        except WsproxyError as error:
            failures.append(error)
            failed.set()

    try:
        async with trio.open_nursery() as nursery:
            for address in addresses:
                failed = trio.Event()
                nursery.start_soon(attempt, address, failed)
                with trio.move_on_after(ATTEMPT_DELAY_S):
                    await failed.wait()
    except BaseException:
        # The deadline may strike when a connection is already there.
        _close(connected)
        raise
    if not connected:
        raise failures[-1]
    _close(connected[1:])
    return connected[0]


def _close(connected: list[tuple[socket.socket, Address]]) -> None:
    for sock, _address in connected:
        sock.close()


def begin(address: Address, port: int, sources: Sources = ANY_SOURCE) -> Attempt:
    """Begins to connect.

    Args:
        address: where to; of a family of `sources`, if there is any.
        port: where to.
        sources: where from.

    Raises:
        ConnectFailed: or one of its kinds: it failed at once.
        DescriptorsExhausted: the system has no socket left.
        SourceUnavailable: this machine has not the address to connect from.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        if is_exhausted(error):
            raise DescriptorsExhausted("no descriptor left for an upstream connection") from error
        raise _failure(error.errno or errno.EIO) from error
    try:
        tune(sock)
        if sources:
            _bind(sock, sources[address.version])
        code = sock.connect_ex((spelled(address), port))
        if code not in (0, errno.EINPROGRESS):
            raise _failure(code)
    except BaseException:
        sock.close()
        raise
    return Attempt(sock, address)


def _bind(sock: socket.socket, source: Address) -> None:
    try:
        if _BIND_ADDRESS_NO_PORT is not None:
            sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
        sock.bind((str(source), 0))
    except OSError as error:
        raise SourceUnavailable(
            f"this machine cannot connect from {source}: {error.strerror}"
        ) from error


async def _complete(sock: socket.socket) -> socket.socket:
    """`sock`, connected; closed when it cannot be."""
    try:
        await trio.lowlevel.wait_writable(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise _failure(code)
    except BaseException:
        trio.lowlevel.notify_closing(sock)
        sock.close()
        raise
    return sock


def _failure(code: int) -> ConnectFailed:
    if code == errno.ECONNREFUSED:
        return ConnectRefused("the target refused the connection")
    if code == errno.ETIMEDOUT:
        return ConnectTimeout("no answer from the target")
    return ConnectFailed(f"the target cannot be reached: {os.strerror(code)}")
