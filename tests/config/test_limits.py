"""Limits, as they are written."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from wsproxy.config.limits import Limits, RuleLimits
from wsproxy.config.units import Rate, Volume


def test_limits_are_off_unless_they_are_given() -> None:
    given = Limits().model_dump(exclude_none=True)
    assert given == {"connections": 20_000}
    assert RuleLimits().model_dump(exclude_none=True) == {}


def test_limits_are_read_and_written_the_same() -> None:
    written = {
        "bandwidth_per_connection": "10MiB/s",
        "bandwidth_per_user": "1MiB/m",
        "messages_per_user": "100/s",
        "bytes_per_user": "10GiB/d",
    }
    limits = Limits.model_validate(written)
    assert limits.bandwidth_per_connection == Volume(10 * 1024**2, 1)
    assert limits.messages_per_user == Rate(100, 1)
    assert limits.bytes_per_user == Volume(10 * 1024**3, 86400)
    assert limits.model_dump(exclude_none=True) == {"connections": 20_000, **written}
    assert Limits.model_validate(dict(limits)) == limits
    assert RuleLimits.model_validate({"bandwidth": "1KiB/s"}).bandwidth == Volume(1024, 1)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("1023B/s", "expected at least 1KiB/s"),
        ("1MiB/h", "expected at least 1KiB/s"),
        ("fast", "expected bytes in a time such as 10MiB/s or 10GiB/24h"),
        (10, "expected bytes in a time such as 10MiB/s or 10GiB/24h"),
        (True, "expected bytes in a time such as 10MiB/s or 10GiB/24h"),
    ],
)
def test_a_bandwidth_that_helps_nobody_is_refused(value: object, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        RuleLimits.model_validate({"bandwidth": value})


def test_a_quota_may_be_as_small_as_one_likes() -> None:
    assert Limits.model_validate({"bytes_per_user": "1B/30d"}).bytes_per_user == Volume(1, 2592000)
