"""Names to addresses: what the system says, within a deadline, with bounded threads."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest
import trio
from trio.testing import MockClock

from wsproxy.errors import ResolveFailed, ResolveTimeout
from wsproxy.model import Host
from wsproxy.net import resolve
from wsproxy.net.answers import Answer, AnswerCache
from wsproxy.net.resolve import LocalNames, Resolver

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


# ---------------------------------------------------------------- remembered, shared, local


class Told:
    """Somebody who can be asked, and says what the test has him say.

    Attributes:
        answers: by name.
        asked: every name, in order.
        after_s: how long it takes.
    """

    def __init__(self, **answers: Answer) -> None:
        self.answers = {f"{name}.test": answer for name, answer in answers.items()}
        self.asked: list[str] = []
        self.after_s = 0.0

    async def look_up(self, name: str, deadline: float) -> Answer:
        self.asked.append(name)
        with trio.move_on_at(deadline):
            await trio.sleep(self.after_s)
            return self.answers.get(name, Answer((), 5.0, "NXDOMAIN", "NXDOMAIN"))
        return Answer(late=True)


def found(*texts: str, ttl_s: float | None = 30.0) -> Answer:
    return Answer(tuple(ip_address(text) for text in texts), ttl_s)


X, Y = Host("x.test"), Host("y.test")


async def test_an_answer_is_remembered_for_as_long_as_it_holds(autojump_clock: MockClock) -> None:
    names = Told(x=found("192.0.2.1"))
    resolver = Resolver(5, names=names, cache=AnswerCache())
    assert resolver.known(X) is None
    for _ in range(3):
        assert await resolver.resolve(X) == (ip_address("192.0.2.1"),)
    names.answers["x.test"] = found("192.0.2.2")
    await trio.sleep(29.9)
    assert resolver.known(X) == (ip_address("192.0.2.1"),)
    assert names.asked == ["x.test"]
    await trio.sleep(0.1)
    assert resolver.known(X) is None
    assert await resolver.resolve(X) == (ip_address("192.0.2.2"),)
    assert names.asked == ["x.test", "x.test"]


async def test_a_wall_clock_that_jumps_changes_nothing(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = Resolver(5, names=Told(x=found("192.0.2.1")), cache=AnswerCache())
    await resolver.resolve(X)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert resolver.known(X) is not None
    monkeypatch.setattr(time, "time", lambda: 1e12)
    assert resolver.known(X) is not None


async def test_that_there_is_no_such_name_is_remembered_too(autojump_clock: MockClock) -> None:
    names = Told()
    resolver = Resolver(5, names=names, cache=AnswerCache())
    for _ in range(3):
        with pytest.raises(ResolveFailed) as caught:
            await resolver.resolve(X)
        assert (caught.value.detail, caught.value.rcode) == (
            "no address for x.test: NXDOMAIN",
            "NXDOMAIN",
        )
        assert resolver.known(X) is None
    assert names.asked == ["x.test"]
    await trio.sleep(5)
    with pytest.raises(ResolveFailed):
        await resolver.resolve(X)
    assert names.asked == ["x.test"] * 2


@pytest.mark.parametrize("answer", [Answer((), None, "SERVFAIL", "SERVFAIL"), Answer(late=True)])
async def test_that_nobody_knows_is_not_remembered(
    autojump_clock: MockClock, answer: Answer
) -> None:
    names = Told(x=answer)
    resolver = Resolver(5, names=names, cache=AnswerCache())
    for _ in range(2):
        with pytest.raises(ResolveTimeout if answer.late else ResolveFailed):
            await resolver.resolve(X)
    assert names.asked == ["x.test"] * 2


async def test_without_a_cache_every_request_asks(autojump_clock: MockClock) -> None:
    names = Told(x=found("192.0.2.1"))
    resolver = Resolver(5, names=names)
    for _ in range(2):
        await resolver.resolve(X)
        assert resolver.known(X) is None
    assert names.asked == ["x.test"] * 2


async def test_what_the_system_says_is_remembered_for_a_second(
    system: Callable[[LookUp], None], mock_clock: MockClock
) -> None:
    asked: list[str] = []

    def look_up(name: str, port: None, *, type: int) -> list[tuple[object, ...]]:
        asked.append(name)
        if name == "x.test":
            return answers("192.0.2.1")(name, port, type=type)
        raise socket.gaierror(socket.EAI_NONAME if name == "y.test" else socket.EAI_AGAIN, "no")

    system(look_up)
    resolver = Resolver(5, cache=AnswerCache())

    async def ask_all() -> None:
        await resolver.resolve(X)
        for name in ("y.test", "again.test"):
            with pytest.raises(ResolveFailed):
                await resolver.resolve(Host(name))

    await ask_all()
    await ask_all()
    assert sorted(asked) == ["again.test", "again.test", "x.test", "y.test"]
    mock_clock.jump(1.0)
    asked.clear()
    await ask_all()
    assert sorted(asked) == ["again.test", "x.test", "y.test"]


@pytest.mark.parametrize("cache", [True, False])
async def test_a_stampede_is_one_question(autojump_clock: MockClock, cache: bool) -> None:
    names = Told(x=found("192.0.2.1"))
    names.after_s = 1.0
    resolver = Resolver(5, names=names, cache=AnswerCache() if cache else None)
    got: list[object] = []

    async def ask(host: Host) -> None:
        try:
            got.append(await resolver.resolve(host))
        except ResolveFailed as error:
            got.append(error.detail)

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(ask, X)
            nursery.start_soon(ask, Y)
    assert sorted(names.asked) == ["x.test", "y.test"]
    assert got.count((ip_address("192.0.2.1"),)) == 100
    assert got.count("no address for y.test: NXDOMAIN") == 100
    assert trio.current_time() == 1.0


async def test_when_whoever_asks_leaves_one_of_the_others_asks(autojump_clock: MockClock) -> None:
    names = Told(x=found("192.0.2.1"))
    names.after_s = 2.0
    resolver = Resolver(5, names=names)
    done: list[float] = []

    async def ask() -> None:
        await resolver.resolve(X)
        done.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(1.0):
            async with trio.open_nursery() as gone:
                gone.start_soon(ask)
                await trio.sleep(0.5)
                for _ in range(5):
                    nursery.start_soon(ask)
    assert (names.asked, done) == (["x.test"] * 2, [3.0] * 5)


async def test_everybody_who_waits_has_a_deadline_of_his_own(autojump_clock: MockClock) -> None:
    names = Told()
    names.after_s = 1e9
    resolver = Resolver(5, names=names)
    late: list[float] = []

    async def ask(begin_s: float) -> None:
        await trio.sleep(begin_s)
        with pytest.raises(ResolveTimeout):
            await resolver.resolve(X)
        late.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as gone:
                gone.start_soon(ask, 0.0)
                await trio.sleep(1.0)
                for begin_s in (0.0, 1.0):
                    nursery.start_soon(ask, begin_s)
                await trio.sleep(3.0)
                scope.cancel()
    # The first is gone at 4 s. One of the others asks until its own time is over, and the
    # other waits for that, or for its own time to be over.
    assert (late[0], names.asked) == (6.0, ["x.test"] * 2)
    assert late[1] in (6.0, 7.0)


LOCAL = LocalNames(
    {
        "feed.test": [ip_address("192.0.2.1"), ip_address("2001:db8::1")],
        "*.corp.test": [ip_address("10.0.0.1")],
        "*.lab.corp.test": [ip_address("10.0.0.2")],
        "a.lab.corp.test": [ip_address("10.0.0.3")],
    }
)


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("feed.test", ["192.0.2.1", "2001:db8::1"]),
        ("x.corp.test", ["10.0.0.1"]),
        ("y.x.corp.test", ["10.0.0.1"]),
        ("b.lab.corp.test", ["10.0.0.2"]),
        ("a.lab.corp.test", ["10.0.0.3"]),
        ("c.a.lab.corp.test", ["10.0.0.2"]),
    ],
)
async def test_nobody_is_asked_for_a_name_of_the_configuration(name: str, texts: list[str]) -> None:
    names = Told()
    resolver = Resolver(5, names=names, local=LOCAL)
    expected = tuple(ip_address(text) for text in texts)
    assert resolver.known(Host(name)) == expected
    assert await resolver.resolve(Host(name)) == expected
    assert names.asked == []


@pytest.mark.parametrize("name", ["test", "corp.test", "x.feed.test", "xcorp.test", "feed"])
async def test_somebody_is_asked_for_all_others(name: str, autojump_clock: MockClock) -> None:
    names = Told()
    with pytest.raises(ResolveFailed):
        await Resolver(5, names=names, local=LOCAL).resolve(Host(name))
    assert names.asked == [name]


async def test_only_so_many_addresses_of_the_system_count(
    system: Callable[[LookUp], None],
) -> None:
    system(answers(*(f"10.0.{number >> 8}.{number & 255}" for number in range(500))))
    assert len(await Resolver(5).resolve(X)) == 32
