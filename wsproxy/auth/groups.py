"""Groups from a directory, for users whom something else proves: a ticket or a token.

Theory of operation.  A method says who it is; the directory says what he is in, and how he is
spelled.  Its answer is remembered for 5 minutes, for the user and not for his credentials: a
ticket is a new one each time.  That there is no such user is remembered for 10 seconds.

- **Who is not in the directory is refused**, not let in without groups: a rule that denies some
  group would not hold for him.
- **The spelling is the directory's** where only the case differs: a KDC of Active Directory gives
  tickets to ``Alice`` and ``alice``, and rules compare exactly.
- Who has groups already, from his token, keeps them; the directory is not asked.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Protocol

from wsproxy.auth.cache import ExpiringCache
from wsproxy.auth.flights import Flights
from wsproxy.auth.proof import Proof
from wsproxy.errors import AuthRequired
from wsproxy.model import Identity

__all__ = ["DirectoryGroups", "GroupedAuthenticator"]

_GOOD_FOR_S = 300.0
_BAD_FOR_S = 10.0
_ENTRIES = 16 * 1024
_MAX_PENDING = 64

_UNKNOWN = "the directory with the groups does not know this user"


class Directory(Protocol):
    """Tells what a user is in."""

    async def look_up(self, name: str) -> Identity | None:
        """The user of that name; None: there is none, or more than one.

        Raises:
            AuthUnavailable: nobody can tell now.
        """
        ...


class Method(Protocol):
    """As `wsproxy.auth.Authenticator`, which says what these do."""

    @property
    def scheme(self) -> str: ...

    def challenges(self, now: float, *, refusal: AuthRequired | None = None) -> list[bytes]: ...

    def authenticate_nowait(self, proof: Proof) -> Identity | None: ...

    async def authenticate(self, proof: Proof) -> Identity: ...

    def review(self, identity: Identity) -> Identity | None: ...


class DirectoryGroups:
    """What a directory says of users, remembered.

    Args:
        directory: an `wsproxy.auth.ldap.LdapBackend`.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._good: ExpiringCache[Identity] = ExpiringCache(
            max_entries=_ENTRIES, lifetime_s=_GOOD_FOR_S
        )
        self._bad: ExpiringCache[bool] = ExpiringCache(max_entries=_ENTRIES, lifetime_s=_BAD_FOR_S)
        self._flights = Flights(_MAX_PENDING)

    def add_nowait(self, identity: Identity, *, now: float) -> Identity | None:
        """`identity` with its groups, as far as they are remembered, else None.

        Raises:
            AuthRequired: the directory does not know the user.
        """
        if identity.groups:
            return identity
        key = identity.user.encode()
        if self._bad.get(key, now=now):
            raise AuthRequired(_UNKNOWN)
        found = self._good.get(key, now=now)
        return None if found is None else _joined(identity, found)

    async def add(self, identity: Identity, *, now: float) -> Identity:
        """`identity` with its groups.

        Raises:
            AuthRequired: the directory does not know the user.
            AuthOverloaded: too many others wait for it.
            AuthUnavailable: it does not answer; that is not remembered.
        """
        known = self.add_nowait(identity, now=now)
        if known is not None:
            return known
        key = identity.user.encode()
        found = await self._flights.ask(key, partial(self._directory.look_up, identity.user))
        if found is None:
            self._bad.put(key, True, now=now)
            raise AuthRequired(_UNKNOWN)
        self._good.put(key, found, now=now)
        return _joined(identity, found)


class GroupedAuthenticator:
    """A method whose users get their groups from a directory.

    Args:
        method: proves who it is.
        groups: says what he is in.
    """

    def __init__(self, method: Method, groups: DirectoryGroups) -> None:
        self._method = method
        self._groups = groups

    @property
    def scheme(self) -> str:
        """That of the method."""
        return self._method.scheme

    def challenges(self, now: float, *, refusal: AuthRequired | None = None) -> list[bytes]:
        """Those of the method."""
        return self._method.challenges(now, refusal=refusal)

    def authenticate_nowait(self, proof: Proof) -> Identity | None:
        """See `wsproxy.auth.Authenticator`."""
        identity = self._method.authenticate_nowait(proof)
        return None if identity is None else self._groups.add_nowait(identity, now=proof.now)

    async def authenticate(self, proof: Proof) -> Identity:
        """See `wsproxy.auth.Authenticator`."""
        identity = await self._method.authenticate(proof)
        return await self._groups.add(identity, now=proof.now)

    def review(self, identity: Identity) -> Identity | None:
        """As the method; the groups are those of last time."""
        return self._method.review(identity)


def _joined(identity: Identity, found: Identity) -> Identity:
    # Nobody else's name: ``bob@PARTNER.EXAMPLE`` does not become the directory's ``bob``.
    same = identity.user.casefold() == found.user.casefold()
    return replace(identity, user=found.user if same else identity.user, groups=found.groups)
