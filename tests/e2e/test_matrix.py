"""Every client with every scheme on every way, with right and with wrong credentials."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import websockets.exceptions
import websockets.sync.client
from joserfc import jwt
from joserfc.jwk import ECKey

from tests.support.kdc import Realms
from tests.support.proxy_process import PROJECT_ROOT, ProxyProcess, add_user, start_proxy

from .chromium import run_chromium
from .clients import Credentials, Java, environment, node
from .conftest import PROXY_HOST
from .matrix import CLIENTS, SCHEMES, ability, table
from .observed import OPEN
from .origins import Certificates, EchoServer, Nginx

ALICE = Credentials("alice", "wonder:land")
MD5 = "Digest with MD5 alone"


@dataclass(frozen=True, slots=True)
class Login:
    """What one person would give a client.

    Attributes:
        credentials: name and password, or a token in place of that.
        token: for who can send it as it is.
        tickets: environment with Kerberos tickets.
    """

    credentials: Credentials
    token: str
    tickets: dict[str, str]

    @property
    def as_password(self) -> Credentials:
        """The token where a password is asked for."""
        return Credentials(ALICE.user, self.token)


@dataclass(frozen=True, slots=True)
class Lab:
    """The servers, the proxies, one for each scheme, and two people of whom one is right."""

    nginx: Nginx
    echo: EchoServer
    certificates: Certificates
    proxies: dict[str, ProxyProcess]
    right: Login
    wrong: Login

    def url(self, way: str) -> str:
        """What is asked for on a way."""
        if way == "WebSocket":
            return f"wss://localhost:{self.echo.tls_port}/socket"
        base = self.nginx.https if way == "CONNECT" else self.nginx.http
        return f"{base}/page.html"


@pytest.fixture(scope="module")
def lab(
    tmp_path_factory: pytest.TempPathFactory,
    nginx: Nginx,
    echo: EchoServer,
    certificates: Certificates,
    realms: Realms,
) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    add_user(folder / "users", ALICE.user, ALICE.password)
    subprocess.run(
        [sys.executable, "-m", "wsproxy", "passwd", "--digest", "--password-stdin"]
        + [str(folder / "digest"), ALICE.user],
        input=ALICE.password.encode(),
        check=True,
        capture_output=True,
        cwd=PROJECT_ROOT,
    )
    secret = f"{ALICE.user}:wsproxy:{ALICE.password}".encode()
    hashed = hashlib.md5(secret, usedforsecurity=False).hexdigest()
    (folder / "htdigest").write_text(f"{ALICE.user}:wsproxy:{hashed}\n")
    key = ECKey.generate_key("P-256", {"kid": "k1", "use": "sig", "alg": "ES256"})
    (folder / "jwks.json").write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    now = int(time.time())
    tokens = [
        jwt.encode(
            {"alg": "ES256", "kid": "k1"},
            {"sub": "alice", "iss": "idp", "aud": "wsproxy", "exp": now + seconds},
            key,
        )
        for seconds in (3600, -3600)
    ]
    methods = {
        "Basic": "{type: basic, users: users}",
        "Digest": "{type: digest, users: digest}",
        MD5: "{type: digest, users: htdigest}",
        "Bearer": "{type: bearer, jwks: jwks.json, issuer: idp, audience: wsproxy}",
        "Negotiate": f"{{type: negotiate, keytab: {realms.folder / 'proxy.keytab'}}}",
    }
    nobody = {**realms.env, "KRB5CCNAME": f"FILE:{folder}/nobody"}
    with ExitStack() as stack:
        proxies = {
            scheme: stack.enter_context(
                start_proxy(f"{OPEN}\nauth: {{methods: [{method}]}}\n", folder, env=realms.env)
            )
            for scheme, method in methods.items()
        }
        right = Login(ALICE, tokens[0], dict(realms.env))
        wrong = Login(Credentials(ALICE.user, "not it"), tokens[1], nobody)
        yield Lab(nginx, echo, certificates, proxies, right, wrong)


# ---------------------------------------------------------------- the clients, each told all it can be told


def by_curl(lab: Lab, home: Path, scheme: str, way: str, login: Login) -> bool:
    user = f"{login.credentials.user}:{login.credentials.password}"
    options = {
        "Basic": ["--proxy-basic", "--proxy-user", user],
        "Digest": ["--proxy-digest", "--proxy-user", user],
        "Bearer": [
            *("--proxy-header" if way == "CONNECT" else "--header",),
            f"Proxy-Authorization: Bearer {login.token}",
        ],
        "Negotiate": ["--proxy-negotiate", "--proxy-user", ":"],
    }[scheme]
    port = lab.proxies[scheme].port
    done = subprocess.run(
        ["curl", "-q", "--silent", "--noproxy", "", "--max-time", "40", *options]
        + ["--proxy", f"http://{PROXY_HOST}:{port}", "--resolve", f"{PROXY_HOST}:{port}:127.0.0.1"]
        + ["--output", os.devnull, "--write-out", "%{http_code}"]
        + ["--cacert", str(lab.certificates.authority), lab.url(way)],
        env=environment(home) | login.tickets,
        capture_output=True,
        check=False,
    )
    return done.stdout == b"200"


def by_urllib(lab: Lab, home: Path, scheme: str, way: str, login: Login) -> bool:
    kind = MD5 if (scheme, way) == ("Digest", "absolute-form") else scheme
    proxy = lab.proxies[kind].url
    request = urllib.request.Request(lab.url(way))
    handlers: list[urllib.request.BaseHandler] = []
    if scheme == "Bearer":
        request.add_header("Proxy-Authorization", f"Bearer {login.token}")
    elif way == "CONNECT":
        proxy = login.credentials.in_url(proxy)
    else:
        manager = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        # It looks for Basic by the proxy, and for Digest by what is asked for.
        places = [proxy, request.full_url]
        manager.add_password(None, places, login.credentials.user, login.credentials.password)
        handlers.append(urllib.request.ProxyBasicAuthHandler(manager))
        handlers.append(urllib.request.ProxyDigestAuthHandler(manager))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({"http": proxy, "https": proxy}),
        urllib.request.HTTPSHandler(context=lab.certificates.client_context()),
        *handlers,
    )
    try:
        with opener.open(request, timeout=30) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ValueError) as error:
        assert re.search("407|digest auth failed|does not support the following scheme", str(error))
        return False


def by_websockets(lab: Lab, home: Path, scheme: str, way: str, login: Login) -> bool:
    credentials = login.as_password if scheme == "Bearer" else login.credentials
    try:
        with websockets.sync.client.connect(
            lab.url(way),
            proxy=credentials.in_url(lab.proxies[scheme].url),
            ssl=lab.certificates.client_context(),
            subprotocols=["chat"],  # type: ignore[list-item]
        ) as connection:
            connection.send("hello")
            return connection.recv() == "hello"
    except websockets.exceptions.InvalidProxyStatus as error:
        assert error.response.status_code == 407
        return False


def by_node(lab: Lab, home: Path, scheme: str, way: str, login: Login) -> bool:
    proxy = lab.proxies[scheme].url
    told = node(
        home,
        url=lab.url(way),
        bytes=1000,
        proxy=proxy if scheme == "Bearer" else login.credentials.in_url(proxy),
        fields={"Proxy-Authorization": f"Bearer {login.token}"} if scheme == "Bearer" else {},
        agent="absolute" if way == "absolute-form" else "tunnel",
        authority=str(lab.certificates.authority),
    )
    return told.get("status") == 200 or told.get("code") == 1000


def by_java(
    lab: Lab, home: Path, scheme: str, way: str, login: Login, *, java: Java, legacy: bool
) -> bool:
    hosts = home / "hosts"
    hosts.write_text(f"127.0.0.1 {PROXY_HOST}\n127.0.0.1 localhost\n")
    properties = ["jdk.http.auth.tunneling.disabledSchemes="]
    credentials: Credentials | None = login.credentials
    if scheme == "Digest":
        properties = []  # as it comes
    elif scheme == "Bearer" and way == "absolute-form":
        properties.append(f"proxy.authorization=Bearer {login.token}")
        credentials = None
    elif scheme == "Bearer":
        credentials = login.as_password
    elif scheme == "Negotiate":
        credentials = None
        properties += [
            f"jdk.net.hosts.file={hosts}",
            f"java.security.krb5.conf={login.tickets['KRB5_CONFIG']}",
            "javax.security.auth.useSubjectCredsOnly=false",
        ]
    told = java.run(
        "url" if legacy else "ws" if way == "WebSocket" else "get",
        lab.url(way),
        proxy_host=PROXY_HOST if scheme == "Negotiate" else "127.0.0.1",
        proxy_port=lab.proxies[scheme].port,
        credentials=credentials,
        properties=properties,
        env=login.tickets,
    )
    return told.get("status") == "200" or told.get("code") == "1000"


def by_chromium(lab: Lab, home: Path, scheme: str, way: str, login: Login) -> bool:
    credentials = login.as_password if scheme == "Bearer" else login.credentials
    host = "proxy.localhost" if scheme == "Negotiate" else "127.0.0.1"
    with run_chromium(
        home,
        f"http://{host}:{lab.proxies[scheme].port}",
        credentials=None if scheme == "Negotiate" else credentials,
        tickets=login.tickets if scheme == "Negotiate" else None,
    ) as page:
        if way != "WebSocket":
            return page.visit(lab.url(way)) == "" and page.evaluate("document.title") == "loaded"
        # A page by the same way first, as in life; the socket's own challenge counts as much.
        page.visit(f"{lab.nginx.https}/page.html")
        said = f"new WebSocket({json.dumps(lab.url(way))}, 'chat')"
        opened = "socket.onopen = () => done(true); socket.onerror = () => done(false)"
        return bool(page.evaluate(f"new Promise(done => {{ const socket = {said}; {opened} }})"))


# ---------------------------------------------------------------- the table

Try = Callable[[Lab, Path, str, str, Login], bool]


@pytest.fixture
def clients(request: pytest.FixtureRequest) -> dict[str, Try]:
    """Each client of the table, by its name."""

    def with_java(*, legacy: bool) -> Try:
        java: Java = request.getfixturevalue("java")
        return lambda *told: by_java(*told, java=java, legacy=legacy)

    return {
        "curl": by_curl,
        "Python urllib": by_urllib,
        "Python websockets": by_websockets,
        "Node.js, http-proxy-agent": by_node,
        "Node.js, https-proxy-agent": by_node,
        "Node.js, ws and https-proxy-agent": by_node,
        "Java HttpClient": with_java(legacy=False),
        "Java HttpURLConnection": with_java(legacy=True),
        "Chromium": by_chromium,
    }


CELLS = [
    pytest.param(one.name, one.way, scheme, id=f"{one.name}-{one.way}-{scheme}".replace(" ", "_"))
    for one in CLIENTS
    for scheme in SCHEMES
]


@pytest.mark.usefixtures("node_packages")
@pytest.mark.parametrize(("name", "way", "scheme"), CELLS)
def test_a_client_can_do_what_the_table_says(
    name: str, way: str, scheme: str, lab: Lab, clients: dict[str, Try], tmp_path: Path
) -> None:
    told = ability(name, way, scheme)
    for login in (lab.right, lab.wrong) if told.works else (lab.right,):
        home = tmp_path / str(login is lab.right)
        home.mkdir()
        process = lab.proxies[MD5 if told.reason == "md5" else scheme]
        before = len(process.records())
        served = clients[name](lab, home, scheme, way, login)
        assert served is (told.works and login is lab.right)
        user, status = ("alice", 200) if served else (None, 407)
        expected = {"user": user, "status": status}
        assert process.wait_until_logged(
            lambda records, expected=expected, before=before: any(
                expected.items() <= record.items() for record in records[before:]
            )
        )
        # The record of a tunnel that stood before may come late; one of its beginning may not.
        begun = [one for one in process.records()[before:] if one["event"] == "open"]
        assert served or not begun


def test_the_table_in_the_documentation_is_this_one() -> None:
    page = (PROJECT_ROOT / "docs/identities.md").read_text(encoding="utf-8")
    assert table() in page
