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

from wsproxy.auth import Authenticator, Proof, parse_authorization
from wsproxy.auth.lockout import Lockout
from wsproxy.errors import AuthContinue, AuthRequired, AuthUnavailable, Denied, WsproxyError
from wsproxy.model import Address, Identity, ProxyRequest, RequestKind, Target
from wsproxy.net.listen import is_local
from wsproxy.net.resolve import Resolver
from wsproxy.observe.exchange import Exchange, milliseconds
from wsproxy.policy.addresses import Zone, is_own_listener
from wsproxy.policy.addresses import vet as refusal_of
from wsproxy.policy.rules import Ask, Rules, decide, tunnel_protocols
from wsproxy.protocol.handshake import offered_subprotocols
from wsproxy.proxy.route import ANY_SOURCE, Parents, Route, Sources

__all__ = ["Gate"]

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

    def challenges(self, now: float, *, stale: bool = False) -> list[bytes]:
        """The Proxy-Authenticate values of all schemes, best first (RFC 9110 §11.7.1).

        Args:
            now: monotonic seconds.
            stale: the credentials were right but too old.
        """
        offers = (
            one.challenges(now, stale=stale)
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
        legs: dict[str, object] | None = None,
    ) -> Route:
        """Decides about `request`; every request passes here, also the later ones of a connection.

        Args:
            request: what is asked.
            exchange: gets identity, verdict and durations as they become known.
            connected: the address this client's own upstream connection leads
                to, when it is to be used again: vetted again, not looked up again.
            legs: what the client's connection remembers of an authentication.

        Raises:
            AuthRequired: credentials missing or wrong.
            AuthOverloaded: too many verifications wait.
            AuthUnavailable: who could verify them does not answer.
            LimitReached: too many wrong ones came from there.
            Denied: by a rule, or because of the address.
            ResolveFailed: no address.
            ResolveTimeout: no answer from the resolver.
        """
        identity = await self._authenticate(request, exchange, {} if legs is None else legs)
        self._decide(request, identity, exchange)
        target = request.target
        if exchange.rule in self.parents:
            return self._route(target, (), exchange)
        addresses: Sequence[Address] | None = (connected,) if connected else None
        addresses = addresses or self.resolver.known(target.host)
        if addresses is None:
            began_at = trio.current_time()
            try:
                addresses = await self.resolver.resolve(target.host)
            finally:
                exchange.resolve_ms = milliseconds(began_at, trio.current_time())
        return self._route(target, addresses, exchange)

    def admit_nowait(self, request: ProxyRequest, exchange: Exchange) -> Route | None:
        """What `admit` says, if nothing has to be waited for; else None.

        Raises:
            AuthRequired: credentials missing, or known to be wrong.
            Denied: by a rule, or because of the address.
        """
        target = request.target
        addresses = self.resolver.known(target.host)
        if addresses is None or self.parents or _is_single_use(request):
            return None
        identity = None
        offered = self._offered(request, {})
        if offered is not None:
            identity = _known(*offered)
            if identity is None:
                return None
            self._admit_identity(identity, exchange, offered[1].now)
        self._decide(request, identity, exchange)
        return self._route(target, addresses, exchange)

    def _route(self, target: Target, addresses: Sequence[Address], exchange: Exchange) -> Route:
        """What a name leads to, a parent finds out; everything else is vetted."""
        rule = exchange.rule or ""
        parents, sources = self.parents.get(rule), self.sources.get(rule, ANY_SOURCE)
        if parents is None:
            vetted = self.vet(target, addresses)
        else:
            vetted = []
            if target.host.address is not None:
                self.vet(target, (target.host.address,))
        return Route(target, vetted, self.connect_timeout_s, parents, sources)

    def decide_again(self, request: ProxyRequest, exchange: Exchange) -> None:
        """Asks policy about what is known now of a tunnel, or is asked for inside it.

        Who asks and where it leads was decided with the tunnel: the connection stands.

        Raises:
            Denied: by a rule.
        """
        self._decide(request, exchange.identity, exchange)

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
            if exchange.upstream is None and exchange.dialled is not None:
                self.vet(Target("tcp", ask.host, ask.port), (exchange.dialled.address,))

    def _review_identity(self, identity: Identity | None) -> Identity | None:
        if identity is None:
            if self.authenticators and self.auth_required:
                raise AuthRequired("proxy credentials are required")
            return None
        if identity.expires_at <= self.clock():
            raise AuthRequired("the credentials have expired")
        for each in self.authenticators.values():
            for one in each:
                if (now := one.review(identity)) is not None:
                    return now
        if not self.authenticators:
            return None  # nobody is asked who he is any more
        raise AuthRequired("the credentials would not be accepted any more")

    def _offered(
        self, request: ProxyRequest, legs: dict[str, object]
    ) -> tuple[Sequence[Authenticator], Proof] | None:
        """The credentials of a request and who can verify them; None when it needs none."""
        if not self.authenticators:
            return None
        value = request.field(b"proxy-authorization")
        if value is None:
            if self.auth_required:
                raise AuthRequired("proxy credentials are required")
            return None
        scheme, credentials = parse_authorization(value)
        authenticators = self.authenticators.get(scheme)
        if authenticators is None:
            raise AuthRequired("this authentication scheme is not offered here")
        now = trio.current_time()
        return authenticators, Proof(credentials, request.method, request.sent_target, now, legs)

    async def _authenticate(
        self, request: ProxyRequest, exchange: Exchange, legs: dict[str, object]
    ) -> Identity | None:
        offered = self._offered(request, legs)
        if offered is None:
            return None
        authenticators, proof = offered
        peer, lockout = exchange.peer.address, self.lockout
        try:
            identity = None
            if lockout is None or not lockout.holds(peer, proof.now):
                identity = await _verify(authenticators, proof)
            elif (identity := _known(authenticators, proof)) is None:
                raise lockout.refusal(peer, proof.now)
        except AuthContinue:
            raise
        except AuthRequired as error:
            # A ticket cannot be guessed, and browsers without one send something else by themselves.
            guessed = not error.stale and authenticators[0].scheme != "Negotiate"
            if lockout is not None and guessed:
                lockout.failed(peer, proof.now)
            raise
        finally:
            exchange.authenticate_ms = milliseconds(proof.now, trio.current_time())
        self._admit_identity(identity, exchange, proof.now)
        return identity

    def _admit_identity(self, identity: Identity, exchange: Exchange, began_at: float) -> None:
        exchange.authenticate_ms = milliseconds(began_at, trio.current_time())
        if self.lockout is not None:
            self.lockout.check(exchange.peer.address, identity.user, began_at)
        exchange.identify(identity)

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

    def vet(self, target: Target, addresses: Sequence[Address]) -> list[Address]:
        """The addresses that may be dialled.

        Raises:
            Denied: there is none.
        """
        vetted: list[Address] = []
        reason = ""
        for address in addresses:
            if is_own_listener(address, target.port, self.listeners, is_local=is_local):
                reason = "the proxy itself"
                continue
            refused = refusal_of(target.host, address, self.zones)
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


def _is_single_use(request: ProxyRequest) -> bool:
    """Whether asking twice about the credentials of a request would refuse them."""
    value = request.field(b"proxy-authorization")
    return value is not None and not value[:7].lower().startswith((b"basic", b"bearer"))


def _known(authenticators: Sequence[Authenticator], proof: Proof) -> Identity | None:
    """Who it is, if one of them knows at once; when all know that it is nobody, that is said.

    Raises:
        AuthRequired: see `Authenticator.authenticate_nowait`.
    """
    wrong: AuthRequired | None = None
    undecided = False
    for authenticator in authenticators:
        try:
            identity = authenticator.authenticate_nowait(proof)
        except AuthRequired as error:
            wrong = error
        else:
            if identity is not None:
                return identity
            undecided = True
    if wrong is not None and not undecided:
        raise wrong
    return None


async def _verify(authenticators: Sequence[Authenticator], proof: Proof) -> Identity:
    """Who it is, however long that takes; those who do not answer are told of only if nobody knows.

    Raises:
        WsproxyError: see `Authenticator.authenticate`.
    """
    identity = _known(authenticators, proof)
    if identity is not None:
        return identity
    failure: WsproxyError | None = None
    for authenticator in authenticators:
        try:
            return await authenticator.authenticate(proof)
        except AuthContinue:
            raise
        except (AuthRequired, AuthUnavailable) as error:
            if not isinstance(failure, AuthUnavailable):
                failure = error
    assert failure is not None, "a scheme has a method"
    raise failure


def _with_handshake(ask: Ask, request: ProxyRequest) -> Ask:
    origin = request.field(b"origin")
    return ask._replace(
        origin=None if origin is None else origin.decode("latin-1"),
        subprotocols=offered_subprotocols(request.headers),
        handshake=True,
    )
