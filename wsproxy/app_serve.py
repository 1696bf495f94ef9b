"""The running proxy: it binds and serves, takes a new configuration while it does, and stops in order.

To reload is to load: everything is read, checked and built beside what runs, in a thread.
What cannot be used is told and changes nothing.  Else one reference is put in place of
another, and what goes on is decided again.

To stop: no new connections, time for the requests and tunnels that run, then the deadline.
"""

from __future__ import annotations

import functools
import gc
import logging
import resource
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import trio

from wsproxy.app import build
from wsproxy.app_doors import Doors
from wsproxy.app_outputs import Outputs
from wsproxy.config.load import Config
from wsproxy.config.parts import signature
from wsproxy.config.problems import each_error
from wsproxy.errors import ConfigError
from wsproxy.model import CloseReason
from wsproxy.proxy.arrive import arrive
from wsproxy.proxy.gate import Gate
from wsproxy.proxy.runtime import Live, Runtime

__all__ = ["serve"]

log = logging.getLogger("wsproxy")

_RESERVED_DESCRIPTORS = 128
"""For listeners, logs, splice pipes and resolver threads."""
_LEAVE_S = 0.5
"""For WebSockets to answer the Close by which they hear that the proxy stops."""
_LAST_WRITES_S = 5.0
"""For records that wait when everything else has ended."""
_WATCH_S = 0.3
"""How often it is looked whether a users file is another one."""

Service = Callable[[], Awaitable[None]]


def serve(
    config: Config,
    announce: Callable[[list[str]], None],
    *,
    reread: Callable[[], Config] | None = None,
) -> None:
    """Runs the proxy until SIGTERM or SIGINT, and drains it; a second signal ends it at once.

    Args:
        config: what to run.
        announce: called with the URLs of the listeners once they serve.
        reread: the configuration as it is now, for SIGHUP; None: there is none to read again.

    Raises:
        ConfigError: nothing was started.
    """
    server = _Server(config, reread)
    # What was built lives as long as the process; collecting it again and
    # again would only cost time.
    gc.collect()
    gc.freeze()
    # A session leaves few cycles behind, so there is little to find: by default
    # a busy proxy would look for it at every tenth connection.
    gc.set_threshold(5_000, 20, 50)
    trio.run(server.run, announce)


class _Server:
    """One process' proxy."""

    def __init__(self, config: Config, reread: Callable[[], Config] | None) -> None:
        self._config = config
        self._reread = reread
        self._users = _signature_of_users(config)
        self._wanted = trio.Event()
        self._services: dict[Service, trio.CancelScope] = {}
        self._doors = Doors()
        self._outputs = Outputs(config)
        self._live = Live(self._build(config))
        self._look = functools.partial(arrive, live=self._live)
        self._outputs.open_access()
        self._doors.adopt(self._doors.bind(config))
        _warn_of_few_descriptors(config)

    def _build(self, config: Config, earlier: Runtime | None = None) -> Runtime:
        return build(
            config,
            log_access=self._outputs.log_access(config),
            connections=_affordable_connections(config),
            own=self._doors.own,
            captured=self._outputs.captured,
            earlier=earlier,
        )

    async def run(self, announce: Callable[[list[str]], None]) -> None:
        """Serves until a signal, and stops."""
        numbers = signal.SIGTERM, signal.SIGINT, signal.SIGHUP
        with trio.open_signal_receiver(*numbers) as signals:
            async with trio.open_nursery() as services:
                await services.start(self._live.runtime.engine.run)
                for sink in self._outputs.sinks:
                    services.start_soon(sink.run)
                self._run_services(services)
                services.start_soon(self._live.runtime.standing.run, self._gate)
                async with trio.open_nursery() as sessions:
                    await self._accept(announce, signals, services, sessions)
                    self._live.runtime.drain.begin()
                    sessions.start_soon(self._live.runtime.engine.wait_empty)
                    services.start_soon(self._end_sessions, sessions, signals)
                with trio.move_on_after(_LAST_WRITES_S):
                    for sink in self._outputs.sinks:
                        await sink.close()
                services.cancel_scope.cancel()

    def _gate(self) -> Gate:
        return self._live.runtime.gate

    async def _accept(
        self,
        announce: Callable[[list[str]], None],
        signals: AsyncIterator[int],
        services: trio.Nursery,
        sessions: trio.Nursery,
    ) -> None:
        """Accepts, and reloads, until a signal says stop."""
        async with trio.open_nursery() as accepting:
            self._doors.open(self._look, accepting, sessions)
            accepting.start_soon(self._reload_when_wanted, accepting, services, sessions)
            accepting.start_soon(self._watch_users)
            announce(self._doors.urls)
            await self._wait_for_stop(signals)
            accepting.cancel_scope.cancel()
        self._doors.close()

    def _run_services(self, nursery: trio.Nursery) -> None:
        """Starts what the configuration of now wants to run beside it, and stops what it does not."""
        wanted = self._live.runtime.services
        for service in [service for service in self._services if service not in wanted]:
            self._services.pop(service).cancel()
        for service in wanted:
            if service not in self._services:
                self._services[service] = scope = trio.CancelScope()
                nursery.start_soon(_run_in, scope, service)

    async def _wait_for_stop(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if number != signal.SIGHUP:
                log.info("%s: stopping", signal.Signals(number).name)
                return
            self._wanted.set()

    async def _end_sessions(self, sessions: trio.Nursery, signals: AsyncIterator[int]) -> None:
        """Ends what still runs after `timeouts.drain`, or at the next signal."""
        runtime = self._live.runtime
        with trio.move_on_after(self._config.settings.timeouts.drain):
            await self._wait_for_stop(signals)
        runtime.standing.take_leave()
        with trio.move_on_after(_LEAVE_S):
            await runtime.engine.wait_empty()
        runtime.engine.end_all(CloseReason.DRAINED)
        sessions.cancel_scope.cancel()

    async def _watch_users(self) -> None:
        """Wants a reload when a users file was changed: who is gone is gone at once."""
        before = self._users
        while True:
            await trio.sleep(_WATCH_S)
            if not _users_files(self._config):
                continue
            now = await trio.to_thread.run_sync(
                _signature_of_users, self._config, abandon_on_cancel=True
            )
            # Twice the same: nobody is writing just now, as htpasswd does in place.
            if now == before != self._users:
                self._wanted.set()
            before = now

    async def _reload_when_wanted(
        self, accepting: trio.Nursery, services: trio.Nursery, sessions: trio.Nursery
    ) -> None:
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            if not await self._reload():
                continue
            self._doors.open(self._look, accepting, sessions)
            self._run_services(services)
            runtime = self._live.runtime
            going_on = len(runtime.standing)
            ended = await runtime.standing.review(runtime.gate)
            log.info(
                "reloaded: %s holds now; %d of %d sessions under way are not allowed by it and end",
                self._config.file,
                ended,
                going_on,
            )

    async def _reload(self) -> bool:
        """Puts a new configuration in place, or says why not."""
        try:
            config, runtime, users = await trio.to_thread.run_sync(
                self._prepare, abandon_on_cancel=True
            )
            change = self._doors.bind(config)
        except ConfigError as wrong:
            for error in each_error(wrong):
                log.error("reload: %s", error)
            log.error("reload: nothing has changed; %s holds as it was", self._config.file)
            return False
        except Exception:
            # The barrier of sessions, for this one: what runs does not fall over what might have.
            log.exception("reload: a fault of ours; nothing has changed")
            return False
        self._doors.adopt(change)
        self._live.runtime = runtime.succeed(self._live.runtime)
        self._config, self._users = config, users
        return True

    def _prepare(self) -> tuple[Config, Runtime, object]:
        """All that takes time; in a thread."""
        # Tried: whatever comes of it, not again until they change again.
        self._users = _signature_of_users(self._config)
        config = self._config if self._reread is None else self._reread()
        users = _signature_of_users(config)
        self._outputs.check_unchanged(config)
        runtime = self._build(config, self._live.runtime)
        return config, runtime, users


async def _run_in(scope: trio.CancelScope, service: Service) -> None:
    with scope:
        await service()


def _users_files(config: Config) -> list[Path]:
    methods = config.settings.auth.methods
    return [method.users for method in methods if method.users is not None]


def _signature_of_users(config: Config) -> object:
    return signature(_users_files(config))


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


def _warn_of_few_descriptors(config: Config) -> None:
    limits, affordable = config.settings.limits, _affordable_connections(config)
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
