"""TCP as a trio stream, on a plain non-blocking socket.

trio's own `SocketStream` would do, but the relay engine wants the bare socket,
and a tunnel that waits for hours should not hold three wrapper objects.  What
`TcpStream` adds to the socket is one slot.
"""

from __future__ import annotations

import errno
import select
import socket
import sys

import trio

from wsproxy.net.tls_socket import Endpoint

__all__ = ["TcpStream", "is_exhausted", "tune", "wait_either_readable"]

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

RECEIVE_SIZE = 64 * 1024

_LINGER_BYTES = 1024 * 1024
_LINGER_S = 2.0


def is_exhausted(error: OSError) -> bool:
    """Whether the system is out of descriptors or memory for sockets."""
    return error.errno in _EXHAUSTED


def tune(sock: socket.socket) -> None:
    """Prepares a TCP socket: non-blocking, no Nagle delay."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def wait_either_readable(one: TcpStream, other: TcpStream) -> None:
    """Return when one of the two can be read."""
    if sys.platform == "linux":
        try:
            both = select.epoll(2)
        except OSError:
            pass  # no descriptor is left for it
        else:
            # A task costs sixty microseconds more than this does.
            with both:
                both.register(one.sock, select.EPOLLIN)
                both.register(other.sock, select.EPOLLIN)
                await trio.lowlevel.wait_readable(both)
            return
    await _wait_in_tasks(one, other)


async def _wait_in_tasks(one: TcpStream, other: TcpStream) -> None:
    async with trio.open_nursery() as nursery:

        async def hear(stream: TcpStream) -> None:
            await trio.lowlevel.wait_readable(stream.sock)
            nursery.cancel_scope.cancel()

        nursery.start_soon(hear, one)
        nursery.start_soon(hear, other)


class TcpStream(trio.abc.HalfCloseableStream):
    """A connected, non-blocking stream socket, or TLS on one.

    One task may send while another receives; two tasks must not do the same.

    Args:
        sock: owned by the stream until `detach`.
    """

    __slots__ = ("_sock",)

    def __init__(self, sock: Endpoint) -> None:
        self._sock: Endpoint | None = sock

    @property
    def sock(self) -> Endpoint:
        """The socket.

        Raises:
            trio.ClosedResourceError: closed or detached.
        """
        if self._sock is None:
            raise trio.ClosedResourceError("this stream is closed")
        return self._sock

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """At least one octet, at most `max_bytes` (64 KiB), or ``b""`` at the end.

        Raises:
            trio.BrokenResourceError: the connection failed.
        """
        sock = self.sock
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            try:
                data = sock.recv(max_bytes or RECEIVE_SIZE)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(sock)
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
            else:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return data

    def receive_nowait(self) -> bytes | None:
        """What is there, up to 64 KiB; ``b""`` at the end, None when nothing is there yet.

        Raises:
            trio.BrokenResourceError: the connection failed.
        """
        try:
            return self.sock.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return None
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Sends all of `data`; when cancelled, some, all or none of it was sent.

        Raises:
            trio.BrokenResourceError: the connection failed.
        """
        sock = self.sock
        await trio.lowlevel.checkpoint_if_cancelled()
        with memoryview(data) as view:
            sent = 0
            while sent < len(view):
                try:
                    sent += sock.send(view[sent:])
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(sock)
                except OSError as error:
                    raise trio.BrokenResourceError(str(error)) from error
        await trio.lowlevel.cancel_shielded_checkpoint()

    def send_nowait(self, data: bytes | memoryview) -> int:
        """How many octets of `data` the kernel takes at once; may be none.

        Raises:
            trio.BrokenResourceError: the connection failed.
        """
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def wait_send_all_might_not_block(self) -> None:
        """Returns when a send is likely to take something."""
        await trio.lowlevel.wait_writable(self.sock)

    async def send_eof(self) -> None:
        """Ends our direction; the peer's stays open."""
        await trio.lowlevel.checkpoint()
        while not self.end_nowait():
            await trio.lowlevel.wait_writable(self.sock)

    def end_nowait(self) -> bool:
        """Ends our direction if that needs no waiting; False when it does.

        Raises:
            trio.BrokenResourceError: the connection failed.
        """
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return False
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error
        return True

    def is_readable(self) -> bool:
        """Whether a read would return at once: data, end of stream or an error."""
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def detach(self) -> Endpoint:
        """Gives the socket away; the stream is closed afterwards."""
        sock, self._sock = self.sock, None
        return sock

    def close(self) -> None:
        """Closes at once, without waiting for anything."""
        if self._sock is not None:
            sock, self._sock = self._sock, None
            trio.lowlevel.notify_closing(sock)
            sock.close()

    async def linger(self) -> None:
        """Ends our side, then waits a moment for the peer to end its own, and closes.

        Closing while unread octets are on their way would reset the connection
        and could take our last words back from under the peer (RFC 9112 §9.6).
        """
        taken = 0
        try:
            with trio.move_on_after(_LINGER_S):
                await self.send_eof()
                while taken < _LINGER_BYTES and (data := await self.receive_some()):
                    taken += len(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.close()

    async def aclose(self) -> None:
        """Closes the socket."""
        self.close()
        await trio.lowlevel.checkpoint()
