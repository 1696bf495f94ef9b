"""From the configuration to the methods that prove who asks: the part of the composition root that knows `auth`."""

from __future__ import annotations

import functools
import logging
import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wsproxy.auth import Authenticator, BasicAuthenticator
from wsproxy.auth.certificate import CertificateAuthenticator
from wsproxy.auth.groups import DirectoryGroups, GroupedAuthenticator
from wsproxy.auth.lockout import Lockout
from wsproxy.auth.users_file import load_users
from wsproxy.config.auth import Ldap, Method
from wsproxy.config.load import Config
from wsproxy.config.parts import Parts, files_in
from wsproxy.config.problems import KeyPath
from wsproxy.policy.globs import compile_glob

if TYPE_CHECKING:
    from wsproxy.auth.ldap import LdapBackend
    from wsproxy.protocol.revocations import Number

__all__ = ["Authenticators", "build_authenticators", "build_lockout"]

log = logging.getLogger("wsproxy")


class Authenticators(NamedTuple):
    """All methods.

    Attributes:
        by_scheme: in the order they are offered.
        services: what runs beside them for as long as the proxy does.
    """

    by_scheme: dict[str, list[Authenticator]]
    services: list[Callable[[], Awaitable[None]]]


def build_authenticators(
    config: Config, parts: Parts, *, clock: Callable[[], float]
) -> Authenticators:
    """The methods of ``auth.methods``.

    Args:
        config: loaded.
        parts: those that have not changed remember what they know.
        clock: wall clock, in seconds since 1970.

    Raises:
        ConfigError: a file cannot be used; with its position.
    """
    auth = config.settings.auth
    built = Authenticators({}, [])
    for index, method in enumerate(auth.methods):
        make = functools.partial(
            _MAKERS[method.type], config, method, ("auth", "methods", index), clock
        )
        made = parts.take("auth", (auth.realm, method), make, files=_files(config, method))
        for one in made.authenticators:
            built.by_scheme.setdefault(one.scheme.lower(), []).append(one)
        for one in made.ahead:
            built.by_scheme.setdefault(one.scheme.lower(), []).insert(0, one)
        built.services.extend(made.services)
    return built


def build_lockout(config: Config, parts: Parts) -> Lockout | None:
    """What keeps guessers out, if anything does."""
    settings = config.settings.auth.lockout
    if settings is None:
        return None
    make = functools.partial(Lockout, settings.failures, settings.within, settings.for_)
    return parts.take("lockout", settings, make)


class _Made(NamedTuple):
    """What comes of one method.

    Attributes:
        authenticators: in the order they are offered.
        services: what runs beside them.
        ahead: those that are asked before all others of their scheme.
    """

    authenticators: list[Authenticator]
    services: Sequence[Callable[[], Awaitable[None]]] = ()
    ahead: Sequence[Authenticator] = ()


Maker = Callable[[Config, Method, KeyPath, Callable[[], float]], _Made]


def _files(config: Config, method: Method) -> list[Path]:
    if method.type == "certificate":
        return [file for _path, file in _revocations(config)]
    keys = [] if method.jwks is None or _is_url(method.jwks) else [Path(method.jwks)]
    return [*files_in(method), *keys]


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def _basic(config: Config, method: Method, path: KeyPath, _clock: object) -> _Made:
    realm = config.settings.auth.realm
    if method.ldap is not None:
        return _Made([_ldap(config, method.ldap, (*path, "ldap"), realm)])
    assert method.users is not None, "checked"
    with config.at((*path, "users")):
        users = load_users(method.users)
        authenticator = BasicAuthenticator(users, realm=realm)
    _warn(users.warnings)
    return _Made([authenticator])


def _ldap(config: Config, settings: Ldap, path: KeyPath, realm: str) -> Authenticator:
    directory = _directory(config, settings, path)
    from wsproxy.auth.ldap import LdapAuthenticator

    return LdapAuthenticator(directory, realm=realm)


def _grouped(
    config: Config, method: Method, path: KeyPath, made: list[Authenticator]
) -> list[Authenticator]:
    """The same, with groups from a directory if one is given."""
    if method.ldap is None:
        return made
    groups = DirectoryGroups(_directory(config, method.ldap, (*path, "ldap")))
    return [GroupedAuthenticator(one, groups) for one in made]


def _directory(config: Config, settings: Ldap, path: KeyPath) -> LdapBackend:
    try:
        from wsproxy.auth.ldap import LdapBackend
        from wsproxy.auth.ldap_settings import LdapSettings
    except ImportError as error:
        raise config.error(path, "this takes the extra: pip install 'wsproxy[ldap]'") from error
    with config.at(path):
        whole = LdapSettings(
            urls=settings.url,
            base=settings.base,
            bind_dn=settings.bind_dn,
            bind_password=settings.bind_password.text if settings.bind_password else "",
            user_filter=settings.user_filter,
            user_dn=settings.user_dn,
            group_base=settings.group_base,
            group_filter=settings.group_filter,
            group_attribute=settings.group_attribute,
            ca=str(settings.ca) if settings.ca else None,
            start_tls=settings.start_tls,
            allow_plain=settings.allow_plain,
            timeout_s=settings.timeout,
            pool=settings.pool,
        )
        return LdapBackend(whole)


def _digest(config: Config, method: Method, path: KeyPath, _clock: object) -> _Made:
    from wsproxy.auth.digest import DigestAuthenticator
    from wsproxy.auth.digest_users import load_digest_users

    assert method.users is not None, "checked"
    with config.at((*path, "users")):
        users = load_digest_users(method.users, realm=config.settings.auth.realm)
        authenticator = DigestAuthenticator(users)
    _warn(users.warnings)
    return _Made([authenticator])


def _bearer(config: Config, method: Method, path: KeyPath, clock: Callable[[], float]) -> _Made:
    try:
        from wsproxy.auth.bearer import (
            DEFAULT_ALGORITHMS,
            BearerAuthenticator,
            TokenRules,
        )
        from wsproxy.auth.jwks import JwkSource
        from wsproxy.auth.token_passwords import TokenPasswords
    except ImportError as error:
        raise config.error(path, "this takes the extra: pip install 'wsproxy[jwt]'") from error
    assert method.jwks is not None, "checked"
    realm = config.settings.auth.realm
    with config.at((*path, "jwks")):
        if _is_url(method.jwks):
            keys = JwkSource.from_url(method.jwks)
        else:
            keys = JwkSource.from_file(method.jwks)
            keys.load_now()
    with config.at((*path, "algorithms")):
        rules = TokenRules(
            issuer=method.issuer,
            audiences=frozenset(method.audience) or None,
            groups_claim=method.groups_claim,
            user_claim=method.user_claim,
            algorithms=frozenset(method.algorithms) or DEFAULT_ALGORITHMS,
        )
        authenticator = BearerAuthenticator(keys, rules, realm=realm, wall_clock=clock)
    _warn(authenticator.warnings)
    # Clients that know nothing but Basic send the token as their password; it is told from a
    # password by its form, so it is asked first.
    passwords = TokenPasswords(authenticator, realm=realm)
    *ahead, last = _grouped(config, method, path, [passwords, authenticator])
    return _Made([last], [keys.run], ahead)


def _negotiate(config: Config, method: Method, path: KeyPath, _clock: object) -> _Made:
    try:
        from wsproxy.auth.negotiate import NegotiateAuthenticator
    except ImportError as error:
        raise config.error(path, "this takes the extra: pip install 'wsproxy[kerberos]'") from error
    assert method.keytab is not None, "checked"
    with config.at((*path, "keytab")):
        authenticator = NegotiateAuthenticator(
            keytab=method.keytab,
            hostname=method.hostname,
            realms=method.realms,
            # Where an image without a writable root has a place to write.
            replay_cache=Path(tempfile.gettempdir(), f"wsproxy-{os.getuid()}.rcache2"),
        )
    return _Made(_grouped(config, method, path, [authenticator]))


def _certificate(
    config: Config, method: Method, _path: KeyPath, clock: Callable[[], float]
) -> _Made:
    groups = None
    if method.groups is not None:
        groups = {name: list(map(compile_glob, users)) for name, users in method.groups.items()}
    authenticator = CertificateAuthenticator(
        user_from=method.user_from, groups=groups, revoked=_revoked(config), clock=clock
    )
    return _Made([authenticator])


def _revoked(config: Config) -> set[Number]:
    lists = _revocations(config)
    if not lists:
        return set()
    # Ten megabytes, which only those pay who have such lists.
    from wsproxy.protocol.revocations import revoked_in

    revoked: set[Number] = set()
    for path, file in lists:
        with config.at(path):
            revoked.update(revoked_in(file.read_bytes()))
    return revoked


def _revocations(config: Config) -> list[tuple[KeyPath, Path]]:
    """The lists of revocations of all listeners, and where they are named."""
    return [
        (("listeners", index, "tls", "client_crl", at), file)
        for index, listener in enumerate(config.settings.listeners)
        if listener.tls is not None
        for at, file in enumerate(listener.tls.client_crl)
    ]


def _warn(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        log.warning("%s", warning)


_MAKERS: dict[str, Maker] = {
    "basic": _basic,
    "digest": _digest,
    "bearer": _bearer,
    "negotiate": _negotiate,
    "certificate": _certificate,
}
