"""Name servers: real ones, broken ones, and when which is asked."""

from __future__ import annotations

import errno
import logging
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.support.fakedns import answer, run_fake_dns
from tests.support.nsd import Nsd, run_nsd
from wsproxy.model import Address
from wsproxy.net import nameservers
from wsproxy.net.answers import Answer
from wsproxy.net.nameservers import NameServer, NameServers

LOOPBACK = ip_address("127.0.0.1")
FOUR, SIX = "192.0.2.1", "2001:db8::1"
ZONE = """
$ORIGIN test.
$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 20
@ NS ns
ns A 127.0.0.1
both A 192.0.2.1
both AAAA 2001:db8::1
both TXT "no address"
four A 192.0.2.1
four A 192.0.2.2
six AAAA 2001:db8::1
short 2 A 192.0.2.1
alias 100 CNAME next
next 7 CNAME both
dangling CNAME nowhere
only TXT "no address"
"""
MANY = "".join(f"many A 10.0.{number >> 8}.{number & 255}\n" for number in range(200))


def addresses(*texts: str) -> tuple[Address, ...]:
    return tuple(ip_address(text) for text in texts)


async def ask(*ports: int, name: str = "x.test", timeout_s: float = 5.0) -> Answer:
    servers = NameServers([NameServer(LOOPBACK, port) for port in ports])
    return await servers.look_up(name, trio.current_time() + timeout_s)


# ---------------------------------------------------------------- a real one


@pytest.fixture(scope="module")
def nsd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nsd]:
    with run_nsd(tmp_path_factory.mktemp("nsd"), ZONE + MANY) as server:
        yield server


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("both.test", Answer(addresses(SIX, FOUR), 300.0)),
        ("four.test", Answer(addresses(FOUR, "192.0.2.2"), 20.0)),
        ("six.test", Answer(addresses(SIX), 20.0)),
        ("short.test", Answer(addresses(FOUR), 2.0)),
        ("alias.test", Answer(addresses(SIX, FOUR), 7.0)),
        ("dangling.test", Answer((), 20.0, "NXDOMAIN", "NXDOMAIN")),
        ("nowhere.test", Answer((), 20.0, "NXDOMAIN", "NXDOMAIN")),
        ("only.test", Answer((), 20.0, "NOERROR", "it exists, and has none")),
        ("other.example", Answer((), None, "REFUSED", "REFUSED")),
    ],
)
async def test_a_real_server_is_understood(nsd: Nsd, name: str, expected: Answer) -> None:
    found = await ask(nsd.port, name=name)
    assert (set(found.addresses), found.ttl_s, found.rcode if not found.addresses else "") == (
        set(expected.addresses),
        expected.ttl_s,
        expected.rcode,
    )
    assert found.why == expected.why
    versions = [address.version for address in found.addresses]
    assert versions == sorted(versions, reverse=True), "IPv6 stands first"


async def test_an_answer_that_does_not_fit_is_asked_for_over_tcp(nsd: Nsd) -> None:
    found = await ask(nsd.port, name="many.test")
    assert len(found.addresses) == 16, "and no more of it is kept than may be tried"
    assert len(set(found.addresses)) == 16


# ---------------------------------------------------------------- what a question looks like


async def test_both_kinds_are_asked_from_random_ports_with_random_ids() -> None:
    with run_fake_dns(lambda query, _tcp: [answer(query, FOUR, SIX)]) as server:
        for _ in range(8):
            assert (await ask(server.port)).addresses == addresses(SIX, FOUR)
    assert sorted(set(server.asked)) == ["A x.test", "AAAA x.test"]
    assert len(server.asked) == 16, "each once"
    # 16 of 28 000 and of 65 536 values: two that are the same happen, eight do not.
    assert len(set(server.ports)) > 8
    assert len(set(server.ids)) > 8


@pytest.mark.parametrize("over_tcp", [False, True])
async def test_a_server_may_have_an_address_of_ipv6(over_tcp: bool) -> None:
    def say(query: dns.message.Message, tcp: bool) -> Sequence[bytes]:
        octets = bytearray(answer(query, FOUR))
        octets[2] |= 0x02 if over_tcp and not tcp else 0  # TC
        return [bytes(octets)]

    with run_fake_dns(say, "::1") as server:
        servers = NameServers([NameServer(ip_address("::1"), server.port)])
        found = await servers.look_up("x.test", trio.current_time() + 5)
    assert found.addresses == addresses(FOUR)
    assert len(server.asked) == (4 if over_tcp else 2)


async def test_a_name_is_asked_as_it_is_without_search_domains() -> None:
    with run_fake_dns(lambda query, _tcp: [answer(query, FOUR)]) as server:
        await ask(server.port, name="intranet")
    assert set(server.asked) == {"A intranet", "AAAA intranet"}


# ---------------------------------------------------------------- answers that are none

Bad = Callable[[dns.message.Message], Sequence[bytes]]


def renumbered(query: dns.message.Message) -> Sequence[bytes]:
    octets = answer(query, "192.0.2.66", "2001:db8::66")
    return [struct.pack("!H", query.id ^ 1) + octets[2:]]


def other_question(query: dns.message.Message) -> Sequence[bytes]:
    asked = query.question[0]
    other = dns.message.make_query("evil.test.", asked.rdtype, id=query.id)
    return [answer(other, "192.0.2.66", "2001:db8::66")]


def other_owner(query: dns.message.Message) -> Sequence[bytes]:
    reply = dns.message.make_response(query)
    reply.answer.append(dns.rrset.from_text("evil.test.", 60, "IN", "A", "192.0.2.66"))
    return [reply.to_wire()]


def odd_types(query: dns.message.Message) -> Sequence[bytes]:
    reply = dns.message.make_response(query)
    name = query.question[0].name
    reply.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", '"192.0.2.66"'))
    reply.answer.append(dns.rrset.from_text(name, 60, "IN", "MX", "10 evil.test."))
    reply.answer.append(dns.rrset.from_text(name, 60, "IN", "HTTPS", "1 . ipv4hint=192.0.2.66"))
    reply.additional.append(dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.66"))
    return [reply.to_wire()]


def chain(query: dns.message.Message) -> Sequence[bytes]:
    reply = dns.message.make_response(query)
    name = query.question[0].name
    for number in range(40):
        target = dns.name.from_text(f"c{number}.test.")
        reply.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", target.to_text()))
        name = target
    reply.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.66"))
    return [reply.to_wire()]


def circle(query: dns.message.Message) -> Sequence[bytes]:
    reply = dns.message.make_response(query)
    for owner, target in ((query.question[0].name, "y.test."), ("y.test.", "x.test.")):
        reply.answer.append(dns.rrset.from_text(owner, 60, "IN", "CNAME", target))
    return [reply.to_wire()]


def pointers(query: dns.message.Message) -> Sequence[bytes]:
    """An owner whose name begins where it points to."""
    head = struct.pack("!HHHHHH", query.id, 0x8180, 1, 1, 0, 0)
    question = query.question[0].name.to_wire() or b""
    at = len(head) + len(question) + 4
    kind = struct.pack("!HH", query.question[0].rdtype, 1)
    record = struct.pack("!H", 0xC000 | at) + kind + struct.pack("!IH", 60, 4) + b"\xc0\0\2\x42"
    return [head + question + kind + record]


def denying_and_telling(query: dns.message.Message) -> Sequence[bytes]:
    return [answer(query, "192.0.2.66", "2001:db8::66", rcode="NXDOMAIN")]


def cut(query: dns.message.Message) -> Sequence[bytes]:
    return [answer(query, "192.0.2.66", "2001:db8::66")[:-3]]


def not_a_response(query: dns.message.Message) -> Sequence[bytes]:
    return [query.to_wire()]


def garbage(query: dns.message.Message) -> Sequence[bytes]:
    return [b"", b"\0", b"\xff" * 700]


UNUSABLE = Answer((), None, "", "the answer of the name server cannot be used")
NONE = Answer((), 300.0, "NOERROR", "it exists, and has none")
LATE = Answer(late=True)


@pytest.mark.parametrize(
    ("bad", "alone"),
    [
        (renumbered, LATE),
        (not_a_response, LATE),
        (garbage, LATE),
        (other_question, UNUSABLE),
        (chain, UNUSABLE),
        (circle, UNUSABLE),
        (pointers, UNUSABLE),
        (denying_and_telling, UNUSABLE),
        (cut, UNUSABLE),
        (other_owner, NONE),
        (odd_types, NONE),
    ],
)
async def test_a_bad_answer_is_none(
    bad: Bad, alone: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nameservers, "_TRY_S", 0.1)
    with run_fake_dns(lambda query, _tcp: bad(query)) as server:
        assert await ask(server.port, timeout_s=0.5) == alone
        if alone is NONE:
            return
        with run_fake_dns(lambda query, _tcp: [answer(query, FOUR)]) as honest:
            assert (await ask(server.port, honest.port)).addresses == addresses(FOUR)


async def test_the_right_answer_behind_wrong_ones_counts() -> None:
    def say(query: dns.message.Message, _tcp: bool) -> Sequence[bytes]:
        return [*garbage(query), *renumbered(query), answer(query, FOUR)]

    with run_fake_dns(say) as server:
        assert (await ask(server.port)).addresses == addresses(FOUR)


async def test_octets_from_another_address_reach_nobody() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.2", 0))

        def say(query: dns.message.Message, _tcp: bool) -> Sequence[bytes]:
            forged = answer(query, "192.0.2.66", "2001:db8::66")
            other.sendto(forged, ("127.0.0.1", server.ports[-1]))
            return [answer(query, FOUR)]

        with run_fake_dns(say) as server:
            assert (await ask(server.port)).addresses == addresses(FOUR)


@pytest.mark.parametrize("count", [300, 4000])
async def test_a_huge_answer_is_not_read(count: int) -> None:
    texts = [f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}" for number in range(count)]

    def say(query: dns.message.Message, tcp: bool) -> Sequence[bytes]:
        if tcp:
            return [answer(query, *texts)]
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.TC
        return [reply.to_wire()]

    with run_fake_dns(say) as server:
        assert await ask(server.port) == UNUSABLE


@pytest.mark.parametrize("piece", [b"", b"\0" * 11])
async def test_a_stream_that_ends_too_early_is_no_answer(piece: bytes) -> None:
    def say(query: dns.message.Message, tcp: bool) -> Sequence[bytes]:
        if tcp:
            return [piece] if piece else []
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.TC
        return [reply.to_wire()]

    with run_fake_dns(say) as server:
        assert await ask(server.port) == UNUSABLE


QUERY = dns.message.make_query("x.test.", "A", id=7)


@given(
    st.lists(st.tuples(st.integers(12, 400), st.integers(0, 255)), max_size=8), st.integers(0, 9)
)
def test_reading_what_was_tampered_with_has_one_kind_of_exception(
    edits: list[tuple[int, int]], lost: int
) -> None:
    octets = bytearray(answer(QUERY, *(f"192.0.2.{number}" for number in range(20))))
    for at, value in edits:
        octets[at % len(octets)] = value
    try:
        message = dns.message.from_wire(bytes(octets[: len(octets) - lost]))
        if QUERY.is_response(message):
            assert len(nameservers._read(message).addresses) <= 16
    except dns.exception.DNSException:
        pass


# ---------------------------------------------------------------- several servers


async def test_a_server_that_is_not_there_costs_no_time(nsd: Nsd) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        dead = nobody.getsockname()[1]
    assert await ask(dead) == Answer((), None, "", "no name server can be reached")
    assert (await ask(dead, nsd.port, name="short.test")).addresses == addresses(FOUR)


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "NOTIMP", "FORMERR"])
async def test_a_server_that_fails_is_followed_by_the_next(rcode: str) -> None:
    with (
        run_fake_dns(lambda query, _tcp: [answer(query, rcode=rcode)]) as failing,
        run_fake_dns(lambda query, _tcp: [answer(query, FOUR)]) as good,
    ):
        assert await ask(failing.port) == Answer((), None, rcode, rcode)
        assert (await ask(failing.port, good.port)).addresses == addresses(FOUR)
        assert (await ask(good.port, failing.port)).addresses == addresses(FOUR)
    assert len(failing.asked) == 4, "whoever stands behind a good one is not asked"


async def test_a_name_that_does_not_exist_is_not_asked_for_elsewhere() -> None:
    with (
        run_fake_dns(lambda query, _tcp: [answer(query, rcode="NXDOMAIN")]) as first,
        run_fake_dns(lambda query, _tcp: [answer(query, FOUR)]) as second,
    ):
        assert (await ask(first.port, second.port)).rcode == "NXDOMAIN"
    assert second.asked == []


class Script:
    """Servers as a test wants them, under a mock clock.

    Attributes:
        says: by number of the server and kind, after how many seconds it says what.
        asked: when which server was asked what.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        self.says: dict[tuple[int, str], tuple[float, nameservers._Reply | Exception]] = {}
        self.asked: list[tuple[float, int, str]] = []
        self.servers = NameServers([NameServer(LOOPBACK, number) for number in range(count)])
        monkeypatch.setattr(nameservers, "_ask_one", self._ask_one)

    async def _ask_one(
        self, server: NameServer, _name: dns.name.Name, kind: nameservers.Kind
    ) -> nameservers._Reply:
        text = dns.rdatatype.to_text(kind)
        self.asked.append((round(trio.current_time(), 3), server.port, text))
        after_s, said = self.says.get((server.port, text), (1e9, OSError()))
        await trio.sleep(after_s)
        if isinstance(said, Exception):
            raise said
        return said

    async def look_up(self, timeout_s: float = 5.0) -> tuple[float, Answer]:
        began_at = trio.current_time()
        answer = await self.servers.look_up("x.test", began_at + timeout_s)
        return round(trio.current_time() - began_at, 3), answer

    def asked_for(self, kind: str = "A") -> list[tuple[float, int]]:
        return [(at, server) for at, server, text in self.asked if text == kind]


def reply(*texts: str, ttl_s: float = 60.0) -> nameservers._Reply:
    return nameservers._Reply(addresses(*texts), ttl_s, "NOERROR")


ABSENT = nameservers._Reply((), 60.0, "NXDOMAIN", "NXDOMAIN")
NODATA = nameservers._Reply((), 60.0, "NOERROR", "none")
FAILED = nameservers._Reply((), None, "SERVFAIL", "SERVFAIL")


@pytest.mark.parametrize(
    ("four", "six", "took_s", "expected"),
    [
        ((0.1, reply(FOUR)), (0.1, reply(SIX)), 0.1, Answer(addresses(SIX, FOUR), 60.0)),
        # RFC 8305 §3: IPv6 gets 50 ms more, and no more.
        ((0.1, reply(FOUR)), (0.14, reply(SIX)), 0.14, Answer(addresses(SIX, FOUR), 60.0)),
        ((0.1, reply(FOUR)), (0.2, reply(SIX)), 0.15, Answer(addresses(FOUR), 10.0)),
        ((0.1, reply(FOUR)), (0.1, FAILED), 0.1, Answer(addresses(FOUR), 10.0)),
        ((0.1, reply(FOUR)), (0.12, NODATA), 0.12, Answer(addresses(FOUR), 60.0)),
        ((0.1, reply(FOUR)), (0.1, ABSENT), 0.1, Answer(addresses(FOUR), 60.0)),
        # IPv4 is waited for.
        ((0.7, reply(FOUR)), (0.1, reply(SIX)), 0.7, Answer(addresses(SIX, FOUR), 60.0)),
        ((9.9, reply(FOUR)), (0.1, reply(SIX)), 5.0, Answer(addresses(SIX), 10.0)),
        ((0.1, NODATA), (0.9, reply(SIX)), 0.9, Answer(addresses(SIX), 60.0)),
        ((0.1, NODATA), (0.2, NODATA), 0.2, Answer((), 60.0, "NOERROR", "none")),
        ((0.1, NODATA), (0.2, FAILED), 0.2, Answer((), None, "SERVFAIL", "SERVFAIL")),
        ((0.1, FAILED), (0.2, ABSENT), 0.2, Answer((), 60.0, "NXDOMAIN", "NXDOMAIN")),
        ((0.1, ABSENT), (9.9, NODATA), 5.0, Answer((), 60.0, "NXDOMAIN", "NXDOMAIN")),
        ((0.1, NODATA), (9.9, NODATA), 5.0, LATE),
        ((9.9, NODATA), (9.9, NODATA), 5.0, LATE),
    ],
)
async def test_two_replies_make_one_answer(
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
    four: tuple[float, nameservers._Reply],
    six: tuple[float, nameservers._Reply],
    took_s: float,
    expected: Answer,
) -> None:
    script = Script(monkeypatch, 1)
    monkeypatch.setattr(nameservers, "_TRY_S", 100.0)
    script.says = {(0, "A"): four, (0, "AAAA"): six}
    assert await script.look_up() == (took_s, expected)


async def test_a_silent_server_is_asked_again_after_the_others_and_longer(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    script = Script(monkeypatch, 2)
    assert await script.look_up(10.0) == (10.0, LATE)
    assert script.asked_for() == [(0, 0), (1, 1), (2, 0), (4, 1), (6, 0)]


async def test_a_server_that_kept_silent_is_asked_last_for_a_while(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wsproxy")
    script = Script(monkeypatch, 2)
    script.says = {(1, kind): (0.0, reply(FOUR)) for kind in ("A", "AAAA")}
    assert (await script.look_up())[0] == 1.0
    script.asked.clear()
    assert (await script.look_up())[0] == 0.0
    assert script.asked_for() == [(1, 1)]
    # When its time is over one question tries it; the other goes round it.
    await trio.sleep(30)
    script.asked.clear()
    await script.look_up()
    first = sorted(script.asked)[:2]
    assert [(at, server) for at, server, _kind in first] == [(31, 0), (31, 1)]
    # And it is the first again as soon as it says something.
    script.says |= {(0, kind): (0.0, reply(FOUR)) for kind in ("A", "AAAA")}
    await trio.sleep(31)
    for _ in range(2):
        script.asked.clear()
        assert (await script.look_up())[0] == 0.0
    assert {server for _at, server, _kind in script.asked} == {0}
    assert [record.getMessage() for record in caplog.records] == [
        "name server 127.0.0.1:0 does not answer; it is asked last for a while",
        "name server 127.0.0.1:0 answers again",
    ]


@pytest.mark.parametrize(("code", "down"), [(errno.ECONNREFUSED, True), (errno.EMFILE, False)])
async def test_that_we_have_no_socket_left_makes_no_server_dead(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock, code: int, down: bool
) -> None:
    script = Script(monkeypatch, 1)
    script.says = {(0, kind): (0.0, OSError(code, "no")) for kind in ("A", "AAAA")}
    _took_s, answer = await script.look_up()
    assert answer == Answer((), None, "", "no name server can be reached")
    (server,) = script.servers._servers
    assert (server.down_until is not None) is down


async def test_a_name_that_nobody_can_answer_for_makes_no_server_dead(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    script = Script(monkeypatch, 2)
    # The other kind of the same name is answered meanwhile.
    script.says = {
        (0, "AAAA"): (0.5, reply(SIX)),
        (1, "A"): (0.0, reply(FOUR)),
    }
    await script.look_up()
    script.says[0, "A"] = (0.0, reply(FOUR))
    script.asked.clear()
    await script.look_up()
    assert script.asked_for() == [(1, 0)]
