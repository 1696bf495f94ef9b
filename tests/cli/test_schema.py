"""``wsproxy schema``."""

import json

import pytest

from wsproxy.cli import main
from wsproxy.config.schema import json_schema


def test_schema_prints_the_json_schema_of_the_configuration(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()
