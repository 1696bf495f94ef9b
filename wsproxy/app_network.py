"""From the configuration to the network: the part of the composition root that knows `dns` and `source_address`."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from wsproxy.config.load import Config
from wsproxy.config.problems import KeyPath
from wsproxy.model import Address
from wsproxy.net.answers import AnswerCache
from wsproxy.net.resolve import LocalNames, Names, Resolver
from wsproxy.proxy.route import Sources

__all__ = ["build_resolver", "build_sources"]


def build_resolver(config: Config) -> Resolver:
    """Who is asked for the addresses of names."""
    dns = config.settings.dns
    return Resolver(
        dns.timeout,
        names=_servers(config),
        local=LocalNames(dns.hosts),
        cache=AnswerCache() if dns.cache else None,
    )


def _servers(config: Config) -> Names | None:
    servers = config.settings.dns.servers
    if not servers:
        return None
    # Not before it is needed: it brings much along.
    from wsproxy.net.nameservers import NameServer, NameServers

    return NameServers([NameServer(one.address, one.port) for one in servers])


def build_sources(config: Config) -> dict[str, Sources]:
    """Where connections come from, by the name of the rule that decides, ``default`` included.

    Raises:
        ConfigError: this machine has not the address; with its position.
    """
    policy = config.settings.policy
    general = _sources(config, policy.source_address, ("policy",))
    found = {"default": general}
    for index, rule in enumerate(policy.rules):
        own = _sources(config, rule.source_address, ("policy", "rules", index))
        found[rule.name] = own or general
    return {name: sources for name, sources in found.items() if sources}


def _sources(config: Config, addresses: Sequence[Address], path: KeyPath) -> Sources:
    for index, address in enumerate(addresses):
        if reason := _unusable(address):
            sentence = f"this machine cannot connect from {address}: {reason}"
            raise config.error((*path, "source_address", index), sentence)
    return {address.version: address for address in addresses}


def _unusable(address: Address) -> str | None:
    """Why nothing can be sent from `address`; None when it can."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    if address.is_unspecified or address.is_multicast:
        return "it stands for no address of one machine"
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.bind((str(address), 0))
    except OSError as error:
        return error.strerror or str(error)
    return None
