"""Who is taken for the origin, and who is not, and why: every chain of the corpus, over a real socket."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from tests.net.relays import tcp_pair
from tests.support.chains import (
    BAD,
    GOOD,
    Case,
    bad_cases,
    good_cases,
    make_case,
    server_context,
)
from wsproxy.errors import UpstreamTlsError
from wsproxy.net.tls import start_upstream_tls, upstream_context

GUARD_S = 10.0
HELLO = b"hello"

TOKENS = {
    "TLS 1.0 only": "tls_alert_received",
    "TLS 1.1 only": "tls_alert_received",
    "no certificate at all": "tls_alert_received",
    "more certificates than are read": "tls_protocol_error",
}
"""RFC 9209 §2.3 tokens of those that fail before there is a certificate to judge."""


def trusting(case: Case, folder: Path) -> ssl.SSLContext:
    """The proxy's side, with the authorities and revocation lists of `case`."""
    roots, crls = folder / "roots.pem", folder / "crls.pem"
    roots.write_bytes(case.roots_pem)
    crls.write_bytes(case.crl_pem or b"")
    return upstream_context(
        ca_files=[roots], crl_files=[crls] if case.crl_pem else (), system=False
    )


def serve(sock: socket.socket, context: ssl.SSLContext, came: list[bytes]) -> None:
    """An origin that shakes hands and reads; what is done to it is no concern of its own."""
    sock.settimeout(GUARD_S)
    try:
        with context.wrap_socket(sock, server_side=True) as tls:
            came.append(tls.recv(len(HELLO)))
    except OSError:
        sock.close()


@dataclass(frozen=True)
class Meeting:
    """How it ended: the refusal, if any, whether our socket is open, and what the origin has read."""

    refusal: UpstreamTlsError | None
    is_open: bool
    read: bytes


async def meet(case: Case, folder: Path) -> Meeting:
    """Connects to the origin of `case` as the proxy does, and says hello if it is the right one."""
    context, origin = trusting(case, folder), server_context(case)
    near, far = tcp_pair()
    refusal: UpstreamTlsError | None = None
    read: list[bytes] = []
    with near, trio.fail_after(2 * GUARD_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, serve, far, origin, read)
            try:
                tls = await start_upstream_tls(near, context, case.host, timeout_s=GUARD_S)
            except UpstreamTlsError as error:
                refusal = error
            else:
                assert tls.send(HELLO) == len(HELLO)
        return Meeting(refusal, near.fileno() != -1, b"".join(read))


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_certificate_is_refused_for_what_is_wrong_with_it(
    name: str, tmp_path: Path
) -> None:
    case = make_case(name)
    assert case.reason
    met = await meet(case, tmp_path)
    assert met.refusal is not None
    assert case.reason in met.refusal.detail
    assert case.host in met.refusal.detail
    assert met.refusal.token == TOKENS.get(name, "tls_certificate_error")
    assert not met.is_open
    assert met.read == b""


@pytest.mark.parametrize("name", GOOD)
async def test_a_good_certificate_is_accepted(name: str, tmp_path: Path) -> None:
    case = make_case(name)
    assert case.reason is None
    assert await meet(case, tmp_path) == Meeting(None, is_open=True, read=HELLO)


def test_the_corpus_is_as_large_as_promised_and_no_case_is_there_twice() -> None:
    bad, good = bad_cases(), good_cases()
    assert len(bad) >= 25
    assert len(good) >= 10
    assert [case.name for case in bad + good] == [*BAD, *GOOD]
    assert all(case.reason for case in bad)
    assert not any(case.reason for case in good)
    assert len({case.chain_pem for case in bad + good}) == len(bad) + len(good)
