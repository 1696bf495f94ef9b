"""From settings to plans: what is built, and where the blame goes when it cannot be."""

from __future__ import annotations

import stat
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from wsproxy import app_inspection
from wsproxy.app_inspection import NOTHING_CAPTURED, Captured, build_plans, redaction_key
from wsproxy.config.load import load
from wsproxy.errors import ConfigError
from wsproxy.model import Side
from wsproxy.policy.messages import MessageAsk
from wsproxy.proxy.plans import Plans


def plans(folder: Path, config: str, captured: Captured = NOTHING_CAPTURED) -> Plans:
    file = folder / "wsproxy.yaml"
    file.write_text(config)
    return build_plans(load(file), captured, clock=lambda: 0.0)


RULES = """
policy:
  default: allow
  rules:
    - {name: a, action: allow, websocket: off}
    - {name: b, action: allow}
    - {name: c, action: allow, websocket: enforce, messages: [set], extensions: strip}
inspection:
  message_rules:
    set:
      - {name: r, direction: client, larger_than: 1KiB, rate: 10/s, matches: card, action: close, mode: report}
      - {name: s, json: {$.a: 1}, action: drop}
"""


def test_every_rule_has_its_plan(tmp_path: Path) -> None:
    built = plans(tmp_path, RULES)
    assert built.of("a") is None
    default, plain, strict = built.of("default"), built.of("b"), built.of("c")
    assert default is not None
    assert plain is not None
    assert strict is not None
    assert (default.mode, plain.mode, plain.rules) == ("metadata", "metadata", None)
    assert (strict.mode, strict.extensions) == ("enforce", "strip")
    rules = strict.rules
    assert rules is not None
    assert rules.alters
    ask = MessageAsk(Side.CLIENT, 1, 9, b'{"a": 1}', None, None, 0.0)
    judgement = rules.judge(ask, rules.new_state())
    assert judgement.decisive is not None
    assert judgement.decisive.rule == "s"


def test_default_off_is_no_plan(tmp_path: Path) -> None:
    assert plans(tmp_path, "policy: {websocket: off}").of("default") is None


def test_what_is_recorded_and_how(tmp_path: Path) -> None:
    lines: list[bytes] = []
    config = f"""
inspection:
  max_message: 2MiB
  capture: {{directory: {tmp_path}, payload: 3KiB, view: stream}}
  redact: {{headers: [X-Key], query: [token], json: ["$.p"], patterns: ["s3cret"]}}
"""
    recording = plans(tmp_path, config, Captured(lines.append, b"k" * 32, lines.append)).recording
    assert (recording.max_message_bytes, recording.payload_bytes) == (2 << 20, 3 << 10)
    assert (recording.view, recording.put, recording.keep) == ("stream", lines.append, lines.append)
    redactor = recording.redactor
    assert redactor is not None
    assert redactor.headers([("x-key", "v"), ("y", "v")])[1] == ("y", "v")
    assert "v" not in redactor.headers([("x-key", "v")])[0][1]
    assert "abc" not in redactor.url("ws://h/?token=abc&x=1")
    assert "x=1" in redactor.url("ws://h/?token=abc&x=1")
    assert "s3cret" not in redactor.text('{"p": "q", "z": "s3cret"}')


@pytest.mark.parametrize(
    ("config", "where", "what"),
    [
        ("inspection: {redact: {patterns: ['(']}}", "inspection.redact", "("),
        ("inspection: {redact: {json: ['$.a[']}}", "inspection.redact", "$.a["),
        (
            "inspection: {message_rules: {set: [{name: r, matches: '(', action: close}]}}",
            "inspection.message_rules.set[0]",
            "rule 'r'",
        ),
        (
            "inspection: {message_rules: {set: [{name: r, inspector: dlp, action: close}]}}",
            "inspection.message_rules.set[0].inspector",
            "no installed package offers 'dlp'",
        ),
    ],
)
def test_what_cannot_be_used_is_placed(tmp_path: Path, config: str, where: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plans(tmp_path, config)
    assert caught.value.line == 1
    assert caught.value.key.startswith(where)
    assert what in caught.value.detail


def inspect(ask: MessageAsk) -> bool:
    """An inspector of a third party."""
    return b"bad" in ask.payload


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (f"{__name__}:inspect", None),
        (f"{__name__}:missing", "cannot be loaded"),
        ("no.such.module:x", "cannot be loaded"),
        (f"{__name__}:RULES", "cannot be called"),
    ],
)
def test_inspectors_come_from_entry_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, complaint: str | None
) -> None:
    entry = EntryPoint("dlp", value, app_inspection.INSPECTORS)
    monkeypatch.setattr(app_inspection, "entry_points", lambda *, group: [entry] if group else [])
    config = """
policy: {rules: [{name: a, action: allow, websocket: enforce, messages: [set]}]}
inspection: {message_rules: {set: [{name: r, inspector: dlp, action: close}]}}
"""
    if complaint is not None:
        with pytest.raises(ConfigError, match=complaint):
            plans(tmp_path, config)
        return
    plan = plans(tmp_path, config).of("a")
    assert plan is not None
    assert plan.rules is not None
    ask = MessageAsk(Side.CLIENT, 1, 3, b"bad", None, None, 0.0)
    decisive = plan.rules.judge(ask, plan.rules.new_state()).decisive
    assert decisive is not None
    assert decisive.action == "close"


def test_the_key_of_the_markers_outlives_a_restart(tmp_path: Path) -> None:
    key = redaction_key(tmp_path)
    assert len(key) == 32
    assert redaction_key(tmp_path) == key
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(OSError, match="No such file"):
        redaction_key(tmp_path / "missing")
