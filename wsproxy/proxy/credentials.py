"""What a request or its connection brings to prove who asks, and what the methods say of it.

What the request brings counts for more than what its connection has shown: a machine may have
a certificate, and the person at it a password.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from wsproxy.auth import Authenticator, Proof, Remembered, parse_authorization
from wsproxy.errors import AuthContinue, AuthRequired, AuthUnavailable, Denied, WsproxyError
from wsproxy.model import Identity, Peer, ProxyRequest

__all__ = [
    "Authenticators",
    "Offer",
    "can_be_guessed",
    "find_offer",
    "is_relayed",
    "known",
    "verify",
    "without_challenge",
]

Authenticators = Mapping[str, Sequence[Authenticator]]
"""By lower-case scheme, in the order they are offered."""
Offer = tuple[Sequence[Authenticator], Proof]
"""Credentials, and who can verify them."""

_CERTIFICATE: Final = "certificate"
_RELAYED: Final = frozenset({b"via", b"forwarded", b"x-forwarded-for"})
_NOT_GUESSED: Final = ("Negotiate", "Certificate")


def find_offer(
    authenticators: Authenticators,
    request: ProxyRequest,
    value: bytes | None,
    peer: Peer,
    remembered: Remembered,
    *,
    now: float,
) -> Offer | None:
    """The credentials of a request; None when it has none.

    Args:
        authenticators: all methods.
        request: what is asked.
        value: of its Proxy-Authorization.
        peer: who asks.
        remembered: of its connection.
        now: monotonic seconds.

    Raises:
        AuthRequired: they are of no method here.
    """
    by_certificate = None if peer.certificate is None else authenticators.get(_CERTIFICATE)
    bond = remembered.bond
    if bond is not None and (now >= bond.ends_at or bond.scheme not in authenticators):
        bond = None
    if value is None and bond is not None and not is_relayed(request):
        scheme, credentials = bond.scheme, b""
    else:
        remembered.bond = bond = None
        if value is None and by_certificate is None:
            return None
        scheme, credentials = (_CERTIFICATE, b"") if value is None else parse_authorization(value)
    methods = authenticators.get(scheme, by_certificate)
    if methods is None:
        raise AuthRequired("this authentication scheme is not offered here")
    sent, legs = request.sent_target, remembered.legs
    proof = Proof(credentials, request.method, sent, now, legs, bond, peer.certificate)
    return methods, proof


def is_relayed(request: ProxyRequest) -> bool:
    """Whether somebody between sent this on, who may send several people's over one connection."""
    return any(name.lower() in _RELAYED for name, _value in request.headers)


def without_challenge(
    error: AuthRequired, authenticators: Authenticators, peer: Peer
) -> Denied | None:
    """What a client is told instead of `error` where nothing but certificates would do.

    A 407 must have a challenge (RFC 9110 §15.5.8), and there is none for these.
    """
    if authenticators.keys() != {_CERTIFICATE}:
        return None
    shown = peer.certificate is not None
    detail = error.detail if shown else "a client certificate is required"
    return Denied(detail, rule="client-certificate")


def can_be_guessed(methods: Sequence[Authenticator]) -> bool:
    """Whether a failure may be a guess; browsers without a ticket send something else by themselves."""
    return methods[0].scheme not in _NOT_GUESSED


def known(methods: Sequence[Authenticator], proof: Proof) -> Identity | None:
    """Who it is, if one of them knows at once; when all know that it is nobody, that is said.

    Raises:
        AuthRequired: see `Authenticator.authenticate_nowait`.
    """
    wrong: AuthRequired | None = None
    undecided = False
    for authenticator in methods:
        try:
            identity = authenticator.authenticate_nowait(proof)
        except AuthRequired as error:
            wrong = error
        else:
            if identity is not None:
                return identity
            undecided = True
    if wrong is not None and not undecided:
        raise wrong
    return None


async def verify(methods: Sequence[Authenticator], proof: Proof) -> Identity:
    """Who it is, however long that takes; those who do not answer are told of only if nobody knows.

    Raises:
        WsproxyError: see `Authenticator.authenticate`.
    """
    identity = known(methods, proof)
    if identity is not None:
        return identity
    failure: WsproxyError | None = None
    for authenticator in methods:
        try:
            return await authenticator.authenticate(proof)
        except AuthContinue:
            raise
        except (AuthRequired, AuthUnavailable) as error:
            if not isinstance(failure, AuthUnavailable):
                failure = error
    assert failure is not None, "a scheme has a method"
    raise failure
