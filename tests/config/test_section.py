"""What every section does, and how a default is written."""

from typing import Any

import pytest
from pydantic import ValidationError

from wsproxy.config.fields import Duration, Size
from wsproxy.config.section import Section, duration, size


class Example(Section):
    """A section."""

    pause: Duration = duration("90s", "For breath.")
    payload: Size = size("64KiB", "How much.")


def test_defaults_are_numbers_here_and_text_in_the_json_schema() -> None:
    example = Example()
    assert (example.pause, example.payload) == (90.0, 65536)
    properties: dict[str, Any] = Example.model_json_schema()["properties"]
    assert {
        name: (value["default"], value["description"]) for name, value in properties.items()
    } == {
        "pause": ("90s", "For breath."),
        "payload": ("64KiB", "How much."),
    }


def test_a_section_refuses_other_keys_and_later_changes() -> None:
    with pytest.raises(ValidationError):
        Example.model_validate({"pauses": "1s"})
    with pytest.raises(ValidationError):
        Example().pause = 1.0  # type: ignore[misc]
