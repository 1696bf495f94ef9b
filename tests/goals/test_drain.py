"""Goal G6: SIGTERM refuses the new, lets the running finish, ends tunnels in time; twice is at once."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import trio

from tests.goals.room import Client, many_descriptors, receive_head, receive_rest
from tests.support.proxy_process import OPEN_TO_LOOPBACK, ProxyProcess, start_proxy
from tests.support.rawnet import Connection, RecordingOrigin, echo, open_origin

TUNNELS = 500
DOWNLOADS = 20
DRAIN_S = 2.0
HALF = b"x" * 5000
GUARD_S = 60.0


async def _open_tunnel(proxy: ProxyProcess, origin: RecordingOrigin) -> Client:
    sock = trio.socket.socket()
    await sock.connect(proxy.address)
    await sock.send(b"CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n" % origin.authority)
    assert await receive_head(sock) == b"HTTP/1.1 200 Connection established\r\n\r\n"
    return sock


async def _ping(sock: Client, octets: bytes) -> None:
    await sock.send(octets)
    received = b""
    while len(received) < len(octets):
        data = await sock.recv(100)
        assert data, "the tunnel ended"
        received += data
    assert received == octets


async def _wait_refused(proxy: ProxyProcess) -> int:
    """Connects until it is refused, and says how many tries that took."""
    for tries in range(1, 100_000):
        with trio.socket.socket() as sock:
            try:
                await sock.connect(proxy.address)
                # Taken into the backlog just before it was closed: that ends as well.
                await receive_rest(sock)
            except ConnectionRefusedError:
                return tries
    raise AssertionError("new connections are still taken")


async def _wait_exit(proxy: ProxyProcess) -> int:
    return await trio.to_thread.run_sync(proxy.wait)


async def test_a_signal_ends_everything_in_its_own_time(tmp_path: Path) -> None:
    finish = trio.Event()

    async def slow_download(connection: Connection) -> None:
        while await connection.receive_until(b"\r\n\r\n"):
            connection.received.clear()
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
            await connection.send(head % (2 * len(HALF)) + HALF)
            await finish.wait()
            await connection.send(HALF)

    config = f"{OPEN_TO_LOOPBACK}\ntimeouts: {{drain: {DRAIN_S:g}s}}\n"
    ended_after_s: list[float] = []
    ends: Counter[str] = Counter()
    bodies: list[tuple[int, str]] = []
    with (
        many_descriptors(4000),
        trio.fail_after(GUARD_S),
        start_proxy(config, tmp_path) as proxy,
    ):
        async with open_origin(echo) as echoing, open_origin(slow_download) as slow:
            tunnels = [await _open_tunnel(proxy, echoing) for _ in range(TUNNELS)]
            downloads = []
            get = b"GET http://%s/ HTTP/1.1\r\nHost: x\r\n\r\n" % slow.authority
            for _ in range(DOWNLOADS):
                sock = trio.socket.socket()
                await sock.connect(proxy.address)
                await sock.send(get)
                downloads.append((sock, await receive_head(sock)))
            told_at = trio.current_time()
            proxy.send_signal(signal.SIGTERM)
            tries = await _wait_refused(proxy)
            refused_after_s = trio.current_time() - told_at
            for number, sock in enumerate(tunnels):
                await _ping(sock, b"still here %d" % number)
            still_after_s = trio.current_time() - told_at

            async def see_tunnel_end(sock: Client) -> None:
                _, how = await receive_rest(sock)
                ended_after_s.append(trio.current_time() - told_at)
                ends[how] += 1
                sock.close()

            async def see_download_end(sock: Client, begun: bytes) -> None:
                rest, how = await receive_rest(sock)
                bodies.append((len((begun + rest).partition(b"\r\n\r\n")[2]), how))
                sock.close()

            async with trio.open_nursery() as nursery:
                for sock in tunnels:
                    nursery.start_soon(see_tunnel_end, sock)
                for sock, begun in downloads:
                    nursery.start_soon(see_download_end, sock, begun)
                finish.set()
            status = await _wait_exit(proxy)
            gone_after_s = trio.current_time() - told_at
        records = Counter(
            (r["kind"], r["status"], r["reason"]) for r in proxy.records(event="access")
        )
        stderr = proxy.stderr
    print(
        f"G6: {TUNNELS} tunnels, drain {DRAIN_S:g} s: refused after {refused_after_s:.2f} s "
        f"({tries} tries), tunnels alive at {still_after_s:.2f} s, ended from "
        f"{min(ended_after_s):.2f} to {max(ended_after_s):.2f} s ({dict(ends)}), "
        f"exit {status} after {gone_after_s:.2f} s"
    )
    assert bodies == [(2 * len(HALF), "eof")] * DOWNLOADS
    assert ends == {"eof": TUNNELS}
    assert min(ended_after_s) >= DRAIN_S - 0.05, "tunnels have until the deadline"
    assert status == 0
    assert records[("connect", 200, "drained")] == TUNNELS
    assert records[("forward", 200, "eof")] == DOWNLOADS
    # A try may have been taken just before the listener closed; it said nothing.
    assert TUNNELS + DOWNLOADS <= records.total() < TUNNELS + DOWNLOADS + tries
    assert "Traceback" not in stderr


async def test_a_second_signal_ends_everything_at_once(tmp_path: Path) -> None:
    config = f"{OPEN_TO_LOOPBACK}\ntimeouts: {{drain: 10m}}\n"
    with (
        many_descriptors(4000),
        trio.fail_after(GUARD_S),
        start_proxy(config, tmp_path) as proxy,
    ):
        async with open_origin(echo) as echoing:
            tunnels = [await _open_tunnel(proxy, echoing) for _ in range(TUNNELS)]
            proxy.send_signal(signal.SIGTERM)
            tries = await _wait_refused(proxy)
            await _ping(tunnels[0], b"still here")
            told_at = trio.current_time()
            proxy.send_signal(signal.SIGTERM)
            status = await _wait_exit(proxy)
            gone_after_s = trio.current_time() - told_at
            ends = Counter([(await receive_rest(sock))[1] for sock in tunnels])
            for sock in tunnels:
                sock.close()
        records = Counter((r["kind"], r["reason"]) for r in proxy.records(event="access"))
    print(f"G6: second signal: exit {status} after {gone_after_s:.2f} s, tunnels {dict(ends)}")
    assert status == 0
    assert ends.total() == TUNNELS
    assert records[("connect", "drained")] == TUNNELS
    assert TUNNELS <= records.total() < TUNNELS + tries


async def test_without_sessions_a_signal_is_the_end(tmp_path: Path) -> None:
    config = f"{OPEN_TO_LOOPBACK}\ntimeouts: {{drain: 10m}}\n"
    with trio.fail_after(GUARD_S), start_proxy(config, tmp_path) as proxy:
        idle = trio.socket.socket()
        await idle.connect(proxy.address)
        await idle.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await receive_head(idle)
        proxy.send_signal(signal.SIGTERM)
        assert (await receive_rest(idle))[1] == "eof", "an idle connection is not waited for"
        idle.close()
        assert await _wait_exit(proxy) == 0
