"""From the configuration to what looks into TLS: the part of the composition root that knows `interception`."""

from __future__ import annotations

import functools
import logging
import os
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from wsproxy.config.files import too_open
from wsproxy.config.interception import Interception as Settings
from wsproxy.config.load import Config
from wsproxy.config.parts import Parts, files_in
from wsproxy.config.problems import KeyPath
from wsproxy.net.tls import upstream_context
from wsproxy.policy.hosts import HostPatterns, compile_hosts
from wsproxy.proxy.looking import Interception, Looking
from wsproxy.proxy.pins import Pins

if TYPE_CHECKING:
    from wsproxy.protocol.x509 import Authority

__all__ = ["build_looking"]

log = logging.getLogger("wsproxy")

_SECTION = "interception"


def build_looking(
    config: Config, parts: Parts, *, peek: bool, clock: Callable[[], float]
) -> Looking:
    """What is looked at in tunnels.

    Args:
        config: loaded.
        parts: what has not changed keeps the certificates it made.
        peek: whether rules ask what first octets are.
        clock: wall clock, in seconds since 1970.

    Raises:
        ConfigError: a key, a certificate or a pattern cannot be used; with its position.
    """
    settings = config.settings
    always = {
        rule.name: rule.tls == "intercept_always"
        for rule in settings.policy.rules
        if rule.tls != "passthrough" and rule.action == "allow"
    }
    section, interception = settings.interception, None
    if section is not None:
        everything = section, settings.timeouts.tls_handshake
        make = functools.partial(_build, config, section, clock)
        files = [file for file in files_in(section) if file != section.key_log]
        interception = parts.take("interception", everything, make, files=files)
    return Looking(
        everywhere=peek,
        always=always,
        sniff_s=settings.timeouts.sniff,
        interception=interception,
    )


def _build(config: Config, section: Settings, clock: Callable[[], float]) -> Interception:
    # A tenth of a second and ten megabytes, which only those pay who intercept.
    from wsproxy.proxy.minter import Minter

    key_log = section.key_log
    if key_log is not None:
        log.warning(
            "interception.key_log: session keys are written to %s; "
            "whoever reads it can read all that is intercepted. For debugging only!",
            key_log,
        )
        _make_private(config, key_log)
    authority = _authority(config, section, clock)
    passthrough, contexts = section.passthrough, []
    for index, own in enumerate(section.upstream.client_certificates):
        path: KeyPath = (_SECTION, "upstream", "client_certificates", index)
        patterns = _hosts(config, (*path, "hosts"), own.hosts)
        contexts.append((patterns, _context(config, section, path, (own.certificate, own.key))))
    pins = None
    if passthrough.after_failures is not None:
        pins = Pins(passthrough.after_failures, passthrough.for_)
    return Interception(
        minter=Minter(
            authority, clock=clock, lifetime_s=section.leaf_lifetime, key_log=section.key_log
        ),
        exempt=_hosts(config, (_SECTION, "passthrough", "hosts"), passthrough.hosts),
        pins=pins,
        fronting=section.fronting,
        handshake_s=config.settings.timeouts.tls_handshake,
        default_context=_context(config, section, (_SECTION, "upstream")),
        contexts=contexts,
        ca_pem=authority.chain_pem,
    )


def _authority(config: Config, section: Settings, clock: Callable[[], float]) -> Authority:
    from wsproxy.protocol.x509 import load_authority

    certificate = _read(config, (_SECTION, "ca_certificate"), section.ca_certificate)
    path: KeyPath = (_SECTION, "ca_key")
    key = _read(config, path, section.ca_key)
    if sentence := too_open(section.ca_key):
        raise config.error(path, sentence)
    try:
        return load_authority(certificate, key, now=datetime.fromtimestamp(clock(), UTC))
    except ValueError as error:
        raise config.error((_SECTION, "ca_certificate"), str(error)) from error


def _context(
    config: Config,
    section: Settings,
    path: KeyPath,
    certificate: tuple[Path, Path] | None = None,
) -> ssl.SSLContext:
    upstream = section.upstream
    for name, files in (("ca", upstream.ca), ("crl", upstream.crl)):
        for index, file in enumerate(files):
            _read(config, (_SECTION, "upstream", name, index), file)
    try:
        return upstream_context(
            ca_files=upstream.ca,
            crl_files=upstream.crl,
            certificate=certificate,
            key_log=section.key_log,
        )
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror
        raise config.error(path, f"these files cannot be used: {reason}") from error


def _hosts(config: Config, path: KeyPath, patterns: tuple[str, ...]) -> HostPatterns:
    try:
        return compile_hosts(patterns)
    except ValueError as error:
        raise config.error(path, str(error)) from error


def _read(config: Config, path: KeyPath, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise config.error(path, f"cannot be read: {error.strerror}") from error


def _make_private(config: Config, file: Path) -> None:
    """OpenSSL would make it readable to all who may."""
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise config.error((_SECTION, "key_log"), f"cannot be written: {error.strerror}") from error
