"""Compares what came of a talk with what may; every difference is one sentence."""

from __future__ import annotations

from typing import Any

from tests.hostile.talk import CLIENT, Frame, Talk, frames
from tests.hostile.talking import Heard

__all__ = ["judge_record", "judge_talk"]

_CLOSE = 8
_FIN = 0x80


def judge_talk(heard: Heard) -> list[str]:
    """What is wrong with what the two peers got."""
    problems = ["hang"] if heard.hung else []
    if not heard.switched:
        return [*problems, "no 101"]
    talk = heard.talk
    if not heard.way.enforces:
        return problems + _judge_verbatim(heard)
    if talk.enforced is not None:
        return problems + _judge_refused(heard)
    return problems + _judge_judged(heard)


def _judge_verbatim(heard: Heard) -> list[str]:
    talk, got = heard.talk, heard.at_listener
    if talk.end == "rst":
        return [] if talk.sent.startswith(got) else [f"not what was sent: {got[-80:]!r}"]
    if got != talk.sent:
        return [f"{len(talk.sent)} octets were sent, got {len(got)}: {got[-80:]!r}"]
    return [] if heard.listener_ended == "eof" else [f"end: {heard.listener_ended}"]


def _judge_refused(heard: Heard) -> list[str]:
    """Only what is good, and a Close to both; or no Close where a frame has passed in part."""
    talk, got = heard.talk, heard.at_listener
    problems = []
    if heard.talker_ended != "eof":
        problems.append(f"the end at the side to blame: {heard.talker_ended}")
    if heard.listener_ended != "eof":
        problems.append(f"the end at the other side: {heard.listener_ended}")
    told, left = frames(heard.at_talker)
    if _may_be_in_part(talk, got):
        return problems
    if left or [(f.code, f.masked) for f in told] != [(talk.enforced, talk.side != CLIENT)]:
        problems.append(f"Close {talk.enforced} expected at the side to blame, got {told} {left!r}")
    whole, left = frames(got)
    last = whole[-1] if whole else None
    if left or last is None or last.opcode != _CLOSE or last.code != talk.enforced:
        return [*problems, f"Close {talk.enforced} expected, got {got[-80:]!r}"]
    if last.masked is not (talk.side == CLIENT):
        problems.append(f"masked is {last.masked} of the Close")
    return problems + _judge_passed(heard, whole[:-1], all_of=talk.good)


def _may_be_in_part(talk: Talk, got: bytes) -> bool:
    """Whether `got` ends before the first wrong octet, within a frame or just in front of it."""
    at = len(talk.bad) if talk.at is None else talk.at
    limit = len(talk.good) + at
    return len(talk.good) < len(got) <= limit and talk.sent.startswith(got)


def _judge_judged(heard: Heard) -> list[str]:
    """Nothing is wrong with what it ends in, or with what it does not end in."""
    talk, got = heard.talk, heard.at_listener
    if not heard.listener_ended:
        return ["no end"]
    cut_short = talk.end == "rst"
    if talk.at is not None:  # `bad` is behind a Close, or nothing
        whole, left = frames(got)
        if left:
            return [f"half a frame: {left[:80]!r}"]
        return _judge_passed(heard, whole, all_of=b"" if cut_short else talk.good)
    if not talk.sent.startswith(got):
        return [f"not what was sent: {got[-80:]!r}"]
    if not cut_short and len(got) < len(talk.good):
        return [f"only {len(got)} of {len(talk.good)} good octets came"]
    return []


def _judge_passed(heard: Heard, passed: list[Frame], *, all_of: bytes) -> list[str]:
    """Frames unchanged and in order, where they are held at least those of whole messages."""
    good, left = frames(all_of)
    assert not left
    if heard.way.mode != "hold":
        problem = f"{good} should have passed, got {passed}"
        return [] if [f.raw for f in passed] == [f.raw for f in good] else [problem[:300]]
    problems = []
    for kind, expected, got in (
        ("control", _controls(good), _controls(passed)),
        ("data", _whole(_data(good), good), _data(passed)),
    ):
        if expected != got:
            problems.append(f"{kind}: {expected} should have passed, got {got}"[:300])
    return problems


def _controls(found: list[Frame]) -> list[bytes]:
    return [each.raw for each in found if each.opcode >= _CLOSE]


def _data(found: list[Frame]) -> list[bytes]:
    return [each.raw for each in found if each.opcode < _CLOSE]


def _whole(raw: list[bytes], good: list[Frame]) -> list[bytes]:
    """Without the fragments of a message that has no end; a Close lets them pass."""
    if good and good[-1].opcode == _CLOSE:
        return raw
    while raw and not raw[-1][0] & _FIN:
        raw = raw[:-1]
    return raw


def judge_record(
    heard: Heard, access: list[dict[str, Any]], captured: list[dict[str, Any]]
) -> list[str]:
    """What is wrong with the records of one talk.

    Args:
        heard: it.
        access: access records of its client.
        captured: records of its session.
    """
    talk, way = heard.talk, heard.way
    if [record["status"] for record in access] != [101 if way.form == "absolute" else 200]:
        return [f"access records: {access}"]
    (record,) = access
    said = record.get("websocket")
    if way.mode == "off":
        return ["it was looked into"] if said is not None or captured else []
    if said is None:
        return ["the access record has no websocket"]
    code = talk.trouble(enforces=way.enforces)
    if talk.end == "rst" or (way.enforces and _may_be_in_part(talk, heard.at_listener)):
        closes = {code or 1006, talk.said, 1006}
    else:
        closes = {code if way.enforces and code else talk.said}
    problems = _judge_captured(talk, captured, code, closes)
    if (said["trouble"] is None) is not (code is None) and talk.end != "rst":
        problems.append(f"trouble {said['trouble']!r} in the access record")
    if said["code"] not in closes:
        problems.append(f"code {said['code']} in the access record, expected {closes}")
    if way.enforces and code and record["reason"] != "protocol":
        problems.append(f"reason {record['reason']}")
    return problems


def _judge_captured(
    talk: Talk, captured: list[dict[str, Any]], code: int | None, closes: set[int]
) -> list[str]:
    events = [record["event"] for record in captured]
    if events.count("open") != 1 or events.count("close") != 1:
        return [f"captured events {events}"]
    troubles = [(r["direction"], r["code"]) for r in captured if r["event"] == "trouble"]
    problems = []
    if troubles != ([(talk.side, code)] if code else []):
        problems.append(f"trouble expected {code}, captured {troubles}")
    if captured[-1]["event"] != "close" or captured[-1]["code"] not in closes:
        problems.append(f"the last record is {captured[-1]}, expected code {closes}")
    return problems
