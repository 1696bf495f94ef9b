"""Listening, and an accept loop that weather does not stop."""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
import trio

from tests.support.wire import Wire
from wsproxy.model import Peer
from wsproxy.net import listen
from wsproxy.net.listen import accept_loop, bind, is_local

LOOPBACK = ip_address("127.0.0.1")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    sock = bind(LOOPBACK, 0)
    yield sock
    sock.close()


def always(handler: listen.Handler) -> listen.Look:
    """Leaves every connection to `handler`."""
    return lambda _sock, _peer: handler


class Handler:
    """Greets, hangs up, and notes who came."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self.socks: list[socket.socket] = []
        self.error: BaseException | None = None

    async def __call__(self, sock: socket.socket, peer: Peer) -> None:
        self.peers.append(peer)
        self.socks.append(sock)
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        sock.send(b"hello")
        sock.close()


def call(listener: socket.socket) -> Wire:
    family = listener.family
    sock = socket.socket(family)
    sock.connect(listener.getsockname()[:2])
    return Wire(sock)


# ---------------------------------------------------------------- bind


def test_a_listener_is_tuned_and_its_port_can_be_bound_again_at_once() -> None:
    sock = bind(LOOPBACK, 0)
    port = sock.getsockname()[1]
    assert not sock.getblocking()
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    sock.close()
    again = bind(LOOPBACK, port)
    assert again.getsockname() == ("127.0.0.1", port)
    again.close()


def test_a_busy_port_is_an_error_and_leaves_no_descriptor(listener: socket.socket) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError) as caught:
        bind(LOOPBACK, listener.getsockname()[1])
    assert caught.value.errno == errno.EADDRINUSE
    assert len(os.listdir("/proc/self/fd")) == before


def test_only_this_machines_addresses_are_local() -> None:
    assert is_local(LOOPBACK)
    assert is_local(ip_address("::1"))
    assert not is_local(ip_address("192.0.2.1"))


# ---------------------------------------------------------------- accept


async def test_every_connection_is_handled_and_closed(
    listener: socket.socket, nursery: trio.Nursery
) -> None:
    handler = Handler()
    nursery.start_soon(accept_loop, listener, always(handler), nursery)
    callers = [call(listener) for _ in range(200)]
    for caller in callers:
        assert await caller.reads_rest() == b"hello"
    names = {caller.sock.getsockname() for caller in callers}
    assert {(str(peer.address), peer.port) for peer in handler.peers} == names
    assert not any(sock.getblocking() for sock in handler.socks if sock.fileno() >= 0)
    for caller in callers:
        caller.closes()
    nursery.cancel_scope.cancel()


async def test_all_that_wait_are_accepted_before_the_first_is_looked_at(
    listener: socket.socket, nursery: trio.Nursery
) -> None:
    """So that their heads are there when they are looked at, and no task is needed."""
    happened: list[str] = []

    class Listener:
        def fileno(self) -> int:
            return listener.fileno()

        def accept(self) -> tuple[socket.socket, object]:
            accepted = listener.accept()
            happened.append("accepted")
            return accepted

    def look(sock: socket.socket, _peer: Peer) -> None:
        happened.append("looked at")
        sock.close()

    callers = [call(listener) for _ in range(3)]
    nursery.start_soon(accept_loop, Listener(), look, nursery)
    for caller in callers:
        assert await caller.reads_rest() == b""
        caller.closes()
    assert happened == ["accepted"] * 3 + ["looked at"] * 3
    nursery.cancel_scope.cancel()


async def test_accepted_sockets_are_tuned(
    listener: socket.socket, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, int, int]] = []

    async def look(sock: socket.socket, _peer: Peer) -> None:
        await trio.lowlevel.checkpoint()
        nodelay = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        first_probe_s = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        seen.append((sock.getblocking(), nodelay, first_probe_s))
        sock.close()

    nursery.start_soon(accept_loop, listener, always(look), nursery)
    for platform in ("linux", "darwin"):
        monkeypatch.setattr("sys.platform", platform)
        caller = call(listener)
        await caller.ends()
        caller.closes()
    assert seen == [(False, 1, 60), (False, 1, 60)]
    nursery.cancel_scope.cancel()


async def test_an_ipv4_client_of_an_ipv6_listener_is_an_ipv4_client(
    nursery: trio.Nursery,
) -> None:
    listener = bind(ip_address("::"), 0)
    handler = Handler()
    nursery.start_soon(accept_loop, listener, always(handler), nursery)
    for host in ("127.0.0.1", "::1"):
        sock = socket.create_connection((host, listener.getsockname()[1]))
        wire = Wire(sock)
        assert await wire.reads_rest() == b"hello"
        wire.closes()
    assert [str(peer.address) for peer in handler.peers] == ["127.0.0.1", "::1"]
    nursery.cancel_scope.cancel()
    listener.close()


async def test_a_crash_ends_one_session_and_is_logged_once_with_its_traceback(
    listener: socket.socket, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Handler()
    nursery.start_soon(accept_loop, listener, always(handler), nursery)
    handler.error = ZeroDivisionError("boom")
    unlucky = call(listener)
    await unlucky.ends()
    handler.error = None
    lucky = call(listener)
    assert await lucky.reads_rest() == b"hello"
    (entry,) = caplog.records
    assert entry.levelno == logging.ERROR
    assert entry.exc_info is not None
    assert entry.exc_info[0] is ZeroDivisionError
    for wire in (unlucky, lucky):
        wire.closes()
    nursery.cancel_scope.cancel()


async def test_stopping_the_loop_loses_no_connection_that_was_accepted(
    listener: socket.socket,
) -> None:
    handler = Handler()
    async with trio.open_nursery() as sessions, trio.open_nursery() as accepting:
        accepting.start_soon(accept_loop, listener, always(handler), sessions)
        caller = call(listener)
        while not handler.peers:
            await trio.lowlevel.checkpoint()
        accepting.cancel_scope.cancel()
    assert await caller.reads_rest() == b"hello"
    caller.closes()


class FailingListener:
    """A listener whose next accepts fail."""

    def __init__(self, listener: socket.socket, *codes: int) -> None:
        self._listener = listener
        self._codes = list(codes)
        self.fileno = listener.fileno

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        if self._codes:
            raise OSError(self._codes.pop(0), "accept")
        return self._listener.accept()


@pytest.mark.parametrize("code", [errno.ECONNABORTED, errno.EPERM, errno.EPROTO])
async def test_a_connection_that_is_already_gone_does_not_stop_the_loop(
    listener: socket.socket, nursery: trio.Nursery, code: int
) -> None:
    failing = FailingListener(listener, code)
    nursery.start_soon(accept_loop, failing, always(Handler()), nursery)
    caller = call(listener)
    assert await caller.reads_rest() == b"hello"
    caller.closes()
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_exhaustion_turns_one_connection_away_and_waits(
    listener: socket.socket,
    nursery: trio.Nursery,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(listen, "_EXHAUSTED_PAUSE_S", 0.01)
    before = len(os.listdir("/proc/self/fd"))
    failing = FailingListener(listener, code)
    async with trio.open_nursery() as inner:
        inner.start_soon(accept_loop, failing, always(Handler()), inner)
        unlucky = call(listener)
        await unlucky.ends()
        lucky = call(listener)
        assert await lucky.reads_rest() == b"hello"
        inner.cancel_scope.cancel()
    assert [entry.getMessage() for entry in caplog.records] == [
        "no descriptors left: connections are turned away"
    ]
    for wire in (unlucky, lucky):
        wire.closes()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_the_loop_can_be_stopped_while_it_waits_for_descriptors(
    listener: socket.socket,
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    failing = FailingListener(listener, errno.EMFILE)
    async with trio.open_nursery() as inner:
        inner.start_soon(accept_loop, failing, always(Handler()), inner)
        unlucky = call(listener)
        await unlucky.ends()
        inner.cancel_scope.cancel()
    unlucky.closes()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_with_no_descriptor_left_at_all_the_client_learns_it_and_service_resumes(
    listener: socket.socket, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "_EXHAUSTED_PAUSE_S", 0.01)
    nursery.start_soon(accept_loop, listener, always(Handler()), nursery)
    await trio.testing.wait_all_tasks_blocked()
    unlucky = call(listener)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
    held = []
    try:
        while True:
            held.append(os.dup(0))
    except OSError:
        pass
    try:
        await unlucky.ends()
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    lucky = call(listener)
    assert await lucky.reads_rest() == b"hello"
    for wire in (unlucky, lucky):
        wire.closes()
    nursery.cancel_scope.cancel()
