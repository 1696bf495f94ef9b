"""Settings that do not exist yet are not settings that exist."""

from wsproxy.config.absent import ABSENT_KEYS, ABSENT_VALUES
from wsproxy.config.translate import valid_keys


def test_no_setting_is_both_there_and_absent() -> None:
    there = {
        f"{section}.{key}".removeprefix(".")
        for section, keys in valid_keys().items()
        for key in keys
    }
    assert there & ABSENT_KEYS == set()
    assert {path for path, _ in ABSENT_VALUES} <= there


def test_every_absent_setting_stands_in_a_section_that_is_there() -> None:
    assert {key.rpartition(".")[0] for key in ABSENT_KEYS} <= set(valid_keys())
