"""What explain says is what a real request gets, and the sentences around it."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import bcrypt
import pytest
import trio
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.proxy.inspected import KEY
from tests.support.door import ORIGIN, Door, Record, credentials, open_door
from tests.support.wire import Wire
from wsproxy.app import build
from wsproxy.config.load import load
from wsproxy.model import Host, Identity, Target
from wsproxy.observe.decision import decision_fields
from wsproxy.protocol.x509 import create_authority
from wsproxy.proxy.explain import Explanation, Question, explain, explain_nowait, parse_question_url
from wsproxy.proxy.runtime import Runtime

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC).timestamp()  # a Wednesday
HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
USERS = f"alice:{HASH}:desk\nbob:{HASH}\n"
WHO = {"alice": Identity("alice", frozenset({"desk"})), "bob": Identity("bob"), None: None}
PORTS = (80, 443, 8443)
NAMES = {"a.test": [ORIGIN], "b.a.test": ["10.0.0.1"], "c.test": ["10.0.0.1", ORIGIN]}
LITERALS = (ORIGIN, "10.0.0.1")
PARENT = "203.0.113.9"


# ---------------------------------------------------------------- as live


CONDITIONS = {
    "hosts": st.sampled_from(["a.test", "'*.a.test'", "c.test", "'*'", ORIGIN]),
    "ports": st.sampled_from(["80", "443", '"440-9000"']),
    "protocols": st.sampled_from(["http", "https", "ws", "wss", "tcp", "[https, wss]"]),
    "methods": st.sampled_from(["GET", "POST", "CONNECT"]),
    "paths": st.sampled_from(["/", '"/x*"', '"*"']),
    "users": st.sampled_from(["alice", "bob"]),
    "groups": st.just("desk"),
    "clients": st.sampled_from(["127.0.0.1", "10.0.0.0/8"]),
    "origins": st.just("https://app.test"),
    "subprotocols": st.sampled_from(["chat", "[chat, x]"]),
    "sniff": st.sampled_from(["tls", "websocket", "http", "other", "[tls, other]"]),
    "alpn": st.sampled_from(["http/1.1", "[h2, http/1.1]", "none"]),
    "hours": st.sampled_from(
        ["{days: mon-fri, timezone: UTC}", '{to: "07:00", timezone: Europe/Berlin}']
    ),
}


@st.composite
def rule_texts(draw: st.DrawFn) -> str:
    names = draw(st.lists(st.sampled_from(sorted(CONDITIONS)), max_size=3, unique=True))
    when = ", ".join(f"{name}: {draw(CONDITIONS[name])}" for name in names)
    action = draw(st.sampled_from(["allow", "deny"]))
    mode = draw(st.sampled_from(["enforce", "enforce", "report"]))
    more = draw(st.sampled_from(["", "", ", websocket: off", ", upstream: far"]))
    return f"{{action: {action}, mode: {mode}, when: {{{when}}}{more}}}"


ZONE_TEXTS = st.sampled_from(
    [
        '{hosts: "*.a.test", networks: 10.0.0.0/8}',
        "{name: literal, hosts: 10.0.0.0/8, networks: 10.0.0.1}",
        '{name: wide, hosts: "*", networks: 10.0.0.0/24}',
        '{name: elsewhere, hosts: "*", networks: 192.168.0.0/16}',
    ]
)


@st.composite
def policies(draw: st.DrawFn) -> str:
    rules = draw(st.lists(rule_texts(), max_size=5))
    zones = draw(st.lists(ZONE_TEXTS, max_size=2, unique=True))
    return (
        f"auth: {{required: {draw(st.sampled_from(['true', 'false', 'false']))},"
        " methods: [{type: basic, users: users}]}\n"
        f"policy:\n  default: {draw(st.sampled_from(['allow', 'deny']))}\n"
        f"  mode: {draw(st.sampled_from(['enforce', 'enforce', 'report']))}\n"
        f"  private_networks: [{', '.join(zones)}]\n"
        f"  rules: [{', '.join(rules)}]\n"
        f"upstreams: {{far: {{url: 'http://{PARENT}:3128'}}}}\n"
    )


@st.composite
def questions(draw: st.DrawFn) -> Question:
    scheme = draw(st.sampled_from(["http", "https", "ws", "wss", "tcp"]))
    host = draw(st.sampled_from([*NAMES, *LITERALS]))
    path = "" if scheme == "tcp" else draw(st.sampled_from(["/", "/x", "/x/../y", "/%78?q=1"]))
    is_websocket = scheme in ("ws", "wss")
    return Question(
        target=parse_question_url(f"{scheme}://{host}:{draw(st.sampled_from(PORTS))}{path}"),
        client=ip_address("127.0.0.1"),
        identity=WHO[draw(st.sampled_from([None, "alice", "bob"]))],
        method="GET" if is_websocket else draw(st.sampled_from(["GET", "POST"])),
        origin=draw(st.sampled_from([None, "https://app.test"])) if is_websocket else None,
        subprotocols=draw(st.sampled_from([(), ("chat",), ("x", "y")])) if is_websocket else (),
    )


def head_of(question: Question) -> bytes:
    """The request, as a client makes it."""
    target = question.target
    if target.scheme in ("https", "wss", "tcp"):
        line = f"CONNECT {target.authority}"
    else:
        line = f"{question.method} {target}"
    text = f"{line} HTTP/1.1\r\nHost: {target.authority}\r\n".encode()
    if question.identity is not None:
        text += credentials(question.identity.user, "secret")
    if target.scheme == "ws":
        text += b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        text += b"Sec-WebSocket-Key: " + KEY + b"\r\n"
        if question.origin:
            text += f"Origin: {question.origin}\r\n".encode()
        if question.subprotocols:
            text += f"Sec-WebSocket-Protocol: {', '.join(question.subprotocols)}\r\n".encode()
    return text + b"\r\n"


def first_octets(question: Question) -> bytes:
    """What a client of that scheme says in its tunnel."""
    target = question.target
    if target.scheme == "tcp":
        return b"SSH-2.0-x\r\n"
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"] if target.scheme == "wss" else ["h2", "http/1.1"])
    out = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=target.host.text)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()


async def record_of(door: Door, question: Question, count: int) -> Record:
    """What is recorded of a real request, the `count`-th behind this door."""
    door.network.hosts = {}
    if question.target.scheme in ("https", "wss", "tcp"):
        door.network.hosts = {(one, port): door.origin for one in LITERALS for port in PORTS}
        door.network.hosts[PARENT, 3128] = door.parent
    client = await door.client()
    await client.sends(head_of(question))
    origins: list[Wire] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(be_parent, door, origins)
        answer = await client.reads_until(b"\r\n\r\n")
        nursery.cancel_scope.cancel()
    if b" 200 " in answer:
        origin = origins[0] if origins else await door.origin.accept()
        octets = first_octets(question)
        await client.sends(octets)
        # Either they pass, or the connection ends.
        async with trio.open_nursery() as nursery:

            async def hear(wire: Wire, size: int | None) -> None:
                await (wire.reads_rest() if size is None else wire.reads(size))
                nursery.cancel_scope.cancel()

            nursery.start_soon(hear, origin, len(octets))
            nursery.start_soon(hear, client, None)
        origin.closes()
    client.closes()
    return (await door.access(count))[-1]


async def be_parent(door: Door, origins: list[Wire]) -> None:
    """Opens the tunnel that is asked for, and is its other end from then on."""
    wire = await door.parent.accept()
    await wire.reads_until(b"\r\n\r\n")
    origins.append(wire)
    await wire.sends(b"HTTP/1.1 200 OK\r\n\r\n")


async def compare(folder: Path, policy: str, asked: Sequence[Question]) -> list[str]:
    """Asks and makes each request; the rules that decided."""
    rules = []
    (folder / "users").write_text(USERS)
    async with open_door(folder, policy) as door:
        door.network.names |= NAMES
        gate = replace(door.runtime.gate, clock=lambda: NOON)
        door.runtime = replace(door.runtime, gate=gate)
        for count, question in enumerate(asked, 1):
            said = await explain(door.runtime, question)
            door.network.asked.clear()
            record = await record_of(door, question, count)
            assert len(door.network.asked) <= 1
            assert outcome_of(said) == outcome_in(record), (policy, question)
            rules.append(said.rule)
    return rules


@given(policies(), st.lists(questions(), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_what_is_explained_is_what_happens(
    tmp_path_factory: pytest.TempPathFactory, policy: str, asked: list[Question]
) -> None:
    trio.run(compare, tmp_path_factory.mktemp("door"), policy, asked)


FIRST_OCTETS = """
policy:
  rules:
    - {name: sockets, action: allow, when: {alpn: http/1.1}}
    - {name: pages, action: deny, when: {sniff: tls, ports: 8443}}
    - {name: tls, action: allow, when: {sniff: tls, methods: CONNECT}}
    - {name: handshakes, action: deny, when: {sniff: websocket}}
    - {name: other, action: allow, when: {sniff: [other, http]}}
"""


async def test_first_octets_are_those_of_the_scheme(tmp_path: Path) -> None:
    urls = {
        "wss://a.test:8443/": "sockets",
        "https://a.test:8443/": "pages",
        "https://a.test/": "tls",
        "ws://a.test/": "handshakes",
        "tcp://a.test:8443": "other",
        "http://a.test/": "other",
    }
    assert await compare(tmp_path, FIRST_OCTETS, list(map(question_of, urls))) == [*urls.values()]


def outcome_of(said: Explanation) -> tuple[object, ...]:
    if said.rule == "auth.required":
        return (407,)
    exchange = said.exchange
    noted = list(exchange.would_deny), list(exchange.would_allow)
    return said.verdict, said.rule, *noted, decision_fields(exchange)


def outcome_in(record: Record) -> tuple[object, ...]:
    if record["status"] == 407:
        return (407,)
    noted = [record.get(name, []) for name in ("would_deny", "would_allow")]
    return record["verdict"], record["rule"], *noted, record["decision"]


# ---------------------------------------------------------------- as live, inside TLS

LOOKING = """
policy:
  rules:
    - {name: no-admin, action: deny, when: {protocols: [https, wss], paths: ["/admin*"]}}
    - {name: chat, action: allow, when: {paths: "/chat", subprotocols: chat}, websocket: enforce}
    - {name: strict, action: allow, when: {hosts: c.test, methods: CONNECT}, tls: intercept_always}
    - {name: looked, action: allow, when: {hosts: "*"}, tls: intercept, upstream: far}
upstreams: {far: {url: "http://203.0.113.9:3128"}}
interception:
  ca_certificate: ca.pem
  ca_key: ca.key
  upstream: {ca: origins.pem}
  passthrough: {hosts: [bank.test]}
"""


@pytest.fixture
def looking(tmp_path: Path) -> Path:
    """A folder with what interception takes."""
    certificate, key = create_authority("test", now=datetime.now(UTC))
    (tmp_path / "ca.pem").write_bytes(certificate)
    (tmp_path / "ca.key").touch(0o600)
    (tmp_path / "ca.key").write_bytes(key)
    ORIGINS.cert_pem.write_to_path(str(tmp_path / "origins.pem"))
    return tmp_path


ORIGINS = trustme.CA()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        # Decided on the CONNECT alone: allowed, refused, or refused when it says what it is.
        ("tcp://a.test:22", ("allow", "looked", "far", "none", None)),
        ("tcp://c.test:22", ("deny", "not-tls", "direct", "none", None)),
        ("https://bank.test/admin", ("allow", "looked", "far", "passthrough", None)),
        ("wss://bank.test/chat", ("allow", "looked", "far", "passthrough", None)),
        # And inside; the way out stays that of the tunnel.
        ("https://a.test/admin/x", ("deny", "no-admin", "far", "intercept", None)),
        ("https://c.test/", ("allow", "looked", "direct", "intercept_always", None)),
        ("wss://c.test/chat", ("allow", "chat", "direct", "intercept_always", "enforce")),
        ("wss://a.test/other", ("allow", "looked", "far", "intercept", "metadata")),
        # Without TLS.
        ("http://a.test/admin", ("allow", "looked", "far", "none", None)),
        ("ws://a.test/chat", ("allow", "chat", "direct", "none", "enforce")),
    ],
)
def test_what_is_looked_into_is_decided_as_far_as_it_is(
    looking: Path, url: str, expected: tuple[object, ...]
) -> None:
    said = explain_nowait(runtime_of(looking, LOOKING), question_of(url))
    assert (said.verdict, said.rule, said.route, said.tls, said.websocket) == expected


def test_the_tunnel_alone_can_be_asked_about(looking: Path) -> None:
    runtime = runtime_of(looking, LOOKING)
    said = explain_nowait(runtime, question_of("https://a.test/admin"), inside=False)
    assert (said.verdict, said.rule, said.tls) == ("allow", "looked", "intercept")


@pytest.mark.parametrize("path", ["/", "/admin"])
async def test_what_is_explained_of_tls_is_what_happens_inside(looking: Path, path: str) -> None:
    async with open_door(looking, LOOKING.replace(", upstream: far", "")) as door:
        door.network.names["a.test"] = [ORIGIN]
        door.network.hosts[ORIGIN, 443] = door.origin
        said = explain_nowait(door.runtime, question_of(f"https://a.test{path}"))
        await visit(door, looking / "ca.pem", path)
        records = await door.access(2)
    (inside,) = [record for record in records if "tunnel" in record]
    (tunnel,) = [record for record in records if "tunnel" not in record]
    assert (said.verdict, said.rule) == (inside["verdict"], inside["rule"])
    assert (said.tls, tunnel["verdict"]) == (tunnel["tls"]["action"], "allow")


async def visit(door: Door, ca_file: Path, path: str) -> None:
    """One GET through an intercepted tunnel."""
    client = await door.client()
    await client.sends(b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n")
    await client.reads_until(b"\r\n\r\n")
    origin = await door.origin.accept()
    ours = ssl.create_default_context(cafile=ca_file)
    ours.set_alpn_protocols(["http/1.1"])
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ORIGINS.issue_cert("a.test").configure_cert(theirs)
    inner = trio.SSLStream(trio.SocketStream(client.sock), ours, server_hostname="a.test")
    outer = trio.SSLStream(trio.SocketStream(origin.sock), theirs, server_side=True)

    async def be_origin() -> None:
        with suppress(trio.BrokenResourceError):
            await outer.receive_some()
            await outer.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(be_origin)
            head = f"GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
            await inner.send_all(head.encode())
            assert await inner.receive_some()
            nursery.cancel_scope.cancel()
    client.closes()
    origin.closes()


# ---------------------------------------------------------------- with addresses

ZONES = """
policy:
  default: allow
  private_networks: [{name: corp, hosts: ["*.corp.test"], networks: [10.0.0.0/8]}]
  rules: [{name: out, when: {hosts: far.test}, action: allow, upstream: far}]
upstreams: {far: {url: "http://203.0.113.9:3128"}}
"""


@pytest.mark.parametrize(
    ("url", "known", "rule", "addresses"),
    [
        ("http://a.test/", ["93.184.216.34"], "default", ["93.184.216.34 True public None"]),
        ("http://a.test/", ["10.0.0.1"], "private-networks", ["10.0.0.1 False private None"]),
        ("wss://x.corp.test/", ["10.0.0.1"], "default", ["10.0.0.1 True private corp"]),
        (
            "http://x.corp.test/",
            ["10.0.0.1", "::1", "1.1.1.1"],
            "default",
            ["10.0.0.1 True private corp", "::1 False loopback None", "1.1.1.1 True public None"],
        ),
        ("http://10.0.0.1/", [], "private-networks", ["10.0.0.1 False private None"]),
        (
            "http://two.test/",
            [],
            "default",
            ["10.0.0.1 False private None", "93.184.216.34 True public None"],
        ),
        ("http://nowhere.test/", [], "default", []),
        # The parent looks it up; a literal address is vetted all the same.
        ("http://far.test/", ["10.0.0.1"], "out", []),
    ],
)
async def test_addresses_are_judged_each(
    tmp_path: Path, url: str, known: list[str], rule: str, addresses: list[str]
) -> None:
    question = question_of(url)
    async with open_door(tmp_path, ZONES) as door:
        door.network.names["two.test"] = ["10.0.0.1", "93.184.216.34"]
        given_addresses = {question.target.host.text: list(map(ip_address, known))}
        said = await explain(door.runtime, question, known=given_addresses)
        assert set(door.network.asked) <= {"two.test", "nowhere.test"}
    assert said.rule == rule
    assert said.allow is (rule != "private-networks")
    found = said.exchange.addresses
    assert [f"{one.address} {one.allow} {one.kind} {one.zone}" for one in found] == addresses
    assert said.failure == ("no address for nowhere.test" if "nowhere" in url else "")


async def test_what_is_refused_by_name_is_not_looked_up(tmp_path: Path) -> None:
    async with open_door(tmp_path, "policy: {default: deny}") as door:
        said = await explain(door.runtime, question_of("http://two.test/"))
        assert (said.verdict, said.exchange.addresses, door.network.asked) == ("deny", (), [])


LATER = """
policy:
  default: allow
  rules:
    - {name: old, action: deny, when: {alpn: h2, ports: 8443}}
    - {name: near, action: allow, when: {sniff: other}, upstream: far}
upstreams: {far: {url: "http://203.0.113.9:3128"}}
"""


async def test_what_is_refused_later_was_looked_up_before(tmp_path: Path) -> None:
    async with open_door(tmp_path, LATER.replace(", upstream: far", "")) as door:
        door.network.names["in.test"] = ["10.0.0.1"]
        question = question_of("https://in.test:8443/")
        said = await explain(door.runtime, question)
        assert (said.rule, door.network.asked) == ("private-networks", ["in.test"])
        known = {"in.test": [ip_address("93.184.216.34")]}
        assert (await explain(door.runtime, question, known=known)).rule == "default"


def test_the_way_out_is_the_one_that_was_taken_before_the_first_octets(tmp_path: Path) -> None:
    said = explain_nowait(runtime_of(tmp_path, LATER), question_of("https://a.test/"))
    assert (said.rule, said.route) == ("default", "far")


# ---------------------------------------------------------------- words


def test_reasons_and_messages_are_those_of_the_page(tmp_path: Path) -> None:
    runtime = runtime_of(
        tmp_path,
        "policy:\n  default: allow\n  rules:\n"
        "    - {name: no, when: {hosts: a.test}, action: deny, message: Ask us.}\n",
    )
    refused = explain_nowait(runtime, question_of("http://a.test/"))
    assert (refused.reason, refused.message, refused.line) == ("rule 'no' denies", "Ask us.", 4)
    allowed = explain_nowait(runtime, question_of("http://b.test/"))
    assert (allowed.reason, allowed.line) == ("no rule matched; default allow", 0)


def test_without_credentials_where_they_are_required_nothing_is_decided(tmp_path: Path) -> None:
    (tmp_path / "users").write_text(USERS)
    config = "auth: {methods: [{type: basic, users: users}]}\npolicy: {default: allow}\n"
    runtime = runtime_of(tmp_path, config)
    refused = explain_nowait(runtime, question_of("http://a.test/"))
    assert (refused.verdict, refused.rule) == ("deny", "auth.required")
    asked = replace(question_of("http://a.test/"), identity=Identity("alice"))
    assert explain_nowait(runtime, asked).allow


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://A.test", Target("http", Host("a.test"), 80, b"/")),
        ("WS://a.test:81/x?y", Target("ws", Host("a.test"), 81, b"/x?y")),
        ("https://a.test", Target("https", Host("a.test"), 443, b"/")),
        ("https://a.test?x=1", Target("https", Host("a.test"), 443, b"/?x=1")),
        ("wss://a.test:8443/x", Target("wss", Host("a.test"), 8443, b"/x")),
        ("tcp://a.test:22", Target("tcp", Host("a.test"), 22)),
        ("tcp://a.test:22/", Target("tcp", Host("a.test"), 22)),
    ],
)
def test_a_url_becomes_a_target(url: str, target: Target) -> None:
    assert parse_question_url(url) == target


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("a.test", "expected a URL with http, https, ws, wss or tcp"),
        ("https:a.test", "expected a URL with http, https, ws, wss or tcp"),
        ("ftp://a.test/", "expected a URL with http, https, ws, wss or tcp"),
        ("tcp://a.test", "authority has no port"),
        ("https://a.test/#x", "request-target has a fragment"),
        ("https://a.test/a b", "request-target has a byte that no URI can have"),
        ("http://u:p@a.test/", "userinfo in a target is refused"),
        ("https://", "host is empty"),
        ("http://ä.test/", "a URL is ASCII: write names as A-labels, the rest percent-encoded"),
    ],
)
def test_what_is_no_url_is_said_in_a_sentence(url: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_question_url(url)


def runtime_of(folder: Path, config: str) -> Runtime:
    (folder / "wsproxy.yaml").write_text(config)
    return build(load(folder / "wsproxy.yaml"))


def question_of(url: str) -> Question:
    subprotocols = ("chat",) if url.startswith("ws") else ()
    return Question(
        target=parse_question_url(url),
        client=ip_address("127.0.0.1"),
        subprotocols=subprotocols,
    )
