"""Certificates for the names that clients ask for, made when they are first asked for."""

from __future__ import annotations

import math
import ssl
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import trio
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from wsproxy.model import Host
from wsproxy.net.tls import leaf_context
from wsproxy.protocol.x509 import Authority, mint, new_leaf_key

__all__ = ["Minter"]

_MOST = 1000
"""Contexts that are kept; each is some 50 KiB of OpenSSL's."""
_DAY_S = 86_400.0


class Minter:
    """Makes a leaf for each name and keeps the latest.

    All leaves have one key, which lives as long as the process: it proves nothing that the
    CA does not.

    Args:
        authority: who signs.
        clock: wall clock, in seconds since 1970.
        lifetime_s: how long a leaf is valid.
        key_log: see `wsproxy.net.tls.leaf_context`.
    """

    def __init__(
        self,
        authority: Authority,
        *,
        clock: Callable[[], float],
        lifetime_s: float,
        key_log: Path | None = None,
    ) -> None:
        self._authority = authority
        self._clock = clock
        self._days = max(1, math.ceil(lifetime_s / _DAY_S))
        self._key_log = key_log
        self._key = new_leaf_key()
        self._key_pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self._made: OrderedDict[str, tuple[float, ssl.SSLContext]] = OrderedDict()
        self._making: dict[str, trio.Event] = {}

    async def context(self, host: Host) -> ssl.SSLContext:
        """Our side of TLS as `host`; many who ask at once get one certificate."""
        name = host.text
        while (context := self._kept(name)) is None:
            making = self._making.get(name)
            if making is not None:
                await making.wait()
                continue
            self._making[name] = event = trio.Event()
            try:
                context = await trio.to_thread.run_sync(self._make, name)
                self._keep(name, context)
            finally:
                del self._making[name]
                event.set()
        return context

    def _kept(self, name: str) -> ssl.SSLContext | None:
        made = self._made.get(name)
        if made is None:
            return None
        stale_at, context = made
        if trio.current_time() > stale_at:
            del self._made[name]
            return None
        self._made.move_to_end(name)
        return context

    def _keep(self, name: str, context: ssl.SSLContext) -> None:
        # Half its life: a session that begins now may last.
        self._made[name] = trio.current_time() + self._days * _DAY_S / 2, context
        if len(self._made) > _MOST:
            self._made.popitem(last=False)

    def _make(self, name: str) -> ssl.SSLContext:
        now = datetime.fromtimestamp(self._clock(), UTC)
        leaf = mint(self._authority, name, key=self._key, now=now, days=self._days)
        return leaf_context(self._key_pem + leaf + self._authority.chain_pem, key_log=self._key_log)
