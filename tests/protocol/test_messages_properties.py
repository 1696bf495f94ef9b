"""Conversations of two other implementations, in both directions, read as they meant them.

`websockets` and `wsproto` speak here as well as listen: they compress, fragment and
mask with code of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.protocol import OPEN, Protocol
from websockets.protocol import Side as Role
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, Message, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate as OracleDeflate

from tests.protocol.deflating import compressed, compressor
from wsproxy.protocol.deflate import Inflater
from wsproxy.protocol.frames import encode_frame
from wsproxy.protocol.messages import Chunk, Event, MessageReader
from wsproxy.protocol.messages import Message as Read

Said = tuple[int, tuple[bytes, ...]]
"""Opcode, and the payload in its fragments; those of a text end between characters."""

parts_of_text = st.lists(st.text(max_size=200).map(str.encode), min_size=1, max_size=4)
parts_of_binary = st.lists(st.binary(max_size=3000), min_size=1, max_size=4)
data_messages = st.one_of(
    st.tuples(st.just(1), parts_of_text.map(tuple)),
    st.tuples(st.just(2), parts_of_binary.map(tuple)),
)
controls = st.lists(
    st.tuples(st.sampled_from([9, 10]), st.binary(max_size=125)), min_size=0, max_size=1
)
conversations = st.lists(st.tuples(data_messages, controls), max_size=5)
pieces_of = st.lists(st.integers(1, 700), max_size=12)

Conversation = list[tuple[Said, list[tuple[int, bytes]]]]


def pieces(stream: bytes, sizes: Sequence[int]) -> list[bytes]:
    """`stream` cut after `sizes`."""
    found, at = [], 0
    for size in sizes:
        found.append(stream[at : at + size])
        at += size
    return [*found, stream[at:]]


def reader(*, masked: bool, inflater: Inflater | None, chunks: bool = False) -> MessageReader:
    return MessageReader(
        masked=masked,
        inflater=inflater,
        max_message_bytes=1 << 20,
        keep_bytes=1 << 20,
        chunks=chunks,
    )


def understood(events: list[Event]) -> list[tuple[int, bytes, int]]:
    """Opcode, payload and fragments of what was read; anything else than messages fails."""
    return [(e.opcode, e.payload, e.fragments) for e in events if _is_message(e)]


def _is_message(event: Event) -> bool:
    assert isinstance(event, Read | Chunk), event
    return isinstance(event, Read)


def meant(conversation: Conversation) -> list[tuple[int, bytes, int]]:
    """What `understood` must say: control frames come before the message they stand in.

    With one fragment there is no inside, and they follow it.
    """
    found: list[tuple[int, bytes, int]] = []
    for (opcode, parts), between in conversation:
        said = [(opcode, b"".join(parts), len(parts))]
        inside = [(control, payload, 1) for control, payload in between]
        found += inside + said if len(parts) > 1 else said + inside
    return found


def spoken_by_websockets(
    role: Role, conversation: Conversation, bits: int, takeover: bool
) -> bytes:
    """The octets of an endpoint that compresses everything, or nothing when `bits` is 0."""
    speaker = Protocol(role, state=OPEN)
    if bits:
        speaker.extensions = [PerMessageDeflate(not takeover, not takeover, 15, bits)]
    for (opcode, parts), between in conversation:
        for number, part in enumerate(parts):
            fin = number == len(parts) - 1
            if number:
                speaker.send_continuation(part, fin)
            elif opcode == 1:
                speaker.send_text(part, fin)
            else:
                speaker.send_binary(part, fin)
            if number == 0:
                for control, payload in between:
                    (speaker.send_ping if control == 9 else speaker.send_pong)(payload)
    return b"".join(speaker.data_to_send())


@settings(deadline=None)
@given(
    conversations,
    pieces_of,
    st.sampled_from([0, *range(9, 16)]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_what_websockets_says_is_understood(
    conversation: Conversation,
    sizes: list[int],
    bits: int,
    takeover: bool,
    from_client: bool,
    chunks: bool,
) -> None:
    role = Role.CLIENT if from_client else Role.SERVER
    stream = spoken_by_websockets(role, conversation, bits, takeover)
    inflater = Inflater(bits, takeover=takeover) if bits else None
    one = reader(masked=from_client, inflater=inflater, chunks=chunks)
    events = [event for piece in pieces(stream, sizes) for event in one.feed(piece)]
    assert understood(events) == meant(conversation)
    assert one.at_boundary
    if chunks:
        shown = b"".join(event.data for event in events if isinstance(event, Chunk))
        assert shown == b"".join(b"".join(parts) for (_opcode, parts), _ in conversation)
        finals = [event for event in events if isinstance(event, Chunk) and event.final]
        assert len(finals) == len(conversation)


def spoken_by_wsproto(role: ConnectionType, conversation: Conversation, deflate: str) -> bytes:
    """The octets of an endpoint that has agreed on `deflate`, which may be nothing."""
    speaker = Connection(role, [agreed(role, deflate)] if deflate else [])
    stream = b""
    for (opcode, parts), between in conversation:
        for number, part in enumerate(parts):
            fin = number == len(parts) - 1
            event: Message[str] | Message[bytes] = (
                TextMessage(part.decode(), message_finished=fin)
                if opcode == 1
                else BytesMessage(part, message_finished=fin)
            )
            stream += speaker.send(event)
            if number == 0:
                for control, payload in between:
                    stream += speaker.send(Ping(payload) if control == 9 else Pong(payload))
    return stream


def agreed(role: ConnectionType, deflate: str) -> OracleDeflate:
    """The extension of `role` after a handshake that ended with `deflate`."""
    extension = OracleDeflate()
    if role is ConnectionType.CLIENT:
        extension.finalize(deflate)
    else:
        extension.accept(deflate)
    return extension


@settings(deadline=None)
@given(conversations, pieces_of, st.sampled_from([0, *range(9, 16)]), st.booleans(), st.booleans())
def test_what_wsproto_says_is_understood(
    conversation: Conversation, sizes: list[int], bits: int, takeover: bool, from_client: bool
) -> None:
    deflate = f"permessage-deflate; client_max_window_bits={bits}; server_max_window_bits={bits}"
    if not takeover:
        deflate += "; client_no_context_takeover; server_no_context_takeover"
    role = ConnectionType.CLIENT if from_client else ConnectionType.SERVER
    stream = spoken_by_wsproto(role, conversation, deflate if bits else "")
    inflater = Inflater(bits, takeover=takeover) if bits else None
    one = reader(masked=from_client, inflater=inflater)
    events = [event for piece in pieces(stream, sizes) for event in one.feed(piece)]
    assert understood(events) == meant(conversation)
    assert one.at_boundary


@settings(deadline=None)
@given(
    st.lists(st.binary(max_size=3000), max_size=4),
    st.integers(8, 15),
    st.booleans(),
    st.booleans(),
    st.lists(st.integers(0, 3000), max_size=3),
)
def test_websockets_hears_the_same_in_compressed_fragments(
    messages: list[bytes], bits: int, takeover: bool, from_client: bool, cuts: list[int]
) -> None:
    """Fragments that end inside of deflate blocks, which neither oracle sends."""
    key = b"\x37\xfa\x21\x3d" if from_client else b""
    sender_bits = max(bits, 9)  # zlib does not deflate with 8
    context, stream = compressor(sender_bits), b""
    for message in messages:
        context = context if takeover else compressor(sender_bits)
        data = compressed(message, context)
        ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
        for begin, end in zip([0, *ends], ends, strict=False):
            first, fin = begin == 0 and end == ends[0], end == len(data)
            opcode, rsv = (2, 4) if first else (0, 0)
            stream += encode_frame(opcode, data[begin:end], fin=fin, rsv=rsv, key=key)
    listener = Protocol(Role.SERVER if from_client else Role.CLIENT, state=OPEN, max_size=None)
    listener.extensions = [PerMessageDeflate(not takeover, not takeover, max(bits, 9), 15)]
    listener.receive_data(stream)
    heard: list[bytes] = []
    for frame in listener.events_received():
        heard = [*heard, b""] if frame.opcode == 2 else heard
        heard[-1] += bytes(frame.data)
    one = reader(masked=from_client, inflater=Inflater(bits, takeover=takeover))
    assert [payload for _opcode, payload, _ in understood(one.feed(stream))] == heard == messages
