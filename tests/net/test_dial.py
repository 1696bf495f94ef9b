"""RFC 8305 under a mock clock: who is tried when, who wins, and that nothing is left open."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from ipaddress import ip_address

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.support.fakenet import Scenario
from wsproxy.errors import (
    ConnectFailed,
    ConnectRefused,
    ConnectTimeout,
    DescriptorsExhausted,
    SourceUnavailable,
    WsproxyError,
)
from wsproxy.model import Address
from wsproxy.net.dial import ANY_SOURCE, ATTEMPT_DELAY_S, Sources, begin, dial, fitting, interleave

A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"
SIX, SEVEN = "2001:db8::6", "2001:db8::7"
REFUSED, UNREACHABLE, SILENT = errno.ECONNREFUSED, errno.ENETUNREACH, 1e9


def addresses(*texts: str) -> list[Address]:
    return [ip_address(text) for text in texts]


class Net:
    """`dial` over a scenario."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.scenario = Scenario({})

    async def dial(self, hosts: dict[str, tuple[float, int]], *, timeout_s: float = 10) -> str:
        """The address that won; every other socket is closed then."""
        self.scenario = Scenario(hosts)
        self.scenario.install(self._patch)
        try:
            _sock, address = await dial(addresses(*hosts), 443, timeout_s=timeout_s)
        except WsproxyError:
            assert self.scenario.open == []
            raise
        assert self.scenario.open == [str(address)]
        return str(address)

    def tried(self) -> list[tuple[float, str]]:
        """When which address was tried."""
        return [(at, what.split()[1].removesuffix(":443")) for at, what in self.scenario.log]


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Net:
    return Net(monkeypatch)


# ---------------------------------------------------------------- the order


@pytest.mark.parametrize(
    ("given_", "order"),
    [
        ([], []),
        ([A], [A]),
        ([A, B], [A, B]),
        ([SIX, SEVEN, A, B, C], [SIX, A, SEVEN, B, C]),
        ([A, SIX, SEVEN], [A, SIX, SEVEN]),
        ([A, B, SIX], [A, SIX, B]),
    ],
)
def test_the_families_take_turns(given_: Sequence[str], order: Sequence[str]) -> None:
    assert interleave(addresses(*given_)) == addresses(*order)


@given(st.lists(st.ip_addresses(), unique=True))
def test_no_address_is_lost_or_invented_and_each_family_keeps_its_order(
    found: list[Address],
) -> None:
    order = interleave(found)
    for version in (4, 6):
        assert [a for a in order if a.version == version] == [
            a for a in found if a.version == version
        ]
    assert len(order) == len(found)


# ---------------------------------------------------------------- one address


async def test_a_connection_that_stands_at_once_is_taken(
    net: Net, autojump_clock: MockClock
) -> None:
    assert await net.dial({A: (0, 0)}) == A
    assert trio.current_time() == 0


async def test_a_connection_is_waited_for(net: Net, autojump_clock: MockClock) -> None:
    assert await net.dial({SIX: (3, 0)}) == SIX
    assert trio.current_time() == 3
    assert net.scenario.sockets[0].family == socket.AF_INET6


@pytest.mark.parametrize("after_s", [0, 1])
@pytest.mark.parametrize(
    ("code", "error", "detail"),
    [
        (REFUSED, ConnectRefused, "the target refused the connection"),
        (errno.ETIMEDOUT, ConnectTimeout, "no answer from the target"),
        (UNREACHABLE, ConnectFailed, "the target cannot be reached: Network is unreachable"),
    ],
)
@pytest.mark.parametrize("more", [{}, {B: (0.0, UNREACHABLE)}])
async def test_a_failure_has_a_class_of_its_own(
    net: Net,
    autojump_clock: MockClock,
    after_s: float,
    code: int,
    error: type[ConnectFailed],
    detail: str,
    more: dict[str, tuple[float, int]],
) -> None:
    with pytest.raises(ConnectFailed) as caught:
        await net.dial({**more, A: (after_s, code)})
    assert (type(caught.value), caught.value.detail) == (error, detail)


@pytest.mark.parametrize("hosts", [[A], [A, B]])
async def test_nobody_answers_within_the_deadline(
    net: Net, autojump_clock: MockClock, hosts: list[str]
) -> None:
    with pytest.raises(ConnectTimeout) as caught:
        await net.dial(dict.fromkeys(hosts, (SILENT, 0)), timeout_s=2)
    assert (trio.current_time(), caught.value.detail) == (2, "no answer within 2 s")


# ---------------------------------------------------------------- a race


async def test_the_second_gets_its_turn_after_the_first_ones_head_start(
    net: Net, autojump_clock: MockClock
) -> None:
    assert ATTEMPT_DELAY_S == 0.25
    assert await net.dial({A: (SILENT, 0), B: (SILENT, 0), C: (1, 0)}) == C
    assert net.tried() == [(0, A), (0.25, B), (0.5, C)]
    assert trio.current_time() == 1.5


async def test_a_failure_gives_the_next_its_turn_at_once(
    net: Net, autojump_clock: MockClock
) -> None:
    assert await net.dial({A: (0.1, REFUSED), B: (0, UNREACHABLE), C: (0.1, 0)}) == C
    assert net.tried() == [(0, A), (0.1, B), (0.1, C)]


async def test_the_first_connection_wins_also_when_it_was_tried_first(
    net: Net, autojump_clock: MockClock
) -> None:
    assert await net.dial({A: (0.4, 0), B: (0.3, 0)}) == A
    assert trio.current_time() == 0.4
    assert net.tried() == [(0, A), (0.25, B)]


async def test_nobody_is_tried_once_there_is_a_winner(net: Net, autojump_clock: MockClock) -> None:
    assert await net.dial({A: (0.1, 0), B: (0, 0), C: (0, 0)}) == A
    assert net.tried() == [(0, A)]


async def test_of_two_that_connect_at_one_time_one_is_kept(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    scenario = Scenario({A: (0.4, 0), B: (SILENT, 0)})
    scenario.install(monkeypatch)

    def second_connects_too() -> None:
        scenario.sockets[1].ready.set()

    scenario.on_outcome = second_connects_too
    _sock, address = await dial(addresses(A, B), 443, timeout_s=5)
    assert (str(address), scenario.open) == (A, [A])
    assert trio.current_time() == 0.4


async def test_the_last_failure_is_the_one_reported(net: Net, autojump_clock: MockClock) -> None:
    with pytest.raises(ConnectFailed) as caught:
        await net.dial({A: (2, REFUSED), B: (0.1, UNREACHABLE)})
    assert type(caught.value) is ConnectRefused
    assert trio.current_time() == 2


async def test_a_deadline_in_the_middle_of_a_race_closes_everything(
    net: Net, autojump_clock: MockClock
) -> None:
    with pytest.raises(ConnectTimeout):
        await net.dial({A: (SILENT, 0), B: (0, REFUSED), C: (SILENT, 0)}, timeout_s=0.3)
    assert trio.current_time() == 0.3


@pytest.mark.parametrize("hosts", [[A], [A, B]])
async def test_a_connection_that_comes_with_the_deadline_is_not_leaked(
    net: Net, autojump_clock: MockClock, hosts: list[str]
) -> None:
    try:
        won = await net.dial(dict.fromkeys(hosts, (1, 0)), timeout_s=1)
    except ConnectTimeout:
        assert net.scenario.open == []
    else:
        assert net.scenario.open == [won]


@pytest.mark.parametrize("hosts", [[A], [A, B]])
async def test_a_cancelled_dial_leaves_nothing_open(
    net: Net, autojump_clock: MockClock, hosts: list[str]
) -> None:
    with trio.move_on_after(0.4) as scope:
        await net.dial(dict.fromkeys(hosts, (SILENT, 0)))
    assert scope.cancelled_caught
    assert len(net.scenario.sockets) == len(hosts)
    assert net.scenario.open == []


async def test_a_connection_that_stands_when_the_race_is_cancelled_is_closed(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    scenario = Scenario({A: (0.4, 0), B: (SILENT, 0)})
    scenario.install(monkeypatch)
    with trio.CancelScope() as scope:
        scenario.on_outcome = scope.cancel
        await dial(addresses(A, B), 443, timeout_s=5)
    assert scope.cancelled_caught
    assert (trio.current_time(), scenario.open) == (0.4, [])


# ---------------------------------------------------------------- sockets


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (errno.EMFILE, DescriptorsExhausted),
        (errno.ENFILE, DescriptorsExhausted),
        (errno.EAFNOSUPPORT, ConnectFailed),
    ],
)
async def test_a_socket_that_cannot_be_made_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, code: int, error: type[WsproxyError]
) -> None:
    scenario = Scenario({})
    scenario.exhausted = code
    scenario.install(monkeypatch)
    for hosts in ([A], [A, B]):
        with pytest.raises(WsproxyError) as caught:
            await dial(addresses(*hosts), 1, timeout_s=5)
        assert type(caught.value) is error


async def test_a_real_connection_is_tuned_and_a_real_refusal_leaves_no_descriptor() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        sock, address = await dial(addresses("127.0.0.1"), port, timeout_s=5)
        assert (sock.getpeername(), str(address)) == (("127.0.0.1", port), "127.0.0.1")
        assert not sock.getblocking()
        sock.close()
        sock, _address = await dial(addresses("127.0.0.2", "127.0.0.1"), port, timeout_s=5)
        assert sock.getpeername() == ("127.0.0.1", port)
        sock.close()
    before = len(os.listdir("/proc/self/fd"))
    for hosts in (["127.0.0.1"], ["127.0.0.1", "127.0.0.2"]):
        with pytest.raises(ConnectRefused):
            await dial(addresses(*hosts), port, timeout_s=5)
    assert len(os.listdir("/proc/self/fd")) == before


# ---------------------------------------------------------------- where from

FROM_FOUR = {4: ip_address("127.0.0.5")}


@pytest.mark.parametrize(
    ("sources", "left"),
    [
        (ANY_SOURCE, [A, SIX, B]),
        (FROM_FOUR, [A, B]),
        ({6: ip_address("::1")}, [SIX]),
        ({**FROM_FOUR, 6: ip_address("::1")}, [A, SIX, B]),
    ],
)
def test_only_the_families_of_the_source_are_tried(sources: Sources, left: list[str]) -> None:
    assert list(fitting(addresses(A, SIX, B), sources)) == addresses(*left)


async def test_an_address_of_another_family_is_no_way(net: Net, autojump_clock: MockClock) -> None:
    with pytest.raises(ConnectFailed) as caught:
        await dial(addresses(SIX), 443, timeout_s=5, sources=FROM_FOUR)
    assert caught.value.detail == "the target has no address of the family to connect from"


@pytest.mark.parametrize("texts", [["127.0.0.1"], ["::1", "127.0.0.2", "127.0.0.1"]])
async def test_a_connection_comes_from_the_source(texts: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        sock, address = await dial(addresses(*texts), port, timeout_s=5, sources=FROM_FOUR)
        with sock, listener.accept()[0] as accepted:
            assert accepted.getpeername()[0] == "127.0.0.5"
            assert str(address) == "127.0.0.1"


async def test_two_connections_to_different_places_may_share_a_port() -> None:
    """What binding costs otherwise: a port of the 28 000 for each connection, wherever it leads."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket() as sock,
    ):
        nameless = begin(addresses("127.0.0.1")[0], listener.getsockname()[1], FROM_FOUR)
        with nameless.sock:
            option = nameless.sock.getsockopt(socket.IPPROTO_IP, 24)  # IP_BIND_ADDRESS_NO_PORT
        assert (option, sock.getsockopt(socket.IPPROTO_IP, 24)) == (1, 0)


@pytest.mark.parametrize("texts", [["127.0.0.1"], ["127.0.0.1", "127.0.0.2"]])
async def test_a_source_that_is_gone_is_our_own_fault(texts: list[str]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(SourceUnavailable) as caught:
        await dial(addresses(*texts), 1, timeout_s=5, sources={4: ip_address(A)})
    assert caught.value.detail == (
        "this machine cannot connect from 192.0.2.1: Cannot assign requested address"
    )
    assert len(os.listdir("/proc/self/fd")) == before
