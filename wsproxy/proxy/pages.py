"""The pages people see: what was refused and why, and what this proxy is."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from wsproxy.errors import (
    AuthRequired,
    Denied,
    LimitReached,
    ResolveFailed,
    WsproxyError,
    face,
)
from wsproxy.model import ProxyRequest
from wsproxy.protocol.fields import values
from wsproxy.protocol.http1 import Fields

__all__ = ["Page", "answer_bytes", "help_page", "reason_phrase", "refusal", "status_page"]


@dataclass(frozen=True, slots=True)
class Page:
    """A complete response of our own, but for Content-Length, Date and Connection."""

    status: int
    headers: Fields
    body: bytes


def reason_phrase(status: int) -> bytes:
    """The registered phrase, or an empty one."""
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b""


def refusal(
    error: BaseException, *, session: str, request: ProxyRequest | None, challenges: list[bytes]
) -> Page:
    """The answer to a request that failed with `error`.

    Args:
        error: anything; what is no `WsproxyError` says nothing about itself.
        session: id of the access record.
        request: None when there was no readable head.
        challenges: Proxy-Authenticate values; sent with a 407 only.
    """
    look = face(error)
    detail = error.detail if isinstance(error, WsproxyError) else "an internal error"
    rule = error.rule if isinstance(error, Denied) else ""
    message = error.message if isinstance(error, Denied) else ""
    facts = {"status": look.status, "error": look.token, "detail": detail, "id": session}
    if rule:
        facts["rule"] = rule
    if message:
        facts["message"] = message
    more = {"rule": rule, "rcode": error.rcode if isinstance(error, ResolveFailed) else ""}
    headers: Fields = [(b"Proxy-Status", _proxy_status(look.token, detail, more, session))]
    if isinstance(error, AuthRequired):
        headers += [(b"Proxy-Authenticate", challenge) for challenge in challenges]
    if look.status in (429, 503):
        after_s = error.retry_after_s if isinstance(error, LimitReached) else 1
        headers.append((b"Retry-After", b"%d" % after_s))
    return _page(look.status, headers, facts, json_wanted=_wants_json(request))


def _proxy_status(token: str, detail: str, more: dict[str, str], session: str) -> bytes:
    """RFC 9209 §2, as an RFC 8941 list of one item with parameters."""
    text = f"wsproxy; error={token}; details={_quoted(detail)}"
    text += "".join(f"; {name}={_quoted(value)}" for name, value in more.items() if value)
    return f"{text}; id={_quoted(session)}".encode("ascii")


def _quoted(text: str) -> str:
    """An RFC 8941 §3.3.3 string: printable ASCII, quote and backslash escaped."""
    plain = "".join(c if " " <= c <= "~" else "?" for c in text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _wants_json(request: ProxyRequest | None) -> bool:
    """Whether `Accept` names JSON and not HTML; browsers name HTML, curl neither."""
    if request is None:
        return False
    accept = b",".join(values(request.headers, b"accept")).lower()
    return b"json" in accept and b"text/html" not in accept


def answer_bytes(page: Page) -> bytes:
    """A response inside a tunnel, in the origin's place; the connection ends with it."""
    fields = [
        *page.headers,
        (b"Content-Length", b"%d" % len(page.body)),
        (b"Date", formatdate(usegmt=True).encode("ascii")),
        (b"Connection", b"close"),
    ]
    lines = [b"HTTP/1.1 %d %b" % (page.status, reason_phrase(page.status))]
    lines += [b"%b: %b" % field for field in fields]
    return b"\r\n".join([*lines, b"", page.body])


_STYLE = "body{font:16px/1.5 sans-serif;max-width:40em;margin:3em auto;padding:0 1em}code{background:#eee}"


def _page(status: int, headers: Fields, facts: dict[str, object], *, json_wanted: bool) -> Page:
    if json_wanted:
        body = json.dumps(facts, ensure_ascii=False).encode() + b"\n"
        kind = b"application/json"
    else:
        body = _html(status, facts)
        kind = b"text/html; charset=utf-8"
    return Page(status, [(b"Content-Type", kind), *_NO_STORE, *headers], body)


_NO_STORE: Fields = [
    (b"Cache-Control", b"no-store"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Content-Security-Policy", b"default-src 'none'; style-src 'unsafe-inline'"),
]


def _html(status: int, facts: dict[str, object]) -> bytes:
    title = f"{status} {reason_phrase(status).decode()}"
    rows = [f"<p>{html.escape(str(facts['detail']))}</p>"]
    if "message" in facts:
        rows.insert(0, f"<p><strong>{html.escape(str(facts['message']))}</strong></p>")
    if "rule" in facts:
        rows.append(f"<p>Rule: <code>{html.escape(str(facts['rule']))}</code></p>")
    rows.append(f"<p>wsproxy, decision <code>{facts['id']}</code></p>")
    return _document(title, "".join(rows))


def _document(title: str, content: str) -> bytes:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style><h1>{title}</h1>{content}</html>\n"
    ).encode()


_ONLY_IN_CLEAR = (
    "<dt>Windows<dd><code>netsh winhttp set proxy %(address)s</code>, and Settings, Network, Proxy"
    "<dt>macOS<dd><code>networksetup -setwebproxy Wi-Fi HOST PORT; "
    "networksetup -setsecurewebproxy Wi-Fi HOST PORT</code>"
    "<dt>Java<dd><code>-Dhttps.proxyHost=HOST -Dhttps.proxyPort=PORT</code>; with Basic also "
    "<code>-Djdk.http.auth.tunneling.disabledSchemes=</code>"
)
"""Clients that cannot speak TLS to a proxy."""
_SETUP = (
    "<dt>git<dd><code>git config --global http.proxy %(url)s</code>"
    "<dt>pip<dd><code>pip --proxy %(url)s install …</code>"
    "<dt>npm<dd><code>npm config set proxy %(url)s; npm config set https-proxy %(url)s</code>"
    "<dt>Docker<dd><code>~/.docker/config.json</code>: <code>proxies.default.httpsProxy</code>"
    "<dt>.NET<dd><code>options.Proxy = new WebProxy(&quot;%(url)s&quot;)</code>"
    "<dt>Node.js<dd>an agent: <code>new HttpsProxyAgent(&quot;%(url)s&quot;)</code>"
    "<dt>Python<dd><code>websockets.connect(uri, proxy=&quot;%(url)s&quot;)</code>"
)
_BROWSERS = {
    "http": "Browsers: set it as HTTP proxy for all protocols; WebSockets go through it too. Or give "
    "them the address of a script",
    "https": "This is an HTTPS proxy: what is said to it is encrypted. Browsers take it from a "
    "script; give them its address",
}


def help_page(
    request: ProxyRequest, more: Callable[[str], str] | None = None, *, scheme: str = "http"
) -> Page:
    """What someone sees who opens the proxy's own address.

    Args:
        request: names the address.
        more: makes what else is to be said, as HTML, from the proxy's URL.
        scheme: of that URL: ``http``, or ``https`` where there is TLS to the proxy.
    """
    named = request.field(b"host") or b"127.0.0.1:8080"
    address = html.escape(named.decode("latin-1"))
    url = f"{scheme}://{address}"
    clients = _SETUP if scheme == "https" else _ONLY_IN_CLEAR + _SETUP
    content = (
        "<p>This is a forward proxy for HTTP and WebSocket. It is not a web site: set it as the "
        "proxy of a browser or program.</p>"
        f"<pre><code>curl --proxy {url} https://example.com/\n"
        f"export https_proxy={url} http_proxy={url}</code></pre>"
        f"<p>{_BROWSERS[scheme]}: <code>{url}/proxy.pac</code></p>"
        "<h2>Clients</h2><dl>" + clients % {"address": address, "url": url} + "</dl>"
    )
    if more is not None:
        content += more(url)
    kind = (b"Content-Type", b"text/html; charset=utf-8")
    return Page(200, [kind, *_NO_STORE], _document("wsproxy", content))


def status_page(status: int, detail: str, headers: Fields | None = None) -> Page:
    """A short plain-text answer of the proxy about itself."""
    kind = (b"Content-Type", b"text/plain; charset=utf-8")
    return Page(status, [kind, *_NO_STORE, *(headers or [])], detail.encode() + b"\n")
