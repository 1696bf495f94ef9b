"""Names to addresses, once per request, with the system's resolver.

``getaddrinfo`` blocks a thread that cannot be interrupted.  Threads are
bounded, and a look-up that takes too long is left behind, not waited for: a
dead resolver costs `ResolveTimeout`s, never the event loop.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address

import trio

from wsproxy.errors import ResolveFailed, ResolveTimeout
from wsproxy.model import Address, Host

__all__ = ["Resolver"]

_MAX_LOOKUPS = 64
"""Threads that may be inside getaddrinfo at one time."""


class Resolver:
    """The system's resolver behind a deadline.

    Args:
        timeout_s: longest wait for one look-up, queueing included.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._threads = trio.CapacityLimiter(_MAX_LOOKUPS)

    async def resolve(self, host: Host) -> tuple[Address, ...]:
        """All addresses of `host`, in the system's order (RFC 6724), without duplicates.

        Raises:
            ResolveFailed: the name has no address.
            ResolveTimeout: no answer in time.
        """
        if host.address is not None:
            return (host.address,)
        with trio.move_on_after(self._timeout_s):
            try:
                found = await trio.to_thread.run_sync(
                    _look_up, host.text, abandon_on_cancel=True, limiter=self._threads
                )
            except (OSError, UnicodeError) as error:
                raise ResolveFailed(f"no address for {host.text}") from error
            return tuple(dict.fromkeys(found))
        raise ResolveTimeout(f"the resolver did not answer for {host.text}")


def _look_up(name: str) -> list[Address]:
    answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    # A zone id would come from the resolver, not the client; link-local
    # addresses are refused anyway, so it is cut off rather than understood.
    return [ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers]
