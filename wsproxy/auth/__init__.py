"""Who is it: one module a method, behind one small Protocol.

A method gets the credentials of one request and says whose they are.  Nothing
here knows requests, addresses or policy; `wsproxy.proxy.gate` asks.
"""

from __future__ import annotations

from typing import Protocol

from wsproxy.auth.basic import BasicAuthenticator, parse_authorization
from wsproxy.auth.users_file import Users, load_users
from wsproxy.model import Identity

__all__ = [
    "AUTHENTICATORS",
    "Authenticator",
    "BasicAuthenticator",
    "Users",
    "load_users",
    "parse_authorization",
]


class Authenticator(Protocol):
    """One method of proving who is asking."""

    @property
    def scheme(self) -> str:
        """The scheme's name (RFC 9110 §11.1), as written in a challenge."""
        ...

    def challenge(self) -> bytes:
        """The value of this method's ``Proxy-Authenticate`` field."""
        ...

    def authenticate_nowait(self, credentials: bytes, *, now: float) -> Identity | None:
        """Who `credentials` belong to if that is known at once, else None.

        Args:
            credentials: the field's value behind the scheme.
            now: seconds, monotonic.

        Raises:
            AuthRequired: they are malformed, or known to be wrong.
        """
        ...

    async def authenticate(self, credentials: bytes, *, now: float) -> Identity:
        """Who `credentials` belong to, however long that takes.

        Args:
            credentials: the field's value behind the scheme.
            now: seconds, monotonic.

        Raises:
            AuthRequired: they are malformed or wrong.
            AuthOverloaded: too many others wait to be verified.
        """
        ...


AUTHENTICATORS = {"basic": BasicAuthenticator}
"""Name in the configuration and scheme in lower case → the method."""

_guard: type[Authenticator] = BasicAuthenticator
