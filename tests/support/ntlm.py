"""An origin that takes NTLM, by pyspnego: it authenticates a connection, in three legs.

with run_ntlm_origin(folder, alice="secret") as origin:
    f"http://localhost:{origin.port}/", origin.served
"""

from __future__ import annotations

import base64
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import spnego
import spnego.exceptions

__all__ = ["NtlmOrigin", "run_ntlm_origin"]


@dataclass(slots=True)
class NtlmOrigin:
    """Such an origin.

    Attributes:
        port: of loopback.
        served: (port of the connection's other end, user) of each request that was served.
        asked: the ports of all connections that brought a request.
    """

    port: int
    served: list[tuple[int, str]] = field(default_factory=list)
    asked: set[int] = field(default_factory=set)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    origin: NtlmOrigin


class _Handler(BaseHTTPRequestHandler):
    """One connection: whoever was proven on it stays."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        """A new connection is nobody's."""
        super().setup()
        self._user = ""
        self._context = spnego.server(protocol="ntlm")

    def do_GET(self) -> None:
        """The user's name; or another leg."""
        port = self.client_address[1]
        self.server.origin.asked.add(port)
        scheme, _, encoded = self.headers.get("Authorization", "").partition(" ")
        answer = b""
        if scheme == "NTLM":
            self._user = ""
            try:
                answer = self._context.step(base64.b64decode(encoded)) or b""
                if self._context.complete:
                    self._user = str(self._context.client_principal).rpartition("\\")[2]
            except spnego.exceptions.SpnegoError:
                self._context = spnego.server(protocol="ntlm")
        if self._user:
            self.server.origin.served.append((port, self._user))
            self._answer(200, f"{self._user}\n".encode())
        else:
            challenge = b"NTLM " + base64.b64encode(answer) if answer else b"NTLM"
            self._answer(401, b"who are you?\n", challenge.decode())

    def _answer(self, status: int, body: bytes, challenge: str = "") -> None:
        self.send_response(status)
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silence: a test's output is its failures."""


@contextlib.contextmanager
def run_ntlm_origin(folder: Path, **passwords: str) -> Iterator[NtlmOrigin]:
    """The origin, which knows the users with these passwords."""
    users = folder / "ntlm-users"
    users.write_text("".join(f"CORP:{user}:{word}\n" for user, word in passwords.items()))
    with (
        pytest.MonkeyPatch.context() as patch,
        _Server(("127.0.0.1", 0), _Handler) as server,
    ):
        patch.setenv("NTLM_USER_FILE", str(users))
        server.origin = NtlmOrigin(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.origin
        finally:
            server.shutdown()
            thread.join()
