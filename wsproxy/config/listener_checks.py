"""What must hold between the settings of listeners, and for certificates as a method."""

from __future__ import annotations

from collections.abc import Iterator

from wsproxy.config.files import too_open, unreadable
from wsproxy.config.listeners import ListenerTls
from wsproxy.config.problems import KeyPath
from wsproxy.config.schema import Settings

__all__ = ["listener_problems"]

Problem = tuple[KeyPath, str]


def listener_problems(settings: Settings) -> Iterator[Problem]:
    """Each thing that is wrong, with the path of the value to change."""
    seen: dict[str, int] = {}
    for index, listener in enumerate(settings.listeners):
        text = str(listener.address)
        if listener.address.port and text in seen:
            yield (
                ("listeners", index, "address"),
                f"listeners[{seen[text]}] has this address already",
            )
        seen.setdefault(text, index)
        if listener.tls is not None:
            yield from _files(listener.tls, ("listeners", index, "tls"))
    yield from _certificates(settings)


def _files(tls: ListenerTls, path: KeyPath) -> Iterator[Problem]:
    if tls.client_crl and not tls.client_ca:
        yield (*path, "client_crl"), "there is nobody to revoke without client_ca; add it"
    if sentence := unreadable(tls.certificate):
        yield (*path, "certificate"), sentence
    if sentence := unreadable(tls.key) or too_open(tls.key):
        yield (*path, "key"), sentence
    for name, files in (("client_ca", tls.client_ca), ("client_crl", tls.client_crl)):
        for at, file in enumerate(files):
            if sentence := unreadable(file):
                yield (*path, name, at), sentence


def _certificates(settings: Settings) -> Iterator[Problem]:
    asks = any(one.tls is not None and one.tls.client_ca for one in settings.listeners)
    for index, method in enumerate(settings.auth.methods):
        if method.type == "certificate" and not asks:
            yield (
                ("auth", "methods", index),
                "no listener asks for certificates; add tls with client_ca to one",
            )
