"""Requests that end here: for the proxy itself, or with no hops left."""

from __future__ import annotations

from wsproxy.model import ProxyRequest
from wsproxy.observe.exchange import Exchange
from wsproxy.proxy.pac import PAC_PATHS, pac_file
from wsproxy.proxy.pages import Page, help_page, status_page
from wsproxy.proxy.session import Session
from wsproxy.proxy.trust import CA_PATH, trust_section

__all__ = ["answer_for_origin", "own"]

_SECRET_FIELDS = frozenset({b"proxy-authorization", b"authorization", b"cookie"})


async def own(session: Session, request: ProxyRequest, exchange: Exchange) -> bool:
    """Answers a request in origin-form: the help page at ``/``, the CA where there is one.

    Returns:
        True when the connection may go on.
    """
    path = request.target.path.partition(b"?")[0]
    interception = session.runtime.looking.interception
    if path == b"*":
        page = status_page(200, "wsproxy", [(b"Allow", b"GET, HEAD, OPTIONS, CONNECT")])
    elif path == CA_PATH and interception is not None and request.method in ("GET", "HEAD"):
        kind = (b"Content-Type", b"application/x-x509-ca-cert")
        page = Page(200, [kind, (b"Cache-Control", b"no-store")], interception.ca_pem)
    elif path in PAC_PATHS and request.method in ("GET", "HEAD"):
        named = request.field(b"host") or b"127.0.0.1:8080"
        kind = (b"Content-Type", b"application/x-ns-proxy-autoconfig")
        script = pac_file(named.decode("latin-1"), scheme=session.scheme)
        page = Page(200, [kind, (b"Cache-Control", b"no-store")], script)
    elif path != b"/":
        page = status_page(404, "not found; this is a proxy, see /")
    elif request.method not in ("GET", "HEAD"):
        page = status_page(405, "this is a proxy, see /", [(b"Allow", b"GET, HEAD")])
    else:
        more = trust_section if interception is not None else None
        page = help_page(request, more, scheme=session.scheme)
    return await _finish(session, request, exchange, page)


async def answer_for_origin(session: Session, request: ProxyRequest, exchange: Exchange) -> bool:
    """Answers TRACE or OPTIONS whose Max-Forwards is 0, as its final recipient (RFC 9110 §7.6.2).

    A trace leaves out what is secret (§9.3.8).
    """
    if request.method == "OPTIONS":
        return await _finish(session, request, exchange, status_page(200, "wsproxy"))
    head = f"TRACE {request.target} HTTP/{request.version}\r\n".encode("latin-1")
    for name, value in request.headers:
        if name.lower() not in _SECRET_FIELDS:
            head += name + b": " + value + b"\r\n"
    page = Page(200, [(b"Content-Type", b"message/http")], head + b"\r\n")
    return await _finish(session, request, exchange, page)


async def _finish(session: Session, request: ProxyRequest, exchange: Exchange, page: Page) -> bool:
    go_on = session.may_go_on(request) and not request.expects_continue
    await session.answer(page, exchange, request=request, close=not go_on)
    # A client that was not told to continue may never send its body.
    return not request.expects_continue and await session.discard_body() and go_on
