"""Messages out of octets: whatever the pieces, as two other implementations read them."""

from __future__ import annotations

import hashlib
import tracemalloc
import zlib
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.protocol import Protocol
from websockets.protocol import Side as Role
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.extensions import Extension
from wsproto.extensions import PerMessageDeflate as OracleDeflate
from wsproto.utilities import ProtocolError as OracleError

from tests.protocol.deflating import compressed, compressor
from wsproxy.protocol.deflate import Inflater
from wsproxy.protocol.frames import Opcode, encode_frame
from wsproxy.protocol.messages import Chunk, Event, Message, MessageReader, Trouble

KEY = b"\x11\x22\xf3\x84"
MIB = 1 << 20


def reader(
    *,
    masked: bool = True,
    inflater: Inflater | None = None,
    max_message_bytes: int = 16 * MIB,
    keep_bytes: int = 16 * MIB,
    chunks: bool = False,
    strict: bool = False,
    unknown: tuple[str, ...] = (),
) -> MessageReader:
    return MessageReader(
        masked=masked,
        inflater=inflater,
        max_message_bytes=max_message_bytes,
        keep_bytes=keep_bytes,
        chunks=chunks,
        strict=strict,
        unknown_extensions=unknown,
    )


def inflating(*, takeover: bool = True, **options: int | bool) -> MessageReader:
    return reader(inflater=Inflater(15, takeover=takeover), **options)  # type: ignore[arg-type]


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    return encode_frame(opcode, payload, fin=fin, rsv=rsv, key=KEY)


def read(one: MessageReader, pieces: Iterable[bytes]) -> list[Event]:
    return [event for piece in pieces for event in one.feed(piece)]


def octets(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


TEXT, CLOSE = frame(1, b"hello"), frame(8, b"\x03\xe8bye")

GOOD = [
    (TEXT, [Message(1, b"hello", 5, 5)]),
    (frame(2, b"\xff\x00"), [Message(2, b"\xff\x00", 2, 2)]),
    (frame(1), [Message(1, b"", 0, 0)]),
    (frame(1, "€".encode() * 50), [Message(1, "€".encode() * 50, 150, 150)]),
    (frame(2, bytes(70_000)), [Message(2, bytes(70_000), 70_000, 70_000)]),
    (
        TEXT + frame(2, b"x") + TEXT,
        [Message(1, b"hello", 5, 5), Message(2, b"x", 1, 1), Message(1, b"hello", 5, 5)],
    ),
    (
        frame(1, b"\xe2", fin=False) + frame(0, b"\x82", fin=False) + frame(0, b"\xac"),
        [Message(1, "€".encode(), 3, 3, 3)],
    ),
    (
        frame(1, b"a", fin=False) + frame(9, b"?") + frame(0) + frame(10),
        [Message(9, b"?", 1, 1), Message(1, b"a", 1, 1, 2), Message(10, b"", 0, 0)],
    ),
    (CLOSE, [Message(8, b"\x03\xe8bye", 5, 5)]),
    (frame(8), [Message(8, b"", 0, 0)]),
    (CLOSE + TEXT, [Message(8, b"\x03\xe8bye", 5, 5)]),
]


@pytest.mark.parametrize(("data", "messages"), GOOD)
def test_messages_whole_octet_by_octet_and_with_more_behind(
    data: bytes, messages: list[Event]
) -> None:
    assert reader().feed(data) == messages
    assert read(reader(), octets(data)) == messages
    one = reader()
    assert one.feed(data + TEXT[:3]) == messages
    if messages[-1][0] != Opcode.CLOSE:
        assert not one.at_boundary
        assert one.feed(TEXT[3:]) == [Message(1, b"hello", 5, 5)]
        assert one.at_boundary


BAD = [
    (encode_frame(1, b"x"), 1002, "unmasked"),
    (frame(3), 1002, "reserved"),
    (frame(11), 1002, "reserved"),
    (frame(1, rsv=4), 1002, "reserved bit"),
    (frame(1, rsv=2), 1002, "reserved bit"),
    (frame(9, rsv=1), 1002, "reserved bit"),
    (frame(9, bytes(126)), 1002, "control"),
    (frame(9, fin=False), 1002, "control"),
    (frame(0, b"x"), 1002, "continuation"),
    (frame(1, fin=False) + frame(1), 1002, "inside another"),
    (frame(8, b"\x03"), 1002, "half a code"),
    (frame(8, b"\x03\xed"), 1002, "may not be sent"),
    (frame(8, b"\x03\xe8\xff"), 1007, "UTF-8"),
    (frame(1, b"\xff"), 1007, "UTF-8"),
    (frame(1, b"\xe2\x82"), 1007, "UTF-8"),
    (frame(1, b"\xed\xa0\x80"), 1007, "UTF-8"),
    (frame(1, b"\xf4\x90", fin=False), 1007, "UTF-8"),
    (b"\x82\xfe\x00\x01" + KEY, 1002, "fewest"),
]


@pytest.mark.parametrize(("data", "code", "detail"), BAD)
def test_a_broken_rule_is_told_once_and_ends_the_reading(
    data: bytes, code: int, detail: str
) -> None:
    for pieces in ([data], octets(data), [data + TEXT], [TEXT + data]):
        one = reader()
        trouble = read(one, pieces)[-1]
        assert isinstance(trouble, Trouble)
        assert trouble.code == code
        assert detail in trouble.detail
        assert one.feed(TEXT) == []
        assert not one.at_boundary


def test_nothing_behind_a_close_is_read_whatever_call_it_comes_in() -> None:
    one = reader()
    assert read(one, [CLOSE, TEXT, frame(9), TEXT + TEXT]) == [Message(8, b"\x03\xe8bye", 5, 5)]
    assert one.at_boundary


def test_small_messages_in_a_row_end_where_another_kind_begins() -> None:
    hello = Message(1, b"hello", 5, 5)
    row = TEXT * 3 + frame(2, bytes(300)) + TEXT + frame(9) + TEXT
    expected = [hello] * 3 + [Message(2, bytes(300), 300, 300), hello, Message(9, b"", 0, 0), hello]
    assert reader().feed(row) == expected
    assert read(reader(), [TEXT[:3], TEXT[3:] + row]) == [hello, *expected]
    bad = reader().feed(TEXT * 2 + frame(1, b"\xff") + TEXT)
    assert bad == [hello, hello, Trouble(1007, "a text message that is not UTF-8")]


def test_an_unfinished_message_can_be_looked_at() -> None:
    one = reader(keep_bytes=2)
    assert one.unfinished is None
    one.feed(frame(1, b"abc", fin=False))
    assert one.unfinished == Message(1, b"ab", 3, 3)
    one.feed(frame(0, b"d"))
    assert one.unfinished is None


def test_the_upstreams_frames_are_not_masked() -> None:
    one = reader(masked=False)
    assert one.feed(encode_frame(1, b"hi")) == [Message(1, b"hi", 2, 2)]
    assert one.feed(TEXT) == [Trouble(1002, "a masked frame")]


def test_invalid_text_is_told_before_its_frame_ends() -> None:
    data = frame(1, b"\xf4\x90\x80\x80" + bytes(100))
    assert reader().feed(data[:7]) == []
    assert [type(event) for event in read(reader(), [data[:8]])] == [Trouble]


# ---------------------------------------------------------------- compression


def test_compressed_messages_share_a_context() -> None:
    context = compressor()
    data = [compressed(b"hello hello hello", context) for _ in range(2)]
    stream = b"".join(frame(1, each, rsv=4) for each in data)
    expected = [Message(1, b"hello hello hello", 17, len(each), 1, True) for each in data]
    assert len(data[1]) < len(data[0])
    assert inflating().feed(stream) == expected
    assert read(inflating(), octets(stream)) == expected
    assert [type(event) for event in inflating(takeover=False).feed(stream)] == [Message, Trouble]


def test_compressed_fragments_and_plain_messages_mix() -> None:
    data = compressed(b"x" * 1000, compressor())
    stream = frame(2, data[:3], fin=False, rsv=4) + frame(9) + frame(0, data[3:]) + TEXT
    whole = Message(2, b"x" * 1000, 1000, len(data), 2, True)
    assert inflating().feed(stream) == [Message(9, b"", 0, 0), whole, Message(1, b"hello", 5, 5)]


def test_the_reserved_bit_belongs_to_the_first_fragment() -> None:
    stream = frame(1, b"", fin=False, rsv=4) + frame(0, rsv=4)
    assert [type(event) for event in inflating().feed(stream)] == [Trouble]
    assert inflating().feed(frame(1, b"\xff\xff\xff", rsv=4))[0][0] == 1007


def test_a_bomb_is_given_up_and_what_needs_its_context_too() -> None:
    context = compressor()
    bomb = compressed(bytes(64 * MIB), context)
    stream = frame(2, bomb, rsv=4) + frame(2, compressed(b"y", context), rsv=4) + TEXT
    tracemalloc.start()
    events = inflating(max_message_bytes=MIB, keep_bytes=1000).feed(stream)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * MIB
    lost = f"decoded size over {MIB}"
    assert events == [
        Message(2, b"", len(bomb), len(bomb), 1, True, None, lost),
        Message(2, b"", events[1][2], events[1][3], 1, True, None, lost),  # type: ignore[misc,call-arg]
        Message(1, b"hello", 5, 5),
    ]
    alone = inflating(takeover=False, max_message_bytes=MIB, keep_bytes=1000)
    fresh = frame(2, compressed(b"y", compressor()), rsv=4)
    after = alone.feed(frame(2, bomb, rsv=4) + fresh)[1]
    assert isinstance(after, Message)
    assert after.payload == b"y"
    strict = inflating(max_message_bytes=MIB, strict=True)
    assert strict.feed(stream) == [Trouble(1009, f"a message over {MIB} octets")]


@pytest.mark.parametrize("strict", [False, True])
def test_what_is_wrong_before_a_bomb_is_told_and_behind_it_is_not(strict: bool) -> None:
    options = {"max_message_bytes": 4096, "strict": strict}
    before = frame(1, compressed(b"\xff" + b"a" * 5000, compressor()), rsv=4)
    behind = frame(1, compressed(b"a" * 4097 + b"\xff" * 9, compressor()) + b"\xff" * 9, rsv=4)
    for pieces in ([before], octets(before)):
        assert read(inflating(**options), pieces) == [
            Trouble(1007, "a text message that is not UTF-8")
        ]
    for pieces in ([behind], octets(behind)):
        event = read(inflating(**options), pieces)[-1]
        if strict:
            assert event == Trouble(1009, "a message over 4096 octets")
        else:
            assert isinstance(event, Message)
            assert event.undecodable == "decoded size over 4096"


def test_a_message_goes_on_behind_a_block_that_says_it_is_the_last() -> None:
    """RFC 7692 §7.2.3.4."""
    data = zlib.compress(b"one ", wbits=-15) + compressed(b"two", compressor())
    whole = Message(1, b"one two", 7, len(data), 1, True)
    for pieces in ([frame(1, data, rsv=4)], octets(frame(1, data, rsv=4))):
        assert read(inflating(), [*pieces, TEXT]) == [whole, Message(1, b"hello", 5, 5)]


def test_extensions_nobody_knows_make_messages_undecodable() -> None:
    one = reader(unknown=("x-a", "x-b"))
    reason = "unknown extension x-a, x-b"
    assert one.feed(frame(1, b"\xff", rsv=3)) == [Message(1, b"", 1, 1, 1, False, None, reason)]
    assert one.feed(frame(9, b"?", rsv=1)) == [Message(9, b"?", 1, 1)]


# ---------------------------------------------------------------- bounds


def test_a_long_message_is_cut_counted_and_hashed() -> None:
    payload = b"0123456789" * 10_000
    stream = frame(1, payload[:70_001], fin=False) + frame(0, payload[70_001:])
    expected = Message(
        1, payload[:100], 100_000, 100_000, 2, False, hashlib.sha256(payload).hexdigest()
    )
    assert reader(keep_bytes=100).feed(stream) == [expected]
    assert read(reader(keep_bytes=100), octets(stream)) == [expected]
    assert reader(keep_bytes=100, max_message_bytes=1000).feed(stream) == [expected]
    quiet = MessageReader(masked=True, max_message_bytes=MIB, keep_bytes=100, digest=False)
    assert quiet.feed(stream) == [expected._replace(sha256=None)]


def test_a_message_that_is_too_long_is_refused_by_its_header_when_strict() -> None:
    header = frame(2, bytes(1000))[:8]
    one = reader(max_message_bytes=999, strict=True)
    assert one.feed(header) == [Trouble(1009, "a message over 999 octets")]
    assert reader(max_message_bytes=1000, strict=True).feed(frame(2, bytes(1000))) != []
    parts = reader(max_message_bytes=999, strict=True)
    assert parts.feed(frame(2, bytes(500), fin=False)) == []
    assert parts.feed(frame(0, bytes(500))) == [Trouble(1009, "a message over 999 octets")]


def test_a_frame_of_two_gibibytes_takes_no_memory() -> None:
    size = 2 << 30
    one = reader(masked=False, keep_bytes=64 * 1024)
    assert one.feed(b"\x82\x7f" + size.to_bytes(8, "big")) == []
    slice_ = bytes(MIB)
    tracemalloc.start()
    for _ in range(64):
        assert one.feed(slice_) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * MIB


def test_the_stream_view_shows_a_message_while_it_passes() -> None:
    one = reader(chunks=True, keep_bytes=2)
    assert one.feed(frame(2, b"abcd", fin=False)) == [Chunk(2, 0, b"abcd", False)]
    last = frame(0, b"efg")
    assert one.feed(last[:-2]) == [Chunk(2, 4, b"e", False)]
    digest = hashlib.sha256(b"abcdefg").hexdigest()
    assert one.feed(last[-2:]) == [
        Chunk(2, 5, b"fg", True),
        Message(2, b"ab", 7, 7, 2, False, digest),
    ]
    assert one.feed(frame(2)) == [Chunk(2, 0, b"", True), Message(2, b"", 0, 0)]


# ---------------------------------------------------------------- properties


Spoken = tuple[int, bytes]

control = st.tuples(st.sampled_from([9, 10]), st.binary(max_size=125))
data_message = st.one_of(
    st.tuples(st.just(1), st.text(max_size=300).map(str.encode)),
    st.tuples(st.just(2), st.binary(max_size=5000)),
)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[Spoken], list[tuple[int, bytes, bool]]]:
    """What is said, and the frames it is said in: (opcode, payload, fin)."""
    spoken: list[Spoken] = []
    frames: list[tuple[int, bytes, bool]] = []
    for opcode, payload in draw(st.lists(data_message, max_size=4)):
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
        parts = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
        for number, part in enumerate(parts):
            frames.append((opcode if number == 0 else 0, part, number == len(parts) - 1))
            if draw(st.booleans()):
                said = draw(control)
                frames.append((*said, True))
                spoken.append(said)
        # A control frame behind the last part comes after the message.
        behind = len(frames) - 1 if frames[-1][0] in (9, 10) else len(frames)
        spoken.insert(len(spoken) - (len(frames) - behind), (opcode, payload))
    return spoken, frames


def chunked(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    return [*pieces, data[at:]]


sizes = st.lists(st.integers(1, 2000), max_size=12)


@given(conversations(), sizes)
def test_what_was_said_is_what_is_read(
    conversation: tuple[list[Spoken], list[tuple[int, bytes, bool]]], cuts: list[int]
) -> None:
    spoken, frames = conversation
    stream = b"".join(frame(op, payload, fin=fin) for op, payload, fin in frames)
    one = reader()
    events = read(one, chunked(stream, cuts))
    assert [(each.opcode, each.payload) for each in events if isinstance(each, Message)] == spoken
    assert len(events) == len(spoken)
    assert one.at_boundary


@settings(deadline=None)
@given(conversations(), sizes, st.booleans(), st.sampled_from([9, 12, 15]))
def test_websockets_reads_the_same_compressed(
    conversation: tuple[list[Spoken], list[tuple[int, bytes, bool]]],
    cuts: list[int],
    takeover: bool,
    bits: int,
) -> None:
    spoken, _frames = conversation
    data = [each for each in spoken if each[0] <= 2]
    context = compressor(bits)
    stream = b""
    for opcode, payload in data:
        context = context if takeover else compressor(bits)
        stream += frame(opcode, compressed(payload, context), rsv=4)
    oracle = Protocol(Role.SERVER, max_size=None)
    oracle.extensions = [PerMessageDeflate(not takeover, not takeover, bits, bits)]
    oracle.receive_data(stream)
    expected = [(int(each.opcode), bytes(each.data)) for each in oracle.events_received()]
    one = reader(inflater=Inflater(bits, takeover=takeover))
    events = read(one, chunked(stream, cuts))
    assert [(each.opcode, each.payload) for each in events if isinstance(each, Message)] == expected
    assert expected == data


def oracle_events(stream: bytes, *, deflate: bool) -> tuple[list[Spoken], bool]:
    """What wsproto makes of a client's octets, and whether it found fault with them."""
    extensions: list[Extension] = []
    if deflate:
        extension = OracleDeflate()
        extension.finalize("permessage-deflate")
        extensions.append(extension)
    server = Connection(ConnectionType.SERVER, extensions)
    said: list[Spoken] = []
    parts: list[bytes] = []
    try:
        server.receive_data(stream)
        for event in server.events():
            match event:
                case TextMessage() | BytesMessage():
                    part = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
                    parts.append(part)
                    if event.message_finished:
                        said.append((1 if isinstance(event, TextMessage) else 2, b"".join(parts)))
                        parts = []
                case Ping():
                    said.append((9, bytes(event.payload)))
                case Pong():
                    said.append((10, bytes(event.payload)))
                case CloseConnection():
                    return said, False
    except OracleError:
        return said, True
    return said, False


mutations = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=0, max_size=2)


@settings(deadline=None, max_examples=300)
@given(conversations(), mutations, sizes)
def test_wsproto_reads_the_same_and_finds_the_same_faults(
    conversation: tuple[list[Spoken], list[tuple[int, bytes, bool]]],
    faults: list[tuple[int, int]],
    cuts: list[int],
) -> None:
    _spoken, frames = conversation
    stream = bytearray(b"".join(frame(op, payload, fin=fin) for op, payload, fin in frames))
    for at, octet in faults:
        if stream:
            stream[at % len(stream)] = octet
    expected, faulty = oracle_events(bytes(stream), deflate=False)
    events = read(reader(), chunked(bytes(stream), cuts))
    said = [(e.opcode, e.payload) for e in events if isinstance(e, Message) and e.opcode != 8]
    trouble = bool(events) and isinstance(events[-1], Trouble)
    if faulty:
        assert trouble
    assert said[: len(expected)] == expected[: len(said)]
    if not trouble:
        assert said == expected


@settings(max_examples=300)
@given(st.binary(max_size=400), sizes, st.booleans())
def test_any_octets_in_any_pieces_give_the_same(
    stream: bytes,
    cuts: list[int],
    masked: bool,
) -> None:
    def fresh() -> MessageReader:
        return reader(masked=masked, inflater=Inflater(15, takeover=True), keep_bytes=50)

    whole = fresh().feed(stream)
    assert read(fresh(), chunked(stream, cuts)) == whole
    assert read(fresh(), octets(stream)) == whole
