"""What a look-up found, and how long it is remembered.

Time is the monotonic clock's: a wall clock that jumps makes no answer older or younger.
What is remembered is what was said of a name, never that its addresses may be dialled: they
are vetted for every request anew.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from wsproxy.model import Address

__all__ = ["MAX_ADDRESSES", "Answer", "AnswerCache"]

MAX_ADDRESSES: Final = 32
"""Of one name; who has more does not mean to be tried at all of them."""

_MAX_NAMES: Final = 10_000
"""Some 5 MB."""
_MIN_S: Final = 1.0
"""What wants to be asked for every time is asked for once a second."""
_MAX_S: Final = 60.0 * 60.0
_MAX_NEGATIVE_S: Final = 60.0
"""Of a name that does not exist: somebody may be about to make it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of a name.

    Attributes:
        addresses: in the order in which they are to be tried; none: why not is below.
        ttl_s: how long that holds, in seconds; None: it is not to be remembered.
        rcode: DNS's word for the failure (RFC 9499 §3), if there was one.
        why: the failure, in a few words.
        late: nobody answered in time.
    """

    addresses: tuple[Address, ...] = ()
    ttl_s: float | None = None
    rcode: str = ""
    why: str = ""
    late: bool = False


class AnswerCache:
    """The answers about the names that were asked for last.

    Args:
        max_names: how many.
    """

    def __init__(self, max_names: int = _MAX_NAMES) -> None:
        self._max_names = max_names
        self._kept: OrderedDict[str, tuple[float, Answer]] = OrderedDict()

    def __len__(self) -> int:
        """Number of names that are remembered."""
        return len(self._kept)

    def get(self, name: str, now: float) -> Answer | None:
        """What is still known of `name` at `now`, in monotonic seconds."""
        kept = self._kept.get(name)
        if kept is None:
            return None
        if kept[0] <= now:
            del self._kept[name]
            return None
        self._kept.move_to_end(name)
        return kept[1]

    def put(self, name: str, answer: Answer, now: float) -> None:
        """Remembers what was said of `name` at `now`, within bounds of time and number."""
        if answer.ttl_s is None:
            return
        longest_s = _MAX_S if answer.addresses else _MAX_NEGATIVE_S
        self._kept[name] = now + min(max(answer.ttl_s, _MIN_S), longest_s), answer
        self._kept.move_to_end(name)
        if len(self._kept) > self._max_names:
            self._kept.popitem(last=False)
