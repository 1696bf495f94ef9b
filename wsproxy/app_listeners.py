"""From the configuration to what stands before HTTP: the part of the composition root that knows `listeners`.

`build_entrances` may be called again at any time: what it makes holds no socket, so certificates
and lists of revocations that changed on disk count for every handshake from then on.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from wsproxy.config.auth import Auth
from wsproxy.config.listeners import Listener, ListenerTls
from wsproxy.config.load import Config
from wsproxy.config.problems import KeyPath
from wsproxy.net.tls import listener_context
from wsproxy.policy.networks import compile_networks
from wsproxy.proxy.entrance import Entrance

__all__ = ["build_entrances"]

_HELD: Final = (("x509", "certificate"), ("crl", "list of revocations"))
"""What a file of authorities holds, and one of revocations: OpenSSL's name and ours."""


def build_entrances(config: Config) -> tuple[Entrance, ...]:
    """What stands before HTTP on each listener, in their order.

    Raises:
        ConfigError: a file cannot be used; with its position.
    """
    return tuple(
        _entrance(config, listener, ("listeners", index))
        for index, listener in enumerate(config.settings.listeners)
    )


def _entrance(config: Config, listener: Listener, path: KeyPath) -> Entrance:
    balancers = listener.proxy_protocol
    return Entrance(
        tls=None if listener.tls is None else _context(config, listener.tls, (*path, "tls")),
        handshake_s=config.settings.timeouts.tls_handshake,
        trusted=None if balancers is None else compile_networks(balancers.trust),
    )


def _context(config: Config, tls: ListenerTls, path: KeyPath) -> ssl.SSLContext:
    _check_certificate(config, tls, path)
    for name, files in (("client_ca", tls.client_ca), ("client_crl", tls.client_crl)):
        for index, file in enumerate(files):
            _check_authorities(config, file, (*path, name, index))
    return listener_context(
        tls.certificate,
        tls.key,
        ca_files=tls.client_ca,
        crl_files=tls.client_crl,
        required=_is_required(config.settings.auth),
    )


def _is_required(auth: Auth) -> bool:
    """Whether nothing else lets a client in that shows no certificate.

    Where it is not what proves who asks, it is what ``client_ca`` was written for; where it is,
    another method or nobody's name may do.
    """
    types = {method.type for method in auth.methods}
    return "certificate" not in types or (auth.required and types == {"certificate"})


def _check_certificate(config: Config, tls: ListenerTls, path: KeyPath) -> None:
    try:
        listener_context(tls.certificate, tls.key)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise config.error((*path, "key"), "this is not the key of the certificate") from error
        name = "key" if _holds_certificates(tls.certificate) else "certificate"
        sentence = f"no PEM {name} that can be used: {_reason(error)}"
        raise config.error((*path, name), sentence) from error
    except OSError as error:
        raise config.error(path, f"these files cannot be read: {error.strerror}") from error


def _holds_certificates(file: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(file)
    except OSError:
        return False
    return True


def _check_authorities(config: Config, file: Path, path: KeyPath) -> None:
    trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        trial.load_verify_locations(file)
    except ssl.SSLError as error:
        raise config.error(path, f"it cannot be used: {_reason(error)}") from error
    except OSError as error:
        raise config.error(path, f"it cannot be read: {error.strerror}") from error
    # OpenSSL takes either for the other, and refuses everybody then.
    kind, name = _HELD["client_crl" in path]
    if not trial.cert_store_stats()[kind]:
        raise config.error(path, f"there is no {name} in it")


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()
