"""G11: origins that die at every octet of TLS that the proxy looks into.

A message that was not finished must not look finished to the client, in any framing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import cast

import pytest
import trio

from tests.hostile.corpus.upgrade import HANDSHAKE
from tests.hostile.origins import accepting
from tests.hostile.strict import read_responses
from tests.hostile.talk import UPSTREAM, close, frame, text
from tests.hostile.tls_ends import TlsStream, exchange_inside, origin_context, secured
from tests.hostile.tls_room import ADDRESSES, Looked, at_once, fresh, lines, open_looking
from tests.support.rawnet import Behaviour, Connection, Exchange, open_origin, reset

_HOST = ADDRESSES["intercept"]


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    """A proxy that intercepts and does not wait for long."""
    timeouts = "timeouts: {tls_handshake: 2s}\n"
    with open_looking(tmp_path_factory.mktemp("deaths"), timeouts=timeouts) as looked:
        yield looked


def _handshake(authority: bytes, offset: int) -> bytes:
    line = b"GET /%d HTTP/1.1\r\nHost: %b\r\n" % (offset, authority)
    return line + b"\r\n".join([*HANDSHAKE, b"", b""])


_BODY = bytes(range(65, 91)) * 4
_OK = b"HTTP/1.1 200 OK\r\n"
_ACCEPT = b"@ACCEPT@"
MESSAGES = {
    "length": [_OK + b"Content-Length: %d\r\n\r\n" % len(_BODY), _BODY],
    "chunked": [
        _OK + b"Transfer-Encoding: chunked\r\n\r\n",
        b"68\r\n" + _BODY + b"\r\n",
        b"0\r\n\r\n",
    ],
    "until close": [_OK + b"\r\n", _BODY[:60], _BODY[60:]],
}


def _dying(pieces: list[bytes], death: str) -> tuple[Behaviour, dict[int, int]]:
    """Sends so many octets of the wire as the path says, each piece in a record, then dies.

    Returns:
        The behaviour, and how many octets of application data each offset has whole.
    """
    whole: dict[int, int] = {}

    async def behave(connection: Connection) -> None:
        if not await connection.receive_until(b"\r\n\r\n"):
            return
        match = re.match(rb"GET /(\d+) ", connection.received)
        assert match is not None
        offset = int(match[1])
        tls = cast(TlsStream, connection.stream)
        wire, said, ends = b"", 0, []
        for piece in pieces:
            octets = accepting(bytes(connection.received)) if piece == _ACCEPT else piece
            wire += tls.encrypt(octets)
            said += len(octets)
            ends.append((len(wire), said))
        wire += tls.farewell()
        whole[offset] = max((said for end, said in ends if end <= offset), default=0)
        if offset >= len(wire):
            whole[offset] = -1  # to its end, close_notify included
        with suppress(trio.BrokenResourceError):
            await tls.transport.send_all(wire[:offset])
            if death == "rst":
                reset(tls.transport)
            elif death == "half":
                await tls.transport.send_eof()
                with suppress(trio.BrokenResourceError):
                    while await tls.transport.receive_some(4096):
                        pass

    return behave, whole


async def _sweep(
    looked: Looked,
    mode: str,
    pieces: list[bytes],
    death: str,
    *,
    ask: Callable[[bytes, int], bytes],
    step: int,
    check: Callable[[Exchange, int], str | None],
) -> None:
    host = ADDRESSES[mode]
    behave, whole = _dying(pieces, death)
    size = sum(map(len, pieces)) + 22 * len(pieces) + 24 + 140 * (pieces[0] == _ACCEPT)
    offsets = [*range(0, size, step), size + 500]
    async with open_origin(secured(behave, [], origin_context()), host=host) as origin:
        authority = b"%b:%d" % (host.encode(), origin.port)

        async def run(at: int) -> list[str]:
            offset, source = offsets[at], fresh()
            tls = await looked.enter(authority, source)
            began_at = trio.current_time()
            seen = await exchange_inside(tls, [ask(authority, offset)])
            took_s = trio.current_time() - began_at
            await trio.to_thread.run_sync(looked.records_of, source, 2)
            if seen.ended is None:
                return [f"{offset}: hang"]
            problem = check(seen, whole[offset])
            slow = [f"{offset}: told after {took_s:.1f} s"] if took_s > 4 else []
            return slow + ([f"{offset}: {problem}; {seen}"] if problem else [])

        problems = await at_once(looked, len(offsets), run, limit=24)
    assert not problems, lines(problems)


@pytest.mark.parametrize("death", ["fin", "half", "rst"])
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("framing", MESSAGES)
async def test_a_cut_answer_is_never_completed(
    hurried: Looked, framing: str, version: bytes, death: str
) -> None:
    pieces = MESSAGES[framing]
    head_size, all_of_it = len(pieces[0]), sum(map(len, pieces))

    def ask(authority: bytes, offset: int) -> bytes:
        return b"GET /%d HTTP/%b\r\nHost: %b\r\nConnection: close\r\n\r\n" % (
            offset, version, authority,
        )  # fmt: skip

    def check(seen: Exchange, whole: int) -> str | None:
        is_whole = whole == -1 or (framing != "until close" and whole == all_of_it)
        if seen.received.startswith(b"HTTP/1.1 502 "):
            return "502 though all came" if is_whole and death != "rst" else None
        if 0 <= whole < head_size and death != "rst":
            return "no 502"
        if not seen.received:
            return None if death == "rst" and not is_whole else "silence"
        if version == b"1.0" and framing != "length":  # only the end of the connection tells
            body, complete = seen.received.partition(b"\r\n\r\n")[2], seen.ended == "eof"
        else:
            (response,), _ = read_responses(seen.received, ("GET",))
            body, complete = response.body, response.complete
        if not _BODY.startswith(body):
            return "other octets"
        if complete and not is_whole:
            return "completed"
        if not complete and is_whole and death != "rst":
            return "not completed"
        return None

    await _sweep(hurried, "intercept", pieces, death, ask=ask, step=11, check=check)


_TALK = [text(UPSTREAM, "hello"), frame(UPSTREAM, 0x82, bytes(40)), close(UPSTREAM, 1000, b"bye")]


@pytest.mark.parametrize("death", ["fin", "half", "rst"])
@pytest.mark.parametrize("mode", ["intercept", "log", "enforce"])
async def test_a_websocket_whose_origin_dies_delivers_what_came(
    hurried: Looked, mode: str, death: str
) -> None:
    """Frames tell what is whole, so an end without close_notify loses nothing."""
    pieces = [_ACCEPT, *_TALK]
    talk = b"".join(_TALK)
    head_size = len(accepting(_handshake(b"x", 0)))

    def check(seen: Exchange, whole: int) -> str | None:
        if seen.received.startswith(b"HTTP/1.1 502 "):
            return "502 though it switched" if whole >= head_size and death != "rst" else None
        if 0 <= whole < head_size:
            return None if death == "rst" else "no 502"
        got = seen.received.partition(b"\r\n\r\n")[2]
        due = talk if whole == -1 else talk[: whole - head_size]
        if death == "rst":
            return None if due.startswith(got) or got.startswith(b"\x88") else "other octets"
        if mode == "enforce":
            got = got[: len(due)]  # a Close of the proxy's own may follow
        return None if got == due else f"{len(got)} of {len(due)} octets"

    await _sweep(hurried, mode, pieces, death, ask=_handshake, step=17, check=check)


async def test_an_origin_may_die_at_every_octet_of_its_handshake(hurried: Looked) -> None:
    async def run(at: int) -> list[str]:
        source, last = fresh(), at * 40

        async def behave(connection: Connection) -> None:
            tls = TlsStream(connection.stream, origin_context())
            tls.give(await connection.receive())
            flight = tls.hello()
            await connection.send(flight[:last])
            if at % 2:
                reset(connection.stream)

        async with open_origin(behave, host=_HOST) as origin:
            authority = b"%b:%d" % (_HOST.encode(), origin.port)
            tls = await hurried.enter(authority, source)
            ask = b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % authority
            seen = await exchange_inside(tls, [ask])
        await trio.to_thread.run_sync(hurried.records_of, source, 2)
        good = seen.received.startswith(b"HTTP/1.1 502 ") and seen.ended == "eof"
        return [] if good else [f"{last}: {seen}"]

    problems = await at_once(hurried, 32, run)
    assert not problems, lines(problems)
