"""Third-party code, and what happens when it fails."""

from __future__ import annotations

import pytest

from wsproxy.model import Side
from wsproxy.policy.inspectors import MAX_FAULTS, MessageAsk, TimedInspector

ASK = MessageAsk(Side.CLIENT, 1, 5, b"hello", None, None, 0.0)


class Clock:
    """Shows what it is set to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Odd:
    """Cannot be told true from false."""

    def __bool__(self) -> bool:
        raise RuntimeError("odd")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (True, True),
        (False, False),
        ("card", "card"),
        ("", ""),
        (None, False),
        (1, True),
        ([], False),
    ],
)
def test_what_an_inspector_says(answer: object, said: bool | str) -> None:
    inspector = TimedInspector(lambda ask: answer, clock=Clock(), budget_s=0.05)
    assert inspector(ASK) == said and type(inspector(ASK)) is type(said)
    assert (inspector.faults, inspector.is_off, inspector.last_fault) == (0, False, None)


def test_an_inspector_that_raises_is_asked_no_more_after_some_time() -> None:
    asked = []

    def inspect(ask: MessageAsk) -> bool:
        asked.append(ask)
        raise KeyError("the payload of somebody")

    inspector = TimedInspector(inspect, clock=Clock(), budget_s=0.05)
    assert [inspector(ASK) for _ in range(5)] == [None] * 5
    assert len(asked) == MAX_FAULTS
    assert (inspector.faults, inspector.is_off) == (MAX_FAULTS, True)
    assert inspector.last_fault == "KeyError"


def test_an_answer_that_cannot_be_read_is_a_fault() -> None:
    inspector = TimedInspector(lambda ask: Odd(), clock=Clock(), budget_s=0.05)
    assert inspector(ASK) is None
    assert (inspector.faults, inspector.last_fault) == (1, "RuntimeError")


def test_a_late_answer_counts_and_is_a_fault() -> None:
    clock = Clock()

    def inspect(ask: MessageAsk) -> bool:
        clock.now += 0.06
        return True

    inspector = TimedInspector(inspect, clock=clock, budget_s=0.05)
    assert [inspector(ASK) for _ in range(4)] == [True, True, True, None]
    assert (inspector.faults, inspector.last_fault) == (3, "late")


def test_an_answer_in_time_takes_no_fault_back() -> None:
    clock = Clock()
    durations = iter([0.05, 0.06, 0.0, 0.06, 0.0, 0.06])

    def inspect(ask: MessageAsk) -> bool:
        clock.now += next(durations)
        return True

    inspector = TimedInspector(inspect, clock=clock, budget_s=0.0501)
    assert [inspector(ASK) for _ in range(7)] == [True] * 6 + [None]


def test_stopping_the_process_is_no_fault() -> None:
    def inspect(ask: MessageAsk) -> bool:
        raise KeyboardInterrupt

    inspector = TimedInspector(inspect, clock=Clock(), budget_s=0.05)
    with pytest.raises(KeyboardInterrupt):
        inspector(ASK)
