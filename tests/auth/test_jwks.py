"""Keys for tokens: only what can verify is taken, and old keys outlive every failure."""

from __future__ import annotations

import json
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trustme
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from trio.testing import MockClock, wait_all_tasks_blocked

from wsproxy.auth import jwks
from wsproxy.auth.jwks import (
    ALGORITHMS,
    MAX_KEYS,
    MAX_SET_BYTES,
    JwkSet,
    JwkSource,
    parse_jwks,
    sniff_json_object,
)
from wsproxy.errors import AuthUnavailable, ConfigError

RSA = RSAKey.generate_key(2048)
P256, P384, P521 = (ECKey.generate_key(curve) for curve in ("P-256", "P-384", "P-521"))
ED25519, ED448, X25519 = (OKPKey.generate_key(curve) for curve in ("Ed25519", "Ed448", "X25519"))  # type: ignore[arg-type]
RSA_ALGORITHMS = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}


def public(key: Any, **more: object) -> dict[str, Any]:
    return {**key.as_dict(private=False), **more}


def jwk_set(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


# ------------------------------------------------------------------ parsing


@pytest.mark.parametrize(
    ("key", "algorithms"),
    [
        (RSA, RSA_ALGORITHMS),
        (P256, {"ES256"}),
        (P384, {"ES384"}),
        (P521, {"ES512"}),
        (ED25519, {"EdDSA", "Ed25519"}),
        (ED448, {"EdDSA", "Ed448"}),
    ],
)
def test_a_key_verifies_what_its_type_and_curve_fit(key: Any, algorithms: set[str]) -> None:
    (jwk,) = parse_jwks(jwk_set(public(key, kid="k")))
    assert (jwk.kid, jwk.algorithms) == ("k", algorithms)
    assert jwk.key.thumbprint() == key.thumbprint()
    assert algorithms <= ALGORITHMS


@pytest.mark.parametrize(
    ("more", "algorithms"),
    [
        ({"alg": "PS384"}, {"PS384"}),
        ({"use": "sig"}, RSA_ALGORITHMS),
        ({"key_ops": ["verify"]}, RSA_ALGORITHMS),
        ({"x5c": ["?"], "x5u": 1, "made-up": {}}, RSA_ALGORITHMS),
    ],
)
def test_a_key_that_says_more_is_taken_at_its_word(
    more: dict[str, object], algorithms: set[str]
) -> None:
    (jwk,) = parse_jwks(jwk_set(public(RSA, **more)))
    assert (jwk.kid, jwk.algorithms) == (None, algorithms)


def test_symmetric_algorithms_and_none_cannot_be_named() -> None:
    assert not [name for name in ALGORITHMS if name.startswith("HS") or name == "none"]


def test_private_members_are_left_where_they_are() -> None:
    keys = parse_jwks(jwk_set(RSA.as_dict(private=True), P256.as_dict(), ED25519.as_dict()))
    assert [jwk.key.is_private for jwk in keys] == [False] * 3
    assert "d" not in keys[0].key.keys()  # noqa: SIM118 - a library's own
    assert "n=" not in repr(keys)
    assert str(RSA.as_dict()["n"]) not in repr(keys)


UNUSABLE: list[object] = [
    public(RSA, use="enc"),
    public(RSA, use=None),
    public(RSA, alg="HS256"),
    public(RSA, alg="none"),
    public(RSA, alg=["RS256"]),
    public(RSA, alg=None),
    public(RSA, key_ops=["sign"]),
    public(RSA, key_ops="verify"),
    public(RSA, kid=1),
    public(RSA, kty="EC"),
    public(RSA, kty=["RSA"]),
    public(RSA, n=public(RSA)["n"][:100]),
    public(RSA, n="A" * 2000),
    public(RSA, n="w" * 2000),
    public(RSA, n="?" * 342),
    public(RSA, n=1),
    public(RSA, e=""),
    public(RSA, e="AA"),
    {name: value for name, value in public(RSA).items() if name != "e"},
    public(P256, crv="P-384"),
    public(P256, crv="secp256k1"),
    public(P256, crv="Ed25519"),
    public(P256, x=public(P256)["y"]),
    public(P256, x="\ud800"),
    public(P256, alg="ES384"),
    public(ED25519, x="AAAA"),
    public(X25519),
    OctKey.generate_key(256).as_dict(private=True),
    {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"},
    {},
    [],
    "key",
    None,
]


@pytest.mark.parametrize("entry", UNUSABLE, ids=range(len(UNUSABLE)))
def test_what_cannot_verify_is_left_out(entry: object) -> None:
    (jwk,) = parse_jwks(jwk_set(entry, public(ED25519, kid="good")))
    assert jwk.kid == "good"
    with pytest.raises(ValueError) as caught:
        parse_jwks(jwk_set(entry))
    assert str(caught.value) == "the JWK Set holds no public key that can verify signatures"


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"[]", b"{}", b'{"keys": {}}', b'{"keys": 1, "keys": []}', b"[" * 5000]
)
def test_what_is_no_set_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a JWK Set"):
        parse_jwks(data)


def test_a_set_of_too_many_keys_is_refused() -> None:
    assert len(parse_jwks(jwk_set(*[public(ED25519)] * MAX_KEYS))) == MAX_KEYS
    with pytest.raises(ValueError, match="more than 256 keys"):
        parse_jwks(jwk_set(*[public(ED25519)] * (MAX_KEYS + 1)))


def test_keys_are_chosen_by_id_and_algorithm() -> None:
    entries = [public(RSA, kid="a"), public(P256, kid="a"), public(ED25519)]
    keys = JwkSet(parse_jwks(jwk_set(*entries)))
    rsa, p256, ed25519 = keys.keys
    assert keys.fitting("a", "RS256") == (rsa,)
    assert keys.fitting("a", "ES256") == (p256,)
    assert keys.fitting("a", "EdDSA") == ()
    assert keys.fitting("b", "RS256") == ()
    assert keys.fitting("", "RS256") == ()
    assert keys.fitting(None, "RS256") == (rsa,)
    assert keys.fitting(None, "Ed25519") == (ed25519,)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": [1.5, null]}', {"a": [1.5, None]}),
        (b"{}", {}),
        (b'{"a": 1, "a": 1}', None),
        (b'{"b": {"a": 1, "a": 1}}', None),
        (b'{"a": NaN}', None),
        (b'{"a": -Infinity}', None),
        (b'{"a": ' + b"9" * 5000 + b"}", None),
        (b"\xef\xbb\xbf{}", None),
        (b'{"a": "\xff"}', None),
        (b'{"a":' * 5000, None),
        (b"null", None),
        (b'"{}"', None),
    ],
)
def test_json_objects_are_read_strictly(data: bytes, value: object) -> None:
    assert sniff_json_object(data) == value


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["RSA", "EC", "OKP"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.sampled_from([RSA, P256, ED25519]),
    st.dictionaries(
        st.sampled_from(["kty", "crv", "n", "e", "x", "y", "kid", "use", "alg", "key_ops"]), VALUES
    ),
)
def test_whatever_a_key_says_it_is_taken_or_left_out(key: Any, changes: dict[str, object]) -> None:
    try:
        parse_jwks(jwk_set(public(key, **changes)))
    except ValueError:
        pass


@given(st.binary() | VALUES.map(lambda value: json.dumps({"keys": value}).encode()))
def test_whatever_is_read_is_a_set_or_refused(data: bytes) -> None:
    try:
        parse_jwks(data)
    except ValueError:
        pass


# ------------------------------------------------------------------ keeping fresh


ONE, OTHER = (JwkSet(parse_jwks(jwk_set(public(ED25519, kid=kid)))) for kid in ("one", "other"))


class Loader:
    """Gives what the test says, and counts; waits while its gate is shut."""

    def __init__(self, gives: JwkSet | ConfigError) -> None:
        self.gives = gives
        self.calls: list[JwkSet | None] = []
        self.begun = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, last: JwkSet | None) -> JwkSet:
        self.calls.append(last)
        self.begun.release()
        assert self.gate.wait(30), "the test never opened the gate"
        if isinstance(self.gives, ConfigError):
            raise self.gives
        return self.gives

    async def wait_begun(self) -> None:
        """Until the next call is in its thread."""
        assert await trio.to_thread.run_sync(lambda: self.begun.acquire(timeout=30))


DOWN = ConfigError("it is down", file="keys")


def source_of(loader: Callable[[JwkSet | None], JwkSet]) -> JwkSource:
    return JwkSource(loader, name="keys", refresh_s=900.0, missing_s=30.0, retry_s=5.0)


async def start(nursery: trio.Nursery, source: JwkSource) -> None:
    """Starts `source` and waits until it has looked."""
    looked = source._looked
    nursery.start_soon(source.run)
    await looked.wait()
    await wait_all_tasks_blocked()


async def pass_time(source: JwkSource, clock: MockClock, seconds: float) -> None:
    """Lets time pass until `source` looks, and has."""
    looked = source._looked
    clock.jump(seconds)
    await looked.wait()
    await wait_all_tasks_blocked()


async def kids(source: JwkSource, kid: str) -> list[str | None]:
    return [jwk.kid for jwk in await source.find(kid, "EdDSA")]


async def test_known_keys_are_found_without_waiting(
    nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    loader = Loader(ONE)
    source = source_of(loader)
    assert source.find_nowait("one", "EdDSA") == ()
    await start(nursery, source)
    assert source.find_nowait("one", "EdDSA") == ONE.keys
    loader.gate.clear()
    with trio.testing.assert_no_checkpoints():
        assert await kids(source, "one") == ["one"]
    assert source.generation == 1


async def test_the_first_requests_wait_for_the_first_look(
    nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    loader = Loader(ONE)
    loader.gate.clear()
    source = source_of(loader)
    got: list[list[str | None]] = []

    async def request() -> None:
        got.append(await kids(source, "one"))

    async with trio.open_nursery() as requests:
        for _ in range(10):
            requests.start_soon(request)
        await wait_all_tasks_blocked()
        nursery.start_soon(source.run)
        await wait_all_tasks_blocked()
        loader.gate.set()
    assert got == [["one"]] * 10
    assert len(loader.calls) == 1


async def test_the_keys_are_looked_at_every_quarter_of_an_hour(
    nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    loader = Loader(ONE)
    source = source_of(loader)
    await start(nursery, source)
    mock_clock.jump(899)
    await wait_all_tasks_blocked()
    assert loader.calls == [None]
    loader.gives = OTHER
    await pass_time(source, mock_clock, 2)
    assert loader.calls == [None, ONE]
    assert source.generation == 2
    assert source.find_nowait("one", "EdDSA") == ()
    assert source.find_nowait("other", "EdDSA") == OTHER.keys
    loader.gives = JwkSet(parse_jwks(jwk_set(public(ED25519, kid="other", made_up=1))))
    await pass_time(source, mock_clock, 901)
    assert len(loader.calls) == 3
    assert source.generation == 2  # the same keys, read anew


async def test_an_unknown_key_costs_a_look_every_half_minute_at_most(
    nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    loader = Loader(ONE)
    source = source_of(loader)
    await start(nursery, source)
    loader.gives = OTHER
    for number in range(20):
        assert await kids(source, f"invented{number}") == []
    mock_clock.jump(29)
    assert await kids(source, "other") == []
    assert len(loader.calls) == 1
    mock_clock.jump(2)
    assert await kids(source, "other") == ["other"]
    assert await kids(source, "invented") == []
    assert len(loader.calls) == 2


async def test_a_failure_keeps_the_old_keys_and_is_logged_once(
    nursery: trio.Nursery, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wsproxy")
    loader = Loader(ONE)
    source = source_of(loader)
    await start(nursery, source)
    loader.gives = DOWN
    await pass_time(source, mock_clock, 901)
    for _ in range(3):
        await pass_time(source, mock_clock, 31)
    assert len(loader.calls) == 5
    assert await kids(source, "one") == ["one"]
    assert await kids(source, "other") == []
    assert source.generation == 1
    loader.gives = ONE
    await pass_time(source, mock_clock, 31)
    assert source.generation == 1
    assert caplog.messages == [
        "keys: it is down; the old keys stay in use",
        "keys: the keys are back",
    ]


async def test_without_any_keys_nobody_gets_in_and_looks_are_more_frequent(
    nursery: trio.Nursery, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    loader = Loader(DOWN)
    source = source_of(loader)
    await start(nursery, source)
    for _ in range(3):
        with pytest.raises(AuthUnavailable) as caught:
            await kids(source, "one")
    assert caught.value.detail == "the keys to check tokens with cannot be had; try again later"
    assert caplog.messages == ["keys: it is down; no token can be checked"]
    assert len(loader.calls) == 1
    loader.gives = ONE
    await pass_time(source, mock_clock, 5.1)
    assert await kids(source, "one") == ["one"]


async def test_a_look_that_hangs_is_left_alone_and_stalls_nobody(
    nursery: trio.Nursery, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    loader = Loader(ONE)
    source = source_of(loader)
    await start(nursery, source)
    await loader.wait_begun()
    loader.gate.clear()
    loader.gives = OTHER
    mock_clock.jump(31)
    got: list[list[str | None]] = []

    async def request() -> None:
        got.append(await kids(source, "other"))

    async with trio.open_nursery() as requests:
        requests.start_soon(request)
        await loader.wait_begun()
        with trio.testing.assert_no_checkpoints():
            assert await kids(source, "one") == ["one"]
        requests.start_soon(request)
        await wait_all_tasks_blocked()
        assert got == []
        mock_clock.jump(5.1)
    assert got == [[], []]
    assert caplog.messages == ["keys: no answer within 5 s; the old keys stay in use"]
    # While the old look is in its thread no other one begins: threads do not pile up.
    looked = source._looked
    mock_clock.jump(31)
    await wait_all_tasks_blocked()
    assert source._thread.statistics().tasks_waiting == 1
    assert len(loader.calls) == 2
    loader.gate.set()
    await looked.wait()
    assert len(loader.calls) == 3
    assert await kids(source, "other") == ["other"]


async def test_a_request_that_gives_up_takes_nothing_with_it(
    nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    loader = Loader(ONE)
    loader.gate.clear()
    source = source_of(loader)
    looked = source._looked
    nursery.start_soon(source.run)
    async with trio.open_nursery() as requests:
        requests.start_soon(kids, source, "one")
        await wait_all_tasks_blocked()
        requests.cancel_scope.cancel()
    loader.gate.set()
    await looked.wait()
    assert await kids(source, "one") == ["one"]


async def test_a_source_that_does_not_run_lets_nobody_in(autojump_clock: MockClock) -> None:
    source = source_of(Loader(ONE))
    with pytest.raises(AuthUnavailable):
        await source.find("one", "EdDSA")
    assert trio.current_time() < 10


async def test_stopping_does_not_wait_for_a_hanging_look(mock_clock: MockClock) -> None:
    loader = Loader(ONE)
    loader.gate.clear()
    source = source_of(loader)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(source.run)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    loader.gate.set()


# ------------------------------------------------------------------ files


def put(path: Path, data: bytes, *, mtime: int) -> None:
    path.write_bytes(data)
    os.utime(path, (mtime, mtime))


async def test_a_file_is_read_again_when_it_has_changed(
    tmp_path: Path, nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    path = tmp_path / "jwks.json"
    put(path, jwk_set(public(ED25519, kid="one")), mtime=1)
    source = JwkSource.from_file(path)
    assert source.name == str(path)
    await start(nursery, source)
    assert await kids(source, "one") == ["one"]
    put(path, jwk_set(public(ED25519, kid="other")), mtime=2)
    assert await kids(source, "other") == []
    mock_clock.jump(1.1)
    assert await kids(source, "other") == ["other"]
    put(path, jwk_set(public(ED25519, kid="third")), mtime=3)
    await pass_time(source, mock_clock, 60.1)
    assert source.find_nowait("third", "EdDSA")
    assert source.generation == 3


async def test_a_file_that_has_not_changed_is_not_read(
    tmp_path: Path, nursery: trio.Nursery, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "jwks.json"
    put(path, jwk_set(public(ED25519, kid="one")), mtime=1)
    source = JwkSource.from_file(path)
    await start(nursery, source)
    monkeypatch.setattr(jwks, "parse_jwks", lambda _: pytest.fail("read again"))
    await pass_time(source, mock_clock, 60.1)
    assert source.generation == 1


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"{", 'not a JWK Set: JSON of the form {"keys": [...]}'),
        (b'{"keys": []}', "the JWK Set holds no public key that can verify signatures"),
        (b" " * (MAX_SET_BYTES + 1), "the JWK Set is larger than 1 MiB"),
        (None, "cannot read the keys: No such file or directory"),
    ],
)
async def test_a_file_that_cannot_be_used_is_an_error_first_and_no_change_later(
    tmp_path: Path,
    nursery: trio.Nursery,
    mock_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    data: bytes | None,
    detail: str,
) -> None:
    path = tmp_path / "jwks.json"
    if data is not None:
        put(path, data, mtime=1)
    with pytest.raises(ConfigError) as caught:
        JwkSource.from_file(path).load_now()
    assert (caught.value.detail, caught.value.file) == (detail, str(path))
    put(path, jwk_set(public(ED25519, kid="one")), mtime=2)
    source = JwkSource.from_file(path)
    source.load_now()
    assert source.generation == 1
    put(path, data, mtime=3) if data is not None else path.unlink()
    await start(nursery, source)
    assert await kids(source, "one") == ["one"]
    assert caplog.messages == [f"{path}: {detail}; the old keys stay in use"]


# ------------------------------------------------------------------ URLs


class Site:
    """What the server answers, by path."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.url = ""


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.requests.append((self.path, dict(self.headers)))
            status, fields, body = site.answers[self.path]
            self.send_response(status)
            for name, value in fields.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    site.url = f"{'http' if tls is None else 'https'}://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


GOOD = jwk_set(public(ED25519, kid="one"))


async def test_keys_come_from_a_url_and_follow_its_rotation(
    site: Site, nursery: trio.Nursery, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    site.answers["/jwks?secret=1"] = (200, {}, GOOD)
    source = JwkSource.from_url(f"{site.url}/jwks?secret=1")
    assert source.name == f"{site.url}/jwks"
    await start(nursery, source)
    assert await kids(source, "one") == ["one"]
    (_, fields), *_ = site.requests
    assert fields["Accept"] == "application/jwk-set+json, application/json"
    assert fields["User-Agent"] == "wsproxy"
    site.answers["/jwks?secret=1"] = (200, {}, jwk_set(public(ED25519, kid="other")))
    mock_clock.jump(30.1)
    assert await kids(source, "other") == ["other"]
    site.answers["/jwks?secret=1"] = (503, {}, b"")
    await pass_time(source, mock_clock, 900.1)
    assert await kids(source, "other") == ["other"]
    assert len(site.requests) == 3


def test_tls_is_verified() -> None:
    ca = trustme.CA()
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(server_tls)
    client_tls = ssl.create_default_context()
    ca.configure_trust(client_tls)
    with serving(server_tls) as site:
        site.answers["/jwks"] = (200, {}, GOOD)
        JwkSource.from_url(f"{site.url}/jwks", tls=client_tls).load_now()
        with pytest.raises(ConfigError, match="CERTIFICATE_VERIFY_FAILED"):
            JwkSource.from_url(f"{site.url}/jwks").load_now()
        site.answers["/down"] = (
            302,
            {"Location": site.url.replace("https", "http") + "/jwks"},
            b"",
        )
        with pytest.raises(ConfigError, match="out of TLS"):
            JwkSource.from_url(f"{site.url}/down", tls=client_tls).load_now()


REDIRECTED = "cannot fetch the keys: redirected to another host, or out of TLS"


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ((404, {}, GOOD), "the answer has status 404"),
        ((204, {}, b""), "cannot fetch the keys: the answer has status 204"),
        ((200, {}, b"<html>"), 'not a JWK Set: JSON of the form {"keys": [...]}'),
        ((200, {"Content-Length": "99999"}, GOOD[:-9]), 'not a JWK Set: JSON of the form {"keys": [...]}'),
        ((200, {}, GOOD + b" " * MAX_SET_BYTES), "the JWK Set is larger than 1 MiB"),
        ((302, {"Location": "http://127.0.0.1:1/jwks"}, b""), REDIRECTED),
        ((302, {"Location": "ftp://localhost/jwks"}, b""), REDIRECTED),
        ((302, {"Location": "file:///etc/passwd"}, b""), "the answer has status 302"),
        ((302, {"Location": "http://[/"}, b""), "cannot fetch the keys: ValueError"),
        ((302, {"Location": "/jwks"}, b""), "the answer has status 302"),
        ((302, {}, b""), "the answer has status 302"),
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_used_is_a_failure(
    site: Site, answer: tuple[int, dict[str, str], bytes], detail: str
) -> None:
    site.answers["/jwks"] = answer
    with pytest.raises(ConfigError) as caught:
        JwkSource.from_url(f"{site.url}/jwks").load_now()
    assert caught.value.file == f"{site.url}/jwks"
    assert caught.value.detail == detail


def test_a_redirect_within_the_host_is_followed(site: Site) -> None:
    site.answers["/jwks"] = (302, {"Location": "/v2/jwks"}, b"")
    site.answers["/v2/jwks"] = (200, {}, GOOD)
    JwkSource.from_url(f"{site.url}/jwks").load_now()
    assert [path for path, _ in site.requests] == ["/jwks", "/v2/jwks"]


def test_nobody_there_is_a_failure() -> None:
    with pytest.raises(ConfigError, match="Connection refused"):
        JwkSource.from_url("http://127.0.0.1:1/jwks").load_now()


def test_what_is_no_http_is_a_failure() -> None:
    refused = pytest.raises(ConfigError, match="cannot fetch the keys: BadStatusLine")
    with answering(b"SSH-2.0-x\r\n") as port, refused:
        JwkSource.from_url(f"http://127.0.0.1:{port}/jwks").load_now()


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A server that answers one connection with `answer`."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(64 * 1024)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        thread.join()
        listener.close()


def test_an_answer_in_drips_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    late = SimpleNamespace(monotonic=iter([0.0, 5.1]).__next__)
    monkeypatch.setattr(jwks, "time", late)
    refused = pytest.raises(ConfigError, match="the answer takes too long")
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n ") as port, refused:
        JwkSource.from_url(f"http://127.0.0.1:{port}/jwks").load_now()


@pytest.mark.parametrize(
    "url",
    [
        "jwks.json", "file:///etc/passwd", "ftp://h/x", "https://", "https:///x", "https://h:0/x",
        "https://h:x/", "https://u:p@h/x", "https://h/a b", "https://h/a\x7f", "https://hö/x", "http://[/",
    ],
)  # fmt: skip
def test_what_is_no_url_of_keys_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        JwkSource.from_url(url)
