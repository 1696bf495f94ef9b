"""Ways through another proxy: CONNECT (RFC 9110 §9.3.6) and SOCKS5 (RFC 1928, RFC 1929).

A parent is asked for the target by its name, which it looks up itself.  Not an octet
behind its answer is read: that is the target's already.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final, Literal

import trio

from wsproxy.errors import ConnectFailed, ConnectTimeout, UpstreamClosed, UpstreamProtocolError
from wsproxy.model import Headers, Host, Target
from wsproxy.net.streams import TcpStream
from wsproxy.net.tickets import Tickets
from wsproxy.net.tls import start_upstream_tls
from wsproxy.net.tls_socket import Endpoint

__all__ = ["Parent", "enter", "open_way"]

_MAX_HEAD_BYTES: Final = 64 * 1024
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: |\r|\n)")
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")

# RFC 1928 §6.
_SOCKS_REPLIES: Final = {
    1: "general failure",
    2: "its rules do not allow it",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "the time to live expired",
    7: "it does not know CONNECT",
    8: "it does not know this kind of address",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A proxy behind this one.

    Attributes:
        name: in records and messages.
        kind: what it speaks; ``https``: HTTP over TLS to it.
        host: where it is.
        port: where it is.
        username: for it; empty: none.
        password: goes with it.
        token: for the Bearer scheme, in place of the two; empty: none.
        tickets: for the Negotiate scheme, in place of these.
        context: our side of TLS towards it; of ``https`` only.
    """

    name: str
    kind: Literal["http", "https", "socks5"]
    host: Host
    port: int
    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    tickets: Tickets | None = None
    context: ssl.SSLContext | None = None

    @property
    def authorization(self) -> list[tuple[bytes, bytes]]:
        """The field that proves to it who we are with every request, if it is to be proven so."""
        if self.token:
            return [(b"Proxy-Authorization", b"Bearer " + self.token.encode())]
        if not self.username:
            return []
        pair = base64.b64encode(f"{self.username}:{self.password}".encode())
        return [(b"Proxy-Authorization", b"Basic " + pair)]

    @property
    def takes_requests(self) -> bool:
        """Whether plain HTTP is asked of it in absolute-form, without a tunnel."""
        return self.kind != "socks5"


async def enter(sock: socket.socket, parent: Parent, *, timeout_s: float) -> Endpoint:
    """What to talk to `parent` over: `sock` itself, or TLS on it, which has proven who it is.

    Raises:
        UpstreamTlsError: it has not; `sock` is closed.
    """
    if parent.context is None:
        return sock
    return await start_upstream_tls(sock, parent.context, parent.host.text, timeout_s=timeout_s)


async def open_way(endpoint: Endpoint, parent: Parent, target: Target, *, timeout_s: float) -> None:
    """Has `parent` open a tunnel to `target`; afterwards `endpoint` leads there.

    Raises:
        ConnectFailed: it cannot, or may not.
        ConnectTimeout: it did not answer in time.
        UpstreamProtocolError: it does not speak what it should.
        UpstreamClosed: it hung up.
    """
    stream = TcpStream(endpoint)
    try:
        with trio.fail_after(timeout_s):
            if parent.kind == "socks5":
                await _ask_socks(stream, parent, target)
            else:
                await _ask_http(stream, parent, target)
    except trio.TooSlowError:
        raise ConnectTimeout(f"{parent.name} did not open a tunnel in time") from None
    except trio.BrokenResourceError as error:
        raise UpstreamClosed(f"{parent.name} broke the connection") from error


async def _ask_http(stream: TcpStream, parent: Parent, target: Target) -> None:
    authority = target.authority.encode("ascii")
    lines = [b"CONNECT %b HTTP/1.1" % authority, b"Host: " + authority]
    introduction = None if parent.tickets is None else await parent.tickets.introduce()
    fields = parent.authorization if introduction is None else [introduction.credentials]
    lines += [b"%b: %b" % one for one in fields]
    await stream.send_all(b"\r\n".join([*lines, b"", b""]))
    head = await _read_head(stream, parent)
    found = _STATUS_LINE.match(head)
    if found is None:
        raise UpstreamProtocolError(f"{parent.name} did not answer in HTTP")
    status = int(found[1])
    if status == 407:
        raise ConnectFailed(f"{parent.name} refuses our credentials")
    if not 200 <= status < 300:
        raise ConnectFailed(f"{parent.name} opens no tunnel to {target.authority}: {status}")
    if introduction is not None:
        introduction.check(_fields(head))


def _fields(head: bytes) -> Headers:
    """The fields of a head that is read for nothing but this."""
    parts = (line.partition(b":") for line in head.splitlines()[1:])
    return tuple((name, value.strip()) for name, colon, value in parts if colon)


async def _read_head(stream: TcpStream, parent: Parent) -> bytes:
    """Its answer's head, and not an octet more."""
    head = b""
    while True:
        await _wait_readable(stream)
        there = _peek(stream)
        found = _HEAD_END.search(head + there)
        wanted = len(there) if found is None else found.end() - len(head)
        head += await _read(stream, wanted, parent)
        if found is not None:
            return head
        if len(head) > _MAX_HEAD_BYTES:
            raise UpstreamProtocolError(f"{parent.name} sends a head without end")


async def _wait_readable(stream: TcpStream) -> None:
    while not stream.is_readable():
        await trio.lowlevel.wait_readable(stream.sock)
    await trio.lowlevel.checkpoint()


def _peek(stream: TcpStream) -> bytes:
    try:
        return stream.sock.recv(_MAX_HEAD_BYTES, socket.MSG_PEEK)
    except OSError as error:
        raise trio.BrokenResourceError(str(error)) from error


async def _read(stream: TcpStream, size: int, parent: Parent) -> bytes:
    """Exactly `size` octets; at least one is waited for."""
    data = b""
    while len(data) < max(size, 1):
        piece = await stream.receive_some(max(size, 1) - len(data))
        if not piece:
            raise UpstreamClosed(f"{parent.name} closed the connection")
        data += piece
    return data


async def _ask_socks(stream: TcpStream, parent: Parent, target: Target) -> None:
    method = 2 if parent.username else 0
    await stream.send_all(bytes((5, 1, method)))
    version, chosen = await _read(stream, 2, parent)
    if version != 5:
        raise UpstreamProtocolError(f"{parent.name} does not speak SOCKS5")
    if chosen != method:
        raise ConnectFailed(f"{parent.name} wants other credentials than ours")
    if parent.username:
        name, password = parent.username.encode(), parent.password.encode()
        sizes = bytes((len(name),)), bytes((len(password),))
        await stream.send_all(b"\x01" + sizes[0] + name + sizes[1] + password)
        _version, status = await _read(stream, 2, parent)
        if status:
            raise ConnectFailed(f"{parent.name} refuses our credentials")
    await stream.send_all(b"\x05\x01\x00" + _socks_address(target))
    version, reply, _reserved, kind = await _read(stream, 4, parent)
    if version != 5:
        raise UpstreamProtocolError(f"{parent.name} does not speak SOCKS5")
    if reply:
        why = _SOCKS_REPLIES.get(reply, f"reply {reply}")
        raise ConnectFailed(f"{parent.name} opens no tunnel to {target.authority}: {why}")
    sizes_of = {1: 4, 4: 16}
    size = sizes_of.get(kind) or (await _read(stream, 1, parent))[0]
    await _read(stream, size + 2, parent)


def _socks_address(target: Target) -> bytes:
    address, port = target.host.address, target.port.to_bytes(2, "big")
    if address is None:
        name = target.host.text.encode("ascii")
        return b"\x03" + bytes((len(name),)) + name + port
    kind = b"\x01" if isinstance(address, IPv4Address) else b"\x04"
    return kind + address.packed + port
