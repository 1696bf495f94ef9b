"""Goal G5: a reload drops nothing, loses nothing, and holds from the first connection behind it.

WebSockets echo and requests are answered all the while; one reload in four is of a configuration
that cannot be used.  In turn a reload denies and allows one port, so that it shows which
configuration holds.  `RELOADS=200 PACE_S=0.25 make goals` is the goal's full measure.
"""

from __future__ import annotations

import os
import re
import signal
import statistics
from collections import Counter
from pathlib import Path

import trio

from tests.goals.chats import open_chat, say, serve_chats
from tests.goals.room import Client, many_descriptors, receive_head
from tests.support.proxy_process import OPEN_TO_LOOPBACK, ProxyProcess, start_proxy
from tests.support.rawnet import open_origin

RELOADS = int(os.environ.get("RELOADS", "24"))
PACE_S = float(os.environ.get("PACE_S", "0"))
TUNNELS = 500
REQUESTS_AT_ONCE = 4
BASELINE = 400
GUARD_S = 60.0 + RELOADS
DENYING = "  rules: [{name: shut, action: deny, when: {ports: [%d]}}]\n"


class _Load:
    """What goes on while the configuration changes."""

    def __init__(self, proxy: ProxyProcess, authority: bytes) -> None:
        self._proxy = proxy
        self._authority = authority
        self.over = False
        self.echoed = 0
        self.statuses: Counter[bytes] = Counter()
        self.waits_s: list[float] = []
        self.warm = trio.Event()

    async def echo(self, sock: Client, number: int) -> None:
        """Says numbered messages, each as soon as the one before is back."""
        sequence = 0
        with sock:
            while not self.over:
                await say(sock, number, sequence)
                sequence += 1
                self.echoed += 1
                await trio.sleep(0.5)

    async def ask(self) -> None:
        """One request on a connection of its own."""
        began_at = trio.current_time()
        with trio.socket.socket() as sock:
            await sock.connect(self._proxy.address)
            await sock.send(b"GET http://%s/ HTTP/1.1\r\nHost: x\r\n\r\n" % self._authority)
            head = await receive_head(sock)
        self.statuses[head[9:12]] += 1
        self.waits_s.append(trio.current_time() - began_at)
        if len(self.waits_s) == BASELINE:
            self.warm.set()

    async def ask_on(self) -> None:
        while not self.over:
            await self.ask()
            await trio.sleep(0.02)

    def p99_ms(self) -> float:
        """Of the requests since this was asked last."""
        waits_s, self.waits_s = self.waits_s, []
        return statistics.quantiles(waits_s, n=100)[98] * 1000


async def _status_of(proxy: ProxyProcess, port: int) -> bytes:
    with trio.socket.socket() as sock:
        await sock.connect(proxy.address)
        await sock.send(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % port)
        return (await receive_head(sock))[9:12]


class _Reloads:
    """A proxy's configuration file, and what came of changing it."""

    def __init__(self, proxy: ProxyProcess, folder: Path) -> None:
        self._proxy = proxy
        (self._file,) = folder.glob("wsproxy-*.yaml")
        self._outcomes: Counter[str] = Counter()

    async def reload(self, text: str, outcome: str) -> None:
        """Returns when stderr has said the outcome once more."""
        self._outcomes[outcome] += 1
        # Atomic, or it would try every choice of fewer outcomes.
        pattern = rf"\A(?s:(?>.*?{outcome})){{{self._outcomes[outcome]}}}"
        self._file.write_text(text)
        self._proxy.send_signal(signal.SIGHUP)
        await trio.to_thread.run_sync(lambda: self._proxy.wait_stderr(pattern))


async def test_g5_reloads_under_load_drop_nothing(tmp_path: Path) -> None:
    with many_descriptors(4000), start_proxy(OPEN_TO_LOOPBACK, tmp_path) as proxy:
        reloads = _Reloads(proxy, tmp_path)
        with trio.fail_after(GUARD_S):
            async with open_origin(serve_chats) as origin:
                port = int(origin.authority.rpartition(b":")[2])
                load = _Load(proxy, origin.authority)
                async with trio.open_nursery() as nursery:
                    for number in range(TUNNELS):
                        nursery.start_soon(
                            load.echo, await open_chat(proxy.address, origin.authority), number
                        )
                    for _ in range(REQUESTS_AT_ONCE):
                        nursery.start_soon(load.ask_on)
                    await load.warm.wait()
                    before_ms = load.p99_ms()
                    denied = False
                    for number in range(RELOADS):
                        if number % 4 == 3:
                            await reloads.reload("listners: []\n", "nothing has changed")
                        else:
                            denied = not denied
                            # Another port than the one the load goes to.
                            rules = DENYING % (port ^ 1) if denied else ""
                            await reloads.reload(OPEN_TO_LOOPBACK + rules, "reloaded: ")
                        expected = b"403" if denied else b"502"
                        assert await _status_of(proxy, port ^ 1) == expected, number
                        await trio.sleep(PACE_S)
                    during_ms = load.p99_ms()
                    load.over = True
        assert set(load.statuses) == {b"200"}
        assert load.echoed > TUNNELS
        ended = re.findall(r"; (\d+) of \d+ sessions", proxy.stderr)
        assert set(ended) == {"0"}
        assert all(one["reason"] != "revoked" for one in proxy.records(event="access"))
    print(
        f"\nG5: {RELOADS} reloads, {TUNNELS} WebSockets, {load.echoed} messages, "
        f"{sum(load.statuses.values())} requests: none lost; "
        f"p99 {before_ms:.1f} ms before, {during_ms:.1f} ms during ({during_ms / before_ms:.2f}x)"
    )
