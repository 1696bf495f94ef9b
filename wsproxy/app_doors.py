"""The listeners: bound, accepting, and exchanged for others while the proxy runs; a part of the composition root."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Protocol

import trio

from wsproxy.config.fields import ListenAddress
from wsproxy.config.load import Config
from wsproxy.config.problems import KeyPath
from wsproxy.model import Address, Peer
from wsproxy.net.listen import Handler, accept_loop, bind

__all__ = ["Change", "DoorLook", "Doors"]


class DoorLook(Protocol):
    """See `wsproxy.net.listen.Look`; told of which listener the connection is."""

    def __call__(self, sock: socket.socket, peer: Peer, *, listener: int) -> Handler | None:
        """Looks at an accepted connection, without waiting."""
        ...


@dataclass(slots=True, eq=False)
class _Door:
    """A bound listener, and which of the configuration it is."""

    wanted: ListenAddress
    sock: socket.socket
    port: int
    scheme: str
    index: int = 0
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    is_open: bool = False

    def __str__(self) -> str:
        address = self.wanted.address
        host = f"[{address}]" if address.version == 6 else str(address)
        return f"{self.scheme}://{host}:{self.port}"

    async def accept(self, look: DoorLook, sessions: trio.Nursery) -> None:
        with self.scope:
            # Which listener of the configuration it is, a reload may change.
            await accept_loop(
                self.sock, lambda sock, peer: look(sock, peer, listener=self.index), sessions
            )

    def close(self) -> None:
        self.scope.cancel()
        self.sock.close()


@dataclass(frozen=True, slots=True)
class Change:
    """What another configuration wants of the listeners.

    Attributes:
        doors: all of them.
        new: those of them that were not there.
    """

    doors: list[_Door]
    new: list[_Door]

    def undo(self) -> None:
        """Closes what is new."""
        for door in self.new:
            door.close()


class Doors:
    """All listeners.

    Attributes:
        own: where this proxy listens; always the same list.
    """

    def __init__(self) -> None:
        self._doors: list[_Door] = []
        self.own: list[tuple[Address, int]] = []

    @property
    def urls(self) -> list[str]:
        """Where clients find them, in the order of the configuration."""
        return [str(door) for door in self._doors]

    def bind(self, config: Config) -> Change:
        """Binds what is not bound yet.

        Raises:
            ConfigError: one cannot be bound; none is left bound that was not before.
        """
        left = list(self._doors)
        change = Change([], [])
        for index, listener in enumerate(config.settings.listeners):
            wanted = listener.address
            door = next((door for door in left if door.wanted == wanted), None)
            if door is not None:
                left.remove(door)
            else:
                try:
                    sock = bind(wanted.address, wanted.port)
                except OSError as error:
                    change.undo()
                    path: KeyPath = ("listeners", index, "address")
                    raise config.error(
                        path, f"cannot listen on {wanted}: {error.strerror}"
                    ) from error
                door = _Door(wanted, sock, sock.getsockname()[1], listener.scheme)
                change.new.append(door)
            change.doors.append(door)
        return change

    def adopt(self, change: Change) -> None:
        """Goes on with other listeners; those left out are closed, their connections stay."""
        for door in self._doors:
            if door not in change.doors:
                door.close()
        self._doors = change.doors
        for index, door in enumerate(self._doors):
            door.index = index
        self.own[:] = [(door.wanted.address, door.port) for door in self._doors]

    def open(self, look: DoorLook, accepting: trio.Nursery, sessions: trio.Nursery) -> None:
        """Has those accept that do not yet.

        Args:
            look: takes what they accept.
            accepting: gets a task for each of them.
            sessions: gets one for each connection.
        """
        for door in self._doors:
            if not door.is_open:
                door.is_open = True
                accepting.start_soon(door.accept, look, sessions)

    def close(self) -> None:
        """Closes all."""
        for door in self._doors:
            door.close()
