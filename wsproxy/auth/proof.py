"""What a request brings to prove who is asking, and what a method may answer beside a name."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Proof"]


@dataclass(slots=True)
class Proof:
    """The credentials of one request.

    Attributes:
        credentials: the field's value behind the scheme.
        method: of the request.
        target: its request-target, as sent.
        now: seconds, monotonic.
        legs: what this client connection remembers between the legs of one exchange, for
            the method to use as it likes; emptied by any request that does not go on with it.
    """

    credentials: bytes = field(repr=False)
    method: str = "CONNECT"
    target: bytes = b""
    now: float = 0.0
    legs: dict[str, object] = field(default_factory=dict)
