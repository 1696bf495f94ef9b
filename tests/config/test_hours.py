"""The condition `hours` as it stands in the file."""

from __future__ import annotations

import re
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from wsproxy.config import hours as module
from wsproxy.config.hours import Hours
from wsproxy.config.schema import When, json_schema


def hours(**given: Any) -> Hours:
    return Hours.model_validate({"timezone": "Europe/Berlin", **given})


def sentence(**given: Any) -> tuple[tuple[int | str, ...], str]:
    with pytest.raises(ValidationError) as error:
        hours(**given)
    details = error.value.errors()[0]  # a list with wrong entries counts as too short, too
    return details["loc"], str(details.get("ctx", {}).get("error", details["msg"]))


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ("mon-fri", {0, 1, 2, 3, 4}),
        ("sat,sun", {5, 6}),
        ("sat, sun", {5, 6}),
        (["sat", "sun"], {5, 6}),
        (["mon-tue,thu", "tue", "sat-sun"], {0, 1, 3, 5, 6}),
        ("fri-mon", {4, 5, 6, 0}),
        ("wed-wed", {2}),
        ("sun", {6}),
    ],
)
def test_days(days: object, expected: set[int]) -> None:
    assert hours(days=days).weekdays == expected


def test_times_are_minutes_and_every_day_is_meant_by_default() -> None:
    office = hours(**{"from": "07:00", "to": "19:30"})
    assert (office.from_, office.to, office.timezone) == (420, 1170, ZoneInfo("Europe/Berlin"))
    assert office.weekdays == set(range(7))
    assert (hours(days="sun").from_, hours(days="sun").to) == (0, 1440)
    assert hours(**{"from": "22:00", "to": "06:00"}).to == 360
    assert hours(days="sun", to="24:00").to == 1440


def test_they_are_written_as_they_are_read() -> None:
    text = {"days": ("mon,tue",), "from": "07:05", "to": "24:00", "timezone": "Europe/Berlin"}
    found = hours(days="mon-tue", **{"from": "07:05"}).model_dump()
    assert found == text
    assert Hours.model_validate(found).model_dump() == text
    assert Hours(days=((0,),), timezone=UTC).model_dump()["timezone"] == "UTC"


DAYS = "expected days such as mon-fri or sat,sun; known are mon, tue, wed, thu, fri, sat, sun"
TIME = 'expected a time of the day such as "07:00"'


@pytest.mark.parametrize(
    ("given", "place", "told"),
    [
        ({"days": "Mon-Fri"}, ("days", 0), DAYS),
        ({"days": "mon-"}, ("days", 0), DAYS),
        ({"days": "monday"}, ("days", 0), DAYS),
        ({"days": ["mon", 1]}, ("days", 1), DAYS),
        ({"days": ""}, ("days", 0), DAYS),
        ({"from": "7:00"}, ("from",), TIME),
        ({"from": 420}, ("from",), TIME),
        ({"from": "07:60"}, ("from",), TIME),
        ({"to": "24:01"}, ("to",), TIME),
        ({"to": "25:00"}, ("to",), TIME),
        ({"from": "07:00", "to": "07:00"}, (), "these hours are never;"),
        ({"from": "24:00", "to": "07:00"}, (), "these hours are never;"),
        ({}, (), "these hours are always; give days, from or to"),
        ({"days": "mon-sun", "from": "00:00"}, (), "these hours are always;"),
        ({"timezone": 1}, ("timezone",), "expected a time zone such as Europe/Berlin, or UTC"),
        ({"timezone": "Europe/Berln"}, ("timezone",), "did you mean Europe/Berlin?"),
        ({"timezone": "Europe"}, ("timezone",), "no such time zone;"),
        ({"timezone": "../etc/passwd"}, ("timezone",), "no such time zone;"),
        ({"timezone": "/etc/localtime"}, ("timezone",), "no such time zone;"),
        ({"timezone": ""}, ("timezone",), "no such time zone; write one such as"),
        ({"timezone": "Z\x00"}, ("timezone",), "no such time zone;"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    given: dict[str, Any], place: tuple[int | str, ...], told: str
) -> None:
    found, text = sentence(**{"days": "mon"} | given if "timezone" in given else given)
    assert found == place
    assert told in text


def test_the_zone_is_required() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        Hours.model_validate({"days": "mon"})


def test_utc_needs_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_database(*_: object) -> None:
        raise LookupError

    monkeypatch.setattr(module, "ZoneInfo", no_database)
    monkeypatch.setattr(module, "available_timezones", set)
    assert hours(days="mon", timezone="UTC").timezone is UTC
    _, text = sentence(days="mon")
    assert text == "this machine knows no time zone but UTC; install the package tzdata"


def test_no_hours_at_all_are_no_condition_that_always_holds() -> None:
    assert When.model_validate({"hours": {"days": "mon", "timezone": "UTC"}}).hours is not None
    with pytest.raises(ValidationError, match="there is no value"):
        When.model_validate({"hours": None})


def test_the_json_schema_knows_the_forms() -> None:
    properties = json_schema()["$defs"]["Hours"]["properties"]
    days = properties["days"]["anyOf"][0]["pattern"]
    for text in ("mon", "mon-fri", "sat,sun", "sat, sun-tue"):
        assert re.search(days, text)
    assert not re.search(days, "monday")
    for key in ("from", "to"):
        assert re.search(properties[key]["pattern"], properties[key]["default"])
        assert not re.search(properties[key]["pattern"], "24:01")
    assert json_schema()["$defs"]["When"]["properties"]["hours"] == {
        "$ref": "#/$defs/Hours",
        "description": "When it is asked.",
    }
