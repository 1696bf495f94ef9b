"""What reading WebSocket messages costs by itself, without sockets: `python benchmarks/tap.py`.

Long messages as the tap gets them: pieces of 64 KiB, the client's masked, the upstream's
not.  Short ones, alone in their reads, on the lane that they take.  Figures are the best of
several rounds, since whatever else the machine does can only make them worse.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from wsproxy.model import Side
from wsproxy.observe.conversation import Conversation, Opening
from wsproxy.observe.lines import Stamps
from wsproxy.observe.sinks import LineSink, open_destination
from wsproxy.protocol.frames import encode_frame
from wsproxy.protocol.messages import MessageReader

KEY = b"\x37\xfa\x21\x3d"
PIECE_BYTES = 64 * 1024
BATCH = 32
"""Messages that share a moment."""
ROUNDS = 15


def best_s(work: Callable[[], None]) -> float:
    """Seconds of the quickest round."""
    least = float("inf")
    for _ in range(ROUNDS):
        began_at = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - began_at)
    return least


def reader(*, masked: bool) -> MessageReader:
    """As `websocket: log` has it."""
    return MessageReader(masked=masked, max_message_bytes=16 << 20, keep_bytes=PIECE_BYTES)


def throughput(size: int, *, masked: bool, count: int = 512) -> float:
    """Seconds for `count` text messages of `size` octets."""
    stream = encode_frame(1, b"x" * size, key=KEY if masked else b"") * count
    pieces = [stream[at : at + PIECE_BYTES] for at in range(0, len(stream), PIECE_BYTES)]
    one = reader(masked=masked)

    def work() -> None:
        for piece in pieces:
            one.feed(piece)

    return best_s(work)


def fail(data: bytes, _now: float) -> None:
    """For what should have taken the lane."""
    raise AssertionError(data)


def single(*, masked: bool, recorded: bool, batches: int = 256) -> float:
    """Seconds for one message of 64 octets that comes in a read of its own."""
    frame = encode_frame(1, b"x" * 64, key=KEY if masked else b"")
    opening = Opening(
        "5f2c", "192.0.2.7:5", None, "chat.example", 80, "ws://chat.example/", "r", "log"
    )

    def work() -> None:
        sink = LineSink(open_destination("none"), max_waiting_bytes=1 << 30)
        put = sink.put_nowait if recorded else None
        talk = Conversation(opening, put, stamps=Stamps(time.time), began_at=0.0)
        side = Side.CLIENT if masked else Side.UPSTREAM
        lane = talk.lane(side, reader(masked=masked), fail)
        assert lane is not None
        see = lane.see
        for moment in range(batches):
            for _ in range(BATCH):
                see(frame, moment)

    return best_s(work) / (batches * BATCH)


def main() -> None:
    """Prints the figures."""
    size, count = 16 * 1024, 512
    up, down = (throughput(size, masked=masked, count=count) for masked in (True, False))
    moved = size * count / 1e9
    print("16 KiB text messages, read and checked:")
    print(f"  from the client    {moved / up:6.2f} GB/s")
    print(f"  from the upstream  {moved / down:6.2f} GB/s")
    print(f"  there and back     {2 * moved / (up + down):6.2f} GB/s")
    print("64-octet text messages, one a read:")
    for name, masked in (("from the client   ", True), ("from the upstream ", False)):
        counted_us = single(masked=masked, recorded=False) * 1e6
        recorded_us = single(masked=masked, recorded=True) * 1e6
        print(f"  {name} {counted_us:5.2f} µs counted, {recorded_us:5.2f} µs recorded")


if __name__ == "__main__":
    main()
