"""Which pings of a peer have got no pong (RFC 6455 §5.5.2, §5.5.3)."""

from __future__ import annotations

__all__ = ["MAX_REMEMBERED", "Pings"]

MAX_REMEMBERED = 64
"""A pong finds its ping by the payload; of peers who never answer, older pings are only counted."""


class Pings:
    """The pings of one peer that are not answered yet; its length is how many."""

    __slots__ = ("_older", "_sent")

    def __init__(self) -> None:
        self._sent: list[tuple[bytes, float]] = []
        self._older = 0

    def __len__(self) -> int:
        return self._older + len(self._sent)

    def add(self, payload: bytes, now: float) -> None:
        """Notes a ping sent at `now`, in seconds."""
        if len(self._sent) == MAX_REMEMBERED:
            del self._sent[0]
            self._older += 1
        self._sent.append((payload, now))

    def answer(self, payload: bytes) -> float | None:
        """Notes a pong; when its ping was sent, None for a pong nobody asked for.

        "If an endpoint receives a Ping frame and has not yet sent Pong frame(s) in response
        to previous Ping frame(s), the endpoint MAY elect to send a Pong frame for only the
        most recently processed Ping frame": the older ones are answered by it too.
        """
        for index in reversed(range(len(self._sent))):
            mine, at = self._sent[index]
            if mine == payload:
                del self._sent[: index + 1]
                self._older = 0
                return at
        return None
