"""What one case showed, and the exception for what must never be."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

Fields = tuple[tuple[bytes, bytes], ...]

__all__ = ["VIA", "Finding", "Tally", "check_crossing"]

VIA = b"wsproxy-differential"


class Finding(Exception):
    """Something left the proxy that must not, or an undocumented exception came out of it."""


@dataclass(slots=True)
class Tally:
    """Counts over many cases.

    Attributes:
        outcomes: how the messages ended: ``forwarded``, ``refused 400`` and so on.
        findings: a sentence and the octets of each finding.
    """

    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


def check_crossing(before: Fields, after: Fields) -> None:
    """Compares a field section as it came with what went on, names of the latter in lower case.

    Raises:
        Finding: an ambiguously framed message was accepted, or a field crossed
            that its own `Connection` names.
    """
    received = [(name.lower(), value) for name, value in before]
    framing = [name for name, _ in received if name in (b"content-length", b"transfer-encoding")]
    if len(framing) > 1:
        raise Finding(f"a message with {framing!r} was accepted")
    nominated = {
        option.strip().lower()
        for name, value in received
        if name == b"connection"
        for option in value.split(b",")
    }
    crossed = {name for name, _ in after if name.startswith(b"x-")} & nominated
    if crossed:
        raise Finding(f"{crossed!r} crossed, though Connection names it")
