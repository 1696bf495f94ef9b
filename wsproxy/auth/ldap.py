"""Basic credentials (RFC 7617) checked against LDAP servers (RFC 4511, RFC 4513).

Theory of operation.  Who can bind is who he says.  The DN comes from a template
(`user_dn`), or from a search, by the service account or anonymously (`user_filter`).

- **The empty password** is refused before anything is asked: RFC 4513 §5.1.2,
  servers answer "success" to a DN without a password and mean nobody.
- **The name in an Identity is the directory's.**  LDAP compares names without
  regard to case and more (RFC 4518); rules here do not.  With the name as typed,
  ``Alice`` would slip through a rule against ``alice``.  So the entry has to be
  readable, by the service account or else by the user.
- **A name that does not exist** costs a bind, too, so that the clock tells less.
- **A deadline** for everything, the wait for a connection included.  With several
  servers the time left is shared out among those not asked yet.  A server that failed
  is asked last for some seconds; when all have, all are asked: closed, but not longer
  than need be.
- **Connections** are kept, `pool` of them a server at most.  One that the server has
  closed meanwhile is found out by its use, and replaced once.

`LdapAuthenticator` remembers answers as `wsproxy.auth.basic` does, and for the same
reasons.  `Verifications` runs what blocks, in threads; nothing blocks here, so equal
credentials meet in `Flights` instead.  For users whom a ticket or a token proves,
`wsproxy.auth.groups` asks nothing but what they are in.
"""

from __future__ import annotations

import logging
import secrets
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

import trio
from sansldap import LDAPResultCode

from wsproxy.auth.basic import BasicBounds, RememberedAnswers, parse_basic
from wsproxy.auth.flights import Flights
from wsproxy.auth.ldap_link import (
    Connect,
    Entry,
    LdapFault,
    Link,
    LinkLost,
    escape_dn,
    escape_filter,
    open_link,
    rdn_value,
)
from wsproxy.auth.ldap_settings import LdapSettings, Place, parse_place
from wsproxy.auth.proof import Proof
from wsproxy.errors import AuthRequired, AuthUnavailable
from wsproxy.model import Identity

__all__ = ["Directory", "LdapAuthenticator", "LdapBackend", "LdapSettings"]

SHUN_S = 10.0
"""Seconds for which a server that failed is asked after all others."""

MAX_IDLE_S = 60.0
"""Seconds an unused connection is kept: firewalls forget it after minutes, without a word."""

_WRONG = "wrong user name or password"
_UNAVAILABLE = "the directory that could tell whose these credentials are does not answer"

# What servers say when they will not let this user in; all else is the server's own trouble.
_REFUSALS = frozenset(
    {
        LDAPResultCode.CONSTRAINT_VIOLATION,  # 389 Directory Server: too many wrong passwords
        LDAPResultCode.NO_SUCH_OBJECT,
        LDAPResultCode.INVALID_DN_SYNTAX,  # of a name that fits no DN
        LDAPResultCode.INAPPROPRIATE_AUTHENTICATION,  # an entry without a password
        LDAPResultCode.INVALID_CREDENTIALS,
        LDAPResultCode.UNWILLING_TO_PERFORM,  # a disabled account
    }
)

log = logging.getLogger("wsproxy")

_Question = Callable[[Link], Awaitable[Identity | None]]


class Directory(Protocol):
    """Tells whose a name and password are.

    Attributes:
        mark: of the identities it knows; another one for another directory.
    """

    mark: int

    async def verify(self, name: str, password: bytes) -> Identity | None:
        """Who that is; None: nobody.

        Raises:
            AuthUnavailable: nobody can tell now.
        """
        ...


class _Server:
    """A server, its connections that wait, and how many more there may be."""

    def __init__(self, place: Place, *, pool: int) -> None:
        self.place = place
        self.slots = trio.CapacityLimiter(pool)
        self.shunned_until = float("-inf")
        self.is_closed = False
        self._idle: list[tuple[Link, float]] = []

    def shun(self, reason: str, *, now: float) -> None:
        """Has others asked first for a while; says so once."""
        if self.shunned_until <= now:
            log.warning("LDAP server %s: %s", self.place.url, reason)
        self.shunned_until = now + SHUN_S

    async def take(self, *, now: float) -> Link | None:
        """The connection used last, unless it has waited for too long."""
        while self._idle:
            link, since = self._idle.pop()
            if now - since < MAX_IDLE_S:
                return link
            await link.aclose()
        return None

    async def give_back(self, link: Link, *, now: float) -> None:
        """Keeps a connection on which nothing is under way."""
        if self.is_closed:
            await link.aclose()
        else:
            self._idle.append((link, now))

    async def aclose(self) -> None:
        """Closes those that wait; those in use are closed when they are given back."""
        self.is_closed = True
        while self._idle:
            await self._idle.pop()[0].aclose()


class LdapBackend:
    """Asks LDAP servers.

    Args:
        settings: whom and how.
        connect: (host, port) → a connected stream.  The servers are the operator's choice
            and often on private addresses: not for the vetting of what clients ask for.

    Raises:
        OSError: `settings.ca` cannot be read, or (`ssl.SSLError`) holds no certificate.
    """

    def __init__(self, settings: LdapSettings, *, connect: Connect | None = None) -> None:
        self._settings = settings
        self.mark = hash((settings.urls, settings.base, settings.user_filter, settings.user_dn))
        self._connect = connect or _connect
        self._servers = [_Server(parse_place(u), pool=settings.pool) for u in settings.urls]
        is_secure = settings.start_tls or any(one.place.tls for one in self._servers)
        self._context = ssl.create_default_context(cafile=settings.ca) if is_secure else None

    async def aclose(self) -> None:
        """Closes the connections that wait; who is being verified is verified."""
        for server in self._servers:
            await server.aclose()

    async def verify(self, name: str, password: bytes) -> Identity | None:
        """Who has this name and password; None: nobody.

        Cancellation closes the connection in use and leaves nothing else behind.

        Args:
            name: as typed.
            password: as typed, UTF-8.

        Raises:
            AuthUnavailable: no server could tell in `timeout_s`; their reasons are logged.
        """
        try:
            text = password.decode("utf-8")
        except UnicodeDecodeError:
            return None
        # RFC 4513 §5.1.2: a DN with an empty password is an "unauthenticated" bind, and succeeds.
        if not name or not text:
            return None
        return await self._ask_servers(partial(self._prove, name=name, password=text))

    async def look_up(self, name: str) -> Identity | None:
        """The user of that name, whom somebody else has proven; None: there is none, or several.

        Cancellation closes the connection in use and leaves nothing else behind.

        Raises:
            AuthUnavailable: no server could tell in `timeout_s`; their reasons are logged.
        """
        return await self._ask_servers(partial(self._describe, name=name)) if name else None

    async def _ask_servers(self, question: _Question) -> Identity | None:
        began_at = trio.current_time()
        ends_at = began_at + self._settings.timeout_s
        servers = sorted(self._servers, key=lambda one: one.shunned_until > began_at)
        for left, server in zip(range(len(servers), 0, -1), servers, strict=True):
            share_s = (ends_at - trio.current_time()) / left
            is_asked = False
            with trio.move_on_after(max(0, share_s)) as scope:
                async with server.slots:
                    is_asked = True
                    try:
                        return await self._ask(server, question)
                    except LdapFault as fault:
                        server.shun(str(fault), now=trio.current_time())
            # Who waited for a connection in vain has learnt nothing about the server.
            if scope.cancelled_caught and is_asked:
                server.shun("does not answer in time", now=trio.current_time())
        raise AuthUnavailable(_UNAVAILABLE)

    async def _ask(self, server: _Server, question: _Question) -> Identity | None:
        kept = await server.take(now=trio.current_time())
        if kept is not None:
            try:
                return await self._ask_on(kept, server, question)
            except LinkLost:
                pass  # the server closed it while nobody looked
        place, settings = server.place, self._settings
        context = self._context if place.tls or settings.start_tls else None
        link = await open_link(
            place, connect=self._connect, context=context, start_tls=settings.start_tls
        )
        return await self._ask_on(link, server, question)

    async def _ask_on(self, link: Link, server: _Server, question: _Question) -> Identity | None:
        try:
            identity = await question(link)
        except BaseException:
            await link.aclose()
            raise
        await server.give_back(link, now=trio.current_time())
        return identity

    async def _describe(self, link: Link, name: str) -> Identity | None:
        """What the directory says of a user whose password nobody has."""
        settings = self._settings
        await self._become_service(link)
        if settings.user_dn is None:
            entry = await self._find(link, name)
        else:
            entry = await self._sniff(link, settings.user_dn.replace("{user}", escape_dn(name)))
        if entry is None:
            return None
        user = self._spelling(entry)
        return Identity(user, await self._groups(link, entry, user))

    async def _prove(self, link: Link, name: str, password: str) -> Identity | None:
        settings = self._settings
        entry = None
        if settings.user_dn is not None:
            dn = settings.user_dn.replace("{user}", escape_dn(name))
        else:
            await self._become_service(link)
            entry = await self._find(link, name)
            dn = f"cn={secrets.token_hex(8)},{settings.base}" if entry is None else entry.dn
        code = await link.bind(dn, password)
        if code is not LDAPResultCode.SUCCESS and code not in _REFUSALS:
            raise LdapFault(f"answers a user's bind with {code.name}")
        if code is not LDAPResultCode.SUCCESS or (settings.user_dn is None and entry is None):
            return None
        if settings.bind_dn and (entry is None or settings.group_base is not None):
            await self._become_service(link)
        if entry is None:
            entry = await self._read(link, dn)
        user = self._spelling(entry)
        groups = await self._groups(link, entry, user)
        return Identity(user, groups, method="ldap", mark=self.mark)

    async def _become_service(self, link: Link) -> None:
        settings = self._settings
        if link.bound_as == settings.bind_dn:
            return
        code = await link.bind(settings.bind_dn, settings.bind_password)
        if code is not LDAPResultCode.SUCCESS:
            raise LdapFault(f"refuses {settings.bind_dn or 'anonymous'!r} ({code.name})")

    async def _find(self, link: Link, name: str) -> Entry | None:
        """The one entry of that name; when there are several, it is nobody's."""
        settings = self._settings
        text = settings.user_filter.replace("{user}", escape_filter(name))
        attributes = [settings.user_attribute, "memberOf"]
        entries = await link.search(settings.base, text, attributes, limit=2)
        return entries[0] if len(entries) == 1 and entries[0].dn else None

    async def _read(self, link: Link, dn: str) -> Entry:
        entry = await self._sniff(link, dn)
        if entry is None:
            raise LdapFault("does not show users their own entry; give it bind_dn")
        return entry

    async def _sniff(self, link: Link, dn: str) -> Entry | None:
        attributes = [self._settings.user_attribute, "memberOf"]
        entries = await link.search(dn, "(objectClass=*)", attributes, is_base_only=True)
        return entries[0] if len(entries) == 1 else None

    def _spelling(self, entry: Entry) -> str:
        """The user's name as the directory writes it; of several the one in the DN."""
        attribute = self._settings.user_attribute
        names = sorted(entry.texts(attribute.lower()))
        if not names:
            raise LdapFault(f"does not show {attribute} of users; give it bind_dn")
        distinguished = rdn_value(entry.dn, attribute)
        return distinguished if distinguished in names else names[0]

    async def _groups(self, link: Link, entry: Entry, user: str) -> frozenset[str]:
        settings = self._settings
        if settings.group_base is not None:
            text = settings.group_filter.replace("{dn}", escape_filter(entry.dn))
            text = text.replace("{user}", escape_filter(user))
            found = await link.search(settings.group_base, text, [settings.group_attribute])
            attribute = settings.group_attribute.lower()
            return frozenset(name for group in found for name in group.texts(attribute))
        # Active Directory tells 1500 of more (MS-ADTS §3.1.1.3.1.3.3).  With some groups
        # missing, a rule that denies one of them would not hold.
        if any(description.startswith("memberof;range=") for description in entry.attributes):
            raise LdapFault("tells only a part of a user's groups; give it group_base")
        names = (rdn_value(dn, settings.group_attribute) for dn in entry.texts("memberof"))
        return frozenset(name for name in names if name)


async def _connect(host: str, port: int) -> trio.abc.Stream:
    return await trio.open_tcp_stream(host, port)  # noqa: TID251 - the operator's server, nobody else's choice


class LdapAuthenticator(RememberedAnswers):
    """Proves users by Basic credentials and a directory.

    Args:
        directory: an `LdapBackend`.
        realm: for the challenge; without control characters.
        bounds: sizes and times; `slots` is the directory's affair.

    Raises:
        ValueError: `realm` holds a control character.
    """

    def __init__(
        self, directory: Directory, *, realm: str = "wsproxy", bounds: BasicBounds | None = None
    ) -> None:
        bounds = bounds or BasicBounds()
        super().__init__(realm, bounds)
        self._directory = directory
        self._flights = Flights(bounds.max_pending)

    async def authenticate(self, proof: Proof) -> Identity:
        """Who the credentials belong to; a remembered answer comes without a checkpoint.

        Cancellation leaves nothing behind and fails no other caller.

        Raises:
            AuthRequired: they are malformed or wrong.
            AuthOverloaded: too many others wait to be verified.
            AuthUnavailable: the directory does not answer; that is not remembered.
        """
        digest = self._digest(proof.credentials)
        identity = self._recall(digest, proof.now)
        if identity is not None:
            return identity
        name, password = parse_basic(proof.credentials)
        identity = await self._flights.ask(digest, partial(self._directory.verify, name, password))
        if identity is None:
            self._bad.put(digest, _WRONG, now=proof.now)
            raise AuthRequired(_WRONG)
        self._good.put(digest, identity, now=proof.now)
        return identity

    def review(self, identity: Identity) -> Identity | None:
        """Without a password nobody can be asked again; see `wsproxy.auth.Authenticator`."""
        ours = identity.method == "ldap" and identity.mark == self._directory.mark
        return identity if ours else None
