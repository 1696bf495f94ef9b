"""The composition root: a configuration becomes a Runtime.

The only place that wires, with its parts in `wsproxy.app_…`.  `build` makes everything
that needs no socket, so `wsproxy check`, `wsproxy run` and a reload load exactly the same;
`wsproxy.app_serve` makes a running proxy of it.
"""

from __future__ import annotations

import functools
import os
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from wsproxy.app_auth import build_authenticators, build_lockout
from wsproxy.app_inspection import NOTHING_CAPTURED, Captured, build_plans
from wsproxy.app_interception import build_looking
from wsproxy.app_limits import allotment
from wsproxy.app_listeners import build_entrances
from wsproxy.app_network import build_resolver, build_sources
from wsproxy.app_upstreams import build_parents
from wsproxy.auth import Authenticator
from wsproxy.config.load import Config
from wsproxy.config.parts import Parts
from wsproxy.errors import ConfigError
from wsproxy.model import Address
from wsproxy.net.engine import RelayLimits, best_engine
from wsproxy.observe.exchange import Exchange
from wsproxy.observe.sinks import SINKS
from wsproxy.policy.addresses import Zone, compile_zone
from wsproxy.policy.hours import Hours
from wsproxy.policy.match import Values
from wsproxy.policy.names import MAX_LIST_BYTES, NameList, parse_names
from wsproxy.policy.rules import Rule, Rules, compile_rule
from wsproxy.proxy.gate import Gate
from wsproxy.proxy.occupancy import Occupancy
from wsproxy.proxy.quotas import Quotas
from wsproxy.proxy.runtime import Drain, Runtime, Timeouts
from wsproxy.proxy.standing import Standing

__all__ = ["Log", "build", "discard", "wall_clock"]

Log = Callable[[str, Exchange], None]
"""See `wsproxy.proxy.runtime.Runtime.log`."""


def discard(_event: str, _exchange: Exchange) -> None:
    """Where records go when nobody wants them."""


wall_clock: Callable[[], float] = time.time  # noqa: TID251 - the one place where records get their date
"""Seconds since 1970."""


def build(
    config: Config,
    *,
    log_access: Log = discard,
    connections: int | None = None,
    own: Collection[tuple[Address, int]] = (),
    captured: Captured = NOTHING_CAPTURED,
    earlier: Runtime | None = None,
) -> Runtime:
    """Everything the configuration describes, loaded and checked, with nothing bound or opened.

    Args:
        config: as `wsproxy.config.load.load` returns it.
        log_access: takes each access record, see `Runtime`.
        connections: most client connections, when the system allows less than
            ``limits.connections``.
        own: where this proxy listens; may be filled later.
        captured: what becomes of records of WebSockets.
        earlier: what this one is to succeed: what has not changed, and what goes on, is taken
            from there; the rest is taken by `Runtime.succeed`, when this one comes into place.

    Raises:
        ConfigError: with the position of the setting that cannot be used.
    """
    settings = config.settings
    _check_log_folder(config)
    times = settings.timeouts
    parts = Parts(None if earlier is None else earlier.parts)
    methods = build_authenticators(config, parts, clock=wall_clock)
    gate = _gate(config, parts, methods.by_scheme, own)
    looking = build_looking(config, parts, peek=gate.rules.peek, clock=wall_clock)
    parts.seal()
    return Runtime(
        gate=gate,
        engine=best_engine() if earlier is None else earlier.engine,
        timeouts=Timeouts(
            request_head_s=times.request_head,
            body_s=times.body,
            keep_alive_s=times.keep_alive,
            response_head_s=times.response_head,
            stalled_s=times.stalled,
        ),
        relay_limits=RelayLimits(times.idle, times.lifetime, times.stalled),
        occupancy=Occupancy(
            connections=connections or settings.limits.connections,
            connections_per_client=settings.limits.connections_per_client,
        ),
        drain=Drain() if earlier is None else earlier.drain,
        quotas=Quotas(allotment(config)),
        plans=build_plans(config, captured, clock=wall_clock),
        looking=looking,
        via=_pseudonym() if earlier is None else earlier.via,
        log=log_access,
        entrances=build_entrances(config),
        services=methods.services,
        standing=Standing() if earlier is None else earlier.standing,
        parts=parts,
    )


def _pseudonym() -> bytes:
    return b"wsproxy-" + secrets.token_hex(4).encode("ascii")


def _gate(
    config: Config,
    parts: Parts,
    authenticators: Mapping[str, Sequence[Authenticator]],
    own: Collection[tuple[Address, int]],
) -> Gate:
    settings = config.settings
    policy = settings.policy
    resolver = parts.take("resolver", settings.dns, lambda: build_resolver(config))
    return Gate(
        rules=Rules(
            policy.default == "allow", tuple(_rules(config, parts)), policy.mode == "report"
        ),
        zones=tuple(_zones(config)),
        authenticators=authenticators,
        lockout=build_lockout(config, parts),
        auth_required=settings.auth.required,
        resolver=resolver,
        listeners=own,
        connect_timeout_s=settings.timeouts.connect,
        parents=build_parents(config, resolver),
        sources=build_sources(config),
        clock=wall_clock,
    )


def _rules(config: Config, parts: Parts) -> list[Rule]:
    rules = []

    @functools.cache
    def read_names(path: Path) -> NameList:
        return parts.take("names", path, lambda: _read_names(path), files=[path])

    for index, rule in enumerate(config.settings.policy.rules):
        when: dict[str, Values] = dict(rule.when.conditions())
        if rule.when.hosts_file:
            when["hosts_file"] = tuple(map(read_names, rule.when.hosts_file))
        if hours := rule.when.hours:
            when["hours"] = (Hours(hours.weekdays, hours.from_, hours.to, hours.timezone),)
        with config.at(("policy", "rules", index, "when")):
            rules.append(
                compile_rule(
                    rule.name,
                    when,
                    allow=rule.action == "allow",
                    message=rule.message,
                    file=config.file,
                    line=rule.line,
                    report=rule.mode == "report",
                )
            )
    return rules


def _read_names(path: Path) -> NameList:
    try:
        with path.open("rb") as stream:
            return parse_names(stream.read(MAX_LIST_BYTES + 1), str(path))
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from error


def _zones(config: Config) -> list[Zone]:
    zones = []
    for index, zone in enumerate(config.settings.policy.private_networks):
        with config.at(("policy", "private_networks", index, "hosts")):
            networks = [str(net) for net in zone.networks]
            zones.append(compile_zone(zone.hosts, networks, name=zone.name))
    return zones


def _check_log_folder(config: Config) -> None:
    to = config.settings.logs.access.to
    if to in SINKS:
        return
    folder = Path(to).parent
    if not folder.is_dir():
        raise config.error(("logs", "access", "to"), f"there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise config.error(("logs", "access", "to"), f"the folder {folder} cannot be written to")
