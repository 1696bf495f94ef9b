"""The gate: the only way from a request to the network.

Who is it, may they, where does the name lead, and is that a place anyone may
go?  Only `Gate.admit` makes a `Route`, and only a `Route` connects, to the
addresses that were vetted and to nothing else: there is no second look-up for
a rebinding name to answer differently (docs/security.md).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import trio

from wsproxy.auth import Authenticator, Remembered
from wsproxy.auth.lockout import Lockout
from wsproxy.errors import AuthContinue, AuthRequired, Denied
from wsproxy.model import (
    Address,
    AddressVerdict,
    Identity,
    Peer,
    ProxyRequest,
    RequestKind,
    Target,
)
from wsproxy.net.listen import is_local
from wsproxy.net.resolve import Resolver
from wsproxy.observe.exchange import Exchange, milliseconds
from wsproxy.policy.addresses import Zone, is_own_listener, vet
from wsproxy.policy.rules import Ask, Rules, decide, tunnel_protocols
from wsproxy.protocol.handshake import offered_subprotocols
from wsproxy.proxy.credentials import (
    Offer,
    can_be_guessed,
    find_offer,
    is_relayed,
    known,
    verify,
    without_challenge,
)
from wsproxy.proxy.route import ANY_SOURCE, Parents, Route, Sources

__all__ = ["Gate", "Remembered"]

_LASTING = b"basic", b"bearer"
"""Schemes whose credentials are good for more than one request."""
_MAX_VETTED = 4096
"""Verdicts on addresses that are remembered; they depend on the zones, and on nothing that changes."""
_HTTP, _WEBSOCKET = frozenset({"http"}), frozenset({"websocket"})
_PROTOCOLS = {scheme: frozenset({scheme}) for scheme in ("http", "https", "ws", "wss")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Everything that decides about a request, as configured.

    Attributes:
        rules: policy on names.
        zones: private networks that may be reached.
        authenticators: by lower-case scheme, in the order they are offered; several of one
            scheme are asked in turn.
        lockout: of addresses that guess; None: nobody is locked out.
        auth_required: whether a request without credentials is refused.
        resolver: names to addresses.
        listeners: where this proxy listens; the list is filled when they are bound.
        connect_timeout_s: see `Route`.
        clock: the wall clock, in seconds since 1970.
        parents: by the name of a rule, those its requests go through.
        sources: by the name of a rule, where its connections come from.
    """

    rules: Rules
    zones: Sequence[Zone]
    authenticators: Mapping[str, Sequence[Authenticator]]
    auth_required: bool
    lockout: Lockout | None = None
    resolver: Resolver
    listeners: Collection[tuple[Address, int]]
    connect_timeout_s: float
    clock: Callable[[], float]
    parents: Mapping[str, Parents] = field(default_factory=dict)
    sources: Mapping[str, Sources] = field(default_factory=dict)
    _vetted: dict[tuple[str, Address], AddressVerdict] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def challenges(self, now: float, *, refusal: AuthRequired | None = None) -> list[bytes]:
        """The Proxy-Authenticate values of all schemes, best first (RFC 9110 §11.7.1).

        Args:
            now: monotonic seconds.
            refusal: why the request that is challenged was refused.
        """
        offers = (
            one.challenges(now, refusal=refusal)
            for each in self.authenticators.values()
            for one in each
        )
        return list(dict.fromkeys(challenge for offer in offers for challenge in offer))

    async def admit(
        self,
        request: ProxyRequest,
        exchange: Exchange,
        *,
        connected: Address | None = None,
        remembered: Remembered | None = None,
    ) -> Route:
        """Decides about `request`; every request passes here, also the later ones of a connection.

        Args:
            request: what is asked.
            exchange: gets identity, verdict and durations as they become known.
            connected: the address this client's own upstream connection leads
                to, when it is to be used again: vetted again, not looked up again.
            remembered: what the client's connection remembers of its authentication.

        Raises:
            AuthRequired: credentials missing or wrong.
            AuthOverloaded: too many verifications wait.
            AuthUnavailable: who could verify them does not answer.
            LimitReached: too many wrong ones came from there.
            Denied: by a rule, or because of the address.
            ResolveFailed: no address.
            ResolveTimeout: no answer from the resolver.
        """
        await self._authenticate(request, exchange, remembered or Remembered())
        self.decide(request, exchange)
        target = request.target
        if (parents := self.choose_parents(target, exchange)) is not None:
            return self._route(target, [], exchange, parents)
        addresses: Sequence[Address] | None = (connected,) if connected else None
        addresses = addresses or self.resolver.known(target.host)
        if addresses is None:
            began_at = trio.current_time()
            try:
                addresses = await self.resolver.resolve(target.host)
            finally:
                exchange.resolve_ms = milliseconds(began_at, trio.current_time())
        return self._route(target, self.vet(target, addresses, exchange), exchange)

    def admit_nowait(
        self, request: ProxyRequest, exchange: Exchange, value: bytes | None, *, now: float
    ) -> Route | None:
        """What `admit` says, if nothing has to be waited for; else None.

        Args:
            request: what is asked.
            exchange: see `admit`.
            value: of its Proxy-Authorization, wherever that is.
            now: monotonic seconds.

        Raises:
            AuthRequired: credentials missing, or known to be wrong.
            Denied: by a rule, or because of the address.
        """
        target = request.target
        addresses = self.resolver.known(target.host)
        if addresses is None or self.parents:
            return None
        if value is not None and not value[:7].lower().startswith(_LASTING):
            return None  # asked twice about these, their method would refuse them
        offered = self._offered(request, value, exchange.peer, Remembered(), now)
        if offered is not None:
            identity = known(*offered)
            if identity is None:
                return None
            exchange.authenticate_ms = 0.0
            self._admit_identity(identity, exchange, now)
        self.decide(request, exchange)
        return self._route(target, self.vet(target, addresses, exchange), exchange)

    def _route(
        self,
        target: Target,
        vetted: Sequence[Address],
        exchange: Exchange,
        parents: Parents | None = None,
    ) -> Route:
        sources = self.sources.get(exchange.rule or "", ANY_SOURCE)
        return Route(target, vetted, self.connect_timeout_s, parents, sources)

    def choose_parents(self, target: Target, exchange: Exchange) -> Parents | None:
        """Those that an admitted request goes through; None when it goes to its target itself.

        What a name leads to, the parent finds out; an address is vetted as ever.

        Raises:
            Denied: because of the address.
        """
        parents = self.parents.get(exchange.rule or "")
        if parents is None:
            return None
        if target.host.address is not None:
            self.vet(target, (target.host.address,), exchange)
        exchange.upstream = parents.name
        return parents

    @property
    def knows_hours(self) -> bool:
        """Whether a decision depends on the time of day."""
        return self.rules.timed

    def review(self, exchange: Exchange) -> None:
        """Decides again about what some gate has admitted and still goes on.

        Nothing is verified and nothing looked up: who asks is asked of the methods' present
        knowledge, and the address it leads to is vetted as it is.

        Raises:
            AuthRequired: whoever asks would not be let in any more.
            Denied: by a rule, or because of the address.
        """
        if not exchange.asked:
            return  # it has not passed a gate yet
        exchange.identity = self._review_identity(exchange.identity)
        for ask in exchange.asked:
            assert isinstance(ask, Ask)
            self._judge(ask._replace(identity=exchange.identity, at=self.clock()), exchange)
            if addresses := _leads_to(ask, exchange):
                self.vet(Target("tcp", ask.host, ask.port), addresses, exchange)

    def _review_identity(self, identity: Identity | None) -> Identity | None:
        if not self.authenticators:
            return None  # nobody is asked who he is any more
        if identity is None:
            if self.auth_required:
                raise AuthRequired("proxy credentials are required")
            return None
        if identity.expires_at <= self.clock():
            raise AuthRequired("the credentials have expired")
        for each in self.authenticators.values():
            for one in each:
                if (now := one.review(identity)) is not None:
                    return now
        raise AuthRequired("the credentials would not be accepted any more")

    def _offered(
        self,
        request: ProxyRequest,
        value: bytes | None,
        peer: Peer,
        remembered: Remembered,
        now: float,
    ) -> Offer | None:
        """The credentials of a request, `value` among them; None when it needs none."""
        if not self.authenticators:
            return None
        offer = find_offer(self.authenticators, request, value, peer, remembered, now=now)
        if offer is None and self.auth_required:
            raise AuthRequired("proxy credentials are required")
        return offer

    async def _authenticate(
        self, request: ProxyRequest, exchange: Exchange, remembered: Remembered
    ) -> None:
        try:
            await self._prove(request, exchange, remembered)
        except AuthContinue:
            raise
        except AuthRequired as error:
            denied = without_challenge(error, self.authenticators, exchange.peer)
            if denied is None:
                raise
            raise denied from error

    async def _prove(
        self, request: ProxyRequest, exchange: Exchange, remembered: Remembered
    ) -> None:
        value, now = request.field(b"proxy-authorization"), trio.current_time()
        offered = self._offered(request, value, exchange.peer, remembered, now)
        if offered is None:
            return
        authenticators, proof = offered
        peer, lockout = exchange.peer.address, self.lockout
        try:
            identity = None
            if lockout is None or not lockout.holds(peer, proof.now):
                identity = await verify(authenticators, proof)
            elif (identity := known(authenticators, proof)) is None:
                raise lockout.refusal(peer, proof.now)
        except AuthContinue:
            raise
        except AuthRequired as error:
            remembered.bond, error.scheme = None, authenticators[0].scheme
            if lockout is not None and not error.stale and can_be_guessed(authenticators):
                lockout.failed(peer, proof.now)
            raise
        finally:
            exchange.authenticate_ms = milliseconds(proof.now, trio.current_time())
        self._admit_identity(identity, exchange, proof.now)
        if not is_relayed(request):
            remembered.bond = proof.bond

    def _admit_identity(self, identity: Identity, exchange: Exchange, now: float) -> None:
        if self.lockout is not None:
            self.lockout.check(exchange.peer.address, identity.user, now)
        exchange.identify(identity)

    def decide(self, request: ProxyRequest, exchange: Exchange) -> None:
        """Asks policy about a request of whom `exchange` says.

        Of a tunnel it is asked again when more is known of it, and about what is asked for
        inside: where that leads was decided with the tunnel, and the connection stands.

        Raises:
            Denied: by a rule.
        """
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
            identity=exchange.identity,
            host=target.host,
            port=target.port,
            protocols=protocols,
            method=request.method,
            at=self.clock(),
            path=None if tunnel else target.path.decode("latin-1"),
            sniffed=sniffed,
            alpn=exchange.alpn,
        )
        if request.kind is RequestKind.UPGRADE:
            ask = _with_handshake(ask, request)
        # A tunnel is asked about as such, again when it is known what it is, and about what is inside.
        inside = exchange.kind == "connect" and not tunnel
        exchange.asked = (*exchange.asked[:1], ask) if inside else (ask,)
        self._judge(ask, exchange)

    def _judge(self, ask: Ask, exchange: Exchange) -> None:
        verdict = decide(self.rules, ask)
        exchange.judge(verdict)
        if not verdict.allow:
            raise Denied(verdict.reason, rule=verdict.rule, message=verdict.message)

    def vet(
        self, target: Target, addresses: Sequence[Address], exchange: Exchange
    ) -> list[Address]:
        """The addresses that may be dialled.

        Args:
            target: what is asked for.
            addresses: where it leads.
            exchange: gets the verdict on each.

        Raises:
            Denied: there is none.
        """
        exchange.addresses = verdicts = tuple([self._vet(target, one) for one in addresses])
        vetted = [one.address for one in verdicts if one.allow]
        if not vetted:
            reason = verdicts[-1].kind if verdicts else ""
            # The address stays out of the answer: it would map the inside for the client.
            raise Denied(
                f"{target.host} leads to no public address ({reason})",
                rule="private-networks",
                token="destination_ip_prohibited",  # noqa: S106 - RFC 9209's word, no secret
            )
        return vetted

    def _vet(self, target: Target, address: Address) -> AddressVerdict:
        if is_own_listener(address, target.port, self.listeners, is_local=is_local):
            return AddressVerdict(address, False, "the proxy itself")
        asked = target.host.text, address
        verdict = self._vetted.get(asked)
        if verdict is None:
            if len(self._vetted) >= _MAX_VETTED:
                self._vetted.clear()
            self._vetted[asked] = verdict = vet(target.host, address, self.zones)
        return verdict


def _leads_to(ask: Ask, exchange: Exchange) -> Sequence[Address]:
    """The addresses that a gate has vetted for what was asked, as far as they still count."""
    if exchange.upstream is not None:
        return () if ask.host.address is None else (ask.host.address,)
    if exchange.dialled is not None:
        return (exchange.dialled.address,)
    return [one.address for one in exchange.addresses if one.allow]


def _with_handshake(ask: Ask, request: ProxyRequest) -> Ask:
    origin = request.field(b"origin")
    return ask._replace(
        origin=None if origin is None else origin.decode("latin-1"),
        subprotocols=offered_subprotocols(request.headers),
        handshake=True,
    )
