"""One connection to an LDAP server (RFC 4511): TLS, bind, search, and the escaping of names.

Theory of operation.  sansldap turns messages into octets and back without any
I/O, as h11 does; the octets go through trio's own streams.  So a deadline is a
cancel scope that ends any wait for certain, and TLS is `ssl`'s, which checks chain
and name.  No thread can hang in a library.  What was not chosen: bonsai (knows
trio, but has no wheel for Linux: it wants a compiler and libldap's headers),
python-ldap (the same, and blocks), ldap3 (no release since 2021, blocks).

StartTLS is the first thing on its connection.  Octets that came in plain text with
or behind its answer are refused or forgotten with the session that read them,
never taken for answers of the TLS session (as in CVE-2011-0411).
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import trio
from sansldap import (
    BindResponse,
    ExtendedOperations,
    ExtendedResponse,
    LDAPClient,
    LDAPError,
    LDAPFilter,
    LDAPMessage,
    LDAPResult,
    LDAPResultCode,
    SearchResultDone,
    SearchResultEntry,
    SearchResultReference,
    SearchScope,
)

from wsproxy.auth.ldap_settings import Place

__all__ = [
    "Connect",
    "Entry",
    "LdapFault",
    "Link",
    "LinkLost",
    "escape_dn",
    "escape_filter",
    "open_link",
    "rdn_value",
]

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""Most that one answer may be: 10 000 groups with names of 400 octets."""

Connect = Callable[[str, int], Awaitable[trio.abc.Stream]]
"""(host, port) → a connected stream, or OSError."""

# RFC 4514 §3: attribute type, "=", and a string in which specials are escaped.
_RDN = re.compile(r"\s*([A-Za-z0-9.-]+)\s*=\s*((?:\\.|[^\\,+])*?)\s*([,+]|\Z)", re.DOTALL)
_ESCAPED = re.compile(rb"\\([0-9A-Fa-f]{2}|.)", re.DOTALL)


class LdapFault(Exception):
    """This server cannot be asked, or its answer is of no use; says nothing about credentials."""


class LinkLost(LdapFault):
    """The connection ended; another one to the same server may do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry a search found.

    Attributes:
        dn: its name.
        attributes: lower-case description → values.
    """

    dn: str
    attributes: Mapping[str, Sequence[bytes]]

    def texts(self, attribute: str) -> list[str]:
        """The values of `attribute`; what is not UTF-8 in them is replaced."""
        return [value.decode("utf-8", "replace") for value in self.attributes.get(attribute, ())]


def escape_filter(value: str) -> str:
    r"""`value` for a filter (RFC 4515 §3): all but ASCII letters and digits as ``\xx``."""
    return _escape(value)


def escape_dn(value: str) -> str:
    r"""`value` for a DN (RFC 4514 §2.4): all but ASCII letters and digits as ``\xx``.

    §2.4 wants a few characters escaped, in ways that depend on where they stand; §3
    allows a hexpair for any octet, anywhere.
    """
    return _escape(value)


def _escape(value: str) -> str:
    octets = value.encode("utf-8", "surrogatepass")
    return "".join(
        chr(octet) if chr(octet).isalnum() and octet < 0x80 else f"\\{octet:02x}"
        for octet in octets
    )


def rdn_value(dn: str, attribute: str) -> str | None:
    r"""The value of `attribute` in the first RDN of `dn`, unescaped (RFC 4514 §3); None without.

    ``cn=Desk\2c 2+ou=x,dc=corp`` and ``cn`` → ``Desk, 2``.
    """
    position = 0
    while (match := _RDN.match(dn, position)) is not None:
        if match[1].lower() == attribute.lower():
            octets = _ESCAPED.sub(
                lambda escaped: (
                    bytes.fromhex(escaped[1].decode()) if len(escaped[1]) == 2 else escaped[1]
                ),
                match[2].encode("utf-8"),
            )
            return octets.decode("utf-8", "replace")
        if match[3] != "+":
            return None
        position = match.end()
    return None


class Link:
    """A connection, good for one operation at a time.

    After any exception, cancellation included, it must be closed.

    Args:
        stream: connected, the link's own from now on.

    Attributes:
        bound_as: DN of the last bind that succeeded, empty while anonymous.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._session = LDAPClient()
        self.bound_as = ""

    async def aclose(self) -> None:
        """Ends the connection at once, whatever the peer does."""
        await trio.aclose_forcefully(self._stream)

    async def start_tls(self) -> None:
        """Asks for StartTLS (RFC 4511 §4.14) in plain text; `secure` must follow.

        Raises:
            LdapFault: the server will not.
        """
        self._session.extended_request(ExtendedOperations.LDAP_START_TLS.value)
        answers = await self._exchange()
        if len(answers) != 1 or not isinstance(answers[0], ExtendedResponse):
            raise LdapFault("does not answer StartTLS as it must")
        code = _code(answers[0].result)
        if code is not LDAPResultCode.SUCCESS:
            raise LdapFault(f"refuses StartTLS ({code.name})")

    async def secure(self, context: ssl.SSLContext, host: str) -> None:
        """Puts TLS on the connection and checks that the server is `host`.

        Raises:
            LdapFault: it is not, or does not speak TLS.
        """
        stream = trio.SSLStream(self._stream, context, server_hostname=host)
        self._stream, self._session = stream, LDAPClient()
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError as error:
            raise LdapFault(f"TLS failed: {error.__cause__ or error}") from error

    async def bind(self, dn: str, password: str) -> LDAPResultCode:
        """What the server says to a simple bind (RFC 4513 §5.1); anything but success is no.

        Args:
            dn: whom to bind as; empty with an empty password: anonymous.
            password: in clear.

        Raises:
            LinkLost: the connection ended.
            ValueError: a DN without a password.  Servers say yes to that and mean
                "anonymous": "Clients SHOULD disallow an empty password" (§5.1.2).
        """
        if bool(dn) != bool(password):
            raise ValueError("a bind takes a DN and a password, or neither")
        self._session.bind_simple(dn, password)
        answers = await self._exchange()
        if not isinstance(answers[-1], BindResponse):
            raise LinkLost("answers a bind with something else")
        code = _code(answers[-1].result)
        # RFC 4513 §4: a bind that fails leaves the connection anonymous.
        self.bound_as = dn if code is LDAPResultCode.SUCCESS else ""
        return code

    async def search(
        self,
        base: str,
        text: str,
        attributes: Sequence[str],
        *,
        is_base_only: bool = False,
        limit: int = 0,
    ) -> list[Entry]:
        """The entries that match; referrals are not followed.

        Args:
            base: DN to begin at.
            text: the filter (RFC 4515).
            attributes: to be returned.
            is_base_only: look at `base` itself and not below it.
            limit: entries wanted at most, 0 for all.

        Raises:
            LinkLost: the connection ended.
            LdapFault: the server does not find all it was asked for.
        """
        self._session.search_request(
            base_object=base,
            scope=SearchScope.BASE if is_base_only else SearchScope.SUBTREE,
            size_limit=limit,
            filter=LDAPFilter.from_string(text),
            attributes=list(attributes),
        )
        *found, done = await self._exchange()
        if not isinstance(done, SearchResultDone):
            raise LinkLost("answers a search with something else")
        entries = [
            Entry(each.object_name, {one.name.lower(): one.values for one in each.attributes})
            for each in found
            if isinstance(each, SearchResultEntry)
        ]
        code = _code(done.result)
        is_enough = code is LDAPResultCode.SIZE_LIMIT_EXCEEDED and 0 < limit <= len(entries)
        # Who may not read an entry is told that there is none.
        is_hidden = code is LDAPResultCode.NO_SUCH_OBJECT and is_base_only
        if code is not LDAPResultCode.SUCCESS and not (is_enough or is_hidden):
            raise LdapFault(f"answers a search below {base!r} with {code.name}")
        return entries

    async def _exchange(self) -> list[LDAPMessage]:
        """Sends what the session has to say; the messages up to the one that ends the answer."""
        messages: list[LDAPMessage] = []
        received = 0
        try:
            await self._stream.send_all(self._session.data_to_send())
            while not messages or isinstance(
                messages[-1], SearchResultEntry | SearchResultReference
            ):
                data = await self._stream.receive_some()
                received += len(data)
                if not data:
                    raise LinkLost("closed the connection")
                if received > MAX_ANSWER_BYTES:
                    raise LdapFault("sends more than anybody wants to know")
                messages += self._session.receive(data)
        except trio.BrokenResourceError as error:
            raise LinkLost("the connection broke") from error
        except (LDAPError, IndexError) as error:
            # Also the server's notice that it is about to disconnect.  IndexError is what
            # sansldap 0.1 says to some messages that end too early.
            raise LinkLost("ended the LDAP session") from error
        return messages


def _code(result: LDAPResult) -> LDAPResultCode:
    """What a result says, if anybody knows the code.

    sansldap 0.1 makes members for codes that it does not know, and they equal 0: they
    equal SUCCESS.
    """
    code = result.result_code
    if int(code) != code.value:
        raise LdapFault(f"answers with the unknown code {code.value}")
    return code


async def open_link(
    place: Place, *, connect: Connect, context: ssl.SSLContext | None, start_tls: bool
) -> Link:
    """A new connection, with TLS if there is a `context`; nothing is sent before.

    Raises:
        LdapFault: there is no way to the server, or it is not who it must be.
    """
    try:
        link = Link(await connect(place.host, place.port))
    except OSError as error:
        raise LdapFault(f"no connection: {error}") from error
    try:
        if start_tls:
            await link.start_tls()
        if context is not None:
            await link.secure(context, place.host)
    except BaseException:
        await link.aclose()
        raise
    return link
