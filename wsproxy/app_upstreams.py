"""From the configuration to the proxies behind this one: the part of the composition root that knows `upstreams`."""

from __future__ import annotations

import ssl

from wsproxy.config.load import Config
from wsproxy.config.problems import KeyPath
from wsproxy.config.upstreams import Upstream
from wsproxy.net.parents import Parent
from wsproxy.net.resolve import Resolver
from wsproxy.net.tickets import Tickets
from wsproxy.net.tls import upstream_context
from wsproxy.proxy.route import Parents

__all__ = ["build_parents"]


def build_parents(config: Config, resolver: Resolver) -> dict[str, Parents]:
    """The parents of each rule that has some, by its name.

    Raises:
        ConfigError: a file of authorities cannot be used; with its position.
    """
    settings = config.settings
    groups = {
        name: Parents(
            name,
            [
                _parent(config, name, upstream, ("upstreams", name, index))
                for index, upstream in enumerate(upstreams)
            ],
            resolver,
            settings.timeouts.tls_handshake,
        )
        for name, upstreams in settings.upstreams.items()
    }
    return {
        rule.name: groups[rule.upstream]
        for rule in settings.policy.rules
        if rule.upstream is not None
    }


def _parent(config: Config, name: str, upstream: Upstream, path: KeyPath) -> Parent:
    url = upstream.url
    return Parent(
        name=name,
        kind=url.kind,
        host=url.host,
        port=url.port,
        username=upstream.username,
        password=upstream.password.text if upstream.password else "",
        token=upstream.token.text if upstream.token else "",
        tickets=_tickets(config, name, upstream, path),
        context=_context(config, upstream, path) if url.kind == "https" else None,
    )


def _tickets(config: Config, name: str, upstream: Upstream, path: KeyPath) -> Tickets | None:
    negotiate = upstream.negotiate
    if negotiate is None:
        return None
    with config.at((*path, "negotiate")):
        return Tickets(
            name,
            hostname=negotiate.hostname or upstream.url.host.text,
            keytab=negotiate.keytab,
            principal=negotiate.principal,
            timeout_s=config.settings.timeouts.connect,
        )


def _context(config: Config, upstream: Upstream, path: KeyPath) -> ssl.SSLContext:
    try:
        return upstream_context(ca_files=upstream.tls.ca)
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror
        raise config.error((*path, "tls", "ca"), f"cannot be used: {reason}") from error
