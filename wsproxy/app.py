"""The composition root: a configuration becomes a Runtime, and a Runtime becomes a running proxy.

The only place that wires.  `build` makes everything that needs no socket, so
`wsproxy check` and `wsproxy run` load exactly the same; `serve` binds, serves,
and stops in order: no new connections, time for the requests and tunnels that
run, then the deadline.
"""

from __future__ import annotations

import functools
import gc
import logging
import os
import resource
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from wsproxy.app_auth import build_authenticators, build_lockout
from wsproxy.app_inspection import NOTHING_CAPTURED, Captured, build_plans, redaction_key
from wsproxy.app_interception import build_looking
from wsproxy.app_upstreams import build_parents
from wsproxy.auth import Authenticator
from wsproxy.config.load import Config
from wsproxy.config.problems import KeyPath
from wsproxy.errors import ConfigError
from wsproxy.model import Address, CloseReason
from wsproxy.net.engine import RelayLimits, best_engine
from wsproxy.net.listen import accept_loop, bind
from wsproxy.net.resolve import Resolver
from wsproxy.observe.capture import CaptureFiles, dropped_line
from wsproxy.observe.exchange import Exchange
from wsproxy.observe.records import FORMATS
from wsproxy.observe.sinks import SINKS, LineSink, open_destination
from wsproxy.policy.addresses import Zone, compile_zone
from wsproxy.policy.hours import Hours
from wsproxy.policy.match import Values
from wsproxy.policy.names import MAX_LIST_BYTES, NameList, parse_names
from wsproxy.policy.rules import Rule, Rules, compile_rule
from wsproxy.proxy.express import express
from wsproxy.proxy.gate import Gate
from wsproxy.proxy.occupancy import Occupancy
from wsproxy.proxy.quotas import Quotas
from wsproxy.proxy.runtime import Drain, Runtime, Timeouts

__all__ = ["build", "serve"]

log = logging.getLogger("wsproxy")

_RESERVED_DESCRIPTORS = 128
"""For listeners, logs, splice pipes and resolver threads."""
_CAPTURE_WAITING_BYTES = 16 * 1024 * 1024
"""A quarter of a second of small messages as fast as they can be recorded."""
_LAST_WRITES_S = 5.0
"""For records that wait when everything else has ended."""


def _discard(_event: str, _exchange: Exchange) -> None:
    """Where records go when nobody wants them."""


wall_clock: Callable[[], float] = time.time  # noqa: TID251 - the one place where records get their date
"""Seconds since 1970."""


def build(
    config: Config,
    *,
    log_access: Callable[[str, Exchange], None] = _discard,
    connections: int | None = None,
    own: Collection[tuple[Address, int]] = (),
    captured: Captured = NOTHING_CAPTURED,
) -> Runtime:
    """Everything the configuration describes, loaded and checked, with nothing bound or opened.

    Args:
        config: as `wsproxy.config.load.load` returns it.
        log_access: takes each access record, see `Runtime`.
        connections: most client connections, when the system allows less than
            ``limits.connections``.
        own: where this proxy listens; may be filled later.
        captured: what becomes of records of WebSockets.

    Raises:
        ConfigError: with the position of the setting that cannot be used.
    """
    settings = config.settings
    _check_log_folder(config)
    times = settings.timeouts
    methods = build_authenticators(config, clock=wall_clock)
    gate = _gate(config, methods.by_scheme, own)
    return Runtime(
        gate=gate,
        engine=best_engine(),
        timeouts=Timeouts(
            request_head_s=times.request_head,
            body_s=times.body,
            keep_alive_s=times.keep_alive,
            response_head_s=times.response_head,
        ),
        relay_limits=RelayLimits(times.idle, times.lifetime),
        occupancy=Occupancy(
            connections=connections or settings.limits.connections,
            connections_per_client=settings.limits.connections_per_client,
        ),
        drain=Drain(),
        quotas=_quotas(config),
        plans=build_plans(config, captured, clock=wall_clock),
        looking=build_looking(config, peek=gate.rules.peek, clock=wall_clock),
        via=b"wsproxy-" + secrets.token_hex(4).encode("ascii"),
        log=log_access,
        services=methods.services,
    )


def _gate(
    config: Config,
    authenticators: Mapping[str, Sequence[Authenticator]],
    own: Collection[tuple[Address, int]],
) -> Gate:
    settings = config.settings
    policy = settings.policy
    resolver = Resolver(settings.dns.timeout)
    return Gate(
        rules=Rules(policy.default == "allow", tuple(_rules(config)), policy.mode == "report"),
        zones=tuple(_zones(config)),
        authenticators=authenticators,
        lockout=build_lockout(config),
        auth_required=settings.auth.required,
        resolver=resolver,
        listeners=own,
        connect_timeout_s=settings.timeouts.connect,
        parents=build_parents(config, resolver),
        clock=wall_clock,
    )


def _rules(config: Config) -> list[Rule]:
    rules = []
    read_names = functools.cache(_read_names)
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


def _quotas(config: Config) -> Quotas:
    settings = config.settings
    rate = settings.limits.requests_per_client
    return Quotas(
        per_user=settings.limits.connections_per_user,
        per_rule={
            rule.name: rule.limits.connections
            for rule in settings.policy.rules
            if rule.limits.connections is not None
        },
        requests=None if rate is None else (rate.count, rate.period_s),
    )


def _zones(config: Config) -> list[Zone]:
    zones = []
    for index, zone in enumerate(config.settings.policy.private_networks):
        with config.at(("policy", "private_networks", index, "hosts")):
            zones.append(compile_zone(zone.hosts, [str(net) for net in zone.networks]))
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


def _affordable_connections(config: Config) -> int:
    """``limits.connections``, or as many as there are descriptors for, after raising their limit."""
    limits = config.settings.limits
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, 1 << 20)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Two descriptors a connection: the client's and the upstream's.
    return min(limits.connections, max(1, (hard - min(_RESERVED_DESCRIPTORS, hard // 4)) // 2))


def _warn_of_few_descriptors(config: Config, affordable: int) -> None:
    limits = config.settings.limits
    if affordable < limits.connections:
        # Who never asked for so many need not be told at every start.
        asked_for = "connections" in limits.model_fields_set
        log.log(
            logging.WARNING if asked_for else logging.DEBUG,
            "limits.connections is %d, but there are file descriptors for %d only; "
            "raise the limit of open files (ulimit -n)",
            limits.connections,
            affordable,
        )


@dataclass(frozen=True, slots=True)
class _Listening:
    """A bound listener."""

    sock: socket.socket
    address: Address
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"http://{host}:{self.port}"


def _bind_all(config: Config) -> list[_Listening]:
    bound: list[_Listening] = []
    for index, listener in enumerate(config.settings.listeners):
        wanted = listener.address
        try:
            sock = bind(wanted.address, wanted.port)
        except OSError as error:
            for earlier in bound:
                earlier.sock.close()
            path: KeyPath = ("listeners", index, "address")
            raise config.error(path, f"cannot listen on {wanted}: {error.strerror}") from error
        bound.append(_Listening(sock, wanted.address, sock.getsockname()[1]))
    return bound


def serve(config: Config, announce: Callable[[list[str]], None]) -> None:
    """Runs the proxy until SIGTERM or SIGINT, and drains it; a second signal ends it at once.

    Args:
        config: what to run.
        announce: called with the URLs of the listeners once they serve.

    Raises:
        ConfigError: nothing was started.
    """
    connections = _affordable_connections(config)
    access = config.settings.logs.access
    format_line = FORMATS[access.format]

    def log_access(event: str, exchange: Exchange) -> None:
        now = trio.current_time()
        sink.put_nowait(format_line(event, exchange, wall_clock(), now))

    capture = _open_capture(config)
    own: list[tuple[Address, int]] = []
    runtime = build(
        config,
        log_access=_discard if access.to == "none" else log_access,
        connections=connections,
        own=own,
        captured=_captured(config, capture, lambda line: sink.put_nowait(line)),  # noqa: PLW0108 - opened later
    )
    try:
        sink = LineSink(open_destination(access.to))
    except OSError as error:
        path: KeyPath = ("logs", "access", "to")
        raise config.error(path, f"cannot be opened: {error.strerror}") from error
    listeners = _bind_all(config)
    own.extend((item.address, item.port) for item in listeners)
    _warn_of_few_descriptors(config, connections)
    # What was built lives as long as the process; collecting it again and
    # again would only cost time.
    gc.collect()
    gc.freeze()
    # A session leaves few cycles behind, so there is little to find: by default
    # a busy proxy would look for it at every tenth connection.
    gc.set_threshold(5_000, 20, 50)
    drain_s = config.settings.timeouts.drain
    sinks = [sink] if capture is None else [sink, capture]
    trio.run(functools.partial(_main, runtime, sinks, listeners, announce, drain_s))


def _capture_directory(config: Config) -> Path:
    directory = config.settings.inspection.capture.directory
    assert directory is not None
    return directory


def _captured(config: Config, capture: LineSink | None, show: Callable[[bytes], None]) -> Captured:
    if capture is not None:
        key = redaction_key(_capture_directory(config))
        keep = functools.partial(capture.put_nowait, spare=True)
        return Captured(capture.put_nowait, key, keep)
    if config.document is None and config.settings.logs.access.to != "none":
        # Who tries it out without a file sees messages go by.
        return Captured(show)
    return NOTHING_CAPTURED


def _open_capture(config: Config) -> LineSink | None:
    settings = config.settings.inspection.capture
    if settings.directory is None:
        return None
    try:
        files = CaptureFiles(
            settings.directory,
            rotate_bytes=settings.rotate,
            keep_s=settings.keep,
            clock=wall_clock,
        )
    except OSError as error:
        path: KeyPath = ("inspection", "capture", "directory")
        raise config.error(path, f"cannot be used: {error.strerror}") from error
    return LineSink(
        files,
        name="capture",
        max_waiting_bytes=_CAPTURE_WAITING_BYTES,
        told=lambda count: dropped_line(count, wall_clock()),
    )


async def _main(
    runtime: Runtime,
    sinks: list[LineSink],
    listeners: list[_Listening],
    announce: Callable[[list[str]], None],
    drain_s: float,
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with trio.open_nursery() as services:
            await services.start(runtime.engine.run)
            for sink in sinks:
                services.start_soon(sink.run)
            for service in runtime.services:
                services.start_soon(service)
            async with trio.open_nursery() as sessions:
                async with trio.open_nursery() as accepting:
                    look = functools.partial(express, runtime=runtime)
                    for item in listeners:
                        accepting.start_soon(accept_loop, item.sock, look, sessions)
                    announce([str(item) for item in listeners])
                    await _wait_for_stop(signals)
                    accepting.cancel_scope.cancel()
                for item in listeners:
                    item.sock.close()
                runtime.drain.begin()
                sessions.start_soon(runtime.engine.wait_empty)
                services.start_soon(_end_sessions, runtime, sessions, signals, drain_s)
            with trio.move_on_after(_LAST_WRITES_S):
                for sink in sinks:
                    await sink.close()
            services.cancel_scope.cancel()


async def _wait_for_stop(signals: AsyncIterator[int]) -> None:
    async for number in signals:
        if number != signal.SIGHUP:
            log.info("%s: stopping", signal.Signals(number).name)
            return
        log.warning("SIGHUP: this version cannot reload; restart it to use a new configuration")


async def _end_sessions(
    runtime: Runtime, sessions: trio.Nursery, signals: AsyncIterator[int], drain_s: float
) -> None:
    """Ends what still runs after `drain_s` seconds, or at the next signal."""
    with trio.move_on_after(drain_s):
        await _wait_for_stop(signals)
    runtime.engine.end_all(CloseReason.DRAINED)
    sessions.cancel_scope.cancel()
