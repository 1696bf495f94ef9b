"""Certificates of clients (RFC 5280): whose they are was proven in the TLS handshake with the proxy.

Theory of operation.  Nothing is verified here: chain, purpose, dates and revocation are what
`wsproxy.net.tls.listener_context` asks for, and a client that fails there never sends a request.
What is left is a name.  A certificate has room for many, so the configuration says which kind
counts, and one that has none of it, or two, is nobody's: any choice would be a guess.

Only time and revocation are looked at again, with each request: a connection may outlive its
certificate.  What cannot be asked again is whether its authority is still trusted.

There is no challenge for this method (it has no scheme in HTTP), so it adds nothing to a 407.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from wsproxy.auth.proof import Proof
from wsproxy.errors import AuthRequired
from wsproxy.model import Certificate, Identity

if TYPE_CHECKING:
    from wsproxy.protocol.revocations import Number

__all__ = ["CertificateAuthenticator", "UserFrom"]

UserFrom = Literal["cn", "email", "dns", "uri"]

_METHOD: Final = "certificate"
_WAYS: Final = 8
"""In how many ways a certificate can be read: two for each kind of name."""
_MAX_NAME_CHARACTERS: Final = 255
_ALTERNATIVES: Final = {"email": "email", "dns": "DNS", "uri": "URI"}
_WORDS: Final = {
    "cn": "common name",
    "email": "e-mail address",
    "dns": "DNS name",
    "uri": "URI",
}


class CertificateAuthenticator:
    """Proves users by the certificate of their connection.

    Args:
        user_from: the user's name: the subject's common name, or the only subjectAltName of
            that kind.
        groups: by their names, what says of a user's name whether it is in them; None: groups
            are the subject's organizational units.
        revoked: certificates that are worth nothing any more.
        clock: wall clock, in seconds since 1970.
    """

    scheme = "Certificate"

    def __init__(
        self,
        *,
        user_from: UserFrom = "cn",
        groups: Mapping[str, Sequence[Callable[[str], bool]]] | None = None,
        revoked: Collection[Number] = (),
        clock: Callable[[], float],
    ) -> None:
        self._user_from = user_from
        self._groups = groups
        self._revoked = frozenset(map(hash, revoked))
        self._clock = clock
        self._way = list(_WORDS).index(user_from) * 2 + (groups is None)

    def challenges(self, now: float, *, refusal: AuthRequired | None = None) -> list[bytes]:
        """None: a certificate is asked for by TLS."""
        return []

    def authenticate_nowait(self, proof: Proof) -> Identity:
        """Who the connection's certificate belongs to; it is known at once.

        Raises:
            AuthRequired: there is none, it is not good any more, or does not name exactly one user.
        """
        certificate = proof.certificate
        if certificate is None:
            raise AuthRequired("a client certificate is required")
        if certificate.expires_at <= self._clock():
            raise AuthRequired("the client's certificate has expired")
        number = hash((certificate.issuer, certificate.serial))
        if number in self._revoked:
            raise AuthRequired("the client's certificate is revoked")
        user = self._user(certificate)
        units = _values(certificate.subject, "organizationalUnitName")
        groups = frozenset(unit for unit in units if unit and unit.isprintable())
        return Identity(
            user,
            groups if self._groups is None else self._groups_of(user),
            _METHOD,
            mark=number * _WAYS + self._way,
            expires_at=certificate.expires_at,
        )

    def review(self, identity: Identity) -> Identity | None:
        """See `wsproxy.auth.Authenticator`."""
        number, way = divmod(identity.mark, _WAYS)
        if identity.method != _METHOD or way != self._way or number in self._revoked:
            return None
        if self._groups is None:
            return identity
        return replace(identity, groups=self._groups_of(identity.user))

    async def authenticate(self, proof: Proof) -> Identity:
        """See `authenticate_nowait`."""
        return self.authenticate_nowait(proof)

    def _user(self, certificate: Certificate) -> str:
        kind = self._user_from
        if kind == "cn":
            names = _values(certificate.subject, "commonName")
        else:
            names = _values(certificate.alternatives, _ALTERNATIVES[kind])
        if not names:
            raise AuthRequired(f"the client's certificate has no {_WORDS[kind]}")
        if len(names) > 1:
            raise AuthRequired(f"the client's certificate has more than one {_WORDS[kind]}")
        if not names[0] or len(names[0]) > _MAX_NAME_CHARACTERS or not names[0].isprintable():
            raise AuthRequired(f"the {_WORDS[kind]} of the client's certificate names nobody")
        return names[0]

    def _groups_of(self, user: str) -> frozenset[str]:
        assert self._groups is not None
        return frozenset(
            name
            for name, patterns in self._groups.items()
            if any(matches(user) for matches in patterns)
        )


def _values(pairs: Sequence[tuple[str, str]], name: str) -> list[str]:
    return [value for key, value in pairs if key == name]
