"""Names to addresses: what the system says, within a deadline, with bounded threads."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest
import trio

from wsproxy.errors import ResolveFailed, ResolveTimeout
from wsproxy.model import Host
from wsproxy.net import resolve
from wsproxy.net.resolve import Resolver

LookUp = Callable[..., list[tuple[object, ...]]]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Callable[[LookUp], None]:
    """Puts a function in the place of the system's resolver."""
    return lambda look_up: monkeypatch.setattr(socket, "getaddrinfo", look_up)


def answers(*addresses: str) -> LookUp:
    found: list[tuple[object, ...]] = [
        (socket.AF_INET6 if ":" in text else socket.AF_INET, 1, 6, "", (text, 0))
        for text in addresses
    ]

    def look_up(name: str, port: None, *, type: int) -> list[tuple[object, ...]]:
        return found

    return look_up


def fails(error: Exception) -> LookUp:
    def look_up(name: str, port: None, *, type: int) -> list[tuple[object, ...]]:
        raise error

    return look_up


@pytest.mark.parametrize("text", ["192.0.2.1", "2001:db8::1"])
async def test_an_address_is_its_own_answer_and_nobody_is_asked(
    system: Callable[[LookUp], None], text: str
) -> None:
    system(fails(AssertionError("asked")))
    address = ip_address(text)
    assert await Resolver(5).resolve(Host(text, address)) == (address,)


async def test_answers_keep_the_systems_order_without_duplicates(
    system: Callable[[LookUp], None],
) -> None:
    system(answers("2001:db8::2", "192.0.2.9", "2001:db8::2", "192.0.2.1", "192.0.2.9"))
    assert await Resolver(5).resolve(Host("x.test")) == tuple(
        ip_address(text) for text in ("2001:db8::2", "192.0.2.9", "192.0.2.1")
    )


async def test_a_zone_of_an_answer_is_cut_off(system: Callable[[LookUp], None]) -> None:
    system(answers("fe80::1%eth0"))
    assert await Resolver(5).resolve(Host("x.test")) == (ip_address("fe80::1"),)


@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        OSError("resolver broke"),
        UnicodeEncodeError("idna", "x", 0, 1, "label too long"),
    ],
)
async def test_a_name_without_an_address_is_a_failure_that_names_it(
    system: Callable[[LookUp], None], error: Exception
) -> None:
    system(fails(error))
    with pytest.raises(ResolveFailed) as caught:
        await Resolver(5).resolve(Host("x.test"))
    assert caught.value.detail == "no address for x.test"


@pytest.fixture
def dead(system: Callable[[LookUp], None]) -> Iterator[list[str]]:
    """A resolver that answers nobody until the test is over; who asked it."""
    over, asked = threading.Event(), list[str]()

    def hang(name: str, port: None, *, type: int) -> list[tuple[object, ...]]:
        asked.append(name)
        over.wait(30)
        return []

    system(hang)
    yield asked
    over.set()


async def test_a_look_up_that_takes_too_long_is_left_behind(dead: list[str]) -> None:
    with trio.fail_after(10), pytest.raises(ResolveTimeout) as caught:
        await Resolver(0.03).resolve(Host("slow.test"))
    assert (caught.value.detail, dead) == (
        "the resolver did not answer for slow.test",
        ["slow.test"],
    )


async def test_a_dead_resolver_holds_a_bounded_number_of_threads(
    dead: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "_MAX_LOOKUPS", 2)
    resolver = Resolver(0.1)
    late: list[str] = []

    async def ask(name: str) -> None:
        with pytest.raises(ResolveTimeout):
            await resolver.resolve(Host(name))
        late.append(name)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(ask, f"n{number}.test")
    assert (len(late), len(dead)) == (5, 2)


async def test_a_cancelled_look_up_is_left_behind(dead: list[str]) -> None:
    with trio.fail_after(10), trio.move_on_after(0.03) as scope:
        await Resolver(60).resolve(Host("slow.test"))
    assert scope.cancelled_caught


async def test_the_real_resolver_knows_localhost() -> None:
    found = await Resolver(10).resolve(Host("localhost"))
    assert found
    assert all(address.is_loopback for address in found)
