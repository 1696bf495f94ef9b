"""The origin of the conformance run: an echo server that never hurries.

`websockets`' protocol core with the thinnest driver there is.  Its own asyncio and
threading servers hand a message to one task while another task reads on, so whether the
echo of a good message comes before the Close for a bad frame behind it depends on how
TCP cut the bytes, and some verdicts (cases 3.*, 4.*, 5.15) change from run to run.  Here
every message is echoed the moment its last frame is parsed: what this origin answers
depends on the octets it gets and on nothing else, and a proxy that gives it the same
octets gets the same verdicts.

One process a connection, so every core works and no connection waits for another.

    python -m tests.conformance.echo [PEM_OF_KEY_AND_CERTIFICATE]
"""

from __future__ import annotations

import codecs
import socket
import socketserver
import ssl
import sys

from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

__all__ = ["main"]

_READ_BYTES = 1 << 18
_IDLE_TIMEOUT_S = 150.0  # longer than a case waits for an answer: 100 s, cases 9.*
_DEFLATE_LEVEL = 1  # what is measured is the proxy: this is half the time of a run


class _EchoProtocol(ServerProtocol):
    """Answers from inside the parser, and checks text as it comes (RFC 6455 section 8.1)."""

    def __init__(self) -> None:
        deflate = ServerPerMessageDeflateFactory(compress_settings={"level": _DEFLATE_LEVEL})
        super().__init__(max_size=None, extensions=[deflate])
        self._opcode = Opcode.CONT
        self._parts: list[bytes] = []
        self._text = codecs.getincrementaldecoder("utf-8")()

    def recv_frame(self, frame: Frame) -> None:
        """Takes one frame that came whole; called by the parser, which answers what this raises."""
        super().recv_frame(frame)
        self.events.clear()  # nobody asks for them: a message is answered here
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        if frame.opcode is not Opcode.CONT:
            self._opcode = frame.opcode
            self._text.reset()
        if self._opcode is Opcode.TEXT:
            self._text.decode(frame.data, frame.fin)
        self._parts.append(bytes(frame.data))
        if frame.fin and self.state is State.OPEN:
            self.send_frame(Frame(self._opcode, b"".join(self._parts)))
            self._parts.clear()


class _Connection(socketserver.BaseRequestHandler):
    """Moves octets between the socket and the protocol until both have closed."""

    request: socket.socket
    server: _Server

    def handle(self) -> None:
        """Serves one connection; runs in its own process."""
        self.request.settimeout(_IDLE_TIMEOUT_S)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.server.context is not None:
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
        protocol = _EchoProtocol()
        try:
            while data := self.request.recv(_READ_BYTES):
                protocol.receive_data(data)
                self._accept(protocol)
                self._flush(protocol)
            protocol.receive_eof()
            self._flush(protocol)
        except OSError:
            pass  # reset or silent: the case that did it says what that means

    def _accept(self, protocol: _EchoProtocol) -> None:
        if protocol.state is not State.CONNECTING:
            return
        for event in protocol.events_received():
            if isinstance(event, Request):
                protocol.send_response(protocol.accept(event))

    def _flush(self, protocol: _EchoProtocol) -> None:
        for data in protocol.data_to_send():
            if data:
                self.request.sendall(data)
            else:
                self.request.shutdown(socket.SHUT_WR)


class _Server(socketserver.ForkingTCPServer):
    allow_reuse_address = True
    request_queue_size = 128
    block_on_close = False
    max_children = 256
    context: ssl.SSLContext | None = None


def main(arguments: list[str]) -> None:
    """Serves echoes on a free port of loopback, written to stdout as one line, until killed."""
    server = _Server(("127.0.0.1", 0), _Connection)
    for pem in arguments:
        server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.context.load_cert_chain(pem)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
