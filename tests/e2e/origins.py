"""The servers behind the proxy: nginx, an application behind nginx, a WebSocket echo server.

They are started once for the whole run, each on ports that were free, and
stopped by the object that started them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme
from websockets.sync.server import Server, ServerConnection, serve

from tests.support.programs import free_port, wait_listening

from .wire import PATIENCE_S

LARGE_BYTES = 64 * 1024 * 1024
_BLOCK = bytes(range(251)) * 4177  # a length prime to every buffer size


@dataclass(frozen=True, slots=True)
class Certificates:
    """A throw-away authority and what the servers present.

    Attributes:
        authority: PEM file that clients trust.
        chain: PEM file with the server's certificate for localhost and 127.0.0.1.
        key: PEM file of its private key.
    """

    authority: Path
    chain: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """For a Python server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        return context

    def client_context(self) -> ssl.SSLContext:
        """For a Python client that verifies."""
        return ssl.create_default_context(cafile=str(self.authority))


def make_certificates(directory: Path) -> Certificates:
    """A new authority and one server certificate below `directory`."""
    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1", "::1")
    made = Certificates(
        directory / "authority.pem", directory / "server.pem", directory / "server.key"
    )
    authority.cert_pem.write_to_path(str(made.authority))
    made.key.write_bytes(server.private_key_pem.bytes())
    made.chain.write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
    return made


class _Application(BaseHTTPRequestHandler):
    """Tells what arrived, as JSON: the body's size and digest, the framing, every field."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with a description of the request; ``/chunked`` answers chunked."""
        if self.path == "/chunked":
            self._send_chunked([b"one, ", b"two, ", b"three"])
            return
        self._describe(b"")

    def do_POST(self) -> None:
        """Read the whole body, then describe it."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = self._read_chunked()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._describe(body)

    do_PUT = do_POST
    do_DELETE = do_POST
    do_OPTIONS = do_GET

    def _describe(self, body: bytes) -> None:
        text = json.dumps(
            {
                "method": self.command,
                "path": self.path,
                "peer": "{}:{}".format(*self.client_address[:2]),
                "fields": [[name.lower(), value] for name, value in self.headers.items()],
                "length": len(body),
                "sha256": hashlib.sha256(body).hexdigest(),
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _send_chunked(self, parts: list[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in [*parts, b""]:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            self.wfile.flush()

    def _read_chunked(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def log_message(self, format: str, *args: object) -> None:
        """Silence: a test's output is its failures."""


class _ApplicationServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


@contextlib.contextmanager
def run_application() -> Iterator[int]:
    """The application on a free port of loopback, which is yielded."""
    with _ApplicationServer(("127.0.0.1", 0), _Application) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True, slots=True)
class EchoServer:
    """A WebSocket server that speaks ``chat`` and sends every message back.

    Attributes:
        port: of ``ws://``.
        tls_port: of ``wss://``.
    """

    port: int
    tls_port: int


def _echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


@contextlib.contextmanager
def run_echo_server(certificates: Certificates) -> Iterator[EchoServer]:
    """The echo server, with and without TLS."""
    logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        ports = []
        for context in (None, certificates.server_context()):
            server = stack.enter_context(
                serve(
                    _echo,
                    "127.0.0.1",
                    0,
                    ssl=context,
                    subprotocols=["chat"],  # type: ignore[list-item]
                    max_size=32 * 1024 * 1024,
                )
            )
            stack.enter_context(served(server))
            ports.append(server.socket.getsockname()[1])
        yield EchoServer(*ports)


@contextlib.contextmanager
def served(server: Server) -> Iterator[None]:
    """Lets `server` serve from a thread."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


@dataclass(frozen=True, slots=True)
class Nginx:
    """A running nginx.

    Attributes:
        port: of ``http://127.0.0.1`` and ``http://[::1]``.
        tls_port: of ``https://``.
        root: the folder it serves.
        log: its access log, one ``connection number, request line`` a line.
    """

    port: int
    tls_port: int
    root: Path
    log: Path

    @property
    def http(self) -> str:
        """Its URL without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def https(self) -> str:
        """Its URL over TLS, without a path."""
        return f"https://127.0.0.1:{self.tls_port}"

    def large_slice(self, first: int, last: int) -> bytes:
        """Bytes `first` to `last`, both included, of ``/large.bin``."""
        with (self.root / "large.bin").open("rb") as file:
            file.seek(first)
            return file.read(last - first + 1)


_CONFIGURATION = """
daemon off;
worker_processes 1;
pid {prefix}/nginx.pid;
error_log {prefix}/error.log warn;
events {{ worker_connections 512; }}
http {{
    types {{ text/html html; text/plain txt; application/octet-stream bin; }}
    log_format pairs '$connection $request';
    access_log {log} pairs;
    client_body_temp_path {prefix}/body;
    proxy_temp_path {prefix}/proxy;
    fastcgi_temp_path {prefix}/fastcgi;
    uwsgi_temp_path {prefix}/uwsgi;
    scgi_temp_path {prefix}/scgi;
    server {{
        listen 127.0.0.1:{port};
        listen [::1]:{port};
        listen 127.0.0.1:{tls_port} ssl;
        listen [::1]:{tls_port} ssl;
        ssl_certificate {chain};
        ssl_certificate_key {key};
        root {root};
        client_max_body_size 128m;
        location /application/ {{
            proxy_pass http://127.0.0.1:{application}/;
            proxy_http_version 1.1;
            proxy_request_buffering off;
        }}
        location /small-uploads/ {{
            client_max_body_size 1k;
            proxy_pass http://127.0.0.1:{application}/;
        }}
        location /nothing {{ return 204; }}
        if_modified_since before;
        location /websocket {{
            proxy_pass http://127.0.0.1:{echo};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }}
    }}
}}
"""


@contextlib.contextmanager
def run_nginx(
    directory: Path, certificates: Certificates, *, application: int, echo: int
) -> Iterator[Nginx]:
    """Debian's nginx in the foreground, with everything it writes below `directory`.

    Args:
        directory: its prefix.
        certificates: what it presents on its TLS port.
        application: port that ``/application/`` is handed to.
        echo: port that ``/websocket`` is handed to.
    """
    root = directory / "root"
    root.mkdir()
    (root / "file.txt").write_bytes(b"a small file\n")
    with (root / "large.bin").open("wb") as file:
        for start in range(0, LARGE_BYTES, len(_BLOCK)):
            file.write(_BLOCK[: LARGE_BYTES - start])
    for page in (Path(__file__).parent / "pages").iterdir():
        (root / page.name).write_bytes(page.read_bytes())
    server = Nginx(free_port(), free_port(), root, directory / "access.log")
    configuration = directory / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            prefix=directory,
            root=root,
            log=server.log,
            port=server.port,
            tls_port=server.tls_port,
            chain=certificates.chain,
            key=certificates.key,
            application=application,
            echo=echo,
        )
    )
    # Started as root, its workers drop to an account that cannot enter pytest's private folders.
    directives = "user root;" if os.geteuid() == 0 else ""
    process = subprocess.Popen(
        ["/usr/sbin/nginx", "-p", str(directory), "-c", str(configuration), "-g", directives]
    )
    try:
        wait_listening(server.tls_port, process)
        yield server
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        (root / "large.bin").unlink()
