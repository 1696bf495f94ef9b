"""The access record: one line a request or tunnel, in one of three spellings.

Whatever an attacker could have written is escaped by the format itself.  All
formats count the same octets: what passed through a tunnel, or the content of
message bodies, without heads and chunk framing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

import orjson

from wsproxy.model import Peer
from wsproxy.observe.decision import decision_fields
from wsproxy.observe.exchange import Exchange, milliseconds
from wsproxy.observe.timestamps import format_second

__all__ = ["FORMATS", "Formatter", "format_combined", "format_json", "format_squid"]

Formatter = Callable[[str, Exchange, float, float], bytes]
"""Makes one line, line feed included: (event, exchange, wall clock, monotonic clock) in seconds.

The event is ``access``, at the end of every request and tunnel, or ``open``,
when a tunnel opens; a format that has no such line makes ``b""``.
"""


def format_json(event: str, exchange: Exchange, at: float, now: float) -> bytes:
    """JSON Lines; the field names are a contract (docs/operations.md)."""
    line: dict[str, object] = {
        "event": event,
        "time": f"{format_second(int(at))}.{int(at % 1 * 1000):03d}Z",
        "id": exchange.id,
        "client": str(exchange.peer),
        "user": exchange.user,
        "kind": exchange.kind,
        "method": exchange.method,
        "target": _target(exchange),
        "address": str(exchange.dialled) if exchange.dialled else None,
        "rule": exchange.rule,
        "verdict": exchange.verdict,
        "status": exchange.status,
        "error": exchange.error,
        "detail": exchange.detail,
        "class": exchange.threat,
        "bytes_up": exchange.bytes_up,
        "bytes_down": exchange.bytes_down,
        "durations_ms": {
            "head": _rounded(exchange.head_ms),
            "authenticate": _rounded(exchange.authenticate_ms),
            "resolve": _rounded(exchange.resolve_ms),
            "connect": _rounded(exchange.connect_ms),
            "first_byte": _rounded(exchange.first_byte_ms),
            "total": _rounded(milliseconds(exchange.began_at, now)),
        },
        "closed_by": exchange.closed_by.value if exchange.closed_by else None,
        "reason": exchange.reason.value if exchange.reason else None,
    }
    if exchange.judged is not None:
        line["decision"] = decision_fields(exchange)
    _add_rare(line, exchange)
    # A copy: what orjson returns keeps the 4 KiB it was written into for as long as it waits.
    return orjson.dumps(line) + b"\n"


def _add_rare(line: dict[str, object], exchange: Exchange) -> None:
    """The fields that only some records have."""
    if exchange.would_deny:
        line["would_deny"] = exchange.would_deny
    if exchange.would_allow:
        line["would_allow"] = exchange.would_allow
    if exchange.websocket is not None:
        line["websocket"] = _websocket(exchange)
    if exchange.tls is not None:
        line["tls"] = exchange.tls
    if exchange.source is not None:
        line["source"] = str(exchange.source)
    if exchange.upstream is not None:
        line["upstream"] = exchange.upstream
    if exchange.tunnel is not None:
        line["tunnel"] = exchange.tunnel


def _websocket(exchange: Exchange) -> dict[str, object]:
    said = exchange.websocket
    assert said is not None
    would_deny = {"would_deny": dict(said.would_deny)} if said.would_deny else {}
    return {
        "url": exchange.inner,
        "messages_up": said.messages_up,
        "messages_down": said.messages_down,
        "code": said.code,
        "clean": said.clean,
        "closed_by": said.closed_by.value,
        "pings_unanswered": said.pings_unanswered,
        "label": said.label,
        "trouble": said.trouble,
        **would_deny,
    }


def _rounded(duration_ms: float | None) -> float | None:
    return duration_ms and int(duration_ms * 1000 + 0.5) / 1000


# Squid's and Apache's logs are read by splitting at spaces and quotes.
_UNSAFE = re.compile(r'[^\x21-\x7e]|["\\%]')


def _word(text: str | None) -> str:
    """`text` as one word without spaces, quotes or control characters; ``-`` for none."""
    if not text:
        return "-"
    return _UNSAFE.sub(lambda found: "".join(f"%{o:02X}" for o in found[0].encode()), text)


def _target(exchange: Exchange) -> str | None:
    return None if exchange.target is None else str(exchange.target)


def _host(peer: Peer | None) -> str:
    return str(peer.address) if peer else "-"


def format_squid(event: str, exchange: Exchange, at: float, now: float) -> bytes:
    """Squid's native access.log.

    Time, elapsed milliseconds, client, result/status, bytes, method, URL,
    user, hierarchy/peer, type.
    """
    if event != "access":
        return b""
    result = "TCP_MISS"
    if exchange.verdict == "deny" or exchange.status == 407:
        result = "TCP_DENIED"
    elif exchange.kind == "connect" and exchange.status == 200:
        result = "TCP_TUNNEL"
    line = (
        f"{at:.3f} {round((now - exchange.began_at) * 1000):6d} {_host(exchange.peer)} "
        f"{result}/{exchange.status or 0:03d} {exchange.bytes_down} {_word(exchange.method)} "
        f"{_word(_target(exchange))} {_word(exchange.user)} "
        f"{'HIER_DIRECT' if exchange.dialled else 'HIER_NONE'}/{_host(exchange.dialled)} -\n"
    )
    return line.encode("ascii")


def format_combined(event: str, exchange: Exchange, at: float, now: float) -> bytes:
    """Apache's combined log format; the request line names the whole target."""
    if event != "access":
        return b""
    when = datetime.fromtimestamp(at, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    line = (
        f"{_host(exchange.peer)} - {_word(exchange.user)} [{when}] "
        f'"{_word(exchange.method)} {_word(str(exchange.target or ""))} HTTP/{exchange.version or "1.1"}" '
        f'{exchange.status or 0:03d} {exchange.bytes_down} "-" "{_word(exchange.user_agent)}"\n'
    )
    return line.encode("ascii")


FORMATS: dict[str, Formatter] = {
    "json": format_json,
    "squid": format_squid,
    "combined": format_combined,
}
"""What `logs.access.format` may name."""
