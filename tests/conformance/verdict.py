"""One run of Autobahn's case files, and what it said of each case."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tests.support.proxy_process import PROJECT_ROOT

__all__ = ["Verdict", "compare", "count", "run_cases"]


class Verdict(NamedTuple):
    """What a case came to; two runs agree when all of it is the same."""

    behavior: str
    """How the exchange of messages was judged, in Autobahn's words."""
    behavior_close: str
    """How the closing handshake was judged."""
    close_code: int | None
    """The code in the origin's Close frame."""
    was_clean: bool
    """A Close in both directions, and then the origin's end of the connection."""
    received: int
    """How many messages, pings and pongs came back, where the case keeps them."""

    def __str__(self) -> str:
        clean = "clean" if self.was_clean else "not clean"
        return (
            f"{self.behavior}, close {self.behavior_close} ({self.close_code}, {clean}),"
            f" {self.received} received"
        )


def run_cases(port: int, cases: Sequence[str], *, at_a_time: int) -> dict[str, Verdict]:
    """Plays cases against the server on a port of loopback.

    Args:
        port: where Autobahn connects to.
        cases: names or patterns such as ``6.*``; none for all.
        at_a_time: cases played at once.

    Returns:
        The verdict of each case, in Autobahn's order.

    Raises:
        subprocess.CalledProcessError: Autobahn itself failed; its traceback is on stderr.
    """
    played = subprocess.run(
        [sys.executable, "-m", "tests.conformance.play", str(port), str(at_a_time), *cases],
        cwd=PROJECT_ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    return {case: Verdict(*fields) for case, fields in json.loads(played.stdout).items()}


def compare(
    expected: Mapping[str, Verdict], found: Mapping[str, Verdict]
) -> list[tuple[str, Verdict | None, Verdict | None]]:
    """The cases whose verdicts differ, or that only one of the two runs has."""
    names = dict.fromkeys([*expected, *found])
    return [
        (name, expected.get(name), found.get(name))
        for name in names
        if expected.get(name) != found.get(name)
    ]


def count(verdicts: Mapping[str, Verdict]) -> Counter[tuple[str, str]]:
    """How many cases had which verdicts, of the messages and of the close."""
    return Counter((verdict.behavior, verdict.behavior_close) for verdict in verdicts.values())
