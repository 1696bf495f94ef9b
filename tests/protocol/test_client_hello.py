"""The ClientHello: OpenSSL's own, hand-built ones, in any records, any pieces, and spoiled."""

from __future__ import annotations

import ssl
import warnings
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsproxy.protocol.client_hello import (
    MAX_HELLO_BYTES,
    ClientHello,
    ClientHelloError,
    classify,
    parse_client_hello,
)

SUITES = b"\x13\x01\xc0\x2f"
UNREADABLE = "the server name cannot be read"


def vector(width: int, content: bytes) -> bytes:
    return len(content).to_bytes(width, "big") + content


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(2, content)


def sni(*names: bytes, kind: int = 0) -> bytes:
    entries = b"".join(bytes([kind]) + vector(2, name) for name in names)
    return extension(0, vector(2, entries))


def alpn(*names: bytes) -> bytes:
    return extension(16, vector(2, b"".join(vector(1, name) for name in names)))


def versions(*numbers: int) -> bytes:
    return extension(43, vector(1, b"".join(number.to_bytes(2, "big") for number in numbers)))


def ech(kind: int, content: bytes) -> bytes:
    return extension(0xFE0D, bytes([kind]) + content)


ECH_OUTER = ech(0, b"\x00\x01\x00\x01\x07" + vector(2, bytes(32)) + vector(2, bytes(144)))
ECH_INNER = ech(1, b"")
GREASE = 0x1A1A


def message(
    *extensions: bytes,
    session: bytes = vector(1, bytes(32)),
    suites: bytes = vector(2, SUITES),
    compression: bytes = vector(1, b"\0"),
    behind: bytes = b"",
) -> bytes:
    """A ClientHello as a handshake message; without extensions it is as old clients sent it."""
    body = b"\x03\x03" + bytes(range(32)) + session + suites + compression
    if extensions:
        body += vector(2, b"".join(extensions))
    return b"\x01" + vector(3, body + behind)


def records(octets: bytes, *sizes: int) -> bytes:
    """`octets` in records of these sizes, the last of which repeats; one record without any."""
    pieces, left = [], list(sizes or (1 << 14,))
    while octets:
        size = left.pop(0) if len(left) > 1 else left[0]
        pieces.append(b"\x16\x03\x01" + vector(2, octets[:size]))
        octets = octets[size:]
    return b"".join(pieces)


def payload(data: bytes) -> bytes:
    """The octets in the records of `data`."""
    octets = b""
    while data:
        size = 5 + int.from_bytes(data[3:5], "big")
        octets, data = octets + data[5:size], data[size:]
    return octets


@lru_cache
def spoken(
    name: str | None, offers: tuple[str, ...] = (), *, only: ssl.TLSVersion | None = None
) -> bytes:
    """What OpenSSL says as a client."""
    context = ssl.create_default_context()
    context.check_hostname = False
    if only is not None:
        context.minimum_version = context.maximum_version = only
    if offers:
        context.set_alpn_protocols(list(offers))
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
LONG_OFFER = tuple(f"protocol-{number:03}" for number in range(40))

REAL = [
    (spoken("Example.COM"), ClientHello("example.com", (), (0x304, 0x303), False)),
    (spoken(None), ClientHello(None, (), (0x304, 0x303), False)),
    (
        spoken("a.example", ("h2", "http/1.1")),
        ClientHello("a.example", ("h2", "http/1.1"), (0x304, 0x303), False),
    ),
    (spoken("a.example", only=TLS12), ClientHello("a.example", (), (0x303,), False)),
    (
        spoken(None, ("http/1.1",), only=TLS13),
        ClientHello(None, ("http/1.1",), (0x304,), False),
    ),
    (spoken("x.test", LONG_OFFER), ClientHello("x.test", LONG_OFFER, (0x304, 0x303), False)),
]
HAND_BUILT = [
    (message(), ClientHello(None, (), (0x303,), False)),
    (message(session=b"\0"), ClientHello(None, (), (0x303,), False)),
    (message(b""), ClientHello(None, (), (0x303,), False)),
    (
        message(sni(b"A_b-1.Example."), alpn(b"h2", b"\xff\x00"), versions(0x304)),
        ClientHello("a_b-1.example", ("h2", "\xff\0"), (0x304,), False),
    ),
    (message(sni(b"127.0.0.1")), ClientHello("127.0.0.1", (), (0x303,), False)),
    (message(sni(b"a..")), ClientHello("a.", (), (0x303,), False)),
    (
        message(extension(0, vector(2, b"\x01\0\x02??" + b"\0\0\x03a.b" + b"\xff\0\0"))),
        ClientHello("a.b", (), (0x303,), False),
    ),
    # GREASE wherever RFC 8701 §3.1 lets a client put it, and what only resembles it.
    (
        message(
            extension(0x2A2A, b""),
            versions(0xFAFA, 0x304, GREASE, 0x0A1A, 0x1B1B, 0x303),
            extension(0xEAEA, b"\0"),
            alpn(b"\x5a\x5a", b"h2"),
            suites=vector(2, b"\x8a\x8a" + SUITES),
        ),
        ClientHello(None, ("ZZ", "h2"), (0x304, 0x0A1A, 0x1B1B, 0x303), False),
    ),
    (message(versions(GREASE)), ClientHello(None, (), (), False)),
    (message(ECH_OUTER, sni(b"front.test")), ClientHello("front.test", (), (0x303,), True)),
    (message(sni(b"in.test"), ECH_INNER), ClientHello("in.test", (), (0x303,), False)),
    # After HelloRetryRequest the key is empty (RFC 9849 §5).
    (message(ech(0, bytes(5) + b"\0\0\0\x01x")), ClientHello(None, (), (0x303,), True)),
    (message(extension(21, bytes(40_000))), ClientHello(None, (), (0x303,), False)),
]
HELLOS = [(payload(data), hello) for data, hello in REAL] + HAND_BUILT
SHORT = [(octets, hello) for octets, hello in HELLOS if len(octets) < 4000]
# Not from the octets: OpenSSL's are others in every run.
by_number = [f"hello-{number}" for number in range(len(HELLOS))]
hellos, short_hellos = st.sampled_from(HELLOS), st.sampled_from(SHORT)


def parse_or_none(data: bytes) -> ClientHello | None:
    """As it is parsed; None also when it is refused, for which there is one exception only."""
    try:
        return parse_client_hello(data)
    except ClientHelloError as error:
        assert len(error.args) == 1 and isinstance(error.args[0], str) and error.args[0]
        return None


def is_refused(data: bytes) -> bool:
    try:
        parse_client_hello(data)
    except ClientHelloError:
        return True
    return False


def refusal(data: bytes) -> str:
    with pytest.raises(ClientHelloError) as caught:
        parse_client_hello(data)
    return str(caught.value.args[0])


# ---------------------------------------------------------------- what is good


@pytest.mark.parametrize(("data", "hello"), REAL, ids=by_number[: len(REAL)])
def test_what_openssl_says_is_read(data: bytes, hello: ClientHello) -> None:
    assert parse_client_hello(data) == hello
    assert classify(data) == "tls"
    assert all(parse_client_hello(data[:size]) is None for size in range(len(data)))


@pytest.mark.parametrize(("octets", "hello"), HAND_BUILT, ids=by_number[len(REAL) :])
@pytest.mark.parametrize("behind", [b"", b"more", records(message(sni(b"b"))), b"\x15\xff"])
def test_what_is_built_by_hand_is_read_and_nothing_behind_it(
    octets: bytes, hello: ClientHello, behind: bytes
) -> None:
    assert parse_client_hello(records(octets) + behind) == hello
    in_same_record = octets + (behind or b"\x01\xff\xff\xff")
    assert parse_client_hello(records(in_same_record)) == hello


@pytest.mark.parametrize(("octets", "hello"), SHORT, ids=by_number[: len(SHORT)])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 14])
def test_every_prefix_asks_for_more(octets: bytes, hello: ClientHello, size: int) -> None:
    data = records(octets, size)
    step = 1 if len(data) < 2000 else 11  # which meets every octet of a record in turn
    assert all(parse_client_hello(data[:cut]) is None for cut in range(len(data) - 1, -1, -step))
    assert parse_client_hello(data) == hello


@settings(deadline=None)
@given(hellos, st.lists(st.integers(1, 1 << 14), max_size=9), st.integers(1, 400), st.data())
def test_records_of_any_size_change_nothing(
    built: tuple[bytes, ClientHello], sizes: list[int], last: int, data: st.DataObject
) -> None:
    octets, hello = built
    fragmented = records(octets, *sizes, last)
    assert parse_client_hello(fragmented) == hello
    cut = data.draw(st.integers(0, len(fragmented) - 1))
    assert parse_client_hello(fragmented[:cut]) is None


def test_the_largest_in_records_of_one_octet() -> None:
    room = MAX_HELLO_BYTES + 4 - len(message(extension(21, b"")))
    largest = message(extension(21, bytes(room - 10)), extension(22, b"123456"))
    assert len(largest) == MAX_HELLO_BYTES + 4
    data = records(largest, 1)
    assert len(data) == 6 * (MAX_HELLO_BYTES + 4)
    assert parse_client_hello(data) == ClientHello(None, (), (0x303,), False)
    assert parse_client_hello(data[:-1]) is None
    assert parse_client_hello(b"") is None


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"\x17", "the record is not of a TLS handshake"),
        (b"\x80\x2e\x01\x03\x01", "the record is not of a TLS handshake"),  # SSLv2
        (b"GET / HTTP/1.1\r\n", "the record is not of a TLS handshake"),
        (b"\x16\x02", "the record is not of a TLS handshake"),
        (b"\x16\xfe\xff", "the record is not of a TLS handshake"),  # DTLS
        (b"\x16\x03\x01\x41", "the record is empty or longer than 16384 octets"),
        (b"\x16\x03\x01\x40\x01", "the record is empty or longer than 16384 octets"),
        (b"\x16\x03\x01\0\0", "the record is empty or longer than 16384 octets"),
        (
            records(message()[:9]) + b"\x16\x03\x01\0\0",
            "the record is empty or longer than 16384 octets",
        ),
        (records(message()[:9]) + b"\x14", "the record is not of a TLS handshake"),
        (b"\x16\x03\x01\0\x50\x02", "the handshake message is not a ClientHello"),
        (b"\x16\x03\x01\0\x01\0", "the handshake message is not a ClientHello"),
        (b"\x16\x03\x01\0\x50\x01\x02", "the ClientHello is longer than 65536 octets"),
        (b"\x16\x03\x01\0\x50\x01\x01\x01", "the ClientHello is longer than 65536 octets"),
        (b"\x16\x03\x01\0\x50\x01\x01\0\x01", "the ClientHello is longer than 65536 octets"),
    ],
)
def test_a_record_that_is_none_is_refused_by_its_first_wrong_octet(
    data: bytes, sentence: str
) -> None:
    assert refusal(data) == sentence
    assert refusal(data + b"more") == sentence


def test_the_offending_octet_is_the_one_that_is_refused() -> None:
    assert parse_client_hello(b"\x16\x03\xff\x40\x00") is None
    assert parse_client_hello(b"\x16\x03\x01\0\x50\x01\x01\0\0") is None
    long_session = records(message(session=vector(1, bytes(33))))
    assert refusal(long_session[:44]) == "the session id is too long"
    assert parse_client_hello(long_session[:43]) is None


EXTENSIONS = "the list of extensions"

WRONG = [
    (b"\x01\0\0\0", "the ClientHello ends too early"),
    (b"\x01" + vector(3, bytes(33)), "the ClientHello ends too early"),
    (b"\x01" + vector(3, bytes(34)), "the ClientHello ends too early"),
    (message(session=vector(1, bytes(33))), "the session id is too long"),
    (message(session=b"\x20", suites=b"", compression=b""), "the session id is too long"),
    (message(suites=b"\0\0"), "the list of cipher suites has a length that it cannot have"),
    (
        message(suites=vector(2, b"\x13\x01\x13")),
        "the list of cipher suites has a length that it cannot have",
    ),
    (message(suites=b"\xff\xff" + SUITES), "the list of cipher suites is too long"),
    (
        message(compression=b"\0"),
        "the list of compression methods has a length that it cannot have",
    ),
    (message(compression=b"\x02\0"), "the list of compression methods is too long"),
    (message(behind=b"\0"), "the ClientHello ends too early"),
    (message(behind=b"\0\x01"), f"{EXTENSIONS} is too long"),
    (message(behind=b"\0\x01\0"), f"{EXTENSIONS} ends too early"),
    (message(sni(b"a"), behind=b"\0"), "octets follow in the ClientHello"),
    (message(b"\0\x05\0"), f"{EXTENSIONS} ends too early"),
    (message(b"\0\x05\0\x01"), "extension 0x0005 is too long"),
    (message(b"\0\x05\xff\xff"), "extension 0x0005 is too long"),
    (message(extension(5, b""), extension(5, b"")), "extension 0x0005 comes twice"),
    (message(sni(b"a"), alpn(b"b"), sni(b"a")), "extension 0x0000 comes twice"),
    (message(extension(GREASE, b""), extension(GREASE, b"")), "extension 0x1a1a comes twice"),
    (message(extension(0, b"")), "extension 0x0000 ends too early"),
    (
        message(extension(0, b"\0\0")),
        "the list of server names has a length that it cannot have",
    ),
    (message(extension(0, b"\0\x05\0\0\x01a")), "the list of server names is too long"),
    (message(extension(0, b"\0\x04\0\0\x01a!")), "octets follow in extension 0x0000"),
    (message(extension(0, b"\0\x04\0\0\x02a")), "a server name is too long"),
    (message(extension(0, b"\0\x05\0\0\x01a\1")), "the list of server names ends too early"),
    (message(extension(0, b"\0\x02\0\0")), "the list of server names ends too early"),
    (message(extension(16, b"")), "extension 0x0010 ends too early"),
    (message(alpn()), "the list of protocols has a length that it cannot have"),
    (message(alpn(b"h2", b"")), "a protocol's name has a length that it cannot have"),
    (message(extension(16, b"\0\x03\x03h2")), "a protocol's name is too long"),
    (message(extension(16, b"\0\x04\x02h2")), "the list of protocols is too long"),
    (message(extension(16, b"\0\x03\x02h2?")), "octets follow in extension 0x0010"),
    (message(versions()), "the list of versions has a length that it cannot have"),
    (
        message(extension(43, b"\x03\x03\x04\x03")),
        "the list of versions has a length that it cannot have",
    ),
    (message(extension(43, b"\x04\x03\x04")), "the list of versions is too long"),
    (message(extension(43, vector(1, bytes(255)))), "the list of versions is too long"),
    (message(extension(43, b"\x02\x03\x04\0")), "octets follow in extension 0x002b"),
    (message(extension(0xFE0D, b"")), "extension 0xfe0d ends too early"),
    (message(ech(2, b"")), "extension 0xfe0d is of no known type"),
    (message(ech(1, b"\0")), "octets follow in extension 0xfe0d"),
    (message(ech(0, bytes(4))), "extension 0xfe0d ends too early"),
    (message(ech(0, bytes(5) + b"\0\x01")), "the encapsulated key is too long"),
    (
        message(ech(0, bytes(5) + b"\0\0\0\0")),
        "the encrypted ClientHello has a length that it cannot have",
    ),
    (message(ech(0, bytes(5) + b"\0\0\0\x02x")), "the encrypted ClientHello is too long"),
    (message(ech(0, bytes(5) + b"\0\0\0\x01xx")), "octets follow in extension 0xfe0d"),
]


@pytest.mark.parametrize(("octets", "sentence"), WRONG, ids=range(len(WRONG)))
@pytest.mark.parametrize("size", [1, 5, 1 << 14])
def test_what_is_not_well_formed_is_refused_and_stays_so(
    octets: bytes, sentence: str, size: int
) -> None:
    data = records(octets, size)
    assert refusal(data) == sentence
    refused = [is_refused(data[:cut]) for cut in range(len(data) + 1)]
    assert refused == sorted(refused)
    first = refused.index(True)
    assert refusal(data[:first]) == sentence
    assert all(parse_client_hello(data[:cut]) is None for cut in range(first))


@pytest.mark.parametrize(
    "extensions",
    [
        sni(b""),
        sni(b"."),
        sni(b"a", b"b"),
        sni(b"a", b"a"),
        sni(b"a", b""),
        sni(b"\xc3\xbc.test"),
        sni(b"a\0.test"),
        sni(b"a b"),
        sni(b"a\n"),
        sni(b"*.test"),
        sni(b"a.test:443"),
        sni(b"::1"),
        sni(b"a", kind=1),
    ],
)
def test_a_server_name_that_cannot_be_read_is_refused(extensions: bytes) -> None:
    data = records(message(extensions, alpn(b"h2")))
    assert refusal(data) == UNREADABLE
    assert refusal(data[: -len(alpn(b"h2"))]) == UNREADABLE


def test_a_second_host_name_is_refused_by_its_type() -> None:
    data = records(message(sni(b"a", b"b")))
    assert refusal(data[:-3]) == UNREADABLE
    assert parse_client_hello(data[:-4]) is None


# ---------------------------------------------------------------- any octets


@settings(max_examples=300, deadline=None)
@given(short_hellos, st.data())
def test_one_octet_changed_raises_nothing_else(
    built: tuple[bytes, ClientHello], data: st.DataObject
) -> None:
    octets = bytearray(records(built[0], data.draw(st.sampled_from([1, 9, 300, 1 << 14]))))
    octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    whole = parse_or_none(bytes(octets))
    cut = data.draw(st.integers(0, len(octets)))
    early = parse_or_none(bytes(octets[:cut]))
    assert early is None or early == whole
    if is_refused(bytes(octets[:cut])):
        assert is_refused(bytes(octets))


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=80), st.binary(max_size=300).map(records)))
def test_any_octets_raise_nothing_else(data: bytes) -> None:
    parse_or_none(data)
    parse_or_none(b"\x16\x03\x01\0\xff\x01\0\0" + data)
    classify(data)


def heard(data: bytes) -> list[str | None]:
    """The server names that OpenSSL reads from `data`: none when it refuses it before."""
    names: list[str | None] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED

    def note(_tls: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        names.append(name)

    context.sni_callback = note
    incoming = ssl.MemoryBIO()
    incoming.write(data)
    with pytest.raises(ssl.SSLError):  # there is no certificate, or it wants more
        context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True).do_handshake()
    return names


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([data for data, hello in REAL[:5]]), st.data())
def test_what_openssl_reads_as_the_name_is_what_is_read_here(
    said: bytes, data: st.DataObject
) -> None:
    """One octet of a real hello is changed: both see one name, or one of them refuses."""
    octets = bytearray(said)
    octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    hello = parse_or_none(bytes(octets))
    if hello is not None:
        for name in heard(bytes(octets)):
            assert hello.server_name == (name and name.lower().removesuffix("."))


def test_openssl_reads_what_is_built_here() -> None:
    """Or the property above would say nothing."""
    assert heard(REAL[0][0]) == ["Example.COM"]
    assert heard(REAL[1][0]) == [None]


# ---------------------------------------------------------------- the first octets


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", None),
        (b"\x16", "tls"),
        (b"\x16\x03", "tls"),
        *[(b"\x16\x03" + bytes([minor]), "tls") for minor in range(5)],
        (b"\x16\x03\x05", "other"),
        (b"\x16\x02", "other"),
        (b"\x16\x04\x00", "other"),
        (b"\x15\x03\x01", "other"),
        (b"\x80\x2e\x01\x03\x01", "other"),  # SSLv2
        (b"G", None),
        (b"GET", None),
        (b"GET ", "http"),
        (b"GET / HTTP/1.1\r\n", "http"),
        (b"A ", "http"),
        (b"A" * 20, None),
        (b"A" * 20 + b" ", "http"),
        (b"A" * 21, "other"),
        (b"A" * 21 + b" ", "other"),
        (b"GET\t", "other"),
        (b"GET\r\n", "other"),
        (b"GEt", "other"),
        (b"get ", "other"),
        (b" GET /", "other"),
        (b"M-SEARCH ", "other"),
        (b"PRI", None),
        (b"PRI ", None),
        (b"PRI * HTTP/2.", None),
        (b"PRI * HTTP/2.0", "other"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "other"),
        (b"PRI * HTTP/1", "http"),
        (b"PRI /", "http"),
        (b"PRINT ", "http"),
        (b"S", None),
        (b"SSH", None),
        (b"SSH-", "ssh"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "ssh"),
        (b"SSH ", "http"),
        (b"SSHX-", "other"),
        (b"ssh-", "other"),
        (b"\x04", None),
        (b"\x04\x00", "other"),
        (b"\x04\x01", "socks"),
        (b"\x04\x02\x00\x50", "socks"),
        (b"\x04\x03", "other"),
        (b"\x05", None),
        (b"\x05\x00", "other"),
        (b"\x05\x01", "socks"),
        (b"\x05\x0a\x00", "socks"),  # 0x0A is a line feed, which a careless pattern leaves out
        (b"\x05\xff", "socks"),
        (b"\x06\x01", "other"),
        (b"\x00", "other"),
        (b"\xff\xfb", "other"),
    ],
)
def test_what_the_first_octets_are(data: bytes, kind: str | None) -> None:
    assert classify(data) == kind


STARTS = st.sampled_from(
    [
        b"",
        b"\x16\x03",
        b"SSH-2",
        b"GET /",
        b"PRI * HTTP/2.0\r\n",
        b"\x04\x01",
        b"\x05",
        b"ABCDEFGH" * 3,
    ]
)


@given(STARTS, st.binary(max_size=6), st.integers(0, 24))
def test_an_answer_stands_whatever_follows(start: bytes, more: bytes, cut: int) -> None:
    """But "tls", until three octets are there."""
    data = start[:cut] + more
    answers = [classify(data[:size]) for size in range(len(data) + 1)]
    known = [answer for answer in answers if answer is not None]
    assert answers == [None] * (len(answers) - len(known)) + known
    if data[:1] == b"\x16":
        known = known[2:]
    assert len(set(known)) <= 1
