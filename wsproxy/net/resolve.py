"""Names to addresses, asked for at most once per request.

An answer comes from the configuration, else from memory, else from whoever is asked: the
system, here, or name servers (`wsproxy.net.nameservers`).  Requests that want the same name
at the same time share one question.

The system's ``getaddrinfo`` blocks a thread that cannot be interrupted.  Threads are
bounded, and a look-up that takes too long is left behind, not waited for: a
dead resolver costs `ResolveTimeout`s, never the event loop.  It does not say how long its
answers hold, so they are remembered for the shortest time there is.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Protocol

import trio

from wsproxy.errors import ResolveFailed, ResolveTimeout
from wsproxy.model import Address, Host
from wsproxy.net.answers import MAX_ADDRESSES, Answer, AnswerCache

__all__ = ["LocalNames", "Names", "Resolver", "SystemNames"]

_MAX_LOOKUPS = 64
"""Threads that may be inside getaddrinfo at one time."""
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
_LATE = Answer(late=True)


class Names(Protocol):
    """Somebody who can be asked."""

    async def look_up(self, name: str, deadline: float) -> Answer:
        """All addresses of `name`, or why there is none.

        Args:
            name: lower-case, without trailing dot.
            deadline: by `trio.current_time()`; the answer is late then.
        """


class SystemNames:
    """The system's resolver; its order (RFC 6724) is kept, its duplicates are not."""

    def __init__(self) -> None:
        self._threads = trio.CapacityLimiter(_MAX_LOOKUPS)

    async def look_up(self, name: str, deadline: float) -> Answer:
        """See `Names.look_up`; the wait for a free thread is included."""
        with trio.move_on_at(deadline):
            try:
                found = await trio.to_thread.run_sync(
                    _look_up, name, abandon_on_cancel=True, limiter=self._threads
                )
            except socket.gaierror as error:
                return Answer(ttl_s=0.0 if error.errno in _NO_SUCH_NAME else None)
            except (OSError, UnicodeError):
                return Answer()
            return Answer(tuple(dict.fromkeys(found))[:MAX_ADDRESSES], ttl_s=0.0)
        return _LATE


def _look_up(name: str) -> list[Address]:
    answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    # A zone id would come from the resolver, not the client; link-local
    # addresses are refused anyway, so it is cut off rather than understood.
    return [ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers]


class LocalNames:
    """Names whose addresses the configuration has.

    Args:
        entries: addresses by name, or by ``*.example.com`` for every name below it; the
            most exact entry counts.
    """

    def __init__(self, entries: Mapping[str, Sequence[Address]]) -> None:
        self._entries = {name: Answer(tuple(found)) for name, found in entries.items()}

    def find(self, name: str) -> Answer | None:
        """What the configuration says of `name`; None: nothing."""
        entries = self._entries
        found = entries.get(name) if entries else None
        while found is None and entries and name:
            name = name.partition(".")[2]
            found = entries.get(f"*.{name}")
        return found


@dataclass(slots=True, eq=False)
class _Asking:
    """A question that is under way.

    Attributes:
        over: whoever asks has stopped.
        answer: what it was told; None when it was cancelled before.
    """

    over: trio.Event = field(default_factory=trio.Event)
    answer: Answer | None = None


class Resolver:
    """Whoever knows the addresses of names, behind a deadline.

    Args:
        timeout_s: longest wait for one look-up.
        names: who is asked; the system by default.
        local: of which names nobody is asked.
        cache: what is remembered; None: nothing.
    """

    def __init__(
        self,
        timeout_s: float,
        *,
        names: Names | None = None,
        local: LocalNames | None = None,
        cache: AnswerCache | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._names = SystemNames() if names is None else names
        self._local = LocalNames({}) if local is None else local
        self._cache = cache
        self._asking: dict[str, _Asking] = {}

    def known(self, host: Host) -> tuple[Address, ...] | None:
        """The addresses of `host`, at least one, if nobody has to be asked; else None."""
        if host.address is not None:
            return (host.address,)
        answer = self._at_hand(host.text)
        return answer.addresses or None if answer is not None else None

    async def resolve(self, host: Host) -> tuple[Address, ...]:
        """All addresses of `host`, at least one, in the order to try them, without duplicates.

        Raises:
            ResolveFailed: the name has no address.
            ResolveTimeout: no answer in time.
        """
        if host.address is not None:
            return (host.address,)
        name = host.text
        answer = self._at_hand(name) or await self._ask(name)
        if answer.late:
            raise ResolveTimeout(f"the resolver did not answer for {name}")
        if not answer.addresses:
            why = f": {answer.why}" if answer.why else ""
            raise ResolveFailed(f"no address for {name}{why}", rcode=answer.rcode)
        return answer.addresses

    def _at_hand(self, name: str) -> Answer | None:
        answer = self._local.find(name)
        if answer is None and self._cache:  # which is true of none that is empty: it has no clock
            answer = self._cache.get(name, trio.current_time())
        return answer

    async def _ask(self, name: str) -> Answer:
        """Asks, or waits for what somebody else who asks the same is told."""
        deadline = trio.current_time() + self._timeout_s
        while (asking := self._asking.get(name)) is not None:
            with trio.move_on_at(deadline) as scope:
                await asking.over.wait()
            if asking.answer is not None:
                return asking.answer
            if scope.cancelled_caught:
                return _LATE
            # Whoever asked was cancelled: one of those who wait asks in its place.
        asking = self._asking[name] = _Asking()
        try:
            asking.answer = answer = await self._names.look_up(name, deadline)
        finally:
            del self._asking[name]
            asking.over.set()
        if self._cache is not None:
            self._cache.put(name, answer, trio.current_time())
        return answer


_: type[Names] = SystemNames
