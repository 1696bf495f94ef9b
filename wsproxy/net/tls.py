"""TLS towards both sides: whom we trust, what we offer, and the handshakes (RFC 8446, RFC 5246).

What both sides get is the same: TLS 1.2 at least, http/1.1 and nothing else, no
renegotiation, no compression, and keys and signatures of 112 bits of security at least
(OpenSSL's security level 2), in the origin's whole chain.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import trio

from wsproxy.errors import ClientTlsError, UpstreamTlsError
from wsproxy.model import Certificate
from wsproxy.net.streams import TcpStream
from wsproxy.net.tls_socket import Endpoint, TlsSocket

__all__ = [
    "ACCESS_DENIED",
    "certificate_of",
    "leaf_context",
    "listener_context",
    "start_client_tls",
    "start_upstream_tls",
    "upstream_context",
]

ACCESS_DENIED: Final = bytes((21, 3, 3, 0, 2, 2, 49))
"""A fatal alert, for a client that has only said hello yet (RFC 8446 §6.2)."""

_RECEIVE_BYTES: Final = 64 * 1024
_CIPHERS: Final = "DEFAULT@SECLEVEL=2"
_ALPN: Final = ["http/1.1"]
_TICKETS: Final = 1

_NO_PROTOCOL: Final = "no application protocol"
"""Of alert 120, for which Python 3.11 has no name."""

_NO_CERTIFICATE: Final = "PEER_DID_NOT_RETURN_A_CERTIFICATE"

# Alerts of clients that do not trust a certificate, as OpenSSL names them.
_DISTRUST: Final = frozenset(
    {
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "SSLV3_ALERT_NO_CERTIFICATE",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "TLSV1_ALERT_ACCESS_DENIED",
        "TLSV1_ALERT_DECRYPT_ERROR",
        "TLSV1_ALERT_UNKNOWN_CA",
    }
)


def upstream_context(
    *,
    ca_files: Sequence[Path] = (),
    crl_files: Sequence[Path] = (),
    certificate: tuple[Path, Path] | None = None,
    system: bool = True,
    key_log: Path | None = None,
) -> ssl.SSLContext:
    """Our side towards origins: who may vouch for them, and who we are.

    Args:
        ca_files: PEM files of more authorities.
        crl_files: PEM files of revocation lists; with any, there must be a current one of
            every issuer in a chain, the root included, or no connection is made.
        certificate: PEM files of a client certificate with its chain, and its key.
        system: whether the system's authorities count.
        key_log: where session keys are written; see `ssl.SSLContext.keylog_filename`.

    Raises:
        OSError: a file cannot be read, or is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.hostname_checks_common_name = False
    context.verify_flags |= ssl.VERIFY_X509_TRUSTED_FIRST
    if system:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    for file in (*ca_files, *crl_files):
        context.load_verify_locations(file)
    if crl_files:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    if certificate is not None:
        context.load_cert_chain(*certificate, password="")
    return _harden(context, key_log)


def leaf_context(pem: bytes, *, key_log: Path | None = None) -> ssl.SSLContext:
    """Our side towards clients.

    Args:
        pem: key, leaf and chain.
        key_log: see `upstream_context`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = _TICKETS
    with _as_file(pem) as path:
        context.load_cert_chain(path)
    return _harden(context, key_log)


def listener_context(
    certificate: Path,
    key: Path,
    *,
    ca_files: Sequence[Path] = (),
    crl_files: Sequence[Path] = (),
    required: bool = False,
) -> ssl.SSLContext:
    """Our side towards clients of the proxy itself.

    Args:
        certificate: PEM file: certificate and chain.
        key: PEM file of its key, not encrypted.
        ca_files: PEM files of who may vouch for clients, roots or not; with any, clients are
            asked for a certificate, and one that is shown must be right.
        crl_files: see `upstream_context`.
        required: a client that shows no certificate is refused.

    Raises:
        OSError: a file cannot be read, or is not what it should be.
    """
    # Hardened first, so that a key which is too small for it is found here and not in every handshake.
    context = _harden(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), None)
    context.num_tickets = _TICKETS
    context.load_cert_chain(certificate, key, password="")
    for file in (*ca_files, *crl_files):
        context.load_verify_locations(file)
    if ca_files:
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        # What a ticket says was verified once; a certificate is asked about each time.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
    if crl_files:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    return context


def certificate_of(tls: TlsSocket) -> Certificate | None:
    """What the other side has shown and what was verified; None when it showed nothing."""
    # typeshed knows what is in it as nested tuples of anything.
    shown: dict[str, Any] | None = tls.object.getpeercert()
    if not shown:
        return None
    return Certificate(
        subject=tuple(pair for pairs in shown.get("subject", ()) for pair in pairs),
        alternatives=shown.get("subjectAltName", ()),
        issuer=tuple(value for pairs in shown.get("issuer", ()) for _name, value in pairs),
        serial=int(shown["serialNumber"], 16),
        expires_at=ssl.cert_time_to_seconds(shown["notAfter"]),
    )


def _harden(context: ssl.SSLContext, key_log: Path | None) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(_ALPN)
    if key_log is not None:
        context.keylog_filename = str(key_log)
    return context


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """A path to read `data` from: `ssl` takes nothing else.  On Linux it is on no disk."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("wsproxy", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, data)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            yield file.name


async def start_upstream_tls(
    sock: Endpoint, context: ssl.SSLContext, host: str, *, timeout_s: float
) -> TlsSocket:
    """Shakes hands with an origin, as a client that verifies it.

    Args:
        sock: connected, non-blocking; closed when this fails.
        context: of `upstream_context`.
        host: who it must be: a name or an address (RFC 9110 §4.3.4), without brackets.
        timeout_s: for all of it.

    Raises:
        UpstreamTlsError: it is not who it must be, or does not speak TLS as we do.
    """
    try:
        tls = TlsSocket(sock, context, server_hostname=host)
        with trio.fail_after(timeout_s):
            await _shake_hands(tls, sock)
    except trio.TooSlowError:
        sock.close()
        detail = f"{host} did not finish the TLS handshake in time"
        raise UpstreamTlsError(detail, token="connection_timeout", status=504) from None  # noqa: S106
    except ssl.SSLCertVerificationError as error:
        sock.close()
        detail = f"the certificate of {host} is refused: {_lower(error.verify_message)}"
        raise UpstreamTlsError(detail, token="tls_certificate_error") from error  # noqa: S106
    except OSError as error:
        sock.close()
        detail = f"no TLS with {host}: {_reason(error)}"
        wants = isinstance(error, ssl.SSLError) and _NO_PROTOCOL in str(error)
        raise UpstreamTlsError(detail, token=_token(error), wants_other_protocol=wants) from error
    except BaseException:
        sock.close()
        raise
    return tls


async def start_client_tls(
    sock: Endpoint, context: ssl.SSLContext, octets: bytes, *, timeout_s: float
) -> TlsSocket:
    """Shakes hands with a client, in the name that `context` has a certificate for.

    Args:
        sock: connected, non-blocking; closed when this fails.
        context: of `leaf_context` or `listener_context`.
        octets: already read from it.
        timeout_s: for all of it.

    Raises:
        ClientTlsError: it does not want to, or is not who it must be.
    """
    tls = TlsSocket(sock, context, octets=octets)
    try:
        with trio.fail_after(timeout_s):
            await _shake_hands(tls, sock)
    except trio.TooSlowError:
        sock.close()
        detail = "the client did not finish the TLS handshake in time"
        raise ClientTlsError(detail, token="connection_terminated") from None  # noqa: S106
    except OSError as error:
        # A client of TLS 1.3 goes on before it knows what we think of its certificate.
        await TcpStream(sock).linger()
        raise _client_error(error) from error
    except BaseException:
        sock.close()
        raise
    return tls


def _client_error(error: OSError) -> ClientTlsError:
    if isinstance(error, ssl.SSLCertVerificationError):
        detail = f"the client's certificate is refused: {_lower(error.verify_message)}"
        return ClientTlsError(detail, token="tls_certificate_error")  # noqa: S106 - RFC 9209's word
    if isinstance(error, ssl.SSLError) and error.reason == _NO_CERTIFICATE:
        detail = "the client showed no certificate"
        return ClientTlsError(detail, token="tls_certificate_error")  # noqa: S106 - RFC 9209's word
    # Some only hang up.
    hung_up = not isinstance(error, ssl.SSLError)
    distrusts = hung_up or getattr(error, "reason", None) in _DISTRUST
    detail = f"the client broke off the TLS handshake: {_reason(error)}"
    token = "connection_terminated" if hung_up else _token(error)
    return ClientTlsError(detail, distrusts=distrusts, token=token)


async def _shake_hands(tls: TlsSocket, sock: Endpoint) -> None:
    while True:
        try:
            tls.object.do_handshake()
        except ssl.SSLWantReadError:
            await _send(tls)
            tls.give(await _receive(sock))
        except ssl.SSLError:
            with contextlib.suppress(OSError):
                tls.flush()  # our alert
            raise
        else:
            return await _send(tls)


async def _send(tls: TlsSocket) -> None:
    while not tls.flush():
        await trio.lowlevel.wait_writable(tls)


async def _receive(sock: Endpoint) -> bytes:
    while True:
        try:
            data = sock.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)
        else:
            if not data:
                raise ConnectionResetError("it closed the connection")
            return data


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return _lower(error.reason.replace("_", " "))
    return _lower(error.strerror or str(error))


def _lower(text: str) -> str:
    return text.rstrip(".").lower()


def _token(error: OSError) -> str:
    is_alert = isinstance(error, ssl.SSLError) and "alert" in f"{error.reason} {error}".lower()
    return "tls_alert_received" if is_alert else "tls_protocol_error"
