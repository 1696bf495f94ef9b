"""Which LDAP servers are asked, for whom, and how; what does not go together is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from sansldap import LDAPFilter

__all__ = ["LdapSettings", "Place", "parse_place"]

_USER_ATTRIBUTE = re.compile(r"([A-Za-z][A-Za-z0-9-]*)=\{user\}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is and whether TLS comes first.

    Attributes:
        url: as configured, for logs.
        host: name or address, also the one its certificate must be for.
        port: of TCP.
        tls: ``ldaps``.
    """

    url: str
    host: str
    port: int
    tls: bool

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine by its very name."""
        return self.host in ("localhost", "::1") or bool(
            re.fullmatch(r"127(\.\d{1,3}){3}", self.host)
        )


def parse_place(url: str) -> Place:
    """Where ``ldap[s]://HOST[:PORT]`` leads.

    Raises:
        ValueError: it is something else, or more than that.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("ldap", "ldaps") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("an LDAP server is written ldaps://HOST or ldap://HOST, maybe with :PORT")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("nothing may follow the host and port of an LDAP server")
    tls = parts.scheme == "ldaps"
    return Place(url, parts.hostname, parts.port or (636 if tls else 389), tls)


@dataclass(frozen=True, slots=True, kw_only=True)
class LdapSettings:
    """What `LdapBackend` asks, whom and how.

    Attributes:
        urls: ``ldaps://HOST[:PORT]`` or ``ldap://…``, tried in this order.
        base: DN below which users are searched for.
        bind_dn: service account that searches and reads; empty: anonymous, or the user.
        bind_password: of the service account.
        user_filter: finds a user; ``{user}`` stands for the name.
        user_dn: the users' DN with ``{user}`` in it; users are not searched for then.
        group_base: DN below which groups are searched for; None: ``memberOf`` is read.
        group_filter: finds a user's groups; ``{dn}`` and ``{user}`` stand for his DN and name.
        group_attribute: holds a group's name; in ``memberOf``: the one its DN begins with.
        ca: PEM file of the authorities to trust; None: the system's.
        start_tls: whether TLS begins on the port of ``ldap://``.
        allow_plain: whether passwords may cross a network without TLS.
        timeout_s: seconds for one answer, all servers together.
        pool: connections to each server at most; from 1.

    Raises:
        ValueError: these do not go together; says which and why.
    """

    urls: tuple[str, ...]
    base: str = ""
    bind_dn: str = ""
    bind_password: str = field(default="", repr=False)
    user_filter: str = "(uid={user})"
    user_dn: str | None = None
    group_base: str | None = None
    group_filter: str = "(member={dn})"
    group_attribute: str = "cn"
    ca: str | None = None
    start_tls: bool = False
    allow_plain: bool = False
    timeout_s: float = 5.0
    pool: int = 4

    def __post_init__(self) -> None:
        if not self.urls:
            raise ValueError("url: no server")
        for place in map(parse_place, self.urls):
            if place.tls and self.start_tls:
                raise ValueError("start_tls: ldaps:// is TLS from the start; use ldap://")
            if not (place.tls or self.start_tls or self.allow_plain or place.is_loopback):
                raise ValueError(
                    f"url: passwords would cross the network in plain text to {place.host}; "
                    "use ldaps://, start_tls or allow_plain"
                )
        if bool(self.bind_dn) != bool(self.bind_password):
            raise ValueError("bind_dn: it takes bind_password, too, or neither")
        if self.user_dn is None and not self.base:
            raise ValueError("base: needed to search for users; or give user_dn")
        for key, text in (("user_filter", self.user_filter), ("group_filter", self.group_filter)):
            try:
                LDAPFilter.from_string(text.replace("{user}", "x").replace("{dn}", "x"))
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
        _ = self.user_attribute

    @property
    def user_attribute(self) -> str:
        """The attribute that holds user names: the one compared with ``{user}``.

        Raises:
            ValueError: there is none.
        """
        key = "user_filter" if self.user_dn is None else "user_dn"
        found = _USER_ATTRIBUTE.search(self.user_filter if self.user_dn is None else self.user_dn)
        if found is None:
            raise ValueError(f"{key}: must say which attribute is the name, as in uid={{user}}")
        return found[1]
