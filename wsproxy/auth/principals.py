"""Kerberos principals as users.

``alice@CORP.EXAMPLE`` and ``alice@PARTNER.EXAMPLE`` are two people, and a trust between realms
lets both have tickets for us.  So only users of listed realms are let in, and only those of
realms listed for it go by their bare name.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from wsproxy.errors import AuthRequired
from wsproxy.model import Identity

__all__ = ["identity_of"]

_PRINCIPAL = re.compile(r"((?:[^@\\]|\\.)+)@((?:[^@\\]|\\.)+)", re.DOTALL)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ufffd]")


def identity_of(
    principal: bytes, *, realms: Collection[str], strip_realms: Collection[str]
) -> Identity:
    """The user a Kerberos principal stands for; groups are for others to find.

    Args:
        principal: as RFC 1964 §2.1.1 displays it, ``alice@CORP.EXAMPLE``, with ``@`` and
            backslash escaped inside its parts.
        realms: those whose users are let in.
        strip_realms: those whose users go by their bare name.

    Raises:
        AuthRequired: another realm, nobody's principal (RFC 6111 §3.1, ``WELLKNOWN/…``),
            or one that is no name for a user.
    """
    text = principal.decode("utf-8", "replace")
    parts = _PRINCIPAL.fullmatch(text)
    if parts is None or _UNPRINTABLE.search(text):
        raise AuthRequired("the Kerberos principal is no name for a user")
    name, realm = parts[1], parts[2]
    if name.startswith("WELLKNOWN/"):
        raise AuthRequired("the Kerberos ticket is an anonymous one")
    if realm not in realms:
        raise AuthRequired("users of this Kerberos realm are not let in")
    return Identity(name if realm in strip_realms else text, method="negotiate")
