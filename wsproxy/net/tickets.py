"""Negotiate towards a parent proxy: Kerberos tickets from a client keytab (RFC 4559).

Theory of operation.  MIT's library gets a ticket-granting ticket with the keytab's key, a ticket
for the parent with that, and keeps both in memory until they grow old; then it gets new ones by
itself.  All of that blocks, now and then for a KDC, so it runs in a thread that is left behind
when nobody waits for it any more; a few such threads at most.

One leg: a ticket goes with each request, without waiting to be asked, as curl does it.  Parents that
authenticate connections (RFC 4559 §6) would take requests without, others refuse them.

Mutual authentication is asked for.  What a parent sends to prove itself with its success is checked
and, where wrong, ends the connection.  It need not send anything: Squid does not with the answer to
CONNECT.  The ticket is of no use to an impostor, but what goes through a parent is; TLS to the
parent (``https``) tells who it is before anything is sent.
"""

from __future__ import annotations

import binascii
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from wsproxy.errors import ConfigError, ConnectFailed, ConnectTimeout
from wsproxy.model import Headers
from wsproxy.protocol.fields import values

if TYPE_CHECKING:
    from types import ModuleType

    from gssapi.raw.misc import GSSError
    from gssapi.raw.sec_contexts import SecurityContext

__all__ = ["Introduction", "Tickets"]

_SPNEGO = "1.3.6.1.5.5.2"
_KERBEROS = "1.2.840.113554.1.2.2"
_SLOTS = 4


class Tickets:
    """Tickets for one parent.

    Args:
        name: of the parent, for messages.
        hostname: the parent's, as in the ticket: ``HTTP/hostname``.
        keytab: with the key of `principal`.
        principal: who we are.
        timeout_s: for one ticket.

    Raises:
        ConfigError: gssapi is not installed.
    """

    def __init__(
        self, name: str, *, hostname: str, keytab: Path, principal: str, timeout_s: float
    ) -> None:
        self._name = name
        self._timeout_s = timeout_s
        self._raw = raw = _load(keytab)
        # What is wrong with the names, the library finds when it asks the KDC.
        self._us = raw.import_name(principal.encode(), raw.NameType.kerberos_principal)
        service = f"HTTP@{hostname}".encode()
        self._parent = raw.import_name(service, raw.NameType.hostbased_service)
        # A cache of our own: the user's and other parents' tickets are somebody else's.
        cache = f"MEMORY:wsproxy-{os.getpid()}-{id(self)}"
        self._store = {
            b"client_keytab": b"FILE:" + os.fsencode(keytab),
            b"ccache": cache.encode("ascii"),
        }
        self._slots = trio.CapacityLimiter(_SLOTS)

    async def introduce(self) -> Introduction:
        """A ticket for one request.

        Raises:
            ConnectFailed: there is none: the keytab, the KDC or the parent's name is to blame.
            ConnectTimeout: there is none in time.
        """
        try:
            with trio.fail_after(self._timeout_s):
                return await trio.to_thread.run_sync(
                    self._begin, abandon_on_cancel=True, limiter=self._slots
                )
        except trio.TooSlowError:
            raise ConnectTimeout(f"no Kerberos ticket for {self._name} in time") from None

    def _begin(self) -> Introduction:
        """Blocks, runs in a thread."""
        raw = self._raw
        error_type: type[GSSError] = raw.GSSError
        mechs = [raw.OID.from_int_seq(_KERBEROS), raw.OID.from_int_seq(_SPNEGO)]
        try:
            creds = raw.acquire_cred_from(
                self._store, name=self._us, mechs=mechs, usage="initiate"
            ).creds
            raw.set_neg_mechs(creds, mechs[:1])
            begun = raw.init_sec_context(
                self._parent,
                creds=creds,
                mech=mechs[1],
                flags=[raw.RequirementFlag.mutual_authentication],
            )
        except error_type as error:
            reason = "; ".join(error.get_all_statuses(error.min_code, False)) or str(error)
            raise ConnectFailed(f"no Kerberos ticket for {self._name}: {reason}") from error
        return Introduction(self._name, begun.token or b"", partial(self._proves, begun.context))

    def _proves(self, context: SecurityContext, token: bytes) -> bool:
        """Whether `token` ends the exchange of `context` well; a matter of microseconds."""
        raw = self._raw
        error_type: type[GSSError] = raw.GSSError
        try:
            done = raw.init_sec_context(
                self._parent,
                context=context,
                mech=raw.OID.from_int_seq(_SPNEGO),
                flags=[raw.RequirementFlag.mutual_authentication],
                input_token=token,
            )
        except error_type:
            return False
        return not done.more_steps


@dataclass(frozen=True, slots=True)
class Introduction:
    """A ticket on its way, and how the answer to it is checked.

    Attributes:
        name: of the parent.
        token: for the parent.
        proves: whether a token of the parent's shows that it could open ours.
    """

    name: str
    token: bytes = field(repr=False)
    proves: Callable[[bytes], bool] = field(repr=False)

    @property
    def credentials(self) -> tuple[bytes, bytes]:
        """What carries the ticket."""
        return b"Proxy-Authorization", b"Negotiate " + binascii.b2a_base64(
            self.token, newline=False
        )

    def check(self, headers: Headers) -> None:
        """Looks at what the parent says of itself in the `headers` of its success, if anything.

        Raises:
            ConnectFailed: it is not who it must be.
        """
        for value in values(headers, b"proxy-authenticate"):
            scheme, _, encoded = value.partition(b" ")
            if scheme.lower() == b"negotiate" and encoded:
                try:
                    token = binascii.a2b_base64(encoded.strip(), strict_mode=True)
                except ValueError:
                    token = b""
                if not self.proves(token):
                    raise ConnectFailed(f"{self.name} does not prove who it is")


def _load(keytab: Path) -> ModuleType:
    try:
        from gssapi import raw
    except ImportError as error:
        detail = "Negotiate needs the package gssapi: pip install 'wsproxy[kerberos]'"
        raise ConfigError(detail, file=str(keytab)) from error
    module: ModuleType = raw
    return module
