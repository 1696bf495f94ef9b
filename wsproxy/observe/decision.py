"""The decision about one request, as its access record and ``wsproxy explain`` tell it."""

from __future__ import annotations

from itertools import islice

from wsproxy.model import AddressVerdict, spelled
from wsproxy.observe.exchange import Exchange

__all__ = ["MAX_ADDRESSES", "decision_fields"]

MAX_ADDRESSES = 16
"""Whoever owns a name chooses how many addresses it has; a record names no more."""


def decision_fields(exchange: Exchange) -> dict[str, object] | None:
    """What was decided about a request beside its rule and verdict, and why.

    Returns:
        None when it came to no decision.  Else: ``name``, what policy says of the name;
        ``addresses``, each address that was looked at; ``route``, ``direct`` or the name of
        the upstreams, None for what was refused; ``websocket``, how closely a WebSocket is
        looked at, None for not at all, or where it did not come to that.
    """
    said = exchange.judged
    if said is None:
        return None
    return {
        "name": {
            "verdict": "allow" if said.allow else "deny",
            "rule": said.rule,
            "file": said.file if said.line else None,
            "line": said.line or None,
        },
        "addresses": [_address(one) for one in islice(exchange.addresses, MAX_ADDRESSES)],
        "route": (exchange.upstream or "direct") if exchange.verdict == "allow" else None,
        "websocket": exchange.inspection,
    }


def _address(said: AddressVerdict) -> dict[str, object]:
    return {
        "address": spelled(said.address),
        "verdict": "allow" if said.allow else "deny",
        "class": said.kind,
        "zone": said.zone,
    }
