"""Pipes are lent within a bound, and their absence is an answer."""

from __future__ import annotations

import os
import resource
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.net.relays import open_descriptors
from wsproxy.net.pipes import SPLICE_BYTES, Pipe, PipePool, splice_works

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Every further open fails with EMFILE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_pipe_carries_bytes_between_two_sockets() -> None:
    source, feed = socket.socketpair()
    sink, taken = socket.socketpair()
    pipe = Pipe()
    feed.send(b"splice")
    assert pipe.fill(source.fileno()) == pipe.level == 6
    assert pipe.pour(sink.fileno()) == 6
    assert pipe.level == 0
    assert taken.recv(100) == b"splice"
    feed.close()
    assert pipe.fill(source.fileno()) == 0
    pipe.close()
    for sock in (source, sink, taken):
        sock.close()


def test_a_pipe_never_takes_more_than_its_bound() -> None:
    source, feed = socket.socketpair()
    for sock in (source, feed):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * SPLICE_BYTES)
        sock.setblocking(False)
    sent = 0
    while sent < 2 * SPLICE_BYTES:
        try:
            sent += feed.send(bytes(16384))
        except BlockingIOError:
            break
    assert sent > SPLICE_BYTES / 2
    pipe = Pipe()
    assert 0 < pipe.fill(source.fileno()) <= SPLICE_BYTES
    pipe.close()
    source.close()
    feed.close()


def test_the_pool_lends_no_more_than_its_capacity_and_lends_returned_pipes_again() -> None:
    pool = PipePool(2)
    one, two = pool.borrow(), pool.borrow()
    assert one is not None
    assert two is not None
    assert pool.borrow() is None
    assert pool.in_use == 2
    pool.give_back(one)
    assert pool.borrow() is one
    pool.give_back(one)
    pool.give_back(two)
    assert pool.in_use == 0
    pool.close()


def test_a_pipe_that_comes_back_with_bytes_inside_is_never_lent_again() -> None:
    before = open_descriptors()
    pool = PipePool(1)
    pipe = pool.borrow()
    assert pipe is not None
    os.write(pipe.tail, b"somebody's secret")
    pipe.level = 17
    pool.give_back(pipe)
    assert open_descriptors() == before
    other = pool.borrow()
    assert other is not None
    with pytest.raises(BlockingIOError):
        os.read(other.head, 1)
    pool.give_back(other)
    pool.close()


def test_a_closed_pool_lends_nothing_and_closes_what_comes_back() -> None:
    before = open_descriptors()
    pool = PipePool(2)
    lent, idle = pool.borrow(), pool.borrow()
    assert lent is not None
    assert idle is not None
    pool.give_back(idle)
    pool.close()
    pool.give_back(lent)
    assert pool.borrow() is None
    assert open_descriptors() == before


def test_without_descriptors_there_is_no_pipe_and_no_error() -> None:
    pool = PipePool(1)
    with no_descriptor_left():
        assert pool.borrow() is None
    assert pool.in_use == 0
    pipe = pool.borrow()
    assert pipe is not None
    pool.give_back(pipe)
    pool.close()


def test_a_pipe_that_may_not_grow_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    # More than any process may ask for: the kernel answers as it does to a user over the limit.
    monkeypatch.setattr("wsproxy.net.pipes.PIPE_BYTES", 1 << 31)
    pool = PipePool(1)
    pipe = pool.borrow()
    assert pipe is not None
    os.write(pipe.tail, b"x")
    assert os.read(pipe.head, 2) == b"x"
    pool.give_back(pipe)
    pool.close()


def test_splice_works_here_and_the_probe_leaves_nothing_open() -> None:
    before = open_descriptors()
    assert splice_works()
    assert open_descriptors() == before


def test_a_kernel_that_refuses_to_splice_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(22, "Invalid argument")

    before = open_descriptors()
    monkeypatch.setattr(os, "splice", refuse)
    assert not splice_works()
    assert open_descriptors() == before
