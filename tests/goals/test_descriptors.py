"""Goal G12: 256 descriptors and 1000 clients: each gets an answer, nothing spins, and it recovers."""

from __future__ import annotations

import os
import resource
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from tests.goals.room import Client, cpu_s, many_descriptors, receive_head, receive_rest
from tests.support.proxy_process import OPEN_TO_LOOPBACK, PROJECT_ROOT, ProxyProcess
from tests.support.rawnet import echo, exchange, open_origin

CLIENTS = 1000
GUARD_S = 60.0
QUIET_S = 2.0
"""How long the proxy keeps a silent client; meanwhile nothing else happens."""
MAX_CPU_S_A_CLIENT = 0.02
"""Some twenty times what turning one away takes."""
MAX_QUIET_CPU_S = QUIET_S / 2
"""A loop that spins would take all of it."""


@contextmanager
def start_with_descriptors(config: str, tmp_path: Path, most: int) -> Iterator[ProxyProcess]:
    """The product under ``ulimit -n``."""
    file = tmp_path / "wsproxy.yaml"
    file.write_text(config)
    product = [sys.executable, "-m", "wsproxy", "run", "--config", str(file)]
    limited = ["/bin/sh", "-c", f'ulimit -n {most} && exec "$@"', "sh", *product]
    proxy = ProxyProcess(limited, env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)})
    try:
        proxy.wait_listening(1)
        yield proxy
    finally:
        proxy.kill()


class Flood:
    """1000 clients that want a tunnel each, at once, and keep what they get.

    Args:
        proxy: they go to.
        request: they send.
    """

    def __init__(self, proxy: ProxyProcess, request: bytes) -> None:
        self.proxy = proxy
        self.request = request
        self.answers: Counter[str] = Counter()
        self.tunnels: list[Client] = []
        self.answered = trio.Event()

    async def client(self) -> None:
        """One of them."""
        sock = trio.socket.socket()
        await sock.connect(self.proxy.address)
        try:
            await sock.send(self.request)
            head = await receive_head(sock)
        except (BrokenPipeError, ConnectionResetError):
            head = b""
        answer = head[9:12].decode() or "closed"
        self.answers[answer] += 1
        if answer == "200":
            self.tunnels.append(sock)
        else:
            await receive_rest(sock)
            sock.close()

    async def hang_up(self) -> None:
        """Ends all tunnels, after a last word in each."""
        for sock in self.tunnels:
            await sock.send(b"word")
            assert await sock.recv(10) == b"word"
            sock.close()


async def _fall_silent(proxy: ProxyProcess) -> Client:
    """A client that was served once, and says nothing any more."""
    sock = trio.socket.socket()
    await sock.connect(proxy.address)
    await sock.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await receive_head(sock)).startswith(b"HTTP/1.1 200 ")
    return sock


async def _wait_out(silent: Client) -> None:
    """The proxy ends it after `QUIET_S`: an event to wait for, in which nothing else happens."""
    _, how = await receive_rest(silent)
    assert how == "eof"
    silent.close()


async def test_a_flood_past_the_descriptors_is_answered_and_over(tmp_path: Path) -> None:
    config = f"{OPEN_TO_LOOPBACK}\ntimeouts: {{keep_alive: {QUIET_S:g}s}}\n"
    with (
        many_descriptors(6 * CLIENTS),
        trio.fail_after(GUARD_S),
        start_with_descriptors(config, tmp_path, 256) as proxy,
    ):
        async with open_origin(echo) as origin:
            silent = await _fall_silent(proxy)
            request = b"CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n" % origin.authority
            before_s = cpu_s(proxy.pid)
            flood = Flood(proxy, request)
            async with trio.open_nursery() as nursery:
                for _ in range(CLIENTS):
                    nursery.start_soon(flood.client)
            flood_cpu_s = cpu_s(proxy.pid) - before_s
            held, used = len(flood.tunnels), proxy.descriptors()
            await _wait_out(silent)
            quiet_cpu_s = cpu_s(proxy.pid) - before_s - flood_cpu_s
            await flood.hang_up()
            over = await _try_until_served(proxy, request)
        stderr = proxy.stderr
        running = proxy.is_running()
    print(
        f"G12: 256 descriptors, {CLIENTS} clients: {dict(flood.answers)}; {used} descriptors used; "
        f"{flood_cpu_s:.2f} s of CPU, then {quiet_cpu_s:.3f} s in the quiet; "
        f"served again after {over} tries"
    )
    assert running
    assert "Traceback" not in stderr
    assert set(flood.answers) <= {"200", "503", "closed"}
    assert flood.answers.total() == CLIENTS
    assert held >= 50, "a tunnel takes two descriptors, and most of them are for tunnels"
    assert used <= 256
    assert flood_cpu_s < CLIENTS * MAX_CPU_S_A_CLIENT
    assert quiet_cpu_s < MAX_QUIET_CPU_S


async def test_no_descriptor_at_all_is_waited_out(tmp_path: Path) -> None:
    """The limit falls while the proxy runs, so that its own count cannot keep it from EMFILE."""
    config = f"{OPEN_TO_LOOPBACK}\ntimeouts: {{keep_alive: {QUIET_S:g}s}}\n"
    with (
        many_descriptors(6 * CLIENTS),
        trio.fail_after(GUARD_S),
        start_with_descriptors(config, tmp_path, 2048) as proxy,
    ):
        async with open_origin(echo) as origin:
            request = b"CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n" % origin.authority
            first = Flood(proxy, request)
            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(first.client)
            silent = await _fall_silent(proxy)
            _, hard = resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE)
            most = proxy.descriptors()
            resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (most, hard))
            before_s = cpu_s(proxy.pid)
            second = Flood(proxy, request)
            async with trio.open_nursery() as nursery:
                for _ in range(CLIENTS):
                    nursery.start_soon(second.client)
                await _wait_out(silent)
                full_cpu_s = cpu_s(proxy.pid) - before_s
                resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (hard, hard))
            await first.hang_up()
            await second.hang_up()
            over = await _try_until_served(proxy, request)
        stderr = proxy.stderr
        running = proxy.is_running()
    print(
        f"G12: no descriptor for {QUIET_S:g} s, {CLIENTS} clients: {dict(second.answers)}; "
        f"{full_cpu_s:.3f} s of CPU meanwhile; served again after {over} tries"
    )
    assert running
    assert "Traceback" not in stderr
    assert first.answers == {"200": 50}
    assert set(second.answers) <= {"200", "502", "503", "closed"}
    assert second.answers.total() == CLIENTS
    assert full_cpu_s < MAX_QUIET_CPU_S


async def _try_until_served(proxy: ProxyProcess, request: bytes) -> int:
    """Good requests until one gets its tunnel; how many that took."""
    for tries in range(1, 1000):
        answer = await exchange(proxy.address, [request, b"word"], eof=True)
        if answer.received.startswith(b"HTTP/1.1 200 "):
            assert answer.received.endswith(b"\r\n\r\nword")
            assert answer.ended == "eof"
            return tries
        assert answer.received[:13] in {b"", b"HTTP/1.1 503 "}, answer
    raise AssertionError("never again")
