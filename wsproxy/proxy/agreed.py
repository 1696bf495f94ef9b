"""What a WebSocket handshake offers and agrees on, as far as a plan has a say in it (RFC 6455 §4, RFC 7692 §5)."""

from __future__ import annotations

from wsproxy.errors import UpstreamProtocolError
from wsproxy.model import Headers, ProxyRequest
from wsproxy.observe.conversation import Opening
from wsproxy.observe.exchange import Exchange
from wsproxy.protocol.abridge import Fields
from wsproxy.protocol.deflate import Agreement, limit_offer, parse_agreement
from wsproxy.protocol.fields import values
from wsproxy.protocol.handshake import check_switch, offered_subprotocols
from wsproxy.protocol.labels import Labeller
from wsproxy.proxy.plans import Plan
from wsproxy.proxy.websocket import Agreed

__all__ = ["agreed_on", "limited_fields", "limited_offer"]

_EXTENSIONS = b"sec-websocket-extensions"


def limited_fields(fields: Fields, policy: str) -> Fields:
    """A request's fields with the client's offer of extensions as `policy` lets it go on."""
    if policy == "keep" or not any(name.lower() == _EXTENSIONS for name, _value in fields):
        return fields
    offers = limit_offer(values(tuple(fields), _EXTENSIONS), policy)
    others = [field for field in fields if field[0].lower() != _EXTENSIONS]
    return [*others, *((b"Sec-WebSocket-Extensions", offer) for offer in offers)]


def limited_offer(head: bytes, headers: Headers, policy: str) -> bytes:
    """The same for a head that goes on as it came: octet for octet, but for the offer itself."""
    fields = list(headers)
    limited = limited_fields(fields, policy)
    if limited is fields:
        return head
    start = head.partition(b"\r\n")[0]
    return b"\r\n".join([start, *(b"%b: %b" % field for field in limited), b"", b""])


def agreed_on(exchange: Exchange, request: ProxyRequest, headers: Headers, plan: Plan) -> Agreed:
    """What the 101 with `headers` agrees on.

    Raises:
        UpstreamProtocolError: it does not answer this handshake, or what it
            agrees on cannot be enforced.
    """
    check_switch(headers, key=request.field(b"sec-websocket-key") or b"")
    extensions = values(headers, _EXTENSIONS)
    try:
        agreement = parse_agreement(extensions)
    except ValueError as error:
        if plan.enforces:
            raise UpstreamProtocolError(f"101 with odd extensions: {error}") from None
        # Who only looks on is in nobody's way; that nothing can be decoded is recorded.
        agreement = Agreement(None, (b", ".join(extensions).decode("latin-1"),))
    if plan.enforces and plan.offer_policy == "strip" and extensions:
        # RFC 6455 §4.1: "the client MUST _Fail the WebSocket Connection_"; but this one did offer it.
        raise UpstreamProtocolError("101 with an extension that was not offered")
    if plan.enforces and agreement.unknown:
        unknown = ", ".join(agreement.unknown)
        raise UpstreamProtocolError(f"an extension whose messages cannot be judged: {unknown}")
    target = request.target
    subprotocol = next(iter(values(headers, b"sec-websocket-protocol")), None)
    agreed = None if subprotocol is None else subprotocol.decode("latin-1")
    opening = Opening(
        session=exchange.id,
        client=str(exchange.peer),
        user=exchange.user,
        host=target.host.text,
        port=target.port,
        url=str(target),
        rule=exchange.rule,
        mode=plan.mode,
        request=_text(request.headers),
        response=_text(headers),
        subprotocol=agreed,
        extensions=b", ".join(extensions).decode("latin-1") or None,
    )
    path = target.path.decode("latin-1")
    labeller = Labeller(agreed, path, offered=offered_subprotocols(request.headers))
    return Agreed(opening, agreement, labeller)


def _text(headers: Headers) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
