"""Negotiate credentials (RFC 4559, RFC 4178): Kerberos tickets checked against a keytab.

Theory of operation.  A client in a domain fetches a ticket for ``HTTP/<this proxy>``
from its KDC and sends it, wrapped in SPNEGO.  The ticket is encrypted with a key
that only the KDC and our keytab hold; MIT's GSSAPI library opens it and says whose
it is.  We never speak to a KDC.  As a rule that takes one leg.  A client that
guesses another mechanism first is told so and comes back on the same connection;
meanwhile the library's context waits in `Proof.legs`.

The library is C and blocks (0.1 ms a token, more where the replay cache's disk is slow),
so it runs in a thread; the binding, python-gssapi, lets go of the GIL.  Its raw layer is used:
the comfortable one puts off errors until the *next* leg when the library has a
token to send with them.

*Traps.*
- Credentials for every mechanism there is would let in what plug-ins take (NTLM by winbind)
  and IAKERB, by which a stranger has us contact a KDC of the stranger's choice.  They are
  for SPNEGO and Kerberos, SPNEGO may choose only Kerberos, and the end looks which it was.
- ``HTTP@host`` as the acceptor's name would mean what DNS makes of the host.  The name is the
  bare service, which matches every key of that service in the keytab and no other
  (``host/…`` stands in the same file); `hostname` is compared with the ticket's.
- An empty token is answered with a hint instead of being refused.
- Error texts belong to the thread they arose in, and name files.  What a client is told is
  chosen here by the number in the KRB-ERROR the library would send (RFC 4120 §7.5.9).
- A ticket is no proof of a person: with an anonymous one (RFC 8062) the KDC vouches for nobody.

*A ticket proves a connection* (decision 11).  Chromium sends none with the later requests of
a connection, for the first one's stands; so what it proved is left in `Proof.bond`, for as
long as the ticket lasts, and counts for requests that bring nothing.

*Not here.*  NTLM (decision 10).  Channel bindings: RFC 4559 has none; a client's are not
looked at.  Delegated tickets are dropped.  Tokens are not remembered: one is good
once, and the replay cache, shared by all processes, sees to it.
"""

from __future__ import annotations

import binascii
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from wsproxy.auth.principals import identity_of
from wsproxy.auth.proof import Bond, Proof
from wsproxy.errors import AuthContinue, AuthOverloaded, AuthRequired, AuthUnavailable, ConfigError
from wsproxy.model import Identity

if TYPE_CHECKING:
    from types import ModuleType

    from gssapi.raw.creds import Creds
    from gssapi.raw.misc import GSSError
    from gssapi.raw.oids import OID
    from gssapi.raw.sec_contexts import SecurityContext

__all__ = [
    "MAX_CREDENTIALS_BYTES",
    "NegotiateAuthenticator",
    "NegotiateBounds",
    "parse_negotiate",
]

MAX_CREDENTIALS_BYTES = 64 * 1024
"""Longest base64 taken.  Windows' MaxTokenSize is 48 000 octets, which is 64 000 of base64."""

MAX_LEGS = 4
"""Kerberos in SPNEGO takes three at most: a wrong guess, the ticket, the MICs."""

_SPNEGO = "1.3.6.1.5.5.2"
_KERBEROS = "1.2.840.113554.1.2.2"

# RFC 4648 §4, spelled out for the reason given in `wsproxy.auth.basic`.
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")

# MS-NLMP §2.2: every message begins so.  SPNEGO may carry one as its first guess.
_NTLM = b"NTLMSSP\0"
# RFC 2743 §3.1: only the first token of an exchange is framed with [APPLICATION 0].
_FIRST_TOKEN = b"\x60"
# RFC 4120 §5.9.1: KRB-ERROR ::= [APPLICATION 30] SEQUENCE { … error-code [6] Int32 …
_KRB_ERROR = re.compile(rb"\x7e.*?\xa6\x03\x02\x01(.)", re.DOTALL)

_REASONS = {
    14: "the Kerberos ticket's encryption type is not supported here",
    31: "the Kerberos ticket was not made with the key in this proxy's keytab",
    32: "the Kerberos ticket has expired",
    33: "the Kerberos ticket is not valid yet; do the clocks differ?",
    34: "the Kerberos token was used before",
    35: "the Kerberos ticket is for another service",
    37: "the clocks of client and proxy differ too much for Kerberos",
    41: "the Kerberos ticket was not made with the key in this proxy's keytab",
    44: "this proxy's keytab holds no key of the Kerberos ticket's version; it may be out of date",
    45: "this proxy's keytab holds no key for the Kerberos ticket's service",
}
"""RFC 4120 §7.5.9: error code → what a person can make use of."""

_NO_NTLM = (
    "NTLM is not offered, and the client has no Kerberos ticket for this proxy; "
    "it must name the proxy by its full host name"
)

_LEG = "negotiate"


@dataclass(frozen=True, slots=True, kw_only=True)
class NegotiateBounds:
    """How much a `NegotiateAuthenticator` does at a time.

    Attributes:
        slots: tokens in the library at a time; one core is left to the event loop.
        max_pending: tokens there or waiting; at 0.1 ms the last one waits 25 ms.
    """

    slots: int = max(1, min(4, (os.cpu_count() or 1) - 1))
    max_pending: int = 256


@dataclass(frozen=True, slots=True)
class _Exchange:
    """The library's context, and the legs it has had."""

    context: SecurityContext
    legs: int


@dataclass(frozen=True, slots=True)
class _Step:
    """What the library made of one token; `principal` and `service` are None if it wants more."""

    exchange: _Exchange
    token: bytes
    principal: bytes | None = None
    service: bytes | None = None
    lasts_s: float = 0.0


class NegotiateAuthenticator:
    """Proves users of a Kerberos realm by their tickets for this proxy.

    Making one reads the keytab and asks the resolver for this machine's own name: it blocks.
    A changed keytab is seen at once: the library reads it for every token.

    Args:
        keytab: holds the keys of ``service/host@REALM``.
        service: first half of the proxy's principal; clients of HTTP use ``HTTP``.
        hostname: the only host tickets may be for; None: any that has a key.
        realms: realms whose users are let in; empty: the one the ticket's service is in.
        strip_realms: realms whose users go by their bare name, all others by
            ``name@REALM``; None: the one the ticket's service is in.  More than one only
            where equal names mean the same person.
        replay_cache: file that remembers tokens; None: the library's own,
            ``krb5_<uid>.rcache2`` in KRB5RCACHEDIR, TMPDIR or /var/tmp.
        bounds: how much is done at a time.

    Raises:
        ConfigError: gssapi is not installed, the keytab cannot be read or has no
            key for `service`, or the replay cache's directory cannot be written.
    """

    scheme = "Negotiate"

    def __init__(
        self,
        *,
        keytab: Path,
        service: str = "HTTP",
        hostname: str | None = None,
        realms: Collection[str] = (),
        strip_realms: Collection[str] | None = None,
        replay_cache: Path | None = None,
        bounds: NegotiateBounds | None = None,
    ) -> None:
        bounds = bounds or NegotiateBounds()
        self._keytab = keytab
        self._replay_cache = replay_cache
        self._hostname = hostname
        self._realms = frozenset(realms)
        self._strip_realms = None if strip_realms is None else frozenset(strip_realms)
        self._raw = _load(keytab)
        self._kerberos: OID = self._raw.OID.from_int_seq(_KERBEROS)
        self._creds = self._acquire(service)
        if problem := self._own_problem():
            raise ConfigError(problem, file=str(keytab))
        self._slots = trio.CapacityLimiter(bounds.slots)
        self._max_pending = bounds.max_pending
        self._pending = 0

    def challenges(self, now: float, *, refusal: AuthRequired | None = None) -> list[bytes]:
        """The value of the ``Proxy-Authenticate`` field: there is nothing to say but the name."""
        return [b"Negotiate"]

    def review(self, identity: Identity) -> Identity | None:
        """Nobody can be asked whether a ticket would still be given; see `wsproxy.auth.Authenticator`."""
        return identity if identity.method == "negotiate" else None

    def authenticate_nowait(self, proof: Proof) -> Identity | None:
        """Whose the connection is, else None: every token is work for `authenticate`.

        Raises:
            AuthRequired: this is no token, or one of NTLM.  The exchange is over.
        """
        if proof.bond is not None:
            return proof.bond.identity
        _parse_or_end(proof)
        return None

    async def authenticate(self, proof: Proof) -> Identity:
        """Who the token belongs to.

        On success ``proof.legs["answer"]`` is the token for the client to know the proxy by,
        behind its scheme, if there is one, and `proof.bond` lasts as long as the ticket.  A token
        that is in its thread is waited for even when cancelled.

        Raises:
            AuthRequired: the token, or who it belongs to, is refused.  The exchange is over.
            AuthContinue: the client is to go on, on this connection, with what it says.
            AuthOverloaded: too many others wait to be verified.
            AuthUnavailable: the keytab or the replay cache cannot be used any more.
        """
        if proof.bond is not None:
            return proof.bond.identity
        token = _parse_or_end(proof)
        exchange = proof.legs.pop(_LEG, None)
        # A client may begin anew on its connection.
        if not isinstance(exchange, _Exchange) or token.startswith(_FIRST_TOKEN):
            exchange = None
        step = await self._run(token, exchange)
        answer = b"Negotiate " + binascii.b2a_base64(step.token, newline=False)
        if step.principal is None or step.service is None:
            if not step.token or step.exchange.legs >= MAX_LEGS:
                raise AuthRequired("the Negotiate exchange leads nowhere")
            proof.legs[_LEG] = step.exchange
            raise AuthContinue(answer)
        identity = self._admit(step.principal, step.service)
        if step.token:
            proof.legs["answer"] = answer
        proof.bond = Bond(self.scheme.lower(), identity, proof.now + step.lasts_s)
        return identity

    async def _run(self, token: bytes, exchange: _Exchange | None) -> _Step:
        if self._pending >= self._max_pending:
            raise AuthOverloaded("too many credentials are waiting to be verified; try again")
        self._pending += 1
        try:
            work = partial(self._accept, token, exchange)
            return await trio.to_thread.run_sync(work, limiter=self._slots)
        finally:
            self._pending -= 1

    def _accept(self, token: bytes, exchange: _Exchange | None) -> _Step:
        """One token through the library; blocks, runs in a thread."""
        raw = self._raw
        error_type: type[GSSError] = raw.GSSError
        before = exchange.context if exchange else None
        try:
            result = raw.accept_sec_context(token, acceptor_creds=self._creds, context=before)
            step = _Exchange(result.context, exchange.legs + 1 if exchange else 1)
            if result.more_steps:
                return _Step(step, result.token or b"")
            if result.mech != self._kerberos:
                raise AuthRequired("Negotiate is offered for Kerberos only")
            names = raw.inquire_context(result.context, flags=False)
            return _Step(
                step,
                result.token or b"",
                raw.display_name(names.initiator_name).name,
                raw.display_name(names.target_name).name,
                names.lifetime or 0.0,
            )
        except error_type as error:
            raise self._refusal(token, error.token or b"") from error

    def _refusal(self, token: bytes, answer: bytes) -> AuthRequired | AuthUnavailable:
        """What to say to a `token` that the library refuses, and would answer with `answer`."""
        # A broken keytab and a nonsensical token have the same number, so that is no help.
        if problem := self._own_problem():
            return AuthUnavailable(problem)
        match = _KRB_ERROR.search(answer)
        if match and (reason := _REASONS.get(match[1][0])):
            return AuthRequired(reason)
        if _NTLM in token:
            return AuthRequired(_NO_NTLM)
        return AuthRequired("the Negotiate token is not one of Kerberos")

    def _admit(self, principal: bytes, service: bytes) -> Identity:
        # As in the keytab, ``HTTP/proxy.corp.example@CORP.EXAMPLE``; hosts and realms hold no "@".
        name, _, realm = service.decode("utf-8", "replace").rpartition("@")
        host = name.partition("/")[2]
        if self._hostname is not None and host.lower() != self._hostname.lower():
            raise AuthRequired("the Kerberos ticket is for another host")
        own_realm = frozenset((realm,))
        return identity_of(
            principal,
            realms=self._realms or own_realm,
            strip_realms=own_realm if self._strip_realms is None else self._strip_realms,
        )

    def _acquire(self, service: str) -> Creds:
        """The keytab as the library's credentials."""
        raw = self._raw
        error_type: type[GSSError] = raw.GSSError
        store = {b"keytab": b"FILE:" + os.fsencode(self._keytab)}
        if self._replay_cache is not None:
            store[b"rcache"] = b"file2:" + os.fsencode(self._replay_cache)
        mechs = [self._kerberos, raw.OID.from_int_seq(_SPNEGO)]
        try:
            name = raw.import_name(service.encode(), raw.NameType.hostbased_service)
            acquired = raw.acquire_cred_from(store, name=name, mechs=mechs, usage="accept")
            creds: Creds = acquired.creds
            raw.set_neg_mechs(creds, [self._kerberos])
        except error_type as error:
            detail = f"cannot use the keytab for {service!r}: {_minor(error)}"
            raise ConfigError(detail, file=str(self._keytab)) from error
        return creds

    def _own_problem(self) -> str | None:
        """Why no token could be accepted, whatever it says; None if there is no such reason."""
        if not os.access(self._keytab, os.R_OK):
            return "the keytab cannot be read"
        cache = self._replay_cache
        if not os.access(_replay_folder() if cache is None else cache.parent, os.W_OK):
            return "the Kerberos replay cache cannot be written"
        return None


def parse_negotiate(credentials: bytes) -> bytes:
    """The token of Negotiate credentials (RFC 4559 §4.2: ``gssapi-data`` is base64).

    Raises:
        AuthRequired: empty, not base64, longer than `MAX_CREDENTIALS_BYTES`, or NTLM.
    """
    if len(credentials) > MAX_CREDENTIALS_BYTES:
        raise AuthRequired("the Negotiate token is too long")
    if not credentials or not _BASE64.fullmatch(credentials):
        raise AuthRequired("the Negotiate token is not base64")
    token = binascii.a2b_base64(credentials)
    if token.startswith(_NTLM):
        raise AuthRequired(_NO_NTLM)
    return token


def _parse_or_end(proof: Proof) -> bytes:
    proof.legs.pop("answer", None)
    try:
        return parse_negotiate(proof.credentials)
    except AuthRequired:
        proof.legs.pop(_LEG, None)
        raise


def _minor(error: GSSError) -> str:
    """The library's words behind its general ones: ``Key table file '…' not found``."""
    return "; ".join(error.get_all_statuses(error.min_code, False)) or str(error)


def _load(keytab: Path) -> ModuleType:
    try:
        from gssapi import raw
    except ImportError as error:
        detail = "Negotiate needs the package gssapi: pip install 'wsproxy[kerberos]'"
        raise ConfigError(detail, file=str(keytab)) from error
    module: ModuleType = raw
    return module


def _replay_folder() -> str:
    """Where MIT's library keeps its replay cache by itself (``rc_dfl.c``)."""
    return os.environ.get("KRB5RCACHEDIR") or os.environ.get("TMPDIR") or str(Path("/var", "tmp"))
