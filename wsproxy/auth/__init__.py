"""Who is it: one module a method, behind one small Protocol.

A method gets the credentials of one request and says whose they are.  Nothing
here knows requests, addresses or policy; `wsproxy.proxy.gate` asks.
"""

from __future__ import annotations

from typing import Protocol

from wsproxy.auth.basic import BasicAuthenticator, parse_authorization
from wsproxy.auth.proof import Proof, Remembered
from wsproxy.auth.users_file import Users, load_users
from wsproxy.errors import AuthRequired
from wsproxy.model import Identity

__all__ = [
    "Authenticator",
    "BasicAuthenticator",
    "Proof",
    "Remembered",
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

    def challenges(self, now: float, *, refusal: AuthRequired | None = None) -> list[bytes]:
        """The values of this method's ``Proxy-Authenticate`` fields, best first.

        Args:
            now: seconds, monotonic.
            refusal: why the request that is challenged was refused.
        """
        ...

    def authenticate_nowait(self, proof: Proof) -> Identity | None:
        """Who the credentials belong to if that is known at once, else None.

        Raises:
            AuthRequired: they are malformed, or known to be wrong.
        """
        ...

    async def authenticate(self, proof: Proof) -> Identity:
        """Who the credentials belong to, however long that takes.

        Raises:
            AuthRequired: they are malformed or wrong.
            AuthContinue: another leg is needed.
            AuthOverloaded: too many others wait to be verified.
            AuthUnavailable: who could tell does not answer.
        """
        ...

    def review(self, identity: Identity) -> Identity | None:
        """What is known now of one whom a method of this kind, maybe not this very one, let in.

        None where that proof would not do here any more, or was another method's.  When
        it expires is looked at elsewhere.
        """
        ...


_guard: type[Authenticator] = BasicAuthenticator
