"""A CONNECT tunnel that may turn out to carry a WebSocket (RFC 6455 §4.1 has browsers open one for ws://).

The client's first octets are held until it is known what they are.  Anything
but a WebSocket handshake makes the tunnel one that nobody looks into; nothing
of what the other side says is ever held for that, for it may well speak first.
A handshake passes the gate like one in absolute-form, goes on octet for octet
(but for an offer of extensions that the rule limits), and its answer decides
whether the tunnel is a WebSocket or waits for the client's next try.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from wsproxy.errors import ClientProtocolError, UpstreamProtocolError, WsproxyError
from wsproxy.model import CloseReason, ProxyRequest, RequestKind, Side, Target
from wsproxy.net.engine import RelaySummary
from wsproxy.net.filter import Filter, Inspector
from wsproxy.observe.conversation import Summary
from wsproxy.observe.exchange import Exchange
from wsproxy.policy.rates import Bucket
from wsproxy.protocol.handshake import asks_for_websocket, check_handshake
from wsproxy.protocol.head import (
    HEAD_END,
    MAX_HEAD_BYTES,
    HeadBuffer,
    check_status_line,
    refuse_response,
    split_head,
    tidy_response_head,
)
from wsproxy.protocol.request import read_request
from wsproxy.protocol.response import Response, interpret_response
from wsproxy.proxy.agreed import agreed_on, limited_offer
from wsproxy.proxy.pages import answer_bytes, refusal
from wsproxy.proxy.plans import Plan
from wsproxy.proxy.websocket import Agreed, WebSocket

if TYPE_CHECKING:
    from wsproxy.proxy.runtime import Live

__all__ = ["Tunnel"]

_METHOD = b"GET "
_ANSWER = b"HTTP/"
_VERSION = b" HTTP/"
_LINGER_S = 2.0
_MAX_INTERIM = 32
"""Each calls the next within one read, so without a bound an origin chooses the depth of our stack."""


class Tunnel:
    """Looks into a tunnel as far as it must; see `wsproxy.net.filter.Inspection`.

    Args:
        exchange: of the CONNECT.
        target: of the CONNECT.
        live: what is configured when a handshake comes.
        pace: what messages of the client draw on; None: they come as they come.
    """

    def __init__(
        self, exchange: Exchange, target: Target, live: Live, *, pace: Bucket | None = None
    ) -> None:
        self._exchange = exchange
        self._target = target
        self._live = live
        self._pace = pace
        self._plan: Plan | None = live.runtime.plans.of(exchange.rule)
        self._websocket: WebSocket | None = None
        self._request: ProxyRequest | None = None
        self._waiting: _Waiting | None = None
        self._refused: tuple[Side, CloseReason] | None = None

    def attach(self, up: Filter, down: Filter) -> None:
        """See `wsproxy.net.filter.Inspection`."""
        self._up, self._down = up, down
        self._expect_request()

    def _expect_request(self) -> None:
        self._request = self._waiting = None
        self._interim = 0
        self._up.inspector = _Question(self)
        self._down.inspector = None

    @property
    def enforces(self) -> bool:
        """Whether what cannot be looked into must not pass."""
        return self._plan is not None and self._plan.enforces

    def give_up(self, stage: _Stage, error: WsproxyError, now: float) -> bytes:
        """`stage` will never know what its octets are; returns what goes on."""
        if self.enforces:
            return self._refuse(error, now)
        self.look_no_more(stage)
        return stage.octets

    def look_no_more(self, caller: Inspector | None = None) -> None:
        """This is nothing we understand, or nothing that anybody asked to look into.

        Args:
            caller: the stage that passes on what it holds itself.
        """
        for direction in (self._up, self._down):
            stage = direction.inspector
            if isinstance(stage, _Stage) and stage is not caller:
                direction.inject(stage.octets)
            direction.look_no_more()

    def asked(self, octets: bytes, head_size: int, now: float) -> bytes:
        """Takes the client's request head and what came behind it; returns what goes on."""
        head, rest = octets[:head_size], octets[head_size:]
        try:
            self._request = request = self._read(head)
            if request is None:
                self.look_no_more(self._up.inspector)
                return octets
            self._live.runtime.gate.decide(request, self._exchange)
        except ClientProtocolError as error:
            if self.enforces:
                return self._refuse(error, now)
            self.look_no_more(self._up.inspector)
            return octets
        except WsproxyError as error:
            return self._refuse(error, now)
        self._plan = plan = self._live.runtime.plans.of(self._exchange.rule)
        self._exchange.inspection = None if plan is None else plan.mode
        self._exchange.inner = str(request.target).partition("?")[0]
        if plan is None:
            self.look_no_more(self._up.inspector)
            return octets
        head = limited_offer(head, request.headers, plan.offer_policy)
        self._down.inspector = _Answer(self)
        self._up.inspector = self._waiting = _Waiting(self, rest)
        return head

    def _read(self, head: bytes) -> ProxyRequest | None:
        """The handshake, as if it had come in absolute-form; None when it is none."""
        request = read_request(head)
        # Origins take the absolute-form, too (RFC 9112 §3.2.2).
        ours = request.kind in (RequestKind.OWN, RequestKind.UPGRADE)
        if not ours or not asks_for_websocket(request.headers):
            return None
        check_handshake(request)
        own = self._target
        target = Target("ws", own.host, own.port, request.target.path)
        return replace(request, kind=RequestKind.UPGRADE, target=target)

    def _refuse(self, error: WsproxyError, now: float) -> bytes:
        """Answers in the origin's place; nothing of the handshake goes on."""
        exchange = self._exchange
        exchange.fail(error)
        self._refused = Side.PROXY, CloseReason.REFUSED
        page = refusal(error, session=exchange.id, request=self._request, challenges=[])
        exchange.status = page.status
        self._down.inject(answer_bytes(page))
        self._down.finish(now + _LINGER_S)
        self._up.finish(now + _LINGER_S)
        return b""

    def answered(self, octets: bytes, head_size: int, now: float) -> bytes:
        """Takes the origin's response head and what came behind it; returns what goes on."""
        waiting, request, plan = self._waiting, self._request, self._plan
        assert waiting is not None
        assert request is not None
        assert plan is not None
        head, rest = octets[:head_size], octets[head_size:]
        agreed: Agreed | None = None
        try:
            response = _read_response(head)
            self._interim += response.is_interim
            if self._interim > _MAX_INTERIM + 1:
                raise UpstreamProtocolError(f"more than {_MAX_INTERIM} interim responses")
            if response.status == 101:
                agreed = agreed_on(self._exchange, request, response.headers, plan)
        except UpstreamProtocolError as error:
            if self.enforces:
                return self._refuse(error, now)
            self.look_no_more(self._down.inspector)
            return octets
        # At once: what follows may make the proxy say something behind it.
        self._down.inject(head)
        if agreed is not None:
            recording = self._live.runtime.plans.recording
            self._websocket = WebSocket(plan, recording, agreed, now, self._pace)
            self._websocket.attach(self._up, self._down)
            self._pass_waiting(waiting, now)
        elif response.is_interim:
            self._down.inspector = _Answer(self)
        else:
            self._expect_request()
            self._pass_waiting(waiting, now)
        return self._pass_rest(rest, now)

    def _pass_rest(self, rest: bytes, now: float) -> bytes:
        """What came behind the head of an answer, as if it came now; returns what goes on."""
        inspector = self._down.inspector
        if not rest or inspector is None:
            return rest
        if not inspector.passive:
            return inspector.pass_on(rest, now)
        inspector.see(rest, now)
        return rest

    def _pass_waiting(self, waiting: _Waiting, now: float) -> None:
        """What the client sent ahead of the answer, as if it came now."""
        octets, inspector = waiting.octets, self._up.inspector
        if inspector is None or not octets:
            return
        if inspector.passive:
            if not waiting.has_ended:
                self._up.inject(octets)
            inspector.see(octets, now)
        elif not waiting.has_ended:
            self._up.inject(inspector.pass_on(octets, now))

    def farewell(self, why: CloseReason, reason: str, now: float) -> bool:
        """Says Close to both sides, if it became a WebSocket."""
        return self._websocket is not None and self._websocket.farewell(why, reason, now)

    def over(self, summary: RelaySummary, now: float) -> Summary | None:
        """Writes the last record of a WebSocket, if it became one."""
        said = None if self._websocket is None else self._websocket.over(summary, now)
        for direction in (self._up, self._down):
            direction.look_no_more()
        # They refer to this, and would keep it until a collection.
        self._waiting = None
        del self._up, self._down
        return said

    @property
    def ending(self) -> tuple[Side, CloseReason] | None:
        """How we ended it, if we did."""
        return self._refused or (self._websocket.ending if self._websocket else None)


def _read_response(head: bytes) -> Response:
    buffer = HeadBuffer(check_status_line, refuse_response)
    buffer.feed(head)
    line, headers = split_head(tidy_response_head(buffer.take_head() or head), refuse_response)
    return interpret_response(line, headers, "GET")


class _Stage:
    """An inspector that collects octets until they say what they are."""

    passive = False

    def __init__(self, tunnel: Tunnel, octets: bytes = b"") -> None:
        self._tunnel = tunnel
        self.octets = octets

    def see(self, data: bytes, now: float) -> None:
        """Never asked: no stage is passive."""

    def end(self, now: float) -> bytes:
        """The stream ended in the middle: what was held is still the peer's to say."""
        return self.octets

    def pass_on(self, data: bytes, now: float) -> bytes:
        raise NotImplementedError  # pragma: no cover - each stage has its own


class _Question(_Stage):
    """The client's side until its first octets, or those behind a refused handshake, are known."""

    def pass_on(self, data: bytes, now: float) -> bytes:
        """See `wsproxy.net.filter.Inspector`."""
        blank = b""
        if not self.octets:
            # RFC 9112 §2.2 has servers ignore an empty line ahead of a request; others wait for it.
            blank = data[: len(data) - len(data.lstrip(b"\r\n"))]
        self.octets += data[len(blank) :]
        return blank + self._pass_known(now)

    def _pass_known(self, now: float) -> bytes:
        octets = self.octets
        line, has_ended, _rest = octets.partition(b"\n")
        if not octets.startswith(_METHOD[: len(octets)]) or (has_ended and _VERSION not in line):
            self._tunnel.look_no_more(self)
            return octets
        found = HEAD_END.search(octets)
        if found is not None:
            return self._tunnel.asked(octets, found.end(), now)
        if len(octets) <= MAX_HEAD_BYTES:
            return b""
        error = ClientProtocolError("a request head that is too large", status=431, row="T3")
        return self._tunnel.give_up(self, error, now)


class _Waiting(_Stage):
    """The client's side while the origin has not answered; clients wait, too (RFC 6455 §4.1)."""

    has_ended = False
    """Whether its octets are on their way already."""

    def pass_on(self, data: bytes, now: float) -> bytes:
        """See `wsproxy.net.filter.Inspector`."""
        self.octets += data
        if len(self.octets) <= MAX_HEAD_BYTES:
            return b""
        error = ClientProtocolError("too much ahead of the answer to a handshake", row="T10")
        return self._tunnel.give_up(self, error, now)

    def end(self, now: float) -> bytes:
        """Nobody will say any more what these octets are; unjudged, they do not go on."""
        self.has_ended = True
        if self._tunnel.enforces:
            self.octets = b""
        return self.octets


class _Answer(_Stage):
    """The origin's side until the head of its answer is there."""

    def pass_on(self, data: bytes, now: float) -> bytes:
        """See `wsproxy.net.filter.Inspector`."""
        self.octets += data
        found = HEAD_END.search(self.octets)
        if found is not None:
            return self._tunnel.answered(self.octets, found.end(), now)
        likely = self.octets.startswith(_ANSWER[: len(self.octets)])
        if likely and len(self.octets) <= MAX_HEAD_BYTES:
            return b""
        error = UpstreamProtocolError("no answer to a WebSocket handshake")
        return self._tunnel.give_up(self, error, now)
