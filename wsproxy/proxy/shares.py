"""What users, rules and connections share out among themselves: octets and messages in a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from wsproxy.errors import QuotaSpent
from wsproxy.net.allowance import Allowance, Allowances, portion_bytes
from wsproxy.observe.exchange import Exchange
from wsproxy.policy.rates import Bucket, Kept, Rate, Window

__all__ = ["Pair", "ShareSettings", "Shares"]

_ENDLESS: Rate = (1e18, 1.0)
"""What becomes of a limit that is lifted while somebody holds its bucket."""

Pair = tuple[Bucket, Bucket]
"""One bucket for each direction, up and down."""
_UP, _DOWN = True, False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareSettings:
    """What there is, each as so many in so many seconds; None: any.

    Attributes:
        per_connection: octets in each direction of one client connection or tunnel.
        per_user: the same of all that one user has.
        per_rule: the same of all that one rule allows, by its name.
        messages_per_user: text and binary messages from the client that are understood.
        bytes_per_user: octets in both directions together.
    """

    per_connection: Rate | None = None
    per_user: Rate | None = None
    per_rule: Mapping[str, Rate] = field(default_factory=dict)
    messages_per_user: Rate | None = None
    bytes_per_user: Rate | None = None


_NONE = ShareSettings()


class Shares:
    """Who draws on what.

    It lives as long as the process: what was taken stays taken when settings change.

    Attributes:
        lifted: there is no limit at all.
    """

    def __init__(self, settings: ShareSettings) -> None:
        self._settings = settings
        self.lifted = settings == _NONE
        self._rules: Kept[tuple[str, bool], Bucket] = Kept()
        self._users: Kept[tuple[str, bool], Bucket] = Kept()
        self._messages: Kept[str, Bucket] = Kept()
        self._windows: Kept[str, Window] = Kept()

    def adopt(self, settings: ShareSettings) -> None:
        """Goes on with other settings; open connections feel all but their own bandwidth change."""
        self._settings = settings
        self.lifted = settings == _NONE
        for bucket in self._users.all():
            bucket.adopt(settings.per_user or _ENDLESS)
        for bucket in self._messages.all():
            bucket.adopt(settings.messages_per_user or _ENDLESS)
        for window in self._windows.all():
            window.adopt(settings.bytes_per_user or _ENDLESS)
        for (rule, _way), bucket in self._rules.items():
            bucket.adopt(settings.per_rule.get(rule) or _ENDLESS)

    def connection(self) -> Pair | None:
        """What a new connection has for itself; None: there is no such limit."""
        rate = self._settings.per_connection
        return None if rate is None else (Bucket(rate), Bucket(rate))

    def check(self, exchange: Exchange, now: float) -> None:
        """Looks whether the user may move anything.

        Raises:
            QuotaSpent: not an octet.
        """
        window = self._window(exchange.user, now)
        rate = self._settings.bytes_per_user
        if window is not None and rate is not None and window.left(now) < 1:
            detail = (
                f"this user has moved the {rate[0]:.0f} bytes that are allowed in {rate[1]:g} s"
            )
            raise QuotaSpent(detail, retry_after_s=math.ceil(window.ends_in(now)))

    def allowances(self, exchange: Exchange, now: float, own: Pair | None) -> Allowances | None:
        """What the two directions of an admitted request or tunnel may move; None: all there is.

        Args:
            exchange: says whose it is and which rule allowed it.
            now: monotonic seconds.
            own: of its connection.
        """
        settings, user, rule = self._settings, exchange.user, exchange.rule or ""
        by_rule = settings.per_rule.get(rule)
        by_user = settings.per_user if user is not None else None
        window = self._window(user, now)
        if own is None and by_rule is None and by_user is None and window is None:
            return None
        up: list[Bucket] = []
        down: list[Bucket] = []
        if own is not None:
            up.append(own[0])
            down.append(own[1])
        for buckets, way in ((up, _UP), (down, _DOWN)):
            if user is not None and by_user is not None:
                buckets.append(self._users.get((user, way), now, lambda: Bucket(by_user)))
            if by_rule is not None:
                buckets.append(self._rules.get((rule, way), now, lambda: Bucket(by_rule)))
        rates = (settings.per_connection if own else None, by_user, by_rule)
        slowest = min((each[0] / each[1] for each in rates if each), default=math.inf)
        portion = portion_bytes(slowest)
        return Allowance(up, portion, window), Allowance(down, portion, window)

    def messages(self, exchange: Exchange, now: float) -> Bucket | None:
        """What the messages of its user draw on; None: there is no such limit."""
        user, rate = exchange.user, self._settings.messages_per_user
        if user is None or rate is None:
            return None
        return self._messages.get(user, now, lambda: Bucket(rate))

    def _window(self, user: str | None, now: float) -> Window | None:
        rate = self._settings.bytes_per_user
        if user is None or rate is None:
            return None
        return self._windows.get(user, now, lambda: Window(rate))
