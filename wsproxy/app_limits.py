"""From the settings to what clients, users and rules may have; a part of `wsproxy.app`."""

from __future__ import annotations

from wsproxy.config.load import Config
from wsproxy.config.units import Rate, Volume
from wsproxy.proxy.quotas import Allotment
from wsproxy.proxy.shares import ShareSettings

__all__ = ["allotment"]


def allotment(config: Config) -> Allotment:
    """The limits of the configuration, for a new `Quotas` or for `Quotas.adopt`."""
    limits, rules = config.settings.limits, config.settings.policy.rules
    return Allotment(
        per_user=limits.connections_per_user,
        per_rule={
            rule.name: rule.limits.connections
            for rule in rules
            if rule.limits.connections is not None
        },
        requests=_rate(limits.requests_per_client),
        shares=ShareSettings(
            per_connection=_volume(limits.bandwidth_per_connection),
            per_user=_volume(limits.bandwidth_per_user),
            per_rule={
                rule.name: rate
                for rule in rules
                if (rate := _volume(rule.limits.bandwidth)) is not None
            },
            messages_per_user=_rate(limits.messages_per_user),
            bytes_per_user=_volume(limits.bytes_per_user),
        ),
    )


def _rate(rate: Rate | None) -> tuple[float, float] | None:
    return None if rate is None else (rate.count, rate.period_s)


def _volume(volume: Volume | None) -> tuple[float, float] | None:
    return None if volume is None else (volume.size_bytes, volume.period_s)
