"""Durations, sizes and rates as people write them."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.config.units import (
    VOLUME_PATTERN,
    Rate,
    Volume,
    format_duration,
    format_rate,
    format_size,
    format_volume,
    parse_duration,
    parse_rate,
    parse_size,
    parse_volume,
)

NUMBERS = st.integers(0, 999_999_999)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("0s", 0.0),
        ("30s", 30.0),
        ("15m", 900.0),
        ("1h", 3600.0),
        ("24h", 86400.0),
        ("7d", 604800.0),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "30", "s", "1.5s", "-1s", "+1s", "1 s", " 1s", "1s ", "1S", "1w", "1h30m", "1s\n"],
)
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_duration(text)
    assert str(caught.value) == "expected a duration such as 250ms, 30s, 15m, 1h or 7d"


@pytest.mark.parametrize(
    ("text", "size"),
    [("0B", 0), ("512B", 512), ("64KiB", 65536), ("16MiB", 16777216), ("1GiB", 1073741824)],
)
def test_a_size_is_a_number_and_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "64", "64kB", "64KB", "64K", "64kib", "1.5MiB", "-1B", "1 KiB", "1KiB\n", "1s"]
)
def test_anything_else_is_no_size(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_size(text)
    assert str(caught.value) == "expected a size such as 512B, 64KiB, 16MiB or 1GiB"


@pytest.mark.parametrize(
    ("text", "rate", "per_second"),
    [
        ("100/s", Rate(100, 1), 100.0),
        ("30/m", Rate(30, 60), 0.5),
        ("900/h", Rate(900, 3600), 0.25),
        ("999999999/s", Rate(999_999_999, 1), 999_999_999.0),
    ],
)
def test_a_rate_is_a_number_and_a_time(text: str, rate: Rate, per_second: float) -> None:
    assert parse_rate(text) == rate
    assert (rate.per_second, format_rate(rate)) == (per_second, text)


@pytest.mark.parametrize(
    "text",
    ["", "100", "/s", "0/s", "01/s", "1.5/s", "-1/s", "1 /s", "1/ s", "1/S", "1/d", "1/ms"]
    + ["1/s\n", "1s", "1000000000/s", "\u0663/s", "10MiB/s"],
)
def test_anything_else_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_rate(text)
    assert str(caught.value) == "expected a rate such as 100/s, 10/m or 500/h"


@given(NUMBERS.filter(bool), st.sampled_from(["s", "m", "h"]))
def test_a_rate_written_out_reads_back_the_same(number: int, unit: str) -> None:
    rate = parse_rate(f"{number}/{unit}")
    assert parse_rate(format_rate(rate)) == rate


@given(NUMBERS, st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_a_duration_written_out_reads_back_the_same(number: int, unit: str) -> None:
    seconds = parse_duration(f"{number}{unit}")
    assert parse_duration(format_duration(seconds)) == seconds


@given(NUMBERS, st.sampled_from(["B", "KiB", "MiB", "GiB"]))
def test_a_size_written_out_reads_back_the_same(number: int, unit: str) -> None:
    size = parse_size(f"{number}{unit}")
    assert parse_size(format_size(size)) == size


def test_the_largest_fitting_unit_is_written() -> None:
    written = [format_duration(seconds) for seconds in (0, 0.25, 90, 3600, 86400)]
    assert written == ["0ms", "250ms", "90s", "1h", "1d"]
    assert [format_size(size) for size in (0, 1, 65536, 1024**3)] == ["0B", "1B", "64KiB", "1GiB"]


@pytest.mark.parametrize("text", ["1234567890s", "\u0663s", "64KiB"])
def test_neither_endless_nor_foreign_digits_nor_sizes_are_durations(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


@given(st.text(max_size=12))
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    for parse in (parse_duration, parse_size):
        try:
            amount = parse(text)
        except ValueError:
            continue
        assert amount >= 0
    with contextlib.suppress(ValueError):
        assert parse_rate(text).count > 0


@pytest.mark.parametrize(
    ("text", "volume"),
    [
        ("10MiB/s", Volume(10 * 1024**2, 1)),
        ("1B/m", Volume(1, 60)),
        ("10GiB/24h", Volume(10 * 1024**3, 86400)),
        ("1GiB/d", Volume(1024**3, 86400)),
        ("64KiB/250ms", Volume(65536, 0.25)),
    ],
)
def test_a_volume_is_a_size_and_a_time(text: str, volume: Volume) -> None:
    assert parse_volume(text) == volume
    assert re.fullmatch(VOLUME_PATTERN, text)
    assert parse_volume(format_volume(volume)) == volume


@pytest.mark.parametrize("text", ["", "10MiB", "10MiB/", "/s", "0B/s", "1B/0s", "100/s", "1KiB/s/s", "1KiB /s", "1KiB/1"])  # fmt: skip
def test_anything_else_is_no_volume(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_volume(text)
    assert str(caught.value) == "expected bytes in a time such as 10MiB/s or 10GiB/24h"


def test_a_volume_is_written_as_short_as_it_can_be() -> None:
    shown = [format_volume(parse_volume(text)) for text in ("10MiB/1s", "1024KiB/60s", "1GiB/12h")]
    assert shown == ["10MiB/s", "1MiB/m", "1GiB/12h"]
    assert parse_volume("10GiB/10s").per_second == 1024**3
