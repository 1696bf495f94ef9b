"""A TLS endpoint that can stand wherever a non-blocking socket can.

Theory of operation.  `ssl.SSLObject` does the cryptography on two memory BIOs, and the
octets between them and the kernel are moved here, so the engine's pumps, the channels of
HTTP and everything else that reads, writes and waits for descriptors need not know TLS.
What they rely on, and what is kept:

* A read that does not fill the buffer has emptied the socket: records are decrypted until
  there is no whole one left, and the kernel is asked again until it has given less than
  asked for.  So what is decrypted never waits for an event that will not come.
* Who was told that not all was taken sends the rest again, first.  TLS cannot take back
  what it has encrypted; so when the kernel does not take all of it, the whole send counts
  as not taken, and the next one, which begins with the same octets, only says how far it
  has come meanwhile.
* The end of a direction is a close_notify and a FIN behind it (RFC 8446 §6.1); the other
  direction stays open.  A FIN without one may be an attacker's: it breaks the stream, but
  for those whose own framing tells them (`lenient`).
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Final

__all__ = ["Endpoint", "TlsSocket"]

_RAW_BYTES: Final = 64 * 1024
_MAX_FRUITLESS_BYTES: Final = 32 * 1024
"""Octets of the wire without one of the stream, and of our answers to such: a record has half as
many.  Key updates cost much and say nothing; a peer that sends nothing else holds everybody up."""
_raw = memoryview(bytearray(_RAW_BYTES))
"""Where every endpoint of the process reads into: nothing stays in it between two calls."""
_plain = memoryview(bytearray(_RAW_BYTES))


class TlsSocket:
    """One end of a TLS connection, not yet shaken hands; see `wsproxy.net.tls` for that.

    Args:
        sock: connected, non-blocking, maybe TLS itself; owned from here on.
        context: of our side.
        server_hostname: who the other side must be; None when we are the server.
        octets: already read from `sock`.

    Attributes:
        object: the protocol itself.
        lenient: an end without close_notify is an end all the same.
        received_bytes: octets from the kernel, those read before included.
        sent_bytes: octets the kernel took.
    """

    __slots__ = (
        "_ahead",
        "_broken",
        "_ended",
        "_fruitless",
        "_has_ended",
        "_incoming",
        "_outgoing",
        "_raw",
        "_ready",
        "_said_end",
        "_sock",
        "_unsent",
        "lenient",
        "object",
        "received_bytes",
        "sent_bytes",
    )

    def __init__(
        self,
        sock: Endpoint,
        context: ssl.SSLContext,
        *,
        server_hostname: str | None = None,
        octets: bytes = b"",
    ) -> None:
        self._sock = sock
        # TLS inside TLS: two may not share what they read into.
        own = isinstance(sock, TlsSocket)
        self._raw = memoryview(bytearray(_RAW_BYTES)) if own else _raw
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_hostname is None,
            server_hostname=server_hostname,
        )
        self._incoming.write(octets)
        self._ready = b""
        self._unsent = b""
        self._ahead = self._fruitless = 0
        self._has_ended = self._ended = self._said_end = self.lenient = False
        self._broken: OSError | None = None
        self.received_bytes, self.sent_bytes = len(octets), 0

    # ------------------------------------------------------------ as a socket

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._sock.fileno()

    def recv_into(self, buffer: bytearray | memoryview) -> int:
        """Octets that were decrypted into `buffer`; 0 at the end of the stream.

        Raises:
            BlockingIOError: nothing there yet.
            OSError: the connection is broken, or what comes over it is.
        """
        view = memoryview(buffer)
        filled = 0
        if self._ready:
            filled = min(len(view), len(self._ready))
            view[:filled] = self._ready[:filled]
            self._ready = self._ready[filled:]
        emptied = False
        while filled < len(view):
            count = self._decrypt(view[filled:])
            filled += count
            if count:
                continue
            if emptied or self._ended or self._broken:
                break
            try:
                size = self._sock.recv_into(self._raw)
            except BlockingIOError:
                break
            emptied = 0 < size < _RAW_BYTES
            self._fruitless += size
            self.give(self._raw[:size])
        if filled or self._ended:
            return filled
        raise self._broken or BlockingIOError

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Up to `size` octets, or 64 KiB; `socket.MSG_PEEK` leaves them there.

        Raises:
            BlockingIOError: nothing there yet.
            OSError: see `recv_into`.
        """
        if flags & socket.MSG_PEEK:
            if not self._ready:
                self._ready = bytes(_plain[: self.recv_into(_plain)])
            return self._ready[:size]
        view = _plain[:size]
        return bytes(view[: self.recv_into(view)])

    def send(self, data: bytes | memoryview) -> int:
        """How many octets are on their way; whoever gets less sends the rest again, first.

        Raises:
            BlockingIOError: none, for now.
            OSError: the connection is broken.
        """
        done = 0
        if self._unsent:
            if not self.flush():
                raise BlockingIOError
            done, self._ahead = self._ahead, 0
        rest = memoryview(data)[done:]
        if rest:
            self.object.write(rest)
            if not self.flush():
                self._ahead = len(rest)
                if not done:
                    raise BlockingIOError
                return done
        return len(data)

    def shutdown(self, _how: int) -> None:
        """Ends our direction (`socket.SHUT_WR`, the only one there is).

        Raises:
            BlockingIOError: not yet; to be said again when there is room.
            OSError: the connection is broken.
        """
        if not self._said_end:
            self._said_end = True
            # OpenSSL looks for the other side's end at once, and throws away what it finds instead.
            self._ready = self.take_ready()
            with contextlib.suppress(ssl.SSLError):
                self.object.unwrap()
        if not self.flush():
            raise BlockingIOError
        self._sock.shutdown(socket.SHUT_WR)

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """See `socket.socket.setsockopt`."""
        self._sock.setsockopt(level, option, value)

    def getsockopt(self, level: int, option: int) -> int:
        """See `socket.socket.getsockopt`."""
        return self._sock.getsockopt(level, option)

    def close(self) -> None:
        """Closes the socket at once."""
        self._sock.close()

    # ------------------------------------------------------------ what a socket has not

    def take_ready(self) -> bytes:
        """What is decrypted or can be without asking the kernel: no event tells of it."""
        if isinstance(self._sock, TlsSocket) and (octets := self._sock.take_ready()):
            self.give(octets)
        taken = bytearray(self._ready)
        self._ready = b""
        while count := self._decrypt(_plain):
            taken += _plain[:count]
        return bytes(taken)

    def give(self, octets: bytes | memoryview) -> None:
        """Takes octets that were read from the socket; none at its end."""
        self.received_bytes += len(octets)
        if octets:
            self._incoming.write(octets)
        else:
            self._has_ended = True
            self._incoming.write_eof()

    def flush(self) -> bool:
        """Sends what the protocol has to say; False when the kernel does not take all of it.

        Raises:
            OSError: the connection is broken.
        """
        if self._outgoing.pending:
            self._unsent += self._outgoing.read()
        while self._unsent:
            try:
                sent = self._sock.send(self._unsent)
            except BlockingIOError:
                return False
            self.sent_bytes += sent
            self._unsent = self._unsent[sent:]
        return True

    def _decrypt(self, view: memoryview) -> int:
        """Octets decrypted into `view`; 0 when there is no whole record, at the end and behind it."""
        if self._ended or self._broken:
            return 0
        if not (self._incoming.pending or self._has_ended or self.object.pending()):
            return 0  # to be told so by an exception costs more than a record
        count = 0
        try:
            count = self.object.read(len(view), view)  # type: ignore[assignment]  # with a buffer, a count
            self._ended = not count
            self._fruitless = 0
        except ssl.SSLWantReadError:
            if max(self._fruitless, self._outgoing.pending) > _MAX_FRUITLESS_BYTES:
                self._broken = ConnectionAbortedError("too much TLS without a word in it")
        except ssl.SSLZeroReturnError:  # the same as 0, when our side has ended before
            self._ended = True
        except ssl.SSLEOFError:
            if self.lenient:
                self._ended = True
            else:
                self._broken = ConnectionResetError("TLS ended without close_notify")
        except OSError as error:
            self._broken = error
        # Alerts, and answers to key updates.
        if self._outgoing.pending and not self._unsent:
            with contextlib.suppress(OSError):
                self.flush()
        return count


Endpoint = socket.socket | TlsSocket
"""What octets come from and go to."""
