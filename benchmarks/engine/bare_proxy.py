"""A CONNECT proxy with nothing around the relay engine, to measure the engine alone.

Usage: ``python benchmarks/engine/bare_proxy.py PORT [epoll|epoll-nosplice|trio]``
"""

from __future__ import annotations

import resource
import socket
import sys

import trio

from wsproxy.net.engine import Engine, RelayLimits, best_engine

LIMITS = RelayLimits(idle_timeout_s=3600, lifetime_s=86400)


async def connect(head: bytes) -> socket.socket:
    host, _, port = head.split(b" ", 2)[1].decode().rpartition(":")
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        sock.connect((host, int(port)))
    except BlockingIOError:
        await trio.lowlevel.wait_writable(sock)
    return sock


async def serve(engine: Engine, client: socket.socket) -> None:
    client.setblocking(False)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await trio.lowlevel.wait_readable(client)
    head = client.recv(4096)
    if not head:
        client.close()
        return
    upstream = await connect(head)
    del head
    client.send(b"HTTP/1.1 200 OK\r\n\r\n")
    await engine.relay(client, upstream, LIMITS)


async def main(port: int, kind: str) -> None:
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    listener.setblocking(False)
    async with trio.open_nursery() as nursery:
        engine = make_engine(kind)
        await nursery.start(engine.run)
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                for _ in range(64):
                    nursery.start_soon(serve, engine, listener.accept()[0])
            except BlockingIOError:
                pass


def make_engine(kind: str) -> Engine:
    if kind == "trio":
        from wsproxy.net.engine_trio import TrioEngine

        return TrioEngine()
    if kind == "epoll-nosplice":
        from wsproxy.net.engine_epoll import EpollEngine

        return EpollEngine(pipes=0)
    return best_engine()


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    trio.run(main, int(sys.argv[1]), (sys.argv[2:] or ["epoll"])[0])
