"""Messages and a stream without an end in sight, in the size that a test can afford."""

from __future__ import annotations

from .endless import (
    FRAGMENT_BYTES,
    MAX_GROWTH_BYTES,
    TEXT,
    hash_of_stream,
    measure_all,
    records_of,
)
from .inspected import InspectingProxy

MESSAGES = 20_000
STREAM_BYTES = 64 * 1024 * 1024


def test_memory_stays_flat_and_every_message_is_recorded(inspecting: InspectingProxy) -> None:
    messages, stream = measure_all(inspecting, messages=MESSAGES, size=STREAM_BYTES)
    inspecting.stop()
    assert messages.growth_bytes < MAX_GROWTH_BYTES, str(messages)
    assert stream.growth_bytes < MAX_GROWTH_BYTES, str(stream)
    found = records_of(inspecting, messages.session)
    for direction in ("client", "upstream"):
        assert len(found[direction]) == MESSAGES // 2
        assert {record["text"] for record in found[direction]} == {TEXT.decode()}
    (closing,) = found["close"]
    assert (closing["messages_up"], closing["messages_down"]) == (MESSAGES // 2, MESSAGES // 2)
    assert (closing["code"], closing["clean"]) == (1000, True)
    found = records_of(inspecting, stream.session)
    half = STREAM_BYTES // 2
    for direction in ("client", "upstream"):
        (message,) = found[direction]
        assert (message["size"], message["wire"], message["truncated"]) == (half, half, True)
        assert message["fragments"] == half // FRAGMENT_BYTES + 1
        assert message["sha256"] == hash_of_stream(half // FRAGMENT_BYTES)
