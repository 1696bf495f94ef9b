"""The gate: the only way from a request to the network.

Who is it, may they, where does the name lead, and is that a place anyone may
go?  Only `Gate.admit` makes a `Route`, and only a `Route` connects, to the
addresses that were vetted and to nothing else: there is no second look-up for
a rebinding name to answer differently (docs/security.md).
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import trio

from wsproxy.auth import Authenticator, parse_authorization
from wsproxy.errors import AuthRequired, Denied
from wsproxy.model import Address, Identity, ProxyRequest, RequestKind, Target
from wsproxy.net.dial import Attempt, begin, dial
from wsproxy.net.listen import is_local
from wsproxy.net.resolve import Resolver
from wsproxy.observe.exchange import Exchange, milliseconds
from wsproxy.policy.addresses import Zone, is_own_listener, vet
from wsproxy.policy.rules import Ask, Rules, decide, tunnel_protocols
from wsproxy.protocol.handshake import offered_subprotocols

__all__ = ["Attempt", "Gate", "Route"]

_HTTP, _WEBSOCKET = frozenset({"http"}), frozenset({"websocket"})
_PROTOCOLS = {scheme: frozenset({scheme}) for scheme in ("http", "https", "ws", "wss")}


@dataclass(frozen=True, slots=True)
class Route:
    """An admitted way out.

    Attributes:
        target: what was asked for.
        addresses: where it leads; at least one, every one vetted.
        connect_timeout_s: for all attempts of `connect` together.
    """

    target: Target
    addresses: Sequence[Address]
    connect_timeout_s: float

    def connect_nowait(self, exchange: Exchange) -> Attempt | None:
        """Begins to connect; `exchange` has the address if that was all.

        Returns:
            None when there are several addresses, which takes some racing.

        Raises:
            ConnectFailed: or one of its kinds.
            DescriptorsExhausted: no socket left.
        """
        if len(self.addresses) != 1:
            return None
        began_at = trio.current_time()
        attempt = begin(self.addresses[0], self.target.port)
        if attempt.stands():
            exchange.connect_ms = milliseconds(began_at, trio.current_time())
            exchange.dial(attempt.address, self.target.port)
        return attempt

    async def connect(
        self, exchange: Exchange, *, begun: Attempt | None = None
    ) -> tuple[socket.socket, Address]:
        """A connected socket and the address it leads to.

        Args:
            exchange: gets the address and how long it took.
            begun: what `connect_nowait` began for the same request.

        Raises:
            ConnectFailed: or one of its kinds.
            DescriptorsExhausted: no socket left.
        """
        began_at = trio.current_time()
        try:
            sock, address = await dial(
                self.addresses, self.target.port, timeout_s=self.connect_timeout_s, begun=begun
            )
        finally:
            exchange.connect_ms = milliseconds(began_at, trio.current_time())
        exchange.dial(address, self.target.port)
        return sock, address


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Everything that decides about a request, as configured.

    Attributes:
        rules: policy on names.
        zones: private networks that may be reached.
        authenticators: by lower-case scheme, in the order they are offered.
        auth_required: whether a request without credentials is refused.
        resolver: names to addresses.
        listeners: where this proxy listens; the list is filled when they are bound.
        connect_timeout_s: see `Route`.
    """

    rules: Rules
    zones: Sequence[Zone]
    authenticators: Mapping[str, Authenticator]
    auth_required: bool
    resolver: Resolver
    listeners: Collection[tuple[Address, int]]
    connect_timeout_s: float

    def challenges(self) -> list[bytes]:
        """One Proxy-Authenticate value for each scheme (RFC 9110 §11.7.1)."""
        return [authenticator.challenge() for authenticator in self.authenticators.values()]

    async def admit(
        self,
        request: ProxyRequest,
        exchange: Exchange,
        *,
        connected: Address | None = None,
    ) -> Route:
        """Decides about `request`; every request passes here, also the later ones of a connection.

        Args:
            request: what is asked.
            exchange: gets identity, verdict and durations as they become known.
            connected: the address this client's own upstream connection leads
                to, when it is to be used again: vetted again, not looked up again.

        Raises:
            AuthRequired: credentials missing or wrong.
            AuthOverloaded: too many verifications wait.
            Denied: by a rule, or because of the address.
            ResolveFailed: no address.
            ResolveTimeout: no answer from the resolver.
        """
        identity = await self._authenticate(request, exchange)
        self._decide(request, identity, exchange)
        target = request.target
        addresses: Sequence[Address]
        if connected is not None:
            addresses = (connected,)
        elif target.host.address is not None:
            addresses = (target.host.address,)
        else:
            began_at = trio.current_time()
            try:
                addresses = await self.resolver.resolve(target.host)
            finally:
                exchange.resolve_ms = milliseconds(began_at, trio.current_time())
        return Route(target, self._vet(target, addresses), self.connect_timeout_s)

    def admit_nowait(self, request: ProxyRequest, exchange: Exchange) -> Route | None:
        """What `admit` says, if nothing has to be waited for; else None.

        Raises:
            AuthRequired: credentials missing, or known to be wrong.
            Denied: by a rule, or because of the address.
        """
        target = request.target
        if target.host.address is None:
            return None
        identity = None
        offered = self._offered(request)
        if offered is not None:
            authenticator, credentials = offered
            now = trio.current_time()
            identity = authenticator.authenticate_nowait(credentials, now=now)
            if identity is None:
                return None
            exchange.authenticate_ms = milliseconds(now, trio.current_time())
            exchange.identify(identity)
        self._decide(request, identity, exchange)
        return Route(target, self._vet(target, (target.host.address,)), self.connect_timeout_s)

    def decide_again(self, request: ProxyRequest, exchange: Exchange) -> None:
        """Asks policy about what is known now of a tunnel, or is asked for inside it.

        Who asks and where it leads was decided with the tunnel: the connection stands.

        Raises:
            Denied: by a rule.
        """
        self._decide(request, exchange.identity, exchange)

    def _offered(self, request: ProxyRequest) -> tuple[Authenticator, bytes] | None:
        """The credentials of a request and who can verify them; None when it needs none."""
        if not self.authenticators:
            return None
        value = request.field(b"proxy-authorization")
        if value is None:
            if self.auth_required:
                raise AuthRequired("proxy credentials are required")
            return None
        scheme, credentials = parse_authorization(value)
        authenticator = self.authenticators.get(scheme)
        if authenticator is None:
            raise AuthRequired("this authentication scheme is not offered here")
        return authenticator, credentials

    async def _authenticate(self, request: ProxyRequest, exchange: Exchange) -> Identity | None:
        offered = self._offered(request)
        if offered is None:
            return None
        authenticator, credentials = offered
        now = trio.current_time()
        try:
            identity = authenticator.authenticate_nowait(credentials, now=now)
            if identity is None:
                identity = await authenticator.authenticate(credentials, now=now)
        finally:
            exchange.authenticate_ms = milliseconds(now, trio.current_time())
        exchange.identify(identity)
        return identity

    def _decide(self, request: ProxyRequest, identity: Identity | None, exchange: Exchange) -> None:
        target = request.target
        tunnel = request.kind is RequestKind.CONNECT
        sniffed = exchange.sniffed
        if tunnel:
            protocols = tunnel_protocols(target.port)
        else:
            protocols = _PROTOCOLS[target.scheme]
            said = _WEBSOCKET if request.kind is RequestKind.UPGRADE else _HTTP
            sniffed = said if sniffed is None else sniffed | said
        ask = Ask(
            client=exchange.peer.address,
            identity=identity,
            host=target.host,
            port=target.port,
            protocols=protocols,
            method=request.method,
            path=None if tunnel else target.path.decode("latin-1"),
            sniffed=sniffed,
            alpn=exchange.alpn,
        )
        if request.kind is RequestKind.UPGRADE:
            ask = _with_handshake(ask, request)
        verdict = decide(self.rules, ask)
        exchange.judge(verdict)
        if not verdict.allow:
            raise Denied(verdict.reason, rule=verdict.rule, message=verdict.message)

    def _vet(self, target: Target, addresses: Sequence[Address]) -> list[Address]:
        """The addresses that may be dialled; a name with none left is refused."""
        vetted: list[Address] = []
        reason = ""
        for address in addresses:
            if is_own_listener(address, target.port, self.listeners, is_local=is_local):
                reason = "the proxy itself"
                continue
            refused = vet(target.host, address, self.zones)
            if refused is None:
                vetted.append(address)
            else:
                reason = refused
        if not vetted:
            # The address stays out of the answer: it would map the inside for the client.
            raise Denied(
                f"{target.host} leads to no public address ({reason})",
                rule="private-networks",
                token="destination_ip_prohibited",  # noqa: S106 - RFC 9209's word, no secret
            )
        return vetted


def _with_handshake(ask: Ask, request: ProxyRequest) -> Ask:
    origin = request.field(b"origin")
    return ask._replace(
        origin=None if origin is None else origin.decode("latin-1"),
        subprotocols=offered_subprotocols(request.headers),
        handshake=True,
    )
