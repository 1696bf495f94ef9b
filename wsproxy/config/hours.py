"""The condition ``hours`` of a rule: days, times of the day, and whose clock is meant."""

from __future__ import annotations

import difflib
import re
from datetime import UTC, tzinfo
from typing import Annotated, Final
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from wsproxy.config.fields import OneOrMany
from wsproxy.config.section import Section

__all__ = ["Days", "Hours", "TimeOfDay", "TimeZone"]

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAYS_FORM: Final = "expected days such as mon-fri or sat,sun; known are " + ", ".join(_DAYS)
_DAY: Final = f"({'|'.join(_DAYS)})"
_DAY_MINUTES: Final = 24 * 60
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|(24):(00)")
_TIME_FORM: Final = 'expected a time of the day such as "07:00"'
_ZONE_FORM: Final = "expected a time zone such as Europe/Berlin, or UTC"


def _days(value: object) -> tuple[int, ...]:
    if isinstance(value, tuple):
        return value
    if not isinstance(value, str):
        raise ValueError(_DAYS_FORM)
    found: set[int] = set()
    for part in value.split(","):
        first, dash, last = part.strip().partition("-")
        if first not in _DAYS or (dash and last not in _DAYS):
            raise ValueError(_DAYS_FORM)
        begin, end = _DAYS.index(first), _DAYS.index(last if dash else first)
        found.update((begin + day) % 7 for day in range((end - begin) % 7 + 1))
    return tuple(sorted(found))


def _time_of_day(value: object) -> int:
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(_TIME_FORM)
    hour, minute = (part for part in match.groups() if part)
    return int(hour) * 60 + int(minute)


def _time_zone(value: object) -> tzinfo:
    if isinstance(value, tzinfo):
        return value
    if not isinstance(value, str):
        raise ValueError(_ZONE_FORM)
    if value == "UTC":
        return UTC  # known everywhere
    try:
        return ZoneInfo(value)
    except (LookupError, ValueError, OSError):
        known = available_timezones()
    if not known:
        raise ValueError("this machine knows no time zone but UTC; install the package tzdata")
    near = difflib.get_close_matches(value, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "write one such as Europe/Berlin, or UTC"
    raise ValueError(f"no such time zone; {hint}")


Days = Annotated[
    tuple[int, ...],
    PlainValidator(_days),
    PlainSerializer(lambda days: ",".join(_DAYS[day] for day in days)),
    WithJsonSchema({"type": "string", "pattern": rf"^{_DAY}(-{_DAY})?(, *{_DAY}(-{_DAY})?)*$"}),
]
"""Days of the week, 0 for Monday; written ``mon-fri`` or ``sat,sun``."""

TimeOfDay = Annotated[
    int,
    PlainValidator(_time_of_day),
    PlainSerializer(lambda minutes: f"{minutes // 60:02}:{minutes % 60:02}"),
    WithJsonSchema({"type": "string", "pattern": f"^({_TIME.pattern})$"}),
]
"""Minutes since midnight, 0 … 1440; written ``07:00``."""

TimeZone = Annotated[
    tzinfo,
    PlainValidator(_time_zone),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "minLength": 1}),
]
"""A name of the IANA database, or ``UTC``."""


class Hours(Section):
    """Hours of the week, on the clock of a place."""

    days: OneOrMany[Days] = Field(
        default_factory=tuple, description="Days on which they begin; every day by default."
    )
    from_: TimeOfDay = Field(
        default=0,
        alias="from",
        description="The first minute that counts.",
        json_schema_extra={"default": "00:00"},
    )
    to: TimeOfDay = Field(
        default=_DAY_MINUTES,
        description="The first minute that does not; before 'from', it is of the next day.",
        json_schema_extra={"default": "24:00"},
    )
    timezone: TimeZone = Field(description="Whose clock is meant, such as Europe/Berlin.")

    @property
    def weekdays(self) -> frozenset[int]:
        """The days on which they begin, 0 for Monday."""
        return frozenset(day for days in self.days for day in days) or frozenset(range(7))

    @model_validator(mode="after")
    def _bounds(self) -> Hours:
        if self.from_ in (self.to, _DAY_MINUTES):
            raise ValueError("these hours are never; for a whole day leave out from and to")
        if self.to - self.from_ == _DAY_MINUTES and len(self.weekdays) == 7:
            raise ValueError("these hours are always; give days, from or to")
        return self
